// Building and reading the seal.
#include "stella/evidence/format/seal.h"

#include <algorithm>

#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/statement.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kTreeAlgorithm = "rfc6962-sha256";
constexpr std::size_t kSealBytes = 1u << 20;

void set_text(json::Value& object, std::string name, const std::string& text) {
  if (!text.empty()) object.set(std::move(name), text);
}

json::Value producer_of(const SealFacts& f) {
  json::Value out = json::Value::object({{"product", "stellaops"}});
  set_text(out, "version", f.product_version);
  set_text(out, "engine_config_sha256", f.engine_config_sha256);
  set_text(out, "runner_sha256", f.runner_sha256);
  return out;
}

json::Value parents_of(const SealFacts& f) {
  json::Array out;
  for (const auto& p : f.parents) out.push_back(json::Value::object({{"bundle_id", p.bundle_id.str()}, {"root", p.root.hex()}}));
  return out;
}

json::Value attestations_of(const std::vector<SealFacts::Attested>& attestations) {
  json::Array out;
  for (const auto& a : attestations) out.push_back(json::Value::object({{"path", a.path}, {"payload_sha256", a.payload_sha256.hex()}}));
  return json::Value(std::move(out));
}

json::Value custody_of(const SealedCustody& custody) {
  json::Value out = json::Value::object({{"tenant", custody.tenant.json()}});
  if (custody.knowledge_base.count > 0) out.set("knowledge_base", custody.knowledge_base.json());
  return out;
}

}  // namespace

Result<std::vector<SealFacts::Attested>> attested_in(const std::vector<std::pair<std::string, std::string>>& files) {
  std::vector<SealFacts::Attested> out;
  for (const auto& [path, bytes] : files) {
    if (!path.starts_with("attest/")) continue;
    const auto envelope = STELLA_TRY(parse_attestation(bytes));
    out.push_back({path, crypto::sha256(envelope.payload)});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return out;
}

Sha256 role_digest(const std::vector<Item>& items, std::string_view role) {
  std::string text;
  for (const auto& item : items)
    if (item.role == role) text.append(item.sha256.hex()).append("  ").append(item.path).append("\n");
  return crypto::sha256(text);
}

Result<std::string> make_seal(const SealFacts& f, const TreeHead& head, const std::vector<Item>& items) {
  if (f.bundle_id.is_nil() || f.tenant_id.empty() || f.case_id.empty() || f.resource_id.empty())
    return Error(base_errors::kInvalid, "a seal needs bundle, tenant, case and resource");
  if (f.kind != "eval" && f.kind != "job" && f.kind != "export")
    return Error(base_errors::kInvalid, "not a kind of bundle").with("field", "kind").with("expected", "eval, job or export");
  json::Value predicate = json::Value::object({{"bundle_id", f.bundle_id.str()},
                                               {"tenant_id", f.tenant_id.str()},
                                               {"case_id", f.case_id.str()},
                                               {"kind", f.kind},
                                               {"resource_id", f.resource_id},
                                               {"sealed_at", f.sealed_at.rfc3339_seconds()},
                                               {"request_sha256", f.request_sha256.hex()},
                                               {"producer", producer_of(f)},
                                               {"parents", parents_of(f)}});
  set_text(predicate, "project_id", f.project_id);
  set_text(predicate, "trace_id", f.trace_id);
  predicate.set("tree", json::Value::object({{"algorithm", kTreeAlgorithm}, {"root", head.root.hex()}, {"size", head.size}}));
  json::Value replay = json::Value::object(
      {{"inputs_sha256", role_digest(items, "input").hex()}, {"outputs_sha256", role_digest(items, "output").hex()}});
  set_text(replay, "engine_version", f.engine_version);
  predicate.set("replay", std::move(replay));
  json::Value worm = json::Value::object({{"level", f.worm_level}});
  set_text(worm, "probe_sha256", f.worm_probe_sha256);
  predicate.set("worm", std::move(worm));
  if (f.retain_until.micros() != 0) predicate.set("retention", json::Value::object({{"retain_until", f.retain_until.rfc3339_seconds()}}));
  if (!f.log_origin.empty()) {
    json::Value log = json::Value::object({{"origin", f.log_origin}});
    if (f.log_size) log.set("size", *f.log_size);
    set_text(log, "platform", f.platform_origin);
    predicate.set("log", std::move(log));
  }
  if (f.key_events > 0) predicate.set("keys", json::Value::object({{"events", f.key_events}, {"history_sha256", f.key_history_sha256}}));
  if (f.attestations) predicate.set("attestations", attestations_of(*f.attestations));
  if (f.custody) predicate.set("custody", custody_of(*f.custody));
  const Subject subject{.name = "evidence/root.merkle", .sha256 = crypto::sha256(root_text(head.size, head.root))};
  return make_statement(std::span(&subject, 1), kSealPredicate, std::move(predicate));
}

namespace {

Error not_a_seal(std::string field) {
  return Error(base_errors::kMalformed, "not an evidence seal").with("field", std::move(field)).with("expected", std::string(kSealPredicate));
}

Result<Sha256> hash_member(const json::Value& object, Literal name) {
  const auto hash = Sha256::parse(object.str(name.view()));
  if (!hash) return not_a_seal(std::string(name.view()));
  return *hash;
}

// `out` from the member where it is there; an unreadable time is an error.
Result<void> read_time(const json::Value& object, Literal name, Timestamp& out) {
  if (object.find(name.view()) == nullptr) return {};
  const auto at = Timestamp::parse(object.str(name.view()));
  if (!at) return not_a_seal(std::string(name.view()));
  out = *at;
  return {};
}

Result<SealFacts> read_facts(const json::Value& p) {
  SealFacts f;
  f.bundle_id = STELLA_TRY(BundleId::parse(p.str("bundle_id")));
  f.tenant_id = STELLA_TRY(TenantId::parse(p.str("tenant_id")));
  f.case_id = STELLA_TRY(CaseId::parse(p.str("case_id")));
  f.kind = p.str("kind");
  f.resource_id = p.str("resource_id");
  f.project_id = p.str("project_id");
  f.trace_id = p.str("trace_id");
  f.request_sha256 = STELLA_TRY(hash_member(p, "request_sha256"));
  STELLA_TRY_VOID(read_time(p, "sealed_at", f.sealed_at));
  const json::Value none;
  const auto member = [&](std::string_view name) -> const json::Value& { return p.find(name) != nullptr ? *p.find(name) : none; };
  f.product_version = member("producer").str("version");
  f.engine_config_sha256 = member("producer").str("engine_config_sha256");
  f.runner_sha256 = member("producer").str("runner_sha256");
  f.engine_version = member("replay").str("engine_version");
  f.worm_level = member("worm").str("level");
  f.worm_probe_sha256 = member("worm").str("probe_sha256");
  STELLA_TRY_VOID(read_time(member("retention"), "retain_until", f.retain_until));
  f.log_origin = member("log").str("origin");
  f.platform_origin = member("log").str("platform");
  if (member("log").find("size") != nullptr) {
    const std::int64_t size = member("log").integer("size", -1);
    if (size < 0) return not_a_seal("log.size");
    f.log_size = static_cast<std::uint64_t>(size);
  }
  if (p.find("keys") != nullptr) {
    const std::int64_t events = member("keys").integer("events", -1);
    if (events < 1) return not_a_seal("keys.events");
    f.key_events = static_cast<std::uint64_t>(events);
    f.key_history_sha256 = STELLA_TRY(hash_member(member("keys"), "history_sha256")).hex();
  }
  if (const json::Value* attestations = p.find("attestations"); attestations != nullptr) {
    if (!attestations->is_array()) return not_a_seal("attestations");
    f.attestations.emplace();
    for (const auto& attested : attestations->as_array()) {
      SealFacts::Attested one;
      one.path = attested.str("path");
      if (!one.path.starts_with("attest/")) return not_a_seal("attestations.path");
      one.payload_sha256 = STELLA_TRY(hash_member(attested, "payload_sha256"));
      f.attestations->push_back(std::move(one));
    }
  }
  if (const json::Value* custody = p.find("custody"); custody != nullptr) {
    f.custody.emplace();
    const json::Value *tenant = custody->find("tenant"), *knowledge_base = custody->find("knowledge_base");
    if (tenant == nullptr) return not_a_seal("custody.tenant");
    f.custody->tenant = STELLA_TRY(parse_sealed_events(*tenant));
    if (knowledge_base != nullptr) f.custody->knowledge_base = STELLA_TRY(parse_sealed_events(*knowledge_base));
  }
  for (const auto& parent : p.items("parents")) {
    SealFacts::Parent one;
    one.bundle_id = STELLA_TRY(BundleId::parse(parent.str("bundle_id")));
    one.root = STELLA_TRY(hash_member(parent, "root"));
    f.parents.push_back(one);
  }
  return f;
}

}  // namespace

Result<Seal> parse_seal(std::string_view bytes) {
  const Statement statement = STELLA_TRY(parse_statement(bytes, kSealBytes));
  if (statement.predicate_type != kSealPredicate) return not_a_seal("predicateType");
  if (statement.subjects.size() != 1 || statement.subjects[0].name != "evidence/root.merkle" || statement.subjects[0].sha256 == Sha256())
    return not_a_seal("subject");
  Seal seal;
  seal.subject = statement.subjects[0].sha256;
  seal.facts = STELLA_TRY(read_facts(statement.predicate));
  const json::Value* tree = statement.predicate.find("tree");
  if (tree == nullptr || tree->str("algorithm") != kTreeAlgorithm || tree->integer("size", -1) < 0) return not_a_seal("tree");
  seal.head.size = static_cast<std::uint64_t>(tree->integer("size"));
  seal.head.root = STELLA_TRY(hash_member(*tree, "root"));
  const json::Value* replay = statement.predicate.find("replay");
  if (replay == nullptr) return not_a_seal("replay");
  seal.replay_inputs = STELLA_TRY(hash_member(*replay, "inputs_sha256"));
  seal.replay_outputs = STELLA_TRY(hash_member(*replay, "outputs_sha256"));
  return seal;
}

}  // namespace stella::evidence
