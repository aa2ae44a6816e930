//! Automatic mixed precision: Python's `torch.autocast(device, dtype=torch.bfloat16)`, on CPU and
//! on CUDA.
//!
//! tch's own `autocast` does nothing without CUDA, and uses float16.

use crate::message::outcome;
use std::ffi::c_char;
use tch::{Device, TchError};

unsafe extern "C" {
    fn gauntlet_autocast_enter(cuda: bool, enabled: *mut bool, dtype: *mut i8) -> *mut c_char;
    fn gauntlet_autocast_leave(cuda: bool, enabled: bool, dtype: i8) -> *mut c_char;
}

/// Runs `body` with this thread's matrix products and convolutions on devices like `device` in
/// bfloat16.
///
/// libtorch casts the inputs of those operations and leaves everything else unchanged, including
/// existing tensors; the result may be bfloat16. Afterwards, and if `body` panics, the previous
/// state is restored. Casts of weights are cached until the outermost call ends, so a call must not
/// change weights, nor use them both with gradient and without.
pub fn autocast_bf16<T>(device: Device, body: impl FnOnce() -> T) -> T {
    let _guard = Guard::enter(device).expect("libtorch knows autocast on CPU and CUDA");
    body()
}

struct Guard {
    cuda: bool,
    enabled: bool,
    dtype: i8,
}

impl Guard {
    fn enter(device: Device) -> Result<Guard, TchError> {
        let mut guard = Guard { cuda: device.is_cuda(), enabled: false, dtype: 0 };
        // SAFETY: C++ writes one value through each pointer during the call; the message is from
        // malloc and owned by the caller.
        let entered = unsafe { outcome(gauntlet_autocast_enter(guard.cuda, &mut guard.enabled, &mut guard.dtype)) };
        match entered {
            Ok(()) => Ok(guard),
            Err(why) => {
                std::mem::forget(guard); // nothing was entered, so there is nothing to leave
                Err(why)
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: values only; the message is from malloc and owned by the caller.
        let left = unsafe { outcome(gauntlet_autocast_leave(self.cuda, self.enabled, self.dtype)) };
        left.expect("what was entered can be left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use tch::{Kind, Tensor};

    fn product_kind() -> Kind {
        let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        x.matmul(&x).kind()
    }

    #[test]
    fn holds_within_and_not_after() {
        assert_eq!(product_kind(), Kind::Float);
        let (outer, inner) = autocast_bf16(Device::Cpu, || {
            let inner = autocast_bf16(Device::Cpu, product_kind);
            (product_kind(), inner)
        });
        assert_eq!((outer, inner, product_kind()), (Kind::BFloat16, Kind::BFloat16, Kind::Float));
    }

    #[test]
    fn a_panic_ends_it_and_other_threads_never_see_it() {
        let thrown = catch_unwind(AssertUnwindSafe(|| autocast_bf16(Device::Cpu, || panic!("on purpose"))));
        assert!(thrown.is_err());
        assert_eq!(product_kind(), Kind::Float);
        let elsewhere = autocast_bf16(Device::Cpu, || std::thread::spawn(product_kind).join().unwrap());
        assert_eq!(elsewhere, Kind::Float);
    }

    /// A cast that is cached past its call would be of the old weight, or one without gradient.
    #[test]
    fn every_call_casts_the_weights_anew() {
        let x = Tensor::ones([1, 2], (Kind::Float, Device::Cpu));
        let weight = Tensor::ones([2, 1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let product = || autocast_bf16(Device::Cpu, || x.matmul(&weight));
        let frozen = tch::no_grad(product);
        let trained = product();
        assert!(!frozen.requires_grad() && trained.requires_grad());
        assert_eq!(Tensor::run_backward(&[trained], &[&weight], false, false)[0], x.transpose(0, 1));
        let _ = tch::no_grad(|| weight.shallow_clone().fill_(3.0));
        assert_eq!(f64::try_from(product().to_kind(Kind::Double).sum(Kind::Double)).unwrap(), 6.0);
    }
}
