// Masks secrets and e-mail addresses in text. The library does it with every text value by itself; this is for telemetry that others
// made (children, OTLP senders), before it is kept.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/json.h"

namespace stella::telemetry {

// A copy of `text` in which tokens, keys, passwords, URL credentials and e-mail addresses are replaced by `[kind:fingerprint]`.
// Invalid UTF-8 becomes U+FFFD. Linear in the text. Thread-safe.
std::string scrub(std::string_view text);

// The same with every string inside `value`; member names stay.
void scrub_json(json::Value& value);

// `[kind:fingerprint]`; equal values have equal fingerprints within one process.
std::string mask(std::string_view kind, std::string_view value);

// A path as it may be shown: relative ones as they are, all others as <path>/basename.
std::string trim_path(std::string_view path);

}  // namespace stella::telemetry
