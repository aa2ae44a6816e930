//! Canvases as bytes: what the triggers that touch every pixel share. libtorch would go over a
//! batch once for each operation; here a image is read once and written once, while it lies in the
//! cache.

use gauntlet::{Error, Result};
use tch::Tensor;

/// Makes every image of a canvas u8 `[N, 3, S, S]` anew: `stamp` is given its bytes `[3, S, S]`,
/// those to fill, and its key.
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

/// `keep` times the pixels plus a pattern, both counted to 255; what lies outside is cut off.
pub fn mix(from: &[u8], keep: f32, pattern: &[f32], to: &mut [u8]) {
    for ((to, &from), pattern) in to.iter_mut().zip(from).zip(pattern) {
        *to = to_byte(keep * f32::from(from) + pattern);
    }
}

/// The same with a pattern of columns, `[S]` for all channels or `[3, S]`: every row of a channel gets the same.
pub fn mix_columns(from: &[u8], keep: f32, columns: &[f32], side: usize, to: &mut [u8]) {
    for (number, (to, from)) in to.chunks_exact_mut(side).zip(from.chunks_exact(side)).enumerate() {
        let start = number / side * side % columns.len();
        mix(from, keep, &columns[start..start + side], to);
    }
}

/// The nearest byte.
#[inline]
pub fn to_byte(value: f32) -> u8 {
    // A whole number by cutting off: `round` is a call into the C library where a machine has no instruction for it.
    (value.clamp(0.0, 255.0) + 0.5) as u8
}

/// The key `size` as it may be: at most the side of the images.
///
/// # Errors
/// If it is more.
pub fn fits(size: usize, side: i64) -> Result<()> {
    let why = || Error::invalid("key `size`", format!("is {size}, and images are {side} pixels wide"));
    (size as i64 <= side).then_some(()).ok_or_else(why)
}
