//! Compares a pool of captions to match images to with the algorithm of RoCLIP's paper.

use super::{Distance, FP32, Golden};
use crate::defense::{Step, pad};
use crate::model::{Clip, ModelConfig};
use crate::recipe::Precision;
use crate::{Defense, Error, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// RoCLIP's matches, loss, gradients and pool over five steps, by the paper's algorithm 1: pools
/// that wrap, and pools smaller than a batch.
///
/// `defense` builds a defense that matches in every epoch and looks a batch up `before` or `after`
/// it enters the pool. It is saved and restored after every step, so its state must be complete.
/// `file` names the golden file.
pub fn pools(
    folder: &Path,
    file: &str,
    device: Device,
    defense: impl Fn(&str) -> Result<Box<dyn Defense>>,
) -> Result<Vec<Distance>> {
    let golden = Golden::read(folder, file, device)?;
    let model = Clip::new(&ModelConfig::named("tiny")?, 1, device)?;
    let mut distances = Vec::new();
    for (order, size) in [("before", 7), ("before", 3), ("after", 7), ("after", 3)] {
        let keys = -1 - Tensor::arange(size, (Kind::Int64, device));
        let mut state = BTreeMap::from([
            ("embeddings".to_string(), golden.get("start")?.narrow(0, 0, size).copy()),
            ("tokens".to_string(), pad(&tokens_of(&keys), 4)),
            ("keys".to_string(), keys),
            ("next".to_string(), Tensor::from(0i64)),
        ]);
        for number in 0..5 {
            let mut defense = defense(order)?;
            defense.restore(state, device)?;
            let found = pool_step(&golden, &model, defense.as_mut(), number)?;
            state = defense.state()?;
            let oldest_first = |name: &str| state[name].roll([-i64::try_from(&state["next"]).unwrap_or(0)], [0]);
            let pool = [("pool", oldest_first("embeddings")), ("pool_keys", oldest_first("keys"))];
            for (name, ours) in found.iter().chain(&pool) {
                let theirs = golden.get(&format!("{order}-{size}/{name}"))?.get(number);
                let what = format!("{order}-{size}, step {number}, {name}");
                distances.push(Distance::between(what, ours, &theirs, FP32)?);
            }
            let (what, expected) = (format!("{order}-{size}, step {number}, tokens"), tokens_of(&state["keys"]));
            distances.push(Distance::between(what, &state["tokens"], &pad(&expected, 4), 0.0)?);
        }
    }
    Ok(distances)
}

/// Two tokens that identify their row.
fn tokens_of(keys: &Tensor) -> Tensor {
    keys.unsqueeze(1) * Tensor::from_slice(&[1i64, 100]).to_device(keys.device())
}

fn pool_step(
    golden: &Golden,
    model: &Clip,
    defense: &mut dyn Defense,
    number: i64,
) -> Result<[(&'static str, Tensor); 4]> {
    let input = |name: &str| Ok::<_, Error>(golden.get(name)?.get(number));
    let (image, text, keys) = (input("image")?.set_requires_grad(true), input("text")?, input("keys")?);
    let scale = Tensor::from(10f32).to_device(golden.device).set_requires_grad(true);
    let matches = RefCell::default();
    let loss = defense.loss(&Step {
        second: None,
        epoch: 1,
        image: &image,
        text: &text,
        logit_scale: &scale,
        keys: &keys,
        tokens: &tokens_of(&keys),
        half_logits: false,
        model,
        precision: Precision::Fp32,
        matches: &matches,
    })?;
    let gradients = Tensor::f_run_backward(&[&loss], &[&image, &scale], false, false)?;
    let found = matches.borrow().first().map(|pairs| pairs.get(1));
    let found = found.ok_or_else(|| Error::invalid("the pool's defense", "recorded no matches"))?;
    let [gradient, scale_gradient] = gradients.try_into().expect("two were asked for");
    Ok([("found", found), ("loss", loss), ("gradient", gradient), ("scale_gradient", scale_gradient)])
}
