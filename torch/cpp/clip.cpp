// Clips gradients by their global norm, in a few operations over the whole list and without waiting
// for the device.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include <vector>

#include "error.h"

// `clipped` receives `count` new tensors and `norm` one, all owned by the caller. The gradients are
// not modified: two parameters may share one, and in place it would be scaled twice.
extern "C" char *gauntlet_clip_grad_norm(size_t count, at::Tensor *const *grads, double max_norm, at::Tensor **clipped,
                                         at::Tensor **norm) {
  return message_of([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> list;
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) list.push_back(*grads[i]);
    auto total = at::linalg_vector_norm(at::stack(at::_foreach_norm(list, 2)), 2);
    // As in torch.nn.utils.clip_grad_norm_: the gradients are always multiplied, by 1 if there is
    // nothing to clip.
    auto factor = (max_norm / (total + 1e-6)).clamp_max(1.0);
    auto scaled = at::_foreach_mul(list, factor);
    *norm = new at::Tensor(total);
    for (size_t i = 0; i < count; ++i) clipped[i] = new at::Tensor(std::move(scaled[i]));
  });
}
