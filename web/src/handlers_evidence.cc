// Evidence bundles and attestations. Whatever is returned was verified just before.
#include <fcntl.h>

#include "handlers.h"
#include "page.h"
#include "stella/base/limits.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/evidence/format/statement.h"
#include "stella/evidence/locker/locker.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::web::handlers {
namespace {

constexpr std::string_view kSnapshotJson =
    "json_build_object('bundle_id', bundle_id, 'case_id', case_id, 'kind', kind, 'resource_id', resource_id, 'request_no', request_no, 'state', state, 'job_id', job_id, "
    "'sha256', " STELLA_SQL_HEX("bundle_sha256") ", 'size', bundle_size, 'error', error, 'requested_by', requested_by, 'requested_at', " STELLA_SQL_TIME("requested_at") ", "
    "'sealed_at', " STELLA_SQL_TIME("sealed_at") ", 'trace_id', trace_id)";
constexpr std::uint64_t kStatementBytes = 32u << 20;

// The evidence keys that this deployment introduced and did not withdraw.
Result<evidence::Trust> trust_of(Context& ctx) {
  evidence::Trust out;
  for (const auto& key : STELLA_TRY(ctx.services.provisioner.list_keys()))
    if (key.purpose == "evidence" && key.state != "compromised") out.keys.push_back(STELLA_TRY(crypto::PublicKey::from_pem(key.public_pem)));
  return out;
}

// A stored bundle that cannot be read any more is not the caller's malformed input: it was sealed once, so somebody changed it.
template <class T>
Result<T> stored(Result<T> result) {
  if (result || result.error().code() != base_errors::kMalformed) return result;
  return Error(contracts::errors::kIntegrity, "the stored bundle cannot be read any more: it was changed in the store").with("part", "objects");
}

}  // namespace

Result<http::Response> create_snapshot(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"kind"}, {"resource_id"}, {"case_id"}, {"again", Member::kBool}}));
  evidence::SnapshotRequest request;
  request.kind = STELLA_TRY(body.require_string("kind"));
  request.resource_id = STELLA_TRY(body.require_string("resource_id"));
  const std::string case_text = STELLA_TRY(body.require_string("case_id"));
  auto case_id = CaseId::parse(case_text);
  if (!case_id) return Error(base_errors::kInvalid, "not a case id").with("field", "case_id").with("expected", std::string(CaseIdTag::kPattern));
  request.case_id = *case_id;
  request.again = body.boolean("again");
  request.trace = ctx.trace;
  request.traceparent = ctx.traceparent;
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const evidence::Snapshot snapshot = STELLA_TRY(evidence::request_snapshot(*tx, ctx.services.store, request));
  return commit_and_await(ctx, Awaited{kSnapshotJson, "evidence_snapshots", "bundle_id", "state IN ('sealed', 'failed')", "building", snapshot.existed}, snapshot.bundle_id.str());
}

Result<http::Response> list_evidence(Context& ctx) {
  ListQuery q;
  q.select = kSnapshotJson;
  q.from = "FROM evidence_snapshots";
  q.time = "requested_at";
  q.id = "bundle_id";
  for (const auto& [query, column] : {std::pair<std::string_view, std::string_view>{"case", "case_id"}, {"kind", "kind"}, {"resource_id", "resource_id"}})
    if (std::string value = ctx.request.query_param(query); !value.empty()) {
      q.params.emplace_back(std::move(value));
      q.where.append(" AND ").append(column).append(" = $").append(std::to_string(q.params.size() + 1));
    }
  return list_page(ctx, q);
}

Result<http::Response> get_evidence(Context& ctx) {
  const BundleId id = STELLA_TRY(ctx.id_param<BundleId>("bundle_id"));
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  // A bundle that is not sealed yet is described by its row.
  const auto rows = STELLA_TRY(ctx.read(std::string("SELECT (").append(kSnapshotJson).append(")::text, state FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2"), {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such bundle");
  if (rows.text(0, 1) != "sealed") return http::Response::json(200, std::string(rows.text(0, 0)));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const json::Value body = STELLA_TRY(stored(evidence::read_bundle(*tx, ctx.services.store, trust, id, ctx.trace)));
  return ctx.commit(http::Response::json(200, json::dump(body)));
}

Result<http::Response> export_evidence(Context& ctx) {
  const BundleId id = STELLA_TRY(ctx.id_param<BundleId>("bundle_id"));
  const json::Value body = STELLA_TRY(ctx.json_body({{"recipient"}}));
  const std::string recipient = STELLA_TRY(body.require_string("recipient"));
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  evidence::ExportedBundle bundle = STELLA_TRY(stored(evidence::export_bundle(*tx, ctx.services.store, trust, id, recipient, ctx.trace)));
  ctx.idempotency_key.clear();  // bytes are not kept for replays; every delivery is a custody step of its own
  // The custody step is durable before the first byte leaves.
  http::Response response = STELLA_TRY(ctx.commit(http::Response{}));
  response.content_type = "application/gzip";
  response.body_file = std::move(bundle.file);
  response.body_file_size = bundle.size;
  response.header("Content-Disposition", "attachment; filename=\"" + id.str() + ".tgz\"");
  response.header("ETag", "\"" + bundle.sha256.hex() + "\"");
  return response;
}

Result<http::Response> verify_evidence(Context& ctx) {
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  const bool reference = ctx.request.header("content-type").rfind("application/json", 0) == 0;
  if (reference) {
    const json::Value body = STELLA_TRY(ctx.json_body({{"bundle_id"}}));
    auto id = BundleId::parse(body.str("bundle_id"));
    if (!id) return Error(base_errors::kNotFound, "no such bundle");
    pg::TenantTx* tx = STELLA_TRY(ctx.tx());
    const json::Value verdict = STELLA_TRY(stored(evidence::verify_stored(*tx, ctx.services.store, trust, *id, ctx.trace)));
    return ctx.commit(http::Response::json(200, json::dump(verdict)));
  }
  Fd file = std::move(ctx.request.body_file);
  if (!file) {
    // Small uploads arrive in memory; the verifier reads files.
    file = Fd(::open(ctx.services.temp_dir.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
    if (!file) return io_error("cannot keep the upload while it is verified", ctx.services.temp_dir);
    STELLA_TRY_VOID(write_all(file.get(), ctx.request.body));
  }
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const json::Value verdict = STELLA_TRY(evidence::verify_upload(*tx, file.get(), trust, ctx.trace));
  return ctx.commit(http::Response::json(200, json::dump(verdict)));
}

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

Result<std::string> stored_statement(Context& ctx, const AttestationId& id) {
  const auto rows = STELLA_TRY(ctx.read("SELECT a.subject_id, f.statement_sha256 FROM attestations a JOIN attestation_facts f ON f.tenant_id = a.tenant_id AND f.attestation_id = a.id WHERE a.tenant_id = $1 AND a.id = $2", {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such attestation");
  const Sha256 statement = STELLA_TRY(rows.sha256(0, 1));
  return ctx.services.store.get(object_key::attestation(ctx.tenant(), rows.text(0, 0), statement), kStatementBytes);
}

// What verification of a statement says, for people and programs: signer, subject, and what was not checked. Never a bare "ok".
json::Value statement_verdict(const Result<evidence::VerifiedStatement>& verified) {
  json::Value out = json::Value::object({{"result", verified ? "pass" : "fail"}});
  if (!verified) {
    out.set("reason", verified.error().message());
    return out;
  }
  json::Array signers;
  for (const crypto::PublicKey& key : verified->signers) signers.push_back(key.id().str());
  out.set("signers", std::move(signers));
  out.set("predicate_type", verified->statement.predicate_type);
  out.set("not_checked", json::Value::array({"TIME: local clock only", "KEY-STATUS: no trusted time"}));
  return out;
}

}  // namespace

Result<http::Response> get_attestation(Context& ctx) {
  const AttestationId id = STELLA_TRY(ctx.id_param<AttestationId>("attestation_id"));
  const std::string text = STELLA_TRY(stored_statement(ctx, id));
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  evidence::StatementExpectation expected;
  expected.trust = trust.keys;
  const auto verified = evidence::verify_statement(text, expected);
  json::Value body = json::Value::object({{"attestation_id", id.str()}, {"bundle", STELLA_TRY(json::parse(text))}, {"verdict", statement_verdict(verified)}, {"trace_id", ctx.trace.hex()}});
  if (verified) body.set("statement", STELLA_TRY(json::parse(verified->bytes)));
  return http::Response::json(200, json::dump(body));
}

Result<http::Response> verify_attestation(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"subject_digest"}, {"attestation_id"}, {"statement", Member::kAny}}));
  const std::string digest_text = STELLA_TRY(body.require_string("subject_digest"));
  auto digest = Sha256::parse(digest_text);
  if (!digest) return Error(base_errors::kInvalid, "not a digest").with("field", "subject_digest").with("expected", "64 lower-case hex digits");
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  std::string text;
  std::string id_text(body.str("attestation_id"));
  if (!id_text.empty()) {
    auto id = AttestationId::parse(id_text);
    if (!id) return Error(base_errors::kNotFound, "no such attestation");
    text = STELLA_TRY(stored_statement(ctx, *id));
  } else if (const json::Value* statement = body.find("statement")) {
    text = statement->is_string() ? statement->as_string() : json::dump(*statement);
  } else {
    return Error(base_errors::kInvalid, "nothing to verify").with("field", "statement").with("expected", "a Sigstore bundle or DSSE envelope, or attestation_id");
  }
  evidence::StatementExpectation expected;
  expected.trust = trust.keys;
  expected.subject = &*digest;
  const auto verified = evidence::verify_statement(text, expected);
  const json::Value verdict = statement_verdict(verified);
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  timeline::Event event;
  event.kind = contracts::events::kAttestationVerified;
  event.actor = ctx.actor();
  event.resource_type = "attestation";
  event.resource_id = id_text.empty() ? "uploaded" : id_text;
  event.trace = ctx.trace;
  event.details = json::Value::object({{"subject_sha256", digest->hex()}, {"verdict", verdict.str("result")}});
  if (!id_text.empty()) event.details.set("attestation_id", id_text);
  if (verified && !verified->signers.empty()) event.details.set("signer_key_id", verified->signers.front().id().str());
  STELLA_TRY_VOID(timeline::emit(*tx, std::move(event)));
  json::Value reply = verdict;
  reply.set("subject_digest", digest->hex());
  reply.set("trace_id", ctx.trace.hex());
  return ctx.commit(http::Response::json(200, json::dump(reply)));
}

}  // namespace stella::web::handlers
