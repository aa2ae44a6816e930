//! The training data as the trainer sees it: the data set with an arena's edits applied.
//!
//! Rows carry opaque keys, drawn from the seed, so that neither a number nor an order tells an added row from the others.

use crate::attack::Edit;
use crate::data::canvas::Canvas;
use crate::data::eda::Synonyms;
use crate::data::tokenize::Tokenizer;
use crate::data::{Dataset, Split};
use crate::draw;
use crate::poison::Poison;
use std::collections::HashMap;
use std::sync::Arc;
use tch::{Device, Tensor};

/// Training rows after poisoning. Threads take a [`share`](Corpus::share) each.
pub struct Corpus<'a> {
    rows: Arc<Vec<CorpusRow>>,
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

/// One training row, with where it came from: the ground truth, which only evaluators get to see.
#[derive(Clone, Debug, PartialEq)]
pub struct CorpusRow {
    /// Opaque key, not negative.
    pub key: i64,
    /// The caption it trains with.
    pub caption: String,
    /// Where picture and caption come from.
    pub origin: Origin,
}

/// Where a training row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This row of the data set, untouched.
    Clean(u32),
    /// This edit of the arena.
    Edit(usize),
}

impl<'a> Corpus<'a> {
    /// Applies the edits of `poison` to the training rows.
    pub fn new(
        data: &'a Dataset,
        split: &Split,
        poison: &Poison,
        tokenizer: &'a Tokenizer,
        shape: Shape,
        seed: u64,
        device: Device,
    ) -> Self {
        let edits = poison.edits.iter().map(|poisoned| &poisoned.edit).enumerate();
        let replaced: HashMap<u32, (usize, &String)> = edits
            .clone()
            .filter_map(|(number, edit)| match edit {
                Edit::Replace { row, caption, .. } => Some((*row, (number, caption))),
                Edit::Add { .. } => None,
            })
            .collect();
        let key = |purpose: &str, number: u64| (draw::hash(seed, purpose, &[number]) >> 1) as i64;
        let kept = split.train.iter().map(|&row| {
            let (caption, origin) = match replaced.get(&row) {
                Some((number, caption)) => ((*caption).clone(), Origin::Edit(*number)),
                None => (data.rows[row as usize].caption.clone(), Origin::Clean(row)),
            };
            CorpusRow { key: key("row", row.into()), caption, origin }
        });
        let added = edits.filter_map(|(number, edit)| match edit {
            Edit::Add { caption, .. } => {
                let key = key("added", number as u64);
                Some(CorpusRow { key, caption: caption.clone(), origin: Origin::Edit(number) })
            }
            Edit::Replace { .. } => None,
        });
        Corpus {
            rows: Arc::new(kept.chain(added).collect()),
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

    /// The same corpus for another thread; no pixel is copied.
    pub fn share(&self) -> Self {
        Corpus {
            rows: self.rows.clone(),
            canvas: self.canvas.shallow_clone(),
            poison: self.poison.shallow_clone(),
            ..*self
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every row with its ground truth.
    pub fn rows(&self) -> &[CorpusRow] {
        &self.rows
    }

    /// What a person would call the row with this key.
    pub(crate) fn place(&self, key: i64) -> String {
        match self.rows.iter().find(|row| row.key == key).map(|row| row.origin) {
            Some(Origin::Clean(row)) => format!("row {row}"),
            Some(Origin::Edit(number)) => format!("edit {number}"),
            None => "an unknown row".into(),
        }
    }

    pub(crate) fn key(&self, row: usize) -> i64 {
        self.rows[row].key
    }

    pub(crate) fn caption(&self, row: usize) -> &str {
        &self.rows[row].caption
    }

    pub(crate) fn image_size(&self) -> i64 {
        self.canvas.size() as i64
    }

    /// Tokens `[rows, length]` of the captions as they stand.
    pub(crate) fn tokens(&self, rows: &[usize]) -> Tensor {
        let captions: Vec<&str> = rows.iter().map(|&row| self.caption(row)).collect();
        self.tokenizer.encode_batch(&captions, self.context_length)
    }

    /// Canvases u8 `[rows, 3, S, S]`.
    pub(crate) fn images(&self, rows: &[usize]) -> Tensor {
        // Poisoned rows borrow row 0's canvas for a moment, so that one gather serves the whole batch.
        let clean = |row: &usize| if let Origin::Clean(row) = self.rows[*row].origin { row } else { 0 };
        let images = self.canvas.gather(&rows.iter().map(clean).collect::<Vec<u32>>());
        for (place, &row) in rows.iter().enumerate() {
            if let Origin::Edit(number) = self.rows[row].origin {
                images.get(place as i64).copy_(&self.poison.get(number as i64));
            }
        }
        images
    }
}

/// Sizes that the corpus needs to know of the recipe and the model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a caption at most.
    pub context_length: i64,
}
