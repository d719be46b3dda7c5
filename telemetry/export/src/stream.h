// What waits to be sent, in order: in memory as far as it may, and, with a directory, on disk from the moment it is taken, so that SIGKILL
// costs nothing and a power cut at most what was not synced.
//
// Disk: <dir>/<number, 16 hex digits>.seg, one record after the other; <dir>/cursor says where the first unsent record begins.
//   record  magic u32 | payload size u32 | items u32 | errors u32 | order u64 | crc32c of these 24 bytes and the payload u32 | zero u32 | payload
// Every byte is checked when it is read back: a torn end is cut off, a damaged record is skipped and counted.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stella/base/file.h"
#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

struct StreamLimits {
  std::uint64_t memory_bytes = 8u << 20;
  std::uint64_t segment_bytes = 4u << 20;
};

class Stream {
 public:
  struct Entry {
    std::uint64_t order = 0;
    std::uint32_t items = 0, errors = 0, size = 0;
    std::uint64_t segment = 0, offset = 0;             // of the record, where on_disk
    bool on_disk = false;
    std::shared_ptr<const std::string> payload;        // null: only on disk
  };
  struct Recovered {
    std::uint64_t items = 0, damaged_records = 0, damaged_items = 0, last_order = 0;
  };
  enum class Taken : std::uint8_t { kDisk, kMemory, kNoRoom };

  explicit Stream(StreamLimits limits) : limits_(limits) {}

  // Uses `dir` from now on and takes in what an earlier process left there. At most once with success.
  Result<Recovered> open(const std::string& dir);
  bool on_disk() const { return !dir_.empty(); }

  // `disk_failed` is set where the operating system refused to write.
  Taken append(std::uint64_t order, Batch&& batch, bool& disk_failed);

  bool empty() const { return entries_.empty(); }
  const Entry& front() const { return entries_.front(); }
  std::uint64_t last_order() const { return entries_.empty() ? 0 : entries_.back().order; }
  // The first entry's bytes; null where the disk has them no more as they were written.
  std::shared_ptr<const std::string> load_front();
  // The first entry is settled.
  void pop();
  // Removes the oldest file whose entries are not the first one of all (that may be under way). Returns the entries that went; none: there is
  // no such file.
  std::vector<Entry> drop_oldest(bool front_under_way);
  // The file to sync, where something was written since the last call.
  std::shared_ptr<const Fd> take_dirty();

  std::uint64_t disk_bytes() const { return disk_bytes_; }
  std::uint64_t memory_bytes() const { return memory_bytes_; }
  std::uint64_t items_in_memory() const { return items_in_memory_; }
  std::uint64_t items_on_disk_only() const { return items_on_disk_only_; }

 private:
  struct Segment {
    std::uint64_t number = 0, bytes = 0, entries = 0;
  };
  std::string path_of(std::uint64_t number) const;
  bool write(Entry& entry, const std::string& payload);
  void read_segment(std::uint64_t number, std::uint64_t from, bool last, Recovered& found);
  void write_cursor(std::uint64_t segment, std::uint64_t offset);
  void forget(const Entry& entry);
  void remove_segment(std::deque<Segment>::iterator at);

  const StreamLimits limits_;
  std::string dir_;
  std::deque<Entry> entries_;
  std::deque<Segment> segments_;  // oldest first; the last one is written to where `file_` is open
  std::shared_ptr<const Fd> file_;
  Fd cursor_, lock_;
  bool dirty_ = false;
  std::uint64_t disk_bytes_ = 0, memory_bytes_ = 0, items_in_memory_ = 0, items_on_disk_only_ = 0;
};

}  // namespace stella::telemetry
