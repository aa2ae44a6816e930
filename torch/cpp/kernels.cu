// Kernels for NVIDIA GPUs: batch norm with shortcut and ReLU, and average pooling, with the fewest
// possible passes over memory. libtorch's kernels need more passes, and each takes longer than its
// bytes require. NVRTC compiles this at first use (kernels.cpp), once with BF16 and once without.
//
// Tensors are `[rows, channels]`: pixels of all images, channels last. A thread takes eight
// channels ("a vector", 16 bytes in bf16), so `channels` is a multiple of 8. A block is `tile`
// vectors wide and 256 / tile rows high, both powers of two; a grid is channels / 8 / tile blocks
// wide and some blocks ("chunks") high, which iterate over the rows together.

#define WIDTH 8
#define THREADS 256
#define BLOCKS 3 // on a multiprocessor at once

#ifdef BF16
typedef unsigned short T; // the upper half of a float's bits

__device__ inline float wide(unsigned int low_bits) { return __uint_as_float(low_bits << 16); }

__device__ inline float one(const T *x, long i) { return wide(x[i]); }

__device__ inline void load(const T *x, long vector, float v[WIDTH]) {
  const uint4 raw = ((const uint4 *)x)[vector];
  const unsigned int words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = wide(words[i]);
    v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

__device__ inline unsigned int pair(float low, float high) {
#ifdef EMULATED // by bench/kernels_emulated.cpp
  return emulated_pair(low, high);
#else
  unsigned int both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
#endif
}

__device__ inline void store(T *y, long vector, const float v[WIDTH]) {
  uint4 raw;
  raw.x = pair(v[0], v[1]), raw.y = pair(v[2], v[3]), raw.z = pair(v[4], v[5]), raw.w = pair(v[6], v[7]);
  ((uint4 *)y)[vector] = raw;
}
#else
typedef float T;

__device__ inline float one(const T *x, long i) { return x[i]; }

__device__ inline void load(const T *x, long vector, float v[WIDTH]) {
  const float4 a = ((const float4 *)x)[2 * vector], b = ((const float4 *)x)[2 * vector + 1];
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

__device__ inline void store(T *y, long vector, const float v[WIDTH]) {
  float4 a, b;
  a.x = v[0], a.y = v[1], a.z = v[2], a.w = v[3], b.x = v[4], b.y = v[5], b.z = v[6], b.w = v[7];
  ((float4 *)y)[2 * vector] = a, ((float4 *)y)[2 * vector + 1] = b;
}
#endif

// Eight numbers of each channel of this thread's vector.
__device__ inline void channel(const float *values, long vector, float v[WIDTH]) {
#pragma unroll
  for (int i = 0; i < WIDTH; ++i) v[i] = values[vector * WIDTH + i];
}

#define VECTOR (blockIdx.x * (long)blockDim.x + threadIdx.x)
// Unrolled, so that reads of several rows are in flight at once.
#define EACH_ROW(row, times)                                                                                                                 \
  _Pragma(times) for (long row = blockIdx.y * (long)blockDim.y + threadIdx.y; row < rows; row += gridDim.y * (long)blockDim.y)

// Sums the values of the threads over a block's rows, into its row of `partial` [chunks, channels].
__device__ inline void fold(const float v[WIDTH], float *shared, float *partial, int channels) {
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int i = 0; i < WIDTH; ++i) shared[i * THREADS + me] = v[i];
  for (int half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) {
#pragma unroll
      for (int i = 0; i < WIDTH; ++i) shared[i * THREADS + me] += shared[i * THREADS + me + half * blockDim.x];
    }
  }
  if (threadIdx.y == 0) {
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) partial[blockIdx.y * (long)channels + VECTOR * WIDTH + i] = shared[i * THREADS + me];
  }
  __syncthreads();
}

// Blocks of 32 channels and 8 rows: the sum over all chunks, in the first row.
__device__ inline float total(const float *partial, int chunks, int channels, float *shared) {
  const int c = blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
  if (c < channels)
    for (int chunk = threadIdx.y; chunk < chunks; chunk += 8) sum += partial[chunk * (long)channels + c];
  shared[threadIdx.y * 32 + threadIdx.x] = sum;
  __syncthreads();
  sum = 0;
  if (threadIdx.y == 0)
    for (int row = 0; row < 8; ++row) sum += shared[row * 32 + threadIdx.x];
  __syncthreads();
  return sum;
}

// Sums of x minus its first row, and of its square, for each channel: `partial` [2, chunks,
// channels]. Without subtracting the first row, a large mean would cancel a small variance.
extern "C" __global__ __launch_bounds__(THREADS, BLOCKS) void statistics(const T *x, float *partial, long rows, int channels) {
  __shared__ float shared[WIDTH * THREADS];
  const long vectors = channels / WIDTH;
  float first[WIDTH], v[WIDTH], sum[WIDTH] = {0}, square[WIDTH] = {0};
  load(x, VECTOR, first);
  EACH_ROW(row, "unroll 4") {
    load(x, row * vectors + VECTOR, v);
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) {
      const float distance = v[i] - first[i];
      sum[i] += distance;
      square[i] += distance * distance;
    }
  }
  fold(sum, shared, partial, channels);
  fold(square, shared, partial + gridDim.y * (long)channels, channels);
}

// Computes mean, inverse deviation and `line` [2, channels] (scale and offset of x) from them;
// updates the running statistics.
extern "C" __global__ void statistics_end(const float *partial, const T *x, const float *weight, const float *bias, float *running_mean,
                                          float *running_var, float *mean, float *inverse, float *line, int chunks, int channels, float rows,
                                          float momentum, float eps) {
  __shared__ float shared[THREADS];
  const float sum = total(partial, chunks, channels, shared), square = total(partial + chunks * (long)channels, chunks, channels, shared);
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.y != 0 || c >= channels) return;
  const float off = sum / rows, left = square / rows - off * off, variance = left < 0 ? 0 : left;
  mean[c] = one(x, c) + off;
  inverse[c] = 1 / sqrtf(variance + eps);
  line[c] = inverse[c] * weight[c];
  line[channels + c] = bias[c] - mean[c] * line[c];
  running_mean[c] = momentum * mean[c] + (1 - momentum) * running_mean[c];
  running_var[c] = momentum * (variance * (rows / (rows - 1))) + (1 - momentum) * running_var[c];
}

// y = scale x + offset (+ shortcut), at least `least`; NaN stays NaN.
extern "C" __global__ __launch_bounds__(THREADS, BLOCKS) void stretch(const T *x, const T *shortcut, T *y, const float *line, long rows, int channels, float least) {
  const long vectors = channels / WIDTH;
  float scale[WIDTH], offset[WIDTH], v[WIDTH], added[WIDTH];
  channel(line, VECTOR, scale);
  channel(line + channels, VECTOR, offset);
  EACH_ROW(row, "unroll 4") {
    const long at = row * vectors + VECTOR;
    load(x, at, v);
    if (shortcut) load(shortcut, at, added);
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) {
      const float z = v[i] * scale[i] + offset[i] + (shortcut ? added[i] : 0);
      v[i] = z < least ? least : z;
    }
    store(y, at, v);
  }
}

// Sums of the gradient that passes the ReLU, and of its product with x - mean: `partial` [2,
// chunks, channels]. The gradient passes where the output `y` is above `least`; without a shortcut
// (y null) this is computed from x. `passed` receives that gradient, if wanted.
extern "C" __global__ __launch_bounds__(THREADS, BLOCKS) void sums(const T *x, const T *y, const T *dy, T *passed, const float *mean, const float *line, float *partial, long rows,
                                int channels, float least) {
  __shared__ float shared[WIDTH * THREADS];
  const long vectors = channels / WIDTH;
  float scale[WIDTH], offset[WIDTH], means[WIDTH], v[WIDTH], came[WIDTH], g[WIDTH], sum[WIDTH] = {0}, product[WIDTH] = {0};
  channel(line, VECTOR, scale);
  channel(line + channels, VECTOR, offset);
  channel(mean, VECTOR, means);
  EACH_ROW(row, "unroll 2") {
    const long at = row * vectors + VECTOR;
    load(x, at, v);
    load(dy, at, g);
    if (y) load(y, at, came);
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) {
      const float out = y ? came[i] : v[i] * scale[i] + offset[i];
      g[i] = out <= least ? 0 : g[i];
      sum[i] += g[i];
      product[i] += g[i] * (v[i] - means[i]);
    }
    if (passed) store(passed, at, g);
  }
  fold(sum, shared, partial, channels);
  fold(product, shared, partial + gridDim.y * (long)channels, channels);
}

// Gradients of weight and bias from these sums, and `factors` [3, channels] for `spread`.
extern "C" __global__ void sums_end(const float *partial, const float *weight, const float *inverse, float *dweight, float *dbias, float *factors,
                                    int chunks, int channels, float rows) {
  __shared__ float shared[THREADS];
  const float sum = total(partial, chunks, channels, shared), product = total(partial + chunks * (long)channels, chunks, channels, shared);
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.y != 0 || c >= channels) return;
  const float a = weight[c] * inverse[c];
  factors[c] = a;
  factors[channels + c] = -a * inverse[c] * inverse[c] * product / rows;
  factors[2 * channels + c] = -a * sum / rows;
  dweight[c] = product * inverse[c];
  dbias[c] = sum;
}

// dx = a dz + b (x - mean) + c, where dz is the gradient that passes the ReLU: dy where x allows
// it.
extern "C" __global__ __launch_bounds__(THREADS, BLOCKS) void spread(const T *x, const T *dy, T *dx, const float *mean, const float *line, const float *factors, long rows,
                                  int channels, float least) {
  const long vectors = channels / WIDTH;
  float scale[WIDTH], offset[WIDTH], means[WIDTH], a[WIDTH], b[WIDTH], constant[WIDTH], v[WIDTH], g[WIDTH];
  channel(line, VECTOR, scale);
  channel(line + channels, VECTOR, offset);
  channel(mean, VECTOR, means);
  channel(factors, VECTOR, a);
  channel(factors + channels, VECTOR, b);
  channel(factors + 2 * channels, VECTOR, constant);
  EACH_ROW(row, "unroll 2") {
    const long at = row * vectors + VECTOR;
    load(x, at, v);
    load(dy, at, g);
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) {
      const float dz = v[i] * scale[i] + offset[i] <= least ? 0 : g[i];
      v[i] = a[i] * dz + b[i] * (v[i] - means[i]) + constant[i];
    }
    store(dx, at, v);
  }
}

// The work of a thread of the pooling kernels: one vector of the smaller image, at `small`, and the
// four of the larger from `large` on.
#define POOLED(small, large)                                                                                                                 \
  const long small = blockIdx.x * (long)THREADS + threadIdx.x;                                                                               \
  if (small >= count) return;                                                                                                                \
  const long pixel = small / vectors, row = pixel / columns, large = (row * 4 * columns + pixel % columns * 2) * vectors + small % vectors;

// Means of squares of two by two pixels; writes `count` vectors, in rows of `columns` pixels of
// `vectors` vectors.
extern "C" __global__ void halve(const T *x, T *y, long count, long columns, long vectors) {
  POOLED(small, large)
  float sum[WIDTH] = {0}, v[WIDTH];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    load(x, large + (i / 2 * 2 * columns + i % 2) * vectors, v);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) sum[k] += v[k];
  }
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) sum[k] *= 0.25f;
  store(y, small, sum);
}

// The backward pass of `halve`.
extern "C" __global__ void halve_back(const T *dy, T *dx, long count, long columns, long vectors) {
  POOLED(small, large)
  float v[WIDTH];
  load(dy, small, v);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) v[k] *= 0.25f;
#pragma unroll
  for (int i = 0; i < 4; ++i) store(dx, large + (i / 2 * 2 * columns + i % 2) * vectors, v);
}
