// Where records of WARN and above go while their thread's ring is full: an append-only file of checksummed frames, drained in order.
//
//   head   "STLSPIL1" | u64 place up to which frames are released | u64 place up to which they are written as lines
//   frame  magic u32 | size u32 | CRC-32C of the record u32 | ring u32 | record (its own sequence inside)
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"

namespace stella::telemetry {

class Spill {
 public:
  // `path` is made with the first record.
  Spill(std::string path, std::uint64_t max_bytes) : path_(std::move(path)), max_bytes_(max_bytes) {}

  // Any thread. The frame's number, from 1; 0: not kept (over the bound and not `always`, or the disk refuses).
  std::uint64_t append(std::string_view record, std::uint64_t sequence, std::uint32_t ring, bool always) noexcept;

  // Frames that the reader has. A thread that spilled stays with the spill until its frame is among them, so that its records keep their order.
  std::uint64_t taken() const noexcept { return taken_.load(std::memory_order_acquire); }

  // The reader. Place behind the last frame.
  std::uint64_t written();
  struct Frame {
    std::string record;
    std::uint32_t ring = 0;
    bool written = false;   // as a line, by the process that is gone: recover()
    std::uint64_t end = 0;  // the place behind it: recover()
  };
  // Frames from the reader's place up to `end`, at most about `max_bytes` of them; `broken` counts what does not check.
  std::vector<Frame> read(std::uint64_t end, std::size_t max_bytes, std::uint64_t& broken);
  // Up to where the reader has come.
  std::uint64_t place() const { return read_; }
  // What was read is written as lines. A process that is killed now has it in its spill still, until release().
  void done();
  // What was read is safe elsewhere, too: it will not be read again, and an empty spill shrinks to its head.
  void release();

  // The frames of a dead process's file that it had not released, in order; what does not check is counted and skipped.
  static std::vector<Frame> recover(const std::string& path, std::uint64_t& broken, bool& unread);
  // In such a file: up to where its frames are written as lines, and, where given, released.
  static void note_recovered(const std::string& path, std::optional<std::uint64_t> released, std::uint64_t written) noexcept;

 private:
  static constexpr std::uint64_t kHead = 24;
  bool begin() noexcept STELLA_REQUIRES(mutex_);
  void note(std::uint64_t released, std::uint64_t done) noexcept STELLA_REQUIRES(mutex_);

  const std::string path_;
  const std::uint64_t max_bytes_;
  Mutex mutex_;
  Fd file_ STELLA_GUARDED_BY(mutex_);
  std::uint64_t size_ STELLA_GUARDED_BY(mutex_) = kHead;
  std::uint64_t appended_ STELLA_GUARDED_BY(mutex_) = 0;
  std::atomic<std::uint64_t> taken_{0};
  std::uint64_t read_ = kHead, released_ = kHead;  // reader
};

}  // namespace stella::telemetry
