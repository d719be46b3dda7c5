// The spellings that C2SP formats share: standard base64, decimal numbers and lines, each with exactly one form. Private to this module.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::timeline {

// RFC 4648 §4 with padding and nothing else: what decodes must encode to the same text again.
Result<std::string> strict_base64(std::string_view text);
// 32 bytes in strict base64: one line of a proof, the root of a checkpoint.
Result<Sha256> hash_line(std::string_view text);
// ASCII decimal without sign, leading zeros or anything after it; nullopt otherwise and beyond `max`.
std::optional<std::uint64_t> decimal(std::string_view text, std::uint64_t max = UINT64_MAX);
// Cuts the first line off `text`, without its newline; nullopt where there is no newline.
std::optional<std::string_view> take_line(std::string_view& text);
// Signed-note rule for key names: not empty, UTF-8, no '+', no control character and no Unicode space.
bool is_key_name(std::string_view name);
// UTF-8 without control characters other than newline.
bool is_note_text(std::string_view text);

}  // namespace stella::timeline
