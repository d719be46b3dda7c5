// Sigstore bundles: form, signature, artifact; then times, log entries, and the certificate at those times.
#include "stella/evidence/format/sigstore.h"

#include <algorithm>

#include "sigstore_entry.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/statement.h"

namespace stella::evidence {
namespace {

constexpr std::size_t kMaxBytes = 32u << 20;
constexpr std::size_t kMaxProofs = 16;  // entries, timestamps, certificates of a bundle
constexpr const char* kIssuerV1 = "1.3.6.1.4.1.57264.1.1";  // the text itself
constexpr const char* kIssuerV2 = "1.3.6.1.4.1.57264.1.8";  // DER UTF8String

Error malformed(std::string_view field, std::string_view expected) {
  return Error(base_errors::kMalformed, "not a Sigstore bundle").with("field", std::string(field)).with("expected", std::string(expected));
}
Error invalid(std::string_view field, std::string_view reason) {
  return Error(base_errors::kInvalid, "the Sigstore bundle does not hold").with("field", std::string(field)).with("reason", std::string(reason));
}

struct Bundle {
  json::Value material;
  SigstoreSigned what;
  crypto::DsseEnvelope envelope;
  std::optional<Sha256> claimed;  // messageDigest: a hint that must not lie
  bool old = false;               // 0.1 and 0.2 may have a chain
};

Result<crypto::Certificate> certificate_of(const json::Value& holder) {
  const auto der = base64_decode(holder.str("rawBytes"));
  if (!der) return malformed("rawBytes", "base64");
  return crypto::Certificate::from_der(*der);
}

// The signer's certificate alone counts; what else a chain holds gives no trust, and a root must not be in it.
Result<void> read_material(Bundle& b) {
  const json::Value* certificate = b.material.find("certificate");
  const json::Value* chain = b.material.find("x509CertificateChain");
  const json::Value* key = b.material.find("publicKey");
  if ((certificate != nullptr) + (chain != nullptr) + (key != nullptr) != 1) return malformed("verificationMaterial", "one of certificate, x509CertificateChain, publicKey");
  if (certificate != nullptr) b.what.certificate = STELLA_TRY(certificate_of(*certificate));
  if (chain == nullptr) return {};
  const json::Array& list = chain->items("certificates");
  if (!b.old || list.empty() || list.size() > kMaxProofs) return malformed("x509CertificateChain", "a chain of 1 to 16 certificates, in bundles before 0.3");
  for (const json::Value& entry : list) {
    const crypto::Certificate one = STELLA_TRY(certificate_of(entry));
    if (one.self_issued()) return invalid("x509CertificateChain", "a root certificate has no place in a bundle");
    if (!b.what.certificate) b.what.certificate = one;
  }
  return {};
}

Result<void> read_content(const json::Value& doc, Bundle& b) {
  const json::Value* message = doc.find("messageSignature");
  const json::Value* dsse = doc.find("dsseEnvelope");
  if ((message != nullptr) == (dsse != nullptr)) return malformed("content", "one of messageSignature, dsseEnvelope");
  if (dsse != nullptr) {
    b.envelope = STELLA_TRY(crypto::dsse_parse(json::dump(*dsse), kMaxBytes));
    if (b.envelope.signatures.size() != 1) return malformed("signatures", "exactly one");
    b.what.dsse = true;
    b.what.signature = b.envelope.signatures.front().sig;
    b.what.digest = crypto::sha256(crypto::dsse_pae(b.envelope.payload_type, b.envelope.payload));
    b.what.payload = crypto::sha256(b.envelope.payload);
    return {};
  }
  auto signature = base64_decode(message->str("signature"));
  if (!signature || signature->empty()) return malformed("messageSignature.signature", "base64");
  b.what.signature = std::move(*signature);
  const json::Value* digest = message->find("messageDigest");
  if (digest == nullptr) return {};
  const auto raw = base64_decode(digest->str("digest"));
  if (digest->str("algorithm") != "SHA2_256" || !raw || raw->size() != Sha256::kSize) return malformed("messageDigest", "SHA2_256");
  b.claimed = STELLA_TRY(Sha256::parse(hex_encode(*raw)));
  return {};
}

Result<Bundle> read_bundle(std::string_view text) {
  const json::Value doc = STELLA_TRY(json::parse(text, {.max_bytes = kMaxBytes, .max_depth = 32}));
  const std::string_view type = doc.str("mediaType");
  constexpr std::string_view kOld = "application/vnd.dev.sigstore.bundle+json;version=0.";
  const bool dotted = type.starts_with(kOld) && type.size() == kOld.size() + 1;
  if (type != kSigstoreMediaType && !(dotted && type.back() >= '1' && type.back() <= '3')) return malformed("mediaType", kSigstoreMediaType);
  Bundle b;
  b.old = dotted && type.back() != '3';
  const json::Value* material = doc.find("verificationMaterial");
  if (material == nullptr || !material->is_object()) return malformed("verificationMaterial", "an object");
  b.material = *material;
  STELLA_TRY_VOID(read_material(b));
  STELLA_TRY_VOID(read_content(doc, b));
  return b;
}

Result<void> check_artifact(Bundle& b, const Sha256& artifact) {
  if (!b.what.dsse) {
    if (b.claimed && *b.claimed != artifact) return invalid("messageDigest", "not the digest of this artifact");
    b.what.digest = artifact;
    return {};
  }
  const bool in_toto = b.envelope.payload_type == kInTotoPayloadType;
  if (!in_toto) return invalid("payloadType", "not an in-toto statement");
  // Statements before v1 differ in their type only.
  const json::Value statement = STELLA_TRY(json::parse(b.envelope.payload, {.max_bytes = kMaxBytes, .max_depth = 64}));
  if (statement.str("_type") != kStatementType && statement.str("_type") != "https://in-toto.io/Statement/v0.1") return malformed("_type", kStatementType);
  for (const json::Value& subject : statement.items("subject"))
    if (const json::Value* digest = subject.find("digest"); digest != nullptr && digest->str("sha256") == artifact.hex()) return {};
  return invalid("subject", "the statement is not about this artifact");
}

Result<void> check_signature(const Bundle& b, const crypto::PublicKey& key) {
  if (!b.what.dsse) return crypto::verify_digest(key, b.what.digest, b.what.signature) ? Result<void>() : invalid("signature", "not by this key over this artifact");
  STELLA_TRY_VOID(crypto::dsse_verify(b.envelope, std::span(&key, 1)));
  return {};
}

Result<std::vector<Timestamp>> timestamps_of(const Bundle& b, const SigstoreTrust& trust) {
  std::vector<Timestamp> out;
  const json::Value* data = b.material.find("timestampVerificationData");
  if (data == nullptr || !data->is_object()) return out;
  const json::Array& list = data->items("rfc3161Timestamps");
  if (list.size() > kMaxProofs) return malformed("rfc3161Timestamps", "at most 16");
  for (const json::Value& entry : list) {
    // Tools that wrap lines have written bundles; every reader takes them.
    std::string text(entry.str("signedTimestamp"));
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });
    const auto der = base64_decode(text);
    if (!der) return malformed("signedTimestamp", "base64");
    std::optional<Timestamp> proved;
    std::string why = "no timestamp authority in the trusted root";
    for (const SigstoreTimestamper& authority : trust.timestampers) {
      const auto verified = crypto::verify_timestamp(*der, crypto::TimestampSubject::message(b.what.signature), authority.trust);
      if (!verified) why = verified.error().describe();
      else if (!authority.valid.contains(verified->gen_time)) why = "the authority was not to be believed then";
      else proved = verified->gen_time;
    }
    if (!proved) return invalid("signedTimestamp", why);
    out.push_back(*proved);
  }
  return out;
}

// Every time at which the signature is proved to have existed.
Result<std::vector<Timestamp>> proved_times(const Bundle& b, const SigstoreTrust& trust) {
  std::vector<Timestamp> times = STELLA_TRY(timestamps_of(b, trust));
  const std::vector<Timestamp> stamped = times;
  const json::Array& entries = b.material.items("tlogEntries");
  if (entries.empty() || entries.size() > kMaxProofs) return invalid("tlogEntries", "1 to 16 are needed");
  for (const json::Value& entry : entries)
    if (const auto integrated = STELLA_TRY(verify_log_entry(entry, b.what, trust, stamped))) times.push_back(*integrated);
  if (times.empty()) return invalid("tlogEntries", "neither log nor timestamp authority says when it was signed");
  return times;
}

Result<std::vector<crypto::Certificate>> chain_at(const crypto::Certificate& leaf, const SigstoreTrust& trust, Timestamp at) {
  Error why = invalid("certificate", "no authority in the trusted root was to be believed then");
  for (const SigstoreAuthority& authority : trust.authorities) {
    if (!authority.valid.contains(at)) continue;
    const std::span<const crypto::Certificate> chain = authority.chain;
    auto built = crypto::verify_code_signing_chain(leaf, chain.last(1), chain.first(chain.size() - 1), at);
    if (built) return built;
    why = built.error();
  }
  return why;
}

Result<void> check_certificate_log(const crypto::Certificate& leaf, const crypto::Certificate& issuer, const SigstoreTrust& trust) {
  for (const crypto::CertificateTimestamp& sct : STELLA_TRY(crypto::certificate_timestamps(leaf, issuer)))
    for (const SigstoreLog& log : trust.certificate_logs)
      if (log.id == sct.log_id && log.ecdsa && log.valid.contains(sct.time) && log.ecdsa->verify_der(sct.signed_bytes, sct.signature)) return {};
  return invalid("certificate", "it is in no certificate log of the trusted root");
}

Result<void> check_identity(const crypto::Certificate& leaf, const SigstoreExpectation& expected) {
  if (expected.identity.empty() || expected.issuer.empty()) return invalid("identity", "whose certificate must it be, and by which issuer?");
  const auto names = leaf.alternative_names();
  if (std::find(names.begin(), names.end(), expected.identity) == names.end()) return invalid("identity", "another signer");
  std::string issuer;
  if (const auto v2 = leaf.extension(kIssuerV2); v2 && v2->size() >= 2 && (*v2)[0] == 0x0c && static_cast<unsigned char>((*v2)[1]) == v2->size() - 2 && v2->size() < 130) issuer = v2->substr(2);
  else if (const auto v1 = leaf.extension(kIssuerV1)) issuer = *v1;
  if (issuer != expected.issuer) return invalid("issuer", "another issuer");
  return {};
}

Result<void> check_certificate(const crypto::Certificate& leaf, const std::vector<Timestamp>& times, const SigstoreExpectation& expected) {
  for (const Timestamp at : times) {
    const auto chain = STELLA_TRY(chain_at(leaf, *expected.trust, at));
    if (chain.size() < 2) return invalid("certificate", "nobody issued it");
    STELLA_TRY_VOID(check_certificate_log(leaf, chain[1], *expected.trust));
  }
  return check_identity(leaf, expected);
}

}  // namespace

Result<VerifiedSigstore> verify_sigstore_blob(std::string_view text, const Sha256& artifact, const SigstoreExpectation& expected) {
  Bundle b = STELLA_TRY(read_bundle(text));
  STELLA_TRY_VOID(check_artifact(b, artifact));
  if (b.what.certificate.has_value() == (expected.key != nullptr)) return invalid("verificationMaterial", expected.key != nullptr ? "signed with a certificate, not with a key" : "signed with a key, and no key was given");
  VerifiedSigstore out;
  if (expected.key != nullptr) {
    b.what.key = *expected.key;
    STELLA_TRY_VOID(check_signature(b, *expected.key));
  } else {
    if (expected.trust == nullptr) return invalid("trust", "a certificate needs a trusted root");
    const crypto::PublicKey key = STELLA_TRY(b.what.certificate->public_key());
    STELLA_TRY_VOID(check_signature(b, key));
  }
  if (expected.trust != nullptr) out.times = STELLA_TRY(proved_times(b, *expected.trust));
  else out.not_checked.emplace_back("TIME: log entries and timestamps (no trusted root was given)");
  if (b.what.certificate) {
    STELLA_TRY_VOID(check_certificate(*b.what.certificate, out.times, expected));
    out.not_checked.emplace_back("REVOCATION: certificates of minutes have none");
  }
  if (b.what.dsse) {
    out.payload_type = b.envelope.payload_type;
    out.payload = std::move(b.envelope.payload);
  }
  return out;
}

}  // namespace stella::evidence
