// Reading the renewals of a bundle's timestamps.
#include "renewals.h"

#include <optional>

#include "stella/crypto/digest.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kRows =
    "SELECT n, authority, gen_time, stands_until, token_sha256, chain_sha256, lost_at FROM evidence_time WHERE tenant_id = $1 AND bundle_id = $2 AND n > 0 ORDER BY n LIMIT 1000";

// Nothing where the store has it not, or other bytes: create-only objects do not change by themselves.
Result<std::optional<std::string>> object(objects::Store& store, const std::string& key, std::uint64_t most, const Sha256& digest) {
  auto bytes = store.get(key, most);
  if (bytes && crypto::sha256(*bytes) == digest) return std::optional(std::move(*bytes));
  const bool gone = bytes || bytes.error().code() == base_errors::kNotFound || bytes.error().code() == base_errors::kMalformed || bytes.error().code() == base_errors::kLimit;
  if (!gone) return Error(bytes.error());
  return std::optional<std::string>();
}

}  // namespace

std::vector<TimeRenewal> StoredRenewals::files() const {
  std::vector<TimeRenewal> out;
  for (const StoredRenewal& renewal : list) out.push_back(renewal.files);
  return out;
}

std::string StoredRenewals::remark() const {
  std::string out;
  for (const std::string* said : {&lost, &problem})
    if (!said->empty()) out.append("; ").append(*said);
  return out;
}

Result<StoredRenewals> stored_renewals(pg::Tx& tx, objects::Store& store, const TenantId& tenant, const CaseId& case_id, const BundleId& bundle) {
  const auto rows = STELLA_TRY(tx.query(kRows, {tenant, bundle}));
  StoredRenewals out;
  for (int i = 0; i < rows.size(); ++i) {
    StoredRenewal one;
    one.n = rows.integer(i, 0);
    out.next = one.n + 1;
    if (!rows.is_null(i, 6)) {
      out.lost.append(out.lost.empty() ? "" : ", ").append(renewal_file(one.n, ".tsr")).append(" was lost or rested on a lost one, as seen at ").append(rows.timestamp(i, 6).rfc3339_seconds());
      continue;
    }
    if (!out.problem.empty()) continue;
    one.authority = std::string(rows.text(i, 1));
    one.stamped_at = rows.timestamp(i, 2);
    one.stands_until = rows.timestamp(i, 3);
    for (const bool token : {true, false}) {
      const std::string file = renewal_file(one.n, token ? ".tsr" : ".pem");
      const Sha256 digest = STELLA_TRY(rows.sha256(i, token ? 4 : 5));
      auto bytes = STELLA_TRY(object(store, object_key::evidence(tenant, case_id, bundle, file), token ? crypto::kTimestampBytes : kRenewalChainBytes, digest));
      if (!bytes) {
        out.problem = "the store does not have " + file + " any more as it was written";
        out.first_lost = one.n;
        break;
      }
      (token ? one.files.token : one.files.chain) = std::move(*bytes);
    }
    if (out.problem.empty()) out.list.push_back(std::move(one));
  }
  return out;
}

}  // namespace stella::evidence
