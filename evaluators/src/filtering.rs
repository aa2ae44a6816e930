//! Measures a defense that scores training rows, as a detector: its reports on rows
//! (`PlanContext::report`) are joined here with the ground truth, which the defense cannot read. A
//! defense that reports nothing has no scores.

use crate::auroc::auroc;
use gauntlet::corpus::RowOrigin;
use gauntlet::defense::Suspicion;
use gauntlet::evaluator::{Definition, Unit};
use gauntlet::{EvalContext, Evaluator, Result, RowKey, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Measures the rows that a filter keeps and drops.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filtering {}

gauntlet::register!(
    dyn Evaluator,
    Filtering,
    "filtering",
    "detection of poisoned rows by a defense that scores or drops training rows; no score for other defenses",
    ""
);

const AUROC: Definition = Definition {
    score: "filter-auroc",
    definition: "share of pairs of a poisoned and a clean row in which the poisoned row is more suspicious to the defense (equals count half)",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};
const RECALL: Definition = Definition {
    score: "poison-dropped",
    definition: "share of the attack's rows that the defense drops, or separates from their captions in the end (recall)",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};
const PRECISION: Definition = Definition {
    score: "dropped-poisoned",
    definition: "share of poisoned rows among those that the defense drops, or separates from their captions in the end (precision)",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};
const LOST: Definition = Definition {
    score: "clean-dropped",
    definition: "share of the clean rows that the defense drops, or separates from their captions in the end",
    higher_is_better: None,
    unit: Unit::Share,
    role: None,
    version: 1,
};

/// The suspicion of each row of a kind, and the number of rows that are dropped.
#[derive(Default)]
struct Kind {
    suspicion: Vec<f32>,
    dropped: usize,
}

impl Evaluator for Filtering {
    fn definitions(&self) -> Vec<Definition> {
        vec![AUROC, RECALL, PRECISION, LOST]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let Some(said) = Suspicion::read(ctx.folder)? else { return Ok(Vec::new()) };
        let place_of: HashMap<RowKey, usize> = said.keys.iter().copied().zip(0..).collect();
        let (mut clean, mut attacks) = (Kind::default(), BTreeMap::<&str, Kind>::new());
        for row in ctx.corpus.rows() {
            let row = ctx.corpus.row(row);
            let Some(&place) = place_of.get(&row.key) else { continue };
            let kind = match row.origin {
                RowOrigin::Clean(_) => &mut clean,
                RowOrigin::Edit(edit) => attacks.entry(&ctx.poison.edits[edit].attack).or_default(),
            };
            kind.suspicion.push(said.scores[place]);
            kind.dropped += usize::from(!said.kept[place]);
        }
        let mut scores = Vec::new();
        for (attack, rows) in &attacks {
            scores.push(auroc(AUROC.score, Some(attack), &rows.suspicion, &clean.suspicion));
            scores.push(Score::share(RECALL.score, Some(attack), rows.dropped, rows.suspicion.len()));
        }
        let poisoned: usize = attacks.values().map(|rows| rows.dropped).sum();
        if !attacks.is_empty() {
            scores.push(Score::share(PRECISION.score, None, poisoned, poisoned + clean.dropped));
        }
        scores.push(Score::share(LOST.score, None, clean.dropped, clean.suspicion.len()));
        Ok(scores.into_iter().flatten().collect())
    }
}
