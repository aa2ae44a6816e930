//! Defenses: a defense decides, epoch by epoch, what the trainer shows the model, and computes the
//! loss.
//!
//! The trainer (`train.rs`) owns the loop, so resume, schedule and data order are the same for all
//! defenses. A defense receives embeddings, tokens and opaque row keys; none of these tells
//! poisoned from clean rows. `defense/plan_context.rs` lists the queries that a defense can make
//! when it plans, `defense/half.rs` computes the loss in half precision.

mod given;
mod half;
mod plan_context;
mod suspicion;

pub use given::GivenStep;
pub use plan_context::{EmbeddedCaptions, EmbeddedPairs, PlanContext, pad};
pub use suspicion::Suspicion;

use crate::Result;
use crate::corpus::RowNumber;
use crate::data::augment::Augmentation;
use crate::model::Clip;
use crate::recipe::{Precision, Recipe};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// A defense during pre-training.
pub trait Defense: Send {
    /// The phases of an epoch (counted from 1), in order. With no phase, the schedule advances over
    /// the epoch and nothing is trained. Called once per epoch, before its first step, and not
    /// again when a trial resumes within the epoch.
    fn plan(&mut self, _epoch: u32, _bench: &PlanContext) -> Result<Vec<Phase>> {
        Ok(vec![Phase::default()])
    }

    /// The purpose of this row in a comparison.
    fn role(&self) -> DefenseRole {
        DefenseRole::Method
    }

    /// Its requirements besides the data.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The recipe that it trains with, given the suite's recipe and the number of training rows.
    /// Only a defense that starts from a trained model overrides it.
    fn recipe(&self, suite: &Recipe, _rows: usize) -> Result<Recipe> {
        Ok(suite.clone())
    }

    /// The loss of one step: a scalar. Default: CLIP's loss.
    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        Ok(step.clip_loss(step.image, step.text))
    }

    /// Everything that `plan` and `loss` keep from one step to the next.
    fn state(&self) -> Result<State> {
        Ok(State::new())
    }

    /// Restores the result of `state`.
    fn restore(&mut self, _state: State, _device: Device) -> Result<()> {
        Ok(())
    }

    /// How suspicious the defense finds images once the model is trained and in use: f32
    /// `[images]`, higher is more suspicious. `None`: the defense accepts every image.
    fn suspicion(&self, _canvases: &Tensor, _inference: &Inference) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The purpose of a defense in a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefenseRole {
    /// A method under test.
    Method,
    /// A control: isolates the effect of one part of a method, with which it shares keys.
    Control,
    /// No defense: every other method of the trait keeps its default. Other defenses are compared
    /// with this model, start from it, or use it to inspect the data. Exactly one plugin has this
    /// role.
    Undefended,
}

/// Requirements of a defense besides the poisoned data: its assumptions, shown beside its results.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// How it uses the undefended model of the same data, recipe and seed, which is trained once
    /// for all defenses.
    pub undefended: Undefended,
    /// Training pairs that are known to be clean: below 1 a share of the rows, otherwise a number.
    pub clean_pairs: f64,
}

impl Needs {
    /// The number of clean pairs for a data set of this many rows.
    pub fn clean_rows(&self, rows: usize) -> usize {
        count_of(self.clean_pairs, rows)
    }
}

/// Converts a share of the rows (below 1) or a number of rows to a number of rows.
pub fn count_of(share_or_number: f64, rows: usize) -> usize {
    if share_or_number < 1.0 { (share_or_number * rows as f64).round() as usize } else { share_or_number as usize }
}

/// How a defense uses the undefended model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undefended {
    /// It does not.
    #[default]
    Unused,
    /// It embeds the data with it ([`PlanContext::embed_undefended`]); the defended model starts
    /// from its own initial weights.
    Reference,
    /// The defended model starts from it.
    Start,
}

/// Queries that a defense can make while the trained model is in use.
pub struct Inference<'a> {
    /// Similarities to every class name `[images, classes]` of canvases u8 `[images, 3, S, S]`,
    /// times the model's logit scale.
    pub classify: &'a dyn Fn(&Tensor) -> Tensor,
    /// Canvases u8 `[images, 3, S, S]` of half of the rows that are known to be clean (at most
    /// 500); empty unless the defense [`needs`](Defense::needs) some.
    pub clean: &'a Tensor,
}

/// Tensors by name.
pub type State = BTreeMap<String, Tensor>;

/// Work of the trainer in an epoch, or in part of one. The default is plain CLIP: all rows,
/// unchanged images and captions, both towers trained.
///
/// A defense plans with the [`RowNumber`]s of rows; the trainer converts them to rows of the corpus
/// ([`TrainPhase`](crate::train::TrainPhase)) once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Phase<Row = RowNumber> {
    /// The rows to train on; `None`: all.
    #[serde(skip)]
    pub rows: Option<Arc<Vec<Row>>>,
    /// Number of steps; if the rows do not suffice, they are repeated in another order. `None`: as
    /// many whole batches as the rows fill.
    pub steps: Option<usize>,
    /// Image augmentation, if any.
    pub augmentation: Option<Augmentation>,
    /// Caption augmentation.
    pub captions: CaptionEdits,
    /// A second view of every row, if the loss needs one ([`Step::second`]).
    pub second: Option<View>,
    /// How the text tower is treated.
    pub text_tower: TextTower,
    /// Factor on the schedule's learning rate.
    pub rate: f64,
}

impl<Row> Default for Phase<Row> {
    fn default() -> Self {
        let (augmentation, captions) = (None, CaptionEdits::Off);
        Phase {
            rows: None,
            steps: None,
            augmentation,
            captions,
            second: None,
            text_tower: TextTower::Trained,
            rate: 1.0,
        }
    }
}

impl<Row> Phase<Row> {
    /// The same phase on other rows.
    pub(crate) fn on<Other>(self, rows: Option<Arc<Vec<Other>>>) -> Phase<Other> {
        let Phase { rows: _, steps, augmentation, captions, second, text_tower, rate } = self;
        Phase { rows, steps, augmentation, captions, second, text_tower, rate }
    }
}

/// How a row is presented to the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Image augmentation, if any.
    pub augmentation: Option<Augmentation>,
    /// Caption augmentation.
    pub captions: CaptionEdits,
}

/// When captions are edited by EDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaptionEdits {
    /// Never.
    #[default]
    Off,
    /// Once: the same edit in every epoch (as RoCLIP's released code does).
    Static,
    /// Again in every epoch.
    PerEpoch,
}

/// How the text tower is treated in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextTower {
    /// It trains.
    #[default]
    Trained,
    /// It computes embeddings without gradient, and the optimizer skips it.
    Frozen,
    /// Its gradient is zero; AdamW still applies decaying momentum and weight decay.
    ZeroGradient,
}

/// Normalised embeddings of a view of the batch.
#[derive(Clone, Copy)]
pub struct Embedded<'a> {
    /// Image embeddings `[batch, dimensions]`.
    pub image: &'a Tensor,
    /// Caption embeddings `[batch, dimensions]`.
    pub text: &'a Tensor,
}

/// One training step, as a defense receives it. The trainer builds it; in tests, [`GivenStep`]
/// does.
pub struct Step<'a> {
    /// Epoch, counted from 1.
    pub epoch: u32,
    /// Normalised image embeddings `[batch, dimensions]`.
    pub image: &'a Tensor,
    /// Normalised text embeddings `[batch, dimensions]`; without gradient unless the text tower is
    /// trained.
    pub text: &'a Tensor,
    /// Factor on similarities, a scalar: the exponential of the learned parameter, which open_clip
    /// calls by this name.
    pub logit_scale: &'a Tensor,
    /// Row keys i64 `[batch]`.
    pub keys: &'a Tensor,
    /// Embeddings of the second view, if the phase asked for one.
    pub second: Option<Embedded<'a>>,
    /// Tokens of the captions i64 `[batch, length]`, cut to the longest caption.
    pub tokens: &'a Tensor,
    /// Whether products of embeddings are rounded to f16: the recipe's `half_logits`.
    pub half_logits: bool,
    /// The model that `encode_text` uses.
    pub(crate) model: &'a Clip,
    /// The precision that `encode_text` uses.
    pub(crate) precision: Precision,
    /// Receives the matches of `record_matches`.
    pub(crate) matches: &'a RefCell<Vec<Tensor>>,
}

impl<'a> Step<'a> {
    /// The same step with a second view of the batch.
    pub fn with_second(self, second: Embedded<'a>) -> Self {
        Step { second: Some(second), ..self }
    }

    /// [`clip_loss`] of embeddings `[batch, dimensions]` at this step's scale, in the recipe's
    /// precision.
    ///
    /// ```
    /// # use gauntlet::defense::GivenStep;
    /// # use gauntlet::tch::{Device, Kind, Tensor};
    /// # let eye = Tensor::eye(3, (Kind::Float, Device::Cpu));
    /// # let keys = Tensor::from_slice(&[0i64, 1, 2]);
    /// # let given = GivenStep::new(eye.copy(), eye.copy(), Tensor::from(100f32), keys.copy(), keys.unsqueeze(1));
    /// let step = given.step(1); // in a defense: what `loss` is handed
    /// let loss = step.clip_loss(step.image, step.text);
    /// assert!(f64::try_from(loss)? < 1e-6, "each image is nearest to its own caption");
    /// let others = gauntlet::model::normalize(&(step.text * 3.0)); // [batch, dimensions]
    /// assert!(f64::try_from(step.clip_loss(step.image, &others))? < 1e-6);
    /// # Ok::<(), gauntlet::tch::TchError>(())
    /// ```
    pub fn clip_loss(&self, image: &Tensor, text: &Tensor) -> Tensor {
        let loss = if self.half_logits { half::clip_loss } else { clip_loss };
        loss(image, text, self.logit_scale)
    }

    /// [`nearest`] of the batch's images in `pool`, in the recipe's precision.
    ///
    /// ```
    /// # use gauntlet::defense::GivenStep;
    /// # use gauntlet::tch::{Device, Kind, Tensor};
    /// # let eye = Tensor::eye(3, (Kind::Float, Device::Cpu));
    /// # let keys = Tensor::from_slice(&[0i64, 1, 2]);
    /// # let given = GivenStep::new(eye.copy(), eye.copy(), Tensor::from(100f32), keys.copy(), keys.unsqueeze(1));
    /// let step = given.step(1);
    /// let pool = step.text.flip([0]) * 5.0; // need not be normalised: cosines are compared
    /// assert_eq!(Vec::<i64>::try_from(step.nearest(&pool))?, [2, 1, 0]);
    /// # Ok::<(), gauntlet::tch::TchError>(())
    /// ```
    pub fn nearest(&self, pool: &Tensor) -> Tensor {
        let search = if self.half_logits { half::nearest } else { nearest };
        search(self.image, pool)
    }

    /// Embeds tokens `[n, length]` with gradient.
    pub fn encode_text(&self, tokens: &Tensor) -> Tensor {
        self.precision.forward(tokens.device(), || self.model.encode_text(tokens))
    }

    /// Records which row's caption each row of the batch was matched to (i64 `[batch]`, -1 for no
    /// row). The matches serve diagnostics that the defense cannot see; the call changes no result.
    pub fn record_matches(&self, matched: &Tensor) {
        self.matches.borrow_mut().push(Tensor::stack(&[self.keys, matched], 0));
    }
}

/// CLIP's loss: cross-entropy of the scaled similarities in both directions, where row i belongs to
/// row i (Radford et al. 2021, figure 3).
pub fn clip_loss(image: &Tensor, text: &Tensor, logit_scale: &Tensor) -> Tensor {
    let logits = image.matmul(&text.transpose(0, 1)) * logit_scale; // [batch, batch]
    mean_cross_entropy(&logits, &logits.transpose(0, 1))
}

/// Mean over both directions of the cross-entropy; the target of row i is i.
fn mean_cross_entropy(rows: &Tensor, columns: &Tensor) -> Tensor {
    let own = Tensor::arange(rows.size()[0], (Kind::Int64, rows.device()));
    (rows.cross_entropy_for_logits(&own) + columns.cross_entropy_for_logits(&own)) / 2.0
}

/// For each row, the most similar row of `pool` by cosine (`rows` are normalised, the pool need not
/// be): indices i64 `[rows]`; no gradient.
pub fn nearest(rows: &Tensor, pool: &Tensor) -> Tensor {
    tch::no_grad(|| {
        // Divide the similarities, not the pool: copying a large pool costs more than its product
        // with a batch.
        let lengths = pool.norm_scalaropt_dim(2.0, [1].as_slice(), false).clamp_min(1e-12);
        (rows.matmul(&pool.transpose(0, 1)) / lengths).argmax(1, false)
    })
}
