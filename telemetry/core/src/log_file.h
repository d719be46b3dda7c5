// The log file: appended to by one thread, rotated by size or age, reopened when somebody else moved it, synced once a second.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "log_mark.h"
#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/telemetry/backend.h"

namespace stella::telemetry {

class LogFile {
 public:
  // "" is standard error, which is never rotated. kIo where the file cannot be opened.
  static Result<std::unique_ptr<LogFile>> open(std::string path, RotationOptions rotation);
  ~LogFile();

  // Whole lines, each with its newline; returns how many bytes of them are in the file. After less than all of them the next write begins
  // on a line of its own. A rotation that is due comes first.
  std::size_t write(std::string_view lines, std::int64_t now_ns) noexcept;
  // Any thread, also a signal handler: the file is opened anew before the next write.
  void reopen() noexcept { reopen_.store(true, std::memory_order_relaxed); }
  // One line from any thread, beside the owner: for what comes after the end. Never rotates.
  bool write_late(std::string_view line) noexcept;
  // What the file is called; "" where it has no name (standard error that is a pipe, say).
  std::string name() const;
  // Where the file ends now; nothing where it is none that can be read again.
  std::optional<LogPlace> place() const noexcept;
  // Asks the disk; for the end of the process.
  void sync() noexcept;
  int fd() const { return fd_number_.load(std::memory_order_relaxed); }

 private:
  LogFile(std::string path, RotationOptions rotation) : path_(std::move(path)), rotation_(rotation) {}
  bool open_file() noexcept;
  std::size_t cut(std::string_view lines, std::size_t written) noexcept;
  bool due(std::size_t more, std::int64_t now_ns) const;
  void rotate(std::int64_t now_ns) noexcept;
  void drop_old(std::int64_t now_ns) noexcept;
  void reserve(std::size_t more) noexcept;
  void run_sync();

  const std::string path_;
  const RotationOptions rotation_;
  std::uint64_t size_ = 0, reserved_ = 0;  // blocks are there up to reserved_
  std::int64_t opened_ns_ = 0;  // of the first line of this file
  bool torn_ = false;           // the file may end within a line
  std::atomic<bool> reopen_ = false;
  std::atomic<int> fd_number_ = 2;
  bool patient_ = true;  // of write(): the reader of standard error took something the last time

  // The syncing thread: fdatasync may take long, and must not hold the lines up.
  Mutex mutex_;
  CondVar changed_;
  Fd file_;  // one number for good; the owner puts another file there under mutex_
  bool dirty_ STELLA_GUARDED_BY(mutex_) = false;
  bool stop_ STELLA_GUARDED_BY(mutex_) = false;
  std::thread syncer_;
};

}  // namespace stella::telemetry
