// Evidence bundles. Whatever is returned was verified just before.
#include "evidence_trust.h"
#include "handlers.h"
#include "page.h"
#include "stella/base/limits.h"
#include "stella/base/unnamed_file.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/locker/locker.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::web::handlers {
namespace {

constexpr std::string_view kSnapshotJson =
    "json_build_object('bundle_id', bundle_id, 'case_id', case_id, 'kind', kind, 'resource_id', resource_id, 'request_no', request_no, 'state', state, 'job_id', job_id, "
    "'sha256', " STELLA_SQL_HEX("bundle_sha256") ", 'size', bundle_size, 'error', error, 'requested_by', requested_by, 'requested_at', " STELLA_SQL_TIME("requested_at") ", "
    "'sealed_at', " STELLA_SQL_TIME("sealed_at") ", 'trace_id', trace_id, 'derived_from', derived_from, 'redaction', CASE WHEN derived_from IS NOT NULL THEN json_build_object('withhold', request::json->'withhold', 'reason', request::json->'reason') END)";

// A stored bundle that cannot be read any more is not the caller's malformed input: it was sealed once, so somebody changed it.
template <class T>
Result<T> stored(Result<T> result) {
  if (result || result.error().code() != base_errors::kMalformed) return result;
  return Error(contracts::errors::kIntegrity, "the stored bundle cannot be read any more: it was changed in the store").with("part", "objects");
}

}  // namespace

void read_whole_bundle(Context& ctx) { ctx.request.patience.ask(std::chrono::hours(1)); }

Result<evidence::Trust> trust_of(Context& ctx) {
  evidence::Trust out;
  for (const auto& key : STELLA_TRY(ctx.services.provisioner.list_keys())) {
    // Checkpoints of before a rotation were signed by a log key of before.
    if (key.purpose == "log" && key.state != "compromised") out.log_signers.push_back(STELLA_TRY(crypto::Ed25519PublicKey::from_pem(key.public_pem)));
    if (key.purpose == "evidence") (key.state == "compromised" ? out.former : out.keys).push_back(STELLA_TRY(crypto::PublicKey::from_pem(key.public_pem)));
  }
  out.history = STELLA_TRY(ctx.services.provisioner.key_history());
  out.time = ctx.services.time_trust;
  out.time_threshold = ctx.services.time_threshold;
  return out;
}

Result<http::Response> create_snapshot(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"kind"}, {"resource_id"}, {"case_id"}, {"again", Member::kBool}, {"embed_evaluation", Member::kBool}}));
  evidence::SnapshotRequest request;
  request.kind = STELLA_TRY(body.require_string("kind"));
  request.resource_id = STELLA_TRY(body.require_string("resource_id"));
  const std::string case_text = STELLA_TRY(body.require_string("case_id"));
  auto case_id = CaseId::parse(case_text);
  if (!case_id) return Error(base_errors::kInvalid, "not a case id").with("field", "case_id").with("expected", std::string(CaseIdTag::kPattern));
  request.case_id = *case_id;
  request.again = body.boolean("again");
  request.embed_evaluation = body.boolean("embed_evaluation");
  if (request.embed_evaluation) read_whole_bundle(ctx);
  request.trace = ctx.trace;
  request.traceparent = ctx.traceparent;
  request.temp_dir = ctx.services.temp_dir;
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
  // A bundle that is not sealed yet is described by its row, which waits for nobody who reads a whole one.
  const auto rows = STELLA_TRY(ctx.read(std::string("SELECT (").append(kSnapshotJson).append(")::text, state FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2"), {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such bundle");
  if (rows.text(0, 1) != "sealed") return http::Response::json(200, std::string(rows.text(0, 0)));
  if (!ctx.may_take_long()) return http::Response{};
  const evidence::Trust trust = STELLA_TRY(trust_of(ctx));
  read_whole_bundle(ctx);
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const json::Value body = STELLA_TRY(stored(evidence::read_bundle(*tx, ctx.services.store, trust, id, ctx.trace)));
  return ctx.commit(http::Response::json(200, json::dump(body)));
}

Result<http::Response> export_evidence(Context& ctx) {
  const BundleId id = STELLA_TRY(ctx.id_param<BundleId>("bundle_id"));
  const json::Value body = STELLA_TRY(ctx.json_body({{"recipient"}}));
  const std::string recipient = STELLA_TRY(body.require_string("recipient"));
  read_whole_bundle(ctx);
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
  response.header("X-Time-Renewals", std::to_string(bundle.renewals));
  return response;
}

Result<http::Response> redact_evidence(Context& ctx) {
  evidence::RedactionRequest request;
  request.bundle = STELLA_TRY(ctx.id_param<BundleId>("bundle_id"));
  const json::Value body = STELLA_TRY(ctx.json_body({{"withhold", Member::kStrings}, {"reason"}}));
  for (const json::Value& path : body.items("withhold")) request.withhold.emplace_back(path.as_string());
  request.reason = body.str("reason");
  request.trace = ctx.trace;
  request.traceparent = ctx.traceparent;
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const evidence::Snapshot copy = STELLA_TRY(evidence::request_redaction(*tx, request));
  return commit_and_await(ctx, Awaited{kSnapshotJson, "evidence_snapshots", "bundle_id", "state IN ('sealed', 'failed')", "built", copy.existed}, copy.bundle_id.str());
}

Result<http::Response> verify_evidence(Context& ctx) {
  read_whole_bundle(ctx);
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
    file = STELLA_TRY(unnamed_file(ctx.services.temp_dir));
    STELLA_TRY_VOID(write_all(file.get(), ctx.request.body));
  }
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const json::Value verdict = STELLA_TRY(evidence::verify_upload(*tx, ctx.services.store, file.get(), trust, ctx.trace));
  return ctx.commit(http::Response::json(200, json::dump(verdict)));
}

}  // namespace stella::web::handlers
