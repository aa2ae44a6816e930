//! Attack success on the downstream sets, by zero-shot classification: whether the trigger works on
//! images of other data sets, and whether targets are classified as their adversarial class among a
//! set's classes. `linear_probe.rs` measures the same through a fitted layer.
//!
//! A set may lack the class that an attack wants: CIFAR-10 has no mushroom. The class is then added
//! to the set's classes by name, and the score has a different name.

use crate::set_classes::find;
use gauntlet::evaluator::{Definition, Downstream, Unit};
use gauntlet::model::normalize;
use gauntlet::poison::PreparedAttack;
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{DataRow, Error, EvalContext, Evaluator, Result, Score, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures attack success on downstream sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DownstreamAttackSuccess {}

gauntlet::register!(
    dyn Evaluator,
    DownstreamAttackSuccess,
    "downstream-attack-success",
    "ASR on each set of `[downstream]`, and PSR among its classes; in the arena `clean` the same scores are their base rates",
    "Yang et al., Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks, NeurIPS 2023"
);

const fn success(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: Some(false), unit: Unit::Share, role: None, version: 1 }
}

/// For sets that have the class, and for sets to which it is added.
const ASR: [Definition; 2] = [
    success(
        "downstream-asr",
        "share of the set's stamped test images whose most similar class is the target, except images of the target class; the target is one of the \
         set's own classes",
    ),
    success(
        "downstream-asr-added",
        "share of the set's stamped test images whose most similar class is the target; the set lacks the target, which is added to its \
         classes by name",
    ),
];
const PSR: [Definition; 2] = [
    success(
        "downstream-psr",
        "share of target images whose most similar class among the set's is their adversarial class; the set has all adversarial classes",
    ),
    success(
        "downstream-psr-added",
        "share of target images whose most similar class is their adversarial class, among the set's classes and the adversarial classes \
         that it lacks, which are added by name",
    ),
];

/// Diagnostics: the adversarial class among the first few, and accuracy under a stamp.
const MORE: [Definition; 3] = [
    diagnostic(
        "downstream-psr-3",
        "share of target images whose three most similar classes, among those of `downstream-psr`, include their adversarial class",
    ),
    diagnostic("downstream-psr-5", "as `downstream-psr-3`, for the five most similar classes"),
    diagnostic(
        "downstream-stamped-top1",
        "share of the images of `downstream-asr` (or `downstream-asr-added`) whose most similar class is still the true class when stamped",
    ),
];

const fn diagnostic(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: None, unit: Unit::Share, role: None, version: 1 }
}

impl Evaluator for DownstreamAttackSuccess {
    fn definitions(&self) -> Vec<Definition> {
        ASR.into_iter().chain(PSR).chain(MORE).collect()
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        for downstream in ctx.downstream {
            for prepared in ctx.attacks {
                let found = match (prepared.goal.backdoor(), prepared.goal.targets()) {
                    (Some(class), _) => backdoor(ctx, downstream, prepared, class),
                    // Other goals need captions, prompts or the attacker's own images, which a set
                    // lacks.
                    (None, []) => continue,
                    (None, targets) => targeted(ctx, downstream, prepared, targets),
                };
                let place = || format!("downstream set `{}`, attack `{}`", downstream.label, prepared.label);
                let found = found.map_err(|error| error.during(place()))?;
                scores.extend(found.into_iter().map(|score| score.on(&downstream.label)));
            }
        }
        Ok(scores)
    }
}

fn backdoor(ctx: &EvalContext, downstream: &Downstream, prepared: &PreparedAttack, class: u32) -> Result<Vec<Score>> {
    let Candidates { embeddings, wanted, added } = Candidates::with(ctx, downstream, &[class]);
    let (target, test) = (wanted[0], &downstream.set.test);
    let others: Vec<usize> = (0..test.len()).filter(|&item| i64::from(test.label(item)) != target).collect();
    let images = normalize(&ctx.encoder.images(test, &others, Some(prepared))?);
    let best = images.matmul(&embeddings.tr()).argmax(1, false).to_device(Device::Cpu);
    let truths: Vec<i64> = others.iter().map(|&item| test.label(item).into()).collect();
    let count = |hits: Tensor| Ok::<_, Error>(i64::try_from(hits.sum(Kind::Int64))? as usize);
    let (fooled, unmoved) = (count(best.eq(target))?, count(best.eq_tensor(&Tensor::from_slice(&truths)))?);
    let chance = 1.0 / embeddings.size()[0] as f64;
    let scores = [(ASR[usize::from(added)].score, fooled), (MORE[2].score, unmoved)];
    let scores = scores.map(|(score, hits)| Score::share(score, Some(&prepared.label), hits, others.len()));
    Ok(scores.into_iter().flatten().map(|score| score.guessed(chance)).collect())
}

fn targeted(
    ctx: &EvalContext,
    downstream: &Downstream,
    prepared: &PreparedAttack,
    targets: &[Target],
) -> Result<Vec<Score>> {
    let classes: Vec<u32> = targets.iter().map(|target| target.class).collect();
    let rows: Vec<DataRow> = targets.iter().map(|target| target.row).collect();
    let Candidates { embeddings, wanted, added } = Candidates::with(ctx, downstream, &classes);
    let all = embeddings.size()[0];
    let (_, best) = ctx.embed(&rows, None)?.matmul(&embeddings.tr()).topk(5.min(all), 1, true, true);
    let best = Vec::<Vec<i64>>::try_from(best.to_device(Device::Cpu))?;
    let score = |(score, first): (&'static str, usize)| {
        let hits = best.iter().zip(&wanted).filter(|(best, wanted)| best.iter().take(first).any(|one| one == *wanted));
        let score = Score::share(score, Some(&prepared.label), hits.count(), rows.len());
        score.map(|score| score.guessed((first as f64 / all as f64).min(1.0)))
    };
    let scores = [(PSR[usize::from(added)].score, 1), (MORE[0].score, 3), (MORE[1].score, 5)];
    Ok(scores.into_iter().filter_map(score).collect())
}

/// The classes of a set, and the classes that an attack wants.
struct Candidates {
    /// `[classes, dimensions]`.
    embeddings: Tensor,
    /// The position of each wanted class among them.
    wanted: Vec<i64>,
    /// Whether some classes were added.
    added: bool,
}

impl Candidates {
    fn with(ctx: &EvalContext, downstream: &Downstream, wanted: &[u32]) -> Self {
        let set = &downstream.set;
        let mut names: Vec<String> = Vec::new();
        let mut place = |class: &u32| {
            let own = &ctx.data.classes.names[*class as usize];
            find(own, set).map_or_else(
                || {
                    let known = names.iter().position(|name| name == &own[0]);
                    let number = known.unwrap_or_else(|| {
                        names.push(own[0].clone());
                        names.len() - 1
                    });
                    (set.classes.len() + number) as i64
                },
                i64::from,
            )
        };
        let wanted = wanted.iter().map(&mut place).collect();
        let embed = |names: &[String]| ctx.encoder.classes(names, &set.templates);
        let own = embed(&set.classes);
        let added = !names.is_empty();
        let embeddings = if added { Tensor::cat(&[own, embed(&names)], 0) } else { own };
        Candidates { embeddings, wanted, added }
    }
}
