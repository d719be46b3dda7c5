// Statements, provenance and Sigstore bundles.
#include "stella/evidence/format/statement.h"

#include <algorithm>
#include <optional>

#include "stella/base/encoding.h"
#include "stella/evidence/format/batch.h"

namespace stella::evidence {
namespace {

Error invalid(std::string field, std::string expected) {
  return Error(base_errors::kInvalid, "not an acceptable statement").with("field", std::move(field)).with("expected", std::move(expected));
}
Error malformed(std::string field, std::string expected) {
  return Error(base_errors::kMalformed, "not an in-toto statement").with("field", std::move(field)).with("expected", std::move(expected));
}

json::Value digest_set(const Sha256& sha256) { return json::Value::object({{"sha256", sha256.hex()}}); }

json::Value descriptor(const Resource& r) {
  json::Value out = json::Value::object({{"digest", digest_set(r.sha256)}});
  if (!r.name.empty()) out.set("name", r.name);
  if (!r.uri.empty()) out.set("uri", r.uri);
  if (!r.media_type.empty()) out.set("mediaType", r.media_type);
  if (!r.annotations.is_null()) out.set("annotations", r.annotations);
  return out;
}

json::Value descriptors(const std::vector<Resource>& list) {
  json::Array out;
  for (const auto& r : list) out.push_back(descriptor(r));
  return out;
}

}  // namespace

Result<std::string> make_statement(std::span<const Subject> subjects, std::string_view predicate_type, json::Value predicate) {
  if (subjects.empty()) return invalid("subject", "at least one");
  json::Array list;
  for (const auto& s : subjects) list.push_back(json::Value::object({{"name", s.name}, {"digest", digest_set(s.sha256)}}));
  return json::canonical(json::Value::object(
      {{"_type", kStatementType}, {"subject", std::move(list)}, {"predicateType", predicate_type}, {"predicate", std::move(predicate)}}));
}

Result<std::string> make_provenance(std::span<const Subject> subjects, const Provenance& p) {
  if (!p.external_parameters.is_object()) return invalid("externalParameters", "an object");
  json::Value definition = json::Value::object({{"buildType", p.build_type}, {"externalParameters", p.external_parameters}});
  if (!p.internal_parameters.is_null()) definition.set("internalParameters", p.internal_parameters);
  if (!p.resolved_dependencies.empty()) definition.set("resolvedDependencies", descriptors(p.resolved_dependencies));
  json::Value builder = json::Value::object({{"id", p.builder_id}});
  if (!p.builder_versions.empty()) {
    json::Value versions = json::Value::object();
    for (const auto& [name, version] : p.builder_versions) versions.set(name, version);
    builder.set("version", std::move(versions));
  }
  json::Value metadata = json::Value::object({{"invocationId", p.invocation_id}});
  if (p.started_on.micros() != 0) metadata.set("startedOn", p.started_on.rfc3339_seconds());
  if (p.finished_on.micros() != 0) metadata.set("finishedOn", p.finished_on.rfc3339_seconds());
  json::Value details = json::Value::object({{"builder", std::move(builder)}, {"metadata", std::move(metadata)}});
  if (!p.byproducts.empty()) details.set("byproducts", descriptors(p.byproducts));
  json::Value predicate = json::Value::object({{"buildDefinition", std::move(definition)}, {"runDetails", std::move(details)}});
  STELLA_TRY_VOID(check_provenance(predicate));
  return make_statement(subjects, kProvenancePredicate, std::move(predicate));
}

Result<Statement> parse_statement(std::string_view bytes, std::size_t max_bytes) {
  const json::Value doc = STELLA_TRY(json::parse(bytes, {.max_bytes = max_bytes, .max_depth = 64}));
  if (doc.str("_type") != kStatementType) return malformed("_type", std::string(kStatementType));
  Statement out;
  for (const auto& subject : doc.items("subject")) {
    const json::Value* digest = subject.find("digest");
    if (digest == nullptr || !digest->is_object() || digest->as_object().empty()) return malformed("subject.digest", "at least one digest");
    const auto sha256 = Sha256::parse(digest->str("sha256"));
    out.subjects.push_back({.name = std::string(subject.str("name")), .sha256 = sha256 ? *sha256 : Sha256()});
  }
  if (out.subjects.empty()) return malformed("subject", "at least one");
  out.predicate_type = doc.str("predicateType");
  if (out.predicate_type.empty()) return malformed("predicateType", "a type URI");
  const json::Value* predicate = doc.find("predicate");
  if (predicate == nullptr || !predicate->is_object()) return malformed("predicate", "an object");
  out.predicate = *predicate;
  return out;
}

Result<void> check_resource_descriptor(const json::Value& d) {
  const json::Value* digest = d.find("digest");
  const bool has_digest = digest != nullptr && digest->is_object() && !digest->as_object().empty();
  if (!d.is_object() || (d.str("name").empty() && d.str("uri").empty() && !has_digest)) return invalid("descriptor", "one of name, uri, digest");
  if (!has_digest) return {};
  const auto lower_hex = [](std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; };
  for (const auto& [algorithm, value] : digest->as_object()) {
    if (!value.is_string() || value.as_string().empty()) return invalid("digest", "a text");
    const std::size_t want = algorithm == "sha256" ? 64 : algorithm == "sha384" ? 96 : algorithm == "sha512" ? 128 : algorithm == "sha1" ? 40 : 0;
    if (want != 0 && (value.as_string().size() != want || !lower_hex(value.as_string()))) return invalid("digest", "lower-case hex of full length");
  }
  return {};
}

Result<void> check_provenance(const json::Value& predicate) {
  const json::Value* definition = predicate.find("buildDefinition");
  if (definition == nullptr || !definition->is_object()) return invalid("buildDefinition", "an object");
  if (definition->str("buildType").empty()) return invalid("buildDefinition.buildType", "a type URI");
  const json::Value* external = definition->find("externalParameters");
  if (external == nullptr || !external->is_object()) return invalid("buildDefinition.externalParameters", "an object");
  for (const auto& d : definition->items("resolvedDependencies")) STELLA_TRY_VOID(check_resource_descriptor(d));
  const json::Value* details = predicate.find("runDetails");
  if (details == nullptr || !details->is_object()) return invalid("runDetails", "an object");
  const json::Value* builder = details->find("builder");
  if (builder == nullptr || builder->str("id").empty()) return invalid("runDetails.builder.id", "a URI");
  for (const auto& d : details->items("byproducts")) STELLA_TRY_VOID(check_resource_descriptor(d));
  return {};
}

Result<std::string> make_sigstore_bundle(const crypto::DsseEnvelope& envelope) {
  if (envelope.signatures.size() != 1) return invalid("signatures", "exactly one");
  std::string out;
  json::Writer w(out);
  w.begin_object().member("mediaType", kSigstoreMediaType).key("verificationMaterial").begin_object();
  w.key("publicKey").begin_object().member("hint", envelope.signatures[0].keyid).end_object();
  w.key("tlogEntries").begin_array().end_array().end_object();
  w.key("dsseEnvelope").raw(envelope.json()).end_object();
  return out;
}

namespace {

bool is_sigstore_media_type(std::string_view type) {
  if (type == kSigstoreMediaType) return true;
  constexpr std::string_view kOld = "application/vnd.dev.sigstore.bundle+json;version=0.";
  return type.starts_with(kOld) && type.size() == kOld.size() + 1 && type.back() >= '1' && type.back() <= '3';
}

}  // namespace

Result<crypto::DsseEnvelope> parse_attestation(std::string_view text, std::size_t max_bytes) {
  const json::Value doc = STELLA_TRY(json::parse(text, {.max_bytes = max_bytes, .max_depth = 32}));
  if (doc.find("mediaType") == nullptr) return crypto::dsse_parse(text, max_bytes);
  if (!is_sigstore_media_type(doc.str("mediaType"))) return malformed("mediaType", std::string(kSigstoreMediaType));
  const json::Value* inner = doc.find("dsseEnvelope");
  if (inner == nullptr || !inner->is_object()) return malformed("dsseEnvelope", "a DSSE envelope");
  auto envelope = STELLA_TRY(crypto::dsse_parse(json::dump(*inner), max_bytes));
  if (envelope.signatures.size() != 1) return malformed("signatures", "exactly one");
  const json::Value* material = doc.find("verificationMaterial");
  if (material == nullptr || !material->is_object()) return malformed("verificationMaterial", "an object");
  const json::Value* key = material->find("publicKey");
  if (key != nullptr && key->str("hint") != envelope.signatures[0].keyid) return malformed("publicKey.hint", "the key id of the signature");
  return envelope;
}

Result<std::string> sign_statement(const crypto::Signer& signer, std::string statement) {
  const auto envelope = STELLA_TRY(crypto::dsse_sign(kInTotoPayloadType, std::move(statement), signer));
  return make_sigstore_bundle(envelope);
}

namespace {

// What was signed: the statement itself, or a batch that it is proved to be in.
struct Signed {
  crypto::DsseEnvelope envelope;
  std::optional<std::string> member;
};

Result<Signed> parse_signed(std::string_view attestation) {
  // A batch document says so in its media type; looking for the text first spares the common case a second parse.
  if (attestation.find(kBatchMediaType) != std::string_view::npos) {
    auto member = parse_batch_member(attestation);
    if (member) return Signed{std::move(member->envelope), std::move(member->statement)};
    if (const auto doc = json::parse(attestation, {.max_bytes = 32u << 20, .max_depth = 32}); doc && is_batch_member(doc->str("mediaType"))) return std::move(member.error());
  }
  return Signed{STELLA_TRY(parse_attestation(attestation)), {}};
}

}  // namespace

Result<VerifiedStatement> verify_statement(std::string_view attestation, const StatementExpectation& expected) {
  Signed found = STELLA_TRY(parse_signed(attestation));
  auto signers = STELLA_TRY(crypto::dsse_verify(found.envelope, expected.trust, expected.threshold));
  const std::string_view type = found.envelope.payload_type;
  const bool in_toto = type == kInTotoPayloadType || (type.starts_with("application/vnd.in-toto.") && type.ends_with("+json"));
  if (!in_toto) return invalid("payloadType", std::string(kInTotoPayloadType));
  std::string bytes = found.member ? std::move(*found.member) : std::move(found.envelope.payload);
  auto statement = STELLA_TRY(parse_statement(bytes));
  if (!expected.predicate_type.empty() && statement.predicate_type != expected.predicate_type)
    return invalid("predicateType", std::string(expected.predicate_type));
  if (expected.subject != nullptr &&
      std::none_of(statement.subjects.begin(), statement.subjects.end(), [&](const Subject& s) { return s.sha256 == *expected.subject; }))
    return invalid("subject", expected.subject->hex());
  return VerifiedStatement{.statement = std::move(statement), .bytes = std::move(bytes), .signers = std::move(signers)};
}

}  // namespace stella::evidence
