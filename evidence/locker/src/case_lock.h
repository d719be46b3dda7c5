// Who waits for whom among holds, deletions, readers and sealers. All are advisory locks of the transaction, taken in this order.
//
//   log     alone for whoever plans or carries out a deletion of its entries
//   tenant  shared by everybody who places a hold or asks for a bundle, alone for key destruction, off-boarding and the deletion of entries
//   case    alone for whoever changes its holds, and for a deletion from its last look at them to its commit
//   made    shared by whoever asks for a snapshot, from the first object that its closure writes; alone (tried) by a deletion
//   readers shared by exports and verifications of any bundle of the tenant, alone (tried, never waited for) by key destruction
//   bundle  shared by exports and verifications, alone (tried, never waited for) by a deletion
#pragma once

#include <string_view>

namespace stella::evidence {

// $1 and $2 of each: the tenant, and the case or bundle as text. Keys of different kinds differ by their seed.
inline constexpr std::string_view kLockLog = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7))";
inline constexpr std::string_view kLockTenantShared = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 5))";
inline constexpr std::string_view kLockTenant = "SELECT pg_advisory_xact_lock(hashtextextended($1, 5))";
inline constexpr std::string_view kLockCase = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 3))";
inline constexpr std::string_view kLockMadeShared = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 8))";
inline constexpr std::string_view kTryMade = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 8))";
inline constexpr std::string_view kTryBundle = "SELECT pg_try_advisory_xact_lock(hashtextextended($1 || '/' || $2, 4))";
// In a query of its own: a deletion that is under way is waited for, and what is read afterwards is what it left.
inline constexpr std::string_view kLockBundleShared = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 9)), pg_advisory_xact_lock_shared(hashtextextended($1 || '/' || $2, 4))";
inline constexpr std::string_view kTryReaders = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 9))";
// Last of all: alone for whoever puts an object beside a sealed bundle, from its look at holds and retention to its commit. The keeper tries it while it
// brings the store's locks of that bundle where the rows want them, so that it sees the object or its hold is seen here.
inline constexpr std::string_view kLockStoreLocks = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 6))";

}  // namespace stella::evidence
