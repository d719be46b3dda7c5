// Attestations: listed, and verified whenever one is read. Nothing is believed because it is stored here.
#include <map>
#include <mutex>

#include "evidence_trust.h"
#include "handlers.h"
#include "page.h"
#include "stella/base/limits.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/predicates.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::web::handlers {

Result<http::Response> list_attestations(Context& ctx) {
  ListQuery q;
  q.select = "json_build_object('attestation_id', a.id, 'subject_id', a.subject_id, 'subject_digest', " STELLA_SQL_HEX("a.subject_digest") ", 'subject_name', a.subject_name, 'predicate_type', a.predicate_type, "
             "'statement_sha256', " STELLA_SQL_HEX("a.statement_sha256") ", 'signer_key_id', a.signer_key_id, 'job_id', a.job_id, 'created_at', " STELLA_SQL_TIME("a.created_at") ", 'trace_id', a.trace_id)";
  q.from = "FROM (SELECT x.tenant_id, x.id, x.subject_id, x.subject_digest, x.signer_key_id, x.created_at, f.subject_name, f.predicate_type, f.statement_sha256, f.job_id, f.trace_id FROM attestations x "
           "JOIN attestation_facts f ON f.tenant_id = x.tenant_id AND f.attestation_id = x.id) a";
  q.time = "created_at";
  q.id = "id";
  if (std::string subject = ctx.request.query_param("subject_id"); !subject.empty()) {
    q.params.emplace_back(std::move(subject));
    q.where.append(" AND subject_id = $").append(std::to_string(q.params.size() + 1));
  }
  if (const std::string digest = ctx.request.query_param("digest"); !digest.empty()) {
    auto parsed = Sha256::parse(digest);
    if (!parsed) return Error(base_errors::kInvalid, "not a digest").with("field", "digest").with("expected", "64 lower-case hex digits");
    q.params.emplace_back(*parsed);
    q.where.append(" AND subject_digest = $").append(std::to_string(q.params.size() + 1));
  }
  return list_page(ctx, q);
}

namespace {

constexpr std::uint64_t kStatementBytes = 32u << 20;
constexpr std::size_t kRemembered = 4096;

struct Stored {
  std::string text;
  Sha256 named;  // the digest that the row names; the store is not believed
  std::string created_at;
};

Result<Stored> stored_statement(Context& ctx, const AttestationId& id) {
  const auto rows = STELLA_TRY(ctx.read("SELECT a.subject_id, f.statement_sha256, " STELLA_SQL_TIME("a.created_at") " FROM attestations a JOIN attestation_facts f ON f.tenant_id = a.tenant_id AND f.attestation_id = a.id WHERE a.tenant_id = $1 AND a.id = $2", {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such attestation");
  Stored out;
  out.named = STELLA_TRY(rows.sha256(0, 1));
  out.created_at = std::string(rows.text(0, 2));
  out.text = STELLA_TRY(ctx.services.store.get(object_key::attestation(ctx.tenant(), rows.text(0, 0), out.named), kStatementBytes));
  return out;
}

// What a signature was found to say: who, of what type. Of documents that passed only, by the digest of their bytes and of the keys that were
// trusted then, so neither another byte nor another key meets an old answer.
struct Known {
  json::Array signers;
  std::string predicate_type;
};
class Verdicts {
 public:
  std::optional<Known> find(const Sha256& key) {
    const std::lock_guard lock(mutex_);
    const auto it = known_.find(key);
    return it == known_.end() ? std::nullopt : std::optional<Known>(it->second);
  }
  void keep(const Sha256& key, Known known) {
    const std::lock_guard lock(mutex_);
    if (known_.size() >= kRemembered) known_.clear();
    known_.insert_or_assign(key, std::move(known));
  }

 private:
  std::mutex mutex_;
  std::map<Sha256, Known> known_;
};
Verdicts& verdicts() {
  static Verdicts kept;
  return kept;
}

Sha256 verdict_key(const Sha256& document, const evidence::Trust& trust) {
  std::string text(document.view());
  for (const crypto::PublicKey& key : trust.keys) text += key.spki_der();
  return crypto::sha256(text);
}

enum class Form : std::uint8_t { kSigstore, kDsse, kBatch };
std::string_view to_string(Form form) { return form == Form::kSigstore ? "sigstore" : form == Form::kDsse ? "dsse" : "batch"; }

Form form_of(const json::Value& document) {
  const std::string_view type = document.str("mediaType");
  return type.empty() ? Form::kDsse : evidence::is_batch_member(type) ? Form::kBatch : Form::kSigstore;
}

// The statement inside a document that passed before: read, not verified again.
Result<std::string> statement_bytes(const std::string& text, Form form) {
  if (form == Form::kBatch) return STELLA_TRY(evidence::parse_batch_member(text)).statement;
  return STELLA_TRY(evidence::parse_attestation(text)).payload;
}

// What verification says, for people and programs: signer, when it was looked at, and what was not checked. Never a bare "ok".
json::Value passed(const Known& known) {
  return json::Value::object({{"result", "pass"}, {"signers", known.signers}, {"predicate_type", known.predicate_type}, {"verified_at", Timestamp::now().rfc3339()},
                              {"not_checked", json::Value::array({"TIME: local clock only", "KEY-STATUS: no trusted time"})}});
}
json::Value failed(const Error& why) { return json::Value::object({{"result", "fail"}, {"reason", why.message()}, {"verified_at", Timestamp::now().rfc3339()}}); }

Error changed_in_store() { return Error(contracts::errors::kIntegrity, "the stored document was changed: its digest is not the one that was recorded"); }

struct Examined {
  json::Value verdict;
  std::optional<std::string> statement;  // the verified bytes; absent where it failed
};

// Signature and form, the rules of the predicate's type, and the digest under which it is stored.
Result<Known> verify(const std::string& text, const evidence::StatementExpectation& expected, std::string& statement) {
  auto verified = STELLA_TRY(evidence::verify_statement(text, expected));
  STELLA_TRY_VOID(evidence::check_predicate(verified.statement.predicate_type, verified.statement.predicate));
  Known out;
  for (const crypto::PublicKey& key : verified.signers) out.signers.push_back(key.id().str());
  out.predicate_type = verified.statement.predicate_type;
  statement = std::move(verified.bytes);
  return out;
}

Result<Examined> examine_stored(const Stored& stored, Form form, const evidence::Trust& trust) {
  const Sha256 digest = crypto::sha256(stored.text);
  if (digest != stored.named) return Examined{failed(changed_in_store()), std::nullopt};
  const Sha256 key = verdict_key(digest, trust);
  if (const auto known = verdicts().find(key)) return Examined{passed(*known), STELLA_TRY(statement_bytes(stored.text, form))};
  evidence::StatementExpectation expected;
  expected.trust = trust.keys;
  std::string statement;
  auto known = verify(stored.text, expected, statement);
  if (!known) return Examined{failed(known.error()), std::nullopt};
  Examined out{passed(*known), std::move(statement)};
  verdicts().keep(key, std::move(*known));
  return out;
}

// For tools that know only Sigstore bundles, or only DSSE: the control plane signs the verified statement again, now.
Result<json::Value> signed_on_demand(Context& ctx, const Examined& examined, Form form) {
  if (!examined.statement) return Error(contracts::errors::kIntegrity, "the stored statement does not verify, so it is not signed again").with("reason", std::string(examined.verdict.str("reason")));
  const auto signer = ctx.services.evidence_signer.load();
  if (!signer) return Error(contracts::errors::kUnavailable, "this server does not hold the evidence key: ask one with the role locker").with("part", "evidence key");
  if (form == Form::kDsse) return json::parse(STELLA_TRY(crypto::dsse_sign(evidence::kInTotoPayloadType, *examined.statement, *signer)).json());
  return json::parse(STELLA_TRY(evidence::sign_statement(*signer, *examined.statement)));
}

// What is asked for; nothing: as it is stored.
Result<std::optional<Form>> wanted_form(Context& ctx) {
  const std::string wanted = ctx.request.query_param("form");
  if (wanted.empty() || wanted == "stored") return std::optional<Form>();
  if (wanted == "sigstore") return std::optional(Form::kSigstore);
  if (wanted == "dsse") return std::optional(Form::kDsse);
  return Error(base_errors::kInvalid, "no such form of an attestation").with("field", "form").with("expected", "stored, sigstore, dsse");
}

}  // namespace

Result<http::Response> get_attestation(Context& ctx) {
  const AttestationId id = STELLA_TRY(ctx.id_param<AttestationId>("attestation_id"));
  const std::optional<Form> wanted = STELLA_TRY(wanted_form(ctx));
  const Stored stored = STELLA_TRY(stored_statement(ctx, id));
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  auto document = json::parse(stored.text);
  // It was JSON once: somebody changed it.
  if (!document) return Error(contracts::errors::kIntegrity, "the stored document cannot be read any more: it was changed in the store").with("part", "objects");
  const Form form = form_of(*document);
  const Examined examined = STELLA_TRY(examine_stored(stored, form, trust));
  // A Sigstore bundle holds the envelope that it signs with: that one is older, and so worth more, than any made now.
  const json::Value* inside = form == Form::kSigstore ? document->find("dsseEnvelope") : nullptr;
  const bool again = wanted && *wanted != form && (*wanted != Form::kDsse || inside == nullptr);
  if (again) document = STELLA_TRY(signed_on_demand(ctx, examined, *wanted));
  else if (wanted && *wanted != form) document = json::Value(*inside);
  json::Value body = json::Value::object({{"attestation_id", id.str()}, {"form", to_string(wanted.value_or(form))}, {"signed", again ? "on_demand" : "stored"}, {"created_at", stored.created_at},
                                          {"bundle", std::move(*document)}, {"verdict", examined.verdict}, {"trace_id", ctx.trace.hex()}});
  if (examined.statement) body.set("statement", STELLA_TRY(json::parse(*examined.statement)));
  return http::Response::json(200, json::dump(body));
}

Result<http::Response> verify_attestation(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"subject_digest"}, {"attestation_id"}, {"statement", Member::kAny}}));
  const std::string digest_text = STELLA_TRY(body.require_string("subject_digest"));
  auto digest = Sha256::parse(digest_text);
  if (!digest) return Error(base_errors::kInvalid, "not a digest").with("field", "subject_digest").with("expected", "64 lower-case hex digits");
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  std::string text;
  std::optional<Sha256> recorded;  // the digest under which a stored document was recorded
  std::string id_text(body.str("attestation_id"));
  if (!id_text.empty()) {
    auto id = AttestationId::parse(id_text);
    if (!id) return Error(base_errors::kNotFound, "no such attestation");
    Stored stored = STELLA_TRY(stored_statement(ctx, *id));
    text = std::move(stored.text);
    recorded = stored.named;
  } else if (const json::Value* statement = body.find("statement")) {
    text = statement->is_string() ? statement->as_string() : json::dump(*statement);
  } else {
    return Error(base_errors::kInvalid, "nothing to verify").with("field", "statement").with("expected", "a Sigstore bundle, a DSSE envelope or a document of a signed batch, or attestation_id");
  }
  evidence::StatementExpectation expected;
  expected.trust = trust.keys;
  expected.subject = &*digest;
  std::string ignored;
  const Sha256 digest_of_text = crypto::sha256(text);
  // Another signed statement in the place of the one that was asked about is none of it, however good its signature.
  const auto known = recorded && *recorded != digest_of_text ? Result<Known>(changed_in_store()) : verify(text, expected, ignored);
  json::Value reply = known ? passed(*known) : failed(known.error());
  const std::string document = digest_of_text.hex();
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  timeline::Event event;
  event.kind = contracts::events::kAttestationVerified;
  event.actor = ctx.actor();
  event.resource_type = "attestation";
  event.resource_id = id_text.empty() ? "uploaded" : id_text;
  event.trace = ctx.trace;
  event.details = json::Value::object({{"subject_sha256", digest->hex()}, {"verdict", reply.str("result")}, {"statement_sha256", document}, {"inputs", json::Value::array({json::Value::object({{"name", "statement"}, {"sha256", document}})})}});
  if (!id_text.empty()) event.details.set("attestation_id", id_text);
  if (known && !known->signers.empty()) event.details.set("signer_key_id", known->signers.front());
  STELLA_TRY_VOID(timeline::emit(*tx, std::move(event)));
  reply.set("subject_digest", digest->hex());
  reply.set("trace_id", ctx.trace.hex());
  return ctx.commit(http::Response::json(200, json::dump(reply)));
}

}  // namespace stella::web::handlers
