// Reads tar archives of any common flavour without copying content (POSIX.1-2001 pax, GNU long names, old ustar).
#include "stella/pipeline/jobs/batch.h"

#include <algorithm>
#include <optional>

#include "stella/base/encoding.h"

namespace stella::pipeline {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kExtensionBytes = 64 * 1024;
constexpr std::size_t kPathBytes = 1024;

Error malformed(std::size_t offset, std::string expected) {
  return Error(base_errors::kMalformed, "not a tar archive that we accept").with("offset", static_cast<std::uint64_t>(offset)).with("expected", std::move(expected));
}

std::string_view text_field(std::string_view block, std::size_t at, std::size_t size) {
  const auto field = block.substr(at, size);
  return field.substr(0, std::min(field.find('\0'), field.size()));
}

// Octal with blanks or NULs around it, or GNU's base 256 (first bit set).
std::optional<std::uint64_t> number_field(std::string_view block, std::size_t at, std::size_t size) {
  auto field = block.substr(at, size);
  if (static_cast<unsigned char>(field[0]) == 0x80) {
    std::uint64_t value = 0;
    for (const char c : field.substr(1)) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(c);
    }
    return value;
  }
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  std::uint64_t value = 0;
  std::size_t i = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) value = value << 3 | static_cast<std::uint64_t>(field[i] - '0');
  for (std::size_t rest = i; rest < field.size(); ++rest) {
    if (field[rest] != ' ' && field[rest] != '\0') return std::nullopt;
  }
  return value;
}

bool checksum_holds(std::string_view block) {
  std::uint64_t sum = 8 * ' ';
  for (std::size_t i = 0; i < kBlock; ++i) {
    if (i < 148 || i >= 156) sum += static_cast<unsigned char>(block[i]);
  }
  return number_field(block, 148, 8) == sum;
}

// What extension headers say about the next file.
struct Extension {
  std::optional<std::string> path;
  std::optional<std::uint64_t> size;
};

// pax records: "<length> <key>=<value>\n".
Result<void> read_pax(std::string_view records, std::size_t offset, Extension& out) {
  while (!records.empty() && records.front() != '\0') {
    std::size_t length = 0;
    std::size_t i = 0;
    for (; i < records.size() && i < 6 && records[i] >= '0' && records[i] <= '9'; ++i) length = length * 10 + static_cast<std::size_t>(records[i] - '0');
    if (i == 0 || i >= records.size() || records[i] != ' ' || length <= i + 2 || length > records.size() || records[length - 1] != '\n') return malformed(offset, "a pax record");
    const auto record = records.substr(i + 1, length - i - 2);
    const auto equals = record.find('=');
    if (equals == std::string_view::npos) return malformed(offset, "a pax record");
    const auto key = record.substr(0, equals);
    const auto value = record.substr(equals + 1);
    if (key == "path") out.path = std::string(value);
    if (key.starts_with("GNU.sparse")) return malformed(offset, "no sparse files");
    if (key == "size") {
      std::uint64_t size = 0;
      for (const char c : value) {
        if (c < '0' || c > '9' || size > (1ull << 50)) return malformed(offset, "a size");
        size = size * 10 + static_cast<std::uint64_t>(c - '0');
      }
      out.size = size;
    }
    records.remove_prefix(length);
  }
  return {};
}

Result<std::string> path_of(std::string_view block, Extension& extension, std::size_t offset) {
  std::string path;
  if (extension.path) {
    path = std::move(*extension.path);
  } else {
    const auto prefix = block.substr(257, 5) == "ustar" && block[262] == '\0' ? text_field(block, 345, 155) : std::string_view();
    path = (prefix.empty() ? "" : std::string(prefix) + "/") + std::string(text_field(block, 0, 100));
  }
  if (path.empty() || path.size() > kPathBytes || path.find('\0') != std::string::npos || !is_utf8(path)) return malformed(offset, "a path in UTF-8 of at most 1024 bytes");
  return path;
}

}  // namespace

Result<std::vector<BatchDocument>> read_batch(std::string_view tar, const BatchLimits& limits) {
  if (tar.size() > limits.max_bytes) return Error(base_errors::kLimit, "batch is too large").with("limit", limits.max_bytes).with("actual", static_cast<std::uint64_t>(tar.size()));
  std::vector<BatchDocument> out;
  Extension extension;
  std::size_t at = 0;
  for (;;) {
    if (tar.size() - at < kBlock) return malformed(at, "a header or the end marker");
    const auto block = tar.substr(at, kBlock);
    if (block.find_first_not_of('\0') == std::string_view::npos) return out;  // what follows the first empty block is padding
    if (!checksum_holds(block)) return malformed(at, "a header with a good checksum");
    auto size = number_field(block, 124, 12);
    if (!size) return malformed(at, "a size");
    const char type = block[156];
    const bool is_extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    if (!is_extension && extension.size) size = extension.size;
    const std::size_t begin = at + kBlock;
    if (*size > tar.size() - begin) return malformed(at, "as many bytes as the header says");
    const auto content = tar.substr(begin, static_cast<std::size_t>(*size));
    if (is_extension) {
      if (content.size() > kExtensionBytes) return malformed(at, "an extension of at most 64 KiB");
      if (type == 'x') STELLA_TRY_VOID(read_pax(content, at, extension));
      if (type == 'L') extension.path = std::string(content.substr(0, std::min(content.find('\0'), content.size())));
    } else if (type == '0' || type == '\0' || type == '7') {
      auto path = STELLA_TRY(path_of(block, extension, at));
      if (out.size() == limits.max_documents) return Error(base_errors::kLimit, "batch holds too many documents").with("limit", static_cast<std::uint64_t>(limits.max_documents));
      if (path.back() != '/') out.push_back({std::move(path), content});
      extension = {};
    } else if (type == '5') {
      extension = {};
    } else {
      return malformed(at, "regular files and directories");
    }
    const std::size_t padded = (static_cast<std::size_t>(*size) + kBlock - 1) / kBlock * kBlock;
    if (padded > tar.size() - begin) return malformed(at, "padding after the last file");
    at = begin + padded;
  }
}

}  // namespace stella::pipeline
