//! The vision transformer: image patches and a class token, whose feature is the image's
//! (Dosovitskiy et al., ICLR 2021, with CLIP's extra norm before the blocks: Radford et al. 2021,
//! section 2.4). Its blocks are in `transformer.rs`; names follow open_clip's.

use super::ModelConfig;
use super::config::hidden;
use super::transformer::{LayerNorm, Shape, Start, TokenRows, Transformer};
use super::weights::{Init, Weights};
use tch::{Kind, Tensor};

/// The image tower.
pub struct VisionTransformer {
    /// Patches to tokens: `[width, 3, patch, patch]`.
    patches: Tensor,
    class: Tensor,
    positions: Tensor,
    norm_before: LayerNorm,
    blocks: Transformer,
    norm_after: LayerNorm,
    projection: Tensor,
}

impl VisionTransformer {
    /// Adds the tower's weights under `visual.`: `layers` blocks over patches of `patch` by `patch`
    /// pixels.
    ///
    /// open_clip keeps PyTorch's initialisation of the blocks, by `MultiheadAttention` (Glorot's
    /// uniform) and `Linear` (uniform within 1/sqrt(inputs)), unlike in the text tower.
    pub fn new(weights: &mut Weights, config: &ModelConfig, layers: i64, patch: i64) -> Self {
        let vision = &config.vision_cfg;
        let width = vision.width;
        let uniform = |inputs: i64| Init::Uniform((inputs as f64).powf(-0.5));
        let normal = Init::Normal((width as f64).powf(-0.5));
        let patches = weights.parameter("visual.conv1.weight", &[width, 3, patch, patch], uniform(3 * patch * patch));
        let class = weights.parameter("visual.class_embedding", &[width], normal);
        let side = vision.image_size / patch;
        let positions = weights.parameter("visual.positional_embedding", &[side * side + 1, width], normal);
        let norm_before = LayerNorm::new(weights, "visual.ln_pre", width);
        let shape = Shape {
            width,
            heads: width / vision.head_width,
            layers,
            mlp_ratio: vision.mlp_ratio,
            quick_gelu: config.quick_gelu,
            causal: false,
        };
        let start = Start {
            attention: Init::Uniform((6.0 / (width + 3 * width) as f64).sqrt()),
            output: uniform(width),
            widen: uniform(width),
            narrow: uniform(hidden(width, vision.mlp_ratio)),
        };
        let blocks = Transformer::new(weights, "visual.transformer", &shape, &start);
        let norm_after = LayerNorm::new(weights, "visual.ln_post", width);
        let projection = weights.parameter("visual.proj", &[width, config.embed_dim], normal);
        VisionTransformer { patches, class, positions, norm_before, blocks, norm_after, projection }
    }

    /// `[batch, 3, S, S]` -> `[batch, embed_dim]`. Pixels beyond the last whole patch are ignored.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        self.before_projection(images).matmul(&self.projection)
    }

    /// `[batch, 3, S, S]` -> `[batch, width]`: the input of the projection into the shared space.
    pub fn before_projection(&self, images: &Tensor) -> Tensor {
        let (batch, stride) = (images.size()[0], self.patches.size()[2]);
        let x = images.conv2d(&self.patches, None::<Tensor>, [stride; 2], [0; 2], [1, 1], 1);
        let x = x.flatten(2, -1).transpose(1, 2); // [batch, patches, width]
        let (class, positions) = (self.class.to_kind(x.kind()), self.positions.to_kind(x.kind()));
        let x = Tensor::cat(&[class.expand([batch, 1, -1], false), x], 1) + positions;
        let length = x.size()[1]; // 1 + patches
        let first = Tensor::arange(batch, (Kind::Int64, x.device())) * length;
        let rows = TokenRows { batch, length, places: None, kept: first };
        let class = self.blocks.forward(&self.norm_before.forward(&x).flatten(0, 1), &rows);
        self.norm_after.forward(&class)
    }
}
