//! open_clip loads the folder of a trial in one line, and computes the same values as gauntlet. The
//! test needs a Python with open_clip: set `GAUNTLET_PYTHON` to it, or have it first in the path;
//! otherwise the test prints that it was skipped.

use crate::program::{argument, end, folder, start, trial, world_suite};
use gauntlet::data::files::{read_safetensors, write_safetensors};
use gauntlet::model::{Checkpoint, Clip, ModelConfig};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use tch::{Device, Kind, Tensor, no_grad};

const SCRIPT: &str = "
import sys
import open_clip
import torch
from safetensors.torch import load_file, save_file

folder, inputs, out = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f'local-dir:{folder}')
given = load_file(inputs)
model.eval()
with torch.no_grad():
    image, text = model.encode_image(given['images'], normalize=True), model.encode_text(given['tokens'], normalize=True)
batches = {name: value for name, value in model.state_dict().items() if name.endswith('num_batches_tracked')}
save_file({'image': image, 'text': text, 'scale': model.logit_scale.exp().detach(), **batches}, out)
print(preprocess)
";

/// The Python that has open_clip.
fn python() -> Option<String> {
    let named = std::env::var("GAUNTLET_PYTHON").unwrap_or("python3".into());
    let found = Command::new(&named).args(["-c", "import open_clip, safetensors"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(named)
}

#[test]
fn open_clip_loads_the_folder_of_a_trial_and_computes_the_same() {
    let home = folder("open-clip");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let trial =
        trial(&suite, &["model=small", "evaluators={ zero-shot = {} }", "recipe.epochs=1"], "clean/clip/seed-0");
    let (json, out) = (home.join("trial.json"), home.join("out"));
    fs::write(&json, serde_json::to_string(&trial).unwrap()).unwrap();
    let ran =
        end(start(&["trial", argument(&json), "--out", argument(&out), "--store", argument(&home.join("store"))]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ModelConfig::named(argument(&out.join("open_clip_config.json"))).unwrap(), trial.model);

    let model = Clip::new(&trial.model, 0, Device::Cpu).unwrap();
    assert!(model.load(&Checkpoint::read(&out.join("model.safetensors")).unwrap()).unwrap().is_empty());
    let steps = metrics_steps(&out);
    for (name, count) in model.weights.state().iter().filter(|(name, _)| name.ends_with("num_batches_tracked")) {
        assert_eq!(i64::try_from(count).unwrap(), steps, "{name}: one for each training step");
    }
    let Some(python) = python() else {
        println!(
            "skipped: no Python with open_clip (GAUNTLET_PYTHON names one); the folder was written, not loaded by open_clip"
        );
        return;
    };
    let images = (Tensor::arange(4 * 3 * 64 * 64, (Kind::Float, Device::Cpu)) * 0.37).sin().view([4, 3, 64, 64]);
    let mut tokens = Tensor::zeros([4, 24], (Kind::Int64, Device::Cpu));
    for row in 0..4 {
        for (place, token) in [49_406, 320 + row, 1_125 * (row + 1), 49_407].into_iter().enumerate() {
            let _ = tokens.get(row).narrow(0, place as i64, 1).fill_(token);
        }
    }
    tokens = tokens.contiguous();
    let (inputs, outputs) = (home.join("inputs.safetensors"), home.join("outputs.safetensors"));
    let given = BTreeMap::from([("images".to_string(), images.copy()), ("tokens".to_string(), tokens.copy())]);
    write_safetensors(&inputs, &given, &HashMap::new()).unwrap();
    let loaded = Command::new(&python)
        .args(["-c", SCRIPT, argument(&out), argument(&inputs), argument(&outputs)])
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let theirs = read_safetensors(&outputs).unwrap().0;
    let ours = no_grad(|| [model.encode_image(&images, false), model.encode_text(&tokens), model.logit_scale()]);
    for (name, ours) in ["image", "text", "scale"].into_iter().zip(ours) {
        let off = f64::try_from((&ours - &theirs[name]).abs().max()).unwrap();
        assert!(off < 1e-5 * f64::try_from(ours.abs().max()).unwrap().max(1.0), "{name}: off by {off:.1e}");
    }
    let batches: Vec<i64> = theirs
        .iter()
        .filter(|(name, _)| name.ends_with("tracked"))
        .map(|(_, count)| i64::try_from(count).unwrap())
        .collect();
    assert!(!batches.is_empty() && batches.iter().all(|count| *count == steps), "{batches:?}");
    let preprocess = String::from_utf8(loaded.stdout).unwrap();
    assert!(
        preprocess.contains("Resize(size=64, interpolation=bicubic") && preprocess.contains("0.48145466"),
        "{preprocess}"
    );
    println!("open_clip loaded {} and computed the same", out.display());
}

/// Steps of the training whose metrics are in `folder`.
fn metrics_steps(folder: &Path) -> i64 {
    let lines = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    last["step"].as_i64().unwrap()
}
