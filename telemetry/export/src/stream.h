// What waits to be sent, in order: in memory as far as it may, and, with a directory, on disk from the moment it is taken, so that SIGKILL
// costs nothing and a power cut at most what was not synced.
//
// Disk: <dir>/<number, 16 hex digits>.seg, one record after the other; <dir>/cursor says before which place everything is settled.
//   record  magic u32 | payload size u32 | items u32 | errors u32 | order u64 | crc32c of these 24 bytes and the payload u32 | state u32 | payload
// The state is 0, or "DONE" where the record was settled before an earlier one was. Every byte is checked when it is read back: a torn end is
// cut off and counted, a damaged record is skipped and counted, and marked so that it is counted once.
//
// A Stream never waits for the disk. It is told what happens (with the lock of its owner) and hands out what is to be done on the disk:
// SpoolWrite, SpoolRead and SpoolWork are run without a lock. At most one SpoolWrite is between begin() and finish(), and SpoolWork is run in
// the order in which it came: that is its owner's care.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stella/base/file.h"
#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

struct StreamLimits {
  std::uint64_t memory_bytes = 8u << 20;
  std::uint64_t segment_bytes = 4u << 20;
};

struct StreamEntry {
  std::uint64_t key = 0;                             // of this entry in its stream, never used twice
  std::uint64_t order = 0;
  std::uint32_t items = 0, errors = 0, size = 0;
  std::uint64_t segment = 0, offset = 0;             // of the record, where on_disk
  bool on_disk = false;
  std::shared_ptr<const std::string> payload;        // null: only on disk
  std::int64_t taken = 0;                            // unix seconds; of one that was found on disk: when its file was last written
  std::uint32_t failures = 0;                        // attempts that failed over this entry, in a row
  std::uint32_t rounds = 0;                          // times set aside
  std::chrono::steady_clock::time_point not_before{};  // of the next attempt, where set aside
};

// The record of a new entry.
class SpoolWrite {
 public:
  // Opens the file where need be and appends to it.
  void run();

 private:
  friend class Stream;
  StreamEntry entry_;
  std::shared_ptr<const std::string> payload_;
  bool to_disk_ = false, cached_ = false, written_ = false, torn_ = false;
  std::string path_, stale_;  // the file; one that can go
  std::shared_ptr<const Fd> file_;
  std::uint64_t offset_ = 0;
};

// The bytes of an entry, or why there are none.
struct SpoolBytes {
  std::shared_ptr<const std::string> payload;
  int error = 0;  // errno, where the operating system cannot read them now; 0 without a payload: the disk has them no more as they were written
};

class SpoolRead {
 public:
  SpoolBytes run() const;

 private:
  friend class Stream;
  StreamEntry entry_;
  std::string path_;
};

// What the disk is to be told of settled entries. A crash before it only repeats them.
class SpoolWork {
 public:
  void run() const;
  void add(SpoolWork more);

 private:
  friend class Stream;
  struct Place {  // where a cursor is to stand, and whose it is: work of several streams is done at once
    std::shared_ptr<const Fd> file;
    std::uint64_t segment = 0, offset = 0;
  };
  std::vector<Place> cursors_;                                     // one of each file
  std::vector<std::pair<std::string, std::uint64_t>> done_;        // records that are to be marked
  std::vector<std::string> unlinked_;
};

class Stream {
 public:
  using Entry = StreamEntry;
  struct Recovered {
    std::uint64_t items = 0, damaged_records = 0, damaged_items = 0, torn_records = 0, torn_items = 0, last_order = 0;
  };
  struct Segment {
    std::uint64_t number = 0, bytes = 0, entries = 0;
    bool writing = false;  // a SpoolWrite is under way; counted in `entries`
  };
  // A directory as an earlier process left it.
  struct Opened {
    std::string dir;
    Fd lock, cursor, directory;
    std::deque<Entry> entries;
    std::deque<Segment> segments;
    Recovered found;
  };
  enum class Taken : std::uint8_t { kDisk, kMemory, kNoRoom };

  explicit Stream(StreamLimits limits) : limits_(limits) {}

  // Reads all of the directory, and keeps others out of it.
  static Result<Opened> open(const std::string& dir);
  // Uses it from now on. At most once.
  Recovered adopt(Opened opened);
  bool on_disk() const { return !dir_.empty(); }

  SpoolWrite begin(std::uint64_t order, Batch&& batch, std::int64_t unix_seconds);
  // `disk_failed` is set where the operating system refused to write.
  Taken finish(SpoolWrite write, bool& disk_failed);
  // The oldest entry that no disk has, on its way to the disk after all; nothing where there is none. It keeps its place in the order, also
  // in that of a later process, although it lies behind younger ones.
  std::optional<SpoolWrite> begin_late();
  // Its size on the disk; 0 where begin_late() has nothing to do.
  std::uint64_t late_bytes() const;
  // Items that are on the disk now; 0 where it refused, or somebody else was done with the entry: `work` tells the disk so.
  std::uint64_t finish_late(SpoolWrite write, bool& disk_failed, SpoolWork& work);

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  const Entry& front() const { return entries_.front(); }
  const Entry& at(std::size_t i) const { return entries_[i]; }
  // Entries that others overtook, the longest since first.
  const std::deque<Entry>& aside() const { return aside_; }
  // Null: it is gone.
  Entry* find(std::uint64_t key);
  SpoolRead reading(const Entry& entry) const;
  // This entry is done with.
  SpoolWork settle(std::uint64_t key);
  // Others go before it from now on. Its bytes stay in memory only where no disk has them.
  void set_aside(std::uint64_t key, std::chrono::steady_clock::time_point not_before);
  // All that is set aside may be tried at once.
  void hurry() {
    for (Entry& entry : aside_) entry.not_before = {};
  }
  // Removes the oldest file that has neither the entry `under_way` nor one that is being written. Returns the entries that went; none: there
  // is no such file.
  std::pair<std::vector<Entry>, SpoolWork> drop_oldest(std::optional<std::uint64_t> under_way);
  // Removes the file that is written to where all in it is settled; false: it is not.
  bool drop_settled(SpoolWork& work);
  // What to sync: files that were written to since the last call, and the directory where a file is new.
  std::vector<std::shared_ptr<const Fd>> take_dirty();

  // What the files take, with what in them is settled.
  std::uint64_t disk_bytes() const { return disk_bytes_; }
  // Of that, the records that wait.
  std::uint64_t waiting_bytes() const { return waiting_bytes_; }
  std::uint64_t memory_bytes() const { return memory_bytes_; }
  std::uint64_t items_in_memory() const { return items_in_memory_; }
  std::uint64_t items_in_memory_only() const { return items_in_memory_only_; }
  std::uint64_t items_on_disk_only() const { return items_on_disk_only_; }
  std::uint64_t aside_memory_bytes() const;

 private:
  std::string path_of(std::uint64_t number) const;
  void count(const Entry& entry);
  void forget(const Entry& entry);
  bool lowest(const Entry& gone) const;
  void next_segment();
  void place(SpoolWrite& write);
  bool written(SpoolWrite& write, Entry& entry);
  const Entry* memory_only() const;
  SpoolWork released(const Entry& gone);

  const StreamLimits limits_;
  std::string dir_;
  std::deque<Entry> entries_, aside_;
  std::deque<Segment> segments_;  // oldest first; the last one is written to where `file_` is open
  std::shared_ptr<const Fd> file_, cursor_, directory_;
  Fd lock_;
  bool crowded_ = false;                                // the disk refused the last write
  bool dirty_ = false;                                  // `file_` was written to
  std::vector<std::shared_ptr<const Fd>> dirty_more_;  // and these
  bool shuffled_ = false;  // entries may lie on the disk in another order than they wait
  std::uint64_t next_key_ = 0;
  std::uint64_t waiting_bytes_ = 0, disk_bytes_ = 0, memory_bytes_ = 0, items_in_memory_ = 0, items_in_memory_only_ = 0, items_on_disk_only_ = 0;
};

}  // namespace stella::telemetry
