//! The training data as the trainer reads it: the data set with an arena's edits applied.
//!
//! Rows carry opaque keys, drawn from the seed, so neither a number nor an order reveals an added
//! row.

mod numbers;

pub use numbers::{RowKey, RowNumber, TrainRow};

use crate::data::canvas::Canvas;
use crate::data::eda::Synonyms;
use crate::data::index::Index;
use crate::data::rows::Loss;
use crate::data::tokenize::Tokenizer;
use crate::data::{BadRow, DataRow, Dataset, Split};
use crate::poison::{Poison, Poisoned};
use crate::{Error, Result, draw};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use tch::{Device, Tensor};

/// Training rows after poisoning. Each thread takes its own [`share`](Corpus::share).
pub struct Corpus<'a> {
    index: &'a Index,
    split: &'a Split,
    edits: &'a [Poisoned],
    /// Maps a row of the data set to the edit that replaces it.
    replaced: Arc<HashMap<DataRow, usize>>,
    /// Edits that add a row; these rows follow the data set's.
    added: Arc<Vec<usize>>,
    /// Rows in the order in which defenses number them; computed on first use.
    numbered: OnceLock<Arc<Vec<TrainRow>>>,
    canvas: Canvas,
    poison: Tensor,
    /// Turns captions into tokens.
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) synonyms: &'a Synonyms,
    pub(crate) context_length: i64,
    pub(crate) batch: usize,
    pub(crate) seed: u64,
    pub(crate) device: Device,
}

/// One training row with its origin: the ground truth, which only evaluators may read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorpusRow<'a> {
    /// Opaque key.
    pub key: RowKey,
    /// The caption it trains with.
    pub caption: &'a str,
    /// Source of image and caption.
    pub origin: RowOrigin,
}

/// Where a training row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrigin {
    /// An unedited row of the data set.
    Clean(DataRow),
    /// An edit of the arena.
    Edit(usize),
}

impl<'a> Corpus<'a> {
    /// Applies the edits of `poison` to the training rows.
    pub fn new(
        data: &'a Dataset,
        split: &'a Split,
        poison: &'a Poison,
        tokenizer: &'a Tokenizer,
        shape: Shape,
        seed: u64,
        device: Device,
    ) -> Self {
        let (mut replaced, mut added) = (HashMap::new(), Vec::new());
        for (number, poisoned) in poison.edits.iter().enumerate() {
            match poisoned.edit.replaces {
                Some(row) => drop(replaced.insert(row, number)),
                None => added.push(number),
            }
        }
        Corpus {
            index: &data.index,
            split,
            edits: &poison.edits,
            replaced: Arc::new(replaced),
            added: Arc::new(added),
            numbered: OnceLock::new(),
            canvas: data.canvas.shallow_clone(),
            poison: poison.pixels.shallow_clone(),
            tokenizer,
            synonyms: &data.synonyms,
            context_length: shape.context_length,
            batch: shape.batch,
            seed,
            device,
        }
    }

    /// The same corpus for another thread; copies no pixels.
    pub fn share(&self) -> Self {
        Corpus {
            replaced: self.replaced.clone(),
            added: self.added.clone(),
            numbered: self.numbered.clone(),
            canvas: self.canvas.shallow_clone(),
            poison: self.poison.shallow_clone(),
            ..*self
        }
    }

    /// The same corpus with another batch size.
    pub(crate) fn in_batches_of(&self, batch: usize) -> Self {
        Corpus { batch, ..self.share() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.split.train.len() + self.added.len()
    }

    /// Rows per batch, from the recipe.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = TrainRow> + Clone + use<> {
        (0..self.len()).map(TrainRow::at)
    }

    /// One row with its ground truth.
    pub fn row(&self, row: TrainRow) -> CorpusRow<'a> {
        let origin = self.origin(row);
        CorpusRow { key: self.key(row), caption: self.caption_of(origin), origin }
    }

    /// Maps keys to rows; unknown keys are left out. One pass over all rows.
    pub fn rows_with(&self, keys: &HashSet<RowKey>) -> HashMap<RowKey, TrainRow> {
        self.rows().map(|row| (self.key(row), row)).filter(|(key, _)| keys.contains(key)).collect()
    }

    /// Rows in the order of their keys: rows 0, 1 and so on for a defense. The corpus order would
    /// reveal the added rows.
    pub(crate) fn numbered(&self) -> &Arc<Vec<TrainRow>> {
        self.numbered.get_or_init(|| {
            let mut rows: Vec<TrainRow> = self.rows().collect();
            rows.sort_by_cached_key(|row| self.key(*row));
            Arc::new(rows)
        })
    }

    /// The rows behind a defense's row numbers.
    pub(crate) fn places_of(&self, numbers: &[RowNumber]) -> Vec<TrainRow> {
        let numbered = self.numbered();
        numbers.iter().map(|number| numbered[number.place()]).collect()
    }

    /// Numbers of `count` rows that no attack has edited, drawn from the seed.
    pub(crate) fn clean_rows(&self, count: usize) -> Result<Vec<RowNumber>> {
        let numbered = self.numbered().iter().enumerate();
        let clean: Vec<RowNumber> =
            numbered.filter(|(_, row)| self.is_clean(**row)).map(|(number, _)| RowNumber::at(number)).collect();
        if clean.len() < count {
            let why = format!("asks for {count} clean pairs, but there are only {}", clean.len());
            return Err(Error::invalid("the defense", why));
        }
        let chosen = rand::seq::index::sample(&mut draw::rng(self.seed, "clean rows", &[]), clean.len(), count);
        Ok(chosen.into_iter().map(|place| clean[place]).collect())
    }

    /// The given rows without those that an attack has edited; `None`: out of all rows.
    pub(crate) fn without_poison(&self, rows: Option<&Vec<TrainRow>>) -> Vec<TrainRow> {
        match rows {
            Some(rows) => rows.iter().copied().filter(|row| self.is_clean(*row)).collect(),
            None => self.rows().filter(|row| self.is_clean(*row)).collect(),
        }
    }

    fn is_clean(&self, row: TrainRow) -> bool {
        matches!(self.origin(row), RowOrigin::Clean(_))
    }

    fn origin(&self, row: TrainRow) -> RowOrigin {
        match row.place().checked_sub(self.split.train.len()) {
            Some(added) => RowOrigin::Edit(self.added[added]),
            None => {
                let row = self.split.train.get(row.place());
                self.replaced.get(&row).map_or(RowOrigin::Clean(row), |edit| RowOrigin::Edit(*edit))
            }
        }
    }

    fn caption_of(&self, origin: RowOrigin) -> &'a str {
        match origin {
            RowOrigin::Clean(row) => self.index.row(row).caption,
            RowOrigin::Edit(number) => &self.edits[number].edit.caption,
        }
    }

    pub(crate) fn key(&self, row: TrainRow) -> RowKey {
        match row.place().checked_sub(self.split.train.len()) {
            Some(added) => self.draw_key("added", self.added[added] as u64),
            None => self.draw_key("row", self.split.train.get(row.place()).into()),
        }
    }

    fn draw_key(&self, purpose: &str, number: u64) -> RowKey {
        RowKey::of_draw(draw::hash(self.seed, purpose, &[number]))
    }

    /// Human-readable names of the rows with these keys. One pass over all rows.
    pub(crate) fn places(&self, keys: &[RowKey]) -> Vec<String> {
        let rows = self.rows_with(&keys.iter().copied().collect());
        keys.iter().map(|key| self.place(rows.get(key).copied())).collect()
    }

    fn place(&self, row: Option<TrainRow>) -> String {
        match row.map(|row| self.origin(row)) {
            Some(RowOrigin::Clean(row)) => self.canvas.name(row),
            Some(RowOrigin::Edit(number)) => format!("edit {number}"),
            None => "an unknown row".into(),
        }
    }

    pub(crate) fn image_size(&self) -> i64 {
        self.canvas.size().into()
    }

    /// Tokens `[rows, length]` of the captions, not augmented.
    pub(crate) fn tokens(&self, rows: &[TrainRow]) -> Tensor {
        let captions: Vec<&str> = rows.iter().map(|&row| self.row(row).caption).collect();
        self.tokenizer.encode_batch(&captions, self.context_length)
    }

    /// Rows and their canvases u8 `[rows, 3, S, S]`. If a row's image cannot be decoded, another
    /// training row takes its place, as it is in the clean data. The bad row's number determines
    /// the replacement, so it is the same in every trial.
    pub fn read(&self, rows: &[TrainRow]) -> Result<(Vec<CorpusRow<'a>>, Tensor)> {
        let mut rows: Vec<CorpusRow> = rows.iter().map(|&row| self.row(row)).collect();
        let wanted = |place: usize, attempt: u64| self.image_of(rows[place].origin, attempt);
        let (taken, images) = self.canvas.gather_or(rows.len(), wanted)?;
        for (place, (row, taken)) in rows.iter_mut().zip(taken).enumerate() {
            match row.origin {
                RowOrigin::Clean(wanted) if wanted == taken => {}
                RowOrigin::Clean(_) => {
                    let (key, origin) = (self.draw_key("row", taken.into()), RowOrigin::Clean(taken));
                    *row = CorpusRow { key, caption: self.caption_of(origin), origin };
                }
                RowOrigin::Edit(number) => images.get(place as i64).copy_(&self.poison.get(number as i64)),
            }
        }
        Ok((rows, images))
    }

    /// The row of the data whose image is read for a row, after `attempt` rows that could not be
    /// decoded.
    fn image_of(&self, origin: RowOrigin, attempt: u64) -> DataRow {
        let train = &self.split.train;
        match origin {
            RowOrigin::Clean(row) if attempt == 0 => row,
            RowOrigin::Clean(row) => {
                train.get((draw::hash(0, "substitute", &[row.into(), attempt]) % train.len() as u64) as usize)
            }
            // Poison has its own canvases; a placeholder image from the data keeps this one gather
            // per batch.
            RowOrigin::Edit(_) => train.get(attempt as usize),
        }
    }

    /// Rows whose images could not be decoded since the data was opened: name and reason.
    pub(crate) fn bad_rows(&self) -> Vec<BadRow> {
        let bad = |(row, why)| BadRow::new(self.canvas.name(row), Loss::UnreadableImage.because(why));
        self.canvas.met().into_iter().map(bad).collect()
    }
}

/// Sizes from the recipe and the model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens per caption, at most.
    pub context_length: i64,
}
