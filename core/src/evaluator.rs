//! Evaluators: measurements of a trained model on the test split. They read the ground truth, which
//! defenses never receive.
//!
//! `evaluator/score.rs` defines scores, `evaluator/predictions.rs` the single cases behind a score,
//! `evaluator/encoder.rs` the model as evaluators use it on downstream sets.

pub mod encoder;
mod predictions;
mod score;

pub use encoder::{Downstream, DownstreamConfig, Encoder, Layer};
pub use predictions::Predictions;
pub use score::{Definition, Score, ScoreRole, Unit, commonest};

use crate::corpus::{Corpus, RowNumber};
use crate::data::{DataRow, Dataset, Split};
use crate::defense::{Defense, Inference};
use crate::model::{Clip, normalize};
use crate::poison::{Poison, PreparedAttack};
use crate::train::Matches;
use crate::train::trajectory::Probe;
use crate::{Result, draw, registry};
use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A measurement of a trained model.
pub trait Evaluator: Send {
    /// The scores it computes, each with its exact definition.
    fn definitions(&self) -> Vec<Definition>;

    /// Measures the model.
    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>>;

    /// Images of each downstream set's train split that it embeds, at most; most evaluators fit
    /// nothing.
    fn fits_on(&self) -> usize {
        0
    }

    /// What the trainer should record while the model trains; most evaluators need nothing.
    fn probe(&self) -> Option<Probe> {
        None
    }
}

/// A trained model and everything known about its data.
pub struct EvalContext<'a> {
    /// The model with its final weights.
    pub model: &'a Clip,
    /// Rows, classes, canvases.
    pub data: &'a Dataset,
    /// Which rows are held out.
    pub split: &'a Split,
    /// The suite's attacks and their goals, whether or not they poisoned this arena.
    pub attacks: &'a [PreparedAttack],
    /// The poison of this arena.
    pub poison: &'a Poison,
    /// The training rows with their ground truth.
    pub corpus: &'a Corpus<'a>,
    /// The defense, for its behaviour while the model is in use.
    pub(crate) defense: &'a dyn Defense,
    /// The matches that the defense recorded, one entry per epoch with matches.
    pub matches: &'a [Matches],
    /// Rows trained on, counted once for each time.
    pub trained_rows: u64,
    /// The seed of the trial.
    pub seed: u64,
    /// The downstream sets of the suite.
    pub downstream: &'a [Downstream],
    /// The model as evaluators use it on the downstream sets.
    pub encoder: Encoder<'a>,
    /// The trial's folder, for output that is too long for a score.
    pub folder: &'a Path,
    pub(crate) test_rows: OnceCell<Vec<DataRow>>,
    pub(crate) clean: OnceCell<[Tensor; 2]>,
    pub(crate) cases: RefCell<Vec<Predictions>>,
}

impl EvalContext<'_> {
    /// Held-out rows that are no attack's target and whose images can be decoded: the zero-shot
    /// test set, equal in all arenas of a seed.
    pub fn test_rows(&self) -> &[DataRow] {
        self.test_rows.get_or_init(|| {
            let targets: HashSet<DataRow> = self.attacks.iter().flat_map(|prepared| prepared.goal.rows()).collect();
            let heldout = self.split.heldout.iter().copied();
            heldout.filter(|row| !targets.contains(row) && self.data.canvas.readable(*row)).collect()
        })
    }

    /// The test images of a backdoor for `class`; see [`victims`].
    pub fn victims(&self, class: u32) -> Vec<DataRow> {
        victims(self.data, self.test_rows(), class, self.seed)
    }

    /// Whether labels decide which images are [`victims`](EvalContext::victims).
    pub fn labels_tell(&self) -> bool {
        labels_tell(self.data, self.test_rows())
    }

    /// Chance level of a top-`k` guess on the zero-shot test set: the share of its `k` most common
    /// classes.
    pub fn chance(&self, k: usize) -> f64 {
        commonest(self.test_rows().iter().filter_map(|&row| self.truth(row)), k)
    }

    /// How suspicious the defense finds canvases u8 `[images, 3, S, S]`; `None` if it accepts every
    /// image.
    pub fn suspicion(&self, canvases: &Tensor) -> Result<Option<Vec<f32>>> {
        let names: Vec<String> = self.data.classes.names.iter().map(|names| names[0].clone()).collect();
        let classes = self.encoder.classes(&names, &self.data.classes.templates);
        let classify = |canvases: &Tensor| {
            tch::no_grad(|| {
                let images = self.corpus.normalise(canvases, &[]);
                self.model.encode_image(&images, false).matmul(&classes.tr()) * self.model.logit_scale()
            })
        };
        let inference = Inference { classify: &classify, clean: &self.clean()?[0] };
        let found = self.defense.suspicion(canvases, &inference)?;
        Ok(found.map(|found| Vec::try_from(found.to_device(Device::Cpu))).transpose()?)
    }

    /// Canvases of the rows that the defense may assume to be clean, at most 1,000: one half is
    /// given to the defense when it is queried; the other half, which it never sees, sets a
    /// threshold.
    pub fn clean(&self) -> Result<&[Tensor; 2]> {
        if self.clean.get().is_none() {
            let mut rows = self.corpus.clean_rows(self.defense.needs().clean_rows(self.corpus.len()))?;
            rows.truncate(1000);
            let (given, other) = rows.split_at(rows.len() / 2);
            let read = |rows: &[RowNumber]| -> Result<Tensor> {
                match rows.is_empty() {
                    true => Ok(Tensor::zeros([0, 3, 1, 1], (Kind::Uint8, Device::Cpu))),
                    false => Ok(self.corpus.read(&self.corpus.places_of(rows))?.1),
                }
            };
            let _ = self.clean.set([read(given)?, read(other)?]);
        }
        Ok(self.clean.get().expect("it was just set"))
    }

    /// The true class of a held-out row, if it has a label.
    pub fn truth(&self, row: DataRow) -> Option<u32> {
        self.data.class_of(row)
    }

    /// The [`test_rows`](EvalContext::test_rows) that have a label: accuracy is measured on these.
    pub fn labelled_rows(&self) -> Vec<DataRow> {
        self.test_rows().iter().copied().filter(|row| self.truth(*row).is_some()).collect()
    }

    /// Zero-shot classes of rows of the data set, stamped by an attack if one is given: the `k`
    /// most similar classes of each row, best first.
    pub fn classify(&self, rows: &[DataRow], stamped_by: Option<&PreparedAttack>, k: i64) -> Result<Vec<Vec<u32>>> {
        self.classify_embedded(&self.embed(rows, stamped_by)?, &self.data.classes.templates, k)
    }

    /// Zero-shot logits of rows of the data set `[rows, classes]`, stamped by an attack if one is
    /// given: the cosine of each image and each class, times the model's logit scale. A softmax
    /// over the classes gives confidences.
    pub fn logits(&self, rows: &[DataRow], stamped_by: Option<&PreparedAttack>) -> Result<Tensor> {
        let cosines = self.cosines(&self.embed(rows, stamped_by)?, &self.data.classes.templates);
        Ok(tch::no_grad(|| cosines * self.model.logit_scale()))
    }

    /// Cosines of image embeddings and every class `[images, classes]`, with prompts from
    /// `templates`.
    fn cosines(&self, images: &Tensor, templates: &[String]) -> Tensor {
        let names: Vec<String> = self.data.classes.names.iter().map(|names| names[0].clone()).collect();
        images.matmul(&self.encoder.classes(&names, templates).tr())
    }

    /// [`classify`](EvalContext::classify) for image embeddings `[images, dimensions]`, with
    /// prompts from `templates`.
    pub fn classify_embedded(&self, images: &Tensor, templates: &[String], k: i64) -> Result<Vec<Vec<u32>>> {
        // By the cosines, since a product with the logit scale could round two of them to one.
        let cosines = self.cosines(images, templates);
        let (_, top) = cosines.topk(k.min(cosines.size()[1]), -1, true, true);
        let top = Vec::<Vec<i64>>::try_from(top.to_device(Device::Cpu))?;
        Ok(top.into_iter().map(|row| row.into_iter().map(|class| class as u32).collect()).collect())
    }

    /// Normalised image embeddings of rows of the data set `[rows, dimensions]`, stamped by an
    /// attack if one is given.
    pub fn embed(&self, rows: &[DataRow], stamped_by: Option<&PreparedAttack>) -> Result<Tensor> {
        Ok(normalize(&self.features(rows, stamped_by)?))
    }

    /// [`embed`](EvalContext::embed) without normalisation.
    pub fn features(&self, rows: &[DataRow], stamped_by: Option<&PreparedAttack>) -> Result<Tensor> {
        self.layer(Layer::Embedding, rows, stamped_by)
    }

    /// [`features`](EvalContext::features) of a given layer.
    pub fn layer(&self, layer: Layer, rows: &[DataRow], stamped_by: Option<&PreparedAttack>) -> Result<Tensor> {
        let chunk = |rows: &[DataRow]| match stamped_by {
            Some(prepared) => prepared.stamp_test(self.data, rows, self.seed),
            None => self.data.canvas.gather(rows),
        };
        self.features_of(layer, rows.chunks(EVAL_BATCH).map(chunk))
    }

    /// Normalised embeddings `[files, dimensions]` of images that an attack supplies.
    pub fn embed_files(&self, prepared: &PreparedAttack, files: &[&str]) -> Result<Tensor> {
        let canvas = |file: &&str| prepared.image(file, self.data.canvas.size());
        let chunk = |files: &[&str]| Ok(Tensor::stack(&files.iter().map(canvas).collect::<Result<Vec<_>>>()?, 0));
        Ok(normalize(&self.features_of(Layer::Embedding, files.chunks(EVAL_BATCH).map(chunk))?))
    }

    /// Image features of canvases that arrive in chunks, not normalised.
    fn features_of(&self, layer: Layer, chunks: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
        let mut features = vec![encoder::none(layer, self.model, self.corpus.device)];
        for canvases in chunks {
            let images = self.corpus.normalise(&canvases?, &[]);
            features.push(layer.of(self.model, &images));
        }
        Ok(Tensor::cat(&features, 0))
    }
}

/// Every score that the registered evaluators define, with the name of the plugin.
///
/// # Errors
/// If an evaluator cannot be built with its defaults.
pub fn definitions() -> Result<Vec<(&'static str, Definition)>> {
    let mut all = Vec::new();
    for plugin in registry::all::<dyn Evaluator>()? {
        let definitions = plugin.build(&(plugin.defaults)())?.definitions();
        all.extend(definitions.into_iter().map(|definition| (plugin.name, definition)));
    }
    Ok(all)
}

/// Whether at least half of these rows have a label, so that labels decide which images are of
/// another class.
fn labels_tell(data: &Dataset, rows: &[DataRow]) -> bool {
    2 * rows.iter().filter(|row| data.class_of(**row).is_some()).count() >= rows.len()
}

/// The test images of a backdoor for `class`, out of these held-out rows: the labelled rows of
/// another class. If fewer than half of the rows have a label: [`VICTIMS`] rows, drawn from the
/// seed, whose captions name the class by no alias and no inflection.
pub fn victims(data: &Dataset, test_rows: &[DataRow], class: u32, seed: u64) -> Vec<DataRow> {
    if labels_tell(data, test_rows) {
        let other = |row: &DataRow| data.class_of(*row).is_some_and(|truth| truth != class);
        return test_rows.iter().copied().filter(other).collect();
    }
    let other = |row: &DataRow| data.class_of(*row) != Some(class) && !data.mentions(*row, class);
    let mut rows: Vec<DataRow> = test_rows.iter().copied().filter(other).collect();
    rows.sort_by_key(|row| draw::hash(seed, "victims", &[(*row).into()]));
    rows.truncate(VICTIMS);
    rows.sort_unstable();
    rows
}

/// Test images of a backdoor if labels do not decide which images are of other classes (the
/// development repository of RoCLIP's authors uses 300).
pub const VICTIMS: usize = 300;

/// Images per forward pass.
const EVAL_BATCH: usize = 250;
