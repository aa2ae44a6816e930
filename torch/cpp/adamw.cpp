// libtorch's fused AdamW over lists of tensors. tch does not bind it.

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>

#include <vector>

#include "error.h"

namespace {
std::vector<at::Tensor> list(at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) result.push_back(*tensors[i]);
  return result;
}

// The kernel walks raw memory, so a gradient must have the memory layout of its parameter.
// Convolutions over channels-last images give channels-last gradients of contiguous weights;
// loss.backward() would have changed their layout, autograd::grad does not.
std::vector<at::Tensor> laid_out_like(const std::vector<at::Tensor> &params, std::vector<at::Tensor> grads) {
  for (size_t i = 0; i < grads.size(); ++i) {
    if (grads[i].strides() != params[i].strides()) grads[i] = at::empty_like(params[i]).copy_(grads[i]);
  }
  return grads;
}
// On a CPU libtorch would dispatch one addition per tensor; a small model has a hundred.
void count_up(std::vector<at::Tensor> &steps) {
  if (!steps.empty() && steps.front().is_cuda()) return at::_foreach_add_(steps, 1);
  for (at::Tensor &step : steps) *step.mutable_data_ptr<float>() += 1;
}
} // namespace

extern "C" char *gauntlet_fused_adamw(size_t count, at::Tensor *const *params, at::Tensor *const *grads,
                                      at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs,
                                      at::Tensor *const *steps, double lr, double beta1, double beta2,
                                      double weight_decay, double eps) {
  return message_of([&] {
    at::NoGradGuard no_grad;
    auto state_steps = list(steps, count);
    // The kernel reads the step for its bias correction; the caller must increment it.
    count_up(state_steps);
    auto parameters = list(params, count);
    at::_fused_adamw_(parameters, laid_out_like(parameters, list(grads, count)), list(exp_avgs, count), list(exp_avg_sqs, count),
                      /*max_exp_avg_sqs=*/{}, state_steps, lr, beta1, beta2, weight_decay, eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}
