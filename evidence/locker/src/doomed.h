// What a deletion looks at: one bundle with all that keeps it. Private to the keeper.
#pragma once

#include <string>
#include <vector>

#include "retention_rules.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {

// One bundle as it is at this moment, under the lock of its case.
struct Keeper::Doomed {
  TenantId tenant;
  BundleId bundle;
  CaseId case_id;
  RetentionFacts facts;
  std::string root, seal, digest;
  bool present = false;             // bundle.tgz lies in the store
  std::vector<std::string> remove;  // what a deletion takes away, bundle.tgz last

  json::Value commitments() const {
    return json::Value::object({{"what", "bundle"}, {"case_id", case_id.str()}, {"root_hash", root}, {"seal_sha256", seal}, {"bundle_sha256", digest}, {"until", kept_until(facts).value_or(Timestamp{}).rfc3339()}});
  }
  timeline::Event event(std::string_view kind, json::Value details) const {
    timeline::Event out;
    out.kind = kind;
    out.actor = "system:locker";
    out.resource_type = "bundle";
    out.resource_id = bundle.str();
    out.details = std::move(details);
    out.resources.emplace_back("case", case_id.str());
    return out;
  }
};

}  // namespace stella::evidence
