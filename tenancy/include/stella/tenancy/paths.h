// The one place where object keys and bus subjects are computed from a tenant. Nothing else may concatenate them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/ids.h"

namespace stella {

namespace object_key {
// `tenants/<t>/objects/<sha256>`; for the tenant `global`: `global/kb/objects/<sha256>`.
std::string object(const TenantId& tenant, const Sha256& digest);
// `tenants/<t>/evidence/<case>/<bundle_id>/<file>`; `file` is a literal of ours (manifest.json, root.merkle, bundle.tgz).
std::string evidence(const TenantId& tenant, const CaseId& case_id, const BundleId& bundle, std::string_view file);
// `tenants/<t>/attestations/<subject_id>/<statement>.json`; subject_id is one of our ids or a digest;
// for the tenant `global` (jobs of the knowledge base): `global/kb/attestations/…`.
std::string attestation(const TenantId& tenant, std::string_view subject_id, const Sha256& statement);
// `tenants/<t>/log/<path>`: `path` is a tile's of C2SP tlog-tiles ("tile/0/x001/067") and full.
std::string log_tile(const TenantId& tenant, std::string_view path);
// `tenants/<t>/log/checkpoints/<size>`.
std::string checkpoint(const TenantId& tenant, std::uint64_t size);
// The deployment log, which belongs to no tenant: `platform/log/<path>`, `platform/log/checkpoints/<size>`, and with the cosignatures of a quorum
// of witnesses `platform/log/cosigned/<size>`.
std::string deployment_tile(std::string_view path);
std::string deployment_checkpoint(std::uint64_t size);
std::string deployment_cosigned(std::uint64_t size);
}  // namespace object_key

namespace subject {
// `stella.<tenant>.timeline.<kind with _ for .>`; for the wildcard see kTimelineStream.
std::string timeline(const TenantId& tenant, std::string_view kind);
// `stella.global.kb.<kind with _ for .>`: public knowledge-base news, no tenant data.
std::string kb(std::string_view kind);
// `stellajobs.<kind with _ for .>.<tenant>` and `stellaresults.<started|heartbeat|result>.<tenant>`.
std::string job(std::string_view kind, const TenantId& tenant);
std::string result(std::string_view what, const TenantId& tenant);
// `stellawake.<shard>`: core NATS, no stream; only a hint.
std::string wake(int shard);
inline constexpr std::string_view kJobsAll = "stellajobs.>";
inline constexpr std::string_view kResultsAll = "stellaresults.>";
inline constexpr std::string_view kTimelineAll = "stella.*.timeline.*";
inline constexpr std::string_view kKbAll = "stella.global.kb.*";
}  // namespace subject

}  // namespace stella
