//! Attention where one token of each row asks: the last block of a transformer of which one token is kept, and CLIP's attention pooling.
//!
//! Keys and values of all tokens are never made. With one query q a row, q . (K x) = (K^T q) . x, and the mean of V x, weighted, is
//! V times the weighted mean of x: two products a head and row in place of two a token. Equal to the usual order but for rounding.

use tch::{Kind, Tensor};

/// The projections of queries, keys or values: weight `[width, width]` and bias `[width]`.
pub(super) struct Projection {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

/// What the tokens `[batch, length, width]` answer to `asking` `[batch, width]`: `[batch, width]`, heads side by side, not projected out
/// yet. Tokens where `hidden` (bool `[batch, length]`) is true are not seen.
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
    // The keys' bias moves all scores of a row alike, which softmax ignores; it is here for its gradient, which is rounding.
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
