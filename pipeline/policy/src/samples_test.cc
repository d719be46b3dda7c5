// The project's own sample through the real parser, linker, VEX reconciliation and policy: what samples/README.md promises.
#include <gtest/gtest.h>

#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/ingest.h"
#include "stella/pipeline/conseiller/link.h"
#include "stella/pipeline/excitator/reconcile.h"
#include "stella/pipeline/policy/evaluate.h"
#include "stella/pipeline/sbom/parse.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

using contracts::Effect;

struct Chain {
  contracts::ComponentTable components;
  contracts::ExposureSet exposures;
};

Result<Chain> link_sample() {
  Chain chain;
  chain.components = STELLA_TRY(parse_sbom(testing::slurp(testing::source_path("samples/sbom.cdx.json"))));
  std::vector<std::string> texts;
  std::vector<std::string> paths = testing::files_below(testing::source_path("samples/advisories"), ".json");
  for (const auto& path : paths) texts.push_back(testing::slurp(path));
  std::vector<AdvisoryDocument> documents;
  std::vector<Sha256> digests;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    documents.push_back({paths[i], texts[i]});
    digests.push_back(crypto::sha256(texts[i]));
  }
  const auto ingested = STELLA_TRY(ingest_advisories(documents));
  EXPECT_EQ(ingested.parsed, 9u);
  EXPECT_EQ(ingested.rejected, 0u) << ingested.observations;
  std::vector<Segment> segments;
  for (const auto& built : ingested.segments) segments.push_back(STELLA_TRY(Segment::open(built.bytes)));
  const std::string active_bytes = ActiveSet::encode(digests);
  const ActiveSet active = STELLA_TRY(ActiveSet::parse(active_bytes));
  chain.exposures = STELLA_TRY(link(chain.components, segments, active));
  return chain;
}

Result<contracts::VexResultSet> reconcile_sample(const Chain& chain) {
  const VexDocument document = STELLA_TRY(parse_vex(testing::slurp(testing::source_path("samples/vex.openvex.json"))));
  EXPECT_TRUE(document.deviations.empty());
  const VexSource source{&document};
  return reconcile(chain.components, chain.exposures, {&source, 1});
}

Result<Evaluation> run(std::string_view as_of) {
  const Chain chain = STELLA_TRY(link_sample());
  const PolicySet policy = STELLA_TRY(parse_policy_set(testing::slurp(testing::source_path("samples/policy.yaml"))));
  const contracts::VexResultSet vex = STELLA_TRY(reconcile_sample(chain));
  const Timestamp at = STELLA_TRY(Timestamp::parse(as_of));
  return evaluate(chain.components, chain.exposures, vex, policy, at);
}

TEST(Samples, ComeOutAsTheirReadmeSays) {
  auto evaluation = run("2026-11-25T00:00:00Z");
  ASSERT_TRUE(evaluation) << evaluation.error().describe();
  std::vector<std::string> rows;
  for (const auto& f : evaluation->findings)
    rows.push_back(f.purl + " " + f.advisory_id + " " + f.severity + " " + std::string(to_string(f.effect)) + " " + f.rule_id);
  EXPECT_EQ(rows, (std::vector<std::string>{
                      "pkg:npm/lodash@4.17.20 GHSA-35jh-r3h4-6jhm high allow waiver-lodash-template",
                      "pkg:npm/minimist@1.2.5 GHSA-xvch-5gv4-984h critical deny serious-with-fix",
                      "pkg:pypi/django@4.2.14 PYSEC-2024-102 unknown warn severity-unknown",
                      "pkg:pypi/requests@2.31.0 GHSA-9wx4-h78v-vm56 medium warn medium",
                      "pkg:golang/golang.org/x/net@v0.17.0 GO-2024-2687 unknown warn severity-unknown",
                      "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1 GHSA-jfh8-c2jp-5v3q critical deny serious-with-fix",
                      "pkg:cargo/rustls@0.21.10 RUSTSEC-2024-0336 high allow vex-not-affected",
                      "pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12  unknown defer undecided",
                      "npm/left-pad@1.3.0  unknown defer undecided",
                  }));
  const auto& d = evaluation->decision;
  EXPECT_EQ(d.effect, Effect::kDeny);
  EXPECT_EQ(d.reason, "critical or high, and a fixed version exists");
  EXPECT_EQ(d.counts.components, 17u);
  EXPECT_EQ(d.counts.findings, 9u);
  EXPECT_EQ(d.counts.affected, 7u);
  EXPECT_EQ(d.counts.not_affected, 1u);
  EXPECT_EQ(d.counts.withdrawn, 1u);
  EXPECT_EQ(d.counts.unknown, 2u);
  EXPECT_EQ(d.counts.deny, 2u);
  EXPECT_EQ(d.counts.warn, 3u);
  EXPECT_EQ(d.counts.defer, 2u);
  EXPECT_EQ(d.counts.allow, 2u);
}

TEST(Samples, TheForeignVexStatementIsConsideredAndDoesNotApply) {
  auto chain = link_sample();
  ASSERT_TRUE(chain);
  auto vex = reconcile_sample(*chain);
  ASSERT_TRUE(vex);
  std::vector<std::string> rows;
  for (const auto& o : vex->outcomes)
    rows.push_back(o.purl + " " + o.advisory_id + " " + std::string(to_string(o.status)) + " " + std::to_string(o.considered.size()) + " " + o.considered.at(0).pointer);
  EXPECT_EQ(rows, (std::vector<std::string>{"pkg:npm/minimist@1.2.5 GHSA-xvch-5gv4-984h none 1 /statements/1",
                                            "pkg:cargo/rustls@0.21.10 RUSTSEC-2024-0336 not_affected 1 /statements/0"}));
}

TEST(Samples, TheWaiverEnds) {
  auto before = run("2029-12-30T23:59:59Z");
  auto after = run("2029-12-31T00:00:00Z");
  ASSERT_TRUE(before);
  ASSERT_TRUE(after);
  EXPECT_EQ(before->findings[0].effect, Effect::kAllow);
  EXPECT_EQ(after->findings[0].effect, Effect::kDeny);
  EXPECT_EQ(before->decision.policy_version, after->decision.policy_version);
}

}  // namespace
}  // namespace stella::pipeline
