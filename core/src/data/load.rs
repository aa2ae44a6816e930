//! Batches: which rows, in which order, with which drawings. Worker threads prepare them ahead; since every draw is keyed,
//! their number changes nothing but the speed.

use super::augment::Drawing;
use super::eda;
use crate::defense::{CaptionEdits, Phase};
use crate::draw;
use crate::train::Corpus;
use std::sync::mpsc;
use tch::Tensor;

/// One batch on the host.
pub struct Batch {
    /// Row keys i64 `[batch]`.
    pub keys: Tensor,
    /// Canvases u8 `[batch, 3, S, S]`.
    pub images: Tensor,
    /// What happens to each picture; empty where nothing does.
    pub drawings: Vec<Drawing>,
    /// Tokens i64 `[batch, length]`, as long as the longest caption.
    pub tokens: Tensor,
}

/// The rows of an epoch in order: sorted by a keyed hash, so that poison does not reorder clean rows.
pub fn epoch_order(corpus: &Corpus, epoch: u32) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = (0..corpus.len())
        .map(|row| (draw::hash(corpus.seed, "order", &[epoch.into(), corpus.key(row) as u64]), row))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, row)| row).collect()
}

/// Reads one batch.
pub fn load(corpus: &Corpus, rows: &[usize], epoch: u32, phase: &Phase) -> Batch {
    let keys: Vec<i64> = rows.iter().map(|&row| corpus.key(row)).collect();
    let draws = |purpose: &str, epoch: u32, key: i64| draw::rng(corpus.seed, purpose, &[epoch.into(), key as u64]);
    let size = corpus.image_size();
    let drawings = match &phase.augmentation {
        Some(how) => keys.iter().map(|&key| how.draw(size, &mut draws("augment", epoch, key))).collect(),
        None => Vec::new(),
    };
    let caption = |(&row, &key): (&usize, &i64)| {
        let caption = corpus.caption(row);
        let epoch = match phase.captions {
            CaptionEdits::Off => return caption.to_string(),
            CaptionEdits::Static => 0,
            CaptionEdits::PerEpoch => epoch,
        };
        eda::edit(caption, corpus.synonyms, &mut draws("eda", epoch, key))
    };
    let captions: Vec<String> = rows.iter().zip(&keys).map(caption).collect();
    let tokens = corpus.tokenizer.encode_batch(&captions, corpus.context_length);
    Batch { keys: Tensor::from_slice(&keys), images: corpus.images(rows), drawings, tokens }
}

/// Calls `each` with every batch of `order` from batch `first` on, in order; `workers` threads (at least one) read ahead.
///
/// Stops at the first error of `each`.
pub fn for_each_batch<E>(
    corpus: &Corpus,
    order: &[usize],
    epoch: u32,
    phase: &Phase,
    first: usize,
    workers: usize,
    mut each: impl FnMut(usize, Batch) -> Result<(), E>,
) -> Result<(), E> {
    let batches: Vec<&[usize]> = order.chunks_exact(corpus.batch).collect();
    let workers = workers.max(1);
    std::thread::scope(|scope| {
        let lanes: Vec<mpsc::Receiver<Batch>> = (0..workers)
            .map(|worker| {
                let (send, receive) = mpsc::sync_channel(2);
                let corpus = corpus.share();
                let mine: Vec<&[usize]> =
                    batches[first.min(batches.len())..].iter().skip(worker).step_by(workers).copied().collect();
                scope.spawn(move || {
                    // A send fails only when the trainer has stopped; then there is nothing left to do.
                    mine.into_iter().all(|rows| send.send(load(&corpus, rows, epoch, phase)).is_ok())
                });
                receive
            })
            .collect();
        for number in first..batches.len() {
            let batch = lanes[(number - first) % workers].recv().expect("a worker sends all of its batches");
            each(number, batch)?;
        }
        Ok(())
    })
}
