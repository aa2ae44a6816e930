// Passes a C++ exception to Rust: as a message that Rust frees, or nullptr on success.
#pragma once

#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

template <typename Body> char *message_of(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception of unknown type");
  }
}
