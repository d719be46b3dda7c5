// What an OSV index is asked about, for each kind of purl that real SBOMs hold.
#include <gtest/gtest.h>

#include "stella/pipeline/versions/ecosystem.h"
#include "stella/pipeline/versions/purl.h"

namespace stella::pipeline {
namespace {

OsvPackage of(std::string_view text, std::string_view document_name = {}) {
  const auto purl = parse_purl(text);
  EXPECT_TRUE(purl.has_value()) << text;
  return purl ? osv_package(*purl, document_name) : OsvPackage{};
}

void expect(const OsvPackage& got, std::string_view ecosystem, std::string_view name, std::string_view version) {
  EXPECT_EQ(got.ecosystem, ecosystem);
  EXPECT_EQ(got.name, name);
  EXPECT_EQ(got.version, version);
}

TEST(OsvPackage, MapsLanguages) {
  expect(of("pkg:npm/%40angular/core@12.3.1"), "npm", "@angular/core", "12.3.1");
  expect(of("pkg:pypi/Foo.Bar__baz@1.0"), "PyPI", "foo-bar-baz", "1.0");
  expect(of("pkg:maven/io.netty/netty-codec-http@4.1.86.Final-redhat-00002?type=jar"), "Maven", "io.netty:netty-codec-http",
         "4.1.86.Final-redhat-00002");
  expect(of("pkg:cargo/rand@0.7.2"), "crates.io", "rand", "0.7.2");
  expect(of("pkg:gem/rack@2.2.4"), "RubyGems", "rack", "2.2.4");
  expect(of("pkg:nuget/Newtonsoft.Json@13.0.1"), "NuGet", "newtonsoft.json", "13.0.1");
  expect(of("pkg:composer/Guzzlehttp/psr7@1.9.0"), "Packagist", "guzzlehttp/psr7", "1.9.0");
  expect(of("pkg:hex/plug@1.0.0"), "Hex", "plug", "1.0.0");
}

TEST(OsvPackage, KnowsGoModules) {
  expect(of("pkg:golang/std@go1.21.0"), "Go", "stdlib", "1.21.0");
  expect(of("pkg:golang/std@1.21.0#net/http", "std/net/http"), "Go", "stdlib", "1.21.0");
  expect(of("pkg:golang/stdlib@v1.21.0"), "Go", "stdlib", "1.21.0");
  expect(of("pkg:golang/example.com/std@v1"), "Go", "example.com/std", "1");
  expect(of("pkg:golang/github.com/Masterminds/semver@v1.5.0"), "Go", "github.com/Masterminds/semver", "1.5.0");
  expect(of("pkg:golang/github.com/hashicorp/consul@v1.12.0#api", "github.com/hashicorp/consul/api"), "Go",
         "github.com/hashicorp/consul/api", "1.12.0");
  expect(of("pkg:golang/github.com/hashicorp/consul@v1.12.0#api", "github.com/hashicorp/consul"), "Go", "github.com/hashicorp/consul",
         "1.12.0");
  expect(of("pkg:golang/github.com/x/y@v3.9.0#v3", "github.com/x/y/v3"), "Go", "github.com/x/y/v3", "3.9.0");
  expect(of("pkg:golang/github.com/hashicorp/consul@(devel)"), "Go", "github.com/hashicorp/consul", "");
  expect(of("pkg:golang/stdlib@go1.20.3"), "Go", "stdlib", "1.20.3");
}

TEST(OsvPackage, ScopesDistributionsByReleaseAndSourcePackage) {
  expect(of("pkg:deb/debian/libc6@2.31-13%2Bdeb11u5?arch=amd64&upstream=glibc&distro=debian-11.6"), "Debian:11", "glibc", "2.31-13+deb11u5");
  expect(of("pkg:deb/debian/gcc-10-base@10.2.1-6?upstream=gcc-10%4010.2.1-5&distro=debian-11"), "Debian:11", "gcc-10", "10.2.1-5");
  expect(of("pkg:deb/debian/curl@7.50.3-1?distro=jessie"), "Debian:8", "curl", "7.50.3-1");
  expect(of("pkg:deb/ubuntu/tar@1.34%2Bdfsg-1build3?distro=ubuntu-22.04"), "Ubuntu:22.04:LTS", "tar", "1.34+dfsg-1build3");
  expect(of("pkg:deb/ubuntu/bash@5.2-1?distro=ubuntu-23.10"), "Ubuntu:23.10", "bash", "5.2-1");
  expect(of("pkg:deb/ubuntu/bash@5.1-6?distro=jammy"), "Ubuntu:22.04:LTS", "bash", "5.1-6");
  expect(of("pkg:deb/ubuntu/bash@5.1-6"), "Ubuntu", "bash", "5.1-6");
  expect(of("pkg:alpine/libcrypto1.1@1.1.1q-r0?upstream=openssl&distro=alpine-3.16.2"), "Alpine:v3.16", "openssl", "1.1.1q-r0");
  expect(of("pkg:apk/alpine/curl@7.83.0-r0?arch=x86&distro=3.16.1"), "Alpine:v3.16", "curl", "7.83.0-r0");
  expect(of("pkg:apk/wolfi/curl@8.0.0-r0"), "Wolfi", "curl", "8.0.0-r0");
  expect(of("pkg:rpm/sles/bash@4.4-1?distro=sles-15.3"), "SUSE:Linux Enterprise Server 15 SP3", "bash", "4.4-1");
  expect(of("pkg:rpm/redhat/expat@2.2.5-16.el8_10?epoch=1&distro=rhel-8.10&upstream=expat-2.2.5-16.el8_10.src.rpm"), "Red Hat", "expat",
         "1:2.2.5-16.el8_10");
  expect(of("pkg:rpm/almalinux/libacl@2.2.53-1.el8?distro=almalinux-8.5&upstream=acl-2.2.53-1.el8.src.rpm"), "AlmaLinux:8", "acl",
         "2.2.53-1.el8");
  expect(of("pkg:rpm/opensuse/bash@4.4-1?distro=opensuse-leap-15.5"), "openSUSE:Leap 15.5", "bash", "4.4-1");
}

TEST(OsvPackage, HasNoEcosystemWhereOsvHasNone) {
  for (const char* text : {"pkg:oci/debian@sha256:244fd47e07d10", "pkg:generic/openssl@1.1.10g", "pkg:dotnet-core/x@1", "pkg:none/y@2",
                           "pkg:deb/raspbian/z@3"})
    EXPECT_EQ(of(text).ecosystem, "") << text;
}

TEST(Ecosystems, SupportExactlyWhatHasAnOrder) {
  std::vector<std::string> supported;
  for (const auto& row : ecosystems())
    if (row.order != VersionOrder::kNone) supported.emplace_back(row.name);
  EXPECT_EQ(supported, (std::vector<std::string>{"npm", "Go", "crates.io", "PyPI", "Maven"}));
  EXPECT_EQ(version_order("Debian:11"), VersionOrder::kNone);
  EXPECT_NE(find_ecosystem("Ubuntu:22.04:LTS"), nullptr);
  EXPECT_EQ(find_ecosystem("GIT"), nullptr);
  EXPECT_EQ(index_name("PyPI", "Zope.Interface"), "zope-interface");
  EXPECT_EQ(index_name("Go", "github.com/Masterminds/sprig/v3"), "github.com/masterminds/sprig/v3");
  EXPECT_EQ(index_ecosystem("Maven:https://maven.google.com"), "Maven");
  EXPECT_EQ(index_ecosystem("Ubuntu:22.04:LTS"), "Ubuntu:22.04:LTS");
  EXPECT_EQ(index_ecosystem("Homebrew:x"), "Homebrew:x");
}

}  // namespace
}  // namespace stella::pipeline
