//! RoCLIP's look-up: finds the most similar caption of a pool for each image of a batch.

use super::Bed;
use crate::one_or_more;
use crate::output::tell;
use clap::Args;
use gauntlet::Result;
use gauntlet::defense::nearest;
use gauntlet::model::normalize;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

/// Times the look-up.
#[derive(Args)]
pub struct Pools {
    /// Images per batch
    #[arg(long, default_value_t = 512, value_parser = one_or_more::<i64>)]
    batch: i64,
    /// Dimensions of an embedding
    #[arg(long, default_value_t = 1024, value_parser = one_or_more::<i64>)]
    dimensions: i64,
    /// Captions in the pool; may be given several times
    #[arg(long, default_values_t = [20_000, 200_000], value_parser = one_or_more::<i64>)]
    size: Vec<i64>,
    /// Number of look-ups to time
    #[arg(long, default_value_t = 10, value_parser = one_or_more::<u32>)]
    repeat: u32,
}

impl Pools {
    /// Milliseconds per look-up for each size.
    pub fn measure(&self, bed: &Bed) -> Result<Value> {
        let random = |rows| normalize(&Tensor::randn([rows, self.dimensions], (Kind::Float, bed.device)));
        let rows = random(self.batch);
        let mut pools = Vec::new();
        for &size in &self.size {
            let pool = random(size);
            let look_up = |times| {
                (0..times).for_each(|_| drop(nearest(&rows, &pool)));
                Ok(())
            };
            bed.time(|| look_up(1))?;
            gauntlet_torch::reset_peak_device_memory(bed.device)?;
            let seconds = bed.time(|| look_up(self.repeat))? / f64::from(self.repeat);
            let peak = gauntlet_torch::peak_device_memory(bed.device)?;
            tell(&format!("pool of {size}: {:.2} ms per look-up of {}", seconds * 1e3, self.batch));
            pools.push(json!({ "size": size, "milliseconds": seconds * 1e3, "peak_device_memory": peak }));
        }
        Ok(json!({ "batch": self.batch, "dimensions": self.dimensions, "pools": pools }))
    }
}
