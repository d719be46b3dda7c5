// Where a request body goes while it arrives: content decoding in bounded steps, limits on both sides, memory first and then a file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "stella/base/file.h"
#include "stella/base/result.h"

namespace stella::http {

struct BodySinkOptions {
  bool compressed = false;           // gzip (also several members) or zlib
  std::uint64_t max_bytes = 0;       // after decoding
  std::size_t memory_bytes = 1 << 20;
  std::string temp_dir = "/tmp";
};

// One body. Not thread-safe. Errors: kLimit over max_bytes (or over what compressed bytes may sensibly take), kMalformed for broken or
// truncated compressed data, kIo where the temporary file cannot be written.
class BodySink {
 public:
  explicit BodySink(BodySinkOptions options);
  ~BodySink();
  // Hands over the next bytes as they came; they must stay alive until step() returned false. One piece at a time.
  Result<void> feed(std::string_view bytes);
  // Decodes at most one output buffer of what was fed; true while some of it is left. The caller yields between steps.
  Result<bool> step();
  // After the last byte: checks that compressed data was complete and puts the file at its start.
  Result<void> finish();

  std::uint64_t size() const { return size_; }
  std::string take_text() { return std::move(text_); }
  Fd take_file() { return std::move(file_); }

 private:
  struct Inflater;
  Result<void> store(std::string_view bytes);

  BodySinkOptions options_;
  std::unique_ptr<Inflater> inflater_;
  std::string_view input_;
  std::uint64_t wire_bytes_ = 0;
  std::uint64_t size_ = 0;
  std::string text_;
  Fd file_;
};

}  // namespace stella::http
