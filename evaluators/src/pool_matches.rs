//! The captions that a pool matched images to: diagnostics from the keys that a defense recorded.
//! They are joined here with the ground truth, which the defense cannot read.

use gauntlet::corpus::RowOrigin;
use gauntlet::evaluator::{Definition, Unit};
use gauntlet::train::matches::LookUps;
use gauntlet::{EvalContext, Evaluator, Result, Score, TrainRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Measures pool matches.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolMatches {}

gauntlet::register!(
    dyn Evaluator,
    PoolMatches,
    "pool-matches",
    "the captions that images were matched to, over all epochs that matched to a pool; no score for a defense without one",
    ""
);

const ADVERSARIAL: Definition = Definition {
    score: "poison-matched-adversarial",
    definition: "share of look-ups of poisoned pairs whose matched caption names the adversarial class",
    higher_is_better: Some(false),
    unit: Unit::Share,
    role: None,
    version: 1,
};
const RIGHT: Definition = Definition {
    score: "clean-matched-right",
    definition: "share of look-ups of clean pairs with a class whose matched caption names that class",
    higher_is_better: Some(true),
    unit: Unit::Share,
    role: None,
    version: 1,
};
const DISTINCT: Definition = Definition {
    score: "distinct-matches",
    definition: "distinct matched captions among the look-ups of a batch, as a share of its rows, over all batches together",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};

const USED: Definition = Definition {
    score: "captions-matched",
    definition: "distinct captions that an epoch's look-ups matched, as a share of its look-ups, over all matching epochs together",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};
const MATCHED: Definition = Definition {
    score: "matched-rows",
    definition: "share of all rows that were trained on, summed over epochs, that were matched to the pool",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};

/// Number of look-ups whose rows are resolved in one pass over the data.
const CHUNK: usize = 1 << 20;

impl Evaluator for PoolMatches {
    fn definitions(&self) -> Vec<Definition> {
        vec![ADVERSARIAL, RIGHT, DISTINCT, USED, MATCHED]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let (mut adversarial, mut right, mut distinct, mut used) = ((0, 0), (0, 0), (0, 0), 0);
        for matches in ctx.matches {
            let mut of_epoch = HashSet::new();
            for steps in matches.chunks(CHUNK)? {
                let steps = steps?;
                let keys = steps.iter().flat_map(|step| step.own.iter().chain(step.matched.iter().flatten()));
                let row_of = ctx.corpus.rows_with(&keys.copied().collect());
                for LookUps { own, matched } in &steps {
                    of_epoch.extend(matched.iter().flatten().copied());
                    distinct.0 += matched.iter().collect::<HashSet<_>>().len();
                    distinct.1 += matched.len();
                    for (own, matched) in own.iter().zip(matched) {
                        let (wanted, poisoned) = wanted_class(ctx, row_of[own]);
                        let Some(wanted) = wanted else { continue };
                        let names =
                            |row: &TrainRow| ctx.data.classes.named_in(ctx.corpus.row(*row).caption).contains(&wanted);
                        let (hits, n) = if poisoned { &mut adversarial } else { &mut right };
                        *hits += usize::from(matched.and_then(|matched| row_of.get(&matched)).is_some_and(names));
                        *n += 1;
                    }
                }
            }
            used += of_epoch.len();
        }
        let look_ups = distinct.1;
        let rows = if look_ups > 0 { ctx.trained_rows as usize } else { 0 };
        let (used, matched) = ((used, look_ups), (look_ups, rows));
        let scores =
            [(ADVERSARIAL, adversarial), (RIGHT, right), (DISTINCT, distinct), (USED, used), (MATCHED, matched)];
        Ok(scores
            .into_iter()
            .filter_map(|(definition, (hits, n))| Score::share(definition.score, None, hits, n))
            .collect())
    }
}

/// The class that a row's caption should name (the adversarial class for a poisoned row), and
/// whether the row is poisoned.
fn wanted_class(ctx: &EvalContext, row: TrainRow) -> (Option<u32>, bool) {
    match ctx.corpus.row(row).origin {
        RowOrigin::Clean(row) => (ctx.data.row(row).class, false),
        RowOrigin::Edit(number) => (Some(ctx.poison.edits[number].edit.class), true),
    }
}
