//! Zero-shot accuracy on the downstream sets, with the names and prompt templates published with
//! CLIP (Radford et al. 2021, section 3.1).

use crate::per_class::PerClass;
use gauntlet::evaluator::{Definition, Downstream, ScoreRole, Unit};
use gauntlet::model::normalize;
use gauntlet::tch::Device;
use gauntlet::{EvalContext, Evaluator, Result, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures zero-shot accuracy on downstream sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DownstreamZeroShot {}

gauntlet::register!(
    dyn Evaluator,
    DownstreamZeroShot,
    "downstream-zero-shot",
    "zero-shot accuracy on each set of `[downstream]`: top-1, top-5, mean per class, and the set's published measure",
    "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, section 3.1"
);

const fn share(score: &'static str, definition: &'static str, role: ScoreRole) -> Definition {
    Definition { score, definition, higher_is_better: Some(true), unit: Unit::Share, role: Some(role), version: 1 }
}

const PUBLISHED: Definition = share(
    "downstream-published",
    "the set's published measure: downstream-top1, or downstream-mean-per-class (Pets, Flowers, Caltech, Aircraft)",
    ScoreRole::SetAccuracy,
);
const TOP1: Definition = share(
    "downstream-top1",
    "share of the set's test images whose most similar class is the true class; a class is the normalised mean of its prompts' \
     normalised embeddings",
    ScoreRole::Detail,
);
const TOP5: Definition = share(
    "downstream-top5",
    "share of the same images whose five most similar classes include the true class",
    ScoreRole::Detail,
);
const MEAN: Definition = share(
    "downstream-mean-per-class",
    "mean over the classes of the share of a class's test images whose most similar class it is; the share of each class is in \
     the trial's `per-class/SET-zero-shot.json`",
    ScoreRole::Detail,
);

impl Evaluator for DownstreamZeroShot {
    fn definitions(&self) -> Vec<Definition> {
        vec![PUBLISHED, TOP1, TOP5, MEAN]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        for downstream in ctx.downstream {
            let scored = on(ctx, downstream);
            scores.extend(scored.map_err(|error| error.during(format!("downstream set `{}`", downstream.label)))?);
        }
        Ok(scores)
    }
}

fn on(ctx: &EvalContext, downstream: &Downstream) -> Result<Vec<Score>> {
    let set = &downstream.set;
    let all: Vec<usize> = (0..set.test.len()).collect();
    let images = normalize(&ctx.encoder.images(&set.test, &all, None)?);
    let classes = ctx.encoder.classes(&set.classes, &set.templates);
    let (_, best) = images.matmul(&classes.tr()).topk(5.min(set.classes.len() as i64), 1, true, true);
    let best = Vec::<Vec<i64>>::try_from(best.to_device(Device::Cpu))?;
    let labels = set.test.labels();
    let first: Vec<u32> = best.iter().map(|best| best[0] as u32).collect();
    let within = best.iter().zip(labels).filter(|(best, label)| best.contains(&i64::from(**label))).count();
    let found = PerClass::count(&first, labels, set.classes.len());
    found.write(ctx.folder, &downstream.label, "zero-shot", &set.classes)?;
    let [published, top1, mean] = found.scores([PUBLISHED.score, TOP1.score, MEAN.score], set.metric);
    let top5 = Score::share(TOP5.score, None, within, all.len()).map(|score| score.guessed(downstream.chance(5)));
    Ok([published, top1, top5, mean].into_iter().flatten().map(|score| score.on(&downstream.label)).collect())
}
