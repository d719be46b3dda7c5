// Statements on a screen: each type with its own facts, and a failed policy is never green because its signature verifies.
#include "stella/cli/forensics/attestation_view.h"

#include <gtest/gtest.h>

#include "stella/crypto/digest.h"
#include "stella/evidence/format/predicates.h"

namespace stella::cli {
namespace {

const evidence::Subject kSbom{.name = "sbom", .sha256 = crypto::sha256("sbom")};
const Timestamp kThen = Timestamp::parse("2026-11-25T00:00:00Z").value();

json::Value verdict() {
  return json::Value::object({{"result", "pass"}, {"verified_at", "2026-11-26T00:00:00Z"}, {"signers", json::Value::array({"SHA256:abc"})}, {"not_checked", json::Value::array({"TIME: local clock only"})}});
}
std::string shown(const std::string& statement, bool colour = false) { return attestation_text(json::parse(statement).value(), verdict(), Palette(colour), 120); }

void expect_all(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

std::string vsa(bool passed) {
  evidence::VerificationSummary s;
  s.time_verified = kThen;
  s.resource_uri = "urn:stellaops:sbom:1";
  s.policy.uri = "urn:stellaops:policy:strict";
  s.policy.sha256 = crypto::sha256("policy");
  s.passed = passed;
  s.levels = {passed ? "STELLA_POLICY_ALLOW" : "STELLA_POLICY_DENY"};
  return evidence::make_vsa(std::span(&kSbom, 1), s).value();
}

TEST(AttestationView, ASummarySaysWhatThePolicyDecided) {
  const std::string text = shown(vsa(false));
  expect_all(text, {"FAILED", "STELLA_POLICY_DENY", "urn:stellaops:policy:strict", "urn:stellaops:sbom:1", "policy result", "SHA256:abc", "not checked", "TIME: local clock only", "pass"});
  EXPECT_NE(text.find(crypto::sha256("policy").hex()), std::string::npos);
  EXPECT_NE(text.find(kSbom.sha256.hex()), std::string::npos);
  // In colour: red where the policy failed, although the signature holds.
  EXPECT_NE(shown(vsa(false), true).find("\x1b[31mFAILED"), std::string::npos) << shown(vsa(false), true);
  EXPECT_NE(shown(vsa(true), true).find("\x1b[32mPASSED"), std::string::npos);
}

TEST(AttestationView, AResultNamesItsProperties) {
  evidence::VerificationResult r;
  r.time_created = kThen;
  r.properties = {"STELLA_POLICY_EVALUATED", "STELLA_NO_UNKNOWN"};
  expect_all(shown(evidence::make_svr(std::span(&kSbom, 1), r).value()), {"STELLA_POLICY_EVALUATED, STELLA_NO_UNKNOWN", "https://stellaops.dev/policy-engine/v1"});
}

TEST(AttestationView, VulnerabilitiesAreCountedAndListed) {
  evidence::VulnerabilityScan scan;
  scan.scanner_uri = "https://stellaops.dev/advisory-link/v1";
  scan.db_last_update = scan.started = scan.finished = kThen;
  for (int i = 0; i < 23; ++i) {
    evidence::Vulnerability v;
    v.id = "CVE-2026-" + std::to_string(1000 + i);
    v.severities = {{"CVSS base score", "9.8"}, {"rating", i < 3 ? "critical" : "low"}};
    v.annotations = json::Value::object({{"effect", "deny"}, {"purls", json::Value::array({"pkg:npm/a@1", "pkg:npm/b@1"})}, {"more", 4}});
    scan.result.push_back(std::move(v));
  }
  const std::string text = shown(evidence::make_vulns(std::span(&kSbom, 1), scan).value());
  expect_all(text, {"23: 3 critical, 20 low", "CVE-2026-1000", "pkg:npm/a@1 and 5 more", "deny", "CVE-2026-1019", "3 more: -o json has all"});
  EXPECT_EQ(text.find("CVE-2026-1020"), std::string::npos);
  scan.result.clear();
  expect_all(shown(evidence::make_vulns(std::span(&kSbom, 1), scan).value()), {"vulnerabilities  0"});
}

// Control characters of a statement do not reach the terminal.
TEST(AttestationView, HostileTextIsPrinted) {
  evidence::VerificationResult r;
  r.time_created = kThen;
  r.properties = {"X\x1b[2J"};
  EXPECT_EQ(shown(evidence::make_svr(std::span(&kSbom, 1), r).value()).find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace stella::cli
