// Reading and writing the tar archives in which many documents travel as one upload. Bundles have a stricter format of their own
// (evidence/format); this one accepts what people's `tar` writes: ustar, GNU long names, pax paths. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"

namespace stella {

struct TarFile {
  std::string path;        // relative, valid UTF-8, no empty, "." or ".." segment; a leading "./" is dropped
  std::string_view bytes;  // into the archive
};

struct TarReadLimits {
  std::size_t max_files = 10'000;
  std::uint64_t max_file_bytes = 64u << 20;
};

// Regular files in archive order; directories are skipped. kMalformed with `offset` for links, devices, bad checksums, truncation and paths
// that leave the archive; kLimit beyond the limits.
Result<std::vector<TarFile>> read_tar(std::string_view archive, const TarReadLimits& limits = {});

// Appends one regular file (mode 0644, no owner, time 0); long paths as pax records. Call append_tar_end once.
void append_tar(std::string& archive, std::string_view path, std::string_view bytes);
void append_tar_end(std::string& archive);

}  // namespace stella
