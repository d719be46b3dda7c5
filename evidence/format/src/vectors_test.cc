// The published conformance cases of DSSE, SLSA (Google Cloud Build, verification summaries, envelopes, bundles) and Sigstore, every one, as
// tables. Each test says how many cases it saw; a case that is not taken as its table says must be argued in kArgued.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/crypto/certificate.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/sigstore.h"
#include "stella/evidence/format/vsa_check.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

// Cases whose published verdict is a rule of one verifier and not of the format.
const std::map<std::string, std::string> kArgued = {
    {"vsa key-id-present-but-none-demanded", "a rule of slsa-verifier; DSSE 1.0.2: the key id is a hint that must not decide, and the signature verifies with the given key"},
};

// Counts what a table held and how it went; the summary is the last line of a test's output.
class Tally {
 public:
  explicit Tally(std::string table) : table_(std::move(table)) {}
  void row(const std::string& id, bool valid, const std::string& verdict, const std::string& said) {
    ++seen_;
    if (valid == (verdict == "valid")) {
      ++passed_;
      return;
    }
    const auto argued = kArgued.find(table_ + " " + id);
    if (argued != kArgued.end()) ++argued_;
    else ADD_FAILURE() << table_ << " " << id << ": expected " << verdict << "; " << said;
  }
  void expect(int seen, int argued = 0) const {
    std::printf("%s: %d cases seen, %d passed, %d argued\n", table_.c_str(), seen_, passed_, argued_);
    EXPECT_EQ(seen_, seen);
    EXPECT_EQ(argued_, argued);
    EXPECT_EQ(seen_, passed_ + argued_);
  }

 private:
  std::string table_;
  int seen_ = 0, passed_ = 0, argued_ = 0;
};

template <class T>
std::string said(const Result<T>& result) {
  return result ? "accepted" : result.error().describe();
}

std::vector<std::map<std::string, std::string>> tsv(const std::string& path) {
  std::vector<std::map<std::string, std::string>> out;
  std::vector<std::string> names;
  const std::string text = testing::slurp(path);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::vector<std::string> cells(1);
    for (const char c : text.substr(at, end - at)) {
      if (c == '\t') cells.emplace_back();
      else cells.back() += c;
    }
    at = end + 1;
    if (names.empty()) {
      names = cells;
      continue;
    }
    std::map<std::string, std::string> row;
    for (std::size_t i = 0; i < names.size(); ++i) row[names[i]] = i < cells.size() ? cells[i] : "";
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<std::string> texts(const json::Value& owner, std::string_view member) {
  std::vector<std::string> out;
  for (const json::Value& v : owner.items(member)) out.emplace_back(v.as_string());
  return out;
}

TEST(Vectors, Dsse) {
  const json::Value doc = json::parse(testing::slurp(STELLA_SHARED_OR_SKIP("vectors/dsse/vectors.json"))).value();
  const std::vector<crypto::PublicKey> keys{crypto::PublicKey::from_pem(doc.str("public_key_pem")).value()};
  Tally tally("dsse");
  for (const json::Value& c : doc.items("pae")) {
    const std::string made = crypto::dsse_pae(c.str("payload_type"), base64_decode(c.str("payload_base64")).value());
    tally.row("pae " + std::string(c.str("payload_type")), base64_encode(made) == c.str("pae_base64"), "valid", made);
  }
  for (const json::Value& c : doc.items("envelopes")) {
    const auto envelope = crypto::dsse_parse(json::dump(*c.find("envelope")));
    const auto verified = envelope ? crypto::dsse_verify(*envelope, keys, static_cast<std::size_t>(c.integer("threshold"))) : Result<std::vector<crypto::PublicKey>>(Error(envelope.error()));
    tally.row(std::string(c.str("id")), verified.has_value(), std::string(c.str("verdict")), said(verified));
  }
  tally.expect(17);
}

TEST(Vectors, VerificationSummaries) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/slsa/vsa");
  const json::Value cases = json::parse(testing::slurp(dir + "/cases.json")).value();
  Tally tally("vsa");
  for (const json::Value& c : cases.as_array()) {
    const std::string_view group = c.str("group");
    Result<void> result;
    if (group == "signature") {
      const std::vector<crypto::PublicKey> keys{crypto::PublicKey::from_pem(testing::slurp(dir + "/" + std::string(c.str("public_key")))).value()};
      const auto envelope = crypto::dsse_parse(json::dump(*c.find("envelope")));
      const auto verified = envelope ? crypto::dsse_verify(*envelope, keys) : Result<std::vector<crypto::PublicKey>>(Error(envelope.error()));
      if (!verified) result = Error(verified.error());
    } else if (group == "expectations") {
      const json::Value& e = *c.find("expected");
      result = verify_vsa(*c.find("statement"), {.digests = texts(e, "digests"), .verifier_id = std::string(e.str("verifier_id")), .resource_uri = std::string(e.str("resource_uri")), .levels = texts(e, "levels")});
    } else if (group == "levels") {
      result = levels_hold(texts(c, "verified"), texts(c, "demanded"));
    } else {
      ASSERT_EQ(group, "level-syntax");
      result = check_levels(texts(c, "levels"));
    }
    tally.row(std::string(c.str("id")), result.has_value(), std::string(c.str("verdict")), said(result));
  }
  tally.expect(18, 1);
}

// Which key a Google Cloud Build signature names, and whether it covers the payload or its encoding.
bool gcb_signature_holds(const std::string& keys, const std::string& payload, const json::Value& envelope, const json::Value& signature) {
  const std::string id(signature.str("keyid"));
  const auto sig = base64_decode(signature.str("sig"));
  if (!sig) return false;
  std::string file, signed_bytes = payload;
  const std::size_t region = id.find("/locations/");
  if (id.find("/cryptoKeys/builtByGCB/") != std::string::npos && region != std::string::npos) {
    const std::size_t begin = region + 11;
    file = id.substr(begin, id.find('/', begin) - begin) + ".key";
  } else {
    for (const char* name : {"google-hosted-worker", "provenanceSigner"})
      if (id.find("/cryptoKeys/" + std::string(name) + "/cryptoKeyVersions/1") != std::string::npos) file = "global-pae-" + std::string(name) + "_1.key";
    signed_bytes = crypto::dsse_pae(envelope.str("payloadType"), payload);
  }
  if (file.empty() || !std::filesystem::exists(keys + "/" + file)) return false;
  const auto key = crypto::PublicKey::from_pem(testing::slurp(keys + "/" + file));
  return key && key->verify_der(signed_bytes, *sig);
}

TEST(Vectors, GoogleCloudBuild) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/slsa/gcb");
  Tally tally("gcb");
  for (auto& row : tsv(dir + "/expected.tsv")) {
    const json::Value doc = json::parse(testing::slurp(dir + "/" + row["file"])).value();
    bool any = false;
    for (const json::Value& provenance : doc.find("provenance_summary")->items("provenance")) {
      const json::Value& envelope = *provenance.find("envelope");
      const auto payload = base64_decode(envelope.str("payload"));
      if (!payload) continue;
      for (const json::Value& signature : envelope.items("signatures")) any = any || gcb_signature_holds(dir + "/keys", *payload, envelope, signature);
    }
    tally.row(row["file"], any, row["verdict"], row["case"]);
  }
  tally.expect(10);
}

// The generator's envelopes carry the signing certificate beside the signature; bundles in their verification material.
TEST(Vectors, SlsaEnvelopes) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/slsa/envelopes");
  Tally tally("envelopes");
  for (auto& row : tsv(dir + "/expected.tsv")) {
    const json::Value doc = json::parse(testing::slurp(dir + "/" + row["file"])).value();
    const json::Value* inner = doc.find("dsseEnvelope");
    ASSERT_EQ(inner != nullptr, row["kind"] == "sigstore bundle");
    const json::Value& envelope_json = inner == nullptr ? doc : *inner;
    Result<crypto::Certificate> certificate = Error(base_errors::kInvalid, "no certificate");
    if (inner == nullptr) certificate = crypto::Certificate::from_pem(envelope_json.items("signatures").front().str("cert"));
    else {
      const json::Value& material = *doc.find("verificationMaterial");
      const json::Value* chain = material.find("x509CertificateChain");
      certificate = crypto::Certificate::from_der(base64_decode((chain == nullptr ? *material.find("certificate") : chain->items("certificates").front()).str("rawBytes")).value());
    }
    ASSERT_TRUE(certificate.has_value()) << certificate.error().describe();
    const std::vector<crypto::PublicKey> keys{certificate->public_key().value()};
    const auto envelope = crypto::dsse_parse(json::dump(envelope_json));
    ASSERT_TRUE(envelope.has_value()) << envelope.error().describe();
    const json::Value statement = json::parse(envelope->payload).value();
    EXPECT_EQ(statement.str("_type"), row["statement"]);
    EXPECT_EQ(statement.str("predicateType"), row["predicate_type"]);
    EXPECT_EQ(std::to_string(statement.items("subject").size()), row["subjects"]);
    EXPECT_EQ("sha256:" + std::string(statement.items("subject").front().find("digest")->str("sha256")), row["digest_of_first_subject"]);
    const auto verified = crypto::dsse_verify(*envelope, keys);
    tally.row(row["file"], verified.has_value(), "valid", said(verified));
    // One byte of the payload: it must fail.
    crypto::DsseEnvelope changed = *envelope;
    changed.payload[changed.payload.size() / 2] ^= 1;
    EXPECT_FALSE(crypto::dsse_verify(changed, keys).has_value()) << row["file"];
  }
  tally.expect(9);
}

SigstoreTrust trust_of(const std::string& path) {
  auto trust = SigstoreTrust::from_json(testing::slurp(path));
  EXPECT_TRUE(trust.has_value()) << path << ": " << trust.error().describe();
  return std::move(*trust);
}

TEST(Vectors, SlsaBundles) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/slsa/bundle");
  const SigstoreTrust trust = trust_of(STELLA_SHARED_OR_SKIP("vectors/sigstore-bundles") + "/public-good-trusted_root.json");
  Tally tally("slsa bundles");
  for (auto& row : tsv(dir + "/expected.tsv")) {
    const std::string text = testing::slurp(dir + "/" + row["file"]);
    json::Value doc = json::parse(text).value();
    const json::Value statement = json::parse(base64_decode(doc.find("dsseEnvelope")->str("payload")).value()).value();
    const Sha256 artifact = Sha256::parse(statement.items("subject").front().find("digest")->str("sha256")).value();
    SigstoreExpectation expected;
    expected.trust = &trust;
    expected.issuer = "https://token.actions.githubusercontent.com";
    // The reusable workflow signs. The other two must fail before anybody asks who it was, for the reason in their row.
    const json::Value* builder = statement.find("predicate")->find("builder");
    expected.identity = builder == nullptr ? "anybody" : builder->str("id");
    const auto verified = verify_sigstore_blob(text, artifact, expected);
    tally.row(row["file"], verified.has_value(), row["verdict"], said(verified));
    if (row["verdict"] == "valid") {
      EXPECT_FALSE(verify_sigstore_blob(text, crypto::sha256("another"), expected).has_value());
      expected.identity += "x";
      EXPECT_FALSE(verify_sigstore_blob(text, artifact, expected).has_value());
    } else {
      // Their chains hold the root too, which is refused first; without it the reason is the one of the row.
      EXPECT_NE(said(verified).find("root"), std::string::npos) << said(verified);
      json::Value material = *doc.find("verificationMaterial");
      material.set("x509CertificateChain", json::Value::object({{"certificates", json::Value::array({material.find("x509CertificateChain")->items("certificates").front()})}}));
      doc.set("verificationMaterial", material);
      const auto without_root = verify_sigstore_blob(json::dump(doc), artifact, expected);
      const bool signature = row["file"].starts_with("invalid-dsse-sig");
      EXPECT_NE(said(without_root).find(signature ? "field=sig" : "signedEntryTimestamp"), std::string::npos) << said(without_root);
    }
  }
  tally.expect(3);
}

// A case that must fail must fail for what it is about: a word of the reason.
const std::map<std::string, std::string> kReasons = {
    {"bundle-empty-certificate-chain_fail", "x509CertificateChain"},
    {"bundle-malformed-json_fail", "malformed JSON"},
    {"bundle-with-root-cert_fail", "root certificate"},
    {"checkpoint-bad-keyhint_fail", "no known key"},
    {"checkpoint-wrong-roothash_fail", "not that of the checkpoint"},
    {"dsse-mismatch-envelope_fail", "other bytes"},
    {"inclusion-proof-corrupted-hash_fail", "another root"},
    {"integrated-time-in-future_fail", "expired"},
    {"intoto-expired-certificate_fail", "not yet valid"},
    {"intoto-log-entry-mismatch_fail", "canonicalizedBody"},
    {"intoto-tsa-timestamp-outside-cert-validity_fail", "expired"},
    {"invalid-checkpoint-signature_fail", "does not verify"},
    {"invalid-ct-key_fail", "certificate log"},
    {"managed-key-no-key_fail", "no key was given"},
    {"message-digest-mismatch_fail", "messageDigest"},
    {"rekor2-checkpoint-missing-root-hash_fail", "does not verify"},
    {"rekor2-dsse-invalid-sig_fail", "not signed by enough"},
    {"rekor2-dsse-mismatch-envelope_fail", "other bytes"},
    {"rekor2-timestamp-outside-tsa-cert-validity_fail", "expired"},
    {"rekor2-timestamp-payload-mismatch_fail", "imprint"},
    {"rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail", "self-signed"},
    {"rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail", "signer certificate"},
    {"rekor2-timestamp-with-incorrect-time_fail", "expired"},
    {"signature-mismatch_fail", "signature"},
    {"wrong-hashedrekord-artifact_fail", "other bytes"},
};

TEST(Vectors, SigstoreBundles) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/sigstore-bundles");
  Tally tally("sigstore");
  for (auto& row : tsv(dir + "/expected.tsv")) {
    const std::string folder = dir + "/" + row["case"] + "/";
    const auto own = [&](const char* name) { return std::filesystem::exists(folder + name) ? folder + name : std::string(); };
    const SigstoreTrust trust = trust_of(own("trusted_root.json").empty() ? dir + "/public-good-trusted_root.json" : folder + "trusted_root.json");
    const Sha256 artifact = crypto::sha256(testing::slurp(own("artifact").empty() ? dir + "/a.txt" : folder + "artifact"));
    SigstoreExpectation expected;
    expected.trust = &trust;
    std::optional<crypto::PublicKey> key;
    if (!own("key.pub").empty()) {
      key = crypto::PublicKey::from_pem(testing::slurp(folder + "key.pub")).value();
      expected.key = &*key;
    } else {
      const auto line = [&](const char* name, std::string otherwise) {
        if (own(name).empty()) return otherwise;
        std::string text = testing::slurp(folder + name);
        while (text.ends_with('\n')) text.pop_back();
        return text;
      };
      expected.identity = line("identity", "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main");
      expected.issuer = line("issuer", "https://token.actions.githubusercontent.com");
    }
    const std::string text = testing::slurp(folder + "bundle.sigstore.json");
    const auto verified = verify_sigstore_blob(text, artifact, expected);
    tally.row(row["case"], verified.has_value(), row["verdict"], said(verified));
    if (row["verdict"] != "valid") {
      ASSERT_TRUE(kReasons.contains(row["case"])) << row["case"];
      EXPECT_NE(said(verified).find(kReasons.at(row["case"])), std::string::npos) << row["case"] << ": " << said(verified);
      continue;
    }
    EXPECT_FALSE(verified->times.empty()) << row["case"];
    // What holds must stop holding for another artifact, another signer, and without trust.
    EXPECT_FALSE(verify_sigstore_blob(text, crypto::sha256("another"), expected).has_value()) << row["case"];
    const crypto::PublicKey stranger = crypto::KeyPair::generate()->public_key();
    SigstoreExpectation other = expected;
    if (key) other.key = &stranger;
    else other.issuer = "https://accounts.google.com";
    EXPECT_FALSE(verify_sigstore_blob(text, artifact, other).has_value()) << row["case"];
    const SigstoreTrust nobody;
    other = expected;
    other.trust = &nobody;
    EXPECT_FALSE(verify_sigstore_blob(text, artifact, other).has_value()) << row["case"];
  }
  tally.expect(36);
}

}  // namespace
}  // namespace stella::evidence
