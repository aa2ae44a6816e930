//! Linear probes on the downstream sets: logistic regression on frozen image features
//! (`logistic.rs`), and attack success through the fitted layer.
//!
//! Features are not normalised, as in CLIP's published example. They are either the embedding, or
//! the input of a vision transformer's projection to the embedding, as in CLIP's paper (appendix
//! A.3). The regularisation is chosen as in CLIP (`linear_probe/choose.rs`). The probe of RoCLIP's
//! released code has its own score names (`linear_probe/official.rs`).

mod choose;
mod official;

use crate::per_class::PerClass;
use crate::set_classes::find;
use choose::fit;
use gauntlet::downstream::Metric;
use gauntlet::draw;
use gauntlet::evaluator::{Definition, Downstream, Layer, ScoreRole, Unit};
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{DataRow, EvalContext, Evaluator, Result, Score};
use official::official;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Fits linear probes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinearProbe {
    /// Maximum number of images of the train split. A larger set (ImageNet) is fitted on this many,
    /// drawn evenly from each class, and its scores are named `probe-subset-...`.
    #[schemars(range(min = 100))]
    most: usize,
    /// Also measures the probe of RoCLIP's released code, which takes longer.
    official: bool,
    /// Batch size of that probe (RoCLIP: that of the model's training); 0: the recipe's.
    official_batch: usize,
    /// Image features that the layer is fitted on. The probe of RoCLIP's code is always fitted on
    /// the embedding.
    #[serde(skip_serializing_if = "Features::is_default")]
    #[schemars(extend("default" = "embedding"))]
    features: Features,
}

/// The image features of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// The embedding: after the projection into the space that images and texts share, as in
    /// RoCLIP's released code and CLIP's published example.
    #[default]
    Embedding,
    /// The input of a vision transformer's projection, as in CLIP's paper (appendix A.3). A
    /// ResNet's embedding comes from its attention pool, and is used here as in the paper. The
    /// scores are named `probe-before-projection-...`.
    BeforeProjection,
    /// Both, each with its own score names.
    Both,
}

impl Features {
    fn is_default(&self) -> bool {
        *self == Features::default()
    }

    fn layers(self) -> &'static [Layer] {
        match self {
            Features::Embedding => &[Layer::Embedding],
            Features::BeforeProjection => &[Layer::BeforeProjection],
            Features::Both => &[Layer::Embedding, Layer::BeforeProjection],
        }
    }
}

impl Default for LinearProbe {
    fn default() -> Self {
        LinearProbe { most: 200_000, official: false, official_batch: 0, features: Features::default() }
    }
}

gauntlet::register!(
    dyn Evaluator,
    LinearProbe,
    "linear-probe",
    "accuracy of a linear layer fitted to frozen features on each set of `[downstream]`, and attack success through it",
    "Radford et al., ICML 2021, appendix A.3; Kornblith et al., Do Better ImageNet Models Transfer Better?, CVPR 2019, appendix A.3"
);

const fn accuracy(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: Some(true), unit: Unit::Share, role: None, version: 1 }
}

const fn success(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: Some(false), unit: Unit::Share, role: None, version: 1 }
}

const fn published(score: &'static str, definition: &'static str) -> Definition {
    Definition { role: Some(ScoreRole::Published), ..accuracy(score, definition) }
}

const fn detail(score: &'static str, definition: &'static str) -> Definition {
    Definition { role: Some(ScoreRole::Detail), ..accuracy(score, definition) }
}

/// Published measure, accuracy, mean per class, ASR, PSR: fitted on the whole set, and on a subset.
type Measures = [[Definition; 5]; 2];

/// On the embedding.
const EMBEDDING: Measures = [
    [
        published("probe-published", "the set's published measure: probe-top1 or probe-mean-per-class"),
        detail(
            "probe-top1",
            "share of the set's test images that multinomial logistic regression classifies correctly, fitted on the frozen image \
             embeddings (after the projection, not normalised) of all images of the train split; its L2 penalty is the best of a search on a held-out fifth of these, from \
             1e-6 to 1e6, 8 steps per decade",
        ),
        detail(
            "probe-mean-per-class",
            "mean of that share over the classes; the share of each class is in `per-class/SET-probe.json`",
        ),
        success(
            "probe-asr",
            "share of the set's stamped test images that the same layer, fitted on images without a \
             stamp, classifies as the target, except images of the target class; only if the target is one of the set's classes",
        ),
        success(
            "probe-psr",
            "share of target images that the same layer classifies as their adversarial class, which is one of the set's classes",
        ),
    ],
    [
        published("probe-subset-published", "as probe-published, fitted on a subset: see probe-subset-top1"),
        detail(
            "probe-subset-top1",
            "as probe-top1, fitted on only `most` images, drawn from the seed evenly from each class",
        ),
        detail("probe-subset-mean-per-class", "as probe-mean-per-class, fitted on a subset"),
        success("probe-subset-asr", "as probe-asr, fitted on a subset"),
        success("probe-subset-psr", "as probe-psr, fitted on a subset"),
    ],
];

/// On the input of the projection.
const BEFORE_PROJECTION: Measures = [
    [
        published(
            "probe-before-projection-published",
            "as probe-published, on the features of probe-before-projection-top1",
        ),
        detail(
            "probe-before-projection-top1",
            "as probe-top1, fitted on the input of a vision transformer's projection, as in CLIP's paper (not normalised); for a ResNet, on its \
             embedding, which comes from its attention pool",
        ),
        detail(
            "probe-before-projection-mean-per-class",
            "mean of that share over the classes; the share of each class is in `per-class/SET-probe-before-projection.json`",
        ),
        success("probe-before-projection-asr", "as probe-asr, on the features of probe-before-projection-top1"),
        success("probe-before-projection-psr", "as probe-psr, on the features of probe-before-projection-top1"),
    ],
    [
        published(
            "probe-subset-before-projection-published",
            "as probe-before-projection-published, fitted on a subset",
        ),
        detail(
            "probe-subset-before-projection-top1",
            "as probe-before-projection-top1, fitted on only `most` images, drawn from the seed evenly from each class",
        ),
        detail(
            "probe-subset-before-projection-mean-per-class",
            "as probe-before-projection-mean-per-class, fitted on a subset",
        ),
        success("probe-subset-before-projection-asr", "as probe-before-projection-asr, fitted on a subset"),
        success("probe-subset-before-projection-psr", "as probe-before-projection-psr, fitted on a subset"),
    ],
];
const OFFICIAL: [Definition; 2] = [
    accuracy(
        "probe-official-top1",
        "as in RoCLIP's released code: accuracy (never the mean per class) of a linear layer after 32 epochs of AdamW at 0.005 along a \
         cosine, weight decay 0.01 except on the bias, on features that are not normalised; no hyperparameter is chosen",
    ),
    accuracy("probe-subset-official-top1", "as probe-official-top1, fitted on a subset: see probe-subset-top1"),
];

impl Evaluator for LinearProbe {
    fn definitions(&self) -> Vec<Definition> {
        let of = |layer: &Layer| match layer {
            Layer::Embedding => EMBEDDING.into_iter().flatten().chain(OFFICIAL).collect::<Vec<_>>(),
            Layer::BeforeProjection => BEFORE_PROJECTION.into_iter().flatten().collect(),
        };
        Features::Both.layers().iter().flat_map(of).collect()
    }

    fn fits_on(&self) -> usize {
        self.most
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        // A set may have no train split; its notes say so.
        for downstream in ctx.downstream.iter().filter(|downstream| !downstream.set.fit.is_empty()) {
            for layer in self.features.layers() {
                let scored = self.on(ctx, downstream, *layer);
                scores.extend(scored.map_err(|error| error.during(format!("downstream set `{}`", downstream.label)))?);
            }
            if self.official {
                let scored = self.official(ctx, downstream);
                scores.extend(scored.map_err(|error| error.during(format!("downstream set `{}`", downstream.label)))?);
            }
        }
        Ok(scores)
    }
}

impl LinearProbe {
    fn on(&self, ctx: &EvalContext, downstream: &Downstream, from: Layer) -> Result<Vec<Score>> {
        let Downstream { label, set } = downstream;
        let (encoder, classes) = (&ctx.encoder, set.classes.len() as i64);
        let Material { is_subset, features, labels, test } = self.material(ctx, downstream, from)?;
        let (measures, how) = match from {
            Layer::Embedding => (EMBEDDING, "probe"),
            Layer::BeforeProjection => (BEFORE_PROJECTION, "probe-before-projection"),
        };
        let [published, top1, mean, asr, psr] = measures[is_subset].map(|definition| definition.score);
        let layer = fit(&features, &labels, classes, set.metric, ctx.seed)?;
        let classify = |features: &Tensor| numbers(&layer.classify(features));

        let found = PerClass::count(&classify(&test)?, set.test.labels(), set.classes.len());
        found.write(ctx.folder, label, how, &set.classes)?;
        let mut scores: Vec<Score> = found.scores([published, top1, mean], set.metric).into_iter().flatten().collect();
        let guessed = |score: Score| score.guessed(1.0 / classes as f64);
        for prepared in ctx.attacks {
            let attack = Some(prepared.label.as_str());
            let own = |class: u32| find(&ctx.data.classes.names[class as usize], set);
            // Other goals need captions, prompts or the attacker's own images, which a set lacks.
            if let Some(target) = prepared.goal.backdoor().and_then(own) {
                let others: Vec<usize> = (0..set.test.len()).filter(|&item| set.test.label(item) != target).collect();
                let taken = classify(&encoder.layer(from, &set.test, &others, Some(prepared))?)?;
                let hits = taken.iter().filter(|class| **class == target).count();
                scores.extend(Score::share(asr, attack, hits, others.len()).map(guessed));
            }
            let wanted = prepared.goal.targets().iter().filter_map(|target| Some((target.row, own(target.class)?)));
            let (rows, wanted): (Vec<DataRow>, Vec<u32>) = wanted.unzip();
            if !rows.is_empty() {
                let taken = classify(&ctx.layer(from, &rows, None)?)?;
                let hits = taken.iter().zip(&wanted).filter(|(taken, wanted)| taken == wanted).count();
                scores.extend(Score::share(psr, attack, hits, rows.len()).map(guessed));
            }
        }
        Ok(scores.into_iter().map(|score| score.on(label)).collect())
    }

    fn official(&self, ctx: &EvalContext, downstream: &Downstream) -> Result<Option<Score>> {
        let Downstream { label, set } = downstream;
        let Material { is_subset, features, labels, test } = self.material(ctx, downstream, Layer::Embedding)?;
        let batch = if self.official_batch > 0 { self.official_batch } else { ctx.corpus.batch() };
        let layer = official(&features, &labels, set.classes.len() as i64, batch, ctx.seed)?;
        let found = PerClass::count(&numbers(&layer.classify(&test))?, set.test.labels(), set.classes.len());
        Ok(found.score(OFFICIAL[is_subset].score, Metric::Accuracy).map(|score| score.on(label)))
    }

    fn material(&self, ctx: &EvalContext, Downstream { set, .. }: &Downstream, from: Layer) -> Result<Material> {
        let chosen = subset(set.fit.labels(), self.most, ctx.seed);
        let is_subset = usize::from(chosen.len() < set.fit.len());
        let all: Vec<usize> = (0..set.test.len()).collect();
        let features = ctx.encoder.layer(from, &set.fit, &chosen, None)?;
        let test = ctx.encoder.layer(from, &set.test, &all, None)?;
        let labels: Vec<i64> = chosen.iter().map(|&item| set.fit.label(item).into()).collect();
        let labels = Tensor::from_slice(&labels).to_device(features.device());
        Ok(Material { is_subset, features, labels, test })
    }
}

/// The data that a layer is fitted on and measured with.
struct Material {
    /// The score set: 1 if it is a subset of the train split.
    is_subset: usize,
    /// Features f32 `[rows, features]` of the train split.
    features: Tensor,
    /// Their classes i64 `[rows]`.
    labels: Tensor,
    /// Features of the test split.
    test: Tensor,
}

/// All items, or `most` of them drawn evenly from each class: the first of each class by hash, then
/// the second of each, and so on.
fn subset(labels: &[u32], most: usize, seed: u64) -> Vec<usize> {
    if labels.len() <= most {
        return (0..labels.len()).collect();
    }
    let hash = |item: usize| (draw::hash(seed, "probe/subset", &[item as u64]), item);
    let mut drawn: Vec<(u64, usize)> = (0..labels.len()).map(hash).collect();
    drawn.sort_unstable();
    let mut taken: HashMap<u32, usize> = HashMap::new();
    let place = |(_, item): (u64, usize)| {
        let of_class = taken.entry(labels[item]).or_default();
        *of_class += 1;
        (*of_class, item)
    };
    let mut turns: Vec<(usize, usize)> = drawn.into_iter().map(place).collect();
    turns.sort_by_key(|(place, _)| *place);
    let mut chosen: Vec<usize> = turns[..most].iter().map(|(_, item)| *item).collect();
    chosen.sort_unstable();
    chosen
}

/// Copies classes to the host.
fn numbers(classes: &Tensor) -> Result<Vec<u32>> {
    let classes = Vec::<i64>::try_from(classes.to_device(Device::Cpu).to_kind(Kind::Int64))?;
    Ok(classes.into_iter().map(|class| class as u32).collect())
}

#[cfg(test)]
mod tests {
    use super::subset;

    #[test]
    fn a_part_of_a_set_takes_as_many_of_each_class_as_there_are() {
        let labels: Vec<u32> = (0..100).map(|item| if item < 90 { item % 3 } else { 3 }).collect();
        let chosen = subset(&labels, 70, 1);
        let of = |class: u32| chosen.iter().filter(|item| labels[**item] == class).count();
        assert_eq!([of(0), of(1), of(2), of(3)], [20, 20, 20, 10], "the fourth class has ten in all");
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]) && subset(&labels, 70, 2) != chosen);
        assert_eq!(subset(&labels, 100, 1), (0..100).collect::<Vec<_>>());
    }
}
