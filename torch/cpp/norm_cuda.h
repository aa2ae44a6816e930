// Batch norm of a training step with shortcut and ReLU on a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

// Whether `norm_on_cuda` can be used.
bool norm_on_cuda_takes(const at::Tensor &x, const at::Tensor &weight, const at::Tensor *shortcut);

at::Tensor norm_on_cuda(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias, const std::optional<at::Tensor> &shortcut,
                        const at::Tensor &running_mean, const at::Tensor &running_var, bool relu, double momentum, double eps);
