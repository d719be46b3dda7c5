// What other lockers got wrong about holds and retention (docs/guarantees.md), tried on ours.
#include <future>

#include "stella/testing/work_seen.h"
#include "test_holding.h"

namespace stella::evidence {
namespace {

class HoldingDefects : public Holding {};

// A hold whose transaction is under way: the deletion waits for it instead of looking past it, and finds it.
TEST_F(HoldingDefects, CheckAndDeletionAreOneTransaction) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  EXPECT_EQ(k->plan(acme_, id)->state, Disposition::kPlanned);
  sign_log();
  auto placing = tx(kAnn);
  ASSERT_TRUE(place_hold(placing, {CaseId::parse("C-1").value(), "court 7", "order of today", TraceId::generate(), "", 2}).has_value());
  auto deletion = std::async(std::launch::async, [&] { return k->execute(acme_, id); });
  EXPECT_EQ(deletion.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout) << "nothing is decided while a hold may come";
  ASSERT_TRUE(placing.commit().has_value());
  const auto done = deletion.get();
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(done->state, Disposition::kRefused);
  EXPECT_EQ(done->reason, "a legal hold is in force");
  EXPECT_TRUE(store_->stat(key(id, "C-1")).has_value());
}

// Time that a bundle waited to be sealed, or sealed to be published, is not time that it was kept.
TEST_F(HoldingDefects, TheClockDoesNotStartWithTheDraft) {
  const auto seconds_kept = [&](const BundleId& id) { return db_.sql("SELECT coalesce(extract(epoch FROM retain_until - '" + start_.rfc3339() + "')::bigint::text, 'no clock') FROM evidence_retention WHERE bundle_id = '" + id.str() + "'"); };
  const auto drafted = [&](const std::string& case_id) {
    const BundleId id = sealed(case_id, case_id);
    db_.sql("UPDATE evidence_snapshots SET requested_at = '2001-01-01' WHERE bundle_id = '" + id.str() + "'");
    return id;
  };
  const std::string day = std::to_string(24 * 3600);
  const BundleId at_seal = drafted("C-1");
  ASSERT_TRUE(keeper()->round().has_value());
  EXPECT_EQ(seconds_kept(at_seal), day) << "from its seal";
  const BundleId at_export = drafted("C-2");
  auto k = keeper({.base_event = "published"});
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(seconds_kept(at_export), "no clock");
  pass(hours(24 * 400));
  std::string reason;
  EXPECT_EQ(dispose(*k, at_export, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, "the event that starts its retention has not happened");
  const auto exported = [&](const BundleId& id) {
    const std::string entry = R"({"details":{},"kind":"evidence.exported","resource_id":")" + id.str() + R"(","resource_type":"bundle","ts":")" + now_.rfc3339() + "\"}";
    db_.sql("WITH next AS (INSERT INTO timeline_heads (tenant_id, shard, size, root) VALUES ('acme', 0, 1, '') ON CONFLICT (tenant_id) DO UPDATE SET size = timeline_heads.size + 1 RETURNING size - 1 AS at), "
            "event AS (INSERT INTO timeline_events (tenant_id, event_id, ts, kind, resource_type, resource_id, actor, trace_id, digest, details_jsonb) VALUES ('acme', gen_random_uuid(), '" + now_.rfc3339() + "', 'evidence.exported', 'bundle', '" + id.str() +
            "', 'user:x', '', '\\x00', '{}') RETURNING event_id) INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) SELECT 'acme', at, event_id, convert_to('" + entry + "', 'UTF8') FROM next, event");
  };
  db_.sql("CREATE TABLE timeline_events_of_then PARTITION OF timeline_events FOR VALUES FROM ('2020-01-01') TO ('2022-01-01')");
  exported(at_export);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(seconds_kept(at_export), std::to_string(401 * 24 * 3600)) << "from its publication";
  // While others wait; in the log before there is a row for it; and before the keeper begins.
  const BundleId waits = drafted("C-3"), next = drafted("C-4"), early = drafted("C-5");
  const auto row_of = [&](const BundleId& id, std::string_view adopted) { db_.sql("UPDATE evidence_snapshots SET adopted = " + std::string(adopted) + " WHERE bundle_id = '" + id.str() + "'"); };
  row_of(early, "true");
  ASSERT_TRUE(k->round().has_value());
  exported(next);
  exported(early);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(seconds_kept(next), std::to_string(401 * 24 * 3600));
  EXPECT_EQ(seconds_kept(waits), "no clock");
  row_of(early, "false");
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(seconds_kept(early), std::to_string(401 * 24 * 3600));
  exported(waits);
  ASSERT_TRUE(keeper({.base_event = "published"})->round().has_value());
  EXPECT_EQ(seconds_kept(waits), std::to_string(401 * 24 * 3600));
}

// A redacted copy of a case that was closed more than its retention ago.
TEST_F(HoldingDefects, WhatComesIntoAClosedCaseIsKeptAsLong) {
  auto k = keeper({.base_event = "case_closed", .dispose = true});
  const BundleId first = sealed("C-1");
  ASSERT_TRUE(k->round().has_value());
  db_.sql("INSERT INTO evidence_cases (tenant_id, case_id, state, closed_at) VALUES ('acme', 'C-1', 'closed', '" + now_.rfc3339() + "')");
  pass(hours(25));
  const BundleId late = sealed("C-1", "late");
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT string_agg(bundle_id::text, ' ') FROM dispositions"), first.str());
  EXPECT_EQ(db_.sql("SELECT base_at = '" + now_.rfc3339() + "' FROM evidence_retention WHERE bundle_id = '" + late.str() + "'"), "t");
  pass(hours(25));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM dispositions"), "2");
}

// Signed before a weekend on which an authority or the store was away, and published after it.
TEST_F(HoldingDefects, WhatIsPublishedLongAfterItsSignatureIsAdopted) {
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(60));
  const BundleId id = sealed("C-1");
  db_.sql("UPDATE evidence_snapshots SET sealed_at = sealed_at - interval '2 days'");
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT string_agg(bundle_id::text, ' ') FROM evidence_retention"), id.str());
  // A row that was lost comes back with the next process.
  db_.sql("DELETE FROM evidence_retention");
  ASSERT_TRUE(keeper()->round().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_retention"), "1");
}

// Rounds are not longer for what was deleted years ago.
TEST_F(HoldingDefects, WhatWasDeletedIsNeverLookedAtAgain) {
  auto k = keeper({.dispose = true});
  for (int i = 0; i < 3; ++i) sealed("C-1", "payload " + std::to_string(i));
  step(place_hold, "C-1", kAnn);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(step(request_release, "C-1", kAnn, "court 7", 1), "released");
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(k->round().has_value());
    sign_log();
  }
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_snapshots WHERE state = 'disposed'"), "3");
  const BundleId other = sealed("C-1", "another");
  step(place_hold, "C-1", kAnn);
  pass(hours(2));
  const testing::WorkSeen seen;
  ASSERT_TRUE(k->round().has_value());
  ASSERT_EQ(seen.spans("evidence.lock").size(), 1u);
  EXPECT_TRUE(bit(key(other, "C-1")));
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_retention WHERE done_at IS NULL"), "1");
}

// A database restored from before a hold, or without it: the bit in the store, which nobody is known to have set, keeps the bundle.
TEST_F(HoldingDefects, AHoldThatARestoreLostStillHolds) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  const std::string before = db_.sql("SELECT wanted || '/' || applied || '/' || lock_held FROM evidence_retention");
  step(place_hold, "C-1", kAnn);
  ASSERT_TRUE(k->round().has_value());
  ASSERT_TRUE(bit(key(id, "C-1")));
  // The backup of before the hold.
  db_.sql("DELETE FROM evidence_holds; UPDATE evidence_retention SET wanted = split_part('" + before + "', '/', 1)::bigint, applied = split_part('" + before + "', '/', 2)::bigint, lock_held = split_part('" + before + "', '/', 3)::boolean");
  pass(hours(25));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_TRUE(bit(key(id, "C-1")));
  std::string reason;
  EXPECT_EQ(dispose(*k, id, &reason), Disposition::kRefused);
  EXPECT_EQ(reason, "a legal hold is in force");
  EXPECT_TRUE(store_->stat(key(id, "C-1")).has_value());
  // The other way round: the rows are there, objects came back from a copy without their locks.
  step(place_hold, "C-1", kAnn);
  ASSERT_TRUE(k->round().has_value());
  ASSERT_TRUE(store_->set_legal_hold(key(id, "C-1"), false).has_value());
  pass(seconds(1));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_TRUE(bit(key(id, "C-1")));
}

// The locker sealed under a hold and put the bit there; the hold was released before the keeper had seen the bundle. The bit is ours and goes.
TEST_F(HoldingDefects, AHoldThatEndsBeforeTheKeeperHasSeenTheBundle) {
  const auto files = [&](const BundleId& id, const std::string& case_id) {
    for (const char* file : {"bundle.tgz", "manifest.json", "root.merkle"}) ASSERT_TRUE(store_->set_legal_hold(key(id, case_id, file), true).has_value());
  };
  step(place_hold, "C-1", kAnn);
  const BundleId id = sealed("C-1");
  files(id, "C-1");
  EXPECT_EQ(step(request_release, "C-1", kAnn, "court 7", 1), "released");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_FALSE(bit(key(id, "C-1")));
  pass(hours(25));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(dispose(*k, id), Disposition::kExecuted);
  // Sealed long after the release: whoever put that bit there, we did not.
  now_ = Timestamp::now() + hours(1);
  const BundleId other = sealed("C-1", "other");
  files(other, "C-1");
  auto later = keeper({.clock_checked = now_.rfc3339()});
  ASSERT_TRUE(later->round().has_value());
  EXPECT_TRUE(bit(key(other, "C-1")));
}

// The store failed when the bit of a payload was to be lifted, and the bundle whose hold had put it there was deleted before the next try. Another bundle
// rests on the same payload: it must not be kept for good by a hold that nobody has.
TEST_F(HoldingDefects, TheBitOfASharedPayloadOutlivesNoBundle) {
  const BundleId a = sealed("C-1", "common"), b = sealed("C-2", "common");
  const std::string payload = object_key::object(acme_, crypto::sha256("common"));
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  step(place_hold, "C-1", kAnn);
  ASSERT_TRUE(k->round().has_value());
  ASSERT_TRUE(bit(payload));
  EXPECT_EQ(step(request_release, "C-1", kAnn, "court 7", 1), "released");
  for (const char* file : {"bundle.tgz", "manifest.json", "root.merkle"}) ASSERT_TRUE(store_->set_legal_hold(key(a, "C-1", file), false).has_value());
  ASSERT_TRUE(store_->remove(key(a, "C-1")).has_value());
  db_.sql("UPDATE evidence_snapshots SET state = 'disposed' WHERE bundle_id = '" + a.str() + "'");
  ASSERT_TRUE(k->round().has_value());
  EXPECT_FALSE(bit(payload));
  pass(hours(25));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(dispose(*k, b), Disposition::kExecuted);
}

// What a bundle is built from lies under the tenant's key, and so would the bundle.
TEST_F(HoldingDefects, AKeyIsNotDestroyedUnderABundleThatIsBeingBuilt) {
  keys_ = std::move(crypto::FileKeyring::create(dir_.path() + "/keys", "pass", {10, 8, 1}).value());
  ASSERT_TRUE(keys_->add_key("tenant/acme"));
  auto k = keeper();
  const BundleId coming = sealed("C-1");
  for (const std::string state : {"building", "built"}) {
    db_.sql("UPDATE evidence_snapshots SET state = '" + state + "'");
    const auto refused = k->plan_key(acme_, "off-boarding");
    ASSERT_TRUE(refused.has_value()) << refused.error().describe();
    EXPECT_EQ(refused->state, Disposition::kRefused) << state;
    EXPECT_EQ(refused->reason, "bundle " + coming.str() + ": it is being built");
  }
  // One that comes between plan and deed counts as well.
  db_.sql("UPDATE evidence_snapshots SET state = 'failed'");
  ASSERT_EQ(k->plan_key(acme_, "off-boarding")->state, Disposition::kPlanned);
  db_.sql("UPDATE evidence_snapshots SET state = 'building'");
  sign_log();
  ASSERT_TRUE(k->round().has_value());  // asks for the checkpoint where none is due
  sign_log();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT state || ' ' || reason FROM key_dispositions"), "refused bundle " + coming.str() + ": it is being built");
  EXPECT_EQ(keys_->key_ids().size(), 1u);
}

// What a closure wrote goes with its bundle, unless a job, a run or another bundle has the same bytes.
TEST_F(HoldingDefects, WhatAClosureWroteGoesWithItsBundle) {
  const BundleId id = sealed("C-1", "payload", "mine"), read = sealed("C-2", "read", "an input"), ran = sealed("C-3", "ran", "a run");
  const std::string job = JobId::generate().str();
  db_.sql("INSERT INTO jobs (tenant_id, job_id, kind, state, engine_version, params, inputs, outputs, idempotency_sha256, requested_by, traceparent, trace_id) VALUES ('acme', '" + job + "', 'sbom.compute', 'finished', '1', '{}', "
          "'[{\"name\": \"a\", \"sha256\": \"" + crypto::sha256(record_of("an input")).hex() + "\", \"tenant\": \"acme\"}]', NULL, '', 'user:x', '', '')");
  db_.sql("INSERT INTO runs (tenant_id, run_id, job_id, attempt, runner_id, state, image_sha256, sandbox, transcript_sha256, started_at) VALUES ('acme', gen_random_uuid(), '" + job + "', 1, 'r', 'finished', '', '{}', '\\x" +
          crypto::sha256(record_of("a run")).hex() + "', now())");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  // Somebody who asks for a snapshot may have found an object that would go.
  {
    ASSERT_EQ(k->plan(acme_, id)->state, Disposition::kPlanned);
    auto t = tx();
    ASSERT_TRUE(t.query("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 8))", {acme_}).has_value());
    sign_log();
    EXPECT_EQ(k->execute(acme_, id)->state, Disposition::kWaiting);
    sign_log();
    EXPECT_EQ(k->execute(acme_, id)->reason, "a snapshot is being asked for");
  }
  ASSERT_EQ(k->execute(acme_, id)->state, Disposition::kExecuted);
  EXPECT_FALSE(has_object(list_of(id)));
  EXPECT_FALSE(has_object(record_of("mine")));
  for (const auto& [bundle, record] : {std::pair{read, "an input"}, std::pair{ran, "a run"}}) {
    EXPECT_EQ(dispose(*k, bundle), Disposition::kExecuted);
    EXPECT_FALSE(has_object(list_of(bundle)));
    EXPECT_TRUE(has_object(record_of(record))) << record;
  }
}

// Nothing ever becomes of it, so that it has to go by itself; until then it is under holds and retention as any bundle.
TEST_F(HoldingDefects, WhatAFailedSnapshotLeftGoesWhenNothingKeepsIt) {
  const auto failed = [&](const std::string& case_id, const std::string& payload, const std::string& record = "") {
    const BundleId id = sealed(case_id, payload, record);
    for (const char* file : {"bundle.tgz", "manifest.json", "root.merkle"}) EXPECT_TRUE(store_->remove(key(id, case_id, file)).has_value());
    db_.sql("DELETE FROM evidence_bundles WHERE id = '" + id.str() + "'; UPDATE evidence_snapshots SET state = 'failed', failed_at = sealed_at, sealed_at = NULL, seal_sha256 = NULL, bundle_sha256 = NULL, "
            "error = '{\"code\": \"integrity\", \"message\": \"the payload is not what its items say\"}' WHERE bundle_id = '" + id.str() + "'");
    return id;
  };
  const BundleId id = failed("C-1", "payload"), held = failed("C-2", "held"), shared = failed("C-3", "shared", "common"), user = sealed("C-4", "used", "common");
  // Of one that lost its payload before it was built there is only what its closure wrote; something may lie in the bundle's place.
  db_.sql("UPDATE evidence_snapshots SET payload_sha256 = NULL, items_sha256 = NULL WHERE bundle_id = '" + shared.str() + "'");
  ASSERT_TRUE(store_->put(key(id, "C-1"), "something else").has_value());
  KeeperOptions options;
  options.dispose = true;
  auto k = keeper(options);
  step(place_hold, "C-2", kAnn);
  ASSERT_TRUE(k->round().has_value());
  EXPECT_TRUE(bit(object_key::object(acme_, crypto::sha256("held")))) << "a hold covers what failed in its case";
  EXPECT_FALSE(bit(object_key::object(acme_, crypto::sha256("payload"))));
  pass(hours(23));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_TRUE(has_object("payload")) << "its retention has not ended";
  pass(hours(2));
  const auto rounds = [&] {
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(k->round().has_value());
      sign_log();
    }
    ASSERT_TRUE(k->round().has_value());
  };
  // Its job is tried again: not now.
  const std::string job = JobId::generate().str();
  db_.sql("INSERT INTO jobs (tenant_id, job_id, kind, state, engine_version, params, inputs, outputs, idempotency_sha256, requested_by, traceparent, trace_id) VALUES ('acme', '" + job + "', 'evidence.snapshot', 'running', '1', '{}', '[]', NULL, '', 'user:x', '', '');"
          "UPDATE evidence_snapshots SET job_id = '" + job + "' WHERE bundle_id = '" + id.str() + "'");
  EXPECT_EQ(k->plan(acme_, id)->reason, "an export or a verification is under way");
  db_.sql("UPDATE jobs SET state = 'dead'");
  rounds();
  pass(hours(25));
  rounds();
  EXPECT_EQ(state(id), "disposed");
  EXPECT_EQ(db_.sql("SELECT error->>'message' FROM evidence_snapshots WHERE bundle_id = '" + id.str() + "'"), "the payload is not what its items say") << "why it failed is known for good";
  for (const std::string& object : {std::string("payload"), std::string("payload items"), list_of(id), record_of("payload"), list_of(shared)}) EXPECT_FALSE(has_object(object)) << object;
  EXPECT_FALSE(store_->stat(key(id, "C-1")).has_value());
  EXPECT_EQ(state(shared), "disposed");
  EXPECT_EQ(state(user), "disposed");
  EXPECT_FALSE(has_object(record_of("common"))) << "it goes with the last one that has it";
  EXPECT_EQ(state(held), "failed");
  EXPECT_TRUE(has_object("held"));
  EXPECT_EQ(dispose(*k, held), Disposition::kRefused);
  step(request_release, "C-2", kAnn);
  step(confirm_release, "C-2", kBob);
  pass(hours(25));
  rounds();
  EXPECT_EQ(state(held), "disposed");
  EXPECT_FALSE(has_object("held"));
  auto t = tx();
  EXPECT_EQ(read_bundle(t, *store_, {}, id, TraceId::generate()).error().message(), "the snapshot failed, and what it left in the store was lawfully deleted");
}

// A failed job that is tried again may bring a bundle after all: from then on it is kept as any other.
TEST_F(HoldingDefects, OneThatIsSealedAfterAllIsKeptAsAnyBundle) {
  const BundleId id = sealed("C-1");
  const std::string row = " WHERE bundle_id = '" + id.str() + "'";
  db_.sql("UPDATE evidence_snapshots SET state = 'failed', failed_at = sealed_at" + row);
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT base_event FROM evidence_retention" + row), "failed");
  pass(hours(20));
  db_.sql("UPDATE evidence_snapshots SET state = 'sealed', sealed_at = '" + now_.rfc3339() + "'" + row);
  ASSERT_TRUE(k->round().has_value());
  pass(hours(20));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(db_.sql("SELECT base_event FROM evidence_retention" + row), "sealed");
  EXPECT_EQ(dispose(*k, id), Disposition::kRefused);
  pass(hours(5));
  EXPECT_EQ(dispose(*k, id), Disposition::kExecuted);
}

}  // namespace
}  // namespace stella::evidence
