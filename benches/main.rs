//! What a trial spends its time on, piece by piece; `bench/peers.py` times the same in Python
//! beside it. `gauntlet bench` measures on a GPU.
//!
//!     make bench                                   # or: cargo bench -- decode

mod augment;
mod index;
mod loader;
mod pool;
mod share;
mod step;
mod trigger;

use criterion::{criterion_group, criterion_main};

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().sample_size(10).without_plots();
    targets = loader::bench, augment::bench, trigger::bench, pool::bench, step::bench, index::bench, share::bench
}
criterion_main!(benches);
