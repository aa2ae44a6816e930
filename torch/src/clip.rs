//! Gradient clipping by the global norm (Pascanu, Mikolov and Bengio, ICML 2013), as in
//! `torch.nn.utils.clip_grad_norm_`.

use crate::message::outcome;
use std::ffi::c_char;
use std::ptr::null_mut;
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn gauntlet_clip_grad_norm(
        count: usize,
        grads: *const *const C_tensor,
        max_norm: f64,
        clipped: *mut *mut C_tensor,
        norm: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// The gradients, scaled so that their total L2 norm is at most `max_norm`, and the norm before
/// scaling, a scalar.
///
/// All tensors are on one device; the call does not wait for it. Zero gradients are allowed and
/// have no effect; a norm that is not finite makes every gradient not finite.
pub fn clip_grad_norm(grads: &[&Tensor], max_norm: f64) -> Result<(Vec<Tensor>, Tensor), TchError> {
    if grads.is_empty() {
        return Err(TchError::Shape("there are no gradients to clip".into()));
    }
    let handles: Vec<*const C_tensor> = grads.iter().map(|grad| grad.as_ptr()).collect();
    let mut clipped: Vec<*mut C_tensor> = vec![null_mut(); grads.len()];
    let mut norm = null_mut();
    // SAFETY: `handles` holds the given number of `at::Tensor*`, kept alive by their borrowed
    // tensors, and `clipped` has room for as many. If C++ succeeds, it has filled `clipped` and
    // `norm` with tensors owned by the caller; if it fails, `?` returns before one is used. The
    // message is from malloc and owned by the caller.
    unsafe {
        let (count, clipped) = (grads.len(), clipped.as_mut_ptr());
        outcome(gauntlet_clip_grad_norm(count, handles.as_ptr(), max_norm, clipped, &mut norm))?;
    }
    // SAFETY: as above: each was made by `new` and is owned here alone.
    let own = |tensor: *mut C_tensor| unsafe { Tensor::from_ptr(tensor) };
    Ok((clipped.into_iter().map(own).collect(), own(norm)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm_of(tensors: &[Tensor]) -> f64 {
        let squares =
            |tensor: &Tensor| tensor.to_kind(tch::Kind::Double).square().sum(tch::Kind::Double).double_value(&[]);
        tensors.iter().map(squares).sum::<f64>().sqrt()
    }

    #[test]
    fn the_norm_is_over_all_and_one_factor_scales_all() {
        let grads = [Tensor::from_slice(&[3f32, 0.0]), Tensor::from_slice(&[4f32]), Tensor::from_slice(&[0f32; 3])];
        let (clipped, norm) = clip_grad_norm(&grads.each_ref(), 1.0).unwrap();
        assert!((norm.double_value(&[]) - 5.0).abs() < 1e-6 && (norm_of(&clipped) - 1.0).abs() < 1e-5);
        assert!((clipped[0].double_value(&[0]) - 0.6).abs() < 1e-5);
        assert_eq!(grads[0], Tensor::from_slice(&[3f32, 0.0]), "the gradients stay as they are");
        let (untouched, _) = clip_grad_norm(&grads.each_ref(), 5.1).unwrap();
        assert!(untouched.iter().zip(&grads).all(|(ours, theirs)| ours == theirs), "below the norm nothing changes");
    }

    /// Two parameters that are only added share one gradient.
    #[test]
    fn a_shared_gradient_is_scaled_once() {
        let grad = Tensor::from_slice(&[3f32, 4.0]);
        let (clipped, norm) = clip_grad_norm(&[&grad, &grad.shallow_clone()], 1.0).unwrap();
        assert!((norm.double_value(&[]) - 50f64.sqrt()).abs() < 1e-5);
        assert!((norm_of(&clipped) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn mistakes_are_errors() {
        assert!(clip_grad_norm(&[], 1.0).is_err());
        assert!(clip_grad_norm(&[&Tensor::from_slice(&[1i64])], 1.0).is_err());
    }
}
