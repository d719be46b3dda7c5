// ustar headers, written and read by hand: the format is 17 fields, and a library would accept far more than we want.
#include "stella/evidence/format/tar.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

namespace stella::evidence {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kBuffer = 256u << 10;
constexpr std::size_t kMaxTrailer = 1u << 20;  // tar pads to its record size; more zeros than this are no padding
constexpr std::uint64_t kOctalLimit = 1ull << 33;

// POSIX.1-1988 ustar.
struct Header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
  char type;
  char link_name[100], magic[6], version[2], user[32], group[32], dev_major[8], dev_minor[8], prefix[155], rest[12];
};
static_assert(sizeof(Header) == kBlock);

// `width` - 1 octal digits and a NUL.
void put_octal(char* out, std::size_t width, std::uint64_t value) {
  out[width - 1] = '\0';
  for (std::size_t i = width - 1; i-- > 0; value >>= 3) out[i] = static_cast<char>('0' + (value & 7));
}

// Octal, or from 8 GiB on base 256 behind a set top bit (understood by GNU, BSD and Python).
void put_size(char (&out)[12], std::uint64_t size) {
  if (size < kOctalLimit) return put_octal(out, sizeof out, size);
  std::memset(out, 0, sizeof out);
  out[0] = '\x80';
  for (std::size_t i = sizeof out; i-- > 4; size >>= 8) out[i] = static_cast<char>(size & 0xff);
}

std::optional<std::uint64_t> get_number(const char* field, std::size_t width) {
  std::uint64_t value = 0;
  if (field[0] == '\x80') {
    for (std::size_t i = 1; i < width; ++i) {
      if (value >> 55 != 0) return std::nullopt;
      value = (value << 8) | static_cast<unsigned char>(field[i]);
    }
    return value;
  }
  std::size_t i = 0;
  for (; i < width && field[i] >= '0' && field[i] <= '7'; ++i) {
    if (value >> 60 != 0) return std::nullopt;
    value = value * 8 + static_cast<std::uint64_t>(field[i] - '0');
  }
  if (i == 0) return std::nullopt;
  for (; i < width; ++i)
    if (field[i] != '\0' && field[i] != ' ') return std::nullopt;
  return value;
}

// Sum of all bytes with the checksum field taken as spaces.
std::uint32_t checksum_of(const Header& h) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(&h);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const bool in_checksum = i >= offsetof(Header, checksum) && i < offsetof(Header, type);
    sum += in_checksum ? ' ' : bytes[i];
  }
  return sum;
}

// Where a path is cut into prefix and name; npos where it cannot be.
std::size_t split_point(std::string_view path) {
  if (path.size() <= sizeof(Header::name)) return 0;
  const std::size_t slash = path.find('/', path.size() - sizeof(Header::name) - 1);
  return slash == std::string_view::npos || slash > sizeof(Header::prefix) ? std::string_view::npos : slash;
}

std::string_view field_text(const char* field, std::size_t width) { return {field, ::strnlen(field, width)}; }

std::size_t padding_for(std::uint64_t size) { return static_cast<std::size_t>((kBlock - size % kBlock) % kBlock); }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

Error bad_tar(std::string expected, std::string_view path = {}) {
  Error error = Error(base_errors::kMalformed, "not an acceptable tar archive").with("expected", std::move(expected));
  if (!path.empty()) error.add("path", std::string(path.substr(0, kMaxPathBytes)));
  return error;
}

}  // namespace

bool is_archive_path(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes || split_point(path) == std::string_view::npos) return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const auto segment = path.substr(begin, end - begin);
    if (segment.empty() || segment == "." || segment == ".." || segment[0] == '-') return false;
    for (const char c : segment) {
      const bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
      if (!ok) return false;
    }
    begin = end + 1;
  }
  return true;
}

Result<void> TarWriter::end_entry() {
  if (left_ != 0) return Error(base_errors::kInternal, "a file of the archive is shorter than announced");
  static constexpr std::array<char, kBlock> kZeros{};
  if (padding_ > 0) STELLA_TRY_VOID(out_.write({kZeros.data(), padding_}));
  padding_ = 0;
  return {};
}

Result<void> TarWriter::begin(std::string_view path, std::uint64_t size) {
  STELLA_TRY_VOID(end_entry());
  if (!is_archive_path(path)) return Error(base_errors::kInvalid, "not a path for an archive").with("path", std::string(path));
  if (!first_ && path <= last_path_) return Error(base_errors::kInvalid, "paths must ascend").with("path", std::string(path));
  Header h{};
  const std::size_t split = split_point(path);
  const auto name = split == 0 ? path : path.substr(split + 1);
  std::memcpy(h.name, name.data(), name.size());
  std::memcpy(h.prefix, path.data(), split);
  put_octal(h.mode, sizeof h.mode, 0644);
  put_octal(h.uid, sizeof h.uid, 0);
  put_octal(h.gid, sizeof h.gid, 0);
  put_size(h.size, size);
  put_octal(h.mtime, sizeof h.mtime, 0);
  h.type = '0';
  std::memcpy(h.magic, "ustar", 6);
  std::memcpy(h.version, "00", 2);
  put_octal(h.checksum, 7, checksum_of(h));
  h.checksum[7] = ' ';
  STELLA_TRY_VOID(out_.write({reinterpret_cast<const char*>(&h), kBlock}));
  last_path_ = path;
  first_ = false;
  left_ = size;
  padding_ = padding_for(size);
  return {};
}

Result<void> TarWriter::write(std::string_view bytes) {
  if (bytes.size() > left_) return Error(base_errors::kInternal, "a file of the archive is longer than announced");
  left_ -= bytes.size();
  return out_.write(bytes);
}

Result<void> TarWriter::add(std::string_view path, std::string_view bytes) {
  STELLA_TRY_VOID(begin(path, bytes.size()));
  return write(bytes);
}

Result<void> TarWriter::finish() {
  STELLA_TRY_VOID(end_entry());
  const std::string end(2 * kBlock, '\0');
  return out_.write(end);
}

TarReader::TarReader(ByteSource& in, const TarLimits& limits) : in_(in), limits_(limits), buffer_(std::make_unique<char[]>(kBuffer)) {}
TarReader::~TarReader() = default;

// Between `least` and `most` bytes of input as a view into the buffer; fewer only at the end of input. Precondition: least ≤ kBuffer.
Result<std::string_view> TarReader::take(std::size_t most, std::size_t least) {
  assert(least <= kBuffer);
  if (end_ - begin_ < least) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    while (end_ < least) {
      const std::size_t n = STELLA_TRY(in_.read(buffer_.get() + end_, kBuffer - end_));
      if (n == 0) break;
      end_ += n;
    }
  }
  const std::size_t n = std::min(most, end_ - begin_);
  const std::string_view out(buffer_.get() + begin_, n);
  begin_ += n;
  return out;
}

Result<TarEntry> TarReader::parse_header(std::string_view block) {
  Header h;
  std::memcpy(&h, block.data(), kBlock);
  const auto checksum = get_number(h.checksum, sizeof h.checksum);
  if (!checksum || *checksum != checksum_of(h)) return bad_tar("a ustar header with its checksum");
  std::string path(field_text(h.prefix, sizeof h.prefix));
  if (!path.empty()) path += '/';
  path += field_text(h.name, sizeof h.name);
  if (std::memcmp(h.magic, "ustar", 6) != 0) return bad_tar("POSIX ustar", path);
  if (h.type != '0' && h.type != '\0') return bad_tar("regular files only", path);
  if (!is_archive_path(path)) return bad_tar("a relative path of [A-Za-z0-9._/-] without '..'", path);
  const auto size = get_number(h.size, sizeof h.size);
  if (!size) return bad_tar("a size", path);
  if (*size > limits_.max_entry_bytes || *size > limits_.max_total_bytes - std::min(total_, limits_.max_total_bytes))
    return Error(base_errors::kLimit, "archive is too large")
        .with("limit", std::min(limits_.max_entry_bytes, limits_.max_total_bytes))
        .with("path", path);
  if (seen_.size() >= limits_.max_entries) return Error(base_errors::kLimit, "archive has too many files").with("limit", limits_.max_entries);
  if (!seen_.insert(lower(path)).second) return bad_tar("each path once, also by letter case", path);
  total_ += *size;
  return TarEntry{.path = std::move(path), .size = *size};
}

// Two zero blocks, then nothing but padding.
Result<void> TarReader::check_end() {
  const auto second = STELLA_TRY(take(kBlock, kBlock));
  if (second.size() != kBlock || second.find_first_not_of('\0') != std::string_view::npos) return bad_tar("two zero blocks at the end");
  std::size_t trailer = 0;
  for (;;) {
    const auto more = STELLA_TRY(take(kBuffer, 1));
    if (more.empty()) return {};
    trailer += more.size();
    if (trailer > kMaxTrailer || more.find_first_not_of('\0') != std::string_view::npos) return bad_tar("nothing behind the end marker");
  }
}

Result<std::optional<TarEntry>> TarReader::next() {
  if (done_) return std::optional<TarEntry>();
  while (left_ > 0) STELLA_TRY_VOID(read());
  const auto padding = STELLA_TRY(take(padding_, padding_));
  if (padding.size() != padding_ || padding.find_first_not_of('\0') != std::string_view::npos) return bad_tar("zero padding");
  padding_ = 0;
  const auto block = STELLA_TRY(take(kBlock, kBlock));
  if (block.size() != kBlock) return bad_tar("an end marker (truncated?)");
  if (block.find_first_not_of('\0') == std::string_view::npos) {
    STELLA_TRY_VOID(check_end());
    done_ = true;
    return std::optional<TarEntry>();
  }
  TarEntry entry = STELLA_TRY(parse_header(block));
  left_ = entry.size;
  padding_ = padding_for(entry.size);
  return std::optional<TarEntry>(std::move(entry));
}

Result<std::string_view> TarReader::read() {
  if (left_ == 0) return std::string_view();
  const auto piece = STELLA_TRY(take(static_cast<std::size_t>(std::min<std::uint64_t>(left_, kBuffer)), 1));
  if (piece.empty()) return bad_tar("more content (truncated?)");
  left_ -= piece.size();
  return piece;
}

}  // namespace stella::evidence
