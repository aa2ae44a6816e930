// NVRTC and the driver are those of libtorch's CUDA part, opened by name: this crate is built
// without CUDA, and links nothing of it.

#include "kernels.h"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "kernels_source.h"

namespace {
// As declared in NVIDIA's headers.
using Program = struct _nvrtcProgram *;
using Module = struct CUmod_st *;
using Function = struct CUfunc_st *;
using Context = struct CUctx_st *;

template <typename F> F symbol(const char *library, const char *name) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  TORCH_CHECK(handle, library, " is not loaded");
  void *found = dlsym(handle, name);
  TORCH_CHECK(found, library, " has no ", name);
  return reinterpret_cast<F>(found);
}

constexpr const char *DRIVER = "libcuda.so.1", *NVRTC = "libnvrtc.so.13";

// Looked up once, at the first call.
#define FROM(library, name, ...) static const auto name = symbol<int (*)(__VA_ARGS__)>(library, #name)

void check(int code, const char *what) { TORCH_CHECK(code == 0, "kernels: ", what, " answers ", code); }

std::string folder_of(void *library) {
  link_map *map = nullptr;
  if (!library || dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return "";
  const std::string path = map->l_name;
  return path.substr(0, path.rfind('/') + 1);
}

// Opens NVRTC, by the default search of the loader or as libtorch finds it, and the library that
// NVRTC opens by name only.
void open_nvrtc() {
  const int now = RTLD_NOW | RTLD_GLOBAL;
  if (!dlopen(NVRTC, now)) {
    const std::string torch = folder_of(dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD));
    dlopen((torch + "libcaffe2_nvrtc.so").c_str(), now);
  }
  const std::string nvrtc = folder_of(dlopen(NVRTC, RTLD_NOW | RTLD_NOLOAD));
  dlopen((nvrtc + "libnvrtc-builtins.so.13.0").c_str(), now);
}

// The machine code of the kernels for one number type.
std::string compiled(int major, int minor, bool bf16) {
  open_nvrtc();
  FROM(NVRTC, nvrtcCreateProgram, Program *, const char *, const char *, int, const char *const *, const char *const *);
  FROM(NVRTC, nvrtcCompileProgram, Program, int, const char *const *);
  FROM(NVRTC, nvrtcGetProgramLogSize, Program, size_t *);
  FROM(NVRTC, nvrtcGetProgramLog, Program, char *);
  FROM(NVRTC, nvrtcGetCUBINSize, Program, size_t *);
  FROM(NVRTC, nvrtcGetCUBIN, Program, char *);
  FROM(NVRTC, nvrtcDestroyProgram, Program *);
  Program program = nullptr;
  check(nvrtcCreateProgram(&program, KERNELS_SOURCE, "kernels.cu", 0, nullptr, nullptr), "nvrtcCreateProgram");
  const std::string architecture = "--gpu-architecture=sm_" + std::to_string(major) + std::to_string(minor);
  const char *options[] = {architecture.c_str(), "--std=c++17", bf16 ? "--define-macro=BF16" : "--define-macro=F32"};
  if (nvrtcCompileProgram(program, 3, options) != 0) {
    size_t size = 0;
    nvrtcGetProgramLogSize(program, &size);
    std::string log(size, ' ');
    nvrtcGetProgramLog(program, log.data());
    TORCH_CHECK(false, "kernels.cu does not compile: ", log);
  }
  size_t size = 0;
  check(nvrtcGetCUBINSize(program, &size), "nvrtcGetCUBINSize");
  std::string code(size, ' ');
  check(nvrtcGetCUBIN(program, code.data()), "nvrtcGetCUBIN");
  nvrtcDestroyProgram(&program);
  return code;
}

// The kernels on one device, for one number type.
struct Loaded {
  Context context = nullptr;
  Module module = nullptr;
  std::map<std::string, Function> functions;
  int multiprocessors = 0;
};

Loaded load(int device, bool bf16) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  FROM(DRIVER, cuDeviceGet, int *, int);
  FROM(DRIVER, cuDeviceGetAttribute, int *, int, int);
  FROM(DRIVER, cuDevicePrimaryCtxRetain, Context *, int);
  FROM(DRIVER, cuCtxSetCurrent, Context);
  FROM(DRIVER, cuModuleLoadData, Module *, const void *);
  Loaded loaded;
  int number = 0, major = 0, minor = 0;
  check(cuDeviceGet(&number, device), "cuDeviceGet");
  // CU_DEVICE_ATTRIBUTE_ MULTIPROCESSOR_COUNT, COMPUTE_CAPABILITY_MAJOR and _MINOR
  check(cuDeviceGetAttribute(&loaded.multiprocessors, 16, number), "cuDeviceGetAttribute");
  check(cuDeviceGetAttribute(&major, 75, number), "cuDeviceGetAttribute");
  check(cuDeviceGetAttribute(&minor, 76, number), "cuDeviceGetAttribute");
  TORCH_CHECK(major >= 8, "kernels: compute capability ", major, ".", minor, ", and 8.0 has the first conversions to bf16");
  check(cuDevicePrimaryCtxRetain(&loaded.context, number), "cuDevicePrimaryCtxRetain"); // libtorch's own, for as long as the process lives
  check(cuCtxSetCurrent(loaded.context), "cuCtxSetCurrent");
  check(cuModuleLoadData(&loaded.module, compiled(major, minor, bf16).data()), "cuModuleLoadData");
  return loaded;
}

std::mutex mutex;
std::atomic<bool> wanted = false;

// The caller holds the mutex.
Loaded &loaded(int device, bool bf16) {
  static std::map<std::pair<int, bool>, Loaded> all;
  const auto key = std::pair(device, bf16);
  const auto found = all.find(key);
  if (found != all.end()) return found->second;
  return all[key] = load(device, bf16);
}

bool bf16(const at::Tensor &x) { return x.scalar_type() == at::kBFloat16; }
} // namespace

namespace kernels {
bool take(const at::Tensor &x) {
  const bool fits = wanted && x.is_cuda() && (bf16(x) || x.scalar_type() == at::kFloat) && x.dim() == 4 && x.size(1) % 8 == 0 && x.numel() > x.size(1) &&
                    x.is_contiguous(at::MemoryFormat::ChannelsLast);
  // The kernels read 16 bytes at once, and run on the default stream.
  return fits && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 && c10::impl::VirtualGuardImpl(at::kCUDA).getStream(x.device()).id() == 0;
}

Grid grid(const at::Tensor &x) {
  const int64_t vectors = x.size(1) / 8, rows = x.numel() / x.size(1);
  unsigned tile = 1;
  while (tile < 32 && vectors % (2 * tile) == 0) tile *= 2;
  const int64_t tiles = vectors / tile, high = 256 / tile;
  const std::lock_guard<std::mutex> lock(mutex);
  // As many blocks as can run at once (BLOCKS of kernels.cu), if there are enough rows for four per
  // thread.
  const int64_t blocks = 3 * loaded(x.get_device(), bf16(x)).multiprocessors;
  const int64_t chunks = std::max<int64_t>(std::min(blocks / tiles, rows / (4 * high)), 1);
  return {tile, unsigned(tiles), unsigned(chunks)};
}

void launch(const at::Tensor &like, const char *kernel, unsigned blocks_x, unsigned blocks_y, unsigned threads_x, unsigned threads_y,
            std::vector<void *> arguments) {
  FROM(DRIVER, cuCtxSetCurrent, Context);
  FROM(DRIVER, cuModuleGetFunction, Function *, Module, const char *);
  FROM(DRIVER, cuLaunchKernel, Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
  Function function = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    Loaded &kernels = loaded(like.get_device(), bf16(like));
    // The threads of the backward pass start without a context.
    check(cuCtxSetCurrent(kernels.context), "cuCtxSetCurrent");
    Function &known = kernels.functions[kernel];
    if (!known) check(cuModuleGetFunction(&known, kernels.module, kernel), kernel);
    function = known;
  }
  check(cuLaunchKernel(function, blocks_x, blocks_y, 1, threads_x, threads_y, 1, 0, nullptr, arguments.data(), nullptr), kernel);
}
} // namespace kernels

extern "C" void gauntlet_use_kernels(bool use) { wanted = use; }

extern "C" bool gauntlet_uses_kernels() { return wanted; }
