// Which revision of a source's document is in force: the newest by the document's own time, among equals the one received last.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common.h"

namespace stella::ledger {

// Where the documents of one kind are kept.
struct DocumentTables {
  std::string_view kind;  // of their batches
  std::string_view observations, current;
  std::string_view time;    // the column with the document's own time
  std::string_view copied;  // the columns that a revision says of the document, beside its digest
};
inline constexpr DocumentTables kAdvisoryTables{"advisory", "advisory_observations", "advisory_current", "modified", "modified, withdrawn, aliases, ecosystems, path"};
inline constexpr DocumentTables kVexTables{"vex", "vex_observations", "vex_current", "document_time", "format, document_time, statements, deviations, path"};

enum class Step : std::uint8_t {
  kNew,        // the first revision of its document
  kRevised,    // takes the place of the one in force
  kUnchanged,  // is in force already
  kStale,      // older than what is in force: observed, and nothing else
  kStaleAgain  // the same, and observed before
};

struct Taken {
  Step step = Step::kNew;
  int revision = 0;  // 0 where there is nothing to observe
  Sha256 previous;   // what it takes the place of
};

// The known revisions of some documents of one source. Batches end in any order, old files are sent again and jobs are retried days
// later: what was received last is not what is newest.
class Revisions {
 public:
  // Locks the source: one batch of it at a time, so revisions are numbered without gaps. `documents` are (id, digest) that may be taken.
  static Result<Revisions> load(OrchestratorTx& tx, const DocumentTables& tables, const TenantId& tenant, const std::string& source_id,
                                const std::vector<std::pair<std::string, Sha256>>& documents);

  // Says what the document is beside those known, and knows it from then on. `time` as the document states it.
  Taken take(const std::string& id, const Sha256& document, std::string_view time, std::string_view batch);

 private:
  struct Standing {
    Sha256 document;
    std::optional<Timestamp> time;
    std::string batch;
  };
  struct Known {
    int last = 0;  // number of the newest observation, in force or not
    std::optional<Standing> in_force;
    std::string vanished;  // the batch that did not hold it any more; "" where none
    std::set<Sha256> observed;
  };
  std::map<std::string, Known> known_;
  std::string whole_;  // the newest batch that was all that the source has; "" where none
};

struct Vanished {
  std::string id;
  Sha256 document;  // what was in force
};

// Takes everything of the source out of force that is not in `held`, each with a revision that says so. To be called with the source locked
// (Revisions::load). Nothing where a newer batch of the source has been ingested: it knows better what the source has.
Result<std::vector<Vanished>> take_vanished(OrchestratorTx& tx, const DocumentTables& tables, const TenantId& tenant, const std::string& source_id,
                                            const std::vector<std::string>& held, const std::string& batch);

// nullopt for a text that is no time, for one before 1970 (the Go database's files say 0001-01-01 in every revision), and for one in the
// future: a typo must not keep every later revision out.
std::optional<Timestamp> document_time(std::string_view text);

}  // namespace stella::ledger
