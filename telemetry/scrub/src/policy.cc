// Deep debug: which tenants let which kinds of personal data through, and until when.
#include <algorithm>
#include <atomic>
#include <memory>

#include "fingerprint.h"
#include "stella/base/sync.h"
#include "stella/telemetry/reclaim.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

constexpr std::int64_t kMaxSeconds = 24 * 3600;

// Readers take the current table without a lock; null where nobody debugs. A new one comes only where a call of set_deep_debug changes something.
using Table = std::vector<DeepDebug>;
std::atomic<const Table*> g_table{nullptr};
Mutex g_mutex;
struct Holder {
  Retired retired;
  std::uint64_t made = 0;
};
Holder& holder() {  // guarded by g_mutex
  static Holder& h = *new Holder;
  return h;
}

Table current(std::int64_t now) {
  Table out;
  const Reading reading;
  if (const Table* table = g_table.load()) {
    for (const DeepDebug& row : *table) {
      if (row.until.seconds() > now) out.push_back(row);
    }
  }
  return out;
}

}  // namespace

std::string_view pii_name(PiiKind kind) {
  static constexpr std::string_view kNames[kPiiKinds] = {"email", "ip", "phone", "card", "iban"};
  return kNames[static_cast<std::size_t>(kind)];
}

void set_deep_debug(std::string_view tenant, PiiSet kinds, Timestamp until) {
  const std::int64_t now = scrubbing::coarse_seconds();
  const Timestamp latest = Timestamp::from_micros((now + kMaxSeconds) * 1'000'000);
  Lock lock(g_mutex);
  Table next = current(now);
  const bool on = !kinds.empty() && until.seconds() > now;
  const DeepDebug wanted{std::string(tenant), kinds, std::min(until, latest)};
  if (const auto row = std::find_if(next.begin(), next.end(), [&](const DeepDebug& r) { return r.tenant == tenant; }); row == next.end()) {
    if (on) next.push_back(wanted);
  } else if (on) {
    *row = wanted;  // in its place, so that saying it again changes nothing
  } else {
    next.erase(row);
  }
  std::unique_ptr<const Table> before(g_table.load());
  if (before == nullptr ? next.empty() : *before == next) return void(before.release());
  Holder& h = holder();
  h.made += next.empty() ? 0 : 1;
  g_table.store(next.empty() ? nullptr : new Table(std::move(next)));
  h.retired.add(std::move(before));
}

Tables deep_debug_tables() {
  Lock lock(g_mutex);
  return {holder().made, holder().retired.size()};
}

std::vector<DeepDebug> deep_debug() { return current(scrubbing::coarse_seconds()); }

ScrubPolicy ScrubPolicy::for_tenant(std::string_view tenant) {
  ScrubPolicy policy{{}, tenant};
  if (g_table.load(std::memory_order_relaxed) == nullptr) [[likely]] return policy;
  const Reading reading;
  const Table* table = g_table.load();
  if (table == nullptr) return policy;
  for (const DeepDebug& row : *table) {
    if (row.tenant == tenant && row.until.seconds() > scrubbing::coarse_seconds()) policy.let_through = row.kinds;
  }
  return policy;
}

}  // namespace stella::telemetry
