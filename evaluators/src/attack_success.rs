//! Whether attacks reach their goals. Measured in every arena; in `clean` the same numbers are the base rates: a patch can hide an
//! object, a target can be a natural error.

use gauntlet::evaluator::{Definition, Unit};
use gauntlet::poison::Threat;
use gauntlet::{Evaluator, Goal, Result, Score, Subject, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Attack success.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttackSuccess {}

gauntlet::register!(
    dyn Evaluator,
    AttackSuccess,
    "attack-success",
    "PSR of targeted attacks, ASR of backdoors; in the arena `clean` the same scores are their base rates",
    "PSR and ASR as in Yang et al., NeurIPS 2023; target-class pictures left out of ASR"
);

const PSR: Definition = Definition {
    score: "psr",
    definition: "poison success rate: share of target pictures whose most similar class is their adversarial one",
    higher_is_better: Some(false),
    unit: Unit::Share,
};
const RETURNED: Definition = Definition {
    score: "returned",
    definition: "share of target pictures whose most similar class is their true one",
    higher_is_better: Some(true),
    unit: Unit::Share,
};
const ASR: Definition = Definition {
    score: "asr",
    definition: "attack success rate: share of stamped test pictures, true class not the target, whose most similar class is the target",
    higher_is_better: Some(false),
    unit: Unit::Share,
};

impl Evaluator for AttackSuccess {
    fn definitions(&self) -> Vec<Definition> {
        vec![PSR, RETURNED, ASR]
    }

    fn evaluate(&self, subject: &Subject) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        // Of somebody who draws a class.
        let chance = 1.0 / f64::from(subject.data.classes.len());
        for threat in subject.threats {
            let label = Some(threat.label.as_str());
            match &threat.goal {
                Goal::Pairs(targets) => {
                    let rows: Vec<u32> = targets.iter().map(|target| target.row).collect();
                    let taken = top1(subject, &rows, None)?;
                    let count = |wanted: fn(&Target) -> u32| {
                        targets.iter().zip(&taken).filter(|(t, class)| wanted(t) == **class).count()
                    };
                    scores.extend(Score::share(PSR.score, label, count(|target| target.class), targets.len()));
                    scores.extend(Score::share(RETURNED.score, label, count(|target| target.truth), targets.len()));
                }
                Goal::Class(class) => {
                    let others = subject.test_rows().iter().filter(|row| subject.truth(**row) != *class);
                    let rows: Vec<u32> = others.copied().collect();
                    let taken = top1(subject, &rows, Some(threat))?;
                    let hits = taken.iter().filter(|taken| *taken == class).count();
                    scores.extend(Score::share(ASR.score, label, hits, rows.len()));
                }
            }
        }
        Ok(scores.into_iter().map(|score: Score| score.guessed(chance)).collect())
    }
}

fn top1(subject: &Subject, rows: &[u32], stamped_by: Option<&Threat>) -> Result<Vec<u32>> {
    Ok(subject.classify(rows, stamped_by, 1)?.into_iter().map(|best| best[0]).collect())
}
