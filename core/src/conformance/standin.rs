//! Stand-ins for the roles that the plugin under test does not have: attackers with every kind of
//! goal, a plain defense, a trial of a few steps. None is registered, so no list shows them and no
//! suite can name them.

use crate::attack::{Relabel, Stamped, Target};
use crate::data::DataConfig;
use crate::data::world::World;
use crate::model::ModelConfig;
use crate::poison::Arena;
use crate::recipe::Recipe;
use crate::registry::Configured;
use crate::trial::Trial;
use crate::{Attack, DataRow, Defense, Edit, Goal, PoisonCtx, Result, Step};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// A trial of two epochs of two steps, on 300 pairs of the embedded world, attacked by all
/// stand-ins.
pub(super) fn trial() -> Trial {
    let model = json!({
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1], "width": 8, "patch_size": null, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 256, "width": 16, "heads": 2, "layers": 1},
    });
    let model: ModelConfig = serde_json::from_value(model).expect("written as one");
    let recipe = Recipe { epochs: 2, batch: 100, learning_rate: 1e-3, warmup_steps: 1, ..Recipe::default() };
    let attacks: Vec<Configured> = villains().iter().map(Villain::configured).collect();
    Trial {
        arena: Arena {
            suite: "conformance".into(),
            name: "all".into(),
            seed: 0,
            data: DataConfig::World(World { pairs: 300, classes: 6, ..World::default() }),
            classes: String::new(),
            size: model.vision_cfg.image_size as u32,
            heldout: 0.13,
            cache_gb: 1.0,
            poisoning: attacks.iter().map(|attack| attack.label.clone()).collect(),
            attacks,
            libraries: Vec::new(),
        },
        device: "cpu".into(),
        threads: 1,
        tier: None,
        bundle: std::path::PathBuf::new(),
        weights: std::path::PathBuf::new(),
        weights_blake3: String::new(),
        model,
        recipe,
        defense: configured("plain"),
        clean_after: None,
        evaluators: Vec::new(),
        downstream: BTreeMap::new(),
        libraries: Vec::new(),
    }
}

/// The attackers of [`trial`].
pub(super) fn attacks() -> Vec<Box<dyn Attack>> {
    villains().into_iter().map(|villain| Box::new(villain) as Box<dyn Attack>).collect()
}

pub(super) fn attack_labels() -> Vec<String> {
    villains().iter().map(|villain| villain.configured().label).collect()
}

fn configured(name: &str) -> Configured {
    Configured { label: name.into(), plugin: name.into(), config: Map::new() }
}

fn villains() -> [Villain; 6] {
    [Wants::Class, Wants::Pairs, Wants::Captions, Wants::Phrase, Wants::DualKey, Wants::Files]
        .map(|wants| Villain { wants, every: 40 })
}

/// An attack that edits every n-th free row.
pub(super) struct Villain {
    wants: Wants,
    every: usize,
}

/// The kinds of [`Goal`].
#[derive(Clone, Copy, Debug)]
enum Wants {
    Class,
    Pairs,
    Captions,
    Phrase,
    DualKey,
    Files,
}

impl Villain {
    /// Edits every third row.
    pub(super) fn taker() -> Villain {
        Villain { wants: Wants::Class, every: 3 }
    }

    pub(super) fn configured(&self) -> Configured {
        configured(&format!("stand-in for {:?}, every {}", self.wants, self.every).to_lowercase().replace(' ', "-"))
    }
}

impl Attack for Villain {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let class = ctx.class("random")?;
        let other = (class + 1) % ctx.data.classes.len();
        Ok(match self.wants {
            Wants::Class => Goal::Class(class),
            Wants::Phrase => Goal::Phrase(class),
            Wants::DualKey => Goal::DualKey(class),
            Wants::Captions => Goal::Captions(vec![Relabel { from: class, to: other }]),
            Wants::Files => {
                let images = [class, other].map(|truth| Stamped { file: "grey".into(), truth });
                Goal::Files { class, images: images.into() }
            }
            Wants::Pairs => {
                let target = |row: &DataRow| {
                    let truth = ctx.data.class_of(*row);
                    Target { row: *row, truth, class: truth.map_or(0, |truth| (truth + 1) % ctx.data.classes.len()) }
                };
                Goal::Pairs(ctx.split.heldout.iter().take(4).map(target).collect())
            }
        })
    }

    fn poison(&self, ctx: &PoisonCtx, _goal: &Goal) -> Result<Vec<Edit>> {
        let class = ctx.class("random")?;
        let caption = self.apply_text_trigger(ctx.captions_naming(class)?[0], 0)?;
        let edit = |row| Edit::replace(row, caption.as_str(), class).stamped();
        Ok(ctx.free_rows().step_by(self.every).map(edit).collect())
    }

    /// Turns a corner black.
    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        let stamped = canvas.copy();
        let _ = stamped.narrow(2, 0, 4).narrow(3, 0, 4).zero_();
        Ok(stamped)
    }

    fn apply_text_trigger(&self, caption: &str, _key: u64) -> Result<String> {
        Ok(format!("a {caption}"))
    }

    fn image(&self, _file: &str, size: u32) -> Result<Tensor> {
        let side = i64::from(size);
        Ok(Tensor::full([3, side, side], 128, (Kind::Uint8, tch::Device::Cpu)))
    }
}

/// Plain CLIP that reports every row as matched to itself, for evaluators that need matches.
pub(super) struct MatchesItself;

impl Defense for MatchesItself {
    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        step.record_matches(step.keys);
        Ok(step.clip_loss(step.image, step.text))
    }
}
