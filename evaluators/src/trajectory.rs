//! Similarity and rank of poisoned pairs during the training, from the values that the trainer
//! records at the ends of epochs (`core/src/train/trajectory.rs`; all records are in the trial's
//! `trajectory.jsonl`).

use gauntlet::evaluator::{Definition, Unit};
use gauntlet::train::trajectory::{Moment, Probe, read};
use gauntlet::{EvalContext, Evaluator, Result, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Records poisoned pairs during the training.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Trajectory {
    /// Records after every so many epochs, and after the last; 0: never, and there are no scores.
    every: u32,
    /// Number of pairs that are recorded for each attack, and of clean pairs; each costs a forward
    /// pass per record.
    #[schemars(range(min = 2))]
    pairs: usize,
}

impl Default for Trajectory {
    fn default() -> Self {
        Trajectory { every: 0, pairs: 500 }
    }
}

gauntlet::register!(
    dyn Evaluator,
    Trajectory,
    "trajectory",
    "similarity and rank of poisoned and clean pairs over the epochs; off unless `every` is set",
    ""
);

const SIMILARITY: Definition = Definition {
    score: "trajectory-similarity",
    definition: "mean cosine of image and caption over an attack's pairs (over clean pairs if the score names no attack) at the last epoch that \
                 was recorded",
    higher_is_better: None,
    unit: Unit::Cosine,
    role: None,
    version: 1,
};
const RANK: Definition = Definition {
    score: "trajectory-rank",
    definition: "median rank, at the last epoch that was recorded, of a pair's own caption among the captions of all recorded pairs \
                 (captions with the same tokens count as one) by similarity to its image; equally similar captions rank before it",
    higher_is_better: None,
    unit: Unit::Rank,
    role: None,
    version: 1,
};
const ABOVE: Definition = Definition {
    score: "trajectory-above-clean",
    definition: "share of combinations of a poisoned and a clean pair in which the poisoned pair is more similar (equals count half), at the last \
                 epoch that was recorded; below 0.5 the poison is learned less than clean pairs",
    higher_is_better: Some(false),
    unit: Unit::Share,
    role: None,
    version: 1,
};
const PEAK: Definition = Definition {
    score: "trajectory-peak-above-clean",
    definition: "the greatest trajectory-above-clean of all epochs that were recorded",
    higher_is_better: Some(false),
    unit: Unit::Share,
    role: None,
    version: 1,
};

impl Evaluator for Trajectory {
    fn definitions(&self) -> Vec<Definition> {
        vec![SIMILARITY, RANK, ABOVE, PEAK]
    }

    fn probe(&self) -> Option<Probe> {
        (self.every > 0).then_some(Probe { every: self.every, pairs: self.pairs })
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        if self.every == 0 {
            return Ok(Vec::new());
        }
        let moments = read(&ctx.folder.join("trajectory.jsonl"))?;
        let last = moments.iter().map(|moment| moment.epoch).max();
        let mut scores = Vec::new();
        for moment in moments.iter().filter(|moment| Some(moment.epoch) == last) {
            let attack = moment.attack.as_deref();
            // No interval: the value summarises `trajectory.jsonl` and is no sample.
            let score = |definition: Definition, value: f64, chance: f64| {
                Score::new(definition.score, value, moment.n, [value, value]).about(attack).guessed(chance)
            };
            scores.push(score(SIMILARITY, moment.similarity, 0.0));
            scores.push(score(RANK, moment.rank, (moment.captions + 1) as f64 / 2.0));
            if attack.is_some() {
                let own = moments.iter().filter(|other| other.attack == moment.attack);
                let peak = own.map(|other: &Moment| other.above_clean).fold(0.0, f64::max);
                scores.push(score(ABOVE, moment.above_clean, 0.5));
                scores.push(score(PEAK, peak, 0.5));
            }
        }
        Ok(scores)
    }
}
