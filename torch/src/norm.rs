//! Batch norm, in training fused with the shortcut and the ReLU that follow it.

use crate::message::outcome;
use std::ffi::c_char;
use std::ptr::{null, null_mut};
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn gauntlet_batch_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        shortcut: *const C_tensor,
        train: bool,
        relu: bool,
        momentum: f64,
        eps: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// The constants of a batch norm.
#[derive(Clone, Copy, Debug)]
pub struct NormOptions {
    /// Whether to apply a ReLU.
    pub relu: bool,
    /// Weight of the batch in the running statistics.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

/// Batch norm of `x` `[batch, channels, height, width]`, plus `shortcut` if there is one, then a
/// ReLU if wanted. `norm` is weight, bias, running mean and running variance, each `[channels]`. In
/// training it uses the statistics of the batch and updates the running ones.
///
/// Equal to libtorch's three operations except for rounding. Training with channels last takes
/// fewer passes, in f32 on one CPU thread or on a GPU with this project's kernels
/// ([`use_kernels`](crate::use_kernels)).
pub fn batch_norm(
    x: &Tensor,
    norm: [&Tensor; 4],
    shortcut: Option<&Tensor>,
    train: bool,
    NormOptions { relu, momentum, eps }: NormOptions,
) -> Result<Tensor, TchError> {
    let [weight, bias, mean, var] = norm.map(Tensor::as_ptr);
    let shortcut = shortcut.map_or(null(), |shortcut| shortcut.as_ptr());
    let mut out = null_mut();
    // SAFETY: every handle is an `at::Tensor*` that its borrowed `Tensor` keeps alive during the
    // call, or null where C++ allows it. C++ writes only to the storage of the running statistics,
    // which in tch needs no `&mut`. The message is from malloc and owned by the caller.
    unsafe {
        outcome(gauntlet_batch_norm(
            x.as_ptr(),
            weight,
            bias,
            mean,
            var,
            shortcut,
            train,
            relu,
            momentum,
            eps,
            &mut out,
        ))?
    };
    // SAFETY: C++ succeeded, so `out` was made by `new` and is owned here alone.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    const OPTIONS: NormOptions = NormOptions { relu: true, momentum: 0.1, eps: 1e-5 };

    fn wave(seed: i64, shape: &[i64]) -> Tensor {
        let count = shape.iter().product::<i64>();
        ((Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.7 + seed).sin() * 1.3 + 0.4).reshape(shape)
    }

    fn channels_last(x: Tensor) -> Tensor {
        x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    }

    /// Output, running statistics and the gradients of the inputs that have one.
    fn computed(shape: &[i64; 4], kind: Kind, shortcut: bool, options: NormOptions) -> Vec<Tensor> {
        let channels = &shape[1..2];
        let given = |seed, shape: &[i64]| wave(seed, shape).to_kind(kind);
        let x = channels_last(given(1, shape)).set_requires_grad(true);
        let added = channels_last(given(2, shape)).set_requires_grad(true);
        let [weight, bias] = [3, 4].map(|seed| given(seed, channels).set_requires_grad(true));
        let (mean, var) = (given(5, channels), given(6, channels).abs());
        let y = batch_norm(&x, [&weight, &bias, &mean, &var], shortcut.then_some(&added), true, options).unwrap();
        let loss = (&y * channels_last(given(7, shape))).sum(kind);
        let inputs: Vec<&Tensor> = [&x, &weight, &bias].into_iter().chain(shortcut.then_some(&added)).collect();
        let gradients = Tensor::run_backward(&[&loss], &inputs, false, false);
        [y.detach(), mean, var].into_iter().chain(gradients).collect()
    }

    /// In f64 libtorch's own operations compute.
    #[test]
    fn equals_libtorchs_operations() {
        tch::set_num_threads(1);
        for shape in [[6, 8, 5, 5], [2, 3, 1, 1], [33, 24, 4, 4]] {
            for (shortcut, relu) in [(false, false), (false, true), (true, false), (true, true)] {
                let options = NormOptions { relu, ..OPTIONS };
                let [ours, exact] = [Kind::Float, Kind::Double].map(|kind| computed(&shape, kind, shortcut, options));
                assert_eq!(ours.len(), if shortcut { 7 } else { 6 });
                for (number, (ours, exact)) in ours.iter().zip(&exact).enumerate() {
                    let error = (ours.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
                    let size = exact.abs().max().double_value(&[]);
                    assert!(error <= 2e-5 * size.max(1.0), "{shape:?} {shortcut} {relu}, output {number}: {error}");
                }
            }
        }
    }

    /// A large mean with a small spread: sums of squares would lose the spread.
    #[test]
    fn a_small_variance_about_a_large_mean_is_not_lost() {
        tch::set_num_threads(1);
        let x = channels_last((wave(1, &[32, 4, 6, 6]) + 1000.0).to_kind(Kind::Float));
        let [one, zero] = [1.0, 0.0].map(|value| Tensor::full([4], value, (Kind::Float, Device::Cpu)));
        let (mean, var) = (zero.copy(), one.copy());
        let y = batch_norm(&x, [&one, &zero, &mean, &var], None, true, NormOptions { relu: false, ..OPTIONS }).unwrap();
        assert!((y.std(false).double_value(&[]) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn mistakes_are_errors() {
        let x = Tensor::zeros([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        let two = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        assert!(batch_norm(&x, [&two, &two, &two, &two], None, true, OPTIONS).is_err());
    }
}
