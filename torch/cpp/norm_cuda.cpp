// Batch norm of a training step with shortcut and ReLU on a GPU, with the kernels of kernels.cu:
// eight passes over memory where libtorch's operations take thirteen (with a shortcut, eleven for
// sixteen).

#include "norm_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>

#include "kernels.h"

namespace {
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

float least(bool relu) { return relu ? 0.f : -std::numeric_limits<float>::infinity(); }

struct NormOnCuda : torch::autograd::Function<NormOnCuda> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias,
                            const std::optional<at::Tensor> &shortcut, at::Tensor running_mean, at::Tensor running_var, bool relu,
                            double momentum, double eps) {
    int channels = int(x.size(1));
    long rows = x.numel() / channels;
    const auto grid = kernels::grid(x);
    const auto floats = [&](at::IntArrayRef shape) { return at::empty(shape, weight.options()); };
    auto partial = floats({2, grid.chunks, channels}), mean = floats({channels}), inverse = floats({channels}), line = floats({2, channels});
    auto y = at::empty_like(x);
    void *x_ = x.data_ptr(), *y_ = y.data_ptr(), *shortcut_ = shortcut ? shortcut->data_ptr() : nullptr, *partial_ = partial.data_ptr(),
         *weight_ = weight.data_ptr(), *bias_ = bias.data_ptr(), *running_mean_ = running_mean.data_ptr(), *running_var_ = running_var.data_ptr(),
         *mean_ = mean.data_ptr(), *inverse_ = inverse.data_ptr(), *line_ = line.data_ptr();
    int chunks = int(grid.chunks);
    float count = float(rows), share = float(momentum), added = float(eps), floor = least(relu);
    over_rows(x, grid, "statistics", {&x_, &partial_, &rows, &channels});
    over_channels(x, "statistics_end",
                  {&partial_, &x_, &weight_, &bias_, &running_mean_, &running_var_, &mean_, &inverse_, &line_, &chunks, &channels, &count, &share, &added});
    over_rows(x, grid, "stretch", {&x_, &shortcut_, &y_, &line_, &rows, &channels, &floor});
    ctx->save_for_backward({x, weight, shortcut ? y : at::Tensor(), mean, inverse, line});
    ctx->saved_data["relu"] = relu;
    ctx->saved_data["shortcut"] = shortcut.has_value();
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &y = saved[2];
    const bool relu = ctx->saved_data["relu"].toBool(), shortcut = ctx->saved_data["shortcut"].toBool();
    int channels = int(x.size(1));
    long rows = x.numel() / channels;
    const auto grid = kernels::grid(x);
    const auto dy = gradients[0].to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    const auto floats = [&](at::IntArrayRef shape) { return at::empty(shape, weight.options()); };
    auto partial = floats({2, grid.chunks, channels}), dweight = floats({channels}), dbias = floats({channels}), factors = floats({3, channels});
    auto dx = at::empty_like(x), passed = shortcut && relu ? at::empty_like(x) : at::Tensor();
    void *x_ = x.data_ptr(), *y_ = passed.defined() ? y.data_ptr() : nullptr, *dy_ = dy.data_ptr(), *dx_ = dx.data_ptr(),
         *passed_ = passed.defined() ? passed.data_ptr() : nullptr, *partial_ = partial.data_ptr(), *weight_ = weight.data_ptr(),
         *mean_ = saved[3].data_ptr(), *inverse_ = saved[4].data_ptr(), *line_ = saved[5].data_ptr(), *dweight_ = dweight.data_ptr(),
         *dbias_ = dbias.data_ptr(), *factors_ = factors.data_ptr();
    int chunks = int(grid.chunks);
    float count = float(rows), floor = least(relu);
    over_rows(x, grid, "sums", {&x_, &y_, &dy_, &passed_, &mean_, &line_, &partial_, &rows, &channels, &floor});
    over_channels(x, "sums_end", {&partial_, &weight_, &inverse_, &dweight_, &dbias_, &factors_, &chunks, &channels, &count});
    // The gradient that passed is read in place of dy and passes whole.
    if (passed_) dy_ = passed_, floor = least(false);
    over_rows(x, grid, "spread", {&x_, &dy_, &dx_, &mean_, &line_, &factors_, &rows, &channels, &floor});
    const auto back = !shortcut ? at::Tensor() : relu ? passed : dy;
    return {dx, dweight, dbias, back, {}, {}, {}, {}, {}};
  }

  static void over_rows(const at::Tensor &x, const kernels::Grid &grid, const char *kernel, std::vector<void *> arguments) {
    kernels::launch(x, kernel, grid.tiles, grid.chunks, grid.tile, 256 / grid.tile, std::move(arguments));
  }

  static void over_channels(const at::Tensor &x, const char *kernel, std::vector<void *> arguments) {
    kernels::launch(x, kernel, unsigned(x.size(1) + 31) / 32, 1, 32, 8, std::move(arguments));
  }
};
} // namespace

bool norm_on_cuda_takes(const at::Tensor &x, const at::Tensor &weight, const at::Tensor *shortcut) {
  const auto alike = [&](const at::Tensor &other) {
    return other.sizes() == x.sizes() && other.scalar_type() == x.scalar_type() && other.is_contiguous(at::MemoryFormat::ChannelsLast);
  };
  return weight.scalar_type() == at::kFloat && weight.is_contiguous() && (!shortcut || alike(*shortcut)) && kernels::take(x);
}

at::Tensor norm_on_cuda(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias, const std::optional<at::Tensor> &shortcut,
                        const at::Tensor &running_mean, const at::Tensor &running_var, bool relu, double momentum, double eps) {
  return NormOnCuda::apply(x, weight, bias, shortcut, running_mean, running_var, relu, momentum, eps);
}
