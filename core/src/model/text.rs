//! The text tower: a causal transformer whose feature at the end-of-text token is the caption's
//! (Radford et al. 2021, section 2.4). Its blocks are in `transformer.rs`; names follow open_clip's.

use super::ModelConfig;
use super::transformer::{LayerNorm, Shape, Start, Transformer};
use super::weights::{Init, Weights};
use tch::Tensor;

/// The text tower.
pub struct TextTransformer {
    embedding: Tensor,
    positions: Tensor,
    blocks: Transformer,
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
        let shape = Shape {
            width,
            heads: text.heads,
            layers: text.layers,
            mlp_ratio: text.mlp_ratio,
            quick_gelu: config.quick_gelu,
            causal: true,
        };
        let std = (width as f64).powf(-0.5);
        let residual = Init::Normal(std * (2.0 * text.layers as f64).powf(-0.5));
        let start = Start {
            attention: Init::Normal(std),
            output: residual,
            widen: Init::Normal((2.0 * width as f64).powf(-0.5)),
            narrow: residual,
        };
        let blocks = Transformer::new(weights, "transformer", &shape, &start);
        let norm = LayerNorm::new(weights, "ln_final", width);
        let projection = weights.parameter("text_projection", &[width, config.embed_dim], Init::Normal(std));
        TextTransformer { embedding, positions, blocks, norm, projection }
    }

    /// Tokens `[batch, length]` -> `[batch, embed_dim]`. End of text is the largest token, as in CLIP's vocabulary.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.size()[1];
        let x = Tensor::embedding(&self.embedding, tokens, -1, false, false) + self.positions.narrow(0, 0, length);
        let end = tokens.argmax(-1, false);
        let last = self.blocks.forward_at(&x, &end); // [batch, width]; the norm is taken row by row, so after the choice
        self.norm.forward(&last).matmul(&self.projection)
    }
}
