//! The trained model as evaluators use it on downstream sets: image features and class embeddings,
//! each computed once.
//!
//! Image features are also kept in the store, under a key of the weights, the images and the stamp,
//! so measuring the same weights again needs no forward pass.

use super::commonest;
use crate::data::files::{json, read_safetensors, write_safetensors};
use crate::data::ordered::{cores, ordered};
use crate::data::store::Key;
use crate::data::tokenize::Tokenizer;
use crate::downstream::{Items, Options, Set, open};
use crate::model::config::Layers;
use crate::model::{Clip, normalize};
use crate::poison::PreparedAttack;
use crate::train::normalise;
use crate::{Error, Progress, Result, build, draw};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// A downstream set of a suite: a table `[downstream.LABEL]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownstreamConfig {
    /// Folder of the set, in the layout that `gauntlet data` describes.
    pub path: PathBuf,
    /// Name of the set, if the label is not its name (`gauntlet data list`).
    #[serde(default)]
    pub set: String,
    /// How the set is read.
    #[serde(default)]
    pub options: Options,
}

/// A downstream set, opened.
pub struct Downstream {
    /// Its label in the suite.
    pub label: String,
    /// Its images, classes and templates; classes with equal prompts are merged into one
    /// ([`Set::of_distinct_names`]).
    pub set: Set,
}

impl Downstream {
    /// Opens the sets of a suite, in order.
    ///
    /// # Errors
    /// Names the set whose folder is missing, damaged or incomplete.
    pub fn open_all(sets: &BTreeMap<String, DownstreamConfig>) -> Result<Vec<Downstream>> {
        let open_one = |(label, config): (&String, &DownstreamConfig)| {
            let name = if config.set.is_empty() { label } else { &config.set };
            let set = open(name, &config.path, &config.options);
            let set = set.map_err(|error| error.during(format!("table `downstream.{label}`")))?;
            Ok(Downstream { label: label.clone(), set: set.of_distinct_names() })
        };
        sets.iter().map(open_one).collect()
    }

    /// Chance level of a top-`k` guess on the test images: the share of their `k` most common
    /// classes.
    pub fn chance(&self, k: usize) -> f64 {
        commonest(self.set.test.labels().iter().copied(), k)
    }
}

/// Part of every key of features. Raise it when the same model and images would give other
/// features.
const FORMAT: u32 = 3;

/// Pixels per forward pass of the image tower on a CPU; more are no faster and take memory.
const CPU_PIXELS: i64 = 250 * 64 * 64;

/// Images that a thread decodes at a time.
const CHUNK: usize = 16;

/// A trained model that caches its features and embeddings.
pub struct Encoder<'a> {
    pub(crate) model: &'a Clip,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) device: Device,
    /// Seed of the stamps.
    pub(crate) seed: u64,
    pub(crate) store: &'a Path,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) seen: Seen,
}

/// The layer of image features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The embedding before normalisation: after the projection into the space shared by images and
    /// texts.
    Embedding,
    /// The input of a vision transformer's projection; for a ResNet the embedding, which comes from
    /// its attention pool.
    BeforeProjection,
}

impl Layer {
    /// Features of normalised images.
    pub(crate) fn of(self, model: &Clip, images: &Tensor) -> Tensor {
        tch::no_grad(|| match self {
            Layer::Embedding => model.image_features(images, false),
            Layer::BeforeProjection => model.features_before_projection(images),
        })
    }
}

/// The cache of an [`Encoder`].
#[derive(Default)]
pub(crate) struct Seen {
    /// Hash of model and weights.
    weights: OnceCell<String>,
    /// Features and embeddings by key.
    kept: RefCell<HashMap<String, Tensor>>,
}

impl Encoder<'_> {
    /// Image features of some items, not normalised: f32 `[items, dimensions]`. Stamped by an
    /// attack if one is given.
    ///
    /// # Errors
    /// Names an image that cannot be decoded.
    pub fn images(&self, items: &Items, which: &[usize], stamped_by: Option<&PreparedAttack>) -> Result<Tensor> {
        self.layer(Layer::Embedding, items, which, stamped_by)
    }

    /// [`images`](Encoder::images) of a given layer.
    pub fn layer(
        &self,
        layer: Layer,
        items: &Items,
        which: &[usize],
        stamped_by: Option<&PreparedAttack>,
    ) -> Result<Tensor> {
        let stored = self.key(layer, items, which, stamped_by)?;
        let key = stored.hex();
        if let Some(kept) = self.seen.kept.borrow().get(&key) {
            return Ok(kept.shallow_clone());
        }
        let path = stored.file(self.store, "safetensors");
        let features = match self.read(&path, &key)? {
            Some(features) => features,
            None => {
                let features = self.embed(layer, items, which, stamped_by)?;
                let tensors = BTreeMap::from([("features".to_string(), features.to_device(Device::Cpu))]);
                write_safetensors(&path, &tensors, &HashMap::from([("key".to_string(), key.clone())]))?;
                features
            }
        };
        stored.note_use(&path)?;
        self.seen.kept.borrow_mut().insert(key, features.shallow_clone());
        Ok(features)
    }

    fn read(&self, path: &Path, key: &str) -> Result<Option<Tensor>> {
        if !path.exists() {
            return Ok(None);
        }
        let (mut tensors, metadata) = read_safetensors(path)?;
        let features = tensors.remove("features").filter(|_| metadata.get("key").is_some_and(|found| found == key));
        let damaged = || Error::invalid(path.display().to_string(), "holds no features of this model; delete it");
        Ok(Some(features.ok_or_else(damaged)?.to_device(self.device)))
    }

    /// Key of these features.
    fn key(&self, layer: Layer, items: &Items, which: &[usize], stamped_by: Option<&PreparedAttack>) -> Result<Key> {
        let stamp = stamped_by.map(|prepared| format!("{} {}", prepared.identity, self.seed)).unwrap_or_default();
        let key = build::stored("features", FORMAT)?.with("device", format!("{:?}", self.device));
        let key = key.with("weights", self.weights()?).with("images", items.fingerprint()).with("stamp", stamp);
        let key = key.with("which", json(which)).with("layer", format!("{layer:?}"));
        let stamped = stamped_by.map(|prepared| format!(", stamped by {}", prepared.label)).unwrap_or_default();
        let first = which.first().map(|item| format!(" from {} on", items.name(*item))).unwrap_or_default();
        Ok(key.of(format!("{} images{first}{stamped}", which.len())))
    }

    /// A hash of model and weights.
    fn weights(&self) -> Result<&str> {
        if let Some(known) = self.seen.weights.get() {
            return Ok(known);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(serde_json::to_string(&self.model.config).expect("plain data").as_bytes());
        for (name, tensor) in self.model.weights.tensors() {
            let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
            let mut bytes = vec![0u8; tensor.numel() * 4];
            tensor.view([-1]).view_dtype(Kind::Uint8).f_copy_data_u8(&mut bytes, tensor.numel() * 4)?;
            hasher.update(name.as_bytes()).update(&bytes);
        }
        Ok(self.seen.weights.get_or_init(|| hasher.finalize().to_hex().to_string()))
    }

    fn embed(
        &self,
        layer: Layer,
        items: &Items,
        which: &[usize],
        stamped_by: Option<&PreparedAttack>,
    ) -> Result<Tensor> {
        let size = self.model.config.vision_cfg.image_size;
        let batch =
            if self.device == Device::Cpu { (CPU_PIXELS / (size * size)).clamp(CHUNK as i64, 256) } else { 512 };
        let (mut features, mut done) = (Vec::new(), 0);
        let mut forward = |pixels: &[u8]| {
            let canvases = Tensor::from_slice(pixels).view([-1, 3, size, size]);
            let count = canvases.size()[0] as usize;
            let keys = which[done..done + count].iter();
            let keys: Vec<u64> = keys.map(|&item| draw::hash(self.seed, "stamp/downstream", &[item as u64])).collect();
            let canvases =
                stamped_by.map_or(Ok(canvases.shallow_clone()), |prepared| prepared.stamp(&canvases, &keys))?;
            let images = normalise(&(canvases.to_device(self.device).to_kind(Kind::Float) / 255.0));
            features.push(layer.of(self.model, &images));
            done += count;
            self.progress.check_stopped()?;
            self.progress.report("features", done as u64, which.len() as u64, "images");
            Ok::<_, Error>(())
        };
        // Threads decode the next chunks while these pass through the model.
        let decode = |chunk: &[usize]| {
            let canvas = |item: &usize| items.canvas(*item, size as u32).map_err(|why| (items.name(*item), why));
            chunk.iter().map(canvas).collect::<Result<Vec<Vec<u8>>, _>>().map(|canvases| canvases.concat())
        };
        let mut waiting: Vec<u8> = Vec::new();
        ordered(which.chunks(CHUNK), vec![decode; cores()], |pixels| {
            waiting.extend(pixels.map_err(|(name, why)| Error::invalid(name, why))?);
            let full = waiting.len() as i64 >= batch * 3 * size * size;
            if full { forward(&std::mem::take(&mut waiting)) } else { Ok(()) }
        })?;
        if !waiting.is_empty() {
            forward(&waiting)?;
        }
        if features.is_empty() {
            return Ok(none(layer, self.model, self.device));
        }
        Ok(Tensor::cat(&features, 0))
    }

    /// One embedding per class `[classes, dimensions]`: the normalised mean of its prompts'
    /// normalised embeddings (CLIP's ensembling).
    pub fn classes(&self, names: &[String], templates: &[String]) -> Tensor {
        let key = format!("{names:?} {templates:?}");
        if let Some(kept) = self.seen.kept.borrow().get(&key) {
            return kept.shallow_clone();
        }
        let embed = |name: &String| {
            let prompts: Vec<String> = templates.iter().map(|template| template.replace("{}", name)).collect();
            normalize(&self.texts(&prompts).mean_dim([0].as_slice(), false, None::<Kind>))
        };
        let classes = Tensor::stack(&names.iter().map(embed).collect::<Vec<_>>(), 0);
        self.seen.kept.borrow_mut().insert(key, classes.shallow_clone());
        classes
    }

    /// Normalised embeddings of texts `[texts, dimensions]`.
    pub fn texts(&self, texts: &[impl AsRef<str>]) -> Tensor {
        let length = self.model.config.text_cfg.context_length;
        let embed = |texts| {
            let tokens = self.tokenizer.encode_batch(texts, length).to_device(self.device);
            tch::no_grad(|| self.model.encode_text(&tokens))
        };
        Tensor::cat(&texts.chunks(256).map(embed).collect::<Vec<_>>(), 0)
    }

    /// Tokens of a text: the model cannot distinguish texts with equal tokens.
    pub fn tokens(&self, text: &str) -> Vec<i64> {
        self.tokenizer.encode(text, self.model.config.text_cfg.context_length)
    }
}

/// Features of zero images, with the layer's number of dimensions.
pub(super) fn none(layer: Layer, model: &Clip, device: Device) -> Tensor {
    let vision = &model.config.vision_cfg;
    let dimensions = match (layer, &vision.layers) {
        (Layer::BeforeProjection, Layers::Blocks(_)) => vision.width,
        _ => model.config.embed_dim,
    };
    Tensor::zeros([0, dimensions], (Kind::Float, device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;
    use crate::progress::Silent;

    #[test]
    fn no_images_have_no_features_but_as_many_dimensions() {
        let (store, set) = (tempfile::tempdir().unwrap(), Items::files(Path::new("."), Vec::new()).unwrap());
        let model = Clip::new(&ModelConfig::named("tiny").unwrap(), 1, Device::Cpu).unwrap();
        let tokenizer = &Tokenizer::new(&["word".to_string()], 4).unwrap();
        let (device, progress, seen) = (Device::Cpu, &Silent, Seen::default());
        let encoder = Encoder { model: &model, tokenizer, device, seed: 0, store: store.path(), progress, seen };
        let features = encoder.images(&set, &[], None).unwrap();
        assert_eq!((features.size(), features.kind()), (vec![0, model.config.embed_dim], Kind::Float));
    }

    /// One layer times the projection is the other; a ResNet has no such layer.
    #[test]
    fn the_embedding_is_what_lies_before_the_projection_projected() {
        for name in ["clip", "clip-vit"] {
            let model = Clip::new(&crate::golden::tiny(name, false), 1, Device::Cpu).unwrap();
            let side = model.config.vision_cfg.image_size;
            let images =
                (Tensor::arange(2 * 3 * side * side, (Kind::Float, Device::Cpu)) * 0.1).sin().view([2, 3, side, side]);
            let [before, after] = [Layer::BeforeProjection, Layer::Embedding].map(|layer| layer.of(&model, &images));
            let projected = model.weights.parameters.get("visual.proj").map(|projection| before.matmul(projection));
            let off = f64::try_from((projected.unwrap_or(before.copy()) - &after).abs().max()).unwrap();
            assert!(off < 1e-6, "{name}: {off}");
            let sides =
                [Layer::BeforeProjection, Layer::Embedding].map(|layer| none(layer, &model, Device::Cpu).size()[1]);
            assert_eq!(sides, [before.size()[1], after.size()[1]], "{name}");
            assert_eq!(name == "clip", before.size() == after.size(), "the transformer's is of another width");
        }
    }
}
