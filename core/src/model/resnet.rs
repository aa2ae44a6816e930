//! CLIP's modified ResNet: a stem of three convolutions, average pooling before every strided
//! convolution, and attention pooling at the end (Radford et al. 2021, section 2.4). Modules and
//! names follow open_clip's, so that its weights fit.

use super::ModelConfig;
use super::attention::{self, Projection};
use super::config::stride;
use super::transformer::Linear;
use super::weights::{Counter, Init, Weights};
use gauntlet_torch::{NormOptions, batch_norm, halve};
use tch::{Device, Kind, Tensor};

/// The image tower.
pub struct ModifiedResNet {
    stem: [(Conv, BatchNorm); 3],
    blocks: Vec<Bottleneck>,
    pool: AttentionPool,
}

impl ModifiedResNet {
    /// Adds the tower's weights under `visual.`; `stages` holds the number of blocks in each stage.
    pub fn new(weights: &mut Weights, config: &ModelConfig, stages: &[i64]) -> Self {
        let vision = &config.vision_cfg;
        let half = vision.width / 2;
        let stem = [
            stem(weights, 1, [3, half], 2),
            stem(weights, 2, [half, half], 1),
            stem(weights, 3, [half, vision.width], 1),
        ];
        let mut blocks = Vec::new();
        let mut inputs = vision.width;
        for (stage, &count) in stages.iter().enumerate() {
            let planes = vision.width << stage;
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(Bottleneck::new(
                    weights,
                    &format!("visual.layer{}.{block}", stage + 1),
                    inputs,
                    planes,
                    stride,
                ));
                inputs = planes * Bottleneck::EXPANSION;
            }
        }
        let pool = AttentionPool::new(weights, config, stride(stages));
        ModifiedResNet { stem, blocks, pool }
    }

    /// `[batch, 3, S, S]` -> `[batch, embed_dim]`.
    pub fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let mut x = images.shallow_clone();
        for (conv, norm) in &self.stem {
            x = norm.forward_relu(&conv.forward(&x), None, train);
        }
        x = average_pool(&x); // [batch, width, S/4, S/4]
        for block in &self.blocks {
            x = block.forward(&x, train);
        }
        self.pool.forward(&x) // from [batch, channels, S/stride, S/stride]
    }
}

/// 1x1, 3x3 and 1x1 convolutions around a shortcut; an average pool replaces any stride.
struct Bottleneck {
    convs: [(Conv, BatchNorm); 3],
    shortcut: Option<(Conv, BatchNorm)>,
    stride: i64,
}

/// A convolution of the stem and its norm.
fn stem(weights: &mut Weights, number: i64, channels: [i64; 2], stride: i64) -> (Conv, BatchNorm) {
    let conv = Conv::new(weights, &format!("visual.conv{number}"), channels, 3, stride);
    (conv, BatchNorm::new(weights, &format!("visual.bn{number}"), channels[1], 1.0))
}

/// A convolution of a block and its norm, with this initial scale.
fn layer(
    weights: &mut Weights,
    name: &str,
    number: i64,
    channels: [i64; 2],
    kernel: i64,
    scale: f64,
) -> (Conv, BatchNorm) {
    let conv = Conv::new(weights, &format!("{name}.conv{number}"), channels, kernel, 1);
    (conv, BatchNorm::new(weights, &format!("{name}.bn{number}"), channels[1], scale))
}

impl Bottleneck {
    const EXPANSION: i64 = 4;

    fn new(weights: &mut Weights, name: &str, inputs: i64, planes: i64, stride: i64) -> Self {
        let outputs = planes * Self::EXPANSION;
        // open_clip initialises every block as its shortcut: the last norm's scale is 0.
        let convs = [
            layer(weights, name, 1, [inputs, planes], 1, 1.0),
            layer(weights, name, 2, [planes, planes], 3, 1.0),
            layer(weights, name, 3, [planes, outputs], 1, 0.0),
        ];
        let shortcut = (stride > 1 || inputs != outputs).then(|| {
            let conv = Conv::new(weights, &format!("{name}.downsample.0"), [inputs, outputs], 1, 1);
            (conv, BatchNorm::new(weights, &format!("{name}.downsample.1"), outputs, 1.0))
        });
        Bottleneck { convs, shortcut, stride }
    }

    fn pool(&self, x: Tensor) -> Tensor {
        if self.stride > 1 { average_pool(&x) } else { x }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let [(conv1, norm1), (conv2, norm2), (conv3, norm3)] = &self.convs;
        let y = norm1.forward_relu(&conv1.forward(x), None, train);
        let y = self.pool(norm2.forward_relu(&conv2.forward(&y), None, train));
        let shortcut = match &self.shortcut {
            Some((conv, norm)) => norm.forward(&conv.forward(&self.pool(x.shallow_clone())), train),
            None => x.shallow_clone(),
        };
        norm3.forward_relu(&conv3.forward(&y), Some(&shortcut), train)
    }
}

/// Replaces every stride: the mean of each square of two by two pixels.
fn average_pool(x: &Tensor) -> Tensor {
    halve(x).expect("an image has four dimensions")
}

/// A convolution without bias, padded to keep its size, with PyTorch's initialisation (uniform
/// within 1/sqrt(fan in)).
struct Conv {
    weight: Tensor,
    stride: i64,
}

impl Conv {
    fn new(weights: &mut Weights, name: &str, [inputs, outputs]: [i64; 2], kernel: i64, stride: i64) -> Self {
        let bound = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        let weight =
            weights.parameter(&format!("{name}.weight"), &[outputs, inputs, kernel, kernel], Init::Uniform(bound));
        Conv { weight, stride }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let [outputs, inputs, kernel, _] = self.weight.size()[..] else { unreachable!("a kernel has four dimensions") };
        if kernel == 1 && x.device() == Device::Cpu {
            // Computed as a matrix product of pixels and weights: oneDNN is slower for small
            // convolutions, mostly in the backward pass.
            let weight = self.weight.view([outputs, inputs]).transpose(0, 1);
            return x.permute([0, 2, 3, 1]).matmul(&weight).permute([0, 3, 1, 2]);
        }
        let padding = kernel / 2;
        x.conv2d(&self.weight, None::<Tensor>, [self.stride; 2], [padding; 2], [1, 1], 1)
    }
}

/// Batch norm with PyTorch's constants: momentum 0.1, epsilon 1e-5.
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Counter,
}

impl BatchNorm {
    fn new(weights: &mut Weights, name: &str, channels: i64, scale: f64) -> Self {
        BatchNorm {
            weight: weights.parameter(&format!("{name}.weight"), &[channels], Init::Constant(scale)),
            bias: weights.parameter(&format!("{name}.bias"), &[channels], Init::Constant(0.0)),
            running_mean: weights.buffer(&format!("{name}.running_mean"), &[channels], 0.0),
            running_var: weights.buffer(&format!("{name}.running_var"), &[channels], 1.0),
            batches: weights.counter(name),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        self.normalise(x, None, false, train)
    }

    /// Adds a shortcut, if there is one, and applies ReLU.
    fn forward_relu(&self, x: &Tensor, shortcut: Option<&Tensor>, train: bool) -> Tensor {
        self.normalise(x, shortcut, true, train)
    }

    fn normalise(&self, x: &Tensor, shortcut: Option<&Tensor>, relu: bool, train: bool) -> Tensor {
        let options = NormOptions { relu, momentum: 0.1, eps: 1e-5 };
        let norm = [&self.weight, &self.bias, &self.running_mean, &self.running_var];
        if train {
            self.batches.count();
        }
        batch_norm(x, norm, shortcut, train, options).expect("the shapes were checked with the configuration")
    }
}

/// Attention pooling: the mean over all places is the query; the places and the mean are keys and
/// values.
struct AttentionPool {
    positions: Tensor,
    /// Projections of queries, keys and values.
    projections: [Projection; 3],
    output: Linear,
    heads: i64,
}

impl AttentionPool {
    fn new(weights: &mut Weights, config: &ModelConfig, stride: i64) -> Self {
        let side = config.vision_cfg.image_size / stride;
        let width = config.vision_cfg.width * stride;
        let std = (width as f64).powf(-0.5);
        let positions =
            weights.parameter("visual.attnpool.positional_embedding", &[side * side + 1, width], Init::Normal(std));
        let mut linear = |part, outputs| {
            Linear::new(weights, &format!("visual.attnpool.{part}_proj"), [width, outputs], Init::Normal(std))
        };
        let projections = ["q", "k", "v"].map(|part| linear(part, width).into());
        let output = linear("c", config.embed_dim);
        AttentionPool { positions, projections, output, heads: width / config.vision_cfg.head_width }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let places = x.flatten(2, -1).permute([0, 2, 1]); // [batch, places, width]
        let mean = places.mean_dim([1].as_slice(), true, None::<Kind>);
        let tokens = Tensor::cat(&[mean, places], 1) + self.positions.to_kind(x.kind()); // [batch, 1 + places, width]
        // Only the mean's output is used, so only the mean is a query: open_clip computes every
        // query and keeps the first.
        let pooled = attention::answer(&tokens.select(1, 0), &tokens, &self.projections, self.heads, None);
        self.output.forward(&pooled)
    }
}
