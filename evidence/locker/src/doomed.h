// What deletions share: one bundle with all that keeps it, and the wait for a checkpoint. Private to the keeper.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "locker_event.h"
#include "retention_rules.h"
#include "stella/base/result.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {

// Whether a checkpoint covers the planning event, by row 0 of `planned`: column 2 its log index, column 3 the size of the signed head. Where none
// does, one is asked for and the transaction committed.
Result<bool> plan_is_covered(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const pg::Rows& planned);

// One bundle, or what a failed snapshot left behind, as it is at this moment, under the lock of its case.
struct Keeper::Doomed {
  TenantId tenant;
  BundleId bundle;
  CaseId case_id;
  RetentionFacts facts;
  std::string root, seal, digest;
  bool failed = false;              // no bundle came of it
  bool present = false;             // bundle.tgz lies in the store
  std::vector<std::string> remove;  // what a deletion takes away, bundle.tgz last

  // Of a failed snapshot nobody can say what should be there.
  bool complete() const { return failed || present; }
  std::string_view what() const { return failed ? "failed snapshot" : "bundle"; }
  json::Value commitments() const {
    if (failed) return json::Value::object({{"what", what()}, {"case_id", case_id.str()}, {"until", kept_until(facts).value_or(Timestamp{}).rfc3339()}});
    return json::Value::object({{"what", "bundle"}, {"case_id", case_id.str()}, {"root_hash", root}, {"seal_sha256", seal}, {"bundle_sha256", digest}, {"until", kept_until(facts).value_or(Timestamp{}).rfc3339()}});
  }
  timeline::Event event(std::string_view kind, json::Value details) const {
    timeline::Event out = locker_event(kind, "bundle", bundle.str(), std::move(details));
    out.resources.emplace_back("case", case_id.str());
    return out;
  }
};

// Adds what the store says of an object's locks; false where the store does not have it.
Result<bool> add_locks(objects::Store& store, const std::string& key, RetentionFacts& facts);

// One step of a deletion, done and committed (stella_dispositions). `what`: "bundle", "timeline" or "key".
inline void count_disposition(std::string_view what, std::string_view step) { telemetry::Counter{contracts::metrics::kDispositions}.add(1, what, step); }
// The name of a refusal's step.
inline std::string_view refusal(bool held) { return held ? "held" : "refused"; }

// What a step that somebody else took meanwhile answers: for a round that is no error.
inline bool others_were_faster(const Error& error) { return error.code() == base_errors::kNotFound || error.code() == contracts::errors::kConflict; }

// Under a span of its own: one step of a deletion that a round takes.
template <class Step>
Result<Disposition> disposition_work(const contracts::WorkRow& row, const TenantId& tenant, Step step) {
  telemetry::Work work(row, telemetry::of_tenant(tenant));
  Result<Disposition> one = step(work);
  if (one) work.did(one->state != Disposition::kWaiting ? 1 : 0);
  else if (!others_were_faster(one.error())) work.fail(one.error());
  return one;
}

}  // namespace stella::evidence
