//! Attack success on the downstream sets, by zero-shot classification: does the trigger work on pictures that the model was never
//! trained for, and are targets taken for their adversarial class among that set's classes? (Through a fitted layer: `linear_probe.rs`.)
//!
//! A set may not have the class that an attack wants: CIFAR-10 has no mushroom. It is then added to the set's classes by name, and the
//! score says so in its own name.

use crate::set_classes::find;
use gauntlet::evaluator::{Definition, Downstream, Unit};
use gauntlet::model::normalize;
use gauntlet::poison::Threat;
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{Evaluator, Goal, Result, Score, Subject, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Attack success on downstream sets.
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
    Definition { score, definition, higher_is_better: Some(false), unit: Unit::Share }
}

/// Where the set has the class, and where it is added.
const ASR: [Definition; 2] = [
    success(
        "downstream-asr",
        "share of the set's stamped test pictures, true class not the target, whose most similar class is the target, which is one of the \
         set's own classes",
    ),
    success(
        "downstream-asr-added",
        "share of the set's stamped test pictures whose most similar class is the target, which the set does not have: it was added to its \
         classes by name",
    ),
];
const PSR: [Definition; 2] = [
    success(
        "downstream-psr",
        "share of target pictures whose most similar class among the set's is their adversarial one; the set has all adversarial classes",
    ),
    success(
        "downstream-psr-added",
        "share of target pictures whose most similar class is their adversarial one, among the set's classes and those adversarial classes \
         that it does not have, added by name",
    ),
];

impl Evaluator for DownstreamAttackSuccess {
    fn definitions(&self) -> Vec<Definition> {
        ASR.into_iter().chain(PSR).collect()
    }

    fn evaluate(&self, subject: &Subject) -> Result<Vec<Score>> {
        let mut scores = Vec::new();
        for downstream in subject.downstream {
            for threat in subject.threats {
                let score = match &threat.goal {
                    Goal::Class(class) => backdoor(subject, downstream, threat, *class),
                    Goal::Pairs(targets) => targeted(subject, downstream, threat, targets),
                    // Success there needs captions, prompts or the attacker's own pictures: no matter of this set's.
                    Goal::Captions(_) | Goal::Phrase(_) | Goal::DualKey(_) | Goal::Files { .. } => Ok(None),
                };
                let place = || format!("downstream set `{}`, attack `{}`", downstream.label, threat.label);
                let score = score.map_err(|error| error.during(place()))?;
                scores.extend(score.map(|score| score.on(&downstream.label)));
            }
        }
        Ok(scores)
    }
}

fn backdoor(subject: &Subject, downstream: &Downstream, threat: &Threat, class: u32) -> Result<Option<Score>> {
    let Candidates { embeddings, wanted, added } = Candidates::with(subject, downstream, &[class]);
    let (target, test) = (wanted[0], &downstream.set.test);
    let others: Vec<usize> = (0..test.len()).filter(|&item| i64::from(test.label(item)) != target).collect();
    let images = normalize(&subject.encoder.pictures(test, &others, Some(threat))?);
    let hits = images.matmul(&embeddings.tr()).argmax(1, false).eq(target).sum(Kind::Int64);
    let score =
        Score::share(ASR[usize::from(added)].score, Some(&threat.label), i64::try_from(hits)? as usize, others.len());
    Ok(score.map(|score| score.guessed(1.0 / embeddings.size()[0] as f64)))
}

fn targeted(subject: &Subject, downstream: &Downstream, threat: &Threat, targets: &[Target]) -> Result<Option<Score>> {
    let classes: Vec<u32> = targets.iter().map(|target| target.class).collect();
    let rows: Vec<u32> = targets.iter().map(|target| target.row).collect();
    let Candidates { embeddings, wanted, added } = Candidates::with(subject, downstream, &classes);
    let found = subject.embed(&rows, None)?.matmul(&embeddings.tr()).argmax(1, false).to_device(Device::Cpu);
    let hits = i64::try_from(found.eq_tensor(&Tensor::from_slice(&wanted)).sum(Kind::Int64))? as usize;
    let score = Score::share(PSR[usize::from(added)].score, Some(&threat.label), hits, rows.len());
    Ok(score.map(|score| score.guessed(1.0 / embeddings.size()[0] as f64)))
}

/// The classes of a set, and those that an attack wants.
struct Candidates {
    /// `[classes, dimensions]`.
    embeddings: Tensor,
    /// The place of each wanted class among them.
    wanted: Vec<i64>,
    /// Whether some were added.
    added: bool,
}

impl Candidates {
    fn with(subject: &Subject, downstream: &Downstream, wanted: &[u32]) -> Self {
        let set = &downstream.set;
        let mut names: Vec<String> = Vec::new();
        let mut place = |class: &u32| {
            let own = &subject.data.classes.names[*class as usize];
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
        let embed = |names: &[String]| subject.encoder.classes(names, &set.templates);
        let own = embed(&set.classes);
        let added = !names.is_empty();
        let embeddings = if added { Tensor::cat(&[own, embed(&names)], 0) } else { own };
        Candidates { embeddings, wanted, added }
    }
}
