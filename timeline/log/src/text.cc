// Strict readers of the small pieces that notes, checkpoints, proofs and requests are made of.
#include "text.h"

#include <algorithm>
#include <charconv>

#include "stella/base/encoding.h"

namespace stella::timeline {
namespace {

// White_Space beyond ASCII in UTF-8: U+0085, U+00A0, U+1680, U+2000–200A, U+2028, U+2029, U+202F, U+205F, U+3000.
bool starts_with_wide_space(std::string_view text) {
  if (text.starts_with("\xc2\x85") || text.starts_with("\xc2\xa0") || text.starts_with("\xe1\x9a\x80") || text.starts_with("\xe3\x80\x80") ||
      text.starts_with("\xe2\x81\x9f"))
    return true;
  if (text.size() < 3 || !text.starts_with("\xe2\x80")) return false;
  const auto last = static_cast<unsigned char>(text[2]);
  return (last >= 0x80 && last <= 0x8a) || last == 0xa8 || last == 0xa9 || last == 0xaf;
}

}  // namespace

Result<std::string> strict_base64(std::string_view text) {
  auto bytes = base64_decode(text);
  if (!bytes || base64_encode(*bytes) != text) return Error(base_errors::kMalformed, "not base64").with("expected", "RFC 4648 §4, padded");
  return bytes;
}

Result<Sha256> hash_line(std::string_view text) {
  const std::string bytes = STELLA_TRY(strict_base64(text));
  if (bytes.size() != Sha256::kSize) return Error(base_errors::kMalformed, "not a SHA-256 hash").with("expected", "base64 of 32 bytes");
  return Sha256::from_bytes(bytes);
}

std::optional<std::uint64_t> decimal(std::string_view text, std::uint64_t max) {
  if (text.empty() || (text.size() > 1 && text.front() == '0') || text.front() < '0' || text.front() > '9') return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

std::optional<std::string_view> take_line(std::string_view& text) {
  const auto end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

bool is_key_name(std::string_view name) {
  if (name.empty() || !is_utf8(name)) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    if (c <= 0x20 || c == '+' || starts_with_wide_space(name.substr(i))) return false;
  }
  return true;
}

bool is_note_text(std::string_view text) {
  return is_utf8(text) && std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\n'; });
}

}  // namespace stella::timeline
