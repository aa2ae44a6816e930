//! Gauntlet's side of `bench/parity.py`, which compares full-size models with open_clip: it builds
//! a model, loads the weights and inputs that the script wrote, and writes the outputs.

use gauntlet::data::files::{read_safetensors, write_safetensors};
use gauntlet::defense::clip_loss;
use gauntlet::model::{Clip, ModelConfig};
use gauntlet::tch::{Device, Kind, Tensor, no_grad};
use gauntlet::train::adamw::AdamW;
use gauntlet::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

const USAGE: &str =
    "give one of: fresh MODEL FOLDER; float32 MODEL FOLDER; float64 MODEL FOLDER; time MODEL BATCH THREADS STEPS";
/// High, so that the rounding of a weight is small compared with its update in a step.
const LEARNING_RATE: f64 = 1e-2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["fresh", model, folder] => fresh(model, Path::new(folder)),
        ["float32", model, folder] => float32(model, Path::new(folder)),
        ["float64", model, folder] => float64(model, Path::new(folder)),
        ["time", model, batch, threads, steps] => time(model, [batch, threads, steps]),
        _ => Err(Error::invalid("arguments", USAGE)),
    };
    if let Err(error) = done {
        eprintln!("parity: {}", error.chain());
        std::process::exit(2);
    }
}

fn build(model: &str) -> Result<Clip> {
    Clip::new(&ModelConfig::named(model)?, 1, Device::Cpu)
}

fn optimizer(model: &Clip) -> AdamW {
    AdamW::new(&model.weights, [0.9, 0.98], 1e-8, 0.1)
}

/// Images f32 `[batch, 3, S, S]` and tokens i64 `[batch, context]`.
fn inputs(folder: &Path) -> Result<[Tensor; 2]> {
    let path = folder.join("inputs.safetensors");
    let (mut tensors, _) = read_safetensors(&path)?;
    let mut take = |name: &str| {
        tensors.remove(name).ok_or_else(|| Error::invalid(path.display().to_string(), format!("lacks `{name}`")))
    };
    Ok([take("images")?, take("tokens")?])
}

fn embeddings(model: &Clip, [images, tokens]: &[Tensor; 2]) -> BTreeMap<String, Tensor> {
    let (image, text) = no_grad(|| (model.encode_image(images, false), model.encode_text(tokens)));
    BTreeMap::from([("eval/image".to_string(), image), ("eval/text".to_string(), text)])
}

fn gradients<'a>(model: &'a Clip, loss: &Tensor) -> Result<Named<'a>> {
    let parameters = &model.weights.parameters;
    let found = Tensor::f_run_backward(&[loss], &parameters.values().collect::<Vec<_>>(), false, false)?;
    Ok(parameters.keys().map(String::as_str).zip(found).collect())
}

/// A new model: `fresh.safetensors` as a trial saves it, `fresh-outputs.safetensors` with its
/// embeddings.
fn fresh(model: &str, folder: &Path) -> Result<()> {
    let model = build(model)?;
    model.weights.save(&folder.join("fresh.safetensors"))?;
    let outputs = embeddings(&model, &inputs(folder)?);
    write_safetensors(&folder.join("fresh-outputs.safetensors"), &outputs, &HashMap::new())
}

/// The model of `weights.safetensors`: writes `float32.safetensors` with its outputs and gradients,
/// and `model.safetensors` with the weights after one step.
fn float32(model: &str, folder: &Path) -> Result<()> {
    let (model, inputs) = (build(model)?, inputs(folder)?);
    model.weights.load(&folder.join("weights.safetensors"))?;
    let (outputs, gradients) = computed(&model, &inputs)?;
    write_outputs(&folder.join("float32.safetensors"), outputs, &gradients)?;
    optimizer(&model).step(&model.weights, &gradients, LEARNING_RATE)?;
    model.weights.save(&folder.join("model.safetensors"))
}

/// `float64.safetensors` with the results of the same model in double precision: towers and
/// gradients; embeddings are normalised in f32.
fn float64(model: &str, folder: &Path) -> Result<()> {
    let (model, [images, tokens]) = (build(model)?, inputs(folder)?);
    model.weights.load(&folder.join("weights.safetensors"))?;
    for tensor in model.weights.parameters.values().chain(model.weights.buffers.values()) {
        // The towers share the tensor, so theirs becomes double, too.
        tensor.shallow_clone().set_data(&tensor.detach().to_kind(Kind::Double));
    }
    let (outputs, gradients) = computed(&model, &[images.to_kind(Kind::Double), tokens])?;
    write_outputs(&folder.join("float64.safetensors"), outputs, &gradients)
}

type Named<'a> = Vec<(&'a str, Tensor)>;

/// Embeddings, loss and running statistics, and the gradients.
fn computed<'a>(model: &'a Clip, inputs: &[Tensor; 2]) -> Result<(BTreeMap<String, Tensor>, Named<'a>)> {
    let mut outputs = embeddings(model, inputs);
    let (image, text) = (model.encode_image(&inputs[0], true), model.encode_text(&inputs[1]));
    let loss = clip_loss(&image, &text, &model.logit_scale());
    let gradients = gradients(model, &loss)?;
    outputs.extend([("train/image", image), ("train/text", text), ("loss", loss)].map(|(k, x)| (k.into(), x.detach())));
    outputs.extend(model.weights.buffers.iter().map(|(name, x)| (format!("running/{name}"), x.shallow_clone())));
    Ok((outputs, gradients))
}

fn write_outputs(path: &Path, mut outputs: BTreeMap<String, Tensor>, gradients: &Named) -> Result<()> {
    outputs.extend(gradients.iter().map(|(name, tensor)| (format!("gradient/{name}"), tensor.shallow_clone())));
    write_safetensors(path, &outputs, &HashMap::new())
}

/// Prints the seconds of each training step (forward, backward, optimizer) on random images and
/// captions.
fn time(model: &str, numbers: [&str; 3]) -> Result<()> {
    let number = |text: &str| text.parse::<i64>().map_err(|error| Error::invalid(text, error.to_string()));
    let (batch, threads, steps) = (number(numbers[0])?, number(numbers[1])?, number(numbers[2])?);
    gauntlet::tch::set_num_threads(threads as i32);
    let model = build(model)?;
    let (side, text) = (model.config.vision_cfg.image_size, &model.config.text_cfg);
    let images = Tensor::randn([batch, 3, side, side], (Kind::Float, Device::Cpu));
    let tokens = Tensor::randint(text.vocab_size, [batch, text.context_length], (Kind::Int64, Device::Cpu));
    let mut optimizer = optimizer(&model);
    for _ in 0..steps {
        let clock = Instant::now();
        let (image, text) = (model.encode_image(&images, true), model.encode_text(&tokens));
        let loss = clip_loss(&image, &text, &model.logit_scale());
        optimizer.step(&model.weights, &gradients(&model, &loss)?, LEARNING_RATE)?;
        model.clamp_logit_scale();
        println!("{}", clock.elapsed().as_secs_f64());
    }
    Ok(())
}
