// What retention would delete next, and why not yet: the keeper's rules looked at without doing anything.
#pragma once

#include <optional>
#include <string>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

struct UpcomingQuery {
  std::optional<CaseId> case_id;
  int limit = 100;
  std::optional<Timestamp> after;  // the page begins behind this place
  BundleId after_bundle;
  bool dispose = false;            // setting evidence.dispose
  Timestamp now;
};
struct Upcoming {
  json::Array items;  // {bundle_id, case_id, kind, resource_id, what, step, kept_until, kept_by: [{rule, until, reason}], planned_at, refused_at, refused_reason}
  std::optional<std::pair<Timestamp, BundleId>> next;  // where the next page begins; nullopt: this is the last one
};
// Sealed bundles and what failed snapshots left, the ones that rows let go first at the top. Whatever keeps one is named, each rule by itself, the
// store's own lock as the store says it now. Nobody's retention is changed, and nothing is promised: a hold may come. Where the store does not answer, that
// keeps the bundle as well (store_unknown). Errors of the database.
Result<Upcoming> upcoming_dispositions(pg::TenantTx& tx, objects::Store& store, const UpcomingQuery& query);

}  // namespace stella::evidence
