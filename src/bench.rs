//! `gauntlet bench`: measurements on one device, one file each in `bench/`. `bench/gpu.sh` (at the
//! root) runs all of them on a machine with a GPU.

mod numerics;
mod pool;
mod probe;
mod start;
mod step;

use crate::exit::Exit;
use crate::{one_or_more, say};
use clap::{Args, Subcommand};
use gauntlet::suite::resolve_device;
use gauntlet::trial::parse_device;
use gauntlet::{Error, Result};
use serde_json::{Map, Value, json};
use std::time::Instant;
use tch::Device;

/// Measures numbers and speed on a device.
#[derive(Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
    /// Measure on this device: auto, cpu, cuda or cuda:N
    #[arg(long, global = true, default_value = "auto")]
    device: String,
    /// CPU threads of tensor operations
    #[arg(long, global = true, default_value_t = 1, value_parser = one_or_more::<i32>)]
    threads: i32,
    /// On a GPU, use gauntlet's own kernels for batch norm and pooling. Trials do not use them:
    /// their speed is not known yet
    #[arg(long, global = true)]
    kernels: bool,
}

#[derive(Subcommand)]
enum What {
    /// Compare with the golden files of PyTorch, open_clip and torchvision, in fp32 and bf16; fails
    /// if a tensor is off
    Numerics(numerics::Numerics),
    /// Time training steps of a model on random images and captions
    Step(step::Steps),
    /// Time RoCLIP's look-up of a batch in its pool
    Pool(pool::Pools),
    /// Time the linear probe's solver on features in a file
    Probe(probe::Probe),
    /// Time from the start of a process to its first training step
    Start(start::Start),
}

/// Where and how a measurement runs.
struct Bed {
    /// The device, named as in a trial.
    name: String,
    device: Device,
    threads: i32,
}

impl Bench {
    /// Measures, prints the results as JSON, and fails if a number is wrong.
    pub fn run(self) -> Result<Exit> {
        let name = resolve_device(&self.device);
        let bed = Bed { device: parse_device(&name)?, name, threads: self.threads };
        tch::set_num_threads(bed.threads);
        gauntlet_torch::set_tf32(false)?;
        gauntlet_torch::use_kernels(self.kernels);
        let load = load_average();
        let (what, right, found) = match self.what {
            What::Numerics(numerics) => numerics.measure(&bed).map(|(right, found)| ("numerics", right, found))?,
            What::Step(steps) => ("step", true, steps.measure(&bed)?),
            What::Pool(pools) => ("pool", true, pools.measure(&bed)?),
            What::Probe(probe) => ("probe", true, probe.measure(&bed)?),
            What::Start(start) => ("start", true, start.measure(&bed)?),
        };
        let mut report = json!({
            "bench": what,
            "gauntlet": env!("CARGO_PKG_VERSION"),
            "libtorch": gauntlet_torch::libtorch_version()?,
            "device": gauntlet_torch::device_name(bed.device)?,
            "threads": bed.threads,
            "tf32": gauntlet_torch::allows_tf32()?,
            "kernels": self.kernels,
            "load": [load, load_average()],
        });
        let found: Map<String, Value> = found.as_object().cloned().expect("each measurement is an object");
        report.as_object_mut().expect("an object").extend(found);
        say(&(serde_json::to_string_pretty(&report).expect("plain data") + "\n"));
        Ok(if right { Exit::Done } else { Exit::Failed })
    }
}

impl Bed {
    /// Waits until the device has finished its work.
    fn synchronize(&self) {
        if let Device::Cuda(number) = self.device {
            tch::Cuda::synchronize(number as i64);
        }
    }

    /// Seconds that `body` takes, including the device's work.
    fn time(&self, body: impl FnOnce() -> Result<()>) -> Result<f64> {
        self.synchronize();
        let clock = Instant::now();
        body()?;
        self.synchronize();
        Ok(clock.elapsed().as_secs_f64())
    }
}

/// Load average of the last minute: a measurement is invalid if other processes run.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// An empty folder that is removed with its content on drop.
fn scratch() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))
}
