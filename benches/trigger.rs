//! Every trigger for images on a batch of canvases, at its defaults.

use criterion::{Criterion, Throughput};
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{Attack, registry};

const ROWS: i64 = 64;

pub fn bench(criterion: &mut Criterion) {
    gauntlet_attacks::link();
    gauntlet::tch::set_num_threads(1);
    let keys: Vec<u64> = (0..ROWS as u64).collect();
    let mut group = criterion.benchmark_group("trigger");
    group.throughput(Throughput::Elements(ROWS as u64));
    for size in [224, 32] {
        let canvases = Tensor::randint(256, [ROWS, 3, size, size], (Kind::Uint8, Device::Cpu));
        // The floor: what it costs to read and write them.
        group.bench_function(format!("copy on {ROWS} of {size}"), |bencher| bencher.iter(|| canvases.copy()));
        for plugin in registry::all::<dyn Attack>().expect("names are unique") {
            let attack = plugin.build(&(plugin.defaults)()).expect("it ships");
            let stamp = || attack.stamp(&canvases, &keys);
            // Some have no trigger for images, and badclip's is not there until it is prepared.
            if stamp().is_ok_and(|stamped| !stamped.equal(&canvases)) {
                group.bench_function(format!("{} on {ROWS} of {size}", plugin.name), |bencher| bencher.iter(stamp));
            }
        }
    }
    group.finish();
}
