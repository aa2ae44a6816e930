// Our own kernels for NVIDIA GPUs (kernels.cu), where they are asked for: compiled at first use, launched through the driver. One that cannot be
// compiled or launched is an error.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace kernels {
// Whether the kernels were asked for and take this tensor: f32 or bf16 on a GPU, four dimensions, channels last, a multiple of 8 of them.
bool take(const at::Tensor &x);

// Blocks and rows of the kernels that go over [rows, channels].
struct Grid {
  unsigned tile, tiles, chunks;
};
Grid grid(const at::Tensor &x);

// Runs a kernel on `like`'s device, compiled for its type. `arguments` point to what the kernel takes; a pointer to a tensor's memory among them
// is that of a `void *`.
void launch(const at::Tensor &like, const char *kernel, unsigned blocks_x, unsigned blocks_y, unsigned threads_x, unsigned threads_y,
            std::vector<void *> arguments);
} // namespace kernels
