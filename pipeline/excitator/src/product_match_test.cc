// Purl matching: versions, demanded qualifiers, registries with several names. Each case is somebody's bug.
#include "product_match.h"

#include <gtest/gtest.h>

namespace stella::pipeline::vex {
namespace {

Match match_of(std::string_view statement, std::string_view component) { return match(*parse_purl(statement), *parse_purl(component)); }

TEST(ProductMatch, RanksByHowExactlyThePurlIsNamed) {
  EXPECT_EQ(match_of("pkg:npm/a@1", "pkg:npm/a@1"), Match::kExact);
  EXPECT_EQ(match_of("pkg:deb/ubuntu/bash@5?arch=amd64&distro=jammy", "pkg:deb/ubuntu/bash@5?distro=jammy&arch=amd64"), Match::kExact);
  EXPECT_EQ(match_of("pkg:deb/ubuntu/bash@5", "pkg:deb/ubuntu/bash@5?arch=amd64"), Match::kVersion);
  EXPECT_EQ(match_of("pkg:npm/a", "pkg:npm/a@1"), Match::kNoVersion);
}

TEST(ProductMatch, AnotherVersionOrPackageNeverMatches) {
  EXPECT_EQ(match_of("pkg:npm/a@1", "pkg:npm/a@1.0"), Match::kOtherVersion);
  EXPECT_EQ(match_of("pkg:npm/a@1", "pkg:npm/b@1"), Match::kOtherPackage);
  EXPECT_EQ(match_of("pkg:npm/a@1", "pkg:pypi/a@1"), Match::kOtherPackage);
  EXPECT_EQ(match_of("pkg:golang/example.org/m/v2@v2.0.0", "pkg:golang/example.org/m@v2.0.0"), Match::kOtherPackage);
  EXPECT_EQ(match_of("pkg:npm/%40a/b@1", "pkg:npm/b@1"), Match::kOtherPackage);
}

// "pkg:deb/ubuntu/bash@5.1-6ubuntu1.1?arch=amd64" lists no release; a statement's qualifiers are demanded, the component's are not.
TEST(ProductMatch, DemandsTheStatementsQualifiers) {
  EXPECT_EQ(match_of("pkg:deb/ubuntu/bash@5?arch=amd64", "pkg:deb/ubuntu/bash@5?arch=amd64&distro=ubuntu-22.04"), Match::kVersion);
  EXPECT_EQ(match_of("pkg:deb/ubuntu/bash@5?arch=amd64", "pkg:deb/ubuntu/bash@5?arch=arm64"), Match::kOtherQualifiers);
  EXPECT_EQ(match_of("pkg:deb/ubuntu/bash@5?arch=amd64", "pkg:deb/ubuntu/bash@5"), Match::kOtherQualifiers);
  EXPECT_EQ(match_of("pkg:deb/ubuntu/bash?arch=amd64", "pkg:deb/ubuntu/bash@5"), Match::kOtherQualifiers);
}

// docker.io and index.docker.io are one registry, and percent-encoding is spelling.
TEST(ProductMatch, OneRegistryOneName) {
  EXPECT_EQ(match_of("pkg:oci/rancher@sha256:aa?repository_url=docker.io/rancher/rancher", "pkg:oci/rancher@sha256%3Aaa?repository_url=index.docker.io%2Francher%2Francher"),
            Match::kExact);
  EXPECT_EQ(match_of("pkg:oci/a@sha256:aa?repository_url=https://docker.io/a/", "pkg:oci/a@sha256:aa?repository_url=registry-1.docker.io/a"), Match::kExact);
  EXPECT_EQ(match_of("pkg:oci/a@sha256:aa?repository_url=quay.io/a", "pkg:oci/a@sha256:aa?repository_url=docker.io/a"), Match::kOtherQualifiers);
  EXPECT_EQ(match_of("pkg:oci/a@sha256:aa?repository_url=index.docker.io.evil.org/a", "pkg:oci/a@sha256:aa?repository_url=docker.io/a"), Match::kOtherQualifiers);
}

TEST(ProductMatch, GoVersionsWithAndWithoutV) {
  EXPECT_EQ(match_of("pkg:golang/example.org/m@1.2.3", "pkg:golang/example.org/m@v1.2.3"), Match::kExact);
  EXPECT_EQ(match_of("pkg:npm/m@v1", "pkg:npm/m@1"), Match::kOtherVersion);
}

// Trivy drops the case that OSV, syft and authors of statements keep.
TEST(ProductMatch, GoModulesInAnyCase) {
  EXPECT_EQ(match_of("pkg:golang/github.com/Masterminds/sprig/v3@v3.2.2", "pkg:golang/github.com/masterminds/sprig/v3@v3.2.2"), Match::kExact);
  const auto purl = parse_purl("pkg:golang/github.com/Masterminds/sprig/v3@v3.2.2").value();
  EXPECT_NE(package_key(purl, true), package_key(purl));
}

TEST(ProductMatch, NugetKnowsNoCase) { EXPECT_EQ(match_of("pkg:nuget/newtonsoft.json@13.0.1", "pkg:nuget/Newtonsoft.Json@13.0.1"), Match::kExact); }

}  // namespace
}  // namespace stella::pipeline::vex
