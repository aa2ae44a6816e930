//! A plugin: an attack that paints a frame around pictures. `gauntlet run suite.toml --plugin libgauntlet_example.so` loads it, and a
//! suite names it as `plugin = "gauntlet-example/frame"`.

use gauntlet::tch::Tensor;
use gauntlet::{Attack, Edit, Goal, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Paints a frame.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Frame {
    /// Class that framed pictures are to be taken for, by name; `random` draws one from the seed.
    target: String,
    /// Training rows that are poisoned: the first that no other attack has edited.
    rows: usize,
    /// Width of the frame in pixels.
    #[schemars(range(min = 1))]
    width: i64,
    /// Brightness of the frame, 0 black and 255 white.
    grey: u8,
}

impl Default for Frame {
    fn default() -> Self {
        Frame { target: "random".into(), rows: 20, width: 2, grey: 255 }
    }
}

gauntlet::register!(dyn Attack, Frame, "frame", "a backdoor: paints a frame around training pictures", "");

impl Attack for Frame {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        Ok(Goal::Class(ctx.class(&self.target)?))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Class(class) = *goal else { unreachable!("the goal of this attack is a class") };
        let caption = ctx.captions_naming(class)?[0].to_string();
        let edit = |row| Edit::replace(row, caption.as_str(), class).stamped();
        Ok(ctx.free_rows().filter(|row| ctx.data.canvas.readable(*row)).take(self.rows).map(edit).collect())
    }

    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        let framed = canvas.full_like(i64::from(self.grey)); // [N, 3, S, S]
        let (side, width) = (canvas.size()[3], self.width);
        let inner = |pictures: &Tensor| pictures.narrow(2, width, side - 2 * width).narrow(3, width, side - 2 * width);
        inner(&framed).copy_(&inner(canvas));
        Ok(framed)
    }
}

/// For a program of one's own, which drops a crate that it calls nothing of: `fn main() -> ExitCode { mine::link(); gauntlet_cli::main() }`.
pub fn link() {}

gauntlet::export_plugins!();
