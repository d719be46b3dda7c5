// What the tests of holds share: a tenant's database and store, a clock of their own, and the steps of a deletion.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/ed25519.h"
#include "stella/evidence/locker/holds.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/evidence/locker/locker.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/log/merkle.h"

namespace stella::evidence {

namespace errors = contracts::errors;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using std::chrono::seconds;

inline constexpr std::string_view kAnn = "user:00000000-0000-7000-8000-00000000000a";
inline constexpr std::string_view kBob = "user:00000000-0000-7000-8000-00000000000b";
inline constexpr std::string_view kEve = "user:00000000-0000-7000-8000-00000000000e";

class Holding : public ::testing::Test {
 protected:
  Holding() {
    // Years ago: what the store is told about retention has always ended for the machine's own clock, and the model's clock alone decides.
    now_ = start_;
    store_ = objects::open_posix_store(dir_.path() + "/objects").value();
  }
  std::unique_ptr<Keeper> keeper(KeeperOptions options = {}) {
    options.keep = hours(24);
    options.tenant_keys = keys_;
    options.look_again = seconds(0);  // everything, every round
    options.now = [this] { return now_; };
    options.elapsed = [this] { return elapsed_; };
    return std::make_unique<Keeper>(locker_, *store_, options);
  }
  void pass(microseconds time) {
    now_ = now_ + time;
    elapsed_ += time;
  }
  // A sealed bundle as the locker leaves it.
  // What its closure wrote: its own list, and records that bundles of the same `record` share.
  static std::string list_of(const BundleId& id) { return "snapshot.json of " + id.str(); }
  static std::string record_of(const std::string& record) { return "transcripts of " + record; }
  bool has_object(const std::string& bytes) { return store_->stat(object_key::object(acme_, crypto::sha256(bytes))).has_value(); }
  BundleId sealed(const std::string& case_id, const std::string& payload = "payload", std::string record = "") {
    if (record.empty()) record = payload;
    const BundleId id = BundleId::generate();
    const std::string digest = crypto::sha256(payload).hex(), items = crypto::sha256(payload + " items").hex();
    const CaseId c = CaseId::parse(case_id).value();
    for (const auto& [file, bytes] : {std::pair{"bundle.tgz", "bundle of " + id.str()}, {"manifest.json", std::string("{}")}, {"root.merkle", std::string("1 root")}})
      EXPECT_TRUE(store_->put(object_key::evidence(acme_, c, id, file), bytes).has_value());
    EXPECT_TRUE(store_->put(object_key::object(acme_, crypto::sha256(payload)), payload).has_value());
    EXPECT_TRUE(store_->put(object_key::object(acme_, crypto::sha256(payload + " items")), payload + " items").has_value());
    for (const std::string& made : {list_of(id), record_of(record)}) EXPECT_TRUE(store_->put(object_key::object(acme_, crypto::sha256(made)), made).has_value());
    db_.sql("INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, state, made_objects, payload_sha256, items_sha256, seal_sha256, bundle_sha256, bundle_size, requested_by, sealed_at, traceparent, trace_id) VALUES ('acme', '" + id.str() +
            "', '" + case_id + "', 'job', '" + id.str() + "', 'sealed', ARRAY['\\x" + crypto::sha256(list_of(id)).hex() + "', '\\x" + crypto::sha256(record_of(record)).hex() + "']::bytea[], '\\x" + digest + "', '\\x" + items + "', '\\x" + digest + "', '\\x" + crypto::sha256("bundle of " + id.str()).hex() + "', 1, 'user:x', '" + now_.rfc3339() + "', '', '')");
    db_.sql("INSERT INTO evidence_bundles (id, tenant_id, case_id, kind, root_hash, path, signer_key_id) VALUES ('" + id.str() + "', 'acme', '" + case_id + "', 'job', '\\x" + digest + "', 'bundle.tgz', 'key')");
    return id;
  }
  std::string key(const BundleId& id, const std::string& case_id, std::string_view file = "bundle.tgz") { return object_key::evidence(acme_, CaseId::parse(case_id).value(), id, file); }
  bool bit(const std::string& object) {
    const auto lock = store_->lock_state(object);
    EXPECT_TRUE(lock.has_value()) << lock.error().describe();
    return lock && lock->legal_hold;
  }
  pg::TenantTx tx(std::string_view actor = kAnn) { return std::move(pg::TenantTx::open(web_, testing::TestScope::make("acme", std::string(actor))).value()); }

  using Call = Result<HoldOutcome> (*)(pg::TenantTx&, const HoldRequest&);
  // As the API does: a refusal is committed, too.
  Result<HoldOutcome> act(Call call, const std::string& case_id, std::string_view actor, std::string authority = "court 7", std::string reason = "order of today", int people = 2) {
    auto t = tx(actor);
    auto out = call(t, {CaseId::parse(case_id).value(), std::move(authority), std::move(reason), TraceId::generate(), "", people});
    EXPECT_TRUE(!out || t.commit().has_value());
    return out;
  }
  std::string step(Call call, const std::string& case_id, std::string_view actor, std::string authority = "court 7", int people = 2) {
    const auto out = act(call, case_id, actor, std::move(authority), "a reason", people);
    if (!out) return "error: " + std::string(out.error().message());
    return out->refused ? "refused" : out->step;
  }
  std::string events(std::string_view kind) {
    return db_.sql("SELECT (SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%') + (SELECT count(*) FROM timeline_log WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%')");
  }
  // What waits in the outbox becomes the log, as the indexer makes it; then the real checkpointer signs.
  void sign_log(const std::string& tenant = "acme") {
    timeline::CompactTree& tree = trees_[tenant];
    auto rows = std::move(pg::TenantTx::read(web_, testing::TestScope::make(tenant), "SELECT event_id, entry FROM timeline_outbox WHERE tenant_id = $1 ORDER BY ts, event_id", {tenant}).value());
    std::string sql;
    for (int i = 0; i < rows.size(); ++i) {
      const std::string entry = rows.bytes(i, 1);
      std::string hex;
      for (const char c : entry) {
        constexpr char kDigits[] = "0123456789abcdef";
        hex += {kDigits[static_cast<unsigned char>(c) >> 4], kDigits[static_cast<unsigned char>(c) & 15]};
      }
      sql += "INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) VALUES ('" + tenant + "', " + std::to_string(tree.size()) + ", '" + std::string(rows.text(i, 0)) + "', '\\x" + hex + "');";
      tree.append_entry(entry);
    }
    sql += "DELETE FROM timeline_outbox WHERE tenant_id = '" + tenant + "'; INSERT INTO timeline_heads (tenant_id, shard, size, root) VALUES ('" + tenant + "', 0, " + std::to_string(tree.size()) + ", '\\x" + tree.root().hex() +
           "') ON CONFLICT (tenant_id) DO UPDATE SET size = excluded.size, root = excluded.root;";
    db_.sql(sql);
    timeline::Checkpointer checkpointer(indexer_, *store_, log_key_, {.every = hours(24 * 365), .events = 1'000'000, .poll = std::chrono::milliseconds(10)});
    const auto done = checkpointer.round();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
  }
  // All three steps; how it ended.
  Disposition::State dispose(Keeper& k, const BundleId& id, std::string* reason = nullptr) {
    auto planned = k.plan(acme_, id);
    if (planned && planned->state == Disposition::kPlanned) {
      EXPECT_EQ(k.execute(acme_, id)->state, Disposition::kWaiting) << "no checkpoint covers the plan";
      sign_log();
      EXPECT_NE(k.execute(acme_, id)->state, Disposition::kPlanned);  // asks for the checkpoint where none is due
      sign_log();
      if (state(id) == "disposed") return Disposition::kExecuted;
      planned = k.execute(acme_, id);
    }
    EXPECT_TRUE(planned.has_value()) << planned.error().describe();
    if (!planned) return Disposition::kRefused;
    if (reason != nullptr) *reason = planned->reason;
    return planned->state;
  }
  void random_histories(unsigned seeds, int& deleted, int& refused);
  std::string state(const BundleId& id) { return db_.sql("SELECT state FROM evidence_snapshots WHERE bundle_id = '" + id.str() + "'"); }

  testing::TestDatabase db_;
  testing::TempDir dir_;
  TenantId acme_ = db_.tenant("acme");
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::LockerRole> locker_{db_.options("stella_locker")};
  pg::SystemPool<pg::IndexerRole> indexer_{db_.options("stella_indexer")};
  std::shared_ptr<crypto::Ed25519KeyPair> log_key_ = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  std::map<std::string, timeline::CompactTree> trees_;
  std::unique_ptr<objects::Store> store_;
  std::shared_ptr<crypto::FileKeyring> keys_;
  const Timestamp start_ = Timestamp::parse("2020-01-01T00:00:00Z").value();
  Timestamp now_;
  microseconds elapsed_{hours(1)};
};

}  // namespace stella::evidence
