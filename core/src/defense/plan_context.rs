//! Queries that a defense can make when it plans an epoch: embeddings of rows, captions, rows known
//! to be clean, random draws.

use super::{Needs, Suspicion};
use crate::corpus::{Corpus, RowKey, RowNumber, TrainRow};
use crate::model::Clip;
use crate::recipe::Precision;
use crate::run::RunContext;
use crate::{Error, Result, draw};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::Ordering;
use tch::{Device, Kind, Tensor};

/// Queries that a defense can make when it plans an epoch. Row numbers follow an order drawn from
/// the seed, so they reveal nothing about a row.
pub struct PlanContext<'a> {
    pub(crate) model: &'a Clip,
    pub(crate) undefended: Option<&'a Clip>,
    pub(crate) needs: Needs,
    pub(crate) corpus: &'a Corpus<'a>,
    pub(crate) folder: &'a Path,
    pub(crate) seed: u64,
    pub(crate) epochs: u32,
    pub(crate) precision: Precision,
    pub(crate) inference_samples: &'a Cell<u64>,
    pub(crate) machine: &'a RunContext<'a>,
}

/// Rows embedded by a model.
pub struct EmbeddedPairs {
    /// Normalised image embeddings, not augmented, `[rows, dimensions]`, without gradient.
    pub image: Tensor,
    /// Normalised caption embeddings `[rows, dimensions]`, without gradient.
    pub text: Tensor,
}

impl EmbeddedPairs {
    /// Cosine of each image and its caption `[rows]`.
    pub fn similarities(&self) -> Tensor {
        (&self.image * &self.text).sum_dim_intlist([1].as_slice(), false, Kind::Float)
    }
}

/// Rows per forward pass.
const CHUNK: usize = 256;

/// Embeddings of captions of the training data.
pub struct EmbeddedCaptions {
    /// Row keys i64 `[n]`.
    pub keys: Tensor,
    /// Tokens i64 `[n, context length]`, padded with 0.
    pub tokens: Tensor,
    /// Normalised embeddings `[n, dimensions]`, without gradient.
    pub embeddings: Tensor,
}

impl PlanContext<'_> {
    /// Epochs of the whole training.
    pub fn epochs(&self) -> u32 {
        self.epochs
    }

    /// Number of training rows.
    pub fn rows(&self) -> usize {
        self.corpus.len()
    }

    /// All training rows, in the order of their numbers.
    pub fn numbers(&self) -> Vec<RowNumber> {
        (0..self.rows()).map(RowNumber::at).collect()
    }

    /// Dimensions of an embedding.
    pub fn dimensions(&self) -> i64 {
        self.model.config.embed_dim
    }

    /// Tokens per caption, at most.
    pub fn context_length(&self) -> i64 {
        self.model.config.text_cfg.context_length
    }

    /// The model's device.
    pub fn device(&self) -> Device {
        self.corpus.device
    }

    /// Rows per step.
    pub fn batch(&self) -> usize {
        self.corpus.batch
    }

    /// Embeds rows with the current model, in evaluation mode. Each row is added to the trial's
    /// cost.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when asked to stop.
    pub fn embed(&self, rows: &[RowNumber]) -> Result<EmbeddedPairs> {
        self.embed_by(self.model, rows)
    }

    /// Embeds rows with the undefended model of the same data, recipe and seed, for a defense that
    /// [`needs`](crate::Defense::needs) it.
    pub fn embed_undefended(&self, rows: &[RowNumber]) -> Result<EmbeddedPairs> {
        let missing =
            || Error::invalid("the defense", "asks for the undefended model, but its `needs` does not declare it");
        self.embed_by(self.undefended.ok_or_else(missing)?, rows)
    }

    fn embed_by(&self, model: &Clip, rows: &[RowNumber]) -> Result<EmbeddedPairs> {
        self.inference_samples.set(self.inference_samples.get() + rows.len() as u64);
        let places = self.corpus.places_of(rows);
        let (mut image, mut text) = (Vec::new(), Vec::new());
        for places in places.chunks(CHUNK) {
            if self.machine.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let (read, canvases) = self.corpus.read(places)?;
            let captions: Vec<&str> = read.iter().map(|row| row.caption).collect();
            let tokens = self.corpus.tokenizer.encode_batch(&captions, self.context_length()).to_device(self.device());
            let images = self.corpus.normalise(&canvases, &[]);
            let embed = |tower: &dyn Fn() -> Tensor| tch::no_grad(|| self.precision.forward(self.device(), tower));
            image.push(embed(&|| model.encode_image(&images, false)));
            text.push(embed(&|| model.encode_text(&tokens)));
            let done = (image.len() * CHUNK).min(rows.len());
            self.machine.progress.report("embed", done as u64, rows.len() as u64, "rows");
        }
        Ok(EmbeddedPairs { image: Tensor::cat(&image, 0), text: Tensor::cat(&text, 0) })
    }

    /// The rows that are known to be clean, as many as the defense [`needs`](crate::Defense::needs);
    /// defenses that need equally many get the same rows. In practice a user would have to verify
    /// them.
    ///
    /// # Errors
    /// If there are fewer clean rows.
    pub fn clean_rows(&self) -> Result<Vec<RowNumber>> {
        self.corpus.clean_rows(self.needs.clean_rows(self.rows()))
    }

    /// Reports how suspicious the defense finds each row (f32 `[rows]`, higher is more suspicious)
    /// and which rows it trains on. The report serves measurements that the defense cannot see; it
    /// changes no result. A later report replaces an earlier one.
    pub fn report(&self, suspicion: &Tensor, kept: &[RowNumber]) -> Result<()> {
        Suspicion::write(self.corpus, self.folder, suspicion, kept)
    }

    /// The defense's random stream for a purpose and key.
    pub fn rng(&self, purpose: &str, key: &[u64]) -> draw::Rng {
        draw::rng(self.seed, &format!("defense/{purpose}"), key)
    }

    /// `count` captions drawn from the training rows without replacement, embedded by the current
    /// model.
    pub fn captions(&self, count: usize, purpose: &str) -> EmbeddedCaptions {
        let chosen = rand::seq::index::sample(&mut self.rng(purpose, &[]), self.rows(), count.min(self.rows()));
        let rows: Vec<TrainRow> = chosen.into_iter().map(TrainRow::at).collect();
        let keys: Vec<RowKey> = rows.iter().map(|&row| self.corpus.key(row)).collect();
        let tokens =
            rows.chunks(CHUNK).map(|chunk| pad(&self.corpus.tokens(chunk), self.context_length())).collect::<Vec<_>>();
        let encode = |tokens: &Tensor| self.model.encode_text(&tokens.to_device(self.device()));
        let embed = |tokens: &Tensor| tch::no_grad(|| self.precision.forward(self.device(), || encode(tokens)));
        let embeddings = tokens.iter().map(embed).collect::<Vec<_>>();
        let device = self.device();
        EmbeddedCaptions {
            keys: RowKey::tensor(&keys).to_device(device),
            tokens: Tensor::cat(&tokens, 0).to_device(device),
            embeddings: Tensor::cat(&embeddings, 0),
        }
    }
}

/// Tokens `[n, length]` padded with 0 to `[n, context_length]`.
pub fn pad(tokens: &Tensor, context_length: i64) -> Tensor {
    tokens.constant_pad_nd([0, context_length - tokens.size()[1]])
}
