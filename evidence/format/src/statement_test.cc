// Statements, provenance, Sigstore bundles and the report page.
#include "stella/evidence/format/statement.h"

#include "bundle_fixture.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/report.h"
#include "stella/evidence/format/seal.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

TEST(Statement, ASealSaysHowLongTheLogWasOrNothing) {
  SealFacts facts;
  facts.bundle_id = BundleId::parse("0193f0a2-7d5c-7000-8000-00000000000a").value();
  facts.tenant_id = TenantId::parse("acme").value();
  facts.case_id = CaseId::parse("CASE-1").value();
  facts.kind = "eval";
  facts.resource_id = "0193f0a2-7d5c-7000-8000-00000000000b";
  facts.log_origin = "log.example/acme";
  facts.log_size = 7;
  const std::string text = make_seal(facts, {.size = 1, .root = crypto::sha256("x")}, {}).value();
  EXPECT_EQ(parse_seal(text)->facts.log_size, 7u);
  const std::string member = R"("size":7)";
  const std::size_t at = text.find(member);
  ASSERT_NE(at, std::string::npos);
  for (const char* other : {"-1", "7.5", "\"7\"", "null", "{}"}) {
    std::string changed = text;
    changed.replace(at, member.size(), std::string(R"("size":)") + other);
    const auto seal = parse_seal(changed);
    ASSERT_FALSE(seal.has_value()) << other;
    EXPECT_EQ(seal.error().field("field"), "log.size") << other;
  }
}

TEST(Statement, PublishedCases) {
  const auto path = STELLA_SHARED_OR_SKIP("vectors/in-toto/cases.json");
  const auto doc = json::parse(testing::slurp(path));
  ASSERT_TRUE(doc.has_value());
  std::size_t seen = 0;
  for (const auto& c : doc->as_array()) {
    const auto inner = json::parse(c.str("document"));
    ASSERT_TRUE(inner.has_value()) << c.str("id");
    const auto kind = c.str("kind");
    const bool ok = kind == "statement"             ? parse_statement(c.str("document")).has_value()
                    : kind == "resource-descriptor" ? check_resource_descriptor(*inner).has_value()
                                                    : check_provenance(*inner).has_value();
    EXPECT_EQ(ok, c.str("verdict") == "valid") << c.str("id") << ": " << c.str("why");
    ++seen;
  }
  EXPECT_GE(seen, 13u);
}

TEST(Statement, ReadsSigstoreBundlesOfOthers) {
  const auto dir = STELLA_SHARED_OR_SKIP("vectors/sigstore-bundles");
  // A DSSE bundle made by cosign and Rekor v2: its envelope is read; its certificate chain is not our business.
  const auto dsse = parse_attestation(testing::slurp(dir + "/rekor2-dsse-happy-path/bundle.sigstore.json"));
  ASSERT_TRUE(dsse.has_value()) << dsse.error().describe();
  EXPECT_EQ(dsse->payload_type, kInTotoPayloadType);
  EXPECT_EQ(dsse->signatures.size(), 1u);
  EXPECT_TRUE(parse_statement(dsse->payload).has_value());
  // Bundles over a bare message hold no statement.
  EXPECT_FALSE(parse_attestation(testing::slurp(dir + "/managed-key-happy-path/bundle.sigstore.json")).has_value());
  EXPECT_FALSE(parse_attestation(testing::slurp(dir + "/bundle-malformed-json_fail/bundle.sigstore.json")).has_value());
}

class AttestTest : public ::testing::Test {
 protected:
  Provenance provenance() const {
    Provenance p;
    p.external_parameters = json::Value::object({{"kind", "policy.evaluate"}, {"as_of", "2026-01-01T00:00:00Z"}});
    p.internal_parameters = json::Value::object({{"engine_version", "1"}});
    p.resolved_dependencies = {{.name = "components.ndjson", .uri = "", .sha256 = crypto::sha256("c"), .media_type = "application/x-ndjson", .annotations = {}}};
    p.builder_versions = {{"stella-runner", "0.1.0"}};
    p.invocation_id = "0193f0a2-7d5c-7000-8000-00000000000d";
    p.started_on = Timestamp::from_micros(1'764'000'000'000'000);
    p.finished_on = Timestamp::from_micros(1'764'000'001'000'000);
    p.byproducts = {{.name = "transcript", .uri = "", .sha256 = crypto::sha256("t"), .media_type = "", .annotations = {}}};
    return p;
  }
  const crypto::KeyPair key_ = crypto::KeyPair::generate().value();
  const std::vector<crypto::PublicKey> trust_ = {key_.public_key()};
  const Sha256 subject_ = crypto::sha256("decision");
  std::string attestation() const {
    const Subject subject{.name = "decision.json", .sha256 = subject_};
    return sign_statement(key_, make_provenance(std::span(&subject, 1), provenance()).value()).value();
  }
};

TEST_F(AttestTest, ProvenanceHasTheShapeOfSlsa) {
  const Subject subject{.name = "decision.json", .sha256 = subject_};
  const auto text = make_provenance(std::span(&subject, 1), provenance());
  ASSERT_TRUE(text.has_value());
  const auto doc = json::parse(*text).value();
  EXPECT_EQ(json::canonical(doc).value(), *text);
  EXPECT_EQ(doc.str("predicateType"), kProvenancePredicate);
  const auto& predicate = *doc.find("predicate");
  EXPECT_EQ(predicate.find("buildDefinition")->str("buildType"), "https://stellaops.dev/job/v1");
  EXPECT_EQ(predicate.find("runDetails")->find("builder")->str("id"), "https://stellaops.dev/runner/v1");
  EXPECT_EQ(predicate.find("runDetails")->find("metadata")->str("startedOn"), "2025-11-24T16:00:00Z");
  EXPECT_TRUE(check_provenance(predicate).has_value());
  auto nothing_asked = provenance();
  nothing_asked.external_parameters = {};
  EXPECT_FALSE(make_provenance(std::span(&subject, 1), nothing_asked).has_value());
  EXPECT_FALSE(make_provenance({}, provenance()).has_value());
}

TEST_F(AttestTest, SigstoreBundleCarriesHintAndOneSignature) {
  const auto doc = json::parse(attestation()).value();
  EXPECT_EQ(doc.str("mediaType"), kSigstoreMediaType);
  const auto& signatures = doc.find("dsseEnvelope")->items("signatures");
  ASSERT_EQ(signatures.size(), 1u);
  EXPECT_EQ(signatures[0].str("keyid"), key_.public_key().id().str());
  EXPECT_EQ(doc.find("verificationMaterial")->find("publicKey")->str("hint"), key_.public_key().id().str());
  auto text = attestation();
  const std::string hint = R"("hint":"SHA256:)";
  text.replace(text.find(hint) + hint.size(), 1, "!");
  EXPECT_FALSE(parse_attestation(text).has_value());
  crypto::DsseEnvelope none;
  EXPECT_FALSE(make_sigstore_bundle(none).has_value());
}

TEST_F(AttestTest, VerifiesSubjectByDigestOnly) {
  EXPECT_TRUE(verify_statement(attestation(), {.trust = trust_, .subject = &subject_, .predicate_type = kProvenancePredicate}).has_value());
  const Sha256 other = crypto::sha256("decision.json");
  EXPECT_EQ(verify_statement(attestation(), {.trust = trust_, .subject = &other}).error().field("field"), "subject");
  EXPECT_EQ(verify_statement(attestation(), {.trust = trust_, .predicate_type = "https://slsa.dev/provenance/v0.2"}).error().field("field"), "predicateType");
  const auto stranger = crypto::KeyPair::generate().value();
  const std::vector<crypto::PublicKey> strangers = {stranger.public_key()};
  EXPECT_FALSE(verify_statement(attestation(), {.trust = strangers}).has_value());
  EXPECT_FALSE(verify_statement(attestation(), {.trust = {}}).has_value());
  const auto bare = crypto::dsse_sign("text/plain", "hello", key_)->json();
  EXPECT_FALSE(verify_statement(bare, {.trust = trust_}).has_value());
}

// Types, names and digests are compared whole; and of several subjects each counts.
TEST_F(AttestTest, NothingIsMatchedByItsBeginning) {
  const std::vector<Subject> two = {{.name = "a", .sha256 = crypto::sha256("a")}, {.name = "decision.json", .sha256 = subject_}};
  const std::string text = sign_statement(key_, make_provenance(two, provenance()).value()).value();
  const std::string whole(kProvenancePredicate);
  const auto field_of = [&](const StatementExpectation& expected) {
    const auto verified = verify_statement(text, expected);
    return verified ? std::string("holds") : std::string(verified.error().field("field"));
  };
  EXPECT_EQ(field_of({.trust = trust_, .subject = &subject_, .predicate_type = whole}), "holds");
  for (const std::string& type : {whole.substr(0, whole.size() - 1), whole + "0", whole + "/", whole.substr(1)}) EXPECT_EQ(field_of({.trust = trust_, .predicate_type = type}), "predicateType") << type;
  for (std::size_t i = 0; i < Sha256::kSize; i += 31) {
    std::string hex = subject_.hex();
    hex[2 * i] = hex[2 * i] == '0' ? '1' : '0';
    const Sha256 near = Sha256::parse(hex).value();
    EXPECT_EQ(field_of({.trust = trust_, .subject = &near}), "subject") << i;
  }
  for (const char* type : {"application/vnd.in-toto", "application/vnd.in-toto+jsonx", "application/vnd.in-totox+json", "text/application/vnd.in-toto+json"}) {
    const auto other = crypto::dsse_sign(type, make_provenance(two, provenance()).value(), key_)->json();
    EXPECT_FALSE(verify_statement(other, {.trust = trust_}).has_value()) << type;
  }
}

TEST(Report, EscapesEverything) {
  const std::string evil = "<script>alert('x')</script>&\"\x01\x80";
  Report report;
  report.title = report.outcome = report.summary = evil;
  report.facts = {{evil, evil}};
  report.tables = {{.title = evil, .note = evil, .columns = {evil}, .rows = {{evil}}}};
  report.chain = {{.title = evil, .detail = evil, .inputs = {{evil, evil}}, .outputs = {{evil, evil}}}};
  const std::string page = build_report(report);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("alert('x')"), std::string::npos);
  EXPECT_TRUE(is_utf8(page));
  EXPECT_EQ(page.find('\x01'), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;"), std::string::npos);
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(page.find("http://"), std::string::npos);  // self-contained
  EXPECT_EQ(page, build_report(report));
  EXPECT_EQ(escape_html("Zoë & Ünal"), "Zoë &amp; Ünal");
}

// What cannot be done with a bundle of that kind is no claim of it.
TEST(Report, ClaimsDependOnTheKind) {
  Report job;
  EXPECT_EQ(build_report(job).find("forensic replay"), std::string::npos);
  Report evaluation;
  evaluation.replayable = true;
  EXPECT_NE(build_report(evaluation).find("stella forensic replay bundle.tgz"), std::string::npos);
  Report embedding;
  embedding.bundles = {"data/bundles/x.tgz"};
  const std::string page = build_report(embedding);
  EXPECT_EQ(page.find("replay bundle.tgz"), std::string::npos);
  EXPECT_NE(page.find("tar -xzOf bundle.tgz data/bundles/x.tgz &gt;evaluation.tgz &amp;&amp; stella forensic replay evaluation.tgz"), std::string::npos);
  EXPECT_NE(page.find("--nested"), std::string::npos);
}

}  // namespace
}  // namespace stella::evidence
