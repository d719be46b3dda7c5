// Timestamps of sealed bundles are renewed: before they end, once, by whoever lasts longer; and what is done to renewals in the store is seen.
#include <fcntl.h>
#include <sys/stat.h>

#include "locking_fixture.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/testing/work_seen.h"
#include "test_time_authority.h"

namespace stella::evidence {
namespace {

// A store that does not give out one object: for want of a permission, or because it is archived.
class WithoutOne final : public objects::Store {
 public:
  WithoutOne(std::unique_ptr<objects::Store>& inner, std::string denied) : inner_(inner), denied_(std::move(denied)) {}
  Result<objects::Created> put(const std::string& key, std::string_view bytes, const objects::ObjectLock& lock) override { return inner_->put(key, bytes, lock); }
  Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> all, const objects::ObjectLock& lock) override { return inner_->put_many(all, lock); }
  Result<Copied> put_fd(int fd, std::uint64_t max, const std::function<std::string(const Sha256&)>& key_of, const objects::ObjectLock& lock) override { return inner_->put_fd(fd, max, key_of, lock); }
  Result<std::string> get(const std::string& key, std::uint64_t max) override {
    if (key == denied_) return Error(base_errors::kIo, "permission denied");
    return inner_->get(key, max);
  }
  Result<Fd> open(const std::string& key) override { return inner_->open(key); }
  Result<objects::Info> stat(const std::string& key) override { return inner_->stat(key); }
  Result<std::vector<objects::Entry>> list(const std::string& prefix, const std::string& after, std::size_t limit) override { return inner_->list(prefix, after, limit); }
  Result<void> extend_retention(const std::string& key, Timestamp until) override { return inner_->extend_retention(key, until); }
  Result<void> set_legal_hold(const std::string& key, bool on) override { return inner_->set_legal_hold(key, on); }
  Result<objects::ObjectLock> lock_state(const std::string& key) override { return inner_->lock_state(key); }
  Result<void> remove(const std::string& key) override { return inner_->remove(key); }
  Result<void> probe() override { return inner_->probe(); }
  Result<objects::WormReport> worm_probe() override { return inner_->worm_probe(); }

 private:
  std::unique_ptr<objects::Store>& inner_;
  const std::string denied_;
};

// Two authorities: the certificate of one ends in 30 days, that of the other one outlives everybody here.
class Renewing : public Locking {
 protected:
  void SetUp() override {
    Locking::SetUp();
    time_.authorities = {{"brief", brief_.url()}, {"lasting", lasting_.url()}};
    time_.roots_pem = brief_.roots() + lasting_.roots();
    time_.pause = std::chrono::milliseconds(0);
    restart();
    lasting_.away = true;
    trust_.time = crypto::TimestampTrust::from_pem(time_.roots_pem).value();
    later_ = trust_;
    later_.at = Timestamp::now() + std::chrono::hours(24 * 60);
  }
  // A locker of its own begins every pass anew.
  void restart() { restart(*store_); }
  void restart(objects::Store& store) {
    LockerOptions options{root_ + "/tmp", "secret", std::chrono::milliseconds(250)};
    options.stamper = Stamper::make(time_).value();
    locker_ = std::make_unique<Locker>(locker_pool_, store, key_, options);
  }
  // A whole pass; how many bundles it looked at.
  int pass() {
    int looked = 0;
    for (;;) {
      const auto step = locker_->renew_round();
      EXPECT_TRUE(step.has_value()) << step.error().describe();
      if (!step || *step == 0) return looked;
      looked += *step;
    }
  }
  BundleId renewed() {
    const BundleId id = sealed();
    lasting_.away = false;
    EXPECT_EQ(pass(), 1);
    EXPECT_EQ(rows(id), "1");
    return id;
  }
  std::string rows(const BundleId& id) { return db_.sql("SELECT count(*) FROM evidence_time WHERE n > 0 AND bundle_id = '" + id.str() + "'"); }
  std::string file(const BundleId& id, std::string_view name) { return root_ + "/objects/" + object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, name); }
  void replace(const std::string& at, std::string_view bytes) {
    ASSERT_EQ(::unlink(at.c_str()), 0);
    ASSERT_TRUE(write_file_durable(at, bytes).has_value());
  }
  json::Value read(const BundleId& id, const Trust& trust) {
    auto t = tx();
    auto body = read_bundle(t, *store_, trust, id, TraceId::generate());
    EXPECT_TRUE(body.has_value()) << body.error().describe();
    return body ? std::move(*body) : json::Value();
  }
  static std::string said(const json::Value& verdict) {
    for (const json::Value& dimension : verdict.items("dimensions"))
      if (dimension.str("name") == "TIME") return std::string(dimension.str("outcome")) + " " + std::string(dimension.str("reason"));
    return "nothing: " + json::dump(verdict);
  }

  TimeAuthority brief_{30}, lasting_{3000};
  StamperOptions time_;
  Trust later_;  // of 60 days from now
};

TEST_F(Renewing, TimestampsAreRenewedBeforeTheyEnd) {
  const BundleId id = sealed();
  const std::string before = read_file(path(id), 1 << 28).value();
  const testing::WorkSeen seen;
  const auto counted = [](const char* outcome) { return testing::WorkSeen::counted("stella_evidence_renewals", {outcome}); };
  const double renewed = counted("renewed"), vain = counted("no_offer");
  // The seal wrote down until when it stands; nobody offers more than it has.
  EXPECT_EQ(db_.sql("SELECT stands_until BETWEEN now() + interval '29 days' AND now() + interval '31 days' FROM evidence_time WHERE n = 0"), "t");
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(rows(id), "0");
  EXPECT_NE(said(*read(id, later_).find("verdict")).find("nobody renewed it before"), std::string::npos);
  // One does.
  lasting_.away = false;
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(rows(id), "1");
  EXPECT_EQ(events("evidence.renewed"), "1");
  EXPECT_EQ(db_.sql("SELECT stands_until > now() + interval '2900 days' AND authority LIKE '%Authority%' FROM evidence_time WHERE n = 1"), "t");
  EXPECT_EQ(counted("renewed") - renewed, 1);
  EXPECT_EQ(counted("no_offer") - vain, 1);
  ASSERT_EQ(seen.spans("evidence.renew").size(), 2u) << "who asked in vain has one, too";
  EXPECT_EQ(seen.spans("evidence.renew")[1].status, "ok");
  EXPECT_EQ(seen.spans("evidence.renew")[1].tenant_id, "acme");
  EXPECT_NE(seen.spans("evidence.renew")[1].links.find(db_.sql("SELECT substr(traceparent, 4, 32) FROM evidence_snapshots LIMIT 1")), std::string::npos) << "it links to its snapshot's trace";
  const int asked = lasting_.asked;
  EXPECT_EQ(pass(), 1);  // whether the renewal is there
  EXPECT_EQ(lasting_.asked, asked);
  EXPECT_EQ(read_file(path(id), 1 << 28).value(), before);
  EXPECT_EQ(store_->lock_state(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "renewal-1.tsr")).value().mode,
            store_->lock_state(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "bundle.tgz")).value().mode);

  // What leaves with the bundle, and what a verifier makes of it when the first certificate has ended.
  const json::Value body = read(id, later_);
  EXPECT_EQ(said(*body.find("verdict")).substr(0, 4), "PASS") << said(*body.find("verdict"));
  auto t = tx();
  EXPECT_EQ(export_bundle(t, *store_, later_, id, "auditor", TraceId::generate()).value().renewals, 1u);
  ASSERT_EQ(body.items("time_renewals").size(), 1u);
  const json::Value& renewal = body.items("time_renewals")[0];
  const std::vector<TimeRenewal> renewals{{base64_decode(renewal.str("token")).value(), std::string(renewal.str("chain"))}};
  VerifyOptions verify;
  verify.trust = trust_.keys;
  verify.time_trust = &*trust_.time;
  verify.at = later_.at;
  EXPECT_EQ(verify_bundle_file(path(id), verify).value().of(Dimension::kTime).outcome, Outcome::kFail);
  verify.renewals = renewals;
  EXPECT_EQ(verify_bundle_file(path(id), verify).value().of(Dimension::kTime).outcome, Outcome::kPass);

  // An upload of it is judged with what its tenant has; another tenant has nothing.
  const Fd upload(::open(path(id).c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(said(verify_upload(t, *store_, upload.get(), later_, TraceId::generate()).value()).substr(0, 4), "PASS");
  db_.tenant("beta");
  auto other = tx("beta");
  EXPECT_EQ(said(verify_upload(other, *store_, upload.get(), later_, TraceId::generate()).value()).substr(0, 4), "FAIL");
}

TEST_F(Renewing, ACrashBetweenObjectsAndRowAsksNobodyTwice) {
  const BundleId id = renewed();
  const std::string token = read_file(file(id, "renewal-1.tsr"), 1 << 20).value(), chain = read_file(file(id, "renewal-1.pem"), 1 << 20).value();
  const int asked = lasting_.asked + brief_.asked;
  for (const bool whole : {true, false}) {
    db_.sql("DELETE FROM evidence_time WHERE n = 1");
    if (!whole) { ASSERT_EQ(::unlink(file(id, "renewal-1.pem").c_str()), 0); }
    restart();
    EXPECT_EQ(pass(), 1);
    EXPECT_EQ(rows(id), "1");
    EXPECT_EQ(read_file(file(id, "renewal-1.tsr"), 1 << 20).value(), token);
    EXPECT_EQ(read_file(file(id, "renewal-1.pem"), 1 << 20).value(), chain);
    EXPECT_EQ(said(*read(id, later_).find("verdict")).substr(0, 4), "PASS");
  }
  EXPECT_EQ(lasting_.asked + brief_.asked, asked);
  // What lies there and is no renewal of this bundle is not taken for one.
  db_.sql("DELETE FROM evidence_time WHERE n = 1");
  replace(file(id, "renewal-1.tsr"), read_file(path(id), 1 << 28).value().substr(0, 2000));
  restart();
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(rows(id), "0");
}

TEST_F(Renewing, BundlesOfBeforeAreLookedAtAndABrokenOneHoldsUpNobody) {
  const BundleId broken = sealed(), whole = sealed("CASE-1", true);
  db_.sql("DELETE FROM evidence_time");
  // Another bundle in its place: renewing that one's stamps would vouch for what nobody sealed here.
  const std::string bytes = read_file(path(broken), 1 << 28).value();
  replace(path(broken), read_file(path(whole), 1 << 28).value());
  lasting_.away = false;
  EXPECT_EQ(pass(), 3);  // both, and the whole one again: it is due
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_time WHERE bundle_id = '" + broken.str() + "'"), "0");
  EXPECT_EQ(rows(whole), "1");
  replace(path(broken), bytes);
  EXPECT_EQ(pass(), 2);  // the whole one to be looked after
  EXPECT_EQ(pass(), 2);  // now it has its place in the order
  EXPECT_EQ(rows(broken), "1");
  EXPECT_EQ(events("evidence.renewed"), "2");
}

// It ends first, so that every pass comes to it before the others.
TEST_F(Renewing, ARenewalThatCannotBeReadHoldsUpNobody) {
  const BundleId id = renewed();
  lasting_.away = true;
  const BundleId second = sealed("CASE-1", true), third = sealed("CASE-1", true);
  lasting_.away = false;
  db_.sql("UPDATE evidence_time SET stands_until = stands_until - interval '1 day' WHERE n = 0 AND bundle_id = '" + id.str() + "'");
  WithoutOne store(store_, object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "renewal-1.tsr"));
  restart(store);
  const double failed = testing::WorkSeen::counted("stella_evidence_renewals", {"failed"});
  EXPECT_EQ(pass(), 3);
  EXPECT_EQ(rows(second), "1");
  EXPECT_EQ(rows(third), "1");
  EXPECT_EQ(testing::WorkSeen::counted("stella_evidence_renewals", {"failed"}) - failed, 1);
  EXPECT_EQ(events("evidence.renewal_lost"), "0") << "nobody knows what is there";
  locker_.reset();
}

TEST_F(Renewing, WhatNobodyCanReadAnyMoreIsLeftAlone) {
  const BundleId id = sealed();
  sealed("CASE-1", true);
  db_.sql("DELETE FROM evidence_time WHERE bundle_id = '" + id.str() + "'");
  db_.sql("INSERT INTO key_dispositions (tenant_id, disposition_id, key_id, state, purpose, planned_at, planned_event) VALUES ('acme', gen_random_uuid(), 'tenant/acme', 'executed', 'off-boarding', now(), gen_random_uuid())");
  lasting_.away = false;
  EXPECT_EQ(pass(), 0);
  db_.sql("UPDATE key_dispositions SET state = 'refused'");
  EXPECT_EQ(pass(), 2);
}

TEST_F(Renewing, OfAHeldCaseIsHeldFromItsFirstMoment) {
  const BundleId id = sealed();
  db_.sql("INSERT INTO evidence_holds (tenant_id, hold_id, case_id, authority, reason, placed_by) VALUES ('acme', '" + Uuid::v7().str() + "', 'CASE-1', 'court', 'order', 'user:x')");
  lasting_.away = false;
  EXPECT_EQ(pass(), 1);
  for (const char* name : {"renewal-1.tsr", "renewal-1.pem"})
    EXPECT_TRUE(store_->lock_state(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, name)).value().legal_hold) << name;
}

TEST_F(Renewing, WhatIsDoneToRenewalsInTheStoreIsSeen) {
  const BundleId other = sealed(), id = sealed("CASE-1", true);
  lasting_.away = false;
  EXPECT_EQ(pass(), 2);
  const std::string at = file(id, "renewal-1.tsr"), token = read_file(at, 1 << 20).value();
  const auto judged = [&] { return said(*read(id, later_).find("verdict")); };
  ASSERT_EQ(judged().substr(0, 4), "PASS");
  // Of other bytes, dropped, and with its row dropped, too.
  replace(at, token.substr(0, token.size() - 1) + "x");
  EXPECT_EQ(judged().substr(0, 4), "FAIL");
  EXPECT_NE(judged().find("the store does not have renewal-1.tsr any more as it was written"), std::string::npos) << judged();
  EXPECT_EQ(read(id, later_).items("time_renewals").size(), 0u);
  ASSERT_EQ(::unlink(at.c_str()), 0);
  EXPECT_NE(judged().find("the store does not have renewal-1.tsr any more as it was written"), std::string::npos) << judged();
  // While the stamp itself stands it passes, and says so all the same.
  const std::string now = said(*read(id, trust_).find("verdict"));
  EXPECT_EQ(now.substr(0, 4), "PASS");
  EXPECT_NE(now.find("renewal-1.tsr"), std::string::npos) << now;
  ASSERT_TRUE(write_file_durable(at, token).has_value());
  EXPECT_EQ(judged().substr(0, 4), "PASS");
  // That of another bundle, with a row that fits it.
  const std::string others = read_file(file(other, "renewal-1.tsr"), 1 << 20).value();
  replace(at, others);
  db_.sql("UPDATE evidence_time SET token_sha256 = decode('" + crypto::sha256(others).hex() + "', 'hex') WHERE n = 1 AND bundle_id = '" + id.str() + "'");
  EXPECT_EQ(judged().substr(0, 4), "FAIL");
  EXPECT_NE(judged().find("time/renewal-1.tsr"), std::string::npos) << judged();
}

// The store lost one: what it renewed still stands, so that it is renewed again, and nobody can overlook that.
TEST_F(Renewing, ALostRenewalIsToldOfAndRenewalsGoOn) {
  const BundleId id = renewed();
  ASSERT_EQ(::unlink(file(id, "renewal-1.tsr").c_str()), 0);
  EXPECT_EQ(said(*read(id, later_).find("verdict")).substr(0, 4), "FAIL");
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(events("evidence.renewal_lost"), "1");
  EXPECT_EQ(events("evidence.renewed"), "2");
  EXPECT_EQ(db_.sql("SELECT string_agg(n || ' ' || (lost_at IS NOT NULL), ',' ORDER BY n) FROM evidence_time"), "0 false,1 true,2 false");
  const json::Value body = read(id, later_);
  EXPECT_EQ(said(*body.find("verdict")).substr(0, 4), "PASS") << said(*body.find("verdict"));
  EXPECT_NE(said(*body.find("verdict")).find("renewal-1.tsr was lost or rested on a lost one, as seen at "), std::string::npos) << said(*body.find("verdict"));
  ASSERT_EQ(body.items("time_renewals").size(), 1u);
  EXPECT_EQ(body.items("time_renewals")[0].integer("renewal"), 2);
  // What leaves with the bundle verifies where nothing is known of the loss.
  const json::Value& renewal = body.items("time_renewals")[0];
  const std::vector<TimeRenewal> renewals{{base64_decode(renewal.str("token")).value(), std::string(renewal.str("chain"))}};
  VerifyOptions verify;
  verify.trust = trust_.keys;
  verify.time_trust = &*trust_.time;
  verify.at = later_.at;
  verify.renewals = renewals;
  EXPECT_EQ(verify_bundle_file(path(id), verify).value().of(Dimension::kTime).outcome, Outcome::kPass);
  // Told once; nobody is asked again.
  const int asked = lasting_.asked;
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(events("evidence.renewal_lost"), "1");
  EXPECT_EQ(lasting_.asked, asked);
}

// What lies where the next one belongs and rests on the lost one is passed over; where what was renewed has ended, the loss is told of all the same.
TEST_F(Renewing, WhatRestsOnALostRenewalCountsNoMore) {
  const BundleId id = renewed();
  const std::string first = read_file(file(id, "renewal-1.tsr"), 1 << 20).value();
  ASSERT_TRUE(write_file_durable(file(id, "renewal-2.tsr"), first + "y").has_value());  // of before a crash
  replace(file(id, "renewal-1.tsr"), first + "x");
  lasting_.away = true;
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(events("evidence.renewal_lost"), "1");
  EXPECT_EQ(rows(id), "1") << "nobody offers a stamp";
  lasting_.away = false;
  EXPECT_EQ(pass(), 1);
  EXPECT_EQ(db_.sql("SELECT string_agg(n || ' ' || (lost_at IS NOT NULL), ',' ORDER BY n) FROM evidence_time"), "0 false,1 true,3 false");
  EXPECT_EQ(said(*read(id, later_).find("verdict")).substr(0, 4), "PASS");
}

TEST_F(Renewing, ARedactedCopyTakesOverWhatRenewedItsOriginal) {
  const BundleId id = renewed();
  const int asked = lasting_.asked + brief_.asked;
  auto u = tx();
  const auto copy = request_redaction(u, {id, {"data/trace.ndjson"}, "privacy", TraceId::generate(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}).value();
  ASSERT_TRUE(u.commit().has_value());
  ASSERT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(pass(), 3);  // it, and then both of them in their order
  EXPECT_EQ(rows(copy.bundle_id), "1");
  EXPECT_EQ(lasting_.asked + brief_.asked, asked);
  EXPECT_EQ(read_file(file(copy.bundle_id, "renewal-1.tsr"), 1 << 20).value(), read_file(file(id, "renewal-1.tsr"), 1 << 20).value());
  EXPECT_EQ(said(*read(copy.bundle_id, later_).find("verdict")).substr(0, 4), "PASS");
}

}  // namespace
}  // namespace stella::evidence
