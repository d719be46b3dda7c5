// Which objects hold a tenant's contents: asked of the keys that paths.h makes.
#include "stella/tenancy/contents.h"

#include <gtest/gtest.h>

#include "stella/tenancy/paths.h"

namespace stella::object_key {
namespace {

const TenantId kAcme = TenantId::parse("acme").value();
const CaseId kCase = CaseId::parse("case-1").value();
const Sha256 kDigest = Sha256::parse(std::string(64, 'a')).value();

TEST(Contents, DocumentsAndBundlesAreTheTenantsOwn) {
  const auto object = contents_of(object_key::object(kAcme, kDigest));
  ASSERT_TRUE(object);
  EXPECT_EQ(object->tenant, kAcme);
  EXPECT_EQ(object->content, kDigest);
  const auto bundle = contents_of(evidence(kAcme, kCase, BundleId::generate(), "bundle.tgz"));
  ASSERT_TRUE(bundle);
  EXPECT_EQ(bundle->tenant, kAcme);
  EXPECT_FALSE(bundle->content);
  EXPECT_EQ(wrapping_key_id(kAcme), "tenant/acme");
}

TEST(Contents, ProofsAndPublicKnowledgeStandInTheClear) {
  EXPECT_FALSE(contents_of(evidence(kAcme, kCase, BundleId::generate(), "manifest.json")));
  EXPECT_FALSE(contents_of(evidence(kAcme, kCase, BundleId::generate(), "root.merkle")));
  EXPECT_FALSE(contents_of(attestation(kAcme, kDigest.hex(), kDigest)));
  EXPECT_FALSE(contents_of(log_tile(kAcme, "tile/0/000")));
  EXPECT_FALSE(contents_of(checkpoint(kAcme, 7)));
  EXPECT_FALSE(contents_of(object_key::object(TenantId::parse("global").value(), kDigest)));
  for (const std::string_view key : {"", "tenants", "tenants/", "tenants/acme/objects/", "tenants/acme/objects/x", "tenants/A/objects/aa", "tenants/acme/evidence/bundle.tgz", "tenants/acme/evidence/c/b/bundle.tgz/x"})
    EXPECT_FALSE(contents_of(key)) << key;
}

}  // namespace
}  // namespace stella::object_key
