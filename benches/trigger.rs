//! A backdoor's trigger on a batch of canvases.

use criterion::{Criterion, Throughput};
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{Attack, plugin};

const ROWS: i64 = 64;

pub fn bench(criterion: &mut Criterion) {
    gauntlet_attacks::link();
    let badnet = plugin::find::<dyn Attack>("badnet").and_then(|plugin| plugin.build("{}")).expect("it ships");
    let canvases = Tensor::randint(256, [ROWS, 3, 224, 224], (Kind::Uint8, Device::Cpu));
    let keys: Vec<u64> = (0..ROWS as u64).collect();
    let mut group = criterion.benchmark_group("trigger");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("badnet on 64 of 224", |bencher| {
        bencher.iter(|| badnet.stamp(&canvases, &keys).expect("canvases can be stamped"));
    });
    group.finish();
}
