//! The text tower: a pre-norm causal transformer whose feature at the end-of-text token is the caption's
//! (Radford et al. 2021, section 2.4). Names follow open_clip's.

use super::ModelConfig;
use super::resnet::Linear;
use super::weights::{Init, Weights};
use tch::{Kind, Tensor};

/// The text tower.
pub struct TextTransformer {
    embedding: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Tensor,
}

impl TextTransformer {
    /// Adds the tower's weights under open_clip's names (at the root: the text tower came first).
    pub fn new(weights: &mut Weights, config: &ModelConfig) -> Self {
        let text = &config.text_cfg;
        let width = text.width;
        let embedding = weights.parameter("token_embedding.weight", &[text.vocab_size, width], Init::Normal(0.02));
        let positions = weights.parameter("positional_embedding", &[text.context_length, width], Init::Normal(0.01));
        let blocks = (0..text.layers).map(|layer| Block::new(weights, config, layer)).collect();
        let norm = LayerNorm::new(weights, "ln_final", width);
        let std = (width as f64).powf(-0.5);
        let projection = weights.parameter("text_projection", &[width, config.embed_dim], Init::Normal(std));
        TextTransformer { embedding, positions, blocks, norm, projection }
    }

    /// Tokens `[batch, length]` -> `[batch, embed_dim]`. End of text is the largest token, as in CLIP's vocabulary.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let (batch, length) = tokens.size2().expect("two dimensions");
        let mut x = Tensor::embedding(&self.embedding, tokens, -1, false, false) + self.positions.narrow(0, 0, length);
        for block in &self.blocks {
            x = block.forward(&x); // [batch, length, width]
        }
        let end = tokens.argmax(-1, false);
        let rows = Tensor::arange(batch, (Kind::Int64, tokens.device()));
        let last = x.index(&[Some(rows), Some(end)]); // [batch, width]; the norm is taken row by row, so after the choice
        self.norm.forward(&last).matmul(&self.projection)
    }
}

/// Attention and a two-layer perceptron, each after a layer norm and around a shortcut.
struct Block {
    norm1: LayerNorm,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
    heads: i64,
    quick_gelu: bool,
}

impl Block {
    fn new(weights: &mut Weights, config: &ModelConfig, layer: i64) -> Self {
        let (width, layers) = (config.text_cfg.width, config.text_cfg.layers);
        let name = format!("transformer.resblocks.{layer}");
        let attention = (width as f64).powf(-0.5);
        let projection = attention * (2.0 * layers as f64).powf(-0.5);
        let norm1 = LayerNorm::new(weights, &format!("{name}.ln_1"), width);
        let mut add = |part: &str, shape: &[i64], init| weights.parameter(&format!("{name}.attn.{part}"), shape, init);
        let in_weight = add("in_proj_weight", &[3 * width, width], Init::Normal(attention));
        let in_bias = add("in_proj_bias", &[3 * width], Init::Constant(0.0));
        let out_weight = add("out_proj.weight", &[width, width], Init::Normal(projection));
        let out_bias = add("out_proj.bias", &[width], Init::Constant(0.0));
        let norm2 = LayerNorm::new(weights, &format!("{name}.ln_2"), width);
        let widen =
            Linear::new(weights, &format!("{name}.mlp.c_fc"), [width, 4 * width], (2.0 * width as f64).powf(-0.5));
        let narrow = Linear::new(weights, &format!("{name}.mlp.c_proj"), [4 * width, width], projection);
        let (heads, quick_gelu) = (config.text_cfg.heads, config.quick_gelu);
        Block { norm1, in_weight, in_bias, out_weight, out_bias, norm2, widen, narrow, heads, quick_gelu }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (batch, length, width) = x.size3().expect("three dimensions");
        let shape = [batch, length, 3, self.heads, width / self.heads];
        let all =
            self.norm1.forward(x).linear(&self.in_weight, Some(&self.in_bias)).view(shape).permute([2, 0, 3, 1, 4]);
        let (query, key, value) = (all.get(0), all.get(1), all.get(2)); // each [batch, heads, length, width/heads]
        let mixed = Tensor::scaled_dot_product_attention(&query, &key, &value, None::<Tensor>, 0.0, true, None, false);
        let mixed = mixed.transpose(1, 2).reshape([batch, length, width]);
        let x = x + mixed.linear(&self.out_weight, Some(&self.out_bias));
        let wide = self.widen.forward(&self.norm2.forward(&x));
        let active = if self.quick_gelu { &wide * (&wide * 1.702).sigmoid() } else { wide.gelu("none") };
        x + self.narrow.forward(&active)
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    fn new(weights: &mut Weights, name: &str, width: i64) -> Self {
        LayerNorm {
            weight: weights.parameter(&format!("{name}.weight"), &[width], Init::Constant(1.0)),
            bias: weights.parameter(&format!("{name}.bias"), &[width], Init::Constant(0.0)),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), 1e-5, true)
    }
}
