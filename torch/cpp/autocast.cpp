// Autocast to bfloat16, entered and left as by Python's `torch.autocast`. All of its state belongs
// to the calling thread.

#include <ATen/autocast_mode.h>

#include "error.h"

namespace {
at::DeviceType type_of(bool cuda) { return cuda ? at::kCUDA : at::kCPU; }
} // namespace

// Stores the previous settings in `enabled` and `dtype`, for gauntlet_autocast_leave.
extern "C" char *gauntlet_autocast_enter(bool cuda, bool *enabled, int8_t *dtype) {
  return message_of([&] {
    *enabled = at::autocast::is_autocast_enabled(type_of(cuda));
    *dtype = static_cast<int8_t>(at::autocast::get_autocast_dtype(type_of(cuda)));
    at::autocast::set_autocast_dtype(type_of(cuda), at::kBFloat16);
    at::autocast::set_autocast_enabled(type_of(cuda), true);
    at::autocast::increment_nesting();
  });
}

extern "C" char *gauntlet_autocast_leave(bool cuda, bool enabled, int8_t dtype) {
  return message_of([&] {
    // Clears the cached casts of weights: the next step has other weights, and a cast made without
    // gradient cannot be used with one.
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type_of(cuda), enabled);
    at::autocast::set_autocast_dtype(type_of(cuda), static_cast<at::ScalarType>(dtype));
  });
}
