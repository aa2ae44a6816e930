// The build configuration of the libtorch that this process runs with.

#include <ATen/Version.h>

#include <cstring>

#include "error.h"

extern "C" char *gauntlet_show_config(char **text) {
  return message_of([&] { *text = strdup(at::show_config().c_str()); });
}
