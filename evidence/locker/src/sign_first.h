// The signature of a bundle that is still to be written: made once, kept in the snapshot's row, told to the tenant's log. What the log took in, nobody
// can have signed later.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "custody_record.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

struct FirstSignature {
  std::string envelope;  // attest/seal.dsse.json
  SealFacts facts;       // as signed
  std::vector<crypto::PublicKey> signed_by;
  SignedBefore logged;
};

// What stands in the row of a bundle that is not written yet. nullopt where nothing is signed, or where the key that signed was rotated or compromised
// since: then it is to be signed anew.
Result<std::optional<FirstSignature>> first_signature(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const BundleId& bundle);

// Whether this deployment keeps a history of its keys at all: without one there is nothing to name, and bundles are signed as they are written.
Result<bool> keeps_key_history(pg::SystemTx<pg::LockerRole>& tx);

// kConflict where the key of this process is not the active one any more.
Result<void> check_signs(pg::SystemTx<pg::LockerRole>& tx, const std::string& key_id);

// Signs `input` (facts but for log and keys), writes it into the row and onto the timeline, in the caller's transaction. False where it cannot be yet:
// the log has no checkpoint, and one is asked for. kConflict where the key signs no more.
struct ToSign {
  const TenantId& tenant;
  const BundleId& bundle;
  TraceId trace;
  std::string_view traceparent;
  std::optional<ProjectId> project;
};
Result<bool> sign_first(pg::SystemTx<pg::LockerRole>& tx, const ToSign& what, const SealInput& input);

}  // namespace stella::evidence
