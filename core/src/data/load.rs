//! Batches: which rows, in which order, with which drawings. Worker threads prepare them ahead; since every draw is keyed,
//! their number changes nothing but the speed.

use super::augment::Drawing;
use super::eda;
use super::ordered::ordered;
use crate::Result;
use crate::defense::{CaptionEdits, Phase};
use crate::draw;
use crate::model::words;
use crate::train::Corpus;
use std::vec::IntoIter;
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
    /// Which of the tokens count ([`words`]).
    pub words: Tensor,
}

/// Rows that are sorted together: 16 MB of them.
const BUCKET: usize = 1 << 20;

/// The rows of an epoch in order: sorted by a keyed hash, so that poison does not reorder clean rows.
///
/// Sorted bucket by bucket of the hash, each found by a pass over all rows, so that memory does not grow with their number.
pub struct EpochOrder<'a> {
    corpus: &'a Corpus<'a>,
    epoch: u32,
    buckets: u128,
    next: u128,
    sorted: IntoIter<(u64, usize)>,
}

impl<'a> EpochOrder<'a> {
    /// The order of an epoch (counted from 1).
    pub fn new(corpus: &'a Corpus<'a>, epoch: u32) -> Self {
        let buckets = corpus.len().div_ceil(BUCKET) as u128;
        EpochOrder { corpus, epoch, buckets, next: 0, sorted: Vec::new().into_iter() }
    }

    fn bucket(&self, number: u128) -> Vec<(u64, usize)> {
        let hash =
            |row: usize| draw::hash(self.corpus.seed, "order", &[self.epoch.into(), self.corpus.key(row) as u64]);
        let mut rows: Vec<(u64, usize)> = (0..self.corpus.len())
            .map(|row| (hash(row), row))
            .filter(|(hash, _)| (u128::from(*hash) * self.buckets) >> 64 == number)
            .collect();
        rows.sort_unstable();
        rows
    }
}

impl Iterator for EpochOrder<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some((_, row)) = self.sorted.next() {
                return Some(row);
            }
            if self.next == self.buckets {
                return None;
            }
            self.sorted = Vec::new().into_iter(); // the last bucket's memory serves the next
            self.sorted = self.bucket(self.next).into_iter();
            self.next += 1;
        }
    }
}

/// Reads one batch.
pub fn load(corpus: &Corpus, rows: &[usize], epoch: u32, phase: &Phase) -> Result<Batch> {
    let (rows, images) = corpus.read(rows)?;
    let draws = |purpose: &str, epoch: u32, key: i64| draw::rng(corpus.seed, purpose, &[epoch.into(), key as u64]);
    let size = corpus.image_size();
    let drawings = match &phase.augmentation {
        Some(how) => rows.iter().map(|row| how.draw(size, &mut draws("augment", epoch, row.key))).collect(),
        None => Vec::new(),
    };
    let caption = |row: &crate::train::corpus::CorpusRow| {
        let epoch = match phase.captions {
            CaptionEdits::Off => return row.caption.to_string(),
            CaptionEdits::Static => 0,
            CaptionEdits::PerEpoch => epoch,
        };
        eda::edit(row.caption, corpus.synonyms, &mut draws("eda", epoch, row.key))
    };
    let captions: Vec<String> = rows.iter().map(caption).collect();
    let tokens = corpus.tokenizer.encode_batch(&captions, corpus.context_length);
    let words = words(&tokens);
    let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
    let keys = Tensor::from_slice(&keys);
    if corpus.device.is_cuda() {
        // Copies from pinned memory run beside the step before.
        let [keys, images, tokens, words] =
            [keys, images, tokens, words].map(|tensor| tensor.pin_memory(corpus.device));
        return Ok(Batch { keys, images, drawings, tokens, words });
    }
    Ok(Batch { keys, images, drawings, tokens, words })
}

/// Calls `each` with every whole batch of an epoch from batch `first` on, in order; `workers` threads (at least one) read ahead.
///
/// Stops at the first error.
pub fn for_each_batch(
    corpus: &Corpus,
    epoch: u32,
    phase: &Phase,
    first: usize,
    workers: usize,
    mut each: impl FnMut(usize, Batch) -> Result<()>,
) -> Result<()> {
    let mut order = EpochOrder::new(corpus, epoch);
    let batch = || Some(order.by_ref().take(corpus.batch).collect()).filter(|rows: &Vec<_>| rows.len() == corpus.batch);
    let workers = (0..workers.max(1)).map(|_| {
        let corpus = corpus.share();
        move |rows: Vec<usize>| load(&corpus, &rows, epoch, phase)
    });
    let mut number = first;
    ordered(std::iter::from_fn(batch).skip(first), workers.collect(), |batch| {
        each(number, batch?)?;
        number += 1;
        Ok(())
    })
}
