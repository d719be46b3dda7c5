// The ledger on a real database and store, its jobs run by the real pipeline functions: what requests and ends of jobs leave behind.
#include <filesystem>
#include <thread>

#include "ledger_fixture.h"
#include "stella/base/tar.h"
#include "stella/contracts/errors.h"

namespace stella::ledger {
namespace {

class Ledger : public LedgerFixture {};

TEST_F(Ledger, AnSbomIsReceivedOnceAndComputed) {
  const SbomId id = sbom(sample("sbom.cdx.json"));
  EXPECT_EQ(db_.sql("SELECT state FROM sboms"), "computed");
  EXPECT_EQ(db_.sql("SELECT sbom_id FROM sbom_components WHERE tenant_id = 'acme' AND purl = 'pkg:npm/lodash@4.17.20'"), id.str());
  EXPECT_EQ(sbom(sample("sbom.cdx.json"), true), id);
  EXPECT_EQ(events("sbom.received"), "1");
  EXPECT_EQ(events("sbom.computed"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs"), "1");
}

TEST_F(Ledger, ABrokenSbomIsRejectedWithItsReason) {
  const SbomId id = sbom("{\"bomFormat\":\"CycloneDX\",");
  EXPECT_EQ(db_.sql("SELECT state || ' ' || (error->>'code') FROM sboms WHERE sbom_id = '" + id.str() + "'"), "rejected malformed");
  EXPECT_EQ(events("sbom.rejected"), "1");
}

TEST_F(Ledger, NulInAnOutputBecomesTheReplacementCharacter) {
  // The parser refuses NUL; a runner that was taken over need not.
  runner_->tamper = [](std::string_view, std::vector<pipeline::MemoryOutput>& outputs) {
    std::string& text = outputs.front().bytes;
    for (std::size_t at = text.find("a~b"); at != text.npos; at = text.find("a~b", at + 1)) text.replace(at, 3, "a\\u0000b");
  };
  sbom(R"({"bomFormat":"CycloneDX","specVersion":"1.5","metadata":{"component":{"type":"application","name":"a~b","version":"1"}},)"
       R"("components":[{"type":"library","name":"lodash","purl":"pkg:npm/lodash@4.17.20"}]})");
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(db_.sql("SELECT state FROM sboms"), "computed") << db_.sql("SELECT error FROM sboms");
  EXPECT_EQ(db_.sql("SELECT document_name FROM sboms"), "a\xef\xbf\xbd" "b");
}

TEST_F(Ledger, RevisionsAreCountedAndUnchangedDocumentsAreNone) {
  const std::string first = advisory("GHSA-test-0001", "2026-01-01T00:00:00Z", "4.17.21");
  EXPECT_EQ(counts(batch(DocumentKind::kAdvisory, first, false)), "10000");
  EXPECT_EQ(counts(batch(DocumentKind::kAdvisory, first, false)), "00100");
  EXPECT_EQ(counts(batch(DocumentKind::kAdvisory, advisory("GHSA-test-0001", "2026-02-01T00:00:00Z", "4.17.22"), false)), "01000");
  EXPECT_EQ(counts(batch(DocumentKind::kAdvisory, advisory("GHSA-test-0001", "2026-03-01T00:00:00Z", "4.17.22", R"(,"withdrawn":"2026-03-01T00:00:00Z")"), false)), "01010");
  EXPECT_EQ(db_.sql("SELECT string_agg(revision_no::text, ',' ORDER BY revision_no) FROM advisory_observations"), "1,2,3");
  EXPECT_EQ(db_.sql("SELECT revision_no FROM advisory_current"), "3");
  EXPECT_EQ(events("advisory.ingested"), "4");
  EXPECT_EQ(events("advisory.revised"), "2");
  EXPECT_EQ(events("advisory.withdrawn"), "1");
}

TEST_F(Ledger, OneBadDocumentRejectsItselfOnly) {
  std::string tar;
  append_tar(tar, "good.json", advisory("GHSA-test-0001", "2026-01-01T00:00:00Z", "2.0.0"));
  append_tar(tar, "broken.json", "{");
  append_tar(tar, "long.json", advisory(std::string(3000, 'x'), "2026-01-01T00:00:00Z", "2.0.0"));
  append_tar(tar, "nul.json", advisory("GHSA\\u0000x", "2026-01-01T00:00:00Z", "2.0.0"));
  append_tar_end(tar);
  const std::string id = batch(DocumentKind::kAdvisory, tar, true);
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(counts(id), "10003");
  EXPECT_EQ(db_.sql("SELECT jsonb_array_length(rejected) FROM ingest_batches WHERE batch_id = '" + id + "'"), "3");
}

TEST_F(Ledger, TwoBatchesAtOnceNumberRevisionsWithoutGaps) {
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  for (int n = 0; n < kThreads; ++n) batch(DocumentKind::kAdvisory, advisory("GHSA-race", "2026-01-0" + std::to_string(n + 1) + "T00:00:00Z", std::to_string(n + 1) + ".0.0"), false, "acme", false);
  // Each drains with a connection of its own; a job is locked by the one that runs it.
  for (int n = 0; n < kThreads; ++n) {
    threads.emplace_back([&] {
      testing::JobRunner own(pool_, *store_, handlers(*store_));
      own.drain();
    });
  }
  for (auto& t : threads) t.join();
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT string_agg(revision_no::text, ',' ORDER BY revision_no) FROM advisory_observations"), "1,2,3,4");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM ingest_batches WHERE state = 'ingested'"), "4");
}

TEST_F(Ledger, ATarThatIsNoneAndASourceThatIsNone) {
  auto t = tx();
  EXPECT_EQ(receive_batch(t, *store_, DocumentKind::kAdvisory, "test", "not a tar", true, trace()).error().code(), base_errors::kMalformed);
  EXPECT_EQ(receive_batch(t, *store_, DocumentKind::kAdvisory, "../x", "{}", false, trace()).error().code(), base_errors::kInvalid);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs"), "0");
}

TEST_F(Ledger, ThePublicKnowledgeBaseSpeaksToEveryTenantAndBelongsToThePlatform) {
  batch(DocumentKind::kAdvisory, advisory("GHSA-public", "2026-01-01T00:00:00Z", "4.17.21"), false, "global");
  EXPECT_EQ(db_.sql("SELECT DISTINCT tenant_id FROM timeline_outbox"), "platform");
  policy();
  const SbomId id = sbom(sample("sbom.cdx.json"));
  const EvaluationId evaluation = evaluate(id);
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT state FROM evaluations WHERE evaluation_id = '" + evaluation.str() + "'"), "finished");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM findings WHERE advisory_id = 'GHSA-public'"), "1");
}

TEST_F(Ledger, AnEvaluationGoesThroughItsChain) {
  std::string tar;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(STELLA_SOURCE_DIR) + "/samples/advisories"))
    append_tar(tar, entry.path().filename().string(), read_file(entry.path().string(), 1 << 24).value());
  append_tar(tar, "elsewhere.json", R"({"schema_version":"1.6.0","id":"DSA-1","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Packagist","name":"curl/curl"},"versions":["1"]}]})");
  append_tar_end(tar);
  batch(DocumentKind::kAdvisory, tar, true);
  batch(DocumentKind::kVex, sample("vex.openvex.json"), false);
  const std::string version = policy();
  const SbomId id = sbom(sample("sbom.cdx.json"));
  const EvaluationId evaluation = evaluate(id);
  EXPECT_EQ(runner_->drain(), 3);
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  const std::string where = " FROM evaluations WHERE evaluation_id = '" + evaluation.str() + "'";
  EXPECT_EQ(db_.sql("SELECT state" + where), "finished");
  EXPECT_EQ(db_.sql("SELECT policy_version" + where), version);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM findings"), db_.sql("SELECT counts->>'findings'" + where));
  EXPECT_NE(db_.sql("SELECT counts->>'findings'" + where), "0");
  EXPECT_EQ(db_.sql("SELECT record->>'decision_effect' FROM decisions WHERE kind = 'evaluation'"), db_.sql("SELECT decision_effect" + where));
  // What went in, by the names of the specification.
  EXPECT_EQ(db_.sql("SELECT record->'inputs'->>'vex_set_digest' FROM decisions WHERE kind = 'evaluation'"), db_.sql("SELECT encode(vex_set_sha256, 'hex')" + where));
  EXPECT_EQ(db_.sql("SELECT record->'inputs'->>'advisory_set_digest' FROM decisions WHERE kind = 'evaluation'"), db_.sql("SELECT encode(advisory_set_sha256, 'hex')" + where));
  for (const char* kind : {"advisory.linked", "vex.reconciled", "policy.evaluated"}) EXPECT_EQ(events(kind), "1") << kind;
  // VSA, SVR and vulns, each over the SBOM as it was received; the findings' ids are in the last.
  ASSERT_EQ(runner_->stated.size(), 3u);
  for (const evidence::Stated& s : runner_->stated) {
    ASSERT_EQ(s.subjects.size(), 1u);
    EXPECT_EQ(s.subjects.front().sha256, crypto::sha256(sample("sbom.cdx.json"))) << s.predicate_type;
  }
  EXPECT_NE(runner_->stated[0].bytes.find(db_.sql("SELECT encode(policy_sha256, 'hex')" + where)), std::string::npos);
  EXPECT_NE(runner_->stated[2].bytes.find(db_.sql("SELECT min(advisory_id) FROM findings WHERE advisory_id <> ''")), std::string::npos);
  // Only segments of the SBOM's ecosystems are inputs.
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs j, jsonb_array_elements(j.inputs) i, advisory_segments s WHERE j.kind = 'advisory.link' AND i->>'sha256' = encode(s.sha256, 'hex') AND s.ecosystem = 'packagist'"), "0");
  EXPECT_NE(db_.sql("SELECT count(*) FROM advisory_segments WHERE ecosystem = 'packagist'"), "0");
  // The same question again: nothing runs, the decision has its own id and the same digests.
  const EvaluationId again = evaluate(id);
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs WHERE cached_from IS NOT NULL"), "3");
  EXPECT_EQ(db_.sql("SELECT count(DISTINCT decision_sha256) || ' ' || count(DISTINCT decision_id) FROM evaluations"), "1 2");
  EXPECT_EQ(db_.sql("SELECT state FROM evaluations WHERE evaluation_id = '" + again.str() + "'"), "finished");
}

TEST_F(Ledger, OutputsThatBreakTheContractFailTheEvaluation) {
  policy();
  const SbomId id = sbom(sample("sbom.cdx.json"));
  runner_->tamper = [](std::string_view kind, std::vector<pipeline::MemoryOutput>& outputs) {
    if (kind == "policy.evaluate") outputs.front().bytes = "no decision";
  };
  const EvaluationId evaluation = evaluate(id);
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT state FROM evaluations WHERE evaluation_id = '" + evaluation.str() + "'"), "failed");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM findings"), "0");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM decisions WHERE kind = 'evaluation'"), "0");
  EXPECT_EQ(events("policy.evaluated"), "0");
  // Somebody retries the job, and it works out.
  runner_->tamper = nullptr;
  db_.sql("UPDATE jobs SET state = 'queued' WHERE kind = 'policy.evaluate'");
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT state FROM evaluations WHERE evaluation_id = '" + evaluation.str() + "'"), "finished");
}

TEST_F(Ledger, WhatIsNotReadyOrNotThereSaysSo) {
  auto t = tx();
  EXPECT_EQ(start_evaluation(t, *store_, {SbomId::generate(), "", {}}, trace()).error().code(), base_errors::kNotFound);
  auto received = receive_sbom(t, *store_, find_project(t, "").value(), sample("sbom.cdx.json"), trace());
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(start_evaluation(t, *store_, {received->id, "", {}}, trace()).error().code(), contracts::errors::kNotReady);
  ASSERT_TRUE(t.commit().has_value());
  runner_->drain();
  auto u = tx();
  EXPECT_EQ(start_evaluation(u, *store_, {received->id, "", {}}, trace()).error().code(), contracts::errors::kNotReady);  // no active policy
  EXPECT_EQ(start_evaluation(u, *store_, {received->id, "none@0", {}}, trace()).error().code(), base_errors::kNotFound);
  EXPECT_EQ(find_project(u, "nowhere").error().code(), base_errors::kNotFound);
  db_.tenant("beta");
  auto other = tx("beta");
  EXPECT_EQ(start_evaluation(other, *store_, {received->id, "", {}}, trace()).error().code(), base_errors::kNotFound);
}

TEST_F(Ledger, ActivatingTwiceIsOneTransition) {
  const std::string version = policy();
  auto t = tx();
  EXPECT_TRUE(publish_policy(t, *store_, sample("policy.yaml"), trace())->existed);
  EXPECT_TRUE(activate_policy(t, version, trace()).has_value());
  EXPECT_EQ(activate_policy(t, "none@0", trace()).error().code(), base_errors::kNotFound);
  ASSERT_TRUE(t.commit().has_value());
  EXPECT_EQ(events("policy.published"), "1");
  EXPECT_EQ(events("policy.activated"), "1");
  auto broken = tx();
  EXPECT_FALSE(publish_policy(broken, *store_, "rules: [", trace()).has_value());
}

}  // namespace
}  // namespace stella::ledger
