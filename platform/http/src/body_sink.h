// Where a request body goes while it arrives: content decoding in bounded steps, limits on both sides, memory first and then a file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "body_budget.h"
#include "stella/base/file.h"
#include "stella/base/result.h"

namespace stella::http {

struct BodySinkOptions {
  bool compressed = false;           // gzip (also several members) or zlib
  std::uint64_t max_bytes = 0;       // after decoding
  std::size_t memory_bytes = 1 << 20;
  std::string temp_dir = "/tmp";
  Budget* memory = nullptr;          // of all bodies in memory; what a small request has is not counted
  Budget* disk = nullptr;            // of all bodies in files
  std::uint64_t keep_free = 0;       // bytes of temp_dir's file system that bodies leave alone
};

// One body. Not thread-safe. Errors: kLimit over max_bytes (or over what compressed bytes may sensibly take), kMalformed for broken or
// truncated compressed data, kIo where the temporary file cannot be written or there is no room for it.
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
  // Of the budgets; to be held as long as what was taken.
  Share take_share() { return file_share_.held() ? std::move(file_share_) : std::move(text_share_); }

 private:
  struct Inflater;
  Result<void> store(std::string_view bytes);
  bool room_on_disk();

  BodySinkOptions options_;
  std::unique_ptr<Inflater> inflater_;
  std::string_view input_;
  std::uint64_t wire_bytes_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t covered_ = 0;  // up to here there was room
  std::string text_;
  Fd file_;
  Share text_share_, file_share_;
};

}  // namespace stella::http
