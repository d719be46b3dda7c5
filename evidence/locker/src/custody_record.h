// What a bundle encloses of the logs: the events of its traces, those of the knowledge base that they took something from, those of the signing keys,
// and proofs of all.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/custody.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/timeline/log_reader.h"

namespace stella::evidence {

// The signature of a bundle that is to be written: where the log took it in, and how many key events its seal names.
struct SignedBefore {
  EventId event;
  std::uint64_t key_events = 0;
};

// The history of the evidence keys: its first events, or all of them.
struct KeyLines {
  std::string text;                  // crypto/key_log.h; "" where there is none yet
  std::vector<std::string> digests;  // of each signed event
  Timestamp last;
};
Result<KeyLines> key_lines(pg::SystemTx<pg::LockerRole>& tx, std::optional<std::uint64_t> first);

class CustodyRecord {
 public:
  // Whether a signed checkpoint of each log covers the enclosed events, and is in the deployment log itself.
  bool covered() const { return whole_ && tenant_.covered() && knowledge_base_.covered() && keys_.covered(); }
  // Asks for those that are missing, in the caller's transaction.
  Result<void> want_checkpoints(pg::SystemTx<pg::LockerRole>& tx) const;
  // Events, checkpoints with their proofs in the deployment log and a proof for each event; origin and size of the tenant's log into the seal. Needs covered().
  Result<void> enclose(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, SealInput& input);
  // What a seal of now names of them. nullopt where there is none.
  Result<std::optional<SealedCustody>> sealed() const;
  // Whether what that seal named is what the logs still give: entries may have expired since. True for seals that name nothing.
  bool begins_with(const std::optional<SealedCustody>& sealed) const;
  // Whether the log took in all that was said before the payload of this bundle was made: the end of its job comes behind everything before.
  Result<bool> is_told_of(const BundleId& bundle, std::string_view job) const;
  // The lists that the enclosed events name by their digests, by those.
  const std::map<Sha256, std::string>& lists() const { return lists_; }
  const std::string& tenant_events() const { return tenant_.events; }  // a line each

 private:
  friend Result<CustodyRecord> collect_custody(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const std::vector<std::string>& traces, const std::optional<SignedBefore>& signature, std::chrono::seconds witness_patience);
  struct Part {
    CustodyLog log = CustodyLog::kTenant;
    TenantId tenant;
    std::string events;                  // events.jsonl
    std::vector<std::uint64_t> indexes;  // of each event, ascending
    timeline::SignedHead head;
    bool covered() const { return indexes.empty() || head.size > indexes.back(); }
    void add(const pg::Rows& rows);
    Result<TenantId> documents() const;  // the tenant whose rows tell what this log's batches brought in
    Result<void> find_head(pg::SystemTx<pg::LockerRole>& tx, std::chrono::seconds witness_patience);
  };
  // The events of a part with the lists that they name expanded.
  Result<std::vector<CustodyEvent>> events_of(pg::SystemTx<pg::LockerRole>& tx, const Part& part);
  Result<void> find_lists(pg::SystemTx<pg::LockerRole>& tx, const Part& part, const std::vector<Sha256>& named);
  Result<void> find_documents(pg::SystemTx<pg::LockerRole>& tx, const Part& part, const std::vector<std::string>& ingests, const std::vector<Sha256>& named);
  void keep_if_named(std::string list, const std::vector<Sha256>& named);
  Result<void> find_keys(pg::SystemTx<pg::LockerRole>& tx, std::uint64_t events, std::chrono::seconds witness_patience);
  Part tenant_, knowledge_base_, keys_;
  std::string key_history_;
  bool whole_ = true;  // the logs have all that is asked for
  std::map<Sha256, std::string> lists_;
  std::set<std::pair<std::string, std::string>> asked_;  // tenant, and trace or ingest whose rows were looked at for lists
};

// `signature`: its event, which is one of those traces, must be there, and the key events that the seal names are enclosed, too.
// A checkpoint that no quorum of witnesses cosigned counts once it is older than `witness_patience`.
Result<CustodyRecord> collect_custody(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const std::vector<std::string>& traces, const std::optional<SignedBefore>& signature, std::chrono::seconds witness_patience = {});

}  // namespace stella::evidence
