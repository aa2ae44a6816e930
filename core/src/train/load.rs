//! Batches: which rows, in which order, with which augmentation. Worker threads prepare them ahead;
//! every draw is keyed, so the number of threads changes only the speed.

use super::TrainPhase;
use crate::Result;
use crate::corpus::{Corpus, CorpusRow, RowKey, TrainRow};
use crate::data::augment::AugmentParams;
use crate::data::eda;
use crate::data::ordered::ordered;
use crate::defense::{CaptionEdits, View};
use crate::draw;
use crate::model::valid_token_indices;
use gauntlet_torch::pinned;
use std::sync::Arc;
use std::vec::IntoIter;
use tch::Tensor;

/// One batch on the host.
pub struct Batch {
    /// Row keys i64 `[batch]`.
    pub keys: Tensor,
    /// Canvases u8 `[batch, 3, S, S]`.
    pub images: Tensor,
    /// Augmentation of each image; empty if there is none.
    pub params: Vec<AugmentParams>,
    /// Tokens i64 `[batch, length]`, cut to the longest caption.
    pub tokens: Tensor,
    /// Indices of the valid tokens ([`valid_token_indices`]).
    pub valid: Tensor,
    /// A second view of the same rows, if the phase asks for one.
    pub second: Option<Shown>,
}

/// A view of a batch without its canvases: a second view shares them, with other augmentation and
/// other captions.
pub struct Shown {
    /// Augmentation of each image; empty if there is none.
    pub params: Vec<AugmentParams>,
    /// Like the batch's.
    pub tokens: Tensor,
    /// Like the batch's.
    pub valid: Tensor,
}

/// Rows sorted at a time: 16 MB.
const BUCKET: usize = 1 << 20;

/// Rows in the order of an epoch: sorted by a keyed hash, so poison does not reorder clean rows.
/// After the last row the iterator repeats all rows in another order.
///
/// Rows are sorted one bucket of the hash at a time, each found by a pass over all rows, so memory
/// does not grow with their number.
pub struct EpochOrder<'a> {
    corpus: &'a Corpus<'a>,
    rows: Option<Arc<Vec<TrainRow>>>,
    epoch: u32,
    /// Number of completed passes.
    pass: u64,
    buckets: u128,
    next: u128,
    sorted: IntoIter<(u64, TrainRow)>,
}

impl<'a> EpochOrder<'a> {
    /// The order of all rows, or of some, in an epoch (counted from 1).
    pub fn new(corpus: &'a Corpus<'a>, rows: Option<Arc<Vec<TrainRow>>>, epoch: u32) -> Self {
        let count = rows.as_ref().map_or(corpus.len(), |rows| rows.len());
        let buckets = count.div_ceil(BUCKET) as u128;
        EpochOrder { corpus, rows, epoch, pass: 0, buckets, next: 0, sorted: Vec::new().into_iter() }
    }

    fn bucket(&self, number: u128) -> Vec<(u64, TrainRow)> {
        let in_bucket = |row: TrainRow| {
            let hash = self.hash(row);
            ((u128::from(hash) * self.buckets) >> 64 == number).then_some((hash, row))
        };
        let mut rows: Vec<(u64, TrainRow)> = match &self.rows {
            None => self.corpus.rows().filter_map(in_bucket).collect(),
            Some(rows) => rows.iter().copied().filter_map(in_bucket).collect(),
        };
        rows.sort_unstable();
        rows
    }

    fn hash(&self, row: TrainRow) -> u64 {
        let place = [self.epoch.into(), self.corpus.key(row).into(), self.pass];
        draw::hash(self.corpus.seed, "order", if self.pass == 0 { &place[..2] } else { &place })
    }
}

impl Iterator for EpochOrder<'_> {
    type Item = TrainRow;

    fn next(&mut self) -> Option<TrainRow> {
        loop {
            if let Some((_, row)) = self.sorted.next() {
                return Some(row);
            }
            if self.buckets == 0 {
                return None;
            }
            if self.next == self.buckets {
                (self.next, self.pass) = (0, self.pass + 1);
            }
            self.sorted = Vec::new().into_iter(); // the last bucket's memory serves the next
            self.sorted = self.bucket(self.next).into_iter();
            self.next += 1;
        }
    }
}

/// Prefix of the draw keys of a second view.
const SECOND: &str = "second ";

/// Reads one batch.
pub fn load(corpus: &Corpus, rows: &[TrainRow], epoch: u32, phase: &TrainPhase) -> Result<Batch> {
    let (rows, images) = corpus.read(rows)?;
    let first = View { augmentation: phase.augmentation, captions: phase.captions };
    let Shown { params, tokens, valid } = show(corpus, &rows, epoch, first, "");
    let second = phase.second.map(|view| show(corpus, &rows, epoch, view, SECOND));
    let keys: Vec<RowKey> = rows.iter().map(|row| row.key).collect();
    let (keys, images) = (pinned(RowKey::tensor(&keys), corpus.device), pinned(images, corpus.device));
    Ok(Batch { keys, images, params, tokens, valid, second })
}

/// Draws the augmentation and captions of a view; `which` keys its draws.
fn show(corpus: &Corpus, rows: &[CorpusRow], epoch: u32, view: View, which: &str) -> Shown {
    let draws = |purpose: &str, epoch: u32, key: RowKey| {
        draw::rng(corpus.seed, &format!("{which}{purpose}"), &[epoch.into(), key.into()])
    };
    let size = corpus.image_size();
    let params: Vec<AugmentParams> = match &view.augmentation {
        Some(how) => rows.iter().map(|row| how.draw(size, &mut draws("augment", epoch, row.key))).collect(),
        None => Vec::new(),
    };
    let edited_in = match view.captions {
        CaptionEdits::Off => None,
        CaptionEdits::Static => Some(0),
        CaptionEdits::PerEpoch => Some(epoch),
    };
    let captions: Vec<String> = match edited_in {
        None => rows.iter().map(|row| row.caption.to_string()).collect(),
        Some(epoch) => {
            rows.iter().map(|row| eda::edit(row.caption, corpus.synonyms, &mut draws("eda", epoch, row.key))).collect()
        }
    };
    let tokens = corpus.tokenizer.encode_batch(&captions, corpus.context_length);
    let valid = valid_token_indices(&tokens);
    Shown { params, tokens: pinned(tokens, corpus.device), valid: pinned(valid, corpus.device) }
}

/// Calls `each` with every batch of a phase from number `first` on, in order; `workers` threads (at
/// least one) read ahead.
///
/// Stops at the first error.
pub fn for_each_batch(
    corpus: &Corpus,
    epoch: u32,
    phase: &TrainPhase,
    first: usize,
    workers: usize,
    mut each: impl FnMut(usize, Batch) -> Result<()>,
) -> Result<()> {
    let mut order = EpochOrder::new(corpus, phase.rows.clone(), epoch);
    let batches =
        (0..super::plan::steps(corpus, phase)).map(|_| order.by_ref().take(corpus.batch).collect()).skip(first);
    let workers = (0..workers.max(1)).map(|_| {
        let corpus = corpus.share();
        move |rows: Vec<TrainRow>| load(&corpus, &rows, epoch, phase)
    });
    let mut number = first;
    ordered(batches, workers.collect(), |batch| {
        each(number, batch?)?;
        number += 1;
        Ok(())
    })
}
