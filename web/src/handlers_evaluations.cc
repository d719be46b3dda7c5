// Evaluations, findings, exports, jobs.
#include <sys/stat.h>

#include "handlers.h"
#include "page.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/services/export.h"
#include "stella/services/comparison.h"
#include "stella/services/ledger.h"
#include "stella/tenancy/paths.h"

namespace stella::web::handlers {
namespace {

constexpr std::string_view kEvaluationJson =
    "json_build_object('evaluation_id', evaluation_id, 'project_id', project_id, 'sbom_id', sbom_id, 'state', state, 'policy_version', policy_version, 'as_of', " STELLA_SQL_TIME("as_of") ", "
    "'decision_id', decision_id, 'decision_effect', decision_effect, 'decision_reason', decision_reason, 'counts', counts, "
    "'digests', json_build_object('sbom', " STELLA_SQL_HEX("sbom_sha256") ", 'components', " STELLA_SQL_HEX("components_sha256") ", 'policy', " STELLA_SQL_HEX("policy_sha256") ", "
    "'advisory_set', " STELLA_SQL_HEX("advisory_set_sha256") ", 'vex_set', " STELLA_SQL_HEX("vex_set_sha256") ", 'exposures', " STELLA_SQL_HEX("exposures_sha256") ", 'vex', " STELLA_SQL_HEX("vex_sha256") ", "
    "'decision', " STELLA_SQL_HEX("decision_sha256") ", 'findings', " STELLA_SQL_HEX("findings_sha256") ", 'trace', " STELLA_SQL_HEX("trace_sha256") "), "
    "'jobs', json_build_object('link', link_job, 'reconcile', reconcile_job, 'evaluate', evaluate_job), 'error', error, 'requested_by', requested_by, "
    "'requested_at', " STELLA_SQL_TIME("requested_at") ", 'finished_at', " STELLA_SQL_TIME("finished_at") ", 'trace_id', trace_id)";

constexpr std::string_view kExportJson =
    "json_build_object('export_id', export_id, 'evaluation_id', evaluation_id, 'format', format, 'state', state, 'job_id', job_id, "
    "'files', CASE WHEN state = 'created' THEN json_build_array(json_build_object('name', 'exposure-report.json', 'sha256', " STELLA_SQL_HEX("report_sha256") "), "
    "json_build_object('name', 'manifest.json', 'sha256', " STELLA_SQL_HEX("manifest_sha256") ")) ELSE '[]'::json END, 'attestation_id', attestation_id, 'error', error, "
    "'requested_by', requested_by, 'requested_at', " STELLA_SQL_TIME("requested_at") ", 'finished_at', " STELLA_SQL_TIME("finished_at") ", 'trace_id', trace_id)";

constexpr std::string_view kJobJson =
    "json_build_object('job_id', job_id, 'kind', kind, 'state', state, 'attempt', attempt, 'max_attempts', max_attempts, 'resource_type', resource_type, 'resource_id', resource_id, "
    "'engine_version', engine_version, 'params', params::json, 'inputs', inputs, 'outputs', outputs, 'cached_from', cached_from, 'error_code', error_code, 'error_message', error_message, "
    "'error_fields', error_fields, 'root_cause', root_cause, 'requested_by', requested_by, 'created_at', " STELLA_SQL_TIME("created_at") ", 'started_at', " STELLA_SQL_TIME("started_at") ", "
    "'finished_at', " STELLA_SQL_TIME("finished_at") ", 'trace_id', trace_id)";

Result<std::string> id_field(const json::Value& body, std::string_view name) {
  std::string text = STELLA_TRY(body.require_string(name));
  if (!Uuid::parse(text)) return Error(base_errors::kNotFound, "no such thing");
  return text;
}

}  // namespace

Result<http::Response> create_evaluation(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"sbom_id"}, {"policy_version"}, {"as_of"}}));
  ledger::EvaluationRequest request;
  const std::string sbom = STELLA_TRY(id_field(body, "sbom_id"));
  request.sbom = STELLA_TRY(SbomId::parse(sbom));
  request.policy_version = std::string(body.str("policy_version"));
  if (const std::string_view as_of = body.str("as_of"); !as_of.empty()) {
    auto parsed = Timestamp::parse(as_of);
    if (!parsed) return Error(base_errors::kInvalid, "not a time").with("field", "as_of").with("expected", "RFC 3339, for example 2026-11-24T12:00:00Z");
    request.as_of = *parsed;
  }
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const EvaluationId id = STELLA_TRY(ledger::start_evaluation(*tx, ctx.services.store, request, {ctx.trace, ctx.traceparent}));
  return commit_and_await(ctx, Awaited{kEvaluationJson, "evaluations", "evaluation_id", "state IN ('finished', 'failed', 'cancelled')", "linking", std::nullopt}, id.str());
}

Result<http::Response> list_evaluations(Context& ctx) {
  ListQuery q;
  q.select = kEvaluationJson;
  q.from = "FROM evaluations";
  q.time = "requested_at";
  q.id = "evaluation_id";
  if (const std::string sbom = ctx.request.query_param("sbom"); !sbom.empty()) {
    if (!Uuid::parse(sbom)) return Error(base_errors::kInvalid, "not an SBOM id").with("field", "sbom").with("expected", "a UUID");
    q.params.emplace_back(sbom);
    q.where = " AND sbom_id = $2";
  }
  return list_page(ctx, q);
}

Result<http::Response> get_evaluation(Context& ctx) {
  const EvaluationId id = STELLA_TRY(ctx.id_param<EvaluationId>("evaluation_id"));
  return one_row(ctx, std::string("SELECT (").append(kEvaluationJson).append(")::text FROM evaluations WHERE tenant_id = $1 AND evaluation_id = $2"), {ctx.tenant(), id});
}

Result<http::Response> compare_evaluations(Context& ctx) {
  const EvaluationId before = STELLA_TRY(ctx.id_param<EvaluationId>("evaluation_id"));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const auto known = STELLA_TRY(tx->query("SELECT FROM evaluations WHERE tenant_id = $1 AND evaluation_id = $2", {ctx.tenant(), before}));
  if (known.empty()) return Error(base_errors::kNotFound, "no such evaluation");
  const auto after = EvaluationId::parse(ctx.request.query_param("with"));
  if (!after) return Error(base_errors::kInvalid, "another evaluation is needed").with("field", "with").with("expected", "an evaluation id");
  const json::Value out = STELLA_TRY(ledger::compare_evaluations(*tx, ctx.services.store, before, *after));
  return http::Response::json(200, json::dump(out));
}

// In the order of findings.ndjson, which is total: the cursor is the number of the next one.
Result<http::Response> list_findings(Context& ctx) {
  const std::string evaluation = ctx.request.query_param("evaluation");
  if (!Uuid::parse(evaluation)) return Error(base_errors::kInvalid, "an evaluation is needed").with("field", "evaluation").with("expected", "an evaluation id");
  const int limit = STELLA_TRY(ctx.limit());
  const auto exists = STELLA_TRY(ctx.read("SELECT 1 FROM evaluations WHERE tenant_id = $1 AND evaluation_id = $2", {ctx.tenant(), evaluation}));
  if (exists.empty()) return Error(base_errors::kNotFound, "no such evaluation");
  std::vector<pg::Param> params{ctx.tenant(), evaluation};
  std::string sql =
      "SELECT json_build_object('finding_no', finding_no, 'purl', purl, 'advisory_id', advisory_id, 'verdict', verdict, 'severity', severity, 'score', CASE WHEN score < 0 THEN NULL ELSE score END, "
      "'vex_status', vex_status, 'decision_effect', decision_effect, 'rule_id', rule_id, 'reason', reason, 'fixed_versions', fixed_versions, 'clause', clause)::text, finding_no "
      "FROM findings WHERE tenant_id = $1 AND evaluation_id = $2";
  for (const auto& [query, column] : {std::pair<std::string_view, std::string_view>{"effect", "decision_effect"}, {"severity", "severity"}, {"verdict", "verdict"}, {"advisory", "advisory_id"}})
    if (std::string value = ctx.request.query_param(query); !value.empty()) {
      params.emplace_back(std::move(value));
      sql.append(" AND ").append(column).append(" = $").append(std::to_string(params.size()));
    }
  if (const std::string cursor = ctx.request.query_param("cursor"); !cursor.empty()) {
    if (cursor.size() > 9 || cursor.find_first_not_of("0123456789") != std::string::npos)
      return Error(base_errors::kInvalid, "the cursor is not one of this list").with("field", "cursor").with("expected", "next_cursor of the page before");
    params.emplace_back(cursor);
    sql.append(" AND finding_no >= $").append(std::to_string(params.size()));
  }
  sql.append(" ORDER BY finding_no LIMIT ").append(std::to_string(limit + 1));
  const auto rows = STELLA_TRY(ctx.read(sql, params));
  std::string out = "{\"items\":[";
  for (int i = 0; i < std::min(rows.size(), limit); ++i) out.append(i == 0 ? "" : ",").append(rows.text(i, 0));
  out += "],\"next_cursor\":";
  out += rows.size() > limit ? "\"" + std::string(rows.text(limit, 1)) + "\"}" : "null}";
  return http::Response::json(200, std::move(out));
}

Result<http::Response> create_export(Context& ctx) {
  const json::Value body = STELLA_TRY(ctx.json_body({{"evaluation_id"}, {"format"}}));
  exports::ExportRequest request;
  const std::string evaluation = STELLA_TRY(id_field(body, "evaluation_id"));
  request.evaluation = STELLA_TRY(EvaluationId::parse(evaluation));
  if (const std::string_view format = body.str("format"); !format.empty()) request.format = std::string(format);
  request.trace = ctx.trace;
  request.traceparent = ctx.traceparent;
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const ExportId id = STELLA_TRY(exports::request_export(*tx, request));
  return commit_and_await(ctx, Awaited{kExportJson, "exports", "export_id", "state <> 'requested'", "requested", std::nullopt}, id.str());
}

Result<http::Response> list_exports(Context& ctx) {
  ListQuery q;
  q.select = kExportJson;
  q.from = "FROM exports";
  q.time = "requested_at";
  q.id = "export_id";
  return list_page(ctx, q);
}

Result<http::Response> get_export(Context& ctx) {
  const ExportId id = STELLA_TRY(ctx.id_param<ExportId>("export_id"));
  return one_row(ctx, std::string("SELECT (").append(kExportJson).append(")::text FROM exports WHERE tenant_id = $1 AND export_id = $2"), {ctx.tenant(), id});
}

Result<http::Response> get_export_file(Context& ctx) {
  const ExportId id = STELLA_TRY(ctx.id_param<ExportId>("export_id"));
  const std::string_view name = ctx.param("name");
  const std::string_view column = name == "exposure-report.json" ? "report_sha256" : name == "manifest.json" ? "manifest_sha256" : "";
  if (column.empty()) return Error(base_errors::kNotFound, "no such file in the export");
  const auto rows = STELLA_TRY(ctx.read(std::string("SELECT ").append(column).append(" FROM exports WHERE tenant_id = $1 AND export_id = $2 AND state = 'created'"), {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such export, or it is not created yet");
  const Sha256 digest = STELLA_TRY(rows.sha256(0, 0));
  const std::string key = object_key::object(ctx.tenant(), digest);
  http::Response response;
  response.body_file = STELLA_TRY(ctx.services.store.open(key));
  struct stat st {};  // of what was opened: an encrypted object is larger in the store
  if (::fstat(response.body_file.get(), &st) != 0) return io_error("cannot read an export", key);
  response.body_file_size = static_cast<std::uint64_t>(st.st_size);
  response.header("ETag", "\"" + digest.hex() + "\"");
  return response;
}

Result<http::Response> list_jobs(Context& ctx) {
  ListQuery q;
  q.select = kJobJson;
  q.from = "FROM jobs";
  q.time = "created_at";
  q.id = "job_id";
  for (const auto& [query, column] : {std::pair<std::string_view, std::string_view>{"state", "state"}, {"kind", "kind"}, {"resource_id", "resource_id"}, {"trace", "trace_id"}})
    if (std::string value = ctx.request.query_param(query); !value.empty()) {
      q.params.emplace_back(std::move(value));
      q.where.append(" AND ").append(column).append(" = $").append(std::to_string(q.params.size() + 1));
    }
  return list_page(ctx, q);
}

Result<http::Response> get_job(Context& ctx) {
  const JobId id = STELLA_TRY(ctx.id_param<JobId>("job_id"));
  const auto rows = STELLA_TRY(ctx.read(std::string("SELECT (").append(kJobJson).append(")::text, (SELECT coalesce(json_agg(json_build_object('run_id', run_id, 'attempt', attempt, 'runner_id', runner_id, 'state', state, "
                                        "'image_sha256', " STELLA_SQL_HEX("image_sha256") ", 'sandbox', sandbox, 'usage', usage, 'root_cause', root_cause, 'transcript_sha256', " STELLA_SQL_HEX("transcript_sha256") ", "
                                        "'started_at', " STELLA_SQL_TIME("started_at") ", 'finished_at', " STELLA_SQL_TIME("finished_at") ") ORDER BY attempt), '[]'::json)::text FROM runs r WHERE r.tenant_id = $1 AND r.job_id = $2) "
                                        "FROM jobs WHERE tenant_id = $1 AND job_id = $2"),
                                        {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such job");
  std::string body(rows.text(0, 0));
  body.pop_back();
  body.append(", \"runs\": ").append(rows.text(0, 1)).append("}");
  return http::Response::json(200, std::move(body));
}

Result<http::Response> cancel_job(Context& ctx) {
  const JobId id = STELLA_TRY(ctx.id_param<JobId>("job_id"));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  STELLA_TRY_VOID(jobs::cancel(*tx, id, ctx.trace));
  return ctx.commit(http::Response::json(202, json::dump(json::Value::object({{"job_id", id.str()}, {"cancel_requested", true}, {"trace_id", ctx.trace.hex()}}))));
}

Result<http::Response> retry_job(Context& ctx) {
  const JobId id = STELLA_TRY(ctx.id_param<JobId>("job_id"));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  STELLA_TRY_VOID(jobs::retry(*tx, id, ctx.trace));
  return ctx.commit(http::Response::json(202, json::dump(json::Value::object({{"job_id", id.str()}, {"state", "queued"}, {"trace_id", ctx.trace.hex()}}))));
}

}  // namespace stella::web::handlers
