//! The row index of a data set: made once, mapped by every trial.

use criterion::{Criterion, Throughput};
use gauntlet::data::DataConfig;
use gauntlet::data::index::Index;
use gauntlet::data::world::World;
use gauntlet::progress::Silent;

const ROWS: usize = 100_000;

pub fn bench(criterion: &mut Criterion) {
    let config = DataConfig::World(World { pairs: ROWS as _, ..World::default() });
    let source = config.open().expect("the world needs no files");
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("make, 100,000 rows", |bencher| {
        bencher.iter_with_large_drop(|| {
            let store = tempfile::tempdir().expect("a folder");
            drop(Index::open(&*source, &config, store.path(), &Silent).expect("an index"));
            store
        });
    });
    let store = tempfile::tempdir().expect("a folder");
    let open = || Index::open(&*source, &config, store.path(), &Silent).expect("an index");
    drop(open());
    group.bench_function("open, 100,000 rows", |bencher| bencher.iter(open));
    group.finish();
}
