// Reads of a tenant's timeline: filtered pages by keyset, single events. One round trip each; the entry's stored bytes are the answer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/platform/pg.h"
#include "stella/tenancy/scope.h"

namespace stella::timeline {

enum class Order : std::uint8_t {
  kTime,  // newest first
  kLog,   // by log index, ascending: without filters a contiguous range
};

inline constexpr int kPageDefault = 100;
inline constexpr int kPageMax = 500;
inline constexpr std::size_t kMaxKinds = 64;      // after prefixes are resolved by the catalogue
inline constexpr std::size_t kMaxResourceFilters = 8;
inline constexpr std::size_t kMaxSearch = 256;    // bytes of `q`
inline constexpr std::chrono::hours kSearchWindow{24 * 7};  // of `q` before `to`, or now: at most, whatever `from` is

struct ResourceFilter {
  std::string type;
  std::string id;        // exact, or the prefix
  bool prefix = false;   // "sbom/…*" or "sbom/"
};

struct Filter {
  std::optional<Timestamp> from = {};   // inclusive
  std::optional<Timestamp> to = {};     // exclusive
  std::vector<std::string> kinds = {};  // resolved; empty: all
  std::vector<ResourceFilter> resources = {};  // any of them, as primary or other resource
  std::optional<ProjectId> project = {};
  std::string actor = {};
  std::string trace = {};               // 32 hex digits
  std::string q = {};                   // substring of the details' text, case-insensitive; bounded by the window
  Order order = Order::kTime;
  std::optional<std::int64_t> from_index = {};  // with order=log
  int limit = kPageDefault;
  std::string cursor = {};              // of the page before

  bool filtered() const { return from || to || !kinds.empty() || !resources.empty() || project || !actor.empty() || !trace.empty() || !q.empty(); }
};

// From query parameters, in any order and, for `kind` and `resource`, repeated or as comma lists (a comma inside a resource id: %2C
// arrives decoded, so repeat the parameter instead). Names: from to kind resource project actor trace q order from_index limit cursor.
// kInvalid with field and expected for anything else.
Result<Filter> parse_filter(const std::vector<std::pair<std::string, std::string>>& parameters);

struct Item {
  EventId event_id;                       // zero for an EXPIRED one
  std::optional<std::int64_t> log_index;  // absent while the event waits for the indexer (get() only)
  Timestamp ts;
  Sha256 digest;                          // as stored: the leaf hash
  std::string entry;                      // bytes of the log; "" where the row is gone
  std::string kind;
  // "ok"; "EXPIRED" where a disposition of the tenant deleted it, the digest is then what the tiles hold; "INVALID" where digest and entry do not fit each other; "MISSING" where the log has no bytes, or the search tables no row (then with a log_index); "pending" before indexing; "SET_ASIDE" where the indexer gave up on it: in no log.
  std::string_view state = "ok";

  // The entry's members plus log_index, digest and state; of a MISSING or SET_ASIDE one only what the rows know, of an EXPIRED one nothing more.
  std::string json() const;
};

struct Head {
  std::int64_t size = 0;
  std::string root;  // hex; the empty tree's root where there is no log yet
};

// The newest signed checkpoint when the page was read: what a reader holds the page against. Size 0: nothing is signed yet.
struct Bound {
  std::string origin;
  std::int64_t size = 0;
  std::string root;  // hex
};

struct Page {
  std::vector<Item> items;
  std::optional<std::string> next_cursor;
  Head head;                        // of the tenant's log when the page was read
  Bound checkpoint;
  bool filtered = false;            // then omissions are not provable from the page
  std::optional<Timestamp> searched_from;  // where the window of `q` begins later than was asked for

  // Entries of the page's range of log indexes that it leaves out: because they do not match, or lie between two pages of another order.
  std::int64_t left_out() const;
  // {"items":[…],"next_cursor":…,"order":…,"head":{"size","root"},"checkpoint":{"origin","size","root"}|null,"contiguous":…,"left_out":…}
  std::string json() const;
  Order order = Order::kTime;
};

// Leaf hashes of entries by index, from the tiles.
using Leaves = std::function<Result<std::vector<Sha256>>(std::span<const std::uint64_t> indexes)>;

// kInvalid for a cursor that is not of this order; kRateLimited where two searches by `q` of the tenant run in this process already. In the order of the log and without filters, entries that a disposition deleted stand in their
// places as EXPIRED, with what `expired` gives; without it they are left out.
Result<Page> list(pg::Pool& web_pool, const TenantScope& scope, const Filter& filter, const Leaves& expired = {});

// kNotFound where the tenant has no such event. Finds events that still wait in the outbox ("pending").
Result<Item> get(pg::Pool& web_pool, const TenantScope& scope, const EventId& id);

// Whether a disposition deleted the entry at that index of the tenant's log.
Result<bool> expired(pg::TenantTx& tx, std::uint64_t index);

}  // namespace stella::timeline
