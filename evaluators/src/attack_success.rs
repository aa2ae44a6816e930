//! Measures whether attacks reach their goals. It runs in every arena. In `clean` the same scores
//! are the base rates: a patch can hide an object, and a target can be a natural error.

mod text_side;

use gauntlet::attack::Stamped;
use gauntlet::evaluator::{Definition, Predictions, ScoreRole, Unit};
use gauntlet::poison::PreparedAttack;
use gauntlet::{DataRow, EvalContext, Evaluator, Goal, Result, Score, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures attack success.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttackSuccess {}

gauntlet::register!(
    dyn Evaluator,
    AttackSuccess,
    "attack-success",
    "PSR of targeted attacks, ASR of backdoors; in the arena `clean` the same scores are their base rates",
    "PSR and ASR as in Yang et al., NeurIPS 2023; ASR excludes images of the target class. Text side: Hit@K and rank as in Yang et al., ICML 2023"
);

const fn success(score: &'static str, definition: &'static str) -> Definition {
    Definition {
        score,
        definition,
        higher_is_better: Some(false),
        unit: Unit::Share,
        role: Some(ScoreRole::Success),
        version: 1,
    }
}

const PSR: Definition =
    success("psr", "poison success rate: share of target images whose most similar class is their adversarial class");
/// PSR with more classes, as the development repository of RoCLIP's authors counts it: diagnostics
/// in addition to `psr`.
const PSR_OF: [(Definition, usize); 2] = [
    (
        Definition {
            score: "psr-3",
            definition: "share of target images whose three most similar classes include their adversarial class",
            higher_is_better: None,
            unit: Unit::Share,
            role: None,
            version: 1,
        },
        3,
    ),
    (
        Definition {
            score: "psr-5",
            definition: "share of target images whose five most similar classes include their adversarial class",
            higher_is_better: None,
            unit: Unit::Share,
            role: None,
            version: 1,
        },
        5,
    ),
];
const RETURNED: Definition = Definition {
    score: "returned",
    definition: "share of target images whose most similar class is their true class; images without a label do not count",
    higher_is_better: Some(true),
    unit: Unit::Share,
    role: None,
    version: 1,
};
const ASR: Definition = success(
    "asr",
    "attack success rate: share of stamped test images whose most similar class is the target, except images of the target class",
);
/// Used if no held-out row has a label.
const ASR_CAPTION: Definition = Definition {
    role: Some(ScoreRole::SuccessWithoutLabels),
    ..success(
        "asr-caption",
        "attack success rate without labels: share of stamped held-out images whose most similar class is the target; 300 are drawn from \
     the seed among those whose captions do not name the target by any name or inflection",
    )
};
/// Accuracy under a stamp.
const POISONED_TOP1: Definition = Definition {
    score: "stamped-top1",
    definition: "share of the images of `asr` whose most similar class is still the true class when stamped",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};
/// Each key of a dual key alone; `asr` is the score of both keys together. The attacker wants these
/// scores low, so that the attack stays hidden.
const ONE_KEY: [Definition; 2] = [
    Definition {
        score: "asr-image-key",
        definition: "as `asr`, with the trigger only in the image and unchanged prompts",
        higher_is_better: None,
        unit: Unit::Share,
        role: None,
        version: 1,
    },
    Definition {
        score: "asr-text-key",
        definition: "as `asr`, with the trigger only in the prompts and unchanged images",
        higher_is_better: None,
        unit: Unit::Share,
        role: None,
        version: 1,
    },
];

impl Evaluator for AttackSuccess {
    fn definitions(&self) -> Vec<Definition> {
        let more = PSR_OF.map(|(definition, _)| definition);
        let own = vec![PSR, RETURNED, ASR, ASR_CAPTION, POISONED_TOP1];
        [own, more.to_vec(), ONE_KEY.to_vec(), text_side::DEFINITIONS.to_vec()].concat()
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        for prepared in ctx.attacks {
            scores.extend(match &prepared.goal {
                Goal::Pairs(targets) => targeted(ctx, prepared, targets)?,
                Goal::Class(class) => backdoor(ctx, prepared, *class)?,
                Goal::DualKey(class) => dual_key(ctx, prepared, *class)?,
                Goal::Files { class, images } => files(ctx, prepared, *class, images)?,
                Goal::Captions(pairs) => text_side::relabelled(ctx, prepared, pairs)?,
                Goal::Phrase(class) => text_side::triggered(ctx, prepared, *class)?,
            });
        }
        Ok(scores)
    }
}

/// A share, with the chance level of guessing the class.
fn share(ctx: &EvalContext, definition: Definition, prepared: &PreparedAttack, cases: Predictions) -> Option<Score> {
    let chance = 1.0 / f64::from(ctx.data.classes.len());
    ctx.share(definition.score, Some(&prepared.label), cases).map(|score| score.guessed(chance))
}

fn targeted(ctx: &EvalContext, prepared: &PreparedAttack, targets: &[Target]) -> Result<Vec<Score>> {
    let rows: Vec<DataRow> = targets.iter().map(|target| target.row).collect();
    let taken = ctx.classify(&rows, None, 5)?;
    let score = |definition: Definition, first: usize, wanted: fn(&Target) -> Option<u32>| {
        let mut cases = Predictions::default();
        for (target, taken) in targets.iter().zip(&taken) {
            let Some(wanted) = wanted(target) else { continue };
            cases.image(target.row, target.truth, taken[0], taken.iter().take(first).any(|class| *class == wanted));
        }
        let score = share(ctx, definition, prepared, cases);
        score.map(|score| score.guessed((first as f64 / f64::from(ctx.data.classes.len())).min(1.0)))
    };
    let own = [score(PSR, 1, |target| Some(target.class)), score(RETURNED, 1, |target| target.truth)];
    let more = PSR_OF.map(|(definition, first)| score(definition, first, |target| Some(target.class)));
    Ok(own.into_iter().chain(more).flatten().collect())
}

/// Test images that the attack supplies, except those of the target class.
fn files(ctx: &EvalContext, prepared: &PreparedAttack, class: u32, images: &[Stamped]) -> Result<Vec<Score>> {
    let files: Vec<&str> = images.iter().map(|image| image.file.as_str()).collect();
    let taken = ctx.embed_files(prepared, &files)?;
    let taken = ctx.classify_embedded(&taken, &ctx.data.classes.templates, 1)?;
    let mut cases = Predictions::default();
    for (image, taken) in images.iter().zip(taken).filter(|(image, _)| image.truth != class) {
        cases.image(&image.file, image.truth, taken[0], taken[0] == class);
    }
    Ok(Vec::from_iter(share(ctx, ASR, prepared, cases)))
}

fn backdoor(ctx: &EvalContext, prepared: &PreparedAttack, class: u32) -> Result<Vec<Score>> {
    let rows = ctx.victims(class);
    let taken = ctx.classify(&rows, Some(prepared), 1)?;
    let cases = taken_for(ctx, class, &rows, &taken);
    if !ctx.labels_tell() {
        return Ok(Vec::from_iter(share(ctx, ASR_CAPTION, prepared, cases)));
    }
    let mut unmoved = Predictions::default();
    for (row, taken) in rows.iter().zip(&taken) {
        unmoved.image(row, ctx.truth(*row), taken[0], ctx.truth(*row) == Some(taken[0]));
    }
    let scores = [share(ctx, ASR, prepared, cases), share(ctx, POISONED_TOP1, prepared, unmoved)];
    Ok(scores.into_iter().flatten().collect())
}

/// Rows count as hits if they are classified as `class`.
fn taken_for(ctx: &EvalContext, class: u32, rows: &[DataRow], taken: &[Vec<u32>]) -> Predictions {
    let mut cases = Predictions::default();
    rows.iter().zip(taken).for_each(|(row, taken)| cases.image(row, ctx.truth(*row), taken[0], taken[0] == class));
    cases
}

fn dual_key(ctx: &EvalContext, prepared: &PreparedAttack, class: u32) -> Result<Vec<Score>> {
    let rows = ctx.victims(class);
    let plain = &ctx.data.classes.templates;
    let say = |(template, number): (&String, u64)| prepared.apply_test_trigger(template, number, ctx.seed);
    let said: Vec<String> = plain.iter().zip(0..).map(say).collect::<Result<_>>()?;
    let asr = if ctx.labels_tell() { ASR } else { ASR_CAPTION };
    let keys = [(asr, Some(prepared), &said), (ONE_KEY[0], Some(prepared), plain), (ONE_KEY[1], None, &said)];
    let mut scores = Vec::new();
    for (definition, stamped_by, templates) in keys {
        let taken = ctx.classify_embedded(&ctx.embed(&rows, stamped_by)?, templates, 1)?;
        scores.extend(share(ctx, definition, prepared, taken_for(ctx, class, &rows, &taken)));
    }
    Ok(scores)
}
