// What the implementations of Kms have in common: additional data and errors.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/crypto/kms.h"

namespace stella::crypto {

// Binds a wrapped key to its key id and to what it is for. No key id holds a zero byte.
inline std::string wrapping_aad(std::string_view key_id, std::string_view context) {
  std::string out("stella/wrap/v1\0", 15);
  return out.append(key_id).append(1, '\0').append(context);
}

inline Error unknown_wrapping_key(std::string_view key_id) {
  return Error(base_errors::kNotFound, "no such wrapping key").with("key", std::string(key_id));
}
inline Error destroyed_wrapping_key(ErrorCode code, std::string_view key_id) {
  return Error(code, "this wrapping key was destroyed: what it encrypted is gone for good").with("reason", "destroyed").with("key", std::string(key_id));
}
// What the key store says of itself (a damaged file, a PIN that is refused, another store in its place) as what it means to whoever asked for a
// key: the store cannot be used now. Under the code it had, it would be a verdict about the wrapped key.
inline Error key_store_away(const Error& why) {
  if (why.code() == base_errors::kIo) return why;
  Error out(base_errors::kIo, "the key store cannot be used");
  for (const auto& [name, value] : {std::pair{Literal("token"), why.field("token")}, {Literal("reason"), why.field("reason")}, {Literal("path"), why.field("path")}, {Literal("key"), why.field("key")}})
    if (!value.empty()) out.add(name, std::string(value));
  out.add("cause", std::string(why.message()));
  return out;
}
inline Error not_a_data_key() { return Error(base_errors::kInvalid, "not a data key").with("field", "data_key").with("expected", "32 bytes"); }

}  // namespace stella::crypto
