// Findings open, change and close as events, each once and with its reason.
#include "finding_changes.h"

#include <future>

#include "ledger_fixture.h"
#include "stella/base/tar.h"
#include "stella/contracts/errors.h"

namespace stella::ledger {
namespace {

class FindingChanges : public LedgerFixture {
 protected:
  static std::string document(std::string_view components, std::string_view name = "shop", std::string_view version = "1") {
    return std::string(R"({"bomFormat":"CycloneDX","specVersion":"1.5","metadata":{"component":{"type":"application","name":")").append(name).append(R"(","version":")").append(version).append(
        R"(","purl":"pkg:npm/)").append(name).append("@").append(version).append(R"("}},"components":[)").append(components).append("]}");
  }
  static std::string npm(std::string_view name, std::string_view version) {
    return std::string(R"({"type":"library","name":")").append(name).append(R"(","version":")").append(version).append(R"(","purl":"pkg:npm/)").append(name).append("@").append(version).append("\"}");
  }
  static std::string vex(std::string_view status, std::string_view time, std::string_view advisory = "GHSA-1") {
    return std::string(R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://x/vex","author":"a","timestamp":")").append(time).append(R"(","version":1,"statements":[{"vulnerability":{"name":")")
        .append(advisory).append(R"("},"products":[{"@id":"pkg:npm/lodash@4.17.20"}],"status":")").append(status).append(
            status == "not_affected" ? R"(","justification":"vulnerable_code_not_present"}]})" : R"("}]})");
  }
  void know(std::string_view bytes) { batch(DocumentKind::kAdvisory, bytes, false); }
  EvaluationId decide(const SbomId& id) {
    const EvaluationId evaluation = evaluate(id);
    runner_->drain();
    EXPECT_EQ(db_.sql("SELECT state FROM evaluations WHERE evaluation_id = '" + evaluation.str() + "'"), "finished") << (runner_->last ? "" : runner_->last.error().describe());
    return evaluation;
  }
  // The finding events of an evaluation in order, each as `columns` of its entry e.
  std::string told(const EvaluationId& id, const std::string& columns = "e->>'kind' || ' ' || (e->'details'->>'purl') || ' ' || coalesce(e->'details'->>'advisory_id', '')") {
    return db_.sql("SELECT string_agg(" + columns + ", ', ' ORDER BY seq) FROM (SELECT seq, resources, convert_from(entry, 'UTF8')::jsonb AS e FROM timeline_outbox) AS o"
                   " WHERE e->>'resource_type' = 'finding' AND e->'details'->>'evaluation_id' = '" + id.str() + "'");
  }
  std::string reasons(const EvaluationId& id) { return told(id, "e->>'kind' || ' ' || (e->'details'->>'reason') || coalesce(' ' || (e->'details'->>'replaced_by'), '')"); }
};

TEST_F(FindingChanges, TheFirstEvaluationOpensARepeatSaysNothing) {
  know(advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.17.21"));
  know(advisory("GHSA-0", "2026-01-01T00:00:00Z", "4.17.21"));
  policy();
  const SbomId id = sbom(document(npm("lodash", "4.17.20") + "," + npm("left-pad", "1.3.0")));
  const EvaluationId first = decide(id);
  EXPECT_EQ(told(first), "finding.opened pkg:npm/lodash@4.17.20 GHSA-0, finding.opened pkg:npm/lodash@4.17.20 GHSA-1");
  EXPECT_EQ(told(first, "(e->'details'->'fixed_versions'->>0) || ' ' || (e->'details'->>'verdict')"), "4.17.21 affected, 4.17.21 affected");
  // After the decision that they follow from, and found by everything they are about.
  EXPECT_EQ(db_.sql("SELECT (SELECT max(seq) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%policy.evaluated%') < (SELECT min(seq) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE "
                    "'%finding.opened%')"), "t");
  const std::string resources = told(first, "resources::text");
  for (const std::string& one : {"[\"evaluation\", \"" + first.str(), "[\"sbom\", \"" + id.str(), std::string("[\"component\", \"pkg:npm/lodash@4.17.20\"]"), std::string("[\"advisory\", \"GHSA-1\"]"), std::string("[\"job\", ")})
    EXPECT_NE(resources.find(one), std::string::npos) << one << resources;
  EXPECT_EQ(told(decide(id)), "");
}

TEST_F(FindingChanges, AStatementClosesAndItsEndOpensTheSameFindingAgain) {
  know(advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.17.21"));
  policy();
  const SbomId id = sbom(document(npm("lodash", "4.17.20")));
  const EvaluationId first = decide(id);
  batch(DocumentKind::kVex, vex("under_investigation", "2026-02-01T00:00:00Z"), false);
  const EvaluationId second = decide(id);
  EXPECT_EQ(told(second), "finding.changed pkg:npm/lodash@4.17.20 GHSA-1");
  EXPECT_NE(told(second, "(e->'details'->'fields')::text").find("\"vex_status\""), std::string::npos);
  EXPECT_EQ(told(second, "(e->'details'->'before'->>'vex_status') || ' ' || (e->'details'->'after'->>'vex_status')"), "none under_investigation");
  EXPECT_EQ(told(second, "e->'details'->>'previous_evaluation_id'"), first.str());
  batch(DocumentKind::kVex, vex("not_affected", "2026-02-02T00:00:00Z"), false);
  const EvaluationId third = decide(id);
  EXPECT_EQ(reasons(third), "finding.closed vex_not_affected");
  // Closed is closed: other words for it are no difference.
  batch(DocumentKind::kVex, vex("fixed", "2026-02-03T00:00:00Z"), false);
  EXPECT_EQ(told(decide(id)), "");
  batch(DocumentKind::kVex, vex("affected", "2026-02-04T00:00:00Z"), false);
  const EvaluationId last = decide(id);
  EXPECT_EQ(told(last), "finding.opened pkg:npm/lodash@4.17.20 GHSA-1");
  EXPECT_EQ(told(last, "e->>'resource_id'"), told(first, "e->>'resource_id'"));
  EXPECT_EQ(told(last, "e->>'resource_id'"), told(third, "e->>'resource_id'"));
  batch(DocumentKind::kVex, vex("fixed", "2026-02-05T00:00:00Z"), false);
  EXPECT_EQ(reasons(decide(id)), "finding.closed vex_fixed");
}

TEST_F(FindingChanges, AnAdvisoryIsRevisedAndWithdrawn) {
  know(advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.17.21"));
  know(advisory("GHSA-2", "2026-01-01T00:00:00Z", "4.17.21"));
  policy();
  const SbomId id = sbom(document(npm("lodash", "4.17.20")));
  decide(id);
  know(advisory("GHSA-1", "2026-02-01T00:00:00Z", "4.17.22"));
  const EvaluationId revised = decide(id);
  EXPECT_EQ(told(revised, "(e->'details'->'fields')::text || (e->'details'->'before')::text || (e->'details'->'after')::text"),
            R"(["fixed_versions"]{"fixed_versions": ["4.17.21"]}{"fixed_versions": ["4.17.22"]})");
  know(advisory("GHSA-1", "2026-03-01T00:00:00Z", "4.17.22", R"(,"withdrawn":"2026-03-01T00:00:00Z")"));
  know(advisory("GHSA-2", "2026-03-01T00:00:00Z", "4.17.3"));
  EXPECT_EQ(reasons(decide(id)), "finding.closed advisory_withdrawn, finding.closed advisory_changed");
}

TEST_F(FindingChanges, ANewerSbomOfTheSameNameReplacesTheOlder) {
  know(advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.17.21"));
  know(R"({"schema_version":"1.6.0","id":"GHSA-pad","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"left-pad"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]})");
  policy();
  const SbomId older = sbom(document(npm("lodash", "4.17.20") + "," + npm("left-pad", "1.3.0")));
  decide(older);
  const SbomId other = sbom(document(npm("lodash", "4.17.20"), "another-shop"));
  EXPECT_EQ(told(decide(other)), "finding.opened pkg:npm/lodash@4.17.20 GHSA-1");
  const SbomId newer = sbom(document(npm("lodash", "4.17.21"), "shop", "2"));
  EXPECT_EQ(reasons(decide(newer)), "finding.closed component_removed, finding.closed version_changed pkg:npm/lodash@4.17.21");
  // The subject's findings are those of the newer one: what is learned of the older changes them no more.
  know(advisory("GHSA-2", "2026-01-01T00:00:00Z", "4.17.21"));
  EXPECT_EQ(told(decide(older)), "");
  EXPECT_EQ(told(decide(newer)), "");
}

TEST_F(FindingChanges, TheSameNameInAnotherProjectIsAnotherSubject) {
  know(advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.17.21"));
  policy();
  decide(sbom(document(npm("lodash", "4.17.20"))));
  db_.sql("INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ('acme', '00000000-0000-7000-8000-0000000000bb', 'other', 'Other')");
  auto t = tx();
  const SbomId there = receive_sbom(t, *store_, find_project(t, "other").value(), document(npm("lodash", "4.17.20"), "shop", "2"), trace())->id;
  ASSERT_TRUE(t.commit().has_value());
  runner_->drain();
  EXPECT_EQ(told(decide(there)), "finding.opened pkg:npm/lodash@4.17.20 GHSA-1");
}

TEST_F(FindingChanges, NulAndLengthInIdsBreakNothing) {
  know(advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.17.21"));
  know(advisory("GHSA-2", "2026-01-01T00:00:00Z", "4.17.21"));
  policy();
  const SbomId id = sbom(document(npm("lodash", "4.17.20")));
  // Ingestion refuses both; a runner that was taken over need not.
  runner_->tamper = [](std::string_view kind, std::vector<pipeline::MemoryOutput>& outputs) {
    if (kind != "policy.evaluate") return;
    const auto replace = [](std::string& text, std::string_view from, std::string_view to) {
      for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
    };
    for (auto& out : outputs) {
      replace(out.bytes, "\"GHSA-1\"", "\"GHSA\\u0000\"");
      replace(out.bytes, "\"GHSA-2\"", "\"GHSA-" + std::string(3000, 'x') + "\"");
    }
  };
  const EvaluationId first = decide(id);
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(told(first, "left(e->'details'->>'advisory_id', 9)"), "GHSA-xxxx, GHSA\xef\xbf\xbd");
  runner_->tamper = nullptr;
  // The repeat is answered from the stored result and finds the same text.
  EXPECT_EQ(told(decide(id)), "");
  know(advisory("GHSA-3", "2026-01-01T00:00:00Z", "4.17.21"));
  EXPECT_EQ(told(decide(id), "e->>'kind' || ' ' || left(e->'details'->>'advisory_id', 7)"),
            "finding.opened GHSA-1, finding.opened GHSA-2, finding.opened GHSA-3, finding.closed GHSA-xx, finding.closed GHSA\xef\xbf\xbd");
}

TEST_F(FindingChanges, ThousandsAtOnce) {
  constexpr int kAdvisories = 2500;
  std::string tar;
  for (int n = 0; n < kAdvisories; ++n) append_tar(tar, std::to_string(n) + ".json", advisory("GHSA-" + std::to_string(10000 + n), "2026-01-01T00:00:00Z", "4.17.21"));
  append_tar_end(tar);
  batch(DocumentKind::kAdvisory, tar, true);
  policy();
  const SbomId id = sbom(document(npm("lodash", "4.17.20")));
  decide(id);
  EXPECT_EQ(events("finding.opened"), std::to_string(kAdvisories));
  EXPECT_EQ(db_.sql("SELECT count(*) FROM (SELECT lag(a) OVER (ORDER BY seq) > a AS wrong FROM (SELECT seq, convert_from(entry, 'UTF8')::jsonb->'details'->>'advisory_id' AS a FROM timeline_outbox"
                    " WHERE convert_from(entry, 'UTF8') LIKE '%finding.opened%') x) y WHERE wrong"), "0");
  EXPECT_EQ(told(decide(id)), "");
}

TEST_F(FindingChanges, WhoDecidesTheSameSubjectWaits) {
  const SbomId id = sbom(document(npm("lodash", "4.17.20")));
  const SbomId newer = sbom(document(npm("lodash", "4.17.21"), "shop", "2"));
  const SbomId other = sbom(document(npm("lodash", "4.17.20"), "another-shop"));
  const auto baseline = [&](OrchestratorTx& t, const SbomId& of) {
    jobs::FinishedJob job;
    job.tenant = acme_;
    job.resource_id = EvaluationId::generate().str();
    return take_baseline(t, job, of.str()).has_value();
  };
  auto first = OrchestratorTx::open(pool_);
  EXPECT_TRUE(baseline(*first, id));
  auto elsewhere = OrchestratorTx::open(pool_);
  EXPECT_TRUE(baseline(*elsewhere, other));
  auto second = std::async(std::launch::async, [&] {
    auto t = OrchestratorTx::open(pool_);
    return baseline(*t, newer);
  });
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  first->rollback();
  EXPECT_TRUE(second.get());
}

}  // namespace
}  // namespace stella::ledger
