//! A plugin: a defense that leaves the least similar pairs out of each step. `suite.toml` runs it,
//! `tests.rs` tests it.

use gauntlet::schemars::JsonSchema;
use gauntlet::serde::{Deserialize, Serialize};
use gauntlet::tch::{Kind, Tensor};
use gauntlet::{Defense, Result, Step};

/// Leaves pairs out. The struct is the configuration, and its comments are the help.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "gauntlet::serde", default, deny_unknown_fields)]
#[schemars(crate = "gauntlet::schemars")]
pub struct Trim {
    /// Share of each batch that is left out.
    #[schemars(range(min = 0.0, max = 0.9))]
    share: f64,
    /// First epochs, with plain CLIP: an untrained model cannot tell which pairs fit.
    after: u32,
}

impl Default for Trim {
    fn default() -> Self {
        Trim { share: 0.1, after: 1 }
    }
}

impl Defense for Trim {
    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        if step.epoch <= self.after {
            return Ok(step.clip_loss(step.image, step.text));
        }
        let kept = self.kept(&(step.image * step.text).sum_dim_intlist(1, false, Kind::Float));
        Ok(step.clip_loss(&step.image.index_select(0, &kept), &step.text.index_select(0, &kept)))
    }
}

impl Trim {
    /// Row numbers of the most similar pairs, i64 `[kept]`, from the similarity of each pair
    /// `[batch]`.
    fn kept(&self, similarity: &Tensor) -> Tensor {
        let rows = similarity.size()[0] as f64;
        similarity.topk((rows * (1.0 - self.share)).ceil() as i64, 0, true, true).1
    }
}

gauntlet::register!(dyn Defense, Trim, "trim", "leaves the least similar pairs out of each step", "");
gauntlet::export_plugins!();

/// For a custom program: the linker drops a crate that the program does not call.
pub fn link() {}

#[cfg(test)]
mod tests;
