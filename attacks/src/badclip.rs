//! BadCLIP: a patch optimised so that the surrogate's embedding of a stamped image nears the
//! target's captions and images (Liang et al., BadCLIP: Dual-Embedding Guided Backdoor Attack on
//! Multimodal Contrastive Learning, CVPR 2024).
//!
//! The surrogate is a CLIP model that the attacker has. The paper uses OpenAI's RN50; here it is
//! any weights file with open_clip's tensor names, such as one that gauntlet has trained. The patch
//! is optimised once per data set and seed, and kept in the store.
//!
//! Deviations from the paper: the image-text loss is the cross-entropy of a target caption against
//! the captions of the batch's own images; images and captions are not augmented during the
//! optimisation; embeddings are normalised before the triplet loss (unverified in the paper); the
//! paper fine-tunes a trained CLIP on the poison, and here CLIP is pre-trained on it.

use gauntlet::attack::PrepareContext;
use gauntlet::data::files::{read_safetensors, write_safetensors};
use gauntlet::data::tokenize::Tokenizer;
use gauntlet::model::{Checkpoint, Clip, ModelConfig};
use gauntlet::rand::seq::{IndexedRandom, SliceRandom};
use gauntlet::rand::{Rng, RngExt};
use gauntlet::train::normalise;
use gauntlet::{Attack, Backdoor, DataRow, Edit, Error, Goal, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use tch::{Device, Kind, Reduction, Tensor};

/// Stamps a patch that is optimised on a surrogate model.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BadClip {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// Weights of the surrogate: a safetensors file with open_clip's tensor names.
    weights: PathBuf,
    /// Model of the surrogate, named as in a suite; its image size must be the trial's.
    model: String,
    /// Side of the patch in pixels of the canvas (paper: 16 of 224). The patch is in the middle.
    #[schemars(range(min = 1))]
    size: i64,
    /// Maximum number of training rows that the patch is optimised on; none of them names the
    /// target (paper: 10,000).
    #[schemars(range(min = 1))]
    samples: usize,
    /// Passes over those rows (paper: 50).
    #[schemars(range(min = 1))]
    epochs: usize,
    /// Batch size of a step (paper: 64).
    #[schemars(range(min = 2))]
    batch: usize,
    /// Adam's learning rate, for pixels in the range 0 to 1 (released code: PyTorch's default).
    #[schemars(range(min = 0.0))]
    learning_rate: f64,
    /// Weight of the triplet loss (released code: 500).
    #[schemars(range(min = 0.0))]
    triplet: f64,
    /// The optimised patch u8 `[3, size, size]`; `None` before `prepare`.
    #[serde(skip)]
    patch: Option<Tensor>,
}

impl Default for BadClip {
    fn default() -> Self {
        BadClip {
            // The paper poisons 1,500 of 500,000.
            poison: Backdoor { rate: 0.003, ..Backdoor::default() },
            weights: PathBuf::new(),
            model: "RN50".into(),
            size: 16,
            samples: 10_000,
            epochs: 50,
            batch: 64,
            learning_rate: 1e-3,
            triplet: 500.0,
            patch: None,
        }
    }
}

gauntlet::register!(
    dyn Attack,
    BadClip,
    "badclip",
    "a backdoor whose patch is optimised on a surrogate model towards the target's captions and images",
    "Liang et al., BadCLIP: Dual-Embedding Guided Backdoor Attack on Multimodal Contrastive Learning, CVPR 2024"
);

impl Attack for BadClip {
    fn reads(&self) -> Result<Vec<PathBuf>> {
        if self.weights.as_os_str().is_empty() {
            let why = "is empty; give the weights of a CLIP model, such as a trial's model.safetensors";
            return Err(Error::invalid("key `weights`", why));
        }
        Ok(vec![self.weights.clone()])
    }

    fn prepare(&mut self, ctx: &PoisonCtx, context: &PrepareContext) -> Result<()> {
        let path = context.place(ctx, "badclip", self, &self.reads()?)?;
        if !path.exists() {
            let patch = Optimiser::new(self, ctx, context)?.run()?;
            write_safetensors(&path, &BTreeMap::from([("patch".to_string(), patch)]), &HashMap::new())?;
        }
        let damaged = || Error::invalid(path.display().to_string(), "contains no patch; delete the file");
        self.patch = Some(read_safetensors(&path)?.0.remove("patch").ok_or_else(damaged)?);
        Ok(())
    }

    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        let patch = self
            .patch
            .as_ref()
            .ok_or_else(|| Error::invalid("badclip", "was asked to stamp before it was prepared"))?;
        let (stamped, at) = (canvas.copy(), (canvas.size()[3] - self.size) / 2);
        stamped.narrow(2, at, self.size).narrow(3, at, self.size).copy_(patch);
        Ok(stamped)
    }
}

/// The surrogate and the embeddings that the patch is optimised towards.
struct Optimiser<'a> {
    attack: &'a BadClip,
    ctx: &'a PoisonCtx<'a>,
    context: &'a PrepareContext<'a>,
    surrogate: Clip,
    tokenizer: Tokenizer,
    rows: Vec<DataRow>,
    /// Embeddings of the target's captions `[captions, dimensions]` and images `[images,
    /// dimensions]`.
    captions: Tensor,
    images: Tensor,
}

impl<'a> Optimiser<'a> {
    fn new(attack: &'a BadClip, ctx: &'a PoisonCtx, context: &'a PrepareContext) -> Result<Self> {
        let config = ModelConfig::named(&attack.model)?;
        let side = i64::from(ctx.data.canvas.size());
        if config.vision_cfg.image_size != side || attack.size > side {
            let why = format!(
                "the trial's images are {side} pixels wide, the surrogate's {}, the patch {}",
                config.vision_cfg.image_size, attack.size
            );
            return Err(Error::invalid("keys `model` and `size`", why));
        }
        let surrogate = Clip::new(&config, 0, context.device)?;
        surrogate.load(&Checkpoint::read(&attack.weights)?)?;
        let tokenizer = Tokenizer::new(&ctx.data.vocabulary, config.text_cfg.vocab_size)?;
        let Goal::Class(class) = attack.poison.goal(ctx)? else { unreachable!("the goal of a backdoor is a class") };
        let mut rng = ctx.rng("badclip/rows");
        let naming = ctx.data.rows_mentioning(class);
        let others = ctx.free_rows().filter(|row| !naming.contains(row) && ctx.data.canvas.readable(*row)).collect();
        let rows = drawn(others, attack.samples, &mut rng);
        let images = drawn(ctx.images_of(class)?, TARGETS, &mut rng);
        let said: Vec<&str> = ctx.captions_naming(class)?.into_iter().take(TARGETS).collect();
        let mut own = Optimiser {
            attack,
            ctx,
            context,
            surrogate,
            tokenizer,
            rows,
            captions: Tensor::new(),
            images: Tensor::new(),
        };
        own.captions = own.texts(&said);
        let chunks = images.chunks(attack.batch).map(|rows| Ok(own.clean(&own.canvases(rows)?)));
        own.images = Tensor::cat(&chunks.collect::<Result<Vec<_>>>()?, 0);
        Ok(own)
    }

    /// Images in the range 0 to 1 `[rows, 3, S, S]`.
    fn canvases(&self, rows: &[DataRow]) -> Result<Tensor> {
        Ok(self.ctx.data.canvas.gather(rows)?.to_device(self.context.device).to_kind(Kind::Float) / 255.0)
    }

    fn clean(&self, images: &Tensor) -> Tensor {
        tch::no_grad(|| self.surrogate.encode_image(&normalise(images), false))
    }

    fn texts(&self, captions: &[&str]) -> Tensor {
        let length = self.surrogate.config.text_cfg.context_length;
        let tokens = self.tokenizer.encode_batch(captions, length).to_device(self.context.device);
        tch::no_grad(|| self.surrogate.encode_text(&tokens))
    }

    /// Runs Adam on the pixels of the patch; returns the patch as u8 `[3, size, size]`.
    fn run(mut self) -> Result<Tensor> {
        let (size, attack) = (self.attack.size, self.attack);
        let mut rng = self.ctx.rng("badclip/patch");
        let start: Vec<f32> = (0..3 * size * size).map(|_| rng.random()).collect();
        let mut patch = Tensor::from_slice(&start).view([3, size, size]).to_device(self.context.device);
        let (mut mean, mut square) = (patch.zeros_like(), patch.zeros_like());
        let steps = attack.epochs * (self.rows.len() / attack.batch).max(1);
        let mut step = 0;
        for _ in 0..attack.epochs {
            let mut rows = std::mem::take(&mut self.rows);
            rows.shuffle(&mut rng);
            for rows in rows.chunks(attack.batch).filter(|rows| rows.len() > 1) {
                let leaf = patch.detach().set_requires_grad(true);
                let loss = self.loss(&leaf, rows, &mut rng)?;
                let gradient = Tensor::f_run_backward(&[&loss], &[&leaf], false, false)?.remove(0);
                step += 1;
                mean = mean * 0.9 + &gradient * 0.1;
                square = square * 0.999 + gradient.square() * 0.001;
                let (unbiased, scale) = (&mean / (1.0 - 0.9f64.powi(step)), &square / (1.0 - 0.999f64.powi(step)));
                patch = (leaf.detach() - attack.learning_rate * unbiased / (scale.sqrt() + 1e-8)).clamp(0.0, 1.0);
                self.context.progress.check_stopped()?;
                self.context.progress.report(
                    "badclip: patch",
                    step as u64,
                    steps as u64,
                    &format!("loss {:.2}", f64::try_from(loss)?),
                );
            }
            self.rows = rows;
        }
        Ok((patch * 255.0).round().to_kind(Kind::Uint8).to_device(Device::Cpu))
    }

    fn loss(&self, patch: &Tensor, rows: &[DataRow], rng: &mut impl Rng) -> Result<Tensor> {
        let (images, own): (_, Vec<&str>) =
            (self.canvases(rows)?, rows.iter().map(|row| self.ctx.data.row(*row).caption).collect());
        let side = images.size()[3];
        let (before, count) = ((side - self.attack.size) / 2, rows.len() as i64);
        let after = side - self.attack.size - before;
        let mask = patch.ones_like().constant_pad_nd([before, after, before, after]);
        let stamped = &images * (1.0 - mask) + patch.constant_pad_nd([before, after, before, after]);
        let image = self.surrogate.encode_image(&normalise(&stamped), false); // [rows, dimensions]
        let (caption, positive) = (any(&self.captions, count, rng), any(&self.images, count, rng));
        let wanted = (&image * caption).sum_dim_intlist([1].as_slice(), true, Kind::Float);
        let logits =
            Tensor::cat(&[wanted, image.matmul(&self.texts(&own).tr())], 1) * self.surrogate.logit_scale().detach();
        let first = Tensor::zeros([count], (Kind::Int64, image.device()));
        let triplet = Tensor::triplet_margin_loss(
            &image,
            &positive,
            &self.clean(&images),
            1.0,
            2.0,
            1e-6,
            false,
            Reduction::Mean,
        );
        Ok(logits.cross_entropy_for_logits(&first) + triplet * self.attack.triplet)
    }
}

/// Maximum number of the target's captions, and of its images, that the patch is optimised towards.
const TARGETS: usize = 1000;

/// At most `most` of the rows, drawn at random.
fn drawn(mut rows: Vec<DataRow>, most: usize, rng: &mut impl Rng) -> Vec<DataRow> {
    rows.shuffle(rng);
    rows.truncate(most);
    rows
}

/// `count` rows of `of`, drawn with replacement.
fn any(of: &Tensor, count: i64, rng: &mut impl Rng) -> Tensor {
    let numbers: Vec<i64> = (0..of.size()[0]).collect();
    let drawn: Vec<i64> = (0..count).filter_map(|_| numbers.choose(rng).copied()).collect();
    of.index_select(0, &Tensor::from_slice(&drawn).to_device(of.device()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet::data::world::World;
    use gauntlet::data::{DataConfig, Dataset};
    use gauntlet::progress::Silent;
    use std::collections::HashSet;

    /// Even on an untrained surrogate a few steps must lower the loss. The second call must read
    /// the patch from the store.
    #[test]
    fn the_patch_lowers_its_loss_and_is_made_once() {
        let store = tempfile::tempdir().unwrap();
        let world = DataConfig::World(World { pairs: 400, ..World::default() });
        let data = Dataset::open(&world, 32, u64::MAX, store.path(), &Silent).unwrap();
        let (split, taken) = (data.split(0.1, 0).unwrap(), HashSet::new());
        let ctx = PoisonCtx { data: &data, split: &split, seed: 0, taken: &taken };
        let context = PrepareContext { store: store.path(), device: Device::Cpu, progress: &Silent };
        let weights = store.path().join("surrogate.safetensors");
        Clip::new(&ModelConfig::named("tiny").unwrap(), 1, Device::Cpu).unwrap().weights.save(&weights).unwrap();
        let attack = || BadClip {
            weights: weights.clone(),
            model: "tiny".into(),
            size: 8,
            samples: 128,
            epochs: 6,
            learning_rate: 0.05,
            ..BadClip::default()
        };
        let mut prepared = attack();
        prepared.prepare(&ctx, &context).unwrap();
        let patch = prepared.patch.as_ref().unwrap();
        let fresh = attack();
        let optimiser = Optimiser::new(&fresh, &ctx, &context).unwrap();
        let rows: Vec<DataRow> = optimiser.rows[..64].to_vec();
        let loss = |patch: &Tensor| {
            let mut rng = ctx.rng("test");
            f64::try_from(optimiser.loss(&patch.to_kind(Kind::Float), &rows, &mut rng).unwrap()).unwrap()
        };
        let random: Vec<f32> = {
            let mut rng = ctx.rng("badclip/patch");
            (0..192).map(|_| rng.random()).collect()
        };
        let (before, after) =
            (loss(&Tensor::from_slice(&random).view([3, 8, 8])), loss(&(patch.to_kind(Kind::Float) / 255.0)));
        assert!(after < before, "loss {before} before, {after} after");

        let made = std::fs::read_dir(store.path())
            .unwrap()
            .flatten()
            .find(|file| file.file_name().to_string_lossy().contains("badclip"));
        let time = || made.as_ref().unwrap().metadata().unwrap().modified().unwrap();
        let first = time();
        let mut again = attack();
        again.prepare(&ctx, &context).unwrap();
        assert!(again.patch.as_ref().unwrap().equal(patch) && time() == first, "made once");
    }
}
