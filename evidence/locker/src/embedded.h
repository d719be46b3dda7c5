// The sealed bundle of an evaluation as a leaf in the bundle of an export.
#pragma once

#include "closure.h"

namespace stella::evidence {

struct Embedded {
  BundleId bundle;
  CaseId case_id;
  Sha256 root, digest;  // of the tree; of the archive
  std::uint64_t size = 0;

  // What the request states about it: {"bundle_id", "root"}.
  json::Value json() const;
};

// The newest sealed bundle of the export's evaluation in the same case; from here to the end of the transaction it is not deleted. kNotFound (the
// export), kNotReady (no such bundle).
Result<Embedded> find_embedded(pg::TenantTx& tx, const SnapshotRequest& request);

// Copies its archive to where jobs find their inputs, as a stream, and adds it to the closure. kIntegrity where it is not what was sealed.
Result<void> embed(pg::TenantTx& tx, objects::Store& store, const Embedded& embedded, Closure& closure);

// The parents that a stored request states.
Result<std::vector<SealFacts::Parent>> parents_in(std::string_view request);

}  // namespace stella::evidence
