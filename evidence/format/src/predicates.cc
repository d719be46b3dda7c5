// VSA, SVR and vulns.
#include "stella/evidence/format/predicates.h"

#include <algorithm>

namespace stella::evidence {
namespace {

Error invalid(std::string_view field, std::string_view expected) {
  return Error(base_errors::kInvalid, "not an acceptable statement").with("field", std::string(field)).with("expected", std::string(expected));
}

Result<void> require_text(const json::Value& object, std::string_view member, std::string_view path) {
  if (object.str(member).empty()) return invalid(path, "a text that is not empty");
  return {};
}
Result<const json::Value*> require_object(const json::Value& object, std::string_view member) {
  const json::Value* found = object.find(member);
  if (found == nullptr || !found->is_object()) return invalid(member, "an object");
  return found;
}
Result<void> require_time(const json::Value& object, std::string_view member, std::string_view path) {
  const std::string_view text = object.str(member);
  if (!text.ends_with('Z') || !Timestamp::parse(text)) return invalid(path, "an RFC 3339 time in UTC (…Z)");
  return {};
}
Result<void> require_texts(const json::Value& object, std::string_view member, bool may_be_empty) {
  const json::Value* list = object.find(member);
  if (list == nullptr || !list->is_array() || (list->as_array().empty() && !may_be_empty)) return invalid(member, may_be_empty ? "a list" : "a list with at least one text");
  const bool texts = std::all_of(list->as_array().begin(), list->as_array().end(), [](const json::Value& v) { return v.is_string() && !v.as_string().empty(); });
  if (!texts) return invalid(member, "texts that are not empty");
  return {};
}

json::Array texts(const std::vector<std::string>& list) {
  json::Array out;
  for (const auto& text : list) out.emplace_back(text);
  return out;
}

// uri and digest only: what the specifications of VSA and SVR name.
json::Value reference(const Resource& r) {
  json::Value out = json::Value::object({{"digest", json::Value::object({{"sha256", r.sha256.hex()}})}});
  if (!r.uri.empty()) out.set("uri", r.uri);
  return out;
}

}  // namespace

Result<std::string> make_vsa(std::span<const Subject> subjects, const VerificationSummary& s) {
  json::Value verifier = json::Value::object({{"id", s.verifier_id}});
  if (!s.verifier_versions.empty()) {
    json::Value versions = json::Value::object();
    for (const auto& [name, version] : s.verifier_versions) versions.set(name, version);
    verifier.set("version", std::move(versions));
  }
  if (s.policy.uri.empty()) return invalid("policy.uri", "a URI");
  if (std::any_of(s.levels.begin(), s.levels.end(), [](const std::string& l) { return l.starts_with("SLSA_"); })) return invalid("verifiedLevels", "a level of our own, which does not begin with SLSA_");
  json::Array inputs;
  for (const auto& input : s.inputs) inputs.push_back(reference(input));
  json::Value predicate = json::Value::object({{"verifier", std::move(verifier)}, {"timeVerified", s.time_verified.rfc3339_seconds()}, {"resourceUri", s.resource_uri},
                                               {"policy", reference(s.policy)}, {"verificationResult", s.passed ? "PASSED" : "FAILED"}, {"verifiedLevels", texts(s.levels)}, {"slsaVersion", "1.0"}});
  if (!inputs.empty()) predicate.set("inputAttestations", std::move(inputs));
  STELLA_TRY_VOID(check_vsa(predicate));
  return make_statement(subjects, kVsaPredicate, std::move(predicate));
}

Result<void> check_vsa(const json::Value& p) {
  const json::Value* verifier = STELLA_TRY(require_object(p, "verifier"));
  STELLA_TRY_VOID(require_text(*verifier, "id", "verifier.id"));
  STELLA_TRY_VOID(require_text(p, "resourceUri", "resourceUri"));
  const json::Value* policy = STELLA_TRY(require_object(p, "policy"));
  STELLA_TRY_VOID(check_resource_descriptor(*policy));
  if (p.str("verificationResult") != "PASSED" && p.str("verificationResult") != "FAILED") return invalid("verificationResult", "PASSED or FAILED");
  STELLA_TRY_VOID(require_texts(p, "verifiedLevels", false));
  if (p.find("timeVerified") != nullptr) STELLA_TRY_VOID(require_time(p, "timeVerified", "timeVerified"));
  for (const auto& d : p.items("inputAttestations")) STELLA_TRY_VOID(check_resource_descriptor(d));
  return {};
}

Result<std::string> make_svr(std::span<const Subject> subjects, const VerificationResult& r) {
  json::Array policies;
  for (const auto& policy : r.policies) policies.push_back(reference(policy));
  json::Value predicate = json::Value::object({{"verifier", json::Value::object({{"id", r.verifier_id}, {"policies", std::move(policies)}})},
                                               {"timeCreated", r.time_created.rfc3339_seconds()}, {"properties", texts(r.properties)}});
  STELLA_TRY_VOID(check_svr(predicate));
  return make_statement(subjects, kSvrPredicate, std::move(predicate));
}

Result<void> check_svr(const json::Value& p) {
  const json::Value* verifier = STELLA_TRY(require_object(p, "verifier"));
  STELLA_TRY_VOID(require_text(*verifier, "id", "verifier.id"));
  for (const auto& d : verifier->items("policies")) STELLA_TRY_VOID(check_resource_descriptor(d));
  STELLA_TRY_VOID(require_time(p, "timeCreated", "timeCreated"));
  return require_texts(p, "properties", false);
}

Result<std::string> make_vulns(std::span<const Subject> subjects, const VulnerabilityScan& s) {
  json::Array result;
  for (const auto& v : s.result) {
    json::Array severities;
    for (const auto& [method, score] : v.severities) severities.push_back(json::Value::object({{"method", method}, {"score", score}}));
    json::Value entry = json::Value::object({{"id", v.id}, {"severity", std::move(severities)}});
    if (!v.annotations.is_null()) entry.set("annotations", json::Array{v.annotations});
    result.push_back(std::move(entry));
  }
  json::Value db = json::Value::object({{"lastUpdate", s.db_last_update.rfc3339_seconds()}});
  if (!s.db_uri.empty()) db.set("uri", s.db_uri);
  if (!s.db_version.empty()) db.set("version", s.db_version);
  json::Value scanner = json::Value::object({{"uri", s.scanner_uri}, {"db", std::move(db)}, {"result", std::move(result)}});
  if (!s.scanner_version.empty()) scanner.set("version", s.scanner_version);
  json::Value predicate = json::Value::object({{"scanner", std::move(scanner)}, {"metadata", json::Value::object({{"scanStartedOn", s.started.rfc3339_seconds()}, {"scanFinishedOn", s.finished.rfc3339_seconds()}})}});
  STELLA_TRY_VOID(check_vulns(predicate));
  return make_statement(subjects, kVulnsPredicate, std::move(predicate));
}

Result<void> check_vulns(const json::Value& p) {
  const json::Value* scanner = STELLA_TRY(require_object(p, "scanner"));
  STELLA_TRY_VOID(require_text(*scanner, "uri", "scanner.uri"));
  const json::Value* db = STELLA_TRY(require_object(*scanner, "db"));
  STELLA_TRY_VOID(require_time(*db, "lastUpdate", "scanner.db.lastUpdate"));
  const json::Value* result = scanner->find("result");
  if (result == nullptr || !result->is_array()) return invalid("scanner.result", "a list");
  for (const auto& v : result->as_array()) {
    STELLA_TRY_VOID(require_text(v, "id", "scanner.result.id"));
    const json::Value* severity = v.find("severity");
    if (severity == nullptr || !severity->is_array()) return invalid("scanner.result.severity", "a list");
    for (const auto& s : severity->as_array()) STELLA_TRY_VOID(require_text(s, "method", "scanner.result.severity.method"));
  }
  const json::Value* metadata = STELLA_TRY(require_object(p, "metadata"));
  STELLA_TRY_VOID(require_time(*metadata, "scanStartedOn", "metadata.scanStartedOn"));
  return require_time(*metadata, "scanFinishedOn", "metadata.scanFinishedOn");
}

Result<void> check_predicate(std::string_view type, const json::Value& predicate) {
  if (type == kProvenancePredicate) return check_provenance(predicate);
  if (type == kVsaPredicate) return check_vsa(predicate);
  if (type == kSvrPredicate) return check_svr(predicate);
  if (type == kVulnsPredicate) return check_vulns(predicate);
  return {};
}

}  // namespace stella::evidence
