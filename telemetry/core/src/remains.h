// What processes that are gone left in their directories (instance.h): finding it, and reading it so that a recovery that dies itself can be
// taken up by the next one where it stood.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ring.h"
#include "spill.h"
#include "stella/base/file.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// What a dead process left behind; locked against everybody else who starts now.
struct Remains {
  std::string path;
  Resource resource;
  Fd lock;
  std::int64_t pid = 0;
};
// Of processes of `service` alone: lines of another service belong into another file.
std::vector<Remains> find_remains(const std::string& dir, std::string_view service);

// Of a service that nobody starts any more (it has another name now, say) there is no next start. So another service of the same platform
// takes what has lain there for `grace` since it was first seen.
struct OrphanSearch {
  std::string_view service;       // which looks
  std::string_view installation;  // its platform's
  bool own_dir = false;           // the directory is that of the platform alone
  std::chrono::seconds grace{};
};
std::vector<Remains> find_orphans(const std::string& dir, const OrphanSearch& search);

struct RecoveredCounts {
  std::uint64_t records = 0;  // handed out that were not written before
  std::uint64_t torn = 0;     // no records at all, or broken frames of the spill
  std::uint64_t lost = 0;     // numbers that are missing, beyond what the process itself had counted as dropped, and beyond the torn ones
  std::uint64_t dropped_logs = 0, dropped_spans = 0;  // counted by the process, in no metric yet
  bool unread = false;  // the operating system could not read all of it now, which says nothing of what is in it
};

// The records of one dead process: all its rings and its spill, ordered by time, and those of one thread as it pushed them. Records of another
// build's catalogue are rewritten by the names of their fields.
class Recovery {
 public:
  explicit Recovery(const Remains& remains);
  // Known from the beginning, except `records`.
  const RecoveredCounts& counts() const { return counts_; }

  struct Record {
    RecordView view;
    bool written;  // its line is in the log already, and only its export is not certain
  };
  // Nothing: that was all.
  std::optional<Record> next();
  // Lines of all that next() gave so far are in the log file: whoever recovers this again is told so. Costs no more than a few stores.
  void note_written();
  // They are safe elsewhere, too: nobody is given them again.
  void note_released();

 private:
  struct Source {
    Ring* ring = nullptr;  // none: the spill
    std::uint64_t done = 0, taken = 0;  // places in it
    std::uint64_t records = 0;          // between them
    std::int64_t ns = 0;                // of its latest record
  };
  struct Found {
    std::int64_t ns;  // never falls within a source, or a step that is noted would not be the beginning of each
    std::string_view bytes;
    std::size_t source;
    std::uint64_t end;  // the place behind it
    bool written;
  };
  void read_keys();
  void read_ring(Ring& ring);
  void read_spill(std::vector<Spill::Frame>& frames);
  bool add(std::string_view bytes, std::size_t& size, std::size_t source, std::uint64_t begin, bool written);

  const std::string path_;
  std::vector<std::string> keys_;
  bool translate_ = false;
  std::vector<std::unique_ptr<Ring>> rings_;
  std::vector<Source> sources_;
  std::deque<std::string> owned_;  // spilled and translated records
  std::vector<Found> order_;
  std::size_t next_ = 0, written_before_ = 0;  // places in order_: the next one, the one behind the last that was written already
  RecoveredCounts counts_;
};

void remove_remains(Remains& remains);

// `record` as this build would have written it, where `keys` ("key\n" …) is the catalogue of its writer. "" where it is malformed.
std::string translate_record(std::string_view record, const std::vector<std::string>& keys);

}  // namespace stella::telemetry
