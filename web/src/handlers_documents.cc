// SBOMs, advisories, VEX documents, policies: received as they are, computed by jobs.
#include "handlers.h"
#include "page.h"
#include "stella/base/limits.h"
#include "stella/contracts/components.h"
#include "stella/contracts/errors.h"
#include "stella/services/ledger.h"
#include "stella/tenancy/paths.h"

namespace stella::web::handlers {
namespace {

constexpr std::string_view kSbomJson =
    "json_build_object('sbom_id', sbom_id, 'project_id', project_id, 'sha256', " STELLA_SQL_HEX("sha256") ", 'size', size, 'state', state, 'source_format', source_format, "
    "'document_name', document_name, 'document_version', document_version, 'document_id', document_id, 'counts', counts, 'components_sha256', " STELLA_SQL_HEX("components_sha256") ", "
    "'error', error, 'job_id', job_id, 'received_by', received_by, 'received_at', " STELLA_SQL_TIME("received_at") ", 'computed_at', " STELLA_SQL_TIME("computed_at") ", 'trace_id', trace_id)";

constexpr std::string_view kBatchJson =
    "json_build_object('batch_id', batch_id, 'kind', kind, 'source_id', source_id, 'sha256', " STELLA_SQL_HEX("sha256") ", 'size', size, 'documents', documents, 'state', state, "
    "'counts', counts, 'rejected', coalesce(rejected, '[]'::jsonb), 'error', error, 'job_id', job_id, 'received_at', " STELLA_SQL_TIME("received_at") ", 'finished_at', " STELLA_SQL_TIME("finished_at") ", 'trace_id', trace_id)";

ledger::Trace trace_of(const Context& ctx) { return {ctx.trace, ctx.traceparent}; }

bool is_tar(const Context& ctx) {
  const std::string_view type = ctx.request.header("content-type");
  return type.rfind("application/x-tar", 0) == 0 || type.rfind("application/tar", 0) == 0;
}

bool is_set(const Context& ctx, std::string_view param) {
  const std::string value = ctx.request.query_param(param);
  return value == "1" || value == "true";
}

Result<http::Response> create_batch(Context& ctx, ledger::DocumentKind kind) {
  const std::string source = ctx.request.query_param("source");
  const std::string bytes = STELLA_TRY(ctx.request.body_text(limits::kIngestBatchBytes));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const auto batch = STELLA_TRY(ledger::receive_batch(*tx, ctx.services.store, kind, source.empty() ? "upload" : source, bytes, is_tar(ctx), trace_of(ctx), is_set(ctx, "complete")));
  Awaited row{kBatchJson, "ingest_batches", "batch_id", "state <> 'received'", "received", false};
  row.done = 201;
  return commit_and_await(ctx, row, batch.id.str());
}

}  // namespace

Result<http::Response> create_sbom(Context& ctx) {
  const std::string bytes = STELLA_TRY(ctx.request.body_text(limits::kSbomBytes));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const ProjectId project = STELLA_TRY(ledger::find_project(*tx, ctx.request.query_param("project")));
  const auto received = STELLA_TRY(ledger::receive_sbom(*tx, ctx.services.store, project, bytes, trace_of(ctx)));
  Awaited row{kSbomJson, "sboms", "sbom_id", "state <> 'received'", "received", received.existed};
  row.accepted = received.existed ? 200 : 202;
  row.done = received.existed ? 200 : 201;
  return commit_and_await(ctx, row, received.id.str());
}

Result<http::Response> list_sboms(Context& ctx) {
  ListQuery q;
  q.select = kSbomJson;
  q.from = "FROM sboms";
  q.time = "received_at";
  q.id = "sbom_id";
  return list_page(ctx, q);
}

Result<http::Response> get_sbom(Context& ctx) {
  const SbomId id = STELLA_TRY(ctx.id_param<SbomId>("sbom_id"));
  return one_row(ctx, std::string("SELECT (").append(kSbomJson).append(")::text FROM sboms WHERE tenant_id = $1 AND sbom_id = $2"), {ctx.tenant(), id});
}

Result<http::Response> list_components(Context& ctx) {
  const SbomId id = STELLA_TRY(ctx.id_param<SbomId>("sbom_id"));
  const int limit = STELLA_TRY(ctx.limit());
  const auto rows = STELLA_TRY(ctx.read("SELECT components_sha256, state FROM sboms WHERE tenant_id = $1 AND sbom_id = $2", {ctx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such SBOM");
  if (rows.is_null(0, 0)) return Error(contracts::errors::kNotReady, "the SBOM is not computed").with("state", std::string(rows.text(0, 1)));
  const Sha256 digest = STELLA_TRY(rows.sha256(0, 0));
  const std::string text = STELLA_TRY(ctx.services.store.get(object_key::object(ctx.tenant(), digest), 1ull << 30));
  const auto table = STELLA_TRY(contracts::decode_components(text));
  std::size_t first = 0;
  const std::string cursor = ctx.request.query_param("cursor");
  if (!cursor.empty()) {
    if (cursor.size() > 9 || cursor.find_first_not_of("0123456789") != std::string::npos) return Error(base_errors::kInvalid, "the cursor is not one of this list").with("field", "cursor").with("expected", "next_cursor of the page before");
    first = static_cast<std::size_t>(std::stoul(cursor));
  }
  json::Array items;
  const std::size_t end = std::min(table.components.size(), first + static_cast<std::size_t>(limit));
  for (std::size_t i = first; i < end; ++i) {
    const contracts::Component& c = table.components[i];
    items.push_back(json::Value::object({{"index", i}, {"purl", c.purl}, {"raw_purl", c.raw_purl}, {"ecosystem", c.ecosystem}, {"name", c.name}, {"version", c.version}, {"label", c.label}, {"problem", c.problem}}));
  }
  json::Value next = end < table.components.size() ? json::Value(std::to_string(end)) : json::Value();
  return http::Response::json(200, json::dump(json::Value::object({{"items", std::move(items)}, {"next_cursor", std::move(next)}, {"total", table.components.size()}})));
}

Result<http::Response> create_advisories(Context& ctx) { return create_batch(ctx, ledger::DocumentKind::kAdvisory); }
Result<http::Response> create_vex(Context& ctx) { return create_batch(ctx, ledger::DocumentKind::kVex); }

Result<http::Response> get_batch(Context& ctx) {
  auto id = Uuid::parse(ctx.param("batch_id"));
  if (!id) return Error(base_errors::kNotFound, "no such batch");
  const auto rows = STELLA_TRY(ctx.read(std::string("SELECT (").append(kBatchJson).append(")::text, kind FROM ingest_batches WHERE tenant_id = $1 AND batch_id = $2"), {ctx.tenant(), id->str()}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such batch");
  // The route's scope is that of advisories; what a VEX batch says is for those who may read VEX. The knowledge base's are for who may write it.
  const std::string wanted = authority::tenant_scope_text("vex:read", ctx.principal->tenant);
  if (rows.text(0, 1) == "vex" && ctx.tenant() == ctx.principal->tenant && !ctx.principal->has(wanted))
    return Error(contracts::errors::kForbidden, "the token does not allow this").with("missing_scope", wanted);
  return http::Response::json(200, std::string(rows.text(0, 0)));
}

namespace {

bool wants_global(const Context& ctx) { return is_set(ctx, "global"); }

// Observations of the tenant and of the public knowledge base; the page helper's tenant condition covers the tenant's own, so the
// knowledge base is a list of its own (?global=1).
Result<http::Response> list_observations(Context& ctx, ListQuery q) {
  const std::string id = ctx.request.query_param("id");
  if (!id.empty()) {
    q.params.emplace_back(id);
    q.where = " AND native_id = $2";
  }
  q.time = "observed_at";
  q.id = "(source_id || ':' || native_id || ':' || revision_no)";
  q.id_type = "text";
  q.from_global = wants_global(ctx);
  return list_page(ctx, q);
}

}  // namespace

Result<http::Response> list_advisories(Context& ctx) {
  ListQuery q;
  q.select = "json_build_object('advisory_id', native_id, 'source_id', source_id, 'revision', revision_no, 'sha256', " STELLA_SQL_HEX("doc_sha256") ", 'modified', modified, 'withdrawn', withdrawn, "
             "'aliases', aliases, 'ecosystems', ecosystems, 'path', path, 'vanished', vanished, 'batch_id', batch_id, 'observed_at', " STELLA_SQL_TIME("observed_at") ")";
  q.from = "FROM advisory_observations";
  return list_observations(ctx, std::move(q));
}

Result<http::Response> get_linkset(Context& ctx) {
  constexpr std::string_view kJson =
      "SELECT json_build_object('vulnerability_id', vulnerability_id, 'revision', revision, 'members', members, 'edges', edges, 'batch_id', batch_id, 'changed_at', " STELLA_SQL_TIME("changed_at") ")::text "
      "FROM advisory_linksets WHERE tenant_id = $1 AND ";
  const std::string id(ctx.param("advisory_id"));
  const std::string owner = wants_global(ctx) ? std::string(kGlobalTenant) : ctx.tenant().str();
  if (const std::string text = ctx.request.query_param("revision"); !text.empty()) {
    if (text.size() > 9 || text.find_first_not_of("0123456789") != text.npos || text.front() == '0')
      return Error(base_errors::kInvalid, "not a revision").with("field", "revision").with("expected", "a whole number from 1");
    return one_row(ctx, std::string(kJson).append("vulnerability_id = $2 AND revision = $3"), {owner, id, std::stoi(text)});
  }
  // A name whose set went into another is in that one; one whose set is no more still has its last revision.
  return one_row(ctx, std::string(kJson).append("vulnerability_id = coalesce((SELECT vulnerability_id FROM advisory_linkset_members WHERE tenant_id = $1 AND advisory_id = $2), $2) "
                                                "ORDER BY revision DESC LIMIT 1"), {owner, id});
}

Result<http::Response> list_vex(Context& ctx) {
  ListQuery q;
  q.select = "json_build_object('document_id', native_id, 'source_id', source_id, 'revision', revision_no, 'sha256', " STELLA_SQL_HEX("doc_sha256") ", 'format', format, 'document_time', document_time, "
             "'statements', statements, 'deviations', deviations, 'path', path, 'vanished', vanished, 'batch_id', batch_id, 'observed_at', " STELLA_SQL_TIME("observed_at") ")";
  q.from = "FROM vex_observations";
  return list_observations(ctx, std::move(q));
}

Result<http::Response> create_policy(Context& ctx) {
  const std::string yaml = STELLA_TRY(ctx.request.body_text(limits::kPolicyBytes));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const auto published = STELLA_TRY(ledger::publish_policy(*tx, ctx.services.store, yaml, trace_of(ctx)));
  const auto rows = STELLA_TRY(tx->query("SELECT label, " STELLA_SQL_HEX("sha256") ", rules FROM policies WHERE tenant_id = $1 AND policy_version = $2", {ctx.tenant(), published.version}));
  json::Value body = json::Value::object({{"policy_version", published.version}, {"label", rows.text(0, 0)}, {"sha256", rows.text(0, 1)}, {"rules", rows.integer(0, 2)},
                                          {"existed", published.existed}, {"trace_id", ctx.trace.hex()}});
  return ctx.commit(http::Response::json(published.existed ? 200 : 201, json::dump(body)));
}

Result<http::Response> list_policies(Context& ctx) {
  ListQuery q;
  q.select = "json_build_object('policy_version', policy_version, 'label', label, 'sha256', " STELLA_SQL_HEX("sha256") ", 'source_sha256', " STELLA_SQL_HEX("source_sha256") ", 'description', description, "
             "'rules', rules, 'published_by', published_by, 'published_at', " STELLA_SQL_TIME("published_at") ", "
             "'active', policy_version = (SELECT a.policy_version FROM policy_activations a WHERE a.tenant_id = policies.tenant_id ORDER BY a.activated_at DESC, a.activation_id DESC LIMIT 1))";
  q.from = "FROM policies";
  q.time = "published_at";
  q.id = "policy_version";
  q.id_type = "text";
  return list_page(ctx, q);
}

Result<http::Response> activate_policy(Context& ctx) {
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const std::string version(ctx.param("policy_version"));
  STELLA_TRY_VOID(ledger::activate_policy(*tx, version, trace_of(ctx)));
  const auto rows = STELLA_TRY(tx->query("SELECT " STELLA_SQL_TIME("activated_at") " FROM policy_activations WHERE tenant_id = $1 AND policy_version = $2 ORDER BY activated_at DESC LIMIT 1", {ctx.tenant(), version}));
  json::Value body = json::Value::object({{"policy_version", version}, {"activated_at", rows.text(0, 0)}, {"trace_id", ctx.trace.hex()}});
  return ctx.commit(http::Response::json(200, json::dump(body)));
}

}  // namespace stella::web::handlers
