//! What it costs to share a suite with other runs: one lease per trial.

use criterion::{BatchSize, Criterion};
use gauntlet::data::lease::{Lease, Taking};
use std::path::Path;

fn take(folder: &Path) -> Lease {
    match Lease::take(folder).expect("a lease") {
        Taking::Ours(lease) => lease,
        Taking::Theirs(holder) => panic!("{holder} has it"),
    }
}

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("share");
    group.bench_function("take a trial, record its process, give it back", |bencher| {
        let new = || tempfile::tempdir().expect("a folder");
        let all = |home: tempfile::TempDir| {
            let lease = take(home.path());
            lease.add_process(std::process::id()).expect("a lease");
            drop(lease);
            home
        };
        bencher.iter_batched(new, all, BatchSize::SmallInput);
    });
    let home = tempfile::tempdir().expect("a folder");
    let _held = take(home.path());
    group.bench_function("find that another run has a trial", |bencher| {
        bencher.iter(|| Lease::holder(home.path()).expect("a lease"));
    });
    group.finish();
}
