// Keys and subjects are spelled exactly as the storage layout and the topics say, and nothing can climb out of its tenant.
#include "stella/tenancy/paths.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "stella/tenancy/scope.h"

namespace stella {
namespace {

const TenantId kAcme = *TenantId::parse("acme");
const Sha256 kDigest = *Sha256::parse("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
const BundleId kBundle = *BundleId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012");

// Whoever is not the authority cannot make one.
static_assert(!std::is_constructible_v<TenantScope, TenantId, std::string, DecisionId>);
static_assert(!std::is_default_constructible_v<TenantScope>);

TEST(ObjectKey, FollowsTheStorageLayout) {
  EXPECT_EQ(object_key::object(kAcme, kDigest), "tenants/acme/objects/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(object_key::object(*TenantId::parse("global"), kDigest),
            "global/kb/objects/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(object_key::evidence(kAcme, *CaseId::parse("CASE-1"), kBundle, "root.merkle"),
            "tenants/acme/evidence/CASE-1/0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012/root.merkle");
  EXPECT_EQ(object_key::attestation(TenantId::parse("global").value(), kBundle.str(), kDigest).rfind("global/kb/attestations/", 0), 0u);
  EXPECT_EQ(object_key::attestation(kAcme, kBundle.str(), kDigest),
            "tenants/acme/attestations/0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012/"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json");
  EXPECT_EQ(object_key::log_tile(kAcme, "tile/0/x001/067"), "tenants/acme/log/tile/0/x001/067");
  EXPECT_EQ(object_key::deployment_tile("tile/0/x001/067"), "platform/log/tile/0/x001/067");
  EXPECT_EQ(object_key::deployment_checkpoint(12), "platform/log/checkpoints/12");
  EXPECT_EQ(object_key::deployment_cosigned(12), "platform/log/cosigned/12");
}

TEST(Subject, MatchesTheTopicsAndTheirWildcards) {
  EXPECT_EQ(subject::timeline(kAcme, "policy.evaluated"), "stella.acme.timeline.policy_evaluated");
  EXPECT_EQ(subject::timeline(kAcme, "hold.release_requested"), "stella.acme.timeline.hold_release_requested");
  EXPECT_EQ(subject::kb("advisory.ingested"), "stella.global.kb.advisory_ingested");
  EXPECT_EQ(subject::job("sbom.compute", kAcme), "stellajobs.sbom_compute.acme");
  EXPECT_EQ(subject::result("heartbeat", kAcme), "stellaresults.heartbeat.acme");
  EXPECT_EQ(subject::wake(3), "stellawake.3");
}

using PathsDeathTest = ::testing::Test;

TEST(PathsDeathTest, NothingClimbsOutOfItsTenant) {
  EXPECT_DEATH(object_key::object(TenantId(), kDigest), "tenant id");
  EXPECT_DEATH(object_key::evidence(kAcme, CaseId(), kBundle, "manifest.json"), "case id");
  EXPECT_DEATH(object_key::evidence(kAcme, *CaseId::parse("CASE-1"), kBundle, "../manifest.json"), "file name");
  EXPECT_DEATH(object_key::evidence(kAcme, *CaseId::parse("CASE-1"), kBundle, "a..b"), "file name");
  EXPECT_DEATH(object_key::attestation(kAcme, "..", kDigest), "subject id");
  EXPECT_DEATH(object_key::attestation(kAcme, "a/b", kDigest), "subject id");
  EXPECT_DEATH(object_key::attestation(kAcme, "", kDigest), "subject id");
  EXPECT_DEATH(object_key::log_tile(kAcme, "tile/../0"), "tile path");
  EXPECT_DEATH(object_key::deployment_tile("tile/../0"), "tile path");
  EXPECT_DEATH(subject::timeline(kAcme, "policy.*"), "kind");
  EXPECT_DEATH(subject::timeline(kAcme, "policy.>"), "kind");
  EXPECT_DEATH(subject::job("", kAcme), "kind");
  EXPECT_DEATH(subject::result("results", kAcme), "kind of result");
}

}  // namespace
}  // namespace stella
