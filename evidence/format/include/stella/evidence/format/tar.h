// Deterministic tar (POSIX ustar): a writer that can make only one archive from the same files, and a reader that accepts nothing surprising.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "stella/base/limits.h"
#include "stella/evidence/format/stream.h"

namespace stella::evidence {

inline constexpr std::size_t kMaxPathBytes = 200;

// A path that archives of ours may contain: [A-Za-z0-9._/-], relative, no empty, "." or ".." segment, no segment that begins with '-',
// at most kMaxPathBytes, and fit for ustar (a last segment of at most 100 bytes).
bool is_archive_path(std::string_view path);

// Writes regular files: mode 0644, uid and gid 0, no names, time 0. Paths must come in ascending byte order.
class TarWriter {
 public:
  explicit TarWriter(ByteSink& out) : out_(out) {}
  // kInvalid for a path out of order or not acceptable.
  Result<void> begin(std::string_view path, std::uint64_t size);
  // Content of the file begun last: exactly `size` bytes in all.
  Result<void> write(std::string_view bytes);
  Result<void> add(std::string_view path, std::string_view bytes);
  // The end marker. Exactly once.
  Result<void> finish();

 private:
  Result<void> end_entry();
  ByteSink& out_;
  std::string last_path_;
  std::uint64_t left_ = 0;
  std::size_t padding_ = 0;
  bool first_ = true;
};

struct TarLimits {
  std::uint64_t max_total_bytes = limits::kBundleBytes;
  std::uint64_t max_entry_bytes = 32ull << 30;
  std::size_t max_entries = 1'000'000;
};

struct TarEntry {
  std::string path;
  std::uint64_t size = 0;
};

// Regular files only, in any order; refuses (kMalformed with `path` where known) links, directories, devices, extensions, other names than
// is_archive_path allows, duplicates (also by letter case), bad checksums, truncation, and bytes behind the end marker.
class TarReader {
 public:
  explicit TarReader(ByteSource& in, const TarLimits& limits = {});
  ~TarReader();
  // The next file, skipping what is left of the one before; nullopt at the (checked) end.
  Result<std::optional<TarEntry>> next();
  // The next piece of the current file, valid until the next call; empty at its end.
  Result<std::string_view> read();

 private:
  Result<std::string_view> take(std::size_t most, std::size_t least);
  Result<void> check_end();
  Result<TarEntry> parse_header(std::string_view block);
  ByteSource& in_;
  TarLimits limits_;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t left_ = 0;
  std::size_t padding_ = 0;
  std::uint64_t total_ = 0;
  std::unordered_set<std::string> seen_;  // lower-cased
  bool done_ = false;
};

}  // namespace stella::evidence
