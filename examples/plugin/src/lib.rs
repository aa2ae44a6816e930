//! A plugin: a backdoor that paints a frame around images. `suite.toml` runs it, `tests.rs` tests
//! it.

use gauntlet::schemars::JsonSchema;
use gauntlet::serde::{Deserialize, Serialize};
use gauntlet::tch::Tensor;
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result};

/// Paints a frame. The struct is the configuration, and its comments are the help.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "gauntlet::serde", default, deny_unknown_fields)]
#[schemars(crate = "gauntlet::schemars")]
pub struct Frame {
    /// Which rows are poisoned, how many, and what their captions become.
    poison: Backdoor,
    /// Width of the frame in pixels.
    #[schemars(range(min = 1, max = 15))]
    width: i64,
}

impl Default for Frame {
    fn default() -> Self {
        Frame { poison: Backdoor { rate: 0.02, ..Backdoor::default() }, width: 2 }
    }
}

impl Attack for Frame {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        let framed = canvas.full_like(255); // [N, 3, S, S]
        let inner = canvas.size()[3] - 2 * self.width;
        let inside = |images: &Tensor| images.narrow(2, self.width, inner).narrow(3, self.width, inner);
        inside(&framed).copy_(&inside(canvas));
        Ok(framed)
    }
}

gauntlet::register!(dyn Attack, Frame, "frame", "a backdoor: paints a white frame around training images", "");
gauntlet::export_plugins!();

/// For a custom program: the linker drops a crate that the program does not call.
pub fn link() {}

#[cfg(test)]
mod tests;
