// The locker on a real database and store: an evaluation of real jobs becomes a bundle, survives crashes, and is refused once it was changed.
#include "stella/evidence/locker/locker.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <sstream>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/redact.h"
#include "stella/evidence/format/seal.h"
#include "stella/services/export.h"
#include "stella/services/jobs.h"
#include "stella/services/ledger.h"
#include "custody_record.h"
#include "locking_fixture.h"
#include "test_time_authority.h"

namespace stella::evidence {
namespace {

namespace errors = contracts::errors;

TEST_F(Locking, AnEvaluationBecomesASealedBundle) {
  EXPECT_EQ(request("eval", evaluation_.str()).error().code(), errors::kNotReady);  // its jobs have not run
  const BundleId id = sealed();
  EXPECT_EQ(events("evidence.snapshot"), "1");
  EXPECT_EQ(events("evidence.sealed"), "1");
  EXPECT_EQ(db_.sql("SELECT case_id || ' ' || kind FROM evidence_bundles WHERE id = '" + id.str() + "'"), "CASE-1 eval");
  auto t = tx();
  const auto body = read_bundle(t, *store_, trust_, id, TraceId::generate());
  ASSERT_TRUE(body.has_value()) << body.error().describe();
  ASSERT_TRUE(t.commit().has_value());
  EXPECT_EQ(events("evidence.read"), "1");
  EXPECT_GT(body->items("items").size(), 10u);
  auto v = tx();
  const auto verdict = verify_stored(v, *store_, trust_, id, TraceId::generate());
  ASSERT_TRUE(verdict.has_value());
  ASSERT_TRUE(v.commit().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%evidence.verified%' AND convert_from(entry, 'UTF8') LIKE '%\"verdict\":\"pass\"%'"), "1");
  auto e = tx();
  const auto exported = export_bundle(e, *store_, trust_, id, "auditor", TraceId::generate());
  ASSERT_TRUE(exported.has_value()) << exported.error().describe();
  EXPECT_EQ(crypto::sha256(read_fd(exported->file.get(), 1 << 28).value()), exported->sha256);
  EXPECT_EQ(events("evidence.exported"), "0");
  // A large bundle is read for longer than a transaction may wait otherwise; the next one has the old patience again.
  const auto patience = [](pg::TenantTx& t) { return std::string(t.query("SHOW idle_in_transaction_session_timeout").value().text(0, 0)); };
  EXPECT_EQ(patience(e), "2h");
  ASSERT_TRUE(e.commit().has_value());
  auto after = tx();
  EXPECT_EQ(patience(after), "1min");
  after.rollback();
  EXPECT_EQ(events("evidence.exported"), "1");
}

// More than one page of each, many of the same moment.
TEST_F(Locking, ABundleHasEveryLineAndSpanOfItsTraceInOrder) {
  runner_->drain();
  constexpr int kRows = 10'050;
  const std::string trace = db_.sql("SELECT trace_id FROM evaluations WHERE evaluation_id = '" + evaluation_.str() + "'"), n = std::to_string(kRows);
  db_.sql("INSERT INTO telemetry_logs (tenant_id, trace_id, ts, level, service, line) SELECT 'acme', '" + trace + "', '2026-11-25T00:00:00Z'::timestamptz + (i / 3000) * interval '1 second', 'info', 'test', 'line ' || i FROM generate_series(1, " + n + ") i");
  db_.sql("INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, name, kind, service, start_ts, end_ts, status, attributes) SELECT 'acme', '" + trace + "', lpad(to_hex(i), 16, '0'), 'span ' || i, 'internal', 'test', "
          "'2026-11-25T00:00:00Z'::timestamptz + (i / 3000) * interval '1 second', '2026-11-25T01:00:00Z', 'ok', '{}' FROM generate_series(1, " + n + ") i");
  const BundleId id = sealed();
  const auto lines_of = [&](std::string_view file) {
    std::vector<std::string> out;
    FILE* pipe = ::popen(("tar -xzOf " + path(id) + " " + std::string(file)).c_str(), "r");
    std::string text;
    char buffer[65536];
    for (std::size_t got = 0; (got = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
    EXPECT_EQ(::pclose(pipe), 0);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) out.push_back(line);
    return out;
  };
  const auto logs = lines_of("data/logs.ndjson"), spans = lines_of("data/trace.ndjson");
  ASSERT_EQ(logs.size(), static_cast<std::size_t>(kRows));
  ASSERT_EQ(spans.size(), static_cast<std::size_t>(kRows));
  for (int i = 1; i <= kRows; ++i) {
    ASSERT_EQ(logs[static_cast<std::size_t>(i) - 1], "line " + std::to_string(i));
    ASSERT_EQ(json::parse(spans[static_cast<std::size_t>(i) - 1])->str("name"), "span " + std::to_string(i));
  }
}

TEST_F(Locking, TheSealSaysWhatTheStoreKeepsAndHowLong) {
  const BundleId id = sealed();
  const std::string key = object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "manifest.json");
  const Seal seal = parse_seal(store_->get(key, 1 << 20).value()).value();
  // A file system whose files our process alone protects.
  EXPECT_EQ(seal.facts.worm_level, "W1");
  const TenantId platform = TenantId::parse(kPlatformTenant).value();
  const Sha256 digest = Sha256::parse(seal.facts.worm_probe_sha256).value();
  const std::string transcript = store_->get(object_key::object(platform, digest), 1 << 20).value();
  EXPECT_EQ(crypto::sha256(transcript), digest);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE tenant_id = 'platform' AND convert_from(entry, 'UTF8') LIKE '%\"kind\":\"store.probed\"%' AND convert_from(entry, 'UTF8') LIKE '%\"level\":\"W1\"%' "
                    "AND convert_from(entry, 'UTF8') LIKE '%" + digest.hex() + "%'"),
            "1");
  // Locked for as long as it says from the first moment: no keeper has run.
  EXPECT_EQ(seal.facts.retain_until, seal.facts.sealed_at + std::chrono::hours(24 * 365));
  const objects::ObjectLock lock = store_->lock_state(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "bundle.tgz")).value();
  EXPECT_EQ(lock.mode, objects::LockMode::kGovernance);
  EXPECT_GE(lock.retain_until, seal.facts.retain_until);
  EXPECT_LE(lock.retain_until, seal.facts.retain_until + std::chrono::seconds(1));
  EXPECT_EQ(column(id, "sealed_at = '" + seal.facts.sealed_at.rfc3339() + "'"), "t");
  // Within a day it is not asked again.
  sealed("CASE-1", true);
  EXPECT_EQ(events("store.probed"), "1");
}

TEST_F(Locking, ACaseThatIsKeptLongerKeepsWhatComesIntoIt) {
  db_.sql("INSERT INTO evidence_cases (tenant_id, case_id, retain_until) VALUES ('acme', 'CASE-9', '2090-01-01T00:00:00Z')");
  LockerOptions options{root_ + "/tmp", "secret", std::chrono::milliseconds(250)};
  options.keep_from = "case_closed";
  locker_ = std::make_unique<Locker>(locker_pool_, *store_, key_, options);
  const auto seal_of = [&](const BundleId& id, std::string_view case_id) {
    return parse_seal(store_->get(object_key::evidence(acme_, CaseId::parse(case_id).value(), id, "manifest.json"), 1 << 20).value()).value();
  };
  const auto lock_of = [&](const BundleId& id, std::string_view case_id) { return store_->lock_state(object_key::evidence(acme_, CaseId::parse(case_id).value(), id, "bundle.tgz")).value(); };
  const BundleId kept = sealed("CASE-9");
  EXPECT_EQ(seal_of(kept, "CASE-9").facts.retain_until.rfc3339_seconds(), "2090-01-01T00:00:00Z");
  EXPECT_EQ(lock_of(kept, "CASE-9").retain_until.rfc3339_seconds(), "2090-01-01T00:00:00Z");
  // The clock of this one has not started: nothing is promised.
  const BundleId open = sealed("CASE-1");
  EXPECT_EQ(seal_of(open, "CASE-1").facts.retain_until, Timestamp{});
  EXPECT_EQ(lock_of(open, "CASE-1").mode, objects::LockMode::kNone);
}

TEST_F(Locking, AuthoritiesStampTheSignature) {
  TimeAuthority first, second;
  StamperOptions time;
  time.authorities = {{"first", first.url()}, {"second", second.url()}};
  time.roots_pem = first.roots() + second.roots();
  time.pause = std::chrono::milliseconds(0);
  const auto locking = [&](std::size_t required) {
    time.required = required;
    LockerOptions options{root_ + "/tmp", "secret", std::chrono::milliseconds(250)};
    options.stamper = Stamper::make(time).value();
    locker_ = std::make_unique<Locker>(locker_pool_, *store_, key_, options);
  };
  locking(2);
  const BundleId id = sealed();
  EXPECT_EQ(first.asked + second.asked, 2);

  // The verdict, with both roots and with one.
  const std::string file = path(id);
  VerifyOptions options;
  options.trust = trust_.keys;
  const auto both = crypto::TimestampTrust::from_pem(time.roots_pem).value();
  options.time_trust = &both;
  options.time_threshold = 2;
  const Verdict verdict = verify_bundle_file(file, options).value();
  EXPECT_EQ(verdict.of(Dimension::kTime).outcome, Outcome::kPass) << verdict.of(Dimension::kTime).reason;
  EXPECT_EQ(verdict.of(Dimension::kIntegrity).outcome, Outcome::kPass) << verdict.of(Dimension::kIntegrity).reason;
  EXPECT_EQ(verdict.time_authorities.size(), 2u);
  const auto one = crypto::TimestampTrust::from_pem(second.roots()).value();
  options.time_trust = &one;
  EXPECT_EQ(verify_bundle_file(file, options).value().of(Dimension::kTime).outcome, Outcome::kFail);

  // Openssl's own opinion, on the signature as cosign and verify.sh take it.
  const auto member = [&](std::string_view name) {
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    FileSource source(fd.get());
    return read_bundle_member(source, name, 1 << 20).value();
  };
  first.put("sig", crypto::dsse_parse(member("attest/seal.dsse.json")).value().signatures.at(0).sig);
  first.put("1.tsr", member("time/1.tsr"));
  first.put("2.tsr", member("time/2.tsr"));
  first.put("chain.pem", member("time/chain.pem"));
  EXPECT_NE(first.shell("openssl ts -verify -in 1.tsr -data sig -CAfile root.pem").find("Verification: OK"), std::string::npos);
  EXPECT_EQ(first.shell("openssl ts -verify -in 2.tsr -data sig -CAfile root.pem").find("Verification: OK"), std::string::npos);
  EXPECT_NE(first.shell("openssl ts -verify -in 2.tsr -data sig -CAfile chain.pem").find("Verification: OK"), std::string::npos);

  // One is away: the seal waits for as many as are required, and is made once they answer.
  second.away = true;
  runner_->drain();
  const BundleId waits = request("eval", evaluation_.str(), "CASE-1", true).value().bundle_id;
  runner_->drain();
  const auto refused = locker_->round();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), errors::kUnavailable) << refused.error().describe();
  EXPECT_NE(refused.error().field("cause").find("second: "), std::string_view::npos) << refused.error().describe();
  EXPECT_EQ(state(waits), "built");
  EXPECT_FALSE(store_->stat(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), waits, "bundle.tgz")).has_value());
  second.away = false;
  due();
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(waits), "sealed");

  // None is required: one of two stamps, and then none.
  second.away = true;
  locking(0);
  const auto tokens = [&](const BundleId& bundle) {
    Trust trust = trust_;
    trust.time = both;
    auto t = tx();
    const auto body = verify_stored(t, *store_, trust, bundle, TraceId::generate()).value();
    for (const auto& d : body.items("dimensions"))
      if (d.str("name") == "TIME") return std::string(d.str("outcome")) + " " + std::string(d.str("reason"));
    return std::string();
  };
  EXPECT_TRUE(tokens(sealed("CASE-1", true)).starts_with("PASS signed no later than"));
  first.away = true;
  EXPECT_TRUE(tokens(sealed("CASE-1", true)).starts_with("NOT-CHECKED local clock only"));
}

TEST(Stamping, AnAuthorityThatIsAwayIsLeftAlone) {
  TimeAuthority authority;
  authority.away = true;
  StamperOptions options;
  options.authorities = {{"only", authority.url()}};
  options.roots_pem = authority.roots();
  options.pause = std::chrono::hours(1);
  const auto stamper = Stamper::make(options).value();
  const std::string_view signatures[] = {"one", "two"};
  EXPECT_TRUE(stamper->stamp(signatures).value().empty());
  EXPECT_EQ(authority.asked, 1);
}

TEST(Stamping, WhatCannotBeMeant) {
  EXPECT_EQ(parse_authorities(" a=http://x/ , b=https://y/z?k=v ").value(), (std::vector<std::pair<std::string, std::string>>{{"a", "http://x/"}, {"b", "https://y/z?k=v"}}));
  EXPECT_TRUE(parse_authorities("").value().empty());
  for (const std::string_view bad : {"http://x/", "a=ftp://x", "a=", "=http://x", "a=http://x,a=http://y"}) EXPECT_EQ(parse_authorities(bad).error().field("field"), "time.authorities") << bad;
  StamperOptions options;
  EXPECT_EQ(Stamper::make(options).error().field("field"), "time.authorities");
  options.authorities = {{"a", "http://127.0.0.1:9/"}};
  EXPECT_FALSE(Stamper::make(options).has_value());  // no roots
  options.required = 2;
  EXPECT_EQ(Stamper::make(options).error().field("field"), "time.required");
}

// Redacted copies of a sealed bundle.
class Redacting : public Locking {
 protected:
  Result<Snapshot> redact(const BundleId& id, std::vector<std::string> withhold, std::string_view tenant = "acme", std::string reason = "internal rules") {
    auto t = tx(tenant);
    const auto tr = trace();
    auto made = request_redaction(t, {id, std::move(withhold), std::move(reason), tr.id, tr.traceparent});
    EXPECT_TRUE(!made || t.commit().has_value());
    return made;
  }
  BundleId copied(const BundleId& id, std::vector<std::string> withhold = {"data/trace.ndjson"}) {
    const auto made = redact(id, std::move(withhold));
    EXPECT_TRUE(made.has_value()) << made.error().describe();
    EXPECT_EQ(locker_->round().value(), 1);
    return made->bundle_id;
  }
  json::Value read(const BundleId& id) {
    auto t = tx();
    return read_bundle(t, *store_, trust_, id, TraceId::generate()).value();
  }
  static std::string completeness(const json::Value& body) {
    for (const auto& d : body.find("verdict")->items("dimensions"))
      if (d.str("name") == "COMPLETENESS") return std::string(d.str("outcome")) + " " + std::string(d.str("reason"));
    return {};
  }
  objects::ObjectLock lock_of(const BundleId& id) { return store_->lock_state(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "bundle.tgz")).value(); }
  void overwrite(const BundleId& id, std::string_view bytes) {
    ASSERT_EQ(::unlink(path(id).c_str()), 0);
    ASSERT_TRUE(write_file_durable(path(id), bytes));
  }
};

TEST_F(Redacting, ACopyIsAnotherBundleOfTheCase) {
  const BundleId id = sealed();
  const std::string before = column(id, "encode(bundle_sha256, 'hex')");
  const auto asked = redact(id, {"role:trace", "data/logs.ndjson"}).value();
  EXPECT_FALSE(asked.existed);
  EXPECT_EQ(state(asked.bundle_id), "built");
  const auto same = redact(id, {"data/logs.ndjson", "role:trace", "role:trace"}).value();
  EXPECT_TRUE(same.existed);
  EXPECT_EQ(same.bundle_id, asked.bundle_id) << "the order in which files are named says nothing";
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(asked.bundle_id), "sealed");
  EXPECT_TRUE(redact(id, {"data/logs.ndjson", "role:trace"}).value().existed);
  EXPECT_NE(redact(id, {"data/logs.ndjson"}).value().bundle_id, asked.bundle_id);

  const json::Value body = read(asked.bundle_id);
  EXPECT_TRUE(completeness(body).starts_with("PASS disclosed")) << completeness(body);
  EXPECT_TRUE(completeness(body).ends_with("withheld 2 (authorised 2), unaccounted 0")) << completeness(body);
  EXPECT_EQ(body.str("derived_from"), id.str());
  EXPECT_EQ(body.str("case_id"), "CASE-1");
  EXPECT_EQ(body.find("verdict")->str("result"), "pass");
  for (const auto& item : body.items("items")) EXPECT_NE(item.str("path"), "data/trace.ndjson");
  EXPECT_EQ(db_.sql("SELECT count(DISTINCT root_hash) FROM evidence_bundles"), "1") << "the seal of the original";
  EXPECT_EQ(column(id, "encode(bundle_sha256, 'hex')"), before);
  EXPECT_EQ(events("evidence.redacted"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%evidence.redacted%' AND convert_from(entry, 'UTF8') LIKE '%" + before + "%' AND convert_from(entry, 'UTF8') LIKE '%" +
                    column(asked.bundle_id, "encode(bundle_sha256, 'hex')") + "%'"),
            "1")
      << "what it was made from and what was made, by digest";
  auto e = tx();
  const auto exported = export_bundle(e, *store_, trust_, asked.bundle_id, "auditor", TraceId::generate());
  ASSERT_TRUE(exported.has_value()) << exported.error().describe();
  EXPECT_EQ(exported->sha256.hex(), column(asked.bundle_id, "encode(bundle_sha256, 'hex')"));
  // A snapshot of the evaluation is the original as before, and the copy can be redacted further.
  EXPECT_EQ(request("eval", evaluation_.str()).value().bundle_id, id);
  EXPECT_EQ(locker_->round().value(), 1);  // the other copy
  const BundleId further = copied(asked.bundle_id, {"report.html"});
  EXPECT_TRUE(completeness(read(further)).ends_with("withheld 3 (authorised 3), unaccounted 0")) << completeness(read(further));
}

TEST_F(Redacting, WithoutItsStatementNoCopyLeaves) {
  const BundleId id = sealed();
  const BundleId copy = copied(id);
  // The same copy as it is without what authorises it.
  const Fd fd(::open(path(id).c_str(), O_RDONLY | O_CLOEXEC));
  StringSink out;
  ASSERT_TRUE(redact_bundle(fd.get(), {.withhold = {"data/trace.ndjson"}, .reason = "internal rules", .authority = {}, .at = Timestamp::now()}, nullptr, out).has_value());
  overwrite(copy, out.text);
  EXPECT_TRUE(completeness(read(copy)).starts_with("FAIL")) << completeness(read(copy));
  EXPECT_NE(completeness(read(copy)).find("withheld 1 (authorised 0)"), std::string::npos) << completeness(read(copy));
  auto e = tx();
  EXPECT_EQ(export_bundle(e, *store_, trust_, copy, "auditor", TraceId::generate()).error().code(), errors::kIntegrity);
}

TEST_F(Redacting, ACopyInThePlaceOfItsOriginalIsNotTheOriginal) {
  const BundleId id = sealed();
  const BundleId copy = copied(id);
  overwrite(id, read_file(path(copy), 1 << 28).value());
  const json::Value body = read(id);
  EXPECT_EQ(body.find("verdict")->str("result"), "fail");
  const json::Value& integrity = body.find("verdict")->items("dimensions").front();
  EXPECT_EQ(integrity.str("name"), "INTEGRITY");
  EXPECT_EQ(integrity.str("outcome"), "FAIL");
  EXPECT_NE(integrity.str("reason").find("its digest is not the one of its row"), std::string_view::npos) << integrity.str("reason");
  auto t = tx();
  EXPECT_EQ(verify_stored(t, *store_, trust_, id, TraceId::generate()).value().str("result"), "fail");
  EXPECT_EQ(read_custody(t, *store_, trust_, id, TraceId::generate()).error().code(), errors::kIntegrity);
  EXPECT_EQ(export_bundle(t, *store_, trust_, id, "auditor", TraceId::generate()).error().code(), errors::kIntegrity);
  ASSERT_TRUE(t.commit().has_value());
  EXPECT_EQ(events("evidence.exported"), "0");
  EXPECT_EQ(read(copy).find("verdict")->str("result"), "pass");
}

TEST_F(Redacting, AKeyThatSignsNoMoreAuthorisesNothing) {
  const BundleId id = sealed();
  const BundleId waits = redact(id, {"data/trace.ndjson"}).value().bundle_id;
  for (const std::string former : {"retired", "compromised"}) {
    // By another process: this one still has the key.
    db_.sql("UPDATE signing_keys SET state = '" + former + "' WHERE key_id = '" + key_id() + "'");
    due();
    const auto made = locker_->round();
    ASSERT_FALSE(made.has_value()) << former;
    EXPECT_EQ(made.error().code(), errors::kConflict) << made.error().describe();
    EXPECT_EQ(state(waits), "built") << former;
    EXPECT_FALSE(store_->stat(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), waits, "bundle.tgz")).has_value()) << former;
  }
  db_.sql("UPDATE signing_keys SET state = 'active' WHERE key_id = '" + key_id() + "'");
  due();
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(waits), "sealed");
  // Stored before a crash, and the key was stolen since.
  db_.sql("UPDATE evidence_snapshots SET state = 'built', bundle_sha256 = NULL WHERE bundle_id = '" + waits.str() + "'; DELETE FROM evidence_bundles WHERE id = '" + waits.str() + "'");
  db_.sql("UPDATE signing_keys SET state = 'compromised' WHERE key_id = '" + key_id() + "'");
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(waits), "failed");
}

TEST_F(Redacting, ACopyOfACompromisedKeyIsNotGivenOutAgain) {
  const BundleId id = sealed();
  const BundleId first = copied(id);
  EXPECT_EQ(column(first, "authorised_by"), key_id());
  db_.sql("INSERT INTO signing_keys (key_id, purpose, algorithm, public_pem, state) VALUES ('other', 'evidence', 'ecdsa-p256', '', 'compromised')");
  EXPECT_EQ(redact(id, {"data/trace.ndjson"}).value().bundle_id, first);
  db_.sql("UPDATE evidence_snapshots SET authorised_by = NULL");
  EXPECT_FALSE(redact(id, {"data/trace.ndjson"}).value().existed) << "nobody knows which key it was";
  db_.sql("UPDATE evidence_snapshots SET state = 'failed' WHERE state = 'built'; UPDATE evidence_snapshots SET authorised_by = '" + key_id() + "'; UPDATE signing_keys SET state = 'compromised' WHERE key_id = '" + key_id() + "'");
  const auto second = redact(id, {"data/trace.ndjson"}).value();
  EXPECT_FALSE(second.existed);
  EXPECT_EQ(redact(id, {"data/trace.ndjson"}).value().bundle_id, second.bundle_id) << "once";
}

TEST_F(Redacting, WhatCannotBeRedacted) {
  const BundleId id = sealed();
  db_.tenant("beta");
  EXPECT_EQ(redact(id, {"data/trace.ndjson"}, "beta").error().code(), base_errors::kNotFound) << "another tenant's";
  EXPECT_EQ(redact(BundleId::generate(), {"data/trace.ndjson"}).error().code(), base_errors::kNotFound);
  EXPECT_EQ(redact(id, {}).error().field("field"), "withhold");
  EXPECT_EQ(redact(id, {""}).error().field("field"), "withhold");
  EXPECT_EQ(redact(id, {"data/trace.ndjson"}, "acme", " ").error().field("field"), "reason");
  const BundleId nothing = copied(id, {"data/nothing"});
  EXPECT_EQ(state(nothing), "failed");
  EXPECT_EQ(column(nothing, "error->>'code' || ' ' || (error->'fields'->>'field')"), "invalid data/nothing");
  EXPECT_FALSE(redact(id, {"data/nothing"}).value().existed) << "a copy that failed can be asked for again";
  EXPECT_EQ(locker_->round().value(), 1);
  // Somebody else's bundle in the place of ours gets no statement of our key.
  overwrite(id, "another bundle");
  const BundleId changed = copied(id);
  EXPECT_EQ(state(changed), "failed");
  EXPECT_EQ(column(changed, "error->>'code'"), "integrity");
  EXPECT_FALSE(store_->stat(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), changed, "bundle.tgz")).has_value());
  EXPECT_EQ(events("evidence.redacted"), "0");
}

TEST_F(Redacting, HoldsAndRetentionCoverTheCopyAndACrashMakesNoSecondOne) {
  const BundleId id = sealed();
  db_.sql("INSERT INTO evidence_holds (tenant_id, hold_id, case_id, authority, reason, placed_by) VALUES ('acme', '" + Uuid::v7().str() + "', 'CASE-1', 'court', 'order', 'user:x')");
  const BundleId copy = copied(id);
  EXPECT_TRUE(lock_of(copy).legal_hold);
  EXPECT_GE(lock_of(copy).retain_until, parse_seal(store_->get(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), copy, "manifest.json"), 1 << 20).value()).value().facts.retain_until);
  // Stored, and killed before the rows were written.
  const std::string digest = column(copy, "encode(bundle_sha256, 'hex')");
  db_.sql("UPDATE evidence_snapshots SET state = 'built', bundle_sha256 = NULL WHERE bundle_id = '" + copy.str() + "'; DELETE FROM evidence_bundles WHERE id = '" + copy.str() + "'");
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(column(copy, "encode(bundle_sha256, 'hex')"), digest);
  EXPECT_EQ(state(copy), "sealed");
}

TEST_F(Locking, ARequestIsMadeOnceUntilAskedAgain) {
  const BundleId id = sealed();
  const auto same = request("eval", evaluation_.str()).value();
  EXPECT_TRUE(same.existed);
  EXPECT_EQ(same.bundle_id, id);
  std::string loud = evaluation_.str();
  for (char& c : loud) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto spelled = request("eval", loud);
  EXPECT_TRUE(!spelled || spelled->bundle_id == id);
  const auto elsewhere = request("eval", evaluation_.str(), "CASE-2").value();
  EXPECT_NE(elsewhere.bundle_id, id);
  EXPECT_EQ(events("evidence.snapshot"), "2");
  // The same inputs and the same request: another bundle with the same root.
  const BundleId again = sealed("CASE-1", true);
  EXPECT_NE(again, id);
  EXPECT_EQ(db_.sql("SELECT count(DISTINCT root_hash) FROM evidence_bundles WHERE case_id = 'CASE-1'"), "1");
  EXPECT_EQ(column(again, "request_no"), "2");
}

// A job with 300 inputs: its events name one digest, and the record holds the list behind it, so that custody follows every document.
TEST_F(Locking, ListsThatEventsNameAreInTheRecord) {
  const std::string trace_id = TraceId::generate().hex(), job = JobId::generate().str();
  std::vector<jobs::InputRef> documents, inputs;
  for (int i = 0; i < 300; ++i) documents.push_back({"vex-" + std::to_string(i) + ".json", crypto::sha256("document " + std::to_string(i)), acme_});
  inputs = documents;
  const jobs::InputRef set{"active.bin", crypto::sha256("active"), acme_};
  inputs.push_back(set);
  db_.sql("INSERT INTO jobs (tenant_id, job_id, kind, state, engine_version, params, inputs, outputs, idempotency_sha256, requested_by, traceparent, trace_id) VALUES ('acme', '" + job +
          "', 'vex.reconcile', 'finished', '1', '{}', '" + json::dump(jobs::to_json(inputs)) + "', '[]', '', 'user:x', '', '" + trace_id + "')");
  int index = 0;
  const auto log = [&](std::string_view kind, json::Value details) {
    details.set("job_id", job);
    const std::string id = EventId::generate().str(), entry = json::canonical(json::Value::object({{"event_id", id}, {"kind", kind}, {"tenant_id", "acme"}, {"trace_id", trace_id}, {"details", details}})).value();
    db_.sql("INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) VALUES ('acme', " + std::to_string(index++) + ", '" + id + "', convert_to('" + entry + "', 'UTF8'))");
    db_.sql("INSERT INTO timeline_events (event_id, ts, tenant_id, kind, actor, resource_type, resource_id, trace_id, digest, details_jsonb) VALUES ('" + id + "', now(), 'acme', '" + std::string(kind) +
            "', 'user:x', 'job', '" + job + "', '" + trace_id + "', '', '" + json::dump(details) + "')");
  };
  for (int part = 0; part < 2; ++part)
    log("source.fetched", json::Value::object({{"outputs", jobs::digest_list(std::vector<jobs::InputRef>(documents.begin() + part * 150, documents.begin() + (part + 1) * 150))}}));
  log("job.scheduled", json::Value::object({{"inputs", jobs::digest_list(documents)}, {"outputs", jobs::digest_list(std::vector<jobs::InputRef>{set})}}));
  log("vex.reconciled", json::Value::object({{"inputs", jobs::digest_list(inputs)}, {"outputs", jobs::digest_list(std::vector<jobs::InputRef>{{"vex.ndjson", crypto::sha256("vex"), acme_}})}}));

  auto t = std::move(pg::SystemTx<pg::LockerRole>::open(locker_pool_).value());
  const auto record = collect_custody(t, acme_, {trace_id}, std::nullopt);
  ASSERT_TRUE(record.has_value()) << record.error().describe();
  ASSERT_EQ(record->lists().size(), 2u);  // with and without the set that was made for the job
  for (const auto& [digest, list] : record->lists()) EXPECT_EQ(crypto::sha256(list), digest);
  std::vector<CustodyEvent> events;
  for (std::string_view text = record->tenant_events(); !text.empty(); text.remove_prefix(text.find('\n') + 1)) events.push_back(parse_custody_event(text.substr(0, text.find('\n'))).value());
  EXPECT_EQ(walk_custody(events).broken.size(), 2u);  // what an event says alone
  ASSERT_TRUE(expand_custody_lists(events, [&](const Sha256& list) { return std::string_view(record->lists().at(list)); }).has_value());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[2].inputs.size(), 300u);
  EXPECT_EQ(events[3].inputs.size(), 301u);
  const Custody custody = walk_custody(events);
  EXPECT_EQ(custody.links.size(), 601u);
  EXPECT_TRUE(custody.broken.empty());
}

// A seal is signed once the log has the end of the job that made the payload; what it names must still be there when the bundle is written.
TEST_F(Locking, WhatASealNamesOfTheLogIsAllOfIt) {
  const std::string trace_id = TraceId::generate().hex(), job = JobId::generate().str();
  const BundleId bundle = BundleId::generate();
  int index = 0;
  const auto log = [&](std::string_view kind, std::string_view type, const std::string& id, const std::string& of) {
    const json::Value details = json::Value::object({{"job_id", of}, {"outputs", json::Value::array({json::Value::object({{"name", "x"}, {"sha256", crypto::sha256(std::to_string(index)).hex()}})})}});
    const std::string event = EventId::generate().str();
    const std::string entry = json::canonical(json::Value::object({{"event_id", event}, {"kind", kind}, {"resource_type", type}, {"resource_id", id}, {"tenant_id", "acme"}, {"trace_id", trace_id}, {"details", details}})).value();
    db_.sql("INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) VALUES ('acme', " + std::to_string(index++) + ", '" + event + "', convert_to('" + entry + "', 'UTF8'))");
    db_.sql("INSERT INTO timeline_events (event_id, ts, tenant_id, kind, actor, resource_type, resource_id, trace_id, digest, details_jsonb) VALUES ('" + event + "', now(), 'acme', '" + std::string(kind) + "', 'user:x', '" +
            std::string(type) + "', '" + id + "', '" + trace_id + "', '', '" + json::dump(details) + "')");
  };
  const auto record = [&] {
    auto t = std::move(pg::SystemTx<pg::LockerRole>::open(locker_pool_).value());
    return collect_custody(t, acme_, {trace_id}, std::nullopt).value();
  };
  const auto told = [&] { return record().is_told_of(bundle, job).value(); };
  EXPECT_FALSE(record().sealed()->has_value());
  log("sbom.received", "sbom", "s", "");
  EXPECT_FALSE(told());  // nothing of the snapshot yet
  log("job.scheduled", "job", job, job);
  log("evidence.snapshot", "bundle", bundle.str(), job);
  EXPECT_FALSE(told());
  log("job.started", "job", job, job);
  EXPECT_FALSE(told());
  log("job.finished", "job", job, job);
  EXPECT_TRUE(told());
  const auto sealed = record().sealed().value();
  ASSERT_TRUE(sealed.has_value());
  EXPECT_EQ(sealed->tenant.entries, "0-4");
  log("evidence.signed", "bundle", bundle.str(), "");
  EXPECT_TRUE(record().begins_with(sealed));
  EXPECT_TRUE(record().begins_with(std::nullopt));
  db_.sql("DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index = 1");  // expired since
  EXPECT_FALSE(record().begins_with(sealed));
}

TEST_F(Locking, ACrashAfterStoringKeepsThatBundle) {
  const BundleId id = sealed();
  const std::string digest = column(id, "encode(bundle_sha256, 'hex')");
  // As if the process had ended before its commit.
  db_.sql("DELETE FROM evidence_bundles; UPDATE evidence_snapshots SET state = 'built', seal_sha256 = NULL, bundle_sha256 = NULL, bundle_size = NULL, sealed_at = NULL");
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(column(id, "encode(bundle_sha256, 'hex')"), digest);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_bundles"), "1");
  EXPECT_EQ(locker_->round().value(), 0);
}

TEST_F(Locking, AChangedBundleDoesNotLeave) {
  const BundleId id = sealed();
  std::string bytes = read_file(path(id), 1 << 28).value();
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x20);
  ASSERT_EQ(::unlink(path(id).c_str()), 0);
  ASSERT_TRUE(write_file_durable(path(id), bytes));
  auto t = tx();
  const auto exported = export_bundle(t, *store_, trust_, id, "auditor", TraceId::generate());
  ASSERT_FALSE(exported.has_value());
  EXPECT_EQ(exported.error().code(), errors::kIntegrity) << exported.error().describe();
  t.rollback();
  EXPECT_EQ(events("evidence.exported"), "0");
  auto v = tx();
  const auto verdict = verify_stored(v, *store_, trust_, id, TraceId::generate());
  ASSERT_TRUE(verdict.has_value()) << verdict.error().describe();
  const auto body = read_bundle(v, *store_, trust_, id, TraceId::generate());
  ASSERT_TRUE(body.has_value()) << body.error().describe();
  ASSERT_TRUE(v.commit().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%evidence.verified%' AND convert_from(entry, 'UTF8') LIKE '%\"verdict\":\"fail\"%'"), "1");
  // A whole bundle of somebody else's key in its place is no better.
  auto stranger = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  Trust other;
  other.keys.push_back(stranger->public_key());
  const BundleId second = sealed("CASE-1", true);
  auto u = tx();
  EXPECT_FALSE(export_bundle(u, *store_, other, second, "auditor", TraceId::generate()).has_value());
}

TEST_F(Locking, OneThatCannotBeSealedDoesNotHoldUpTheOthers) {
  runner_->drain();
  const auto stuck = request("eval", evaluation_.str(), "CASE-1").value();
  const auto job = request("job", db_.sql("SELECT job_id FROM jobs WHERE kind = 'sbom.compute'"), "CASE-1");
  ASSERT_TRUE(job.has_value()) << job.error().describe();
  runner_->drain();
  const std::string payload = column(stuck.bundle_id, "encode(payload_sha256, 'hex')");
  const std::string file = root_ + "/objects/" + object_key::object(acme_, Sha256::parse(payload).value());
  const std::string bytes = read_file(file, 1 << 28).value();
  ASSERT_EQ(::unlink(file.c_str()), 0);
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(job->bundle_id), "sealed");
  EXPECT_EQ(state(stuck.bundle_id), "built");
  EXPECT_EQ(locker_->round().value(), 0) << "put off";
  due();
  EXPECT_FALSE(locker_->round().has_value());
  ASSERT_TRUE(write_file_durable(file, bytes));
  due();
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(stuck.bundle_id), "sealed");
}

TEST_F(Locking, APayloadThatIsNotWhatItSaysFailsTheSnapshot) {
  runner_->drain();
  runner_->tamper = [](std::string_view kind, std::vector<pipeline::MemoryOutput>& outputs) {
    if (kind != "evidence.snapshot") return;
    for (auto& o : outputs)
      if (o.name == "payload.tar") o.bytes[o.bytes.size() / 3] = static_cast<char>(o.bytes[o.bytes.size() / 3] ^ 1);
  };
  const auto made = request("eval", evaluation_.str()).value();
  runner_->drain();
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(made.bundle_id), "failed");
  EXPECT_EQ(column(made.bundle_id, "failed_at > requested_at"), "t") << "the retention of what it left begins here";
  EXPECT_EQ(events("evidence.sealed"), "0");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_bundles"), "0");
  // A failed one does not stand in the way of the next.
  runner_->tamper = nullptr;
  sealed();
}

TEST_F(Locking, ExportsAndWhatIsNotThere) {
  runner_->drain();
  auto t = tx();
  const auto made = exports::request_export(t, {evaluation_, "json", "", TraceId::generate()});
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  ASSERT_TRUE(t.commit().has_value());
  EXPECT_EQ(request("export", made->str()).error().code(), errors::kNotReady);
  runner_->drain();
  EXPECT_TRUE(request("export", made->str()).has_value());
  EXPECT_EQ(request("eval", EvaluationId::generate().str()).error().code(), base_errors::kNotFound);
  EXPECT_EQ(request("eval", "no id").error().code(), base_errors::kNotFound);
  EXPECT_EQ(request("all", evaluation_.str()).error().code(), base_errors::kInvalid);
  db_.tenant("beta");
  auto other = tx("beta");
  EXPECT_EQ(request_snapshot(other, *store_, {"eval", evaluation_.str(), CaseId::parse("C").value(), false, false, TraceId::generate(), ""}).error().code(), base_errors::kNotFound);
  const BundleId id = sealed("CASE-3");
  EXPECT_EQ(read_bundle(other, *store_, trust_, id, TraceId::generate()).error().code(), base_errors::kNotFound);
}

TEST_F(Locking, AnExportEmbedsTheBundleOfItsEvaluation) {
  runner_->drain();
  auto t = tx();
  const std::string id = exports::request_export(t, {evaluation_, "json", "", TraceId::generate()}).value().str();
  ASSERT_TRUE(t.commit().has_value());
  runner_->drain();
  const auto embedding = [&](std::string_view kind, std::string_view resource) {
    auto u = tx();
    const auto tr = trace();
    auto made = request_snapshot(u, *store_, {std::string(kind), std::string(resource), CaseId::parse("CASE-1").value(), false, true, tr.id, tr.traceparent});
    EXPECT_TRUE(!made || u.commit().has_value());
    return made;
  };
  EXPECT_EQ(embedding("eval", evaluation_.str()).error().field("field"), "embed_evaluation");
  EXPECT_EQ(embedding("export", id).error().code(), errors::kNotReady);  // there is nothing to embed yet
  EXPECT_EQ(embedding("export", ExportId::generate().str()).error().code(), base_errors::kNotFound);
  const BundleId inner = sealed();
  const auto made = embedding("export", id);
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  runner_->drain();
  ASSERT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(made->bundle_id), "sealed");
  EXPECT_TRUE(embedding("export", id)->existed);
  const auto plain = request("export", id);
  ASSERT_TRUE(plain.has_value()) << plain.error().describe();
  EXPECT_FALSE(plain->existed);  // one without is another
  EXPECT_EQ(column(plain->bundle_id, "request_no"), "2");

  VerifyOptions options;
  options.trust = trust_.keys;
  const Verdict outer = verify_bundle_file(path(made->bundle_id), options).value();
  EXPECT_EQ(exit_code(outer), kExitPass);
  ASSERT_EQ(outer.seal->facts.parents.size(), 1u);
  EXPECT_EQ(outer.seal->facts.parents[0].bundle_id, inner);
  EXPECT_EQ(nested_bundles(outer), std::vector<std::string>{"data/bundles/" + inner.str() + ".tgz"});
  const auto verdicts = verify_nested_file(path(made->bundle_id), outer, options);
  ASSERT_TRUE(verdicts.has_value()) << verdicts.error().describe();
  ASSERT_EQ(verdicts->size(), 1u);
  ASSERT_TRUE(verdicts->front().verdict.has_value()) << verdicts->front().verdict.error().describe();
  const Verdict& nested = *verdicts->front().verdict;
  EXPECT_EQ(exit_code(nested), kExitPass);
  EXPECT_EQ(nested.seal->facts.bundle_id, inner);
  EXPECT_EQ(nested.seal->head.root, outer.seal->facts.parents[0].root);
  // A seal that names another one, or none.
  const auto inside_of = [&](const std::function<void(std::vector<SealFacts::Parent>&)>& change) {
    Verdict other = outer;
    change(other.seal->facts.parents);
    return verify_nested_file(path(made->bundle_id), other, options).value().front().verdict.value().of(Dimension::kIntegrity);
  };
  EXPECT_EQ(inside_of([](auto&) {}).outcome, Outcome::kPass);
  const DimensionVerdict another_root = inside_of([](auto& parents) { parents[0].root = crypto::sha256("another"); });
  EXPECT_EQ(another_root.outcome, Outcome::kFail);
  EXPECT_NE(another_root.reason.find(crypto::sha256("another").hex()), std::string::npos) << another_root.reason;
  EXPECT_EQ(inside_of([](auto& parents) { parents.clear(); }).outcome, Outcome::kFail);

  // Redacted copies of it are newer and of the same evaluation, and not what is meant.
  for (const std::string reason : {"internal rules", "names"}) {
    auto u = tx();
    const auto tr = trace();
    ASSERT_TRUE(request_redaction(u, {inner, {"data/trace.ndjson"}, reason, tr.id, tr.traceparent}).has_value());
    ASSERT_TRUE(u.commit().has_value());
    ASSERT_EQ(locker_->round().value(), 1);
  }
  EXPECT_EQ(embedding("export", id)->bundle_id, made->bundle_id);

  // One that was changed in the store is not passed on inside of another.
  const BundleId second = sealed("CASE-1", true);
  std::string bytes = read_file(path(second), 1 << 28).value();
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x20);
  ASSERT_EQ(::unlink(path(second).c_str()), 0);
  ASSERT_TRUE(write_file_durable(path(second), bytes));
  const auto refused = embedding("export", id);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), errors::kIntegrity) << refused.error().describe();
}

}  // namespace
}  // namespace stella::evidence
