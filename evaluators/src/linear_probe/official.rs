//! The linear probe of RoCLIP's released code, which comes from CyCLIP: a linear layer trained by
//! AdamW. No penalty is chosen; the last epoch counts.

use crate::logistic::Layer;
use gauntlet::model::weights::{Init, Weights};
use gauntlet::recipe::schedule::learning_rate;
use gauntlet::tch::Tensor;
use gauntlet::train::adamw::AdamW;
use gauntlet::{Result, draw};

const EPOCHS: usize = 32;
const LEARNING_RATE: f64 = 0.005;
const WEIGHT_DECAY: f64 = 0.01;

/// Fits features f32 `[rows, features]` to classes i64 `[rows]`; the seed determines the initial
/// layer and the order.
pub fn official(features: &Tensor, labels: &Tensor, classes: i64, batch: usize, seed: u64) -> Result<Layer> {
    let (rows, columns) = (features.size()[0], features.size()[1]);
    let mut weights = Weights::new(draw::hash(seed, "probe/official", &[]), features.device());
    // PyTorch's initialisation of a linear layer.
    let bound = 1.0 / (columns as f64).sqrt();
    let _ = weights.parameter("weight", &[classes, columns], Init::Uniform(bound));
    let _ = weights.parameter("bias", &[classes], Init::Uniform(bound));
    let order = |epoch: usize| -> Vec<i64> {
        let hash = |row: i64| (draw::hash(seed, "probe/order", &[epoch as u64, row as u64]), row);
        let mut drawn: Vec<(u64, i64)> = (0..rows).map(hash).collect();
        drawn.sort_unstable();
        drawn.into_iter().map(|(_, row)| row).collect()
    };
    train(&weights, features, labels, batch, order)
}

fn train(
    weights: &Weights,
    features: &Tensor,
    labels: &Tensor,
    batch: usize,
    order: impl Fn(usize) -> Vec<i64>,
) -> Result<Layer> {
    // Weight decay applies to matrices, not to the bias.
    let mut optimizer = AdamW::new(weights, [0.9, 0.999], 1e-8, WEIGHT_DECAY);
    let [weight, bias] = ["weight", "bias"].map(|name| &weights.parameters[name]);
    let steps = EPOCHS * labels.size()[0].cast_unsigned().div_ceil(batch as u64) as usize;
    let mut step = 0;
    for epoch in 0..EPOCHS {
        for rows in order(epoch).chunks(batch) {
            let rows = Tensor::from_slice(rows).to_device(features.device());
            let logits = bias.addmm(&features.index_select(0, &rows), &weight.tr());
            let loss = logits.cross_entropy_for_logits(&labels.index_select(0, &rows));
            let mut gradients = Tensor::f_run_backward(&[loss], &[weight, bias], false, false)?.into_iter();
            let named = ["weight", "bias"].map(|name| (name, gradients.next().expect("one per parameter")));
            optimizer.step(weights, &named, learning_rate(LEARNING_RATE, 0, steps as u64, step))?;
            step += 1;
        }
    }
    Ok(Layer(Tensor::cat(&[weight.detach(), bias.detach().unsqueeze(1)], 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet::golden::Golden;

    /// With PyTorch's initial layer and order, equals PyTorch's layer after 32 epochs;
    /// `linear_probe.py` makes the golden file.
    #[test]
    fn ends_where_pytorch_ends() {
        let golden = Golden::of_tests("linear_probe");
        let mut weights = Weights::new(0, gauntlet::tch::Device::Cpu);
        for name in ["weight", "bias"] {
            let start = &golden[&format!("official/start/{name}")];
            let parameter = weights.parameter(name, &start.size(), Init::Constant(0.0));
            gauntlet::tch::no_grad(|| parameter.shallow_clone().copy_(start));
        }
        let order = |epoch: usize| Vec::<i64>::try_from(golden["official/order"].get(epoch as i64)).unwrap();
        let layer = train(&weights, &golden["fit"], &golden["fit_labels"], 64, order).unwrap();
        let theirs = Tensor::cat(&[&golden["official/end/weight"], &golden["official/end/bias"].unsqueeze(1)], 1);
        let off = f64::try_from((&layer.0 - &theirs).abs().max()).unwrap();
        let moved = f64::try_from((&golden["official/start/weight"] - &golden["official/end/weight"]).abs().max());
        assert!(off < 1e-4 && moved.unwrap() > 0.1, "off by {off:.1e}");
    }
}
