// Rekor entries: promise, inclusion, checkpoint, and their bodies against the signature that they were made for.
#include "sigstore_entry.h"

#include <algorithm>
#include <charconv>

#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/proofs.h"

namespace stella::evidence {
namespace {

Error malformed(std::string_view field, std::string_view expected) {
  return Error(base_errors::kMalformed, "not a log entry").with("field", std::string(field)).with("expected", std::string(expected));
}
Error invalid(std::string_view field, std::string_view reason) {
  return Error(base_errors::kInvalid, "the log entry does not hold").with("field", std::string(field)).with("reason", std::string(reason));
}

const json::Value& child(const json::Value& v, std::string_view name) {
  static const json::Value kNone;
  const json::Value* found = v.is_object() ? v.find(name) : nullptr;
  return found == nullptr ? kNone : *found;
}

// proto3 JSON: int64 is a text, a number is accepted.
Result<std::int64_t> int64(const json::Value& v, std::string_view member) {
  const json::Value& n = child(v, member);
  if (n.is_int() && n.as_int() >= 0) return n.as_int();
  std::int64_t out = 0;
  if (n.is_string() && !n.as_string().empty()) {
    const std::string_view text = n.as_string();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc() && end == text.data() + text.size() && out >= 0) return out;
  }
  return malformed(member, "an int64 from 0");
}

Result<std::string> bytes(const json::Value& v, std::string_view member) {
  auto out = base64_decode(v.str(member));
  if (!out) return malformed(member, "base64");
  return std::move(*out);
}

Result<Sha256> digest(const json::Value& v, std::string_view member) {
  const std::string raw = STELLA_TRY(bytes(v, member));
  if (raw.size() != Sha256::kSize) return malformed(member, "32 bytes in base64");
  return Sha256::parse(hex_encode(raw));
}

// Rekor v1's promise to include the entry, with the time at which it took it (signed entry timestamp).
Result<Timestamp> verify_promise(const json::Value& entry, const SigstoreLog& log) {
  const std::int64_t time = STELLA_TRY(int64(entry, "integratedTime"));
  const std::string promise = STELLA_TRY(bytes(child(entry, "inclusionPromise"), "signedEntryTimestamp"));
  const std::string text = STELLA_TRY(json::canonical(json::Value::object(
      {{"body", entry.str("canonicalizedBody")}, {"integratedTime", time}, {"logID", hex_encode(log.id)}, {"logIndex", STELLA_TRY(int64(entry, "logIndex"))}})));
  if (!log.ecdsa || !log.ecdsa->verify_der(text, promise)) return invalid("inclusionPromise", "the log did not sign it");
  const Timestamp at = Timestamp() + std::chrono::seconds(time);
  if (!log.valid.contains(at)) return invalid("integratedTime", "the log was not to be believed then");
  return at;
}

Result<void> verify_inclusion_proof(const json::Value& entry, const json::Value& proof, const SigstoreLog& log) {
  const std::string note = std::string(child(proof, "checkpoint").str("envelope"));
  const auto key = log.ecdsa ? timeline::VerifierKey::ecdsa(log.host, *log.ecdsa) : timeline::VerifierKey::ed25519(log.host, *log.ed25519);
  const timeline::VerifierKey vkey = STELLA_TRY(key);
  const timeline::Note parsed = STELLA_TRY(timeline::parse_note(note));
  STELLA_TRY_VOID(timeline::verify_note(parsed, std::span(&vkey, 1)));
  const timeline::Checkpoint head = STELLA_TRY(timeline::parse_checkpoint_text(parsed.text));
  // Rekor v1 names its tree behind the host ("rekor.sigstore.dev - 1193050959916656506").
  if (head.origin != log.host && !head.origin.starts_with(log.host + " - ")) return invalid("checkpoint", "of another log");
  if (static_cast<std::uint64_t>(STELLA_TRY(int64(proof, "treeSize"))) != head.size) return invalid("treeSize", "not that of the checkpoint");
  if (STELLA_TRY(digest(proof, "rootHash")) != head.root) return invalid("rootHash", "not that of the checkpoint");
  timeline::Proof hashes;
  for (const json::Value& hash : proof.items("hashes")) {
    if (hashes.size() == 64) return malformed("hashes", "at most 64");
    hashes.push_back(STELLA_TRY(digest(json::Value::object({{"hash", hash}}), "hash")));
  }
  const std::string body = STELLA_TRY(bytes(entry, "canonicalizedBody"));
  return timeline::verify_inclusion(timeline::leaf_hash(body), static_cast<std::uint64_t>(STELLA_TRY(int64(proof, "logIndex"))), head.size, hashes, head.root);
}

// ── The body ──

bool same_verifier(const SigstoreSigned& what, std::string_view der) {
  return what.certificate ? what.certificate->der() == der : what.key->spki_der() == der;
}
bool same_verifier_pem(const SigstoreSigned& what, std::string_view base64) {
  const auto pem = base64_decode(base64);
  if (!pem) return false;
  if (what.certificate) {
    const auto certificate = crypto::Certificate::from_pem(*pem);
    return certificate && certificate->der() == what.certificate->der();
  }
  const auto key = crypto::PublicKey::from_pem(*pem);
  return key && *key == *what.key;
}
bool same_signature(const SigstoreSigned& what, std::string_view base64) {
  const auto signature = base64_decode(base64);
  return signature && *signature == what.signature;
}

Result<void> same(bool digest, bool signature, bool verifier) {
  if (!digest) return invalid("canonicalizedBody", "the entry is about other bytes");
  if (!signature) return invalid("canonicalizedBody", "the entry is about another signature");
  if (!verifier) return invalid("canonicalizedBody", "the entry is about another key or certificate");
  return {};
}

Result<void> check_hashedrekord_v1(const json::Value& spec, const SigstoreSigned& what) {
  const json::Value& hash = child(child(spec, "data"), "hash");
  const json::Value& signature = child(spec, "signature");
  return same(hash.str("algorithm") == "sha256" && hash.str("value") == what.digest.hex(), same_signature(what, signature.str("content")),
              same_verifier_pem(what, child(signature, "publicKey").str("content")));
}

// Also for DSSE: then the digest is that of the pre-authentication encoding.
Result<void> check_hashedrekord_v2(const json::Value& spec, const SigstoreSigned& what) {
  const json::Value& entry = child(spec, "hashedRekordV002");
  const json::Value& verifier = child(child(entry, "signature"), "verifier");
  const json::Value& key = what.certificate ? child(verifier, "x509Certificate") : child(verifier, "publicKey");
  const auto named = digest(child(entry, "data"), "digest");
  const auto raw = base64_decode(key.str("rawBytes"));
  return same(child(entry, "data").str("algorithm") == "SHA2_256" && named && *named == what.digest, same_signature(what, child(entry, "signature").str("content")), raw && same_verifier(what, *raw));
}

Result<void> check_dsse_v1(const json::Value& spec, const SigstoreSigned& what) {
  const json::Array& signatures = spec.items("signatures");
  if (signatures.size() != 1) return invalid("canonicalizedBody", "not exactly one signature");
  const json::Value& payload = child(spec, "payloadHash");
  return same(what.dsse && payload.str("algorithm") == "sha256" && payload.str("value") == what.payload.hex(), same_signature(what, signatures.front().str("signature")),
              same_verifier_pem(what, signatures.front().str("verifier")));
}

// Signature and payload stand there in base64 twice.
Result<void> check_intoto_v2(const json::Value& spec, const SigstoreSigned& what) {
  const json::Value& content = child(spec, "content");
  const json::Array& signatures = child(content, "envelope").items("signatures");
  if (signatures.size() != 1) return invalid("canonicalizedBody", "not exactly one signature");
  const json::Value& payload = child(content, "payloadHash");
  const auto inner = base64_decode(signatures.front().str("sig"));
  return same(what.dsse && payload.str("algorithm") == "sha256" && payload.str("value") == what.payload.hex(), inner && same_signature(what, *inner),
              same_verifier_pem(what, signatures.front().str("publicKey")));
}

Result<void> check_body(const json::Value& entry, const SigstoreSigned& what) {
  const json::Value body = STELLA_TRY(json::parse(STELLA_TRY(bytes(entry, "canonicalizedBody")), {.max_bytes = 8u << 20, .max_depth = 32}));
  const json::Value& kind = child(entry, "kindVersion");
  if (body.str("kind") != kind.str("kind") || body.str("apiVersion") != kind.str("version")) return invalid("kindVersion", "not that of the body");
  const std::string name = std::string(body.str("kind")) + " " + std::string(body.str("apiVersion"));
  const json::Value& spec = child(body, "spec");
  if (name == "hashedrekord 0.0.1" && !what.dsse) return check_hashedrekord_v1(spec, what);
  if (name == "hashedrekord 0.0.2") return check_hashedrekord_v2(spec, what);
  if (name == "dsse 0.0.1") return check_dsse_v1(spec, what);
  if (name == "intoto 0.0.2") return check_intoto_v2(spec, what);
  return invalid("kindVersion", "an entry of this kind proves nothing about this bundle");
}

}  // namespace

Result<std::optional<Timestamp>> verify_log_entry(const json::Value& entry, const SigstoreSigned& what, const SigstoreTrust& trust, std::span<const Timestamp> times) {
  const std::string id = STELLA_TRY(bytes(child(entry, "logId"), "keyId"));
  const auto log = std::find_if(trust.logs.begin(), trust.logs.end(), [&](const SigstoreLog& l) { return l.id == id; });
  if (log == trust.logs.end()) return invalid("logId", "no such log in the trusted root");
  std::optional<Timestamp> integrated;
  const bool promised = child(entry, "inclusionPromise").is_object();
  if (promised) integrated = STELLA_TRY(verify_promise(entry, *log));
  const json::Value& proof = child(entry, "inclusionProof");
  if (proof.is_object()) STELLA_TRY_VOID(verify_inclusion_proof(entry, proof, *log));
  else if (!promised) return invalid("inclusionProof", "neither promise nor proof");
  if (!promised && !std::all_of(times.begin(), times.end(), [&](Timestamp t) { return log->valid.contains(t); })) return invalid("logId", "the log was not to be believed then");
  STELLA_TRY_VOID(check_body(entry, what));
  return integrated;
}

}  // namespace stella::evidence
