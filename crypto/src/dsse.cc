// DSSE envelopes.
#include "stella/crypto/dsse.h"

#include <algorithm>

#include "stella/base/encoding.h"
#include "stella/base/json.h"

namespace stella::crypto {

std::string dsse_pae(std::string_view payload_type, std::string_view payload) {
  std::string out = "DSSEv1 ";
  out.reserve(payload_type.size() + payload.size() + 48);
  out.append(std::to_string(payload_type.size())).append(" ").append(payload_type);
  out.append(" ").append(std::to_string(payload.size())).append(" ").append(payload);
  return out;
}

std::string DsseEnvelope::json() const {
  std::string out;
  json::Writer w(out);
  w.begin_object().member("payload", base64_encode(payload)).member("payloadType", payload_type).key("signatures").begin_array();
  for (const auto& s : signatures) {
    w.begin_object();
    if (!s.keyid.empty()) w.member("keyid", s.keyid);
    w.member("sig", base64_encode(s.sig)).end_object();
  }
  w.end_array().end_object();
  return out;
}

Result<DsseEnvelope> dsse_sign(std::string_view payload_type, std::string payload, std::span<const Signer* const> signers) {
  if (signers.empty()) return Error(base_errors::kInvalid, "an envelope needs a signer");
  DsseEnvelope out{.payload_type = std::string(payload_type), .payload = std::move(payload), .signatures = {}};
  const std::string message = dsse_pae(out.payload_type, out.payload);
  for (const Signer* signer : signers) {
    std::string sig = STELLA_TRY(signer->sign(message));
    out.signatures.push_back({.keyid = signer->public_key().id().str(), .sig = std::move(sig)});
  }
  return out;
}

Result<DsseEnvelope> dsse_sign(std::string_view payload_type, std::string payload, const Signer& signer) {
  const Signer* one = &signer;
  return dsse_sign(payload_type, std::move(payload), std::span(&one, 1));
}

namespace {

Error bad_envelope(std::string field) {
  return Error(base_errors::kMalformed, "not a DSSE envelope").with("field", std::move(field)).with("expected", "payload, payloadType, signatures[].sig");
}

Result<std::string> decoded(const json::Value& object, Literal name) {
  const json::Value* member = object.find(name.view());
  if (member == nullptr || !member->is_string()) return bad_envelope(std::string(name.view()));
  auto bytes = base64_decode(member->as_string());
  if (!bytes) return bad_envelope(std::string(name.view()));
  return bytes;
}

}  // namespace

Result<DsseEnvelope> dsse_parse(std::string_view text, std::size_t max_bytes) {
  const json::Value doc = STELLA_TRY(json::parse(text, {.max_bytes = max_bytes, .max_depth = 16}));
  if (!doc.is_object()) return bad_envelope("");
  DsseEnvelope out;
  out.payload = STELLA_TRY(decoded(doc, "payload"));
  const json::Value* type = doc.find("payloadType");
  if (type == nullptr || !type->is_string()) return bad_envelope("payloadType");
  out.payload_type = type->as_string();
  const json::Value* signatures = doc.find("signatures");
  if (signatures == nullptr || !signatures->is_array()) return bad_envelope("signatures");
  if (signatures->as_array().size() > kDsseMaxSignatures)
    return Error(base_errors::kLimit, "too many signatures").with("limit", kDsseMaxSignatures).with("actual", signatures->as_array().size());
  for (const auto& entry : signatures->as_array()) {
    std::string sig = STELLA_TRY(decoded(entry, "sig"));
    const json::Value* keyid = entry.find("keyid");
    if (keyid != nullptr && !keyid->is_string() && !keyid->is_null()) return bad_envelope("keyid");
    out.signatures.push_back({.keyid = std::string(entry.str("keyid")), .sig = std::move(sig)});
  }
  return out;
}

std::vector<PublicKey> dsse_signers(const DsseEnvelope& envelope, std::span<const PublicKey> trusted) {
  const std::string message = dsse_pae(envelope.payload_type, envelope.payload);
  std::vector<PublicKey> out;
  for (const auto& key : trusted) {
    if (std::find(out.begin(), out.end(), key) != out.end()) continue;
    const bool signed_by_it = std::any_of(envelope.signatures.begin(), envelope.signatures.end(),
                                          [&](const DsseSignature& s) { return key.verify(message, s.sig); });
    if (signed_by_it) out.push_back(key);
  }
  return out;
}

Result<std::vector<PublicKey>> dsse_verify(const DsseEnvelope& envelope, std::span<const PublicKey> trusted, std::size_t threshold) {
  auto signers = dsse_signers(envelope, trusted);
  if (threshold == 0 || signers.size() < threshold)
    return Error(base_errors::kInvalid, "not signed by enough trusted keys")
        .with("expected", std::max<std::uint64_t>(threshold, 1))
        .with("actual", signers.size());
  return signers;
}

}  // namespace stella::crypto
