// The route table. contracts/openapi.yaml describes exactly these; a test compares both.
#include <array>

#include "handlers.h"
#include "handlers_deployment.h"
#include "stella/base/limits.h"
#include "stella/web/router.h"

namespace stella::web {
namespace {

using enum Access;
namespace h = handlers;
constexpr std::uint64_t kJson = limits::kJsonBodyBytes;

constexpr std::array kRoutes{
    Route{"GET", "/", kPublic, "", 0, h::root},
    Route{"GET", "/healthz", kPublic, "", 0, h::healthz},
    Route{"GET", "/readyz", kPublic, "", 0, h::readyz},
    Route{"GET", "/metrics", kPublic, "", 0, h::metrics},
    Route{"GET", "/.well-known/openid-configuration", kPublic, "", 0, h::openid_configuration},
    Route{"GET", "/.well-known/jwks.json", kPublic, "", 0, h::jwks},
    Route{"GET", "/keys", kPublic, "", 0, h::list_keys},
    Route{"GET", "/keys/history", kPublic, "", 0, h::key_history},
    Route{"GET", "/keys/tenants", kPlatform, "keys:read", 0, h::list_tenant_keys},
    Route{"POST", "/keys", kPlatform, "keys:write", kJson, h::change_key},

    Route{"POST", "/tokens", kPublic, "", kAnonymousBodyBytes, h::create_token},
    Route{"DELETE", "/tokens/:token_id", kToken, "", 0, h::revoke_token},
    Route{"GET", "/me", kToken, "", 0, h::me},
    Route{"POST", "/me/secret", kToken, "", kJson, h::change_secret},
    Route{"GET", "/tenants", kPlatform, "tenant:admin", 0, h::list_tenants},
    Route{"POST", "/tenants", kPlatform, "tenant:admin", kJson, h::create_tenant},
    Route{"PATCH", "/tenants/:tenant_id", kPlatform, "tenant:admin", kJson, h::change_tenant},
    Route{"GET", "/projects", kTenant, "sbom:read", 0, h::list_projects},
    Route{"POST", "/projects", kTenant, "tenant:admin", kJson, h::create_project},
    Route{"GET", "/principals", kTenant, "tenant:admin", 0, h::list_principals},
    Route{"POST", "/principals", kTenant, "tenant:admin", kJson, h::create_principal},
    Route{"PATCH", "/principals/:principal_id", kTenant, "tenant:admin", kJson, h::change_principal},
    Route{"POST", "/principals/:principal_id/scopes", kTenant, "tenant:admin", kJson, h::change_scopes},

    Route{"POST", "/sboms", kTenant, "sbom:write", limits::kSbomBytes, h::create_sbom, true},
    Route{"GET", "/sboms", kTenant, "sbom:read", 0, h::list_sboms},
    Route{"GET", "/sboms/:sbom_id", kTenant, "sbom:read", 0, h::get_sbom},
    Route{"GET", "/sboms/:sbom_id/components", kTenant, "sbom:read", 0, h::list_components},
    Route{"POST", "/advisories", kTenantOrGlobal, "advisory:write", limits::kIngestBatchBytes, h::create_advisories, true},
    Route{"GET", "/advisories", kTenant, "advisory:read", 0, h::list_advisories},
    Route{"GET", "/advisories/:advisory_id/linkset", kTenant, "advisory:read", 0, h::get_linkset},
    Route{"POST", "/vex", kTenantOrGlobal, "vex:write", limits::kIngestBatchBytes, h::create_vex, true},
    Route{"GET", "/vex", kTenant, "vex:read", 0, h::list_vex},
    Route{"GET", "/batches/:batch_id", kTenantOrGlobal, "advisory:read", 0, h::get_batch},
    Route{"POST", "/policies", kTenant, "policy:write", limits::kPolicyBytes, h::create_policy},
    Route{"GET", "/policies", kTenant, "policy:read", 0, h::list_policies},
    Route{"POST", "/policies/:policy_version/activate", kTenant, "policy:write", kJson, h::activate_policy},

    Route{"POST", "/evaluations", kTenant, "evaluation:write", kJson, h::create_evaluation, true},
    Route{"GET", "/evaluations", kTenant, "evaluation:read", 0, h::list_evaluations},
    Route{"GET", "/evaluations/:evaluation_id", kTenant, "evaluation:read", 0, h::get_evaluation},
    Route{"GET", "/evaluations/:evaluation_id/comparison", kTenant, "evaluation:read", 0, h::compare_evaluations},
    Route{"GET", "/findings", kTenant, "finding:read", 0, h::list_findings},
    Route{"POST", "/exports", kTenant, "export:write", kJson, h::create_export, true},
    Route{"GET", "/exports", kTenant, "export:read", 0, h::list_exports},
    Route{"GET", "/exports/:export_id", kTenant, "export:read", 0, h::get_export},
    Route{"GET", "/exports/:export_id/files/:name", kTenant, "export:read", 0, h::get_export_file},
    Route{"GET", "/jobs", kTenant, "job:read", 0, h::list_jobs},
    Route{"GET", "/jobs/:job_id", kTenant, "job:read", 0, h::get_job},
    Route{"POST", "/jobs/:job_id/cancel", kTenant, "job:cancel", kJson, h::cancel_job},
    Route{"POST", "/jobs/:job_id/retry", kTenant, "job:retry", kJson, h::retry_job},

    Route{"GET", "/timeline", kTenant, "timeline:read", 0, h::list_timeline},
    Route{"GET", "/timeline/:event_id", kTenant, "timeline:read", 0, h::get_timeline_event},
    Route{"GET", "/timeline/stream", kTenant, "timeline:read", 0, h::stream_timeline},
    Route{"GET", "/timeline/checkpoint", kTenant, "timeline:read", 0, h::get_checkpoint},
    Route{"GET", "/timeline/checkpoint/deployment", kTenant, "timeline:read", 0, h::get_deployment_checkpoint},
    Route{"GET", "/timeline/proof", kTenant, "timeline:read", 0, h::get_consistency_proof},
    Route{"GET", "/timeline/:event_id/proof", kTenant, "timeline:read", 0, h::get_inclusion_proof},
    Route{"POST", "/timeline", kTenant, "timeline:write", kJson, h::create_timeline_event},
    Route{"POST", "/timeline/annotations", kTenant, "timeline:write", kJson, h::annotate},

    Route{"POST", "/evidence/snapshot", kTenant, "evidence:create", kJson, h::create_snapshot, true},
    Route{"GET", "/evidence", kTenant, "evidence:read", 0, h::list_evidence},
    Route{"GET", "/evidence/:bundle_id", kTenant, "evidence:read", 0, h::get_evidence},
    Route{"POST", "/evidence/:bundle_id/export", kTenant, "evidence:export", kJson, h::export_evidence, false, true},
    Route{"POST", "/evidence/:bundle_id/redact", kTenant, "evidence:redact", kJson, h::redact_evidence, true},
    Route{"POST", "/evidence/verify", kTenant, "evidence:verify", limits::kBundleBytes, h::verify_evidence, false, true},
    Route{"GET", "/evidence/:bundle_id/custody", kTenant, "evidence:read", 0, h::get_custody, false, true},
    Route{"GET", "/evidence/dispositions", kTenant, "evidence:read", 0, h::list_dispositions},
    Route{"GET", "/evidence/hold/:case_id", kTenant, "evidence:read", 0, h::get_hold},
    Route{"POST", "/evidence/hold/:case_id", kTenant, "evidence:hold", kJson, h::change_hold},
    Route{"POST", "/evidence/cases/:case_id/close", kTenant, "evidence:hold", kJson, h::close_case},
    Route{"POST", "/evidence/cases/:case_id/retention", kTenant, "evidence:hold", kJson, h::extend_case},
    Route{"POST", "/evidence/:bundle_id/retention", kTenant, "evidence:hold", kJson, h::extend_bundle},
    Route{"GET", "/attestations", kTenant, "attest:read", 0, h::list_attestations},
    Route{"GET", "/attestations/:attestation_id", kTenant, "attest:read", 0, h::get_attestation},
    Route{"POST", "/attestations/verify", kTenant, "attest:verify", kJson, h::verify_attestation},

    Route{"GET", "/obs/health", kTenant, "obs:read", 0, h::obs_health},
    Route{"GET", "/obs/trace/:trace_id", kTenant, "obs:read", 0, h::obs_trace},
    Route{"GET", "/obs/settings/telemetry", kTenant, "obs:read", 0, h::obs_settings},
    Route{"PATCH", "/obs/settings/telemetry", kTenant, "obs:write", kJson, h::change_obs_settings},
};

}  // namespace

std::span<const Route> routes() { return kRoutes; }

}  // namespace stella::web
