//! The transformer that both towers share: blocks of attention and a perceptron, each after a layer
//! norm and around a shortcut (Radford et al. 2021, section 2.4). `text.rs` and `vit.rs` supply the
//! tokens. Names follow open_clip's.

use super::attention::{self, Projection};
use super::config::hidden;
use super::weights::{Init, Weights};
use tch::{Kind, Tensor};

/// Dimensions common to all blocks of a tower.
pub struct Shape {
    /// Channels.
    pub width: i64,
    /// Attention heads.
    pub heads: i64,
    /// Blocks.
    pub layers: i64,
    /// Width of the perceptrons, as a multiple of the tower's width.
    pub mlp_ratio: f64,
    /// QuickGELU instead of GELU.
    pub quick_gelu: bool,
    /// Whether a token attends only to itself and those before it.
    pub causal: bool,
}

/// Initialisation of a block's weights; the biases of attention start at 0, norms at scale 1 and
/// shift 0.
pub struct Start {
    /// Projections of queries, keys and values.
    pub attention: Init,
    /// Output projection of attention.
    pub output: Init,
    /// First layer of the perceptron.
    pub widen: Init,
    /// Second layer of the perceptron.
    pub narrow: Init,
}

/// Layout of tokens `[tokens, channels]` of several rows, one after another: all layers except
/// attention treat each token independently.
pub struct TokenRows {
    /// Rows.
    pub batch: i64,
    /// Places per row.
    pub length: i64,
    /// Which of all `batch` x `length` places hold a token, i64 `[tokens]`; a row's tokens are
    /// first to last without a gap. `None`: all.
    pub places: Option<Tensor>,
    /// The token of each row that the last block keeps, i64 `[batch]`, as an index into the tokens.
    pub kept: Tensor,
}

impl TokenRows {
    /// `[tokens, channels]` to `[batch, length, channels]`, 0 in empty places.
    fn apart(&self, x: &Tensor) -> Tensor {
        let channels = x.size()[1];
        let apart = |x: &Tensor| x.view([self.batch, self.length, channels]);
        match &self.places {
            Some(places) => apart(
                &Tensor::zeros([self.batch * self.length, channels], (x.kind(), x.device())).index_copy(0, places, x),
            ),
            None => apart(x),
        }
    }

    /// `[batch, length, channels]` to `[tokens, channels]`.
    fn together(&self, x: &Tensor) -> Tensor {
        let x = x.flatten(0, 1);
        self.places.as_ref().map_or_else(|| x.shallow_clone(), |places| chosen(&x, places))
    }

    /// Empty places, bool `[batch, length]`; `None` if every place holds a token.
    fn empty(&self) -> Option<Tensor> {
        let places = self.places.as_ref()?;
        let all = Tensor::ones([self.batch * self.length], (Kind::Bool, places.device()));
        Some(all.index_fill(0, places, 0).view([self.batch, self.length]))
    }
}

/// Rows of `x` by number, as an embedding look-up, whose backward pass is fast on a CPU and
/// deterministic on a GPU.
fn chosen(x: &Tensor, rows: &Tensor) -> Tensor {
    Tensor::embedding(x, rows, -1, false, false)
}

/// A stack of blocks.
pub struct Transformer {
    blocks: Vec<Block>,
}

impl Transformer {
    /// Adds the blocks' weights under `name.resblocks.N`.
    pub fn new(weights: &mut Weights, name: &str, shape: &Shape, start: &Start) -> Self {
        let block = |layer| Block::new(weights, &format!("{name}.resblocks.{layer}"), shape, start);
        Transformer { blocks: (0..shape.layers).map(block).collect() }
    }

    /// `[tokens, width]` to `[batch, width]`: the output for the token that each row keeps. The
    /// last block computes only these tokens, which saves most of its work.
    pub fn forward(&self, x: &Tensor, rows: &TokenRows) -> Tensor {
        let (last, others) = self.blocks.split_last().expect("a tower has at least one block");
        let x = others.iter().fold(x.shallow_clone(), |x, block| block.forward(&x, rows));
        last.forward_kept(&x, rows)
    }
}

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
    causal: bool,
}

impl Block {
    fn new(weights: &mut Weights, name: &str, shape: &Shape, start: &Start) -> Self {
        let &Shape { width, heads, quick_gelu, causal, .. } = shape;
        let inner = hidden(width, shape.mlp_ratio);
        let norm1 = LayerNorm::new(weights, &format!("{name}.ln_1"), width);
        let mut add = |part: &str, shape: &[i64], init| weights.parameter(&format!("{name}.attn.{part}"), shape, init);
        let in_weight = add("in_proj_weight", &[3 * width, width], start.attention);
        let in_bias = add("in_proj_bias", &[3 * width], Init::Constant(0.0));
        let out_weight = add("out_proj.weight", &[width, width], start.output);
        let out_bias = add("out_proj.bias", &[width], Init::Constant(0.0));
        let norm2 = LayerNorm::new(weights, &format!("{name}.ln_2"), width);
        let widen = Linear::new(weights, &format!("{name}.mlp.c_fc"), [width, inner], start.widen);
        let narrow = Linear::new(weights, &format!("{name}.mlp.c_proj"), [inner, width], start.narrow);
        Block { norm1, in_weight, in_bias, out_weight, out_bias, norm2, widen, narrow, heads, quick_gelu, causal }
    }

    fn forward(&self, x: &Tensor, rows: &TokenRows) -> Tensor {
        let &TokenRows { batch, length, .. } = rows;
        let width = x.size()[1];
        let shape = [batch, length, 3, self.heads, width / self.heads];
        let all = self.norm1.forward(x).linear(&self.in_weight, Some(&self.in_bias));
        let all = rows.apart(&all).view(shape).permute([2, 0, 3, 1, 4]);
        let [query, key, value] = all.unbind(0).try_into().expect("three"); // each [batch, heads, length, width/heads]
        let mixed = attention::answer_all(&query, &key, &value, self.causal);
        self.rest(x, &rows.together(&mixed.transpose(1, 2).reshape([batch, length, width])))
    }

    /// `forward` for the token that each row keeps; with causal attention it is the row's last.
    fn forward_kept(&self, x: &Tensor, rows: &TokenRows) -> Tensor {
        let tokens = self.norm1.forward(x);
        let asking = chosen(&tokens, &rows.kept);
        let (weights, biases) = (self.in_weight.chunk(3, 0), self.in_bias.chunk(3, 0));
        let projection =
            |part: usize| Projection { weight: weights[part].shallow_clone(), bias: biases[part].shallow_clone() };
        let projections = [0, 1, 2].map(projection);
        let mixed = attention::answer(&asking, &rows.apart(&tokens), &projections, self.heads, rows.empty().as_ref());
        self.rest(&chosen(x, &rows.kept), &mixed)
    }

    /// The part of a block after the attention, token by token.
    fn rest(&self, x: &Tensor, mixed: &Tensor) -> Tensor {
        let x = x + mixed.linear(&self.out_weight, Some(&self.out_bias));
        let wide = self.widen.forward(&self.norm2.forward(&x));
        let active = if self.quick_gelu { &wide * (&wide * 1.702).sigmoid() } else { wide.gelu("none") };
        x + self.narrow.forward(&active)
    }
}

/// A layer norm whose output has its input's kind: autocast computes norms in f32, and open_clip
/// converts back after each.
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(super) fn new(weights: &mut Weights, name: &str, width: i64) -> Self {
        LayerNorm {
            weight: weights.parameter(&format!("{name}.weight"), &[width], Init::Constant(1.0)),
            bias: weights.parameter(&format!("{name}.bias"), &[width], Init::Constant(0.0)),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), 1e-5, true).to_kind(x.kind())
    }
}

/// A linear layer with bias; PyTorch draws the bias uniformly within 1/sqrt(inputs).
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(weights: &mut Weights, name: &str, [inputs, outputs]: [i64; 2], init: Init) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        Linear {
            weight: weights.parameter(&format!("{name}.weight"), &[outputs, inputs], init),
            bias: weights.parameter(&format!("{name}.bias"), &[outputs], Init::Uniform(bound)),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

impl From<Linear> for Projection {
    fn from(linear: Linear) -> Self {
        Projection { weight: linear.weight, bias: linear.bias }
    }
}
