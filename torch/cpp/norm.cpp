// Batch norm of a training step with the shortcut and the ReLU that follow it in a ResNet, with the
// fewest possible passes over memory: libtorch's operations need six or more. The code here is for
// f32 images on one CPU thread with channels last; norm_cuda.cpp is for a GPU if its kernels are
// requested; everything else uses libtorch's operations.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "error.h"
#include "norm_cuda.h"

// The loops below are compiled twice; the processor chooses when the program starts.
#define EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))

namespace {
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows (pixels of all images) whose statistics are computed together: few enough to stay in the
// nearest cache.
constexpr int64_t BLOCK = 64;

// Mean and sum of squared distances from it of each channel of x [rows, channels], block by block
// (Chan, Golub and LeVeque 1983).
EACH_PROCESSOR void moments(const float *__restrict x, int64_t rows, int64_t channels, float *__restrict mean, float *__restrict squares, float *__restrict sum, float *__restrict square) {
  std::fill_n(mean, channels, 0.f);
  std::fill_n(squares, channels, 0.f);
  for (int64_t first = 0; first < rows; first += BLOCK) {
    const int64_t count = std::min(BLOCK, rows - first);
    const float *block = x + first * channels;
    std::fill_n(sum, channels, 0.f);
    std::fill_n(square, channels, 0.f);
    for (int64_t row = 0; row < count; ++row)
      for (int64_t c = 0; c < channels; ++c) sum[c] += block[row * channels + c];
    for (int64_t c = 0; c < channels; ++c) sum[c] /= count;
    for (int64_t row = 0; row < count; ++row)
      for (int64_t c = 0; c < channels; ++c) {
        const float distance = block[row * channels + c] - sum[c];
        square[c] += distance * distance;
      }
    const float share = float(count) / float(first + count), weight = share * first;
    for (int64_t c = 0; c < channels; ++c) {
      const float distance = sum[c] - mean[c];
      mean[c] += distance * share;
      squares[c] += square[c] + distance * distance * weight;
    }
  }
}

// y = scale x + offset (+ shortcut), at least `least`; NaN stays NaN, so that the check of the loss
// finds it.
EACH_PROCESSOR void stretch(const float *__restrict x, const float *__restrict shortcut, float *__restrict y, int64_t rows, int64_t channels, const float *__restrict scale,
                          const float *__restrict offset, float least) {
  for (int64_t row = 0; row < rows; ++row, x += channels, y += channels) {
    if (shortcut) {
      for (int64_t c = 0; c < channels; ++c) {
        const float z = x[c] * scale[c] + offset[c] + shortcut[c];
        y[c] = z < least ? least : z;
      }
      shortcut += channels;
    } else {
      for (int64_t c = 0; c < channels; ++c) {
        const float z = x[c] * scale[c] + offset[c];
        y[c] = z < least ? least : z;
      }
    }
  }
}

// Selects the gradients that pass the ReLU: those where scale gate + offset is above `least`. The
// gate is x, which the backward pass reads anyway, or the output if a shortcut was added.
struct Gate {
  const float *values, *scale, *offset;
  float least;
};

// Below, dy is read before it is known whether it passes: a conditional read would prevent
// vectorisation.

// Sums over rows of the gradient that passes the ReLU, and of its product with x - mean. `passed`
// receives that gradient, if wanted.
EACH_PROCESSOR void sums(const float *__restrict x, Gate gate, const float *__restrict dy, float *__restrict passed, int64_t rows, int64_t channels,
                         const float *__restrict mean, float *__restrict sum, float *__restrict product) {
  const float *__restrict values = gate.values, *__restrict scale = gate.scale, *__restrict offset = gate.offset;
  std::fill_n(sum, channels, 0.f);
  std::fill_n(product, channels, 0.f);
  for (int64_t row = 0; row < rows; ++row, x += channels, values += channels, dy += channels) {
    for (int64_t c = 0; c < channels; ++c) {
      const float g = dy[c], dz = values[c] * scale[c] + offset[c] <= gate.least ? 0.f : g;
      sum[c] += dz;
      product[c] += dz * (x[c] - mean[c]);
    }
    if (passed) {
      for (int64_t c = 0; c < channels; ++c) {
        const float g = dy[c];
        passed[c] = values[c] * scale[c] + offset[c] <= gate.least ? 0.f : g;
      }
      passed += channels;
    }
  }
}

// dx = a dz + b (x - mean) + c, where dz is the gradient that passes the ReLU.
EACH_PROCESSOR void spread(const float *__restrict x, Gate gate, const float *__restrict dy, float *__restrict dx, int64_t rows, int64_t channels,
                           const float *__restrict mean, const float *__restrict a, const float *__restrict b, const float *__restrict constant) {
  const float *__restrict values = gate.values, *__restrict scale = gate.scale, *__restrict offset = gate.offset;
  for (int64_t row = 0; row < rows; ++row, x += channels, values += channels, dy += channels, dx += channels)
    for (int64_t c = 0; c < channels; ++c) {
      const float g = dy[c], dz = values[c] * scale[c] + offset[c] <= gate.least ? 0.f : g;
      dx[c] = a[c] * dz + b[c] * (x[c] - mean[c]) + constant[c];
    }
}

// Number of rows that the loops take as one if channels are few: one sum per channel would wait for
// its own last addition.
int64_t abreast(int64_t rows, int64_t channels) {
  int64_t count = 1;
  while (count * channels < 64 && rows % (2 * count) == 0) count *= 2;
  return count;
}

// Values of channels, repeated for `count` rows.
std::vector<float> repeated(const float *values, int64_t channels, int64_t count) {
  std::vector<float> result;
  result.reserve(count * channels);
  for (int64_t i = 0; i < count; ++i) result.insert(result.end(), values, values + channels);
  return result;
}

// Adds up the sums of the rows that were taken as one.
void folded(const std::vector<float> &values, float *result, int64_t channels) {
  std::fill_n(result, channels, 0.f);
  for (size_t i = 0; i < values.size(); ++i) result[i % channels] += values[i];
}

struct Norm : torch::autograd::Function<Norm> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias,
                            const std::optional<at::Tensor> &shortcut, at::Tensor running_mean, at::Tensor running_var, bool relu,
                            double momentum, double eps) {
    const int64_t channels = x.size(1), rows = x.numel() / channels;
    auto mean = at::empty({channels}, x.options()), inverse = at::empty({channels}, x.options());
    // Scale and offset of x, kept for the backward pass.
    auto line = at::empty({2, channels}, x.options());
    float *scale = line.data_ptr<float>(), *offset = scale + channels;
    const int64_t count = abreast(rows, channels), wide = count * channels;
    std::vector<float> squares(channels), wide_means(wide), wide_squares(wide), sum(wide), square(wide);
    float *means = mean.data_ptr<float>(), *inverses = inverse.data_ptr<float>();
    moments(x.const_data_ptr<float>(), rows / count, wide, wide_means.data(), wide_squares.data(), sum.data(), square.data());
    folded(wide_means, means, channels);
    for (int64_t c = 0; c < channels; ++c) means[c] /= count;
    for (int64_t i = 0; i < wide; ++i) {
      const float distance = wide_means[i] - means[i % channels];
      wide_squares[i] += distance * distance * (rows / count);
    }
    folded(wide_squares, squares.data(), channels);
    const float *weights = weight.const_data_ptr<float>(), *biases = bias.const_data_ptr<float>();
    float *running_means = running_mean.data_ptr<float>(), *running_vars = running_var.data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      inverses[c] = float(1 / std::sqrt(double(squares[c]) / rows + eps));
      scale[c] = inverses[c] * weights[c];
      offset[c] = biases[c] - means[c] * scale[c];
      running_means[c] = float(momentum * means[c] + (1 - momentum) * running_means[c]);
      running_vars[c] = float(momentum * (squares[c] / double(rows - 1)) + (1 - momentum) * running_vars[c]);
    }
    auto y = at::empty_like(x);
    const float *added = shortcut ? shortcut->const_data_ptr<float>() : nullptr;
    stretch(x.const_data_ptr<float>(), added, y.data_ptr<float>(), rows / count, wide, repeated(scale, channels, count).data(),
            repeated(offset, channels, count).data(), least(relu));
    if (shortcut) line.select(0, 0).fill_(1), line.select(0, 1).zero_();
    ctx->save_for_backward({x, weight, shortcut ? y : x, mean, inverse, line});
    ctx->saved_data["relu"] = relu;
    ctx->saved_data["shortcut"] = shortcut.has_value();
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0];
    const float *weights = saved[1].const_data_ptr<float>(), *means = saved[3].const_data_ptr<float>(),
                *inverses = saved[4].const_data_ptr<float>();
    const bool relu = ctx->saved_data["relu"].toBool(), shortcut = ctx->saved_data["shortcut"].toBool();
    const int64_t channels = x.size(1), rows = x.numel() / channels;
    const auto dy = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    auto dx = at::empty_like(x), passed = shortcut && relu ? at::empty_like(x) : at::Tensor();
    auto dweight = at::empty({channels}, x.options()), dbias = at::empty({channels}, x.options());
    float *dweights = dweight.data_ptr<float>(), *dbiases = dbias.data_ptr<float>();
    const int64_t count = abreast(rows, channels), wide = count * channels;
    const float *line = saved[5].const_data_ptr<float>();
    const auto scale = repeated(line, channels, count), offset = repeated(line + channels, channels, count),
               wide_means = repeated(means, channels, count);
    const Gate gate{saved[2].const_data_ptr<float>(), scale.data(), offset.data(), least(relu)};
    std::vector<float> sum(wide), product(wide);
    sums(x.const_data_ptr<float>(), gate, dy.const_data_ptr<float>(),
         passed.defined() ? passed.data_ptr<float>() : nullptr, rows / count, wide, wide_means.data(), sum.data(), product.data());
    folded(sum, dbiases, channels);
    folded(product, dweights, channels);
    std::vector<float> a(channels), b(channels), constant(channels);
    for (int64_t c = 0; c < channels; ++c) {
      a[c] = weights[c] * inverses[c];
      b[c] = -a[c] * inverses[c] * inverses[c] * dweights[c] / rows;
      constant[c] = -a[c] * dbiases[c] / rows;
      dweights[c] *= inverses[c];
    }
    spread(x.const_data_ptr<float>(), gate, dy.const_data_ptr<float>(), dx.data_ptr<float>(), rows / count, wide, wide_means.data(),
           repeated(a.data(), channels, count).data(), repeated(b.data(), channels, count).data(), repeated(constant.data(), channels, count).data());
    const auto back = !shortcut ? at::Tensor() : relu ? passed : dy;
    return {dx, dweight, dbias, back, {}, {}, {}, {}, {}};
  }

  static float least(bool relu) { return relu ? 0.f : -std::numeric_limits<float>::infinity(); }
};

// Whether the loops above can be used: they walk raw memory.
bool plain(const at::Tensor &x, const at::Tensor &weight, const at::Tensor *shortcut) {
  const auto fits = [](const at::Tensor &x) {
    return x.device().is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  };
  return fits(x) && (!shortcut || (fits(*shortcut) && shortcut->sizes() == x.sizes())) && weight.scalar_type() == at::kFloat &&
         x.numel() > x.size(1) && at::get_num_threads() == 1;
}
} // namespace

extern "C" char *gauntlet_batch_norm(at::Tensor *x, at::Tensor *weight, at::Tensor *bias, at::Tensor *running_mean,
                                     at::Tensor *running_var, at::Tensor *shortcut, bool train, bool relu, double momentum,
                                     double eps, at::Tensor **out) {
  return message_of([&] {
    if (train && plain(*x, *weight, shortcut)) {
      *out = new at::Tensor(Norm::apply(*x, *weight, *bias, shortcut ? std::optional(*shortcut) : std::nullopt, *running_mean, *running_var, relu,
                                        momentum, eps));
      return;
    }
    if (train && norm_on_cuda_takes(*x, *weight, shortcut)) {
      *out = new at::Tensor(norm_on_cuda(*x, *weight, *bias, shortcut ? std::optional(*shortcut) : std::nullopt, *running_mean, *running_var, relu,
                                         momentum, eps));
      return;
    }
    auto y = at::batch_norm(*x, *weight, *bias, *running_mean, *running_var, train, momentum, eps, /*cudnn=*/true);
    if (shortcut) y = y + *shortcut;
    *out = new at::Tensor(relu ? y.relu_() : y);
  });
}
