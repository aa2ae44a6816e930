//! Defenses: a defense decides, epoch by epoch, what the trainer shows the model, and what the loss is.
//!
//! The trainer (`train.rs`) owns the loop, so that resume, schedule and data order are the same for
//! all. What a defense is handed (embeddings, tokens, opaque row keys) does not tell poison from
//! clean rows. `defense/plan_context.rs` is what it can ask for when it plans, `defense/half.rs`
//! the loss in half precision.

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
    /// What happens in an epoch (counted from 1), phase by phase; without any, the schedule
    /// advances over the epoch and nothing else happens. Called once an epoch, before its first
    /// step; not called again when a trial resumes within the epoch.
    fn plan(&mut self, _epoch: u32, _bench: &PlanContext) -> Result<Vec<Phase>> {
        Ok(vec![Phase::default()])
    }

    /// What it is there for beside others.
    fn role(&self) -> DefenseRole {
        DefenseRole::Method
    }

    /// What it takes besides the data.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The recipe it is trained with, given that of the suite and the number of training rows. Only
    /// what starts from a trained model has one of its own.
    fn recipe(&self, suite: &Recipe, _rows: usize) -> Result<Recipe> {
        Ok(suite.clone())
    }

    /// The loss of one step: a scalar. CLIP's own, unless a defense has another.
    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        Ok(step.clip_loss(step.image, step.text))
    }

    /// Everything that `plan` and `loss` remember from one step to the next.
    fn state(&self) -> Result<State> {
        Ok(State::new())
    }

    /// Takes back what `state` gave.
    fn restore(&mut self, _state: State, _device: Device) -> Result<()> {
        Ok(())
    }

    /// How suspicious images are to it once the model is trained and used: f32 `[images]`, more is
    /// worse. None: it lets all pass.
    fn suspicion(&self, _canvases: &Tensor, _inference: &Inference) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// What a defense is there for in a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefenseRole {
    /// To be judged.
    Method,
    /// To tell what a part of a method does alone: it shares keys with what it controls for.
    Control,
    /// No defense at all, so that every other method of the trait is left at its default: the model
    /// that the others are compared with, start from or look at the data with. One plugin is that.
    Undefended,
}

/// What a defense takes besides the poisoned data: its assumptions, shown beside its results.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// What it does with the undefended model of the same data, recipe and seed, which is trained once for all.
    pub undefended: Undefended,
    /// Training pairs that somebody has checked to be clean: a share of the rows below 1, or a number.
    pub clean_pairs: f64,
}

impl Needs {
    /// How many clean pairs that are of so many rows.
    pub fn clean_rows(&self, rows: usize) -> usize {
        count_of(self.clean_pairs, rows)
    }
}

/// What a share of the rows below 1, or a number of them, comes to.
pub fn count_of(share_or_number: f64, rows: usize) -> usize {
    if share_or_number < 1.0 { (share_or_number * rows as f64).round() as usize } else { share_or_number as usize }
}

/// What becomes of the undefended model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undefended {
    /// Nobody asks for it.
    #[default]
    Unused,
    /// It looks at the data ([`PlanContext::embed_undefended`]); the defended model starts afresh.
    Reference,
    /// The defended model starts from it.
    Start,
}

/// What a defense can ask for while the trained model is used.
pub struct Inference<'a> {
    /// Similarities to every class name `[images, classes]` of canvases u8 `[images, 3, S, S]`,
    /// times the model's logit scale.
    pub classify: &'a dyn Fn(&Tensor) -> Tensor,
    /// Canvases u8 `[images, 3, S, S]` of half of the rows that are certain to be clean (500 at
    /// most); none, unless it [`needs`](Defense::needs) some.
    pub clean: &'a Tensor,
}

/// Tensors by name.
pub type State = BTreeMap<String, Tensor>;

/// What the trainer does in an epoch, or in a part of one. The default is plain CLIP: all rows,
/// images and captions as they are, both towers train.
///
/// A defense plans on the rows that it knows by their [`RowNumber`]; the trainer makes a phase of
/// the corpus's rows of it ([`TrainPhase`](crate::train::TrainPhase)), once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Phase<Row = RowNumber> {
    /// The rows that it trains on; none: all of them.
    #[serde(skip)]
    pub rows: Option<Arc<Vec<Row>>>,
    /// Steps of it; where its rows do not suffice they come again, in another order. None: as many
    /// whole batches as its rows fill.
    pub steps: Option<usize>,
    /// How images are augmented, if at all.
    pub augmentation: Option<Augmentation>,
    /// How captions are augmented.
    pub captions: CaptionEdits,
    /// A second view of every row, if the loss wants one ([`Step::second`]).
    pub second: Option<View>,
    /// What happens to the text tower.
    pub text_tower: TextTower,
    /// What the schedule's learning rate is multiplied by.
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
    /// The same on other rows, which have another name.
    pub(crate) fn on<Other>(self, rows: Option<Arc<Vec<Other>>>) -> Phase<Other> {
        let Phase { rows: _, steps, augmentation, captions, second, text_tower, rate } = self;
        Phase { rows, steps, augmentation, captions, second, text_tower, rate }
    }
}

/// How a row is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// How its image is augmented, if at all.
    pub augmentation: Option<Augmentation>,
    /// How its caption is.
    pub captions: CaptionEdits,
}

/// When captions are edited by EDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaptionEdits {
    /// Never.
    #[default]
    Off,
    /// Once, the same in every epoch (as RoCLIP's released code does).
    Static,
    /// Afresh in every epoch.
    PerEpoch,
}

/// What happens to the text tower in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextTower {
    /// It trains.
    #[default]
    Trained,
    /// It gives embeddings without a gradient, and the optimizer passes it by.
    Frozen,
    /// Its gradient is zero, which AdamW still answers with decaying momentum and weight decay.
    ZeroGradient,
}

/// Normalised embeddings of a view of the batch.
#[derive(Clone, Copy)]
pub struct Embedded<'a> {
    /// Of its images `[batch, dimensions]`.
    pub image: &'a Tensor,
    /// Of its captions `[batch, dimensions]`.
    pub text: &'a Tensor,
}

/// One step as a defense sees it. The trainer makes them; for tests, [`GivenStep`] does.
pub struct Step<'a> {
    /// Epoch, counted from 1.
    pub epoch: u32,
    /// Normalised image embeddings `[batch, dimensions]`.
    pub image: &'a Tensor,
    /// Normalised text embeddings `[batch, dimensions]`; without gradient unless the text tower is trained.
    pub text: &'a Tensor,
    /// What similarities are multiplied by, a scalar.
    pub logit_scale: &'a Tensor,
    /// Row keys i64 `[batch]`.
    pub keys: &'a Tensor,
    /// Embeddings of the second view, where the phase asked for one.
    pub second: Option<Embedded<'a>>,
    /// Tokens of the captions i64 `[batch, length]`, as long as the longest of them.
    pub tokens: &'a Tensor,
    /// Whether products of embeddings are rounded to f16: the recipe's `half_logits`.
    pub half_logits: bool,
    /// What `encode_text` embeds with.
    pub(crate) model: &'a Clip,
    /// What it embeds in.
    pub(crate) precision: Precision,
    /// Where `record_matches` goes.
    pub(crate) matches: &'a RefCell<Vec<Tensor>>,
}

impl<'a> Step<'a> {
    /// The same with a second view of the batch.
    pub fn with_second(self, second: Embedded<'a>) -> Self {
        Step { second: Some(second), ..self }
    }

    /// [`clip_loss`] of embeddings `[batch, dimensions]` at this step's scale, in the precision
    /// that the recipe asks for. The step's embeddings are normalised; others must be before they
    /// come here.
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

    /// [`nearest`] of the batch's images in `pool`, in the precision that the recipe asks for.
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

    /// Tells the suite which row's caption each row of the batch was matched to (i64 `[batch]`, -1
    /// for no row). For diagnostics made out of the defense's sight; changes nothing.
    pub fn record_matches(&self, matched: &Tensor) {
        self.matches.borrow_mut().push(Tensor::stack(&[self.keys, matched], 0));
    }
}

/// CLIP's loss: cross-entropy of the scaled similarities in both directions, where row i belongs to row i
/// (Radford et al. 2021, figure 3).
pub fn clip_loss(image: &Tensor, text: &Tensor, logit_scale: &Tensor) -> Tensor {
    let logits = image.matmul(&text.transpose(0, 1)) * logit_scale; // [batch, batch]
    mean_cross_entropy(&logits, &logits.transpose(0, 1))
}

/// Mean over both directions of the cross-entropy, row i's target being i.
fn mean_cross_entropy(rows: &Tensor, columns: &Tensor) -> Tensor {
    let own = Tensor::arange(rows.size()[0], (Kind::Int64, rows.device()));
    (rows.cross_entropy_for_logits(&own) + columns.cross_entropy_for_logits(&own)) / 2.0
}

/// Row by row, the most similar of `pool` by cosine (`rows` are normalised, the pool need not be):
/// indices i64 `[rows]`; no gradient.
pub fn nearest(rows: &Tensor, pool: &Tensor) -> Tensor {
    tch::no_grad(|| {
        // The similarities are divided, not the pool: a copy of a large one costs more than its product with a batch.
        let lengths = pool.norm_scalaropt_dim(2.0, [1].as_slice(), false).clamp_min(1e-12);
        (rows.matmul(&pool.transpose(0, 1)) / lengths).argmax(1, false)
    })
}
