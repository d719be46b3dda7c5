// libFuzzer entry: any bytes as gzip, as the tar of a bundle, and as a whole bundle; the bytes are also packed into a good gzip, so that
// the tar and bundle readers behind it are reached.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/tar.h"

namespace {

using namespace stella::evidence;

constexpr TarLimits kLimits{.max_total_bytes = 4 << 20, .max_entry_bytes = 1 << 20, .max_entries = 1000};

void inflate(std::string_view bytes) {
  StringSource in(bytes);
  GunzipSource gunzip(in, 1 << 20);
  char buffer[4096];
  std::uint64_t total = 0;
  while (true) {
    const auto n = gunzip.read(buffer, sizeof buffer);
    if (!n || *n == 0) break;
    total += *n;
  }
  if (total > (1u << 20)) std::abort();
}

void untar(std::string_view bytes) {
  StringSource in(bytes);
  TarReader tar(in, kLimits);
  while (true) {
    const auto entry = tar.next();
    if (!entry || !*entry) return;
    if (!is_archive_path((*entry)->path)) std::abort();
    std::uint64_t got = 0;
    while (true) {
      const auto piece = tar.read();
      if (!piece) return;
      if (piece->empty()) break;
      got += piece->size();
    }
    if (got != (*entry)->size) std::abort();
  }
}

void verify(std::string_view bytes) {
  StringSource in(bytes);
  VerifyOptions options;
  options.limits = kLimits;
  (void)verify_bundle(in, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  inflate(bytes);
  untar(bytes);
  verify(bytes);
  StringSink packed;
  GzipSink gzip(packed);
  if (!gzip.write(bytes) || !gzip.finish()) std::abort();
  verify(packed.text);
  return 0;
}
