//! Attention, in its usual form and where one token of each row asks: the last block of a
//! transformer of which one token is kept, and CLIP's attention pooling.
//!
//! Keys and values of all tokens are never made. With one query q a row, q . (K x) = (K^T q) . x,
//! and the mean of V x, weighted, is V times the weighted mean of x: two products a head and row in
//! place of two a token. Equal to the usual order but for rounding.

use tch::{Kind, Tensor};

/// What all tokens answer to all, or to those that come after where it is `causal`: queries, keys and values
/// `[batch, heads, length, channels]`, and so is the answer.
pub(super) fn answer_all(query: &Tensor, key: &Tensor, value: &Tensor, causal: bool) -> Tensor {
    let (batch, heads, length, channels) = query.size4().expect("four dimensions");
    if query.device().is_cuda() || length > SHORT {
        return Tensor::scaled_dot_product_attention(query, key, value, None::<Tensor>, 0.0, causal, None, false);
    }
    let [query, key, value] = [query, key, value].map(|x| x.reshape([batch * heads, length, channels]));
    let mut scores = (query * (channels as f64).powf(-0.5)).bmm(&key.transpose(1, 2));
    if causal {
        let later = Tensor::ones([length, length], (Kind::Bool, key.device())).triu(1);
        scores = scores.masked_fill(&later, f64::NEG_INFINITY);
    }
    scores.softmax(-1, scores.kind()).bmm(&value).view([batch, heads, length, channels])
}

/// Tokens of a row up to which the plain products are faster on a CPU than libtorch's attention,
/// which works on blocks of 32 and 512.
const SHORT: i64 = 32;

/// The projections of queries, keys or values: weight `[width, width]` and bias `[width]`.
pub(super) struct Projection {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

/// What the tokens `[batch, length, width]` answer to `asking` `[batch, width]`: `[batch, width]`,
/// heads side by side, not projected out yet. Tokens where `hidden` (bool `[batch, length]`) is
/// true are not seen.
pub(super) fn answer(
    asking: &Tensor,
    tokens: &Tensor,
    [query, key, value]: &[Projection; 3],
    heads: i64,
    hidden: Option<&Tensor>,
) -> Tensor {
    let (batch, _, width) = tokens.size3().expect("three dimensions");
    let head = width / heads;
    let of_heads = |weight: &Tensor| weight.view([heads, head, width]);
    let query = (asking.linear(&query.weight, Some(&query.bias)) * (head as f64).powf(-0.5)).view([batch, heads, head]);
    let seeking = query.transpose(0, 1).bmm(&of_heads(&key.weight)).transpose(0, 1); // [batch, heads, width]
    // The keys' bias moves all scores of a row alike, which softmax ignores; it is here for its
    // gradient, which is rounding.
    let moved = (&query * key.bias.view([1, heads, head])).sum_dim_intlist([-1].as_slice(), true, None::<Kind>);
    let mut scores = seeking.bmm(&tokens.transpose(1, 2)) + moved; // [batch, heads, length]
    if let Some(hidden) = hidden {
        scores = scores.masked_fill(&hidden.unsqueeze(1), f64::NEG_INFINITY);
    }
    // In 32 bits at least: autocast's scores have 16.
    let kind = if scores.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let seen = scores.softmax(-1, kind).bmm(tokens); // [batch, heads, width]
    let values = seen.transpose(0, 1).bmm(&of_heads(&value.weight).transpose(1, 2)); // [heads, batch, head]
    values.transpose(0, 1).reshape([batch, width]) + &value.bias
}
