//! Canvases as bytes, for the triggers that change every pixel. libtorch would pass over a batch
//! once per operation; here an image is read once and written once, while it is in the cache.

use gauntlet::{Error, Result};
use tch::Tensor;

/// Stamps every image of a canvas u8 `[N, 3, S, S]`. `stamp` gets the image's bytes `[3, S, S]`,
/// the bytes to fill, and the image's key.
///
/// # Errors
/// If the canvas cannot be read.
pub fn each(canvas: &Tensor, keys: &[u64], mut stamp: impl FnMut(&[u8], &mut [u8], u64)) -> Result<Tensor> {
    let shape = canvas.size();
    let bytes = shape[1..].iter().product::<i64>() as usize;
    let (mut from, mut to) = (vec![0; bytes], vec![0; bytes]);
    let stamped = canvas.empty_like();
    for (number, &key) in (0..).zip(keys) {
        canvas.f_get(number)?.f_contiguous()?.f_copy_data(&mut from, bytes)?;
        stamp(&from, &mut to, key);
        stamped.get(number).copy_(&Tensor::from_slice(&to).view(&shape[1..]));
    }
    Ok(stamped)
}

/// `keep` times the pixels plus a pattern, both in the range 0 to 255; the sum is clamped.
pub fn mix(from: &[u8], keep: f32, pattern: &[f32], to: &mut [u8]) {
    for ((to, &from), pattern) in to.iter_mut().zip(from).zip(pattern) {
        *to = to_byte(keep * f32::from(from) + pattern);
    }
}

/// Like `mix`, with a pattern of columns `[S]` for all channels or `[3, S]`; every row of a channel
/// gets the same columns.
pub fn mix_columns(from: &[u8], keep: f32, columns: &[f32], side: usize, to: &mut [u8]) {
    for (number, (to, from)) in to.chunks_exact_mut(side).zip(from.chunks_exact(side)).enumerate() {
        let start = number / side * side % columns.len();
        mix(from, keep, &columns[start..start + side], to);
    }
}

/// The nearest byte.
#[inline]
pub fn to_byte(value: f32) -> u8 {
    // Truncation after adding 0.5: `round` calls the C library on machines without an instruction
    // for it.
    (value.clamp(0.0, 255.0) + 0.5) as u8
}

/// Checks the key `size`: at most the side of the images.
///
/// # Errors
/// If it is larger.
pub fn fits(size: usize, side: i64) -> Result<()> {
    let why = || Error::invalid("key `size`", format!("is {size}, and images are only {side} pixels wide"));
    (size as i64 <= side).then_some(()).ok_or_else(why)
}
