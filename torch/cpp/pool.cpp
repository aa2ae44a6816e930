// Means of squares of two by two pixels, forward and backward, each in one pass: libtorch's
// backward pass clears the gradient first and then adds to it. For f32 images on one CPU thread
// with channels last, and on a GPU if this project's kernels are requested (kernels.cu): libtorch's
// backward pass takes thirty times its minimum there. Everything else uses libtorch's operations.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "error.h"
#include "kernels.h"

namespace {
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The four pixels of each square side by side: `rows` pairs of lines of `width` pixels.
void mean(const float *__restrict x, float *__restrict y, int64_t rows, int64_t width, int64_t channels) {
  const int64_t line = width * channels;
  for (int64_t row = 0; row < rows; ++row, x += 2 * line)
    for (int64_t pixel = 0; pixel < width / 2; ++pixel, y += channels) {
      const float *above = x + 2 * pixel * channels, *below = above + line;
      for (int64_t c = 0; c < channels; ++c) y[c] = (above[c] + above[channels + c] + below[c] + below[channels + c]) * 0.25f;
    }
}

void spread(const float *__restrict dy, float *__restrict dx, int64_t rows, int64_t width, int64_t channels) {
  const int64_t line = width * channels;
  for (int64_t row = 0; row < rows; ++row, dx += 2 * line)
    for (int64_t pixel = 0; pixel < width / 2; ++pixel, dy += channels) {
      float *above = dx + 2 * pixel * channels, *below = above + line;
      for (int64_t c = 0; c < channels; ++c)
        above[c] = above[channels + c] = below[c] = below[channels + c] = dy[c] * 0.25f;
    }
}

struct Halve : torch::autograd::Function<Halve> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x) {
    const auto batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
    auto y = at::empty({batch, channels, height / 2, width / 2}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
    mean(x.const_data_ptr<float>(), y.data_ptr<float>(), batch * height / 2, width, channels);
    ctx->saved_data["shape"] = x.sizes();
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list gradients) {
    const auto shape = ctx->saved_data["shape"].toIntVector();
    const auto dy = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    auto dx = at::empty(shape, dy.options().memory_format(at::MemoryFormat::ChannelsLast));
    spread(dy.const_data_ptr<float>(), dx.data_ptr<float>(), shape[0] * shape[2] / 2, shape[3], shape[1]);
    return {dx};
  }
};

struct HalveOnCuda : torch::autograd::Function<HalveOnCuda> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x) {
    auto y = at::empty({x.size(0), x.size(1), x.size(2) / 2, x.size(3) / 2}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
    run("halve", x, y, y);
    ctx->saved_data["shape"] = x.sizes();
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list gradients) {
    const auto dy = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    auto dx = at::empty(ctx->saved_data["shape"].toIntVector(), dy.options().memory_format(at::MemoryFormat::ChannelsLast));
    run("halve_back", dy, dx, dy);
    return {dx};
  }

  static void run(const char *kernel, const at::Tensor &from, const at::Tensor &to, const at::Tensor &smaller) {
    void *from_ = from.data_ptr(), *to_ = to.data_ptr();
    long vectors = smaller.size(1) / 8, count = smaller.numel() / 8, columns = smaller.size(3);
    kernels::launch(from, kernel, unsigned((count + 255) / 256), 1, 256, 1, {&from_, &to_, &count, &columns, &vectors});
  }
};
} // namespace

extern "C" char *gauntlet_halve(at::Tensor *x, at::Tensor **out) {
  return message_of([&] {
    const bool even = x->dim() == 4 && x->size(2) % 2 == 0 && x->size(3) % 2 == 0;
    const bool plain = even && x->device().is_cpu() && x->scalar_type() == at::kFloat && x->is_contiguous(at::MemoryFormat::ChannelsLast) &&
                       at::get_num_threads() == 1;
    if (plain) {
      *out = new at::Tensor(Halve::apply(*x));
    } else if (even && kernels::take(*x)) {
      *out = new at::Tensor(HalveOnCuda::apply(*x));
    } else {
      *out = new at::Tensor(at::avg_pool2d(*x, {2, 2}, {2, 2}));
    }
  });
}
