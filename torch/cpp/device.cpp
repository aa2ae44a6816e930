// CUDA functions that tch does not bind, as far as libtorch's CPU part has them: the allocator's
// counters, the TF32 setting, and pinned memory.

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "error.h"

// The maximum number of bytes that tensors held at once on a CUDA device since the start or the
// last reset.
extern "C" char *gauntlet_peak_device_memory(int8_t device, int64_t *bytes) {
  return message_of([&] {
    using c10::CachingAllocator::StatType;
    auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(device);
    *bytes = stats.allocated_bytes[static_cast<size_t>(StatType::AGGREGATE)].peak;
  });
}

extern "C" char *gauntlet_reset_peak_device_memory(int8_t device) {
  return message_of([&] { c10::getDeviceAllocator(at::kCUDA)->resetPeakStats(device); });
}

extern "C" char *gauntlet_set_tf32(bool allowed) {
  return message_of([&] {
    at::globalContext().setAllowTF32CuBLAS(allowed);
    at::globalContext().setAllowTF32CuDNN(allowed);
  });
}

extern "C" char *gauntlet_get_tf32(bool *allowed) {
  return message_of([&] { *allowed = at::globalContext().allowTF32CuBLAS() || at::globalContext().allowTF32CuDNN(); });
}

// tch's version passes the device, which makes libtorch warn in every call.
extern "C" char *gauntlet_pin_memory(const at::Tensor *tensor, at::Tensor **pinned) {
  return message_of([&] { *pinned = new at::Tensor(tensor->pin_memory()); });
}
