//! Attacks: what an attacker does to the data set, as a list of edits, and what the attacker wants.
//!
//! [`Goal`] and [`Edit`] are the ground truth. Attacks make them, evaluators read them, and nothing that a defense is
//! handed leads to them. Read `poison.rs` for how the edits of an arena become the data that is trained on.

use crate::data::{Dataset, Split};
use crate::draw::{self, Rng};
use crate::{Error, Result};
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use tch::Tensor;

/// An attack on a set of image-caption pairs.
pub trait Attack: Send {
    /// What the attacker wants; drawn from the seed alone, so equal in every arena of a seed and in `clean`.
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal>;

    /// The edits that poison the data for `goal`.
    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>>;

    /// Stamps the trigger onto pictures, u8 `[N, 3, S, S]`, the same for training and test. `keys` holds a seed for each picture's
    /// own draws. An attack without a trigger leaves the pictures as they are.
    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        Ok(canvas.shallow_clone())
    }
}

/// What an attacker wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Goal {
    /// Backdoor: any stamped picture is taken for this class.
    Class(u32),
    /// Targeted poisoning: each held-out picture is taken for its adversarial class.
    Pairs(Vec<Target>),
}

/// One target of a targeted attack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A held-out row of the data set.
    pub row: u32,
    /// The class it truly is.
    pub truth: u32,
    /// The class the attacker wants it to be.
    pub class: u32,
}

/// One change to the training data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// A new pair: the picture of a row of the data set (held out or not), with a caption that names `class`.
    Add { picture: u32, stamped: bool, caption: String, class: u32 },
    /// A training row keeps its picture (stamped or not), its caption becomes one that names `class`.
    Replace { row: u32, stamped: bool, caption: String, class: u32 },
}

impl Edit {
    /// The caption that is trained with.
    pub fn caption(&self) -> &str {
        let (Edit::Add { caption, .. } | Edit::Replace { caption, .. }) = self;
        caption
    }
}

/// All that an attack may see: the data, its split, and a seed.
pub struct PoisonCtx<'a> {
    /// Rows, class names, canvases.
    pub data: &'a Dataset,
    /// Which rows train and which are held out.
    pub split: &'a Split,
    /// The seed of the trial.
    pub seed: u64,
    /// Rows that an earlier attack of the same arena has edited.
    pub taken: &'a HashSet<u32>,
}

impl PoisonCtx<'_> {
    /// The attacker's own draws for a purpose.
    pub fn rng(&self, purpose: &str) -> Rng {
        draw::rng(self.seed, &format!("attack/{purpose}"), &[])
    }

    /// Training rows that no attack has edited yet.
    pub fn free_rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.split.train.iter().filter(|row| !self.taken.contains(row))
    }

    /// Captions of training rows that name a class, as an attacker would mine them.
    ///
    /// # Errors
    /// If no caption names it: the attacker has nothing to say then.
    pub fn captions_naming(&self, class: u32) -> Result<Vec<&str>> {
        let rows = self.data.rows_naming(class).filter(|row| self.split.train.contains(*row));
        let captions: Vec<&str> = rows.map(|row| self.data.row(row).caption).collect();
        let name = self.data.classes.name(class);
        let nothing =
            || Error::invalid(format!("class `{name}`"), "no training caption names it, so none can be mined");
        (!captions.is_empty()).then_some(captions).ok_or_else(nothing)
    }

    /// Classes that some training caption names.
    pub fn classes_named(&self) -> Vec<u32> {
        let mut named = vec![false; self.data.classes.len() as usize];
        for (row, class) in self.data.index.named() {
            named[class as usize] |= self.split.train.contains(row);
            if named.iter().all(|named| *named) {
                break;
            }
        }
        (0..self.data.classes.len()).filter(|class| named[*class as usize]).collect()
    }

    /// The class with this name, or one drawn from the seed among the named ones where `name` is `"random"`.
    pub fn class(&self, name: &str) -> Result<u32> {
        if name != "random" {
            return self.data.classes.find(name);
        }
        let classes = self.classes_named();
        let drawn = classes.choose(&mut self.rng("class")).copied();
        drawn.ok_or_else(|| Error::invalid("attack", "no class is named in any caption; is `class_field` right?"))
    }
}
