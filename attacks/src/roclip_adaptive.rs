//! A backdoor whose attacker knows the defense's configuration, here RoCLIP's published pool and
//! augmentations.
//!
//! This attack is ours; no paper has it. RoCLIP's pool matches an image to the nearest of `pool`
//! captions. The attack therefore poisons enough rows that the pool contains adversarial captions
//! at every moment, and uses each of the target's captions equally often. RoCLIP's augmentations
//! crop, mirror, blur and remove colour. The trigger is therefore a faint grey checkerboard over
//! the whole image: it has no colour, it is symmetric under mirroring, and its squares are half as
//! wide as the smallest crop, so a blur of a few pixels leaves them visible.

use crate::pixels;
use gauntlet::attack::{Backdoor, Captions, Rows};
use gauntlet::rand::seq::SliceRandom;
use gauntlet::{Attack, Edit, Goal, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// A backdoor that is adapted to RoCLIP's configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoclipAdaptive {
    /// Target class of stamped images, by name; `random` draws one from the seed.
    target: String,
    /// The defense's `pool`: size of its caption pool as a share of the training rows.
    #[schemars(range(min = 0.0001, max = 1.0))]
    pool: f64,
    /// Adversarial captions in the pool, on average: `in_pool / pool` rows are poisoned (150 by
    /// default).
    #[schemars(range(min = 0.0))]
    in_pool: f64,
    /// The defense's smallest crop, as a share of the image's area (RoCLIP's release: 0.08).
    #[schemars(range(min = 0.01, max = 1.0))]
    crop_area: f64,
    /// Weight of the checkerboard; the image has the rest (blended attacks: 0.2).
    #[schemars(range(min = 0.0, max = 1.0))]
    alpha: f64,
}

impl Default for RoclipAdaptive {
    fn default() -> Self {
        RoclipAdaptive { target: "random".into(), pool: 0.02, in_pool: 3.0, crop_area: 0.08, alpha: 0.2 }
    }
}

gauntlet::register!(
    dyn Attack,
    RoclipAdaptive,
    "roclip-adaptive",
    "a backdoor that knows RoCLIP's configuration: enough captions for its pool, a trigger that survives its augmentations",
    ""
);

impl RoclipAdaptive {
    /// Poisons so many rows that RoCLIP's pool contains `in_pool` of their captions on average.
    fn backdoor(&self, ctx: &PoisonCtx) -> Backdoor {
        let rate = self.in_pool / self.pool / ctx.split.train.len() as f64;
        Backdoor { rate, rows: Rows::Others, captions: Captions::Mined, ..Backdoor::default() }
    }
}

impl Attack for RoclipAdaptive {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        Ok(Goal::Class(ctx.class_with(&self.target, self.backdoor(ctx).needs(ctx))?))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Class(class) = *goal else { unreachable!("the goal of this attack is a class") };
        let edits = self.backdoor(ctx).edits(ctx, goal).map_err(|error| error.during("keys `in_pool` and `pool`"))?;
        let mut captions = ctx.captions_naming(class)?;
        captions.shuffle(&mut ctx.rng("roclip-adaptive/captions"));
        let spread = edits.into_iter().zip(captions.into_iter().cycle());
        Ok(spread.map(|(edit, caption)| Edit { caption: caption.to_string(), ..edit }).collect())
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let (side, alpha) = (canvas.size()[3], self.alpha as f32);
        let board = checkerboard(side, self.crop_area.sqrt() * side as f64 / 2.0);
        let pattern: Vec<f32> = [0; 3].iter().flat_map(|_| board.iter().map(|square| 255.0 * alpha * square)).collect();
        pixels::each(canvas, keys, |from, to, _| pixels::mix(from, 1.0 - alpha, &pattern, to))
    }

    fn adapted_to(&self) -> String {
        "roclip".into()
    }
}

/// Squares of 0 and 1 `[side, side]`. The board starts at the middle of the upper edge, so that it
/// is symmetric under mirroring.
fn checkerboard(side: i64, square: f64) -> Vec<f32> {
    let middle = (side - 1) as f64 / 2.0;
    let across = |column: i64| ((column as f64 - middle).abs() / square) as i64;
    let down = |row: i64| (row as f64 / square) as i64;
    let value = |row: i64, column: i64| ((down(row) + across(column)) % 2) as f32;
    (0..side).flat_map(|row| (0..side).map(move |column| value(row, column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_trigger_is_grey_its_own_mirror_image_and_whole_in_the_smallest_crop() {
        let attack = RoclipAdaptive { crop_area: 0.25, ..RoclipAdaptive::default() };
        let grey = Tensor::full([1, 3, 32, 32], 100, (Kind::Uint8, Device::Cpu));
        let stamped = attack.stamp(&grey, &[0]).unwrap();
        assert!(stamped.equal(&stamped.flip([3])), "mirrored");
        assert!(stamped.narrow(1, 0, 2).equal(&stamped.narrow(1, 1, 2)), "grey");
        for (top, left) in [(0, 0), (0, 16), (16, 3), (7, 9), (16, 16)] {
            let crop = stamped.narrow(2, top, 16).narrow(3, left, 16);
            let (least, most) = (i64::try_from(crop.min()).unwrap(), i64::try_from(crop.max()).unwrap());
            assert_eq!((least, most), (80, 131), "80, and 51 more; the crop at {top}, {left} has both squares");
        }
    }
}
