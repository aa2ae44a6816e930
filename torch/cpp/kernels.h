// This project's kernels for NVIDIA GPUs (kernels.cu), used on request: compiled at first use,
// launched through the driver. It is an error if one cannot be compiled or launched.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace kernels {
// Whether the kernels were requested and accept this tensor: f32 or bf16 on a GPU, four dimensions,
// channels last, a multiple of 8 channels.
bool take(const at::Tensor &x);

// Blocks and rows of the kernels that iterate over [rows, channels].
struct Grid {
  unsigned tile, tiles, chunks;
};
Grid grid(const at::Tensor &x);

// Runs a kernel on `like`'s device, compiled for its type. `arguments` point to the kernel's
// arguments; a pointer to a tensor's memory is passed as a pointer to a `void *`.
void launch(const at::Tensor &like, const char *kernel, unsigned blocks_x, unsigned blocks_y, unsigned threads_x, unsigned threads_y,
            std::vector<void *> arguments);
} // namespace kernels
