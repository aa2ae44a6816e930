//! A plugin: an evaluator that measures whether the true class is among the first few. `suite.toml`
//! runs it, `tests.rs` tests it.

use gauntlet::evaluator::{Definition, Unit};
use gauntlet::schemars::JsonSchema;
use gauntlet::serde::{Deserialize, Serialize};
use gauntlet::{EvalContext, Evaluator, Result, Score};

/// Measures accuracy over the first few classes. The struct is the configuration, and its comments
/// are the help.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "gauntlet::serde", default, deny_unknown_fields)]
#[schemars(crate = "gauntlet::schemars")]
pub struct Among {
    /// Number of classes that each image is given.
    #[schemars(range(min = 1))]
    first: usize,
}

impl Default for Among {
    fn default() -> Self {
        Among { first: 3 }
    }
}

impl Evaluator for Among {
    fn definitions(&self) -> Vec<Definition> {
        let definition = "share of the held-out images whose class is among the first few that zero-shot gives them";
        vec![Definition {
            score: "among-first",
            definition,
            higher_is_better: Some(true),
            unit: Unit::Share,
            role: None,
            version: 1,
        }]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let rows = ctx.labelled_rows();
        let given = ctx.classify(&rows, None, self.first as i64)?;
        let truths: Vec<u32> = rows.iter().filter_map(|&row| ctx.truth(row)).collect();
        let score = Score::share("among-first", None, hits(&given, &truths), rows.len());
        Ok(score.into_iter().map(|score| score.guessed(ctx.chance(self.first))).collect())
    }
}

fn hits(given: &[Vec<u32>], truths: &[u32]) -> usize {
    given.iter().zip(truths).filter(|(given, truth)| given.contains(truth)).count()
}

gauntlet::register!(dyn Evaluator, Among, "among", "whether the true class is among the first few of zero-shot", "");
gauntlet::export_plugins!();

/// For a custom program: the linker drops a crate that the program does not call.
pub fn link() {}

#[cfg(test)]
mod tests;
