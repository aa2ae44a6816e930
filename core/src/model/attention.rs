//! Attention, in its usual form and with a single query per row: for the last block of a
//! transformer that keeps one token, and for CLIP's attention pooling.
//!
//! The single-query form does not compute keys and values of all tokens. With one query q per row,
//! q . (K x) = (K^T q) . x, and the weighted mean of V x is V times the weighted mean of x: two
//! products per head and row instead of two per token. The result equals the usual order except for
//! rounding.

use tch::{Kind, Tensor};

/// Attention of all tokens to all, or, if `causal`, of each token to itself and those before it.
/// Queries, keys, values and output are `[batch, heads, length, channels]`.
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

/// Largest number of tokens per row for which plain products are faster on a CPU than libtorch's
/// attention, which works on blocks of 32 and 512.
const SHORT: i64 = 32;

/// The projections of queries, keys or values: weight `[width, width]` and bias `[width]`.
pub(super) struct Projection {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

/// Attention of the queries `asking` `[batch, width]` to the tokens `[batch, length, width]`:
/// `[batch, width]`, heads side by side, without the output projection. Tokens with `hidden` (bool
/// `[batch, length]`) true are ignored.
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
    // The keys' bias shifts all scores of a row equally, which softmax ignores; it is included for
    // its gradient, which is pure rounding.
    let moved = (&query * key.bias.view([1, heads, head])).sum_dim_intlist([-1].as_slice(), true, None::<Kind>);
    let mut scores = seeking.bmm(&tokens.transpose(1, 2)) + moved; // [batch, heads, length]
    if let Some(hidden) = hidden {
        scores = scores.masked_fill(&hidden.unsqueeze(1), f64::NEG_INFINITY);
    }
    // In at least 32 bits: autocast's scores have 16.
    let kind = if scores.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let seen = scores.softmax(-1, kind).bmm(tokens); // [batch, heads, width]
    let values = seen.transpose(0, 1).bmm(&of_heads(&value.weight).transpose(1, 2)); // [heads, batch, head]
    values.transpose(0, 1).reshape([batch, width]) + &value.bias
}
