//! RoCLIP's augmentation of a batch.

use criterion::{Criterion, Throughput};
use gauntlet::data::augment::{AugmentParams, Augmentation, apply};
use gauntlet::draw;
use gauntlet::tch::{Device, Kind, Tensor};

pub fn bench(criterion: &mut Criterion) {
    gauntlet::tch::set_num_threads(1);
    let mut group = criterion.benchmark_group("augment");
    for (rows, size) in [(128, 32), (16, 224)] {
        let images = Tensor::rand([rows, 3, size, size], (Kind::Float, Device::Cpu));
        let draw = |row| Augmentation::default().draw(size, &mut draw::rng(0, "bench", &[row]));
        let params: Vec<AugmentParams> = (0..rows as u64).map(draw).collect();
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(format!("{rows} of {size}"), |bencher| bencher.iter(|| apply(&images, &params)));
    }
    group.finish();
}
