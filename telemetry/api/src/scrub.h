// Masks secrets and e-mail addresses in text before it leaves the process.
#pragma once

#include <string>
#include <string_view>

namespace stella::telemetry::detail {

// A copy of `text` in which tokens, keys, passwords, URL credentials and e-mail addresses are replaced by `[kind:fingerprint]`.
// Invalid UTF-8 becomes U+FFFD. Linear in the text. Thread-safe.
std::string scrub(std::string_view text);

// `[kind:fingerprint]`; equal values have equal fingerprints within one process.
std::string mask(std::string_view kind, std::string_view value);

// A path as it may be shown: relative ones as they are, all others as <path>/basename.
std::string trim_path(std::string_view path);

}  // namespace stella::telemetry::detail
