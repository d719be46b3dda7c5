// What the log file already has of records that the rings still hold: a process may die between the write of their lines and the note of it in
// its rings. Beside the rings stands from where on in the file such lines may be found; whoever recovers the rings compares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace stella::telemetry {

// The end of a log file at some moment.
struct LogPlace {
  std::uint64_t device = 0, inode = 0, offset = 0;
};

struct LogMarkPage;

// One thread. A page in a file mapping: setting it costs no system call, and it outlives the process.
class LogMark {
 public:
  LogMark() = default;
  // Makes `<instance>/written-<n>`, for the log file `log`; one that marks nothing where that is not possible.
  LogMark(const std::string& instance, std::string_view log);
  LogMark(LogMark&& other) noexcept;
  LogMark& operator=(LogMark&& other) noexcept;
  ~LogMark();
  // To be called before the first write whose lines the rings do not call written; nothing: that output cannot be read again.
  void set(const std::optional<LogPlace>& place) noexcept;

 private:
  LogMarkPage* page_ = nullptr;
};

// Lines that the log files behind the marks of a dead process have: its own, and those of processes that died while they recovered it.
class WrittenLines {
 public:
  // `log` is the log file as it is open now: perhaps it may be read that way alone.
  WrittenLines(const std::string& instance, int log);
  // True once for each time that the line is there.
  bool take(std::string_view line);
  // Lines that are written from `place` on will be found here by the next recovery.
  bool covers(const LogPlace& place) const;

 private:
  struct Marked {
    LogPlace place;
    std::int64_t ns = 0;
    std::string log;
  };
  void read(const Marked& mark, int log);
  void read(int fd, std::uint64_t offset, std::uint64_t size);

  std::vector<Marked> marks_;
  std::unordered_map<std::size_t, std::uint32_t> lines_;  // by hash
};

}  // namespace stella::telemetry
