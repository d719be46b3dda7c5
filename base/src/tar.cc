// Tar for uploads: a bounded reader over memory and the matching writer (POSIX.1-2001 ustar and pax, GNU 'L').
#include "stella/base/tar.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "stella/base/encoding.h"

namespace stella {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMaxExtensionBytes = 64u << 10;

Error malformed(Literal message, std::size_t offset) { return Error(base_errors::kMalformed, message).with("offset", offset); }

std::string_view text_field(std::string_view block, std::size_t at, std::size_t size) {
  const std::string_view field = block.substr(at, size);
  return field.substr(0, field.find('\0'));
}

// Octal digits between blanks or NULs; nullopt-like false for anything else (base-256 numbers exceed what we accept anyway).
bool octal_field(std::string_view block, std::size_t at, std::size_t size, std::uint64_t& out) {
  std::string_view field = text_field(block, at, size);
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  out = 0;
  if (field.empty()) return true;
  const auto r = std::from_chars(field.data(), field.data() + field.size(), out, 8);
  return r.ec == std::errc() && r.ptr == field.data() + field.size();
}

bool checksum_matches(std::string_view block) {
  std::uint64_t stated = 0;
  if (!octal_field(block, 148, 8, stated)) return false;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<std::uint8_t>(block[i]);
  return sum == stated;
}

// "<length> <key>=<value>\n" records; the value of `path` where there is one.
bool pax_path(std::string_view records, std::string& path) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto r = std::from_chars(records.data(), records.data() + records.size(), length);
    if (r.ec != std::errc() || length > records.size() || length < 5) return false;
    const std::string_view record = records.substr(0, length);
    const std::size_t space = record.find(' ');
    const std::size_t equals = record.find('=');
    if (record.back() != '\n' || space == std::string_view::npos || equals == std::string_view::npos || equals < space) return false;
    if (record.substr(space + 1, equals - space - 1) == "path") path = record.substr(equals + 1, record.size() - equals - 2);
    records.remove_prefix(length);
  }
  return true;
}

bool acceptable_path(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.size() > 4096 || path.find('\0') != std::string_view::npos || !is_utf8(path)) return false;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, slash - at);
    if (segment.empty() || segment == "." || segment == "..") return false;
    at = slash + 1;
  }
  return true;
}

void append_header(std::string& out, std::string_view name, std::uint64_t size, char type) {
  char block[kBlock] = {};
  std::memcpy(block, name.data(), std::min<std::size_t>(name.size(), 100));
  std::memcpy(block + 100, "0000644", 8);
  std::memcpy(block + 108, "0000000", 8);
  std::memcpy(block + 116, "0000000", 8);
  char digits[24];
  const auto r = std::to_chars(digits, digits + sizeof digits, size, 8);
  const auto n = static_cast<std::size_t>(r.ptr - digits);
  std::memset(block + 124, '0', 11);
  std::memcpy(block + 124 + 11 - n, digits, n);
  std::memset(block + 136, '0', 11);
  std::memset(block + 148, ' ', 8);
  block[156] = type;
  std::memcpy(block + 257, "ustar", 6);
  std::memcpy(block + 263, "00", 2);
  std::uint64_t sum = 0;
  for (const char c : block) sum += static_cast<std::uint8_t>(c);
  for (int i = 5; i >= 0; --i, sum >>= 3) block[148 + i] = static_cast<char>('0' + (sum & 7));
  block[154] = '\0';
  out.append(block, kBlock);
}

void append_padded(std::string& out, std::string_view bytes) {
  out.append(bytes);
  out.append((kBlock - bytes.size() % kBlock) % kBlock, '\0');
}

}  // namespace

Result<std::vector<TarFile>> read_tar(std::string_view archive, const TarReadLimits& limits) {
  std::vector<TarFile> out;
  std::string long_path;
  std::size_t at = 0;
  for (;;) {
    if (archive.size() - at < kBlock) return malformed("the tar archive is truncated", at);
    const std::string_view block = archive.substr(at, kBlock);
    if (std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; })) return out;
    if (!checksum_matches(block)) return malformed("not a tar archive, or damaged: a header's checksum is wrong", at);
    std::uint64_t size = 0;
    if (!octal_field(block, 124, 12, size)) return malformed("a tar header has no readable size", at);
    const std::size_t start = at + kBlock;
    if (size > archive.size() - start) return malformed("the tar archive is truncated", at);
    const std::string_view bytes = archive.substr(start, size);
    const char type = block[156];
    if (type == 'L' || type == 'x' || type == 'g') {
      if (size > kMaxExtensionBytes) return malformed("a tar extension header is too large", at);
      if (type == 'L') long_path = bytes.substr(0, bytes.find('\0'));
      if (type == 'x' && !pax_path(bytes, long_path)) return malformed("a pax header is malformed", at);
    } else if (type == '0' || type == '\0') {
      std::string path = std::exchange(long_path, {});
      if (path.empty()) {
        const std::string_view prefix = text_field(block, 345, 155);
        if (block.substr(257, 5) == "ustar" && !prefix.empty() && block[262] == '\0') path.append(prefix).append("/");
        path.append(text_field(block, 0, 100));
      }
      while (path.rfind("./", 0) == 0) path.erase(0, 2);
      if (!acceptable_path(path)) return malformed("a tar entry has a path that is not acceptable", at);
      if (size > limits.max_file_bytes) return Error(base_errors::kLimit, "a file in the archive is too large").with("limit", limits.max_file_bytes).with("actual", size);
      if (out.size() == limits.max_files) return Error(base_errors::kLimit, "too many files in the archive").with("limit", limits.max_files);
      out.push_back({std::move(path), bytes});
    } else if (type == '5') {
      long_path.clear();
    } else {
      return malformed("a tar entry is neither file nor directory", at);
    }
    const std::uint64_t padded = (size + kBlock - 1) / kBlock * kBlock;
    if (padded > archive.size() - start) return malformed("the tar archive is truncated", at);
    at = start + padded;
  }
}

void append_tar(std::string& archive, std::string_view path, std::string_view bytes) {
  if (path.size() > 100) {
    const std::string tail = " path=" + std::string(path) + "\n";
    std::size_t length = tail.size() + 1;
    while (std::to_string(length).size() + tail.size() != length) length = std::to_string(length).size() + tail.size();
    const std::string record = std::to_string(length) + tail;
    append_header(archive, "pax", record.size(), 'x');
    append_padded(archive, record);
  }
  append_header(archive, path, bytes.size(), '0');
  append_padded(archive, bytes);
}

void append_tar_end(std::string& archive) { archive.append(2 * kBlock, '\0'); }

}  // namespace stella
