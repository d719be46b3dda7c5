// What an evaluation changed about the findings of its subject, as events: finding.opened, finding.changed, finding.closed.
//
// The subject is what the SBOM is about. An evaluation is compared with the last finished one of the same SBOM; the first of an SBOM with
// that of the SBOM it replaces: the newest older one of the same project and document name that has been evaluated.
// A finding is open while its verdict is affected or unknown and no VEX statement says not_affected or fixed.
#pragma once

#include <string>
#include <string_view>

#include "common.h"
#include "stella/platform/objects.h"

namespace stella::ledger {

// Whose findings these are, and the evaluation to compare with.
struct Baseline {
  std::string subject;        // the document's name, or the SBOM's id where it has none
  std::string project_id;
  std::string sbom_id;        // of the evaluation that is being decided
  std::string evaluation_id;  // the one before; "" where this is the subject's first
  bool replaced = false;      // a newer SBOM of the subject was decided: this one's findings are the subject's no more
};

// Waits for other transactions that decide an evaluation of the same subject: each is compared with the one before it, never two with the
// same. To be called before the evaluation is marked as finished.
Result<Baseline> take_baseline(OrchestratorTx& tx, const jobs::FinishedJob& job, std::string_view sbom_id);

// One event per finding that differs, ordered by (purl, advisory id); the evaluation's findings are in their table. A repeat emits nothing, nor does an SBOM that was
// replaced.
Result<void> emit_finding_changes(OrchestratorTx& tx, objects::Store& store, const jobs::FinishedJob& job, const Baseline& baseline);

}  // namespace stella::ledger
