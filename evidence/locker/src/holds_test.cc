// Holds, retention and deletions on a real database and store: each rule once by name, then random histories against a model.
#include "stella/evidence/locker/holds.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <random>
#include <set>

#include "retention_rules.h"
#include "s3_test_support.h"
#include "stella/testing/work_seen.h"
#include "test_holding.h"

namespace stella::evidence {
namespace {

TEST_F(Holding, TwoPeopleReleaseAHold) {
  EXPECT_EQ(step(request_release, "C-1", kAnn), "error: no such hold is in force");
  EXPECT_EQ(step(place_hold, "C-1", kAnn), "placed");
  EXPECT_EQ(step(place_hold, "C-1", kBob), "unchanged");
  EXPECT_EQ(step(confirm_release, "C-1", kBob), "refused") << "nobody has asked";
  EXPECT_EQ(step(request_release, "C-1", kAnn), "release_requested");
  EXPECT_EQ(step(request_release, "C-1", kAnn), "unchanged");
  EXPECT_EQ(step(request_release, "C-1", kBob), "refused");
  EXPECT_EQ(step(confirm_release, "C-1", kAnn), "refused");
  EXPECT_EQ(act(confirm_release, "C-1", kAnn)->refused->code(), errors::kForbidden);
  EXPECT_EQ(events("disposition.refused"), "4");
  EXPECT_EQ(events("hold.released"), "0");
  const auto released = act(confirm_release, "C-1", kBob, "", "");
  ASSERT_TRUE(released.has_value());
  EXPECT_EQ(released->step, "released");
  EXPECT_FALSE(released->state.boolean("held"));
  EXPECT_EQ(events("hold.released"), "1");
  EXPECT_NE(db_.sql("SELECT convert_from(entry, 'UTF8') FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%hold.released%'").find("[\"" + std::string(kAnn) + "\",\"" + std::string(kBob) + "\"]"), std::string::npos);
  // The record stays, and the same authority may demand it again.
  EXPECT_EQ(step(place_hold, "C-1", kEve), "placed");
  auto t = tx();
  EXPECT_EQ(hold_state(t, CaseId::parse("C-1").value(), 2)->items("holds").size(), 2u);
}

// An administrator can make a login and choose its secret: that is no second person, however many logins lie between.
TEST_F(Holding, NobodyReleasesAHoldWithALoginOfTheirOwnMaking) {
  const auto uuid = [](std::string_view actor) { return std::string(actor.substr(actor.find(':') + 1)); };
  const std::string between = "00000000-0000-7000-8000-0000000000cc", robot = "service:00000000-0000-7000-8000-0000000000dd";
  const auto made = [&](const std::string& id, const std::string& by) {
    db_.sql("INSERT INTO principals (tenant_id, principal_id, kind, login, secret_hash, created_by) VALUES ('acme', '" + id + "', 'user', '" + id + "', 'x', " + (by.empty() ? "NULL" : "'" + by + "'") + ")");
  };
  made(uuid(kAnn), "");
  made(between, uuid(kAnn));
  made(uuid(kBob), between);
  made(uuid(kEve), "");
  const auto refused = [&](std::string_view first, std::string_view second) {
    EXPECT_EQ(step(place_hold, "C-1", kEve), "placed");
    EXPECT_EQ(step(request_release, "C-1", first), "release_requested");
    const auto out = act(confirm_release, "C-1", second, "", "");
    EXPECT_TRUE(out.has_value() && out->refused && out->refused->code() == errors::kForbidden) << first << " and " << second;
    return out.has_value() && out->refused ? std::string(out->refused->message()) : std::string();
  };
  EXPECT_NE(refused(kAnn, kBob).find("made the other's login"), std::string::npos);
  EXPECT_NE(refused(kBob, kAnn).find("made the other's login"), std::string::npos);
  EXPECT_NE(refused(kAnn, robot).find("no service account"), std::string::npos);
  EXPECT_EQ(events("disposition.refused"), "3");
  EXPECT_EQ(events("hold.released"), "0");
  EXPECT_EQ(step(confirm_release, "C-1", kEve), "released") << "whose login neither made";
  EXPECT_EQ(step(place_hold, "C-1", kAnn), "placed");
  EXPECT_EQ(step(request_release, "C-1", robot), "release_requested");
  EXPECT_EQ(step(confirm_release, "C-1", kBob), "released") << "a service account may ask";
}

TEST_F(Holding, OnePersonWhereTheSettingSaysSo) {
  EXPECT_EQ(step(place_hold, "C-1", kAnn), "placed");
  EXPECT_EQ(step(request_release, "C-1", kAnn, "court 7", 1), "released");
  EXPECT_EQ(step(place_hold, "C-1", kAnn), "placed");
  EXPECT_EQ(step(request_release, "C-1", kAnn), "release_requested");
  EXPECT_EQ(step(confirm_release, "C-1", kAnn, "court 7", 1), "released");
}

TEST_F(Holding, HoldsAreASet) {
  EXPECT_EQ(step(place_hold, "C-1", kAnn, "court 7"), "placed");
  EXPECT_EQ(step(place_hold, "C-1", kAnn, "regulator"), "placed");
  const auto which = act(request_release, "C-1", kAnn, "");
  ASSERT_FALSE(which.has_value());
  EXPECT_EQ(which.error().code(), base_errors::kInvalid);
  EXPECT_EQ(which.error().field("expected"), "court 7, regulator");
  EXPECT_EQ(step(request_release, "C-1", kAnn, "court 7"), "release_requested");
  EXPECT_EQ(step(confirm_release, "C-1", kBob, "regulator"), "refused");
  EXPECT_EQ(step(confirm_release, "C-1", kBob, "court 7"), "released");
  auto t = tx();
  EXPECT_TRUE(hold_state(t, CaseId::parse("C-1").value(), 2)->boolean("held"));
  // Placed again while a release is wished for: the wish is gone.
  EXPECT_EQ(step(request_release, "C-1", kAnn, "regulator"), "release_requested");
  EXPECT_EQ(step(place_hold, "C-1", kEve, "regulator"), "placed");
  EXPECT_EQ(step(confirm_release, "C-1", kBob, "regulator"), "refused");
}

TEST_F(Holding, TextsOfTheRecordAreChecked) {
  for (const auto& [authority, reason] : {std::pair<std::string, std::string>{"", "why"}, {"court", ""}, {" ", "why"}, {"court", "\n"}, {std::string(kAuthorityBytes + 1, 'a'), "why"}, {"court", std::string(kHoldReasonBytes + 1, 'a')}}) {
    const auto out = act(place_hold, "C-1", kAnn, authority, reason);
    ASSERT_FALSE(out.has_value()) << authority << "/" << reason;
    EXPECT_EQ(out.error().code(), base_errors::kInvalid);
  }
  EXPECT_EQ(events("hold.placed"), "0");
}

TEST_F(Holding, TheStoresBitFollowsTheSet) {
  const BundleId a = sealed("C-1", "common"), b = sealed("C-2", "common");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  const std::string payload = object_key::object(acme_, crypto::sha256("common"));
  EXPECT_FALSE(bit(key(a, "C-1")));
  step(place_hold, "C-1", kAnn, "court");
  step(place_hold, "C-1", kAnn, "regulator");
  step(place_hold, "C-2", kAnn, "court");
  ASSERT_TRUE(k->round().has_value());
  for (const char* file : {"bundle.tgz", "manifest.json", "root.merkle"}) EXPECT_TRUE(bit(key(a, "C-1", file))) << file;
  EXPECT_TRUE(bit(key(b, "C-2")));
  EXPECT_TRUE(bit(payload));
  const auto release = [&](const std::string& case_id, const std::string& authority) {
    EXPECT_EQ(step(request_release, case_id, kAnn, authority), "release_requested");
    EXPECT_EQ(step(confirm_release, case_id, kBob, authority), "released");
    ASSERT_TRUE(k->round().has_value());
  };
  release("C-1", "court");
  EXPECT_TRUE(bit(key(a, "C-1"))) << "the regulator's hold is left";
  release("C-1", "regulator");
  EXPECT_FALSE(bit(key(a, "C-1")));
  EXPECT_TRUE(bit(key(b, "C-2")));
  EXPECT_TRUE(bit(payload)) << "the other case needs it";
  // Somebody switched the bit off in the store: it is on again.
  pass(seconds(1));
  ASSERT_TRUE(store_->set_legal_hold(key(b, "C-2"), false).has_value());
  ASSERT_TRUE(k->round().has_value());
  EXPECT_TRUE(bit(key(b, "C-2")));
  release("C-2", "court");
  EXPECT_FALSE(bit(payload));
  // A bit that others put there is not ours to lift, and keeps the bundle.
  pass(seconds(1));
  ASSERT_TRUE(store_->set_legal_hold(key(a, "C-1"), true).has_value());
  ASSERT_TRUE(k->round().has_value());
  EXPECT_TRUE(bit(key(a, "C-1")));
  pass(hours(24 * 400));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(dispose(*k, a), Disposition::kRefused);
}

TEST_F(Holding, RetentionReachesTheStore) {
  now_ = Timestamp::now();
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  const auto lock = store_->lock_state(key(id, "C-1")).value();
  EXPECT_NE(lock.mode, objects::LockMode::kNone);
  EXPECT_GE(lock.retain_until, now_ + hours(24));
  EXPECT_LT(lock.retain_until, now_ + hours(24) + seconds(2));
  for (const auto by : {RetentionBy::kPerson, RetentionBy::kIncident}) {
    const Timestamp until = now_ + hours(by == RetentionBy::kPerson ? 48 : 72);
    auto t = tx();
    EXPECT_EQ(extend_retention(t, CaseId::parse("C-1").value(), until, by, "audit", TraceId::generate(), "").value().until, until);
    EXPECT_EQ(extend_retention(t, CaseId::parse("C-1").value(), until - hours(40), by, "shorter", TraceId::generate(), "").value().until, until) << "only grows";
    ASSERT_TRUE(t.commit().has_value());
    ASSERT_TRUE(k->round().has_value());
    EXPECT_GE(store_->lock_state(key(id, "C-1"))->retain_until, until);
  }
  auto t = tx();
  EXPECT_EQ(extend_retention(t, id, now_ + hours(100), "audit", TraceId::generate(), "").value().until, now_ + hours(100));
  EXPECT_FALSE(extend_retention(t, id, now_ + hours(99), "less", TraceId::generate(), "").value().grew);
  EXPECT_EQ(extend_retention(t, BundleId::generate(), now_, "x", TraceId::generate(), "").error().code(), base_errors::kNotFound);
  EXPECT_EQ(extend_retention(t, id, now_ + hours(200), " ", TraceId::generate(), "").error().field("field"), "reason");
  EXPECT_EQ(extend_retention(t, sealed("C-1", "young"), now_ + hours(200), "x", TraceId::generate(), "").error().code(), errors::kNotReady) << "no row of the keeper yet";
  EXPECT_EQ(extend_retention(t, id, now_ + hours(24 * 365 * 101), "x", TraceId::generate(), "").error().code(), base_errors::kInvalid);
  ASSERT_TRUE(t.commit().has_value());
  ASSERT_TRUE(k->round().has_value());
  EXPECT_GE(store_->lock_state(key(id, "C-1"))->retain_until, now_ + hours(100));
  EXPECT_EQ(events("retention.extended"), "3") << "what changes nothing is no event";
  // The rows forgot it, the store has not: its own lock keeps the bundle.
  db_.sql("UPDATE evidence_retention SET retain_until = '2020-01-01', applied = wanted; DELETE FROM evidence_cases");
  std::string reason;
  EXPECT_EQ(dispose(*k, id, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, "its retention has not ended");
}

TEST_F(Holding, ABundleIsDeletedInThreeSteps) {
  const BundleId id = sealed("C-1"), other = sealed("C-2", "other");
  auto k = keeper({.dispose = true});
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.planned"), "0");
  pass(hours(24));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.planned"), "0") << "the last instant is still kept";
  EXPECT_EQ(step(place_hold, "C-2", kAnn), "placed");
  pass(microseconds(1));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.planned"), "1");
  EXPECT_EQ(events("disposition.refused"), "1") << "the held one";
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.refused"), "1") << "told once a day";
  EXPECT_TRUE(store_->stat(key(id, "C-1")).has_value());
  sign_log();
  ASSERT_TRUE(k->round().has_value());
  sign_log();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(state(id), "disposed");
  EXPECT_EQ(store_->stat(key(id, "C-1")).error().code(), base_errors::kNotFound);
  EXPECT_EQ(store_->stat(object_key::object(acme_, crypto::sha256("payload"))).error().code(), base_errors::kNotFound);
  for (const char* file : {"manifest.json", "root.merkle"}) EXPECT_TRUE(store_->stat(key(id, "C-1", file)).has_value()) << "commitments stay: " << file;
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_bundles"), "2");
  EXPECT_EQ(events("disposition.executed"), "1");
  EXPECT_EQ(state(other), "sealed");
  EXPECT_TRUE(store_->stat(key(other, "C-2")).has_value());
}

TEST_F(Holding, EachStepOfADeletionHasItsSpanAndIsCounted) {
  const auto steps = [] {
    std::vector<double> out;
    for (const char* step : {"planned", "executed", "held"}) out.push_back(testing::WorkSeen::counted("stella_dispositions", {"bundle", step}));
    return out;
  };
  const BundleId id = sealed("C-1");
  (void)sealed("C-2", "other");
  auto k = keeper({.dispose = true});
  const testing::WorkSeen seen;
  const auto before = steps();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(seen.spans("evidence.adopt").size(), 1u);
  EXPECT_FALSE(seen.spans("evidence.lock").empty());
  EXPECT_EQ(seen.spans("evidence.dispose").size(), 0u);
  step(place_hold, "C-2", kAnn);
  pass(hours(25));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(k->round().has_value());
    sign_log();
  }
  EXPECT_EQ(state(id), "disposed");
  const auto after = steps();
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i] - before[i], 1) << i;
  const auto spans = seen.spans("evidence.dispose");
  ASSERT_EQ(spans.size(), 3u) << "planned, held, executed; waiting leaves none";
  for (const auto& span : spans) {
    EXPECT_EQ(span.tenant_id, "acme");
    EXPECT_EQ(span.parent_span_id, "");
    EXPECT_EQ(span.status, "ok");
    EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_log WHERE position('" + span.trace_id + "' in convert_from(entry, 'UTF8')) > 0 AND convert_from(entry, 'UTF8')::json->>'kind' LIKE 'disposition.%'"), "1") << "its event names its trace";
  }
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(seen.spans("evidence.adopt").size(), 1u) << "nothing new";
}

TEST_F(Holding, WhatTheStoreKeepsALittleLongerIsNoRefusal) {
  now_ = Timestamp::now();
  const BundleId id = sealed("C-1");
  auto k = keeper({.dispose = true});
  ASSERT_TRUE(k->round().has_value());
  const Timestamp lock = store_->lock_state(key(id, "C-1"))->retain_until;  // in whole seconds, rounded up
  pass(hours(24) + microseconds(1));
  ASSERT_LE(now_, lock);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.refused"), "0");
  EXPECT_EQ(events("disposition.planned"), "0");
  pass(lock - now_ + microseconds(1));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.planned"), "1");
  // So is the retention of its case.
  const BundleId other = sealed("C-2", "other");
  ASSERT_TRUE(k->round().has_value());
  auto t = tx();
  ASSERT_TRUE(extend_retention(t, CaseId::parse("C-2").value(), now_ + hours(50), RetentionBy::kIncident, "incident", TraceId::generate(), "").has_value());
  ASSERT_TRUE(t.commit().has_value());
  pass(hours(49));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM dispositions WHERE bundle_id = '" + other.str() + "'"), "0");
}

TEST_F(Holding, AHoldThatComesBetweenStopsTheDeletion) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  EXPECT_EQ(k->plan(acme_, id)->state, Disposition::kPlanned);
  EXPECT_EQ(k->plan(acme_, id).error().code(), errors::kConflict);
  sign_log();
  step(place_hold, "C-1", kAnn);
  const auto refused = k->execute(acme_, id).value();
  EXPECT_EQ(refused.state, Disposition::kRefused);
  EXPECT_EQ(refused.reason, "a legal hold is in force");
  EXPECT_EQ(events("disposition.refused"), "1");
  EXPECT_TRUE(store_->stat(key(id, "C-1")).has_value());
  EXPECT_EQ(k->execute(acme_, id).error().code(), base_errors::kNotFound) << "it has to be planned again";
}

// Or 64 bundles of a tenant whose log gets no checkpoint would stop every other tenant's deletion.
TEST_F(Holding, APlanThatWaitsStandsBehindTheOthers) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  ASSERT_EQ(k->plan(acme_, id)->state, Disposition::kPlanned);
  // 64 of them, planned before that of another tenant.
  db_.sql("INSERT INTO dispositions SELECT (jsonb_populate_record(d, jsonb_build_object('disposition_id', gen_random_uuid(), 'bundle_id', gen_random_uuid(), 'planned_at', d.planned_at - n * interval '1 hour', 'planned_event', gen_random_uuid()))).* "
          "FROM dispositions d, generate_series(1, 64) n");
  sign_log();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(state(id), "sealed") << "the others came first";
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(state(id), "disposed");
}

// A process that has no keys leaves their ends to the one that has.
TEST_F(Holding, AKeeperWithoutTheKeysPutsNothingOff) {
  keys_ = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
  ASSERT_TRUE(keys_->add_key("tenant/acme"));
  ASSERT_EQ(keeper()->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
  const std::string before = db_.sql("SELECT not_before FROM key_dispositions");
  auto held = std::move(keys_);
  EXPECT_TRUE(keeper()->round().has_value());
  EXPECT_EQ(db_.sql("SELECT not_before FROM key_dispositions"), before);
}

TEST_F(Holding, ACrashInTheMiddleOfADeletionIsFinished) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  EXPECT_EQ(k->plan(acme_, id)->state, Disposition::kPlanned);
  sign_log();
  // The process ended after the object was gone and before its commit; then somebody placed a hold.
  db_.sql("UPDATE dispositions SET state = 'deleting'");
  ASSERT_TRUE(store_->remove(key(id, "C-1")).has_value());
  step(place_hold, "C-1", kAnn);
  EXPECT_EQ(k->execute(acme_, id)->state, Disposition::kExecuted);
  EXPECT_EQ(state(id), "disposed");
  // An object that is gone although nobody had begun is another matter.
  const BundleId lost = sealed("C-3", "lost");
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  ASSERT_TRUE(store_->remove(key(lost, "C-3")).has_value());
  std::string reason;
  EXPECT_EQ(dispose(*k, lost, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, "the store does not have it any more");
}

TEST_F(Holding, WhoeverReadsABundleKeepsIt) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  {
    auto reader = tx();
    const auto verdict = verify_stored(reader, *store_, Trust{}, id, TraceId::generate());
    ASSERT_TRUE(verdict.has_value()) << verdict.error().describe();
    EXPECT_EQ(k->plan(acme_, id)->reason, "an export or a verification is under way");
  }
  EXPECT_EQ(dispose(*k, id), Disposition::kExecuted);
  auto reader = tx();
  const auto gone = verify_stored(reader, *store_, Trust{}, id, TraceId::generate());
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code(), base_errors::kNotFound);
}

TEST_F(Holding, AClockThatJumpsFreezesDeletions) {
  const BundleId id = sealed("C-1");
  auto k = keeper({.dispose = true});
  ASSERT_TRUE(k->round().has_value());
  now_ = now_ + hours(48);  // without time passing
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "the clock went far forward");
  EXPECT_EQ(events("disposition.frozen"), "1");
  EXPECT_EQ(events("disposition.planned"), "0");
  EXPECT_EQ(k->plan(acme_, id)->reason, "the clock cannot be believed");
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(events("disposition.frozen"), "1") << "told once";
  now_ = now_ - hours(48);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "");
  now_ = now_ - hours(1);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "the clock went back");
  now_ = now_ + hours(1);
  pass(hours(24 * 30));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "") << "time that was measured is believed";
  // After a restart a week is believed, more is not, until a person says so; and that counts once.
  now_ = now_ + hours(24 * 8);
  k = keeper({.dispose = true});
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "the clock went far forward");
  const KeeperOptions checked{.dispose = true, .clock_checked = now_.rfc3339()};
  k = keeper(checked);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "");
  now_ = now_ + hours(24 * 8);
  k = keeper(checked);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(k->frozen(), "the clock went far forward");
}

// Each by its own clock: the one that is wrong says so once, the other one goes on.
TEST_F(Holding, ProcessesOfDifferentClocksDoNotContradictEachOther) {
  auto right = keeper();
  ASSERT_TRUE(right->round().has_value());
  Timestamp ahead = now_;
  KeeperOptions options;
  options.now = [&] { return ahead; };
  options.elapsed = [this] { return elapsed_; };
  Keeper wrong(locker_, *store_, options);
  ASSERT_TRUE(wrong.round().has_value());
  ahead = now_ + hours(2);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(wrong.round().has_value());
    ASSERT_TRUE(right->round().has_value());
    EXPECT_EQ(db_.sql("SELECT frozen_reason FROM evidence_clock"), "the clock went far forward");
  }
  EXPECT_EQ(wrong.frozen(), "the clock went far forward");
  EXPECT_EQ(right->frozen(), "");
  EXPECT_EQ(events("disposition.frozen"), "1");
  // It is put right, and freezes the other way another time.
  ahead = now_;
  ASSERT_TRUE(wrong.round().has_value());
  EXPECT_EQ(db_.sql("SELECT frozen_reason FROM evidence_clock"), "");
  ahead = now_ - hours(2);
  ASSERT_TRUE(wrong.round().has_value());
  EXPECT_EQ(events("disposition.frozen"), "2");
  // What a process left that is gone ends with the next one that begins.
  ASSERT_TRUE(right->round().has_value());
  EXPECT_EQ(db_.sql("SELECT frozen_reason FROM evidence_clock"), "the clock went back");
  ASSERT_TRUE(keeper()->round().has_value());
  EXPECT_EQ(db_.sql("SELECT frozen_reason FROM evidence_clock"), "");
}

TEST_F(Holding, WhatACopyIsMadeFromStays) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  ASSERT_TRUE(k->round().has_value());
  const BundleId copy = BundleId::generate();
  db_.sql("INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, state, requested_by, traceparent, trace_id, derived_from) VALUES ('acme', '" + copy.str() + "', 'C-1', 'job', '" + id.str() +
          "', 'built', 'user:x', '', '', '" + id.str() + "')");
  std::string reason;
  EXPECT_EQ(dispose(*k, id, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, reason_of(Kept::kInUse));
  db_.sql("UPDATE evidence_snapshots SET state = 'failed' WHERE bundle_id = '" + copy.str() + "'");
  EXPECT_EQ(dispose(*k, id), Disposition::kExecuted);
}

TEST_F(Holding, RetentionMayBeginWhenTheCaseIsClosed) {
  const BundleId id = sealed("C-1");
  auto k = keeper({.base_event = "case_closed"});
  ASSERT_TRUE(k->round().has_value());
  std::string reason;
  EXPECT_EQ(dispose(*k, id, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, "the event that starts its retention has not happened");
  for (int i = 0; i < 2; ++i) {
    auto t = tx();
    EXPECT_EQ(close_case(t, CaseId::parse("C-1").value(), "done", TraceId::generate(), "").value(), i == 0);
    ASSERT_TRUE(t.commit().has_value());
  }
  EXPECT_EQ(events("case.closed"), "1");
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT r.base_at = c.closed_at AND r.retain_until = c.closed_at + interval '24 hours' FROM evidence_retention r, evidence_cases c"), "t");
  EXPECT_FALSE(Keeper::check({.base_event = "never"}).has_value());
  EXPECT_FALSE(Keeper::check({.clock_checked = "today"}).has_value());
  EXPECT_TRUE(Keeper::check({}).has_value());
}

TEST_F(Holding, KeysAndTenantsAreNotDestroyedUnderAHold) {
  const auto ask = [&] {
    auto t = tx();
    auto refused = refuse_under_hold(t, "the tenant's key", TraceId::generate(), "");
    EXPECT_TRUE(refused.has_value() && t.commit().has_value());
    return std::move(*refused);
  };
  EXPECT_FALSE(ask().has_value());
  step(place_hold, "C-1", kAnn);
  const auto refused = ask();
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->code(), errors::kConflict);
  EXPECT_EQ(refused->field("held_by"), "C-1 (court 7)");
  EXPECT_EQ(events("disposition.refused"), "1");
  step(request_release, "C-1", kAnn);
  step(confirm_release, "C-1", kBob);
  EXPECT_FALSE(ask().has_value());
}

// Crypto-shredding is a deletion of everything at once: the same rules, the same three steps.
TEST_F(Holding, ATenantsKeyIsDestroyedWhenNothingNeedsIt) {
  keys_ = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
  auto k = keeper();
  const testing::WorkSeen seen;
  const double held = testing::WorkSeen::counted("stella_dispositions", {"key", "held"});
  EXPECT_EQ(k->plan_key(acme_, "off-boarding").error().code(), base_errors::kNotFound) << "there is no key";
  ASSERT_TRUE(keys_->add_key("tenant/acme"));
  ASSERT_TRUE(keys_->add_key("tenant/beta"));
  EXPECT_EQ(k->plan_key(acme_, "").error().field("field"), "reason");
  const BundleId id = sealed("C-1");
  ASSERT_TRUE(k->round());
  // Its retention, then a hold.
  auto refused = k->plan_key(acme_, "off-boarding");
  ASSERT_TRUE(refused) << refused.error().describe();
  EXPECT_EQ(refused->state, Disposition::kRefused);
  EXPECT_NE(refused->reason.find(id.str()), std::string::npos) << refused->reason;
  pass(hours(25));
  ASSERT_TRUE(k->round());
  step(place_hold, "C-9", kAnn);  // a case without a bundle yet
  refused = k->plan_key(acme_, "off-boarding");
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->state, Disposition::kRefused);
  EXPECT_NE(refused->reason.find("C-9 (court 7)"), std::string::npos) << refused->reason;
  EXPECT_EQ(events("disposition.refused"), "2");
  EXPECT_EQ(k->execute_key(acme_).error().code(), base_errors::kNotFound) << "nothing is planned";
  step(request_release, "C-9", kAnn);
  step(confirm_release, "C-9", kBob);
  ASSERT_EQ(k->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
  EXPECT_EQ(k->plan_key(acme_, "off-boarding").error().code(), errors::kConflict) << "once";
  EXPECT_EQ(k->execute_key(acme_)->state, Disposition::kWaiting) << "no checkpoint covers the plan";
  sign_log();
  // A hold that comes between plan and deed counts.
  step(place_hold, "C-1", kAnn);
  ASSERT_TRUE(k->round());  // asks for the checkpoint where none is due
  sign_log();
  ASSERT_TRUE(k->round());
  EXPECT_EQ(db_.sql("SELECT state || ' ' || reason FROM key_dispositions").substr(0, 8), "refused ");
  EXPECT_EQ(testing::WorkSeen::counted("stella_dispositions", {"key", "held"}) - held, 2);
  ASSERT_FALSE(seen.spans("evidence.keys").empty());
  EXPECT_EQ(seen.spans("evidence.keys").back().tenant_id, "acme");
  EXPECT_EQ(keys_->key_ids().size(), 2u);
  step(request_release, "C-1", kAnn);
  step(confirm_release, "C-1", kBob);
  ASSERT_TRUE(k->round());
  ASSERT_EQ(k->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
  sign_log();
  EXPECT_TRUE(k->execute_key(acme_));  // asks for the checkpoint where none is due
  sign_log();
  ASSERT_TRUE(k->round()) << "the keeper does the rest by itself";
  EXPECT_EQ(db_.sql("SELECT count(*) FROM key_dispositions WHERE state = 'executed'"), "1");
  EXPECT_EQ(keys_->key_ids(), std::vector<std::string>{"tenant/beta"});
  EXPECT_EQ(events("disposition.executed"), "1");
  EXPECT_EQ(keys_->add_key("tenant/acme").error().field("reason"), "destroyed");
  EXPECT_EQ(k->plan_key(acme_, "again").error().code(), base_errors::kNotFound);
}

TEST_F(Holding, ATenantsKeyIsRotatedAndAllItsVersionsEndTogether) {
  auto k = keeper();
  EXPECT_EQ(k->rotate_key(acme_, "").error().code(), base_errors::kNotFound) << "encryption was never on";
  keys_ = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
  k = keeper();
  EXPECT_EQ(k->rotate_key(acme_, "").error().code(), base_errors::kNotFound) << "there is no key";
  ASSERT_TRUE(keys_->add_key("tenant/acme"));
  ASSERT_TRUE(keys_->add_key("tenant/beta"));
  const auto second = k->rotate_key(acme_, "yearly");
  ASSERT_TRUE(second.has_value()) << second.error().describe();
  EXPECT_EQ(*second, "tenant/acme/2");
  EXPECT_EQ(k->rotate_key(acme_, "").value(), "tenant/acme/3");
  EXPECT_EQ(keys_->newest("tenant/acme").value(), "tenant/acme/3");
  EXPECT_EQ(db_.sql("SELECT string_agg(key_id || ' ' || provider || ' ' || state, ', ' ORDER BY version) FROM tenant_keys WHERE tenant_id = 'acme'"),
            "tenant/acme file retired, tenant/acme/2 file retired, tenant/acme/3 file active");
  EXPECT_EQ(events("key.introduced"), "1");
  EXPECT_EQ(events("key.rotated"), "2");
  // A hold keeps all of them; afterwards all of them go.
  step(place_hold, "C-1", kAnn);
  EXPECT_EQ(k->plan_key(acme_, "off-boarding")->state, Disposition::kRefused);
  EXPECT_EQ(keys_->key_ids().size(), 4u);
  step(request_release, "C-1", kAnn);
  step(confirm_release, "C-1", kBob);
  ASSERT_EQ(k->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
  EXPECT_EQ(k->rotate_key(acme_, "").error().code(), errors::kConflict) << "its end is planned";
  sign_log();
  EXPECT_TRUE(k->execute_key(acme_));
  sign_log();
  ASSERT_TRUE(k->round());
  EXPECT_EQ(keys_->key_ids(), std::vector<std::string>{"tenant/beta"});
  EXPECT_EQ(db_.sql("SELECT count(*) FROM tenant_keys WHERE tenant_id = 'acme' AND state = 'destroyed'"), "3");
  EXPECT_EQ(k->rotate_key(acme_, "").error().code(), errors::kConflict) << "no successor";
}

TEST_F(Holding, ACrashBetweenTheKeysEndAndItsRecordIsSettled) {
  keys_ = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
  ASSERT_TRUE(keys_->add_key("tenant/acme"));
  auto k = keeper();
  ASSERT_EQ(k->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
  EXPECT_EQ(k->execute_key(acme_)->state, Disposition::kWaiting);
  // As the crash left it; the plan is covered before anything more is done.
  db_.sql("UPDATE key_dispositions SET state = 'destroying'");
  ASSERT_TRUE(keys_->destroy_key("tenant/acme"));
  step(place_hold, "C-1", kAnn);
  sign_log();
  if (k->execute_key(acme_)->state == Disposition::kWaiting) {  // asks for the checkpoint where none is due
    sign_log();
    EXPECT_EQ(k->execute_key(acme_)->state, Disposition::kExecuted) << "a hold cannot bring it back";
  }
  EXPECT_EQ(db_.sql("SELECT state FROM key_dispositions"), "executed");
}

// ── Random histories, against a model that knows the rules and nothing of rows, locks and objects ──────────────────

struct Model {
  struct Bundle {
    std::string case_id;
    Timestamp until;
    bool gone = false;
  };
  std::map<std::string, std::map<std::string, std::string>> holds;  // case → authority → who asked
  std::map<std::string, Timestamp> kept, incident;                  // case → until
  std::vector<Bundle> bundles;
  microseconds off{0};                                              // how far the clock is wrong

  bool may_delete(const Bundle& b, Timestamp now) const {
    const auto held = holds.find(b.case_id);
    bool over = now > b.until && off <= minutes(5) && off >= -minutes(5);
    for (const auto* promise : {&kept, &incident})
      if (const auto of_case = promise->find(b.case_id); of_case != promise->end()) over = over && now > of_case->second;
    return over && (held == holds.end() || held->second.empty());
  }
};

}  // namespace

void Holding::random_histories(unsigned seeds, int& deleted, int& refused) {
  for (unsigned seed = 0; seed < seeds; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); };
    const std::string run = std::to_string(seed) + "-";
    const std::string people[] = {std::string(kAnn), std::string(kBob), std::string(kEve)};
    now_ = start_ + hours(24 * 100) * static_cast<int>(seed);
    db_.sql("DELETE FROM evidence_clock");
    auto k = keeper();
    Model model;
    std::vector<BundleId> ids;
    for (int i = 0; i < 4; ++i) {
      // Two cases, and the payload of one bundle of each is the same; of the other two the records.
      model.bundles.push_back({run + (i % 2 == 0 ? "A" : "B"), now_ + hours(24)});
      ids.push_back(sealed(model.bundles.back().case_id, i < 2 ? run + "common" : run + std::to_string(i), i < 2 ? "" : run + "records"));
    }
    ASSERT_TRUE(k->round().has_value());
    for (int i = 0; i < 50; ++i) {
      const std::string case_id = run + (draw(2) == 0 ? "A" : "B"), authority = draw(2) == 0 ? "court" : "regulator", actor = people[draw(3)];
      auto& holds = model.holds[case_id];
      const auto hold = holds.find(authority);
      const std::string what = "seed " + std::to_string(seed) + " step " + std::to_string(i);
      switch (draw(11)) {
        case 0: {
          const bool same = hold != holds.end() && hold->second.empty();
          EXPECT_EQ(step(place_hold, case_id, actor, authority), same ? "unchanged" : "placed") << what;
          holds[authority] = "";
          break;
        }
        case 1:
        case 2: {
          const std::string expected = hold == holds.end() ? "error: no such hold is in force" : hold->second.empty() ? "release_requested" : hold->second == actor ? "unchanged" : "refused";
          EXPECT_EQ(step(request_release, case_id, actor, authority), expected) << what;
          if (expected == "release_requested") hold->second = actor;
          break;
        }
        case 3:
        case 4: {
          const std::string expected = hold == holds.end() ? "error: no such hold is in force" : hold->second.empty() || hold->second == actor ? "refused" : "released";
          EXPECT_EQ(step(confirm_release, case_id, actor, authority), expected) << what;
          if (expected == "released") holds.erase(hold);
          break;
        }
        case 5: {
          const Timestamp until = now_ + hours(draw(40));
          const auto by = draw(2) == 0 ? RetentionBy::kPerson : RetentionBy::kIncident;
          Timestamp& kept = (by == RetentionBy::kPerson ? model.kept : model.incident)[case_id];
          kept = std::max(kept, until);
          auto t = tx();
          EXPECT_EQ(extend_retention(t, CaseId::parse(case_id).value(), until, by, "r", TraceId::generate(), "").value().until, kept) << what;
          ASSERT_TRUE(t.commit().has_value());
          break;
        }
        case 6:
        case 7: pass(hours(draw(70))); break;
        case 8: {
          const microseconds jump = draw(2) == 0 ? -model.off : draw(2) == 0 ? microseconds(hours(30)) : microseconds(-hours(2));
          now_ = now_ + jump;
          model.off += jump;
          break;
        }
        default: {
          const std::size_t n = static_cast<std::size_t>(draw(4));
          ASSERT_TRUE(k->round().has_value()) << what;
          if (model.bundles[n].gone) {
            EXPECT_EQ(k->plan(acme_, ids[n]).error().code(), base_errors::kNotFound) << what;
            break;
          }
          const bool may = model.may_delete(model.bundles[n], now_);
          EXPECT_EQ(dispose(*k, ids[n]), may ? Disposition::kExecuted : Disposition::kRefused) << what;
          model.bundles[n].gone = may;
          (may ? deleted : refused)++;
        }
      }
      // Whatever happened: what the model has is there, the rest is gone, and the store's bit is the set's after a round.
      ASSERT_TRUE(k->round().has_value()) << what;
      for (std::size_t n = 0; n < ids.size(); ++n) {
        const Model::Bundle& b = model.bundles[n];
        const auto lock = store_->lock_state(key(ids[n], b.case_id));
        ASSERT_EQ(lock.has_value(), !b.gone) << what << " bundle " << n;
        ASSERT_TRUE(b.gone || lock->legal_hold == !model.holds[b.case_id].empty()) << what << " bundle " << n;
        const bool payload_needed = !b.gone || (n < 2 && !model.bundles[1 - n].gone);
        ASSERT_EQ(store_->stat(object_key::object(acme_, crypto::sha256(n < 2 ? run + "common" : run + std::to_string(n)))).has_value(), payload_needed) << what << " payload " << n;
        ASSERT_EQ(has_object(list_of(ids[n])), !b.gone) << what << " list " << n;
        ASSERT_TRUE(b.gone || bit(object_key::object(acme_, crypto::sha256(list_of(ids[n])))) == !model.holds[b.case_id].empty()) << what << " list " << n;
        const Model::Bundle& other = model.bundles[n ^ 1];
        const std::string records = record_of(run + (n < 2 ? "common" : "records"));
        ASSERT_EQ(has_object(records), !b.gone || !other.gone) << what << " records of " << n;
        const bool records_held = (!b.gone && !model.holds[b.case_id].empty()) || (!other.gone && !model.holds[other.case_id].empty());
        ASSERT_TRUE((b.gone && other.gone) || bit(object_key::object(acme_, crypto::sha256(records))) == records_held) << what << " records of " << n;
      }
    }
  }
}

namespace {

TEST_F(Holding, RandomHistoriesInADirectory) {
  int deleted = 0, refused = 0;
  random_histories(16, deleted, refused);
  // Both have to come up often, or the comparison says nothing.
  EXPECT_GT(deleted, 8);
  EXPECT_GT(refused, 8);
  RecordProperty("deleted", deleted);
}

// A real S3 server where tools/build-versitygw has built one; `make test` does it for platform/objects.
std::string s3_program() {
  FILE* pipe = ::popen((testing::source_path("tools/build-versitygw") + " --find 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return "";
  char buffer[4096];
  std::string path(buffer, std::fread(buffer, 1, sizeof buffer, pipe));
  while (!path.empty() && path.back() == '\n') path.pop_back();
  return ::pclose(pipe) == 0 ? path : "";
}

TEST_F(Holding, RandomHistoriesInABucket) {
  const std::string program = s3_program();
  if (program.empty()) GTEST_SKIP() << "no S3 server: tools/build-versitygw";
  objects::testing::S3Server server(program, {});
  server.make_bucket("evidence", true);
  store_ = objects::open_s3_store(server.options("evidence")).value();
  int deleted = 0, refused = 0;
  random_histories(6, deleted, refused);
  EXPECT_GT(deleted, 0);
  EXPECT_GT(refused, 0);
  RecordProperty("deleted", deleted);
}

TEST_F(Holding, AStoreThatCannotLockIsHeldByTheRows) {
  const std::string program = s3_program();
  if (program.empty()) GTEST_SKIP() << "no S3 server: tools/build-versitygw";
  objects::testing::S3Server server(program, {});
  server.make_bucket("plain", false);
  store_ = objects::open_s3_store(server.options("plain")).value();
  const BundleId held = sealed("C-1", "one"), free = sealed("C-2", "two");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(step(place_hold, "C-1", kAnn), "placed");
  EXPECT_FALSE(k->round().has_value()) << "the store refuses the bit";
  pass(hours(25));
  std::string reason;
  EXPECT_EQ(dispose(*k, held, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, "a legal hold is in force");
  EXPECT_EQ(dispose(*k, free), Disposition::kExecuted) << "the other one is no worse off";
}

}  // namespace
}  // namespace stella::evidence
