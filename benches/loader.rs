//! A JPEG of a photograph's size to a canvas.

use criterion::{Criterion, Throughput};
use gauntlet::data::decode::image;

/// Made by `make.py` beside it.
const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/photo/photo.jpg");

pub fn bench(criterion: &mut Criterion) {
    let jpeg = std::fs::read(PHOTO).expect("the fixture is there");
    let mut group = criterion.benchmark_group("loader");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode to a canvas of 224", |bencher| {
        bencher.iter(|| image(&jpeg, 224).expect("a whole JPEG"));
    });
    group.finish();
}
