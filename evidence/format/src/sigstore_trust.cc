// Reads a Sigstore trusted root document.
#include <algorithm>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/evidence/format/sigstore.h"

namespace stella::evidence {
namespace {

constexpr std::size_t kMaxBytes = 4u << 20;
constexpr std::string_view kEd25519Prefix("\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 12);

Error malformed(std::string_view field, std::string_view expected) {
  return Error(base_errors::kMalformed, "not a Sigstore trusted root").with("field", std::string(field)).with("expected", std::string(expected));
}

Result<SigstoreWindow> window(const json::Value& owner) {
  SigstoreWindow out;
  const json::Value* valid = owner.find("validFor");
  if (valid == nullptr) return out;
  if (!valid->str("start").empty()) out.start = STELLA_TRY(Timestamp::parse(valid->str("start")));
  if (!valid->str("end").empty()) out.end = STELLA_TRY(Timestamp::parse(valid->str("end")));
  return out;
}

Result<std::string> raw_bytes(const json::Value& owner, std::string_view field) {
  auto bytes = base64_decode(owner.str("rawBytes"));
  if (!bytes || bytes->empty()) return malformed(field, "rawBytes in base64");
  return std::move(*bytes);
}

std::string host_of(std::string_view url) {
  if (const auto at = url.find("://"); at != url.npos) url.remove_prefix(at + 3);
  return std::string(url.substr(0, url.find_first_of("/")));
}

Result<std::vector<SigstoreLog>> logs_of(const json::Value& doc, std::string_view member) {
  std::vector<SigstoreLog> out;
  for (const json::Value& entry : doc.items(member)) {
    const json::Value* key = entry.find("publicKey");
    if (key == nullptr) return malformed(member, "a public key");
    SigstoreLog log;
    const std::string spki = STELLA_TRY(raw_bytes(*key, member));
    log.valid = STELLA_TRY(window(*key));
    log.host = host_of(entry.str("baseUrl"));
    const json::Value* id = entry.find("logId");
    auto id_bytes = base64_decode(id == nullptr ? std::string_view() : id->str("keyId"));
    if (id_bytes) log.id = std::move(*id_bytes);
    if (spki.starts_with(kEd25519Prefix)) log.ed25519 = STELLA_TRY(crypto::Ed25519PublicKey::from_raw(std::string_view(spki).substr(kEd25519Prefix.size())));
    else if (auto ecdsa = crypto::PublicKey::from_spki_der(spki)) log.ecdsa = std::move(*ecdsa);
    else continue;
    if (log.id.empty()) return malformed(member, "a log id");
    out.push_back(std::move(log));
  }
  return out;
}

Result<std::vector<crypto::Certificate>> chain_of(const json::Value& entry, std::string_view member) {
  std::vector<crypto::Certificate> out;
  const json::Value* chain = entry.find("certChain");
  if (chain != nullptr)
    for (const json::Value& c : chain->items("certificates")) out.push_back(STELLA_TRY(crypto::Certificate::from_der(STELLA_TRY(raw_bytes(c, member)))));
  if (out.empty()) return malformed(member, "a certificate chain");
  return out;
}

}  // namespace

Result<SigstoreTrust> SigstoreTrust::from_json(std::string_view text) {
  const json::Value doc = STELLA_TRY(json::parse(text, {.max_bytes = kMaxBytes, .max_depth = 32}));
  if (!doc.str("mediaType").starts_with("application/vnd.dev.sigstore.trustedroot")) return malformed("mediaType", "application/vnd.dev.sigstore.trustedroot.v0.1+json");
  SigstoreTrust out;
  out.logs = STELLA_TRY(logs_of(doc, "tlogs"));
  out.certificate_logs = STELLA_TRY(logs_of(doc, "ctlogs"));
  for (const json::Value& entry : doc.items("certificateAuthorities")) {
    SigstoreAuthority authority;
    authority.chain = STELLA_TRY(chain_of(entry, "certificateAuthorities"));
    authority.valid = STELLA_TRY(window(entry));
    out.authorities.push_back(std::move(authority));
  }
  for (const json::Value& entry : doc.items("timestampAuthorities")) {
    const auto chain = STELLA_TRY(chain_of(entry, "timestampAuthorities"));
    std::string others;
    for (std::size_t i = 0; i + 1 < chain.size(); ++i) others += chain[i].pem();
    out.timestampers.push_back({.trust = STELLA_TRY(crypto::TimestampTrust::from_pem(chain.back().pem(), others)), .valid = STELLA_TRY(window(entry))});
  }
  return out;
}

}  // namespace stella::evidence
