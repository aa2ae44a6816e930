//! Average pooling of two by two pixels.

use crate::message::outcome;
use std::ffi::c_char;
use std::ptr::null_mut;
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn gauntlet_halve(x: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
}

/// `[batch, channels, height, width]` at half the height and width: the means of squares of two by
/// two pixels. Equal to libtorch's operation except for rounding.
pub fn halve(x: &Tensor) -> Result<Tensor, TchError> {
    let mut out = null_mut();
    // SAFETY: the handle is an `at::Tensor*` that the borrowed `Tensor` keeps alive during the
    // call. The message is from malloc and owned by the caller.
    unsafe { outcome(gauntlet_halve(x.as_ptr(), &mut out))? };
    // SAFETY: C++ succeeded, so `out` was made by `new` and is owned here alone.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// In f64 libtorch's own operation computes.
    #[test]
    fn equals_libtorchs_operation() {
        tch::set_num_threads(1);
        for shape in [[3, 5, 4, 6], [2, 8, 2, 2], [1, 3, 5, 7]] {
            let computed = |kind: Kind| {
                let x = (Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu)) * 0.7).sin();
                let x = x.view(shape).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
                let x = x.to_kind(kind).set_requires_grad(true);
                let y = halve(&x).unwrap();
                let back = Tensor::run_backward(&[(&y * &y).sum(kind)], &[&x], false, false).remove(0);
                [y.detach(), back].map(|tensor| tensor.to_kind(Kind::Double))
            };
            for (ours, exact) in computed(Kind::Float).iter().zip(&computed(Kind::Double)) {
                assert!((ours - exact).abs().max().double_value(&[]) < 1e-6, "{shape:?}");
            }
        }
    }

    #[test]
    fn mistakes_are_errors() {
        assert!(halve(&Tensor::zeros([4], (Kind::Float, Device::Cpu))).is_err());
    }
}
