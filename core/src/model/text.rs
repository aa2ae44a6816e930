//! The text tower: a causal transformer; the feature at the end-of-text token is the caption's
//! (Radford et al. 2021, section 2.4). Its blocks are in `transformer.rs`; names follow
//! open_clip's.

use super::ModelConfig;
use super::transformer::{LayerNorm, Shape, Start, TokenRows, Transformer};
use super::weights::{Init, Weights};
use tch::{Kind, Tensor};

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

    /// Tokens `[batch, length]`, of which those at `valid` count (see [`valid_token_indices`]) ->
    /// `[batch, embed_dim]`.
    pub fn forward(&self, tokens: &Tensor, valid: &Tensor) -> Tensor {
        let (batch, length) = tokens.size2().expect("two dimensions");
        let of = |table: &Tensor, ids: &Tensor| Tensor::embedding(table, ids, -1, false, false);
        let ids = tokens.flatten(0, -1).index_select(0, valid);
        let x = of(&self.embedding, &ids) + of(&self.positions, &valid.remainder(length)); // [valid, width]
        let ends = end_of_text(tokens).cumsum(0, Kind::Int64) + Tensor::arange(batch, (Kind::Int64, tokens.device()));
        let rows = TokenRows { batch, length, places: Some(valid.shallow_clone()), kept: ends };
        let last = self.blocks.forward(&x, &rows); // [batch, width]; the norm is taken row by row, so after the choice
        self.norm.forward(&last).matmul(&self.projection)
    }
}

/// Position of each caption's end of text, i64 `[batch]`: the largest token, as in CLIP's
/// vocabulary.
fn end_of_text(tokens: &Tensor) -> Tensor {
    tokens.argmax(-1, false)
}

/// Indices of the tokens `[batch, length]`, counted row after row, that a caption's embedding
/// depends on: those up to its end of text, i64 `[valid]`. The rest is padding, which causal
/// attention ignores. On a GPU this waits for the device.
pub fn valid_token_indices(tokens: &Tensor) -> Tensor {
    let places = Tensor::arange(tokens.size()[1], (Kind::Int64, tokens.device()));
    places.le_tensor(&end_of_text(tokens).unsqueeze(1)).flatten(0, -1).nonzero().flatten(0, -1)
}
