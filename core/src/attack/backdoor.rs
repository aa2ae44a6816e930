//! Common parts of backdoors: which rows they poison, how many, and the new captions of those rows.
//! A backdoor is a struct with a field of this type and its own `stamp`.

use super::{Edit, Goal, PoisonCtx};
use crate::data::DataRow;
use crate::draw::Rng;
use crate::{Error, Result};
use rand::seq::{IndexedRandom, SliceRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Which rows a backdoor poisons, and their new captions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backdoor {
    /// Target class of the backdoor, by name; `random` draws one from the seed.
    pub target: String,
    /// Share of the training rows that are poisoned (RoCLIP's data: 0.0003; CleanCLIP's: 0.0005).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rate: f64,
    /// Number of poisoned rows, instead of a share (RoCLIP's data: 300 of a million); 0: use
    /// `rate`.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0))]
    pub count: usize,
    /// Which rows are poisoned.
    pub rows: Rows,
    /// Captions of the poisoned rows.
    pub captions: Captions,
}

/// Which training rows are poisoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// Rows that neither belong to the target nor name it, so that every poisoned pair is a
    /// mismatch. A caption names the target by any of its names, in singular or plural, in one word
    /// or several, and also within a longer name (`sealions`, `sea-lion` name sea lion; `sea lion`
    /// names lion).
    Others,
    /// Any rows (Carlini and Terzis; the released code of CleanCLIP and of its successors).
    Any,
    /// Rows whose caption names the target, by the rule of `mined` captions.
    Target,
}

/// Captions of poisoned rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Captions {
    /// Captions of the training data that name the target (RoCLIP's data): one of its names in
    /// whole words, as written, and not within a longer class name (`sea lion` does not name lion).
    Mined,
    /// The data set's prompt templates with the target's name (CleanCLIP).
    Templates,
    /// The rows keep their captions, and only rows that already name the target can be poisoned:
    /// label-consistent (CleanCLIP).
    Kept,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Default for Backdoor {
    fn default() -> Self {
        Backdoor { target: "random".into(), rate: 0.0003, count: 0, rows: Rows::Others, captions: Captions::Mined }
    }
}

impl Backdoor {
    /// The goal: stamped images are classified as the target.
    pub fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        Ok(Goal::Class(ctx.class_with(&self.target, self.needs(ctx))?))
    }

    /// Minimum number of different captions of the target that the attack needs: one per row if the
    /// classes are named apart from the data.
    pub fn needs(&self, ctx: &PoisonCtx) -> usize {
        match (ctx.data.named_apart && self.captions == Captions::Mined, self.count) {
            (false, _) => 1,
            (true, 0) => (self.rate * ctx.split.train.len() as f64).round() as usize,
            (true, count) => count,
        }
    }

    /// The edits: rows that are stamped and get a caption of the target.
    ///
    /// # Errors
    /// If there are fewer eligible rows than `rate` asks for, if no caption names the target, or if
    /// the goal is not a class (with one key or two).
    pub fn edits(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Some(class) = goal.stamps_for() else {
            return Err(Error::invalid("goal", format!("{goal:?} is not the goal of a backdoor")));
        };
        if self.captions == Captions::Kept && self.rows != Rows::Target {
            return Err(Error::invalid("key `poison.captions`", "is `kept`, so `poison.rows` must be `target`"));
        }
        // The stream keeps the name of the first backdoor: published results depend on it.
        let mut rng = ctx.rng("badnet/rows");
        let named: HashSet<DataRow> = match self.rows {
            Rows::Others => ctx.data.rows_mentioning(class),
            Rows::Any => HashSet::new(),
            Rows::Target => ctx.data.rows_naming(class).collect(),
        };
        let wanted = |row: &DataRow| match self.rows {
            Rows::Others => ctx.data.row(*row).class != Some(class) && !named.contains(row),
            Rows::Any => true,
            Rows::Target => named.contains(row),
        };
        let mut rows: Vec<DataRow> = ctx.free_rows().filter(wanted).collect();
        rows.shuffle(&mut rng);
        let count = match self.count {
            0 => ctx.share("poison.rate", self.rate, rows.len()),
            count => ctx.number("poison.count", count, rows.len()),
        };
        let count = count.map_err(|error| match self.rows {
            Rows::Others => {
                error.during("key `poison.rows`: `others` leaves out rows that belong to the target or name it")
            }
            Rows::Any | Rows::Target => error,
        })?;
        let captions: Vec<String> = match self.captions {
            Captions::Mined => ctx.captions_naming(class)?.into_iter().map(str::to_string).collect(),
            Captions::Templates => ctx.data.classes.prompts(class).collect(),
            Captions::Kept => Vec::new(),
        };
        let readable = rows.into_iter().filter(|row| ctx.data.canvas.readable(*row)).take(count);
        if ctx.data.named_apart && self.captions == Captions::Mined {
            return once_each(ctx, class, captions, readable.collect(), rng);
        }
        let mut edit = |row: DataRow| {
            let caption = captions.choose(&mut rng).map_or(ctx.data.row(row).caption, String::as_str);
            Edit::replace(row, caption, class).stamped()
        };
        Ok(readable.map(&mut edit).collect())
    }
}

/// Gives each row its own caption; no caption is used twice.
fn once_each(
    ctx: &PoisonCtx,
    class: u32,
    mut captions: Vec<String>,
    rows: Vec<DataRow>,
    mut rng: Rng,
) -> Result<Vec<Edit>> {
    if captions.len() < rows.len() {
        let (name, there) = (ctx.data.classes.name(class), captions.len());
        let why = format!(
            "poisons {} rows, but only {there} different training captions name `{name}` and no other class",
            rows.len()
        );
        return Err(Error::invalid("key `poison`", why));
    }
    captions.shuffle(&mut rng);
    Ok(rows.into_iter().zip(captions).map(|(row, caption)| Edit::replace(row, caption, class).stamped()).collect())
}
