// The alias sets of a tenant as rows: kept in step with the records in force, every change a new revision and one linkset.changed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common.h"

namespace stella::ledger {

// A record whose revision in force this transaction changed.
struct ChangedRecord {
  std::string id;
  Sha256 document;
  std::vector<std::string> aliases;  // those that make edges; none of a withdrawn record
};

// To be called once the records are written. Only the sets that a changed record was in or is in now are read and made anew, so the cost goes with
// the batch and not with the knowledge base. Batches of one tenant wait here for each other: two sources may join the same sets. Sets that are
// what they were make neither row nor event. The first call of a tenant takes in what was there before sets were kept.
Result<std::vector<timeline::Event>> update_linksets(OrchestratorTx& tx, const jobs::FinishedJob& job, std::string_view source_id, const std::vector<ChangedRecord>& changed);

}  // namespace stella::ledger
