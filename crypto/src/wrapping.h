// What the implementations of Kms have in common: additional data and errors.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella::crypto {

// Binds a wrapped key to its key id and to what it is for. No key id holds a zero byte.
inline std::string wrapping_aad(std::string_view key_id, std::string_view context) {
  std::string out("stella/wrap/v1\0", 15);
  return out.append(key_id).append(1, '\0').append(context);
}

inline constexpr Literal kDoesNotOpen{"the wrapped key does not open: another key, another context, or damage"};

inline Error unknown_wrapping_key(std::string_view key_id) {
  return Error(base_errors::kNotFound, "no such wrapping key").with("key", std::string(key_id));
}
inline Error destroyed_wrapping_key(ErrorCode code, std::string_view key_id) {
  return Error(code, "this wrapping key was destroyed: what it encrypted is gone for good").with("reason", "destroyed").with("key", std::string(key_id));
}
inline Error not_a_data_key() { return Error(base_errors::kInvalid, "not a data key").with("field", "data_key").with("expected", "32 bytes"); }

}  // namespace stella::crypto
