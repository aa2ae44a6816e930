//! Measures a defense that rejects images at inference, as a detector, and the attack success that
//! remains. The threshold rejects one in twenty of some clean training images; they are other
//! images than those that the defense gets, and no attack influences them. A defense that accepts
//! all images has no scores.

use crate::auroc::auroc;
use gauntlet::evaluator::{Definition, Unit};
use gauntlet::poison::PreparedAttack;
use gauntlet::{DataRow, EvalContext, Evaluator, Result, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures the images that an inference-time detector rejects.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rejection {
    /// Share of clean images that the threshold rejects.
    #[schemars(range(min = 0.0, max = 1.0))]
    rejected: f64,
}

impl Default for Rejection {
    fn default() -> Self {
        Rejection { rejected: 0.05 }
    }
}

gauntlet::register!(
    dyn Evaluator,
    Rejection,
    "rejection",
    "detection of stamped images by a defense that rejects images at inference; no score for other defenses",
    ""
);

const AUROC: Definition = Definition {
    score: "rejection-auroc",
    definition: "share of pairs of a stamped and a clean test image in which the stamped image is more suspicious to the defense (equals count half)",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};
const LEFT: Definition = Definition {
    score: "asr-after-rejection",
    definition: "share of stamped test images that are classified as the target and not rejected, except images of the target class",
    higher_is_better: Some(false),
    unit: Unit::Share,
    role: None,
    version: 1,
};
const TARGETS: Definition = Definition {
    score: "psr-after-rejection",
    definition: "share of target images that are classified as the adversarial class and not rejected",
    higher_is_better: Some(false),
    unit: Unit::Share,
    role: None,
    version: 1,
};
const LOST: Definition = Definition {
    score: "clean-rejected",
    definition: "share of clean test images that are rejected; the threshold is set on clean training images",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};

/// Number of images that are scored together; a defense may make many images of each.
const CHUNK: usize = 50;

impl Evaluator for Rejection {
    fn definitions(&self) -> Vec<Definition> {
        vec![AUROC, LEFT, TARGETS, LOST]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let Some(clean) = judged(ctx, ctx.test_rows(), None)? else { return Ok(Vec::new()) };
        let mut trusted = Vec::new();
        let canvases = &ctx.clean()?[1];
        for first in (0..canvases.size()[0]).step_by(CHUNK) {
            let some = canvases.narrow(0, first, (CHUNK as i64).min(canvases.size()[0] - first));
            trusted.extend(ctx.suspicion(&some)?.unwrap_or_default());
        }
        trusted.sort_by(f32::total_cmp);
        let place = ((1.0 - self.rejected) * trusted.len() as f64).ceil() as usize;
        let threshold = trusted.get(place.saturating_sub(1)).copied().unwrap_or(f32::INFINITY);
        let rejected = clean.iter().filter(|suspicion| **suspicion > threshold).count();
        let mut scores = vec![Score::share(LOST.score, None, rejected, clean.len())];
        for prepared in ctx.attacks {
            // The rows, the attack that stamps them, and the class that the attacker wants for each
            // row.
            let (rows, stamp, wanted): (Vec<DataRow>, _, Vec<u32>) =
                match (prepared.goal.backdoor(), prepared.goal.targets()) {
                    (Some(class), _) => {
                        let rows = ctx.victims(class);
                        (rows.clone(), Some(prepared), vec![class; rows.len()])
                    }
                    (None, []) => continue,
                    (None, targets) => {
                        let rows = targets.iter().map(|target| target.row).collect();
                        (rows, None, targets.iter().map(|target| target.class).collect())
                    }
                };
            let suspicion = judged(ctx, &rows, stamp)?.unwrap_or_default();
            let taken = ctx.classify(&rows, stamp, 1)?;
            let cases = taken.iter().zip(&wanted).zip(&suspicion);
            let left = cases.filter(|((taken, wanted), suspicion)| taken[0] == **wanted && **suspicion <= threshold);
            let label = Some(prepared.label.as_str());
            let score = if stamp.is_some() { LEFT.score } else { TARGETS.score };
            let score = Score::share(score, label, left.count(), rows.len());
            scores.push(score.map(|score| score.guessed(ctx.chance(1))));
            if stamp.is_some() {
                scores.push(auroc(AUROC.score, label, &suspicion, &clean));
            }
        }
        Ok(scores.into_iter().flatten().collect())
    }
}

/// Suspicion of each row, stamped by `stamp` if there is one; `None` if the defense accepts all
/// images.
fn judged(ctx: &EvalContext, rows: &[DataRow], stamp: Option<&PreparedAttack>) -> Result<Option<Vec<f32>>> {
    let mut all = Vec::new();
    for rows in rows.chunks(CHUNK) {
        let canvases = match stamp {
            Some(prepared) => prepared.stamp_test(ctx.data, rows, ctx.seed)?,
            None => ctx.data.canvas.gather(rows)?,
        };
        match ctx.suspicion(&canvases)? {
            Some(some) => all.extend(some),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}
