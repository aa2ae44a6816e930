// The kernels of torch/cpp/kernels.cu on a CPU: a thread of the system for each of theirs, block after block. For kernels_emulated.py.

#include <barrier>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

struct uint4 {
  unsigned x, y, z, w;
};
struct float4 {
  float x, y, z, w;
};
struct Place {
  unsigned x, y;
};
static thread_local Place threadIdx, blockIdx;
static Place blockDim, gridDim;
static std::unique_ptr<std::barrier<>> together;

#define __device__ static
#define __global__
#define __launch_bounds__(threads, blocks)
#define __shared__ static
static void __syncthreads() { together->arrive_and_wait(); }

static float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// To bf16, to the nearest and even: what cvt.rn.bf16x2.f32 does.
static unsigned rounded(float value) {
  unsigned bits;
  memcpy(&bits, &value, sizeof bits);
  return value != value ? 0x7fff : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
static unsigned emulated_pair(float low, float high) { return rounded(low) | rounded(high) << 16; }

#define EMULATED
#include "../torch/cpp/kernels.cu"

static void run(Place grid, Place block, std::function<void()> kernel) {
  gridDim = grid, blockDim = block;
  for (unsigned number = 0; number < grid.x * grid.y; ++number) {
    together = std::make_unique<std::barrier<>>(block.x * block.y);
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < block.x * block.y; ++thread)
      threads.emplace_back([=, &kernel] {
        blockIdx = {number % grid.x, number / grid.x}, threadIdx = {thread % block.x, thread / block.x};
        kernel();
        together->arrive_and_drop();
      });
    for (auto &thread : threads) thread.join();
  }
}

// The six kernels of a norm and the two of a pool, as norm_cuda.cpp and pool.cpp launch them.
extern "C" void norm(unsigned tiles, unsigned chunks, unsigned tile, T *x, T *shortcut, T *y, float *weight, float *bias, float *running_mean,
                     float *running_var, float *mean, float *inverse, float *line, float *partial, long rows, int channels, float least) {
  const Place grid{tiles, chunks}, block{tile, THREADS / tile}, per_channel{unsigned(channels + 31) / 32, 1}, end{32, 8};
  run(grid, block, [=] { statistics(x, partial, rows, channels); });
  run(per_channel, end, [=] {
    statistics_end(partial, x, weight, bias, running_mean, running_var, mean, inverse, line, chunks, channels, rows, 0.1f, 1e-5f);
  });
  run(grid, block, [=] { stretch(x, shortcut, y, line, rows, channels, least); });
}

extern "C" void norm_back(unsigned tiles, unsigned chunks, unsigned tile, T *x, T *y, T *dy, T *passed, T *dx, float *weight, float *mean,
                          float *inverse, float *line, float *partial, float *dweight, float *dbias, float *factors, long rows, int channels,
                          float least, float nothing) {
  const Place grid{tiles, chunks}, block{tile, THREADS / tile}, per_channel{unsigned(channels + 31) / 32, 1}, end{32, 8};
  run(grid, block, [=] { sums(x, passed ? y : nullptr, dy, passed, mean, line, partial, rows, channels, least); });
  run(per_channel, end, [=] { sums_end(partial, weight, inverse, dweight, dbias, factors, chunks, channels, rows); });
  run(grid, block, [=] { spread(x, passed ? passed : dy, dx, mean, line, factors, rows, channels, passed ? nothing : least); });
}

extern "C" void pool(T *x, T *y, T *dx, long count, long columns, long vectors) {
  const Place grid{unsigned((count + 255) / 256), 1}, block{256, 1};
  run(grid, block, [=] { halve(x, y, count, columns, vectors); });
  run(grid, block, [=] { halve_back(y, dx, count, columns, vectors); });
}
