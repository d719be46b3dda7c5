// The renewals of a bundle's timestamps, as objects beside it. Private to evidence/locker.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/crypto/timestamp.h"
#include "stella/evidence/format/time_renewal.h"
#include "stella/evidence/locker/stamper.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

// The file of renewal n: ending .tsr, the response; .pem, its certificates.
inline std::string renewal_file(std::int64_t n, std::string_view ending) { return "renewal-" + std::to_string(n) + std::string(ending); }

inline constexpr std::uint64_t kRenewalChainBytes = 1u << 20;

// A renewal with what its row says.
struct StoredRenewal {
  TimeRenewal files;
  std::int64_t n = 0;
  std::string authority;  // name in its certificate
  Timestamp stamped_at, stands_until;
};
struct StoredRenewals {
  std::vector<StoredRenewal> list;
  std::int64_t next = 1;   // number of the next one: numbers of lost ones are not given again
  std::int64_t first_lost = 0;  // of `problem`
  std::string lost;        // those that were seen to be lost before, for people; they are not in the list
  std::string problem;  // of the first that the store does not have any more as it was written; it ends the list, since those behind it cover it

  std::vector<TimeRenewal> files() const;
  // What a verdict on the bundle's time has to say of them; "" where nothing is missing.
  std::string remark() const;
};
// In their order. Errors are the store's and the database's, never what somebody did to an object.
Result<StoredRenewals> stored_renewals(pg::Tx& tx, objects::Store& store, const TenantId& tenant, const CaseId& case_id, const BundleId& bundle);

// Writes down until when the stamps that a bundle encloses stand before the stamper's roots; nullopt: too few of its authorities stamped it.
Result<std::optional<Timestamp>> note_time(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const BundleId& bundle, const TimeEvidence& evidence, const Stamper& stamper);

}  // namespace stella::evidence
