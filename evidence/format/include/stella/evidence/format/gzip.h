// One gzip member, streamed: no name, no time stamp. Browsers refuse several members, so the reader does too.
#pragma once

#include <cstdint>
#include <memory>

#include "stella/evidence/format/stream.h"

namespace stella::evidence {

// Compresses into `out` (ISA-L level 1). The bytes may differ between processors: digests never cover them.
class GzipSink final : public ByteSink {
 public:
  explicit GzipSink(ByteSink& out);
  ~GzipSink() override;
  Result<void> write(std::string_view bytes) override;
  // Flushes and writes the trailer. Exactly once, at the end.
  Result<void> finish();

 private:
  Result<void> deflate(std::string_view bytes, bool last);
  struct State;
  std::unique_ptr<State> state_;
  ByteSink& out_;
};

// Decompresses `in`. kMalformed for anything but exactly one whole member (checksum and length are checked);
// kLimit where it inflates to more than `max_bytes`.
class GunzipSource final : public ByteSource {
 public:
  GunzipSource(ByteSource& in, std::uint64_t max_bytes);
  ~GunzipSource() override;
  Result<std::size_t> read(char* out, std::size_t size) override;

 private:
  Result<void> expect_end();
  struct State;
  std::unique_ptr<State> state_;
  ByteSource& in_;
  std::uint64_t left_;
  std::uint64_t max_bytes_;
};

}  // namespace stella::evidence
