// The handlers of all routes, by area. Each returns its response or the error that the middleware turns into problem+json.
#pragma once

#include "stella/web/context.h"

namespace stella::web::handlers {

// handlers_access.cc: tokens, tenants, projects, principals
Result<http::Response> create_token(Context&);
Result<http::Response> revoke_token(Context&);
Result<http::Response> me(Context&);
Result<http::Response> change_secret(Context&);
Result<http::Response> list_tenants(Context&);
Result<http::Response> list_tenant_keys(Context&);
Result<http::Response> create_tenant(Context&);
Result<http::Response> list_projects(Context&);
Result<http::Response> create_project(Context&);
Result<http::Response> list_principals(Context&);
Result<http::Response> create_principal(Context&);
Result<http::Response> change_tenant(Context&);
Result<http::Response> change_principal(Context&);
Result<http::Response> change_scopes(Context&);

// handlers_public.cc: discovery, keys, health, metrics
Result<http::Response> openid_configuration(Context&);
Result<http::Response> jwks(Context&);
Result<http::Response> list_keys(Context&);
Result<http::Response> key_history(Context&);
Result<http::Response> healthz(Context&);
Result<http::Response> readyz(Context&);
Result<http::Response> metrics(Context&);
Result<http::Response> root(Context&);

// handlers_documents.cc: SBOMs, advisories, VEX, policies
Result<http::Response> create_sbom(Context&);
Result<http::Response> list_sboms(Context&);
Result<http::Response> get_sbom(Context&);
Result<http::Response> list_components(Context&);
Result<http::Response> create_advisories(Context&);
Result<http::Response> list_advisories(Context&);
Result<http::Response> get_linkset(Context&);
Result<http::Response> create_vex(Context&);
Result<http::Response> list_vex(Context&);
Result<http::Response> get_batch(Context&);
Result<http::Response> create_policy(Context&);
Result<http::Response> list_policies(Context&);
Result<http::Response> activate_policy(Context&);

// handlers_evaluations.cc: evaluations, findings, exports, jobs
Result<http::Response> create_evaluation(Context&);
Result<http::Response> list_evaluations(Context&);
Result<http::Response> get_evaluation(Context&);
Result<http::Response> compare_evaluations(Context&);
Result<http::Response> list_findings(Context&);
Result<http::Response> create_export(Context&);
Result<http::Response> list_exports(Context&);
Result<http::Response> get_export(Context&);
Result<http::Response> get_export_file(Context&);
Result<http::Response> list_jobs(Context&);
Result<http::Response> get_job(Context&);
Result<http::Response> cancel_job(Context&);
Result<http::Response> retry_job(Context&);

// handlers_timeline.cc
Result<http::Response> list_timeline(Context&);
Result<http::Response> get_timeline_event(Context&);
Result<http::Response> annotate(Context&);
Result<http::Response> create_timeline_event(Context&);
Result<http::Response> get_checkpoint(Context&);
Result<http::Response> stream_timeline(Context&);  // handlers_stream.cc
Result<http::Response> get_consistency_proof(Context&);
Result<http::Response> get_inclusion_proof(Context&);

// handlers_evidence.cc: evidence and attestations
Result<http::Response> create_snapshot(Context&);
Result<http::Response> list_evidence(Context&);
Result<http::Response> get_evidence(Context&);
Result<http::Response> export_evidence(Context&);
Result<http::Response> redact_evidence(Context&);
Result<http::Response> verify_evidence(Context&);
Result<http::Response> list_attestations(Context&);
Result<http::Response> get_attestation(Context&);
Result<http::Response> verify_attestation(Context&);

// handlers_holds.cc: legal holds, cases and their retention, custody
Result<http::Response> get_hold(Context&);
Result<http::Response> list_dispositions(Context&);
Result<http::Response> change_hold(Context&);
Result<http::Response> close_case(Context&);
Result<http::Response> extend_case(Context&);
Result<http::Response> extend_bundle(Context&);
Result<http::Response> get_custody(Context&);

// handlers_keys.cc
Result<http::Response> change_key(Context&);

// handlers_obs.cc
Result<http::Response> obs_trace(Context&);
Result<http::Response> obs_health(Context&);
Result<http::Response> obs_settings(Context&);
Result<http::Response> change_obs_settings(Context&);

}  // namespace stella::web::handlers
