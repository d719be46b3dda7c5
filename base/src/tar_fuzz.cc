// libFuzzer entry: any bytes as an uploaded tar; what is read must lie inside the archive under a path that stays inside.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/base/tar.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view archive(reinterpret_cast<const char*>(data), size);
  const auto files = stella::read_tar(archive, {.max_files = 100, .max_file_bytes = 1 << 16});
  if (!files) return 0;
  for (const auto& file : *files) {
    if (file.path.empty() || file.path.front() == '/' || ("/" + file.path + "/").find("/../") != std::string::npos) std::abort();
    if (!file.bytes.empty() && (file.bytes.data() < archive.data() || file.bytes.data() + file.bytes.size() > archive.data() + archive.size())) std::abort();
  }
  return 0;
}
