// Snapshots and the end of the key that everything of the tenant is encrypted under: whichever comes first, no bundle is half under a destroyed key.
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "stella/platform/encrypted_objects.h"
#include "test_holding.h"

namespace stella::evidence {
namespace {

// A keyring that lets the test in right before a key is gone.
class WatchedKeys final : public crypto::Kms {
 public:
  explicit WatchedKeys(std::shared_ptr<crypto::FileKeyring> keys) : keys_(std::move(keys)) {}
  Result<void> add_key(std::string_view id) override { return keys_->add_key(id); }
  Result<void> destroy_key(std::string_view id) override {
    if (before) std::exchange(before, nullptr)();
    if (id == away) return Error(base_errors::kIo, "the key store is away");
    return keys_->destroy_key(id);
  }
  Result<std::string> wrap(std::string_view id, std::string_view key, std::string_view context) const override { return keys_->wrap(id, key, context); }
  Result<crypto::SecretBytes> unwrap(std::string_view id, std::string_view wrapped, std::string_view context) const override { return keys_->unwrap(id, wrapped, context); }
  Result<std::string> newest(std::string_view base) const override { return keys_->newest(base); }
  std::function<void()> before;
  std::string away;

 private:
  std::shared_ptr<crypto::FileKeyring> keys_;
};

class KeyEnd : public Holding {
 protected:
  void SetUp() override {
    keys_ = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
    watched_ = std::make_shared<WatchedKeys>(keys_);
    objects::EncryptionOptions encryption;
    encryption.kms = watched_;
    encryption.rule = [](std::string_view) { return std::optional(objects::Encryption{"tenant/acme"}); };
    encryption.spool_dir = dir_.path();
    store_ = objects::open_encrypted_store(std::move(store_), std::move(encryption));
    job_ = JobId::generate().str();
    db_.sql("INSERT INTO jobs (tenant_id, job_id, kind, state, engine_version, params, inputs, outputs, idempotency_sha256, requested_by, traceparent, trace_id) VALUES ('acme', '" + job_ +
            "', 'sbom.compute', 'finished', '1', '{}', '[]', '[]', '', 'user:x', '', '" + TraceId::generate().hex() + "')");
    ASSERT_TRUE(store_->put(object_key::object(acme_, crypto::sha256("a document")), "a document").has_value());
    KeeperOptions options;
    options.keep = hours(24);
    options.tenant_keys = watched_;
    options.look_again = seconds(0);
    options.now = [this] { return now_; };
    options.elapsed = [this] { return elapsed_; };
    keeper_ = std::make_unique<Keeper>(locker_, *store_, options);
    ASSERT_TRUE(keeper_->round().has_value());
    ASSERT_EQ(keeper_->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
    ASSERT_EQ(keeper_->execute_key(acme_)->state, Disposition::kWaiting) << "no checkpoint covers the plan";
    sign_log();
  }
  Result<Snapshot> ask(pg::TenantTx& t, const std::string& case_id = "C-1") {
    const TraceId trace = TraceId::generate();
    return request_snapshot(t, *store_, {.kind = "job", .resource_id = job_, .case_id = CaseId::parse(case_id).value(), .trace = trace, .traceparent = "00-" + trace.hex() + "-b7ad6b7169203331-01"});
  }
  // Until somebody waits for an advisory lock.
  void somebody_waits() {
    const Deadline deadline = Deadline::after(seconds(20));
    while (db_.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "0" && !deadline.passed()) std::this_thread::yield();
    EXPECT_FALSE(deadline.passed()) << "nobody waits for anybody";
  }
  std::string snapshots() { return db_.sql("SELECT count(*) FROM evidence_snapshots"); }
  std::string objects() { return std::to_string(store_->list("tenants/acme/", "", 1000)->size()); }

  std::shared_ptr<WatchedKeys> watched_;
  std::unique_ptr<Keeper> keeper_;
  std::string job_;
};

// Asked for first, and not even committed: the key stays until the bundle has come or failed, and the destruction says so.
TEST_F(KeyEnd, ASnapshotThatCameFirstKeepsTheKey) {
  auto t = tx();
  const auto made = ask(t);
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  Result<Disposition> destroyed = Disposition{};
  std::thread keeper([&] { destroyed = keeper_->execute_key(acme_); });
  somebody_waits();
  ASSERT_TRUE(t.commit().has_value());
  keeper.join();
  ASSERT_TRUE(destroyed.has_value()) << destroyed.error().describe();
  EXPECT_EQ(destroyed->state, Disposition::kRefused);
  EXPECT_EQ(destroyed->reason, "bundle " + made->bundle_id.str() + ": it is being built");
  EXPECT_EQ(keys_->key_ids().size(), 1u);
  EXPECT_EQ(store_->get(object_key::object(acme_, crypto::sha256("a document")), 100).value(), "a document");
  // A failed one whose job is tried again may be built any moment.
  db_.sql("UPDATE evidence_snapshots SET state = 'failed', failed_at = now()");
  EXPECT_EQ(keeper_->plan_key(acme_, "off-boarding")->reason, "bundle " + made->bundle_id.str() + ": it is being built");
  db_.sql("UPDATE jobs SET state = 'dead'");
  EXPECT_EQ(keeper_->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
}

// Asked for while the key goes: it waits for that and is refused, and it has left nothing behind.
TEST_F(KeyEnd, ASnapshotThatComesLaterIsRefused) {
  const std::string before = objects();
  Result<Snapshot> made = Snapshot{};
  std::thread asker;
  watched_->before = [&] {
    asker = std::thread([&] {
      auto t = tx();
      made = ask(t);
    });
    somebody_waits();
  };
  const auto destroyed = keeper_->execute_key(acme_);
  asker.join();
  ASSERT_TRUE(destroyed.has_value()) << destroyed.error().describe();
  EXPECT_EQ(destroyed->state, Disposition::kExecuted);
  const auto refused = [&](const Result<Snapshot>& answer) {
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code(), errors::kConflict);
    EXPECT_EQ(answer.error().field("reason"), "key_destroyed");
  };
  refused(made);
  EXPECT_EQ(snapshots(), "0");
  EXPECT_EQ(objects(), before);
  // Between the two looks of the destruction its row says so.
  db_.sql("UPDATE key_dispositions SET state = 'destroying'");
  auto t = tx();
  refused(ask(t));
}

// A redacted copy is a bundle as well.
TEST_F(KeyEnd, AKeyThatCannotBeReachedKeepsNoOtherFromItsEnd) {
  const TenantId beta = db_.tenant("beta");
  ASSERT_TRUE(keys_->add_key("tenant/beta"));
  pass(seconds(1));
  ASSERT_EQ(keeper_->plan_key(beta, "off-boarding")->state, Disposition::kPlanned);
  watched_->away = "tenant/acme";
  EXPECT_EQ(keeper_->round().error().code(), base_errors::kIo);  // asks for the checkpoint of the other one
  sign_log("beta");
  pass(seconds(1));
  EXPECT_TRUE(keeper_->round().has_value()) << "the one that failed waits a minute";
  EXPECT_EQ(db_.sql("SELECT string_agg(tenant_id || ' ' || state, ', ' ORDER BY tenant_id) FROM key_dispositions"), "acme destroying, beta executed");
  watched_->away.clear();
  pass(minutes(2));
  ASSERT_TRUE(keeper_->round().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM key_dispositions WHERE state = 'executed'"), "2");
}

// A transaction that locked each of them failed where there were thousands.
TEST_F(KeyEnd, ManyBundlesAreLookedAtUnderTwoLocks) {
  db_.sql("DELETE FROM key_dispositions");
  db_.sql("INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, state, requested_by, traceparent, trace_id, sealed_at, adopted) SELECT 'acme', ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, 'C-' || i, 'job', i::text, 'sealed', 'user:x', '', '', '" +
          start_.rfc3339() + "', true FROM generate_series(1, 50) i; INSERT INTO evidence_retention (tenant_id, bundle_id, case_id, base_event, keep_seconds, base_at, retain_until, applied) SELECT tenant_id, bundle_id, case_id, 'sealed', 1, sealed_at, sealed_at + interval '1 day', 1 FROM evidence_snapshots");
  db_.sql("CREATE TABLE seen (locks bigint); GRANT INSERT ON seen TO PUBLIC; CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid(); RETURN NEW; END $$; "
          "CREATE TRIGGER look BEFORE INSERT ON key_dispositions FOR EACH ROW EXECUTE FUNCTION look()");
  auto planned = keeper_->plan_key(acme_, "off-boarding");
  EXPECT_EQ(planned->reason, "bundle 00000000-0000-7000-8000-000000000001: its retention has not ended");
  pass(hours(25));
  // Whoever reads any of them keeps the key, and so does a hold that the store shows.
  {
    auto reader = tx();
    ASSERT_FALSE(verify_stored(reader, *store_, Trust{}, BundleId::parse("00000000-0000-7000-8000-000000000007").value(), TraceId::generate()).has_value());
    EXPECT_EQ(keeper_->plan_key(acme_, "off-boarding")->reason, "an export or a verification is under way");
  }
  const std::string file = object_key::evidence(acme_, CaseId::parse("C-9").value(), BundleId::parse("00000000-0000-7000-8000-000000000009").value(), "bundle.tgz");
  ASSERT_TRUE(store_->put(file, "bundle").has_value() && store_->set_legal_hold(file, true).has_value());
  EXPECT_EQ(keeper_->plan_key(acme_, "off-boarding")->reason, "bundle 00000000-0000-7000-8000-000000000009: a legal hold is in force");
  ASSERT_TRUE(store_->set_legal_hold(file, false).has_value());
  planned = keeper_->plan_key(acme_, "off-boarding");
  ASSERT_TRUE(planned.has_value()) << planned.error().describe();
  EXPECT_EQ(planned->state, Disposition::kPlanned) << planned->reason;
  EXPECT_LT(std::stoi(db_.sql("SELECT max(locks) FROM seen")), 10);
}

TEST_F(KeyEnd, NoRedactedCopyIsAskedForAfterwards) {
  const BundleId id = sealed("C-1");
  ASSERT_TRUE(keeper_->round().has_value());
  db_.sql("UPDATE key_dispositions SET state = 'destroying'");
  auto t = tx();
  const auto copy = request_redaction(t, {.bundle = id, .withhold = {"role:trace"}, .reason = "internal", .trace = TraceId::generate(), .traceparent = ""});
  ASSERT_FALSE(copy.has_value());
  EXPECT_EQ(copy.error().field("reason"), "key_destroyed");
}

}  // namespace
}  // namespace stella::evidence
