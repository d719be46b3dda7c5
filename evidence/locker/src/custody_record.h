// What a bundle encloses of the logs: the events of its traces, those of the knowledge base that they took something from, and proofs of both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/custody.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/timeline/log_reader.h"

namespace stella::evidence {

class CustodyRecord {
 public:
  // Whether a signed checkpoint of each log covers the enclosed events.
  bool covered() const { return tenant_.covered() && knowledge_base_.covered(); }
  // Asks for those that are missing, in the caller's transaction.
  Result<void> want_checkpoints(pg::SystemTx<pg::LockerRole>& tx) const;
  // Events, checkpoints and a proof for each event; origin and size of the tenant's log into the seal. Needs covered().
  Result<void> enclose(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, SealInput& input);

 private:
  friend Result<CustodyRecord> collect_custody(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const std::vector<std::string>& traces);
  struct Part {
    CustodyLog log = CustodyLog::kTenant;
    TenantId tenant;
    std::string events;                  // events.jsonl
    std::vector<std::uint64_t> indexes;  // of each event, ascending
    timeline::SignedHead head;
    bool covered() const { return indexes.empty() || head.size > indexes.back(); }
    void add(const pg::Rows& rows);
  };
  Part tenant_, knowledge_base_;
};

Result<CustodyRecord> collect_custody(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const std::vector<std::string>& traces);

}  // namespace stella::evidence
