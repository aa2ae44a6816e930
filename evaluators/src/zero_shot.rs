//! Zero-shot accuracy on the held-out images (Radford et al. 2021, section 3.1).

use gauntlet::evaluator::{Definition, Predictions, ScoreRole, Unit};
use gauntlet::{EvalContext, Evaluator, Result, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures zero-shot accuracy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ZeroShot {}

gauntlet::register!(
    dyn Evaluator,
    ZeroShot,
    "zero-shot",
    "accuracy on held-out images that are no attack's target; classes are their names in all prompt templates",
    "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, section 3.1"
);

const TOP1: Definition = Definition {
    score: "top1",
    definition: "share of held-out images (no targets, no stamps) whose most similar class is the true class",
    higher_is_better: Some(true),
    unit: Unit::Share,
    role: Some(ScoreRole::Accuracy),
    version: 1,
};
const TOP5: Definition = Definition {
    score: "top5",
    definition: "share of the same images whose five most similar classes include the true class",
    higher_is_better: Some(true),
    unit: Unit::Share,
    role: None,
    version: 1,
};

impl Evaluator for ZeroShot {
    fn definitions(&self) -> Vec<Definition> {
        vec![TOP1, TOP5]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let rows = ctx.labelled_rows();
        let best = ctx.classify(&rows, None, 5)?;
        let score = |(definition, k): (Definition, usize)| {
            let mut cases = Predictions::default();
            for (row, best) in rows.iter().zip(&best) {
                let truth = ctx.truth(*row);
                cases.image(row, truth, best[0], best.iter().take(k).any(|class| Some(*class) == truth));
            }
            let score = ctx.share(definition.score, None, cases);
            score.map(|score| score.guessed(ctx.chance(k)))
        };
        Ok([(TOP1, 1), (TOP5, 5)].into_iter().filter_map(score).collect())
    }
}
