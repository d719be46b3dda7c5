// A log as a CASE 1.4 / UCO 1.4 graph in JSON-LD (caseontology.org), which other forensic tools read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::cli {

// One node of the graph on each line, so that a log of any size is written and read in constant memory: an object is described at every event that
// names it, and a graph holds equal statements once. Each event is an investigation:InvestigativeAction (kind, time, performer, what it consumed and
// produced by SHA-256) whose results contain an observable:EventRecord: eventRecordRaw is the entry's canonical bytes, eventRecordID its log index.
// The last node holds the signed checkpoint that all records lead to.
namespace case_graph {

// The beginning of the document, with the log as observable:EventLog and this program as tool:Tool.
std::string head(std::string_view origin);
// The nodes of an entry (canonical JSON). kMalformed where it is none.
Result<std::string> entry(std::string_view origin, std::uint64_t index, std::string_view bytes);
// The node of one that has expired: a record without bytes, tagged EXPIRED; its leaf hash is the description.
Result<std::string> expired(std::string_view origin, std::uint64_t index, const Sha256& leaf);
// The checkpoint, and the end of the document.
std::string tail(std::string_view origin, std::string_view note);

bool begins(std::string_view first_line);

struct Record {
  std::uint64_t index = 0;
  std::string entry;              // its bytes; "" for an expired one
  std::optional<Sha256> expired;  // its leaf hash
  bool faithful = true;           // its nodes are those that entry() or expired() writes
};

// Reads such a document line by line. What other tools read (kinds, times, performers, objects) must be what the bytes say: the nodes of each entry are
// made again and compared.
class Reader {
 public:
  // The record whose nodes this line (without its end) completes. kMalformed for a line that is no node, or a record without index or bytes.
  Result<std::optional<Record>> line(std::string_view text);
  // The signed note, once the whole document was read.
  const std::string& note() const { return note_; }

 private:
  Result<void> head(std::string_view text);
  Result<void> node(std::string_view text);
  int lines_ = 0;
  std::string origin_;
  std::string block_;     // the lines of the entry, or of the end, so far
  std::string expected_;  // the same as we would write them, once its record was seen
  std::string last_;      // the note in them
  Record record_;
  std::string note_;
};

}  // namespace case_graph
}  // namespace stella::cli
