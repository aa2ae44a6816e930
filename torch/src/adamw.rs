//! AdamW (Loshchilov and Hutter, ICLR 2019) in one call for a whole list of tensors: libtorch's
//! `_fused_adamw_`.
//!
//! tch's own AdamW runs one small operation after another, tensor by tensor: about nine times the
//! time of this one for the hundred million parameters of CLIP RN50.

use crate::message::outcome;
use std::ffi::c_char;
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn gauntlet_fused_adamw(
        count: usize,
        params: *const *const C_tensor,
        grads: *const *const C_tensor,
        exp_avgs: *const *const C_tensor,
        exp_avg_sqs: *const *const C_tensor,
        steps: *const *const C_tensor,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> *mut c_char;
}

/// One step of AdamW on all of `params`, in place and not recorded by autograd.
///
/// The five lists are matched by position. `exp_avgs` and `exp_avg_sqs` are the running moments,
/// shaped like the parameters and zero at first. Each of `steps` is a separate scalar f32 tensor on
/// its parameter's device (it is written to), zero at first; the call adds one. The numbers have
/// their meaning in `torch.optim.AdamW`: the decay is decoupled. An error may leave `steps`
/// incremented and the parameters unchanged: treat it as the end of the training.
#[expect(clippy::too_many_arguments, reason = "they are the operation's own, and its one caller has them apart")]
pub fn fused_adamw(
    params: &[&Tensor],
    grads: &[&Tensor],
    exp_avgs: &[&Tensor],
    exp_avg_sqs: &[&Tensor],
    steps: &[&Tensor],
    lr: f64,
    beta1: f64,
    beta2: f64,
    weight_decay: f64,
    eps: f64,
) -> Result<(), TchError> {
    let count = params.len();
    for (name, list) in [("grads", grads), ("exp_avgs", exp_avgs), ("exp_avg_sqs", exp_avg_sqs), ("steps", steps)] {
        if list.len() != count {
            return Err(TchError::Shape(format!("{count} params but {} {name}", list.len())));
        }
    }
    if count == 0 {
        return Ok(());
    }
    let [params, grads, exp_avgs, exp_avg_sqs, steps] = [params, grads, exp_avgs, exp_avg_sqs, steps].map(handles);
    // SAFETY: five arrays of `count` handles, each an `at::Tensor*` that its borrowed `Tensor`
    // keeps alive during the call. C++ writes only to the storage of the tensors, which in tch
    // needs no `&mut`. The message is from malloc and owned by the caller.
    unsafe {
        outcome(gauntlet_fused_adamw(
            count,
            params.as_ptr(),
            grads.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            steps.as_ptr(),
            lr,
            beta1,
            beta2,
            weight_decay,
            eps,
        ))
    }
}

fn handles(tensors: &[&Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    const LR: f64 = 1e-2;
    const BETA1: f64 = 0.9;
    const BETA2: f64 = 0.98;
    const WEIGHT_DECAY: f64 = 0.2;
    const EPS: f64 = 1e-6;

    struct Slot {
        param: Tensor,
        grad: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        step: Tensor,
    }

    impl Slot {
        fn new(seed: i64, shape: &[i64]) -> Slot {
            let param = wave(seed, shape).set_requires_grad(true);
            let (exp_avg, exp_avg_sq) = (Tensor::zeros_like(&param.detach()), Tensor::zeros_like(&param.detach()));
            let step = Tensor::zeros([], (Kind::Float, Device::Cpu));
            Slot { grad: param.detach().zeros_like(), param, exp_avg, exp_avg_sq, step }
        }
    }

    /// Values without a random generator: tests must not depend on a global seed.
    fn wave(seed: i64, shape: &[i64]) -> Tensor {
        let count = shape.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.7 + seed).sin().reshape(shape)
    }

    fn step_all(slots: &[Slot]) -> Result<(), TchError> {
        let list = |field: fn(&Slot) -> &Tensor| slots.iter().map(field).collect::<Vec<_>>();
        fused_adamw(
            &list(|s| &s.param),
            &list(|s| &s.grad),
            &list(|s| &s.exp_avg),
            &list(|s| &s.exp_avg_sq),
            &list(|s| &s.step),
            LR,
            BETA1,
            BETA2,
            WEIGHT_DECAY,
            EPS,
        )
    }

    /// `torch.optim.AdamW` as in its documentation, one operation at a time. Returns parameter and
    /// moments.
    fn plain_adamw(state: (Tensor, Tensor, Tensor), grad: &Tensor, step: i32) -> (Tensor, Tensor, Tensor) {
        let (param, exp_avg, exp_avg_sq) = state;
        let param = param * (1.0 - LR * WEIGHT_DECAY);
        let exp_avg = exp_avg * BETA1 + grad * (1.0 - BETA1);
        let exp_avg_sq = exp_avg_sq * BETA2 + grad * grad * (1.0 - BETA2);
        let mean = &exp_avg / (1.0 - BETA1.powi(step));
        let square: Tensor = &exp_avg_sq / (1.0 - BETA2.powi(step));
        (param - mean / (square.sqrt() + EPS) * LR, exp_avg, exp_avg_sq)
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
        (a.detach() - b).abs().max().double_value(&[])
    }

    #[test]
    fn equals_adamw_written_out() {
        let shapes: [&[i64]; 4] = [&[3, 4], &[17], &[2, 3, 5, 5], &[]];
        let mut slots: Vec<Slot> = shapes.iter().zip(1..).map(|(shape, seed)| Slot::new(seed, shape)).collect();
        let mut expected: Vec<_> =
            slots.iter().map(|s| (s.param.detach().copy(), s.exp_avg.copy(), s.exp_avg_sq.copy())).collect();
        for step in 1..=3 {
            for (i, slot) in slots.iter_mut().enumerate() {
                slot.grad = wave(100 * i64::from(step) + i as i64, &slot.param.size());
            }
            step_all(&slots).unwrap();
            expected =
                expected.into_iter().zip(&slots).map(|(state, slot)| plain_adamw(state, &slot.grad, step)).collect();
            for (slot, (param, exp_avg, exp_avg_sq)) in slots.iter().zip(&expected) {
                assert!(largest_difference(&slot.param, param) < 1e-6);
                assert!(largest_difference(&slot.exp_avg, exp_avg) < 1e-6);
                assert!(largest_difference(&slot.exp_avg_sq, exp_avg_sq) < 1e-6);
                assert_eq!(slot.step.double_value(&[]), f64::from(step));
            }
        }
    }

    /// The kernel walks raw memory: a channels-last gradient once updated the wrong elements of a
    /// contiguous weight.
    #[test]
    fn a_gradient_may_lie_in_memory_as_it_likes() {
        let mut slots = [Slot::new(1, &[2, 3, 5, 5]), Slot::new(1, &[2, 3, 5, 5])];
        slots[0].grad = wave(7, &[2, 3, 5, 5]);
        slots[1].grad = slots[0].grad.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        assert_ne!(slots[0].grad.stride(), slots[1].grad.stride());
        step_all(&slots).unwrap();
        assert!(largest_difference(&slots[0].param, &slots[1].param) == 0.0);
    }

    #[test]
    fn parameters_still_train_afterwards() {
        let slots = [Slot::new(1, &[4])];
        step_all(&slots).unwrap();
        let param = &slots[0].param;
        assert!(param.requires_grad() && param.is_leaf());
        (param * param).sum(Kind::Float).backward();
        assert!(largest_difference(&param.grad(), &(param.detach() * 2.0)) < 1e-6);
    }

    #[test]
    fn mistakes_are_errors() {
        let mut slots = [Slot::new(1, &[4]), Slot::new(2, &[5])];
        assert!(fused_adamw(&[&slots[0].param], &[], &[], &[], &[], LR, BETA1, BETA2, WEIGHT_DECAY, EPS).is_err());
        assert!(fused_adamw(&[], &[], &[], &[], &[], LR, BETA1, BETA2, WEIGHT_DECAY, EPS).is_ok());
        slots[1].grad = Tensor::zeros([5], (Kind::Int64, Device::Cpu));
        let error = step_all(&slots).unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains("frame #"), "{error}");
    }
}
