// Deep debug: which tenants let which kinds of personal data through, and until when.
#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>

#include "fingerprint.h"
#include "stella/base/sync.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

constexpr std::int64_t kMaxSeconds = 24 * 3600;

// Readers take the current table without a lock, so tables are never freed; a new one comes only where a call of set_deep_debug changes something.
using Table = std::vector<DeepDebug>;
std::atomic<const Table*> g_table{nullptr};
Mutex g_mutex;
std::deque<Table>& tables() {  // guarded by g_mutex; grows
  static std::deque<Table>& all = *new std::deque<Table>;
  return all;
}

Table current(std::int64_t now) {
  Table out;
  if (const Table* table = g_table.load(std::memory_order_acquire)) {
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
  if (next.empty()) {
    g_table.store(nullptr, std::memory_order_release);
    return;
  }
  if (const Table* before = g_table.load(std::memory_order_relaxed); before != nullptr && *before == next) return;
  tables().push_back(std::move(next));
  g_table.store(&tables().back(), std::memory_order_release);
}

std::uint64_t deep_debug_tables() {
  Lock lock(g_mutex);
  return tables().size();
}

std::vector<DeepDebug> deep_debug() { return current(scrubbing::coarse_seconds()); }

ScrubPolicy ScrubPolicy::for_tenant(std::string_view tenant) {
  ScrubPolicy policy{{}, tenant};
  const Table* table = g_table.load(std::memory_order_acquire);
  if (table == nullptr) [[likely]] return policy;
  for (const DeepDebug& row : *table) {
    if (row.tenant == tenant && row.until.seconds() > scrubbing::coarse_seconds()) policy.let_through = row.kinds;
  }
  return policy;
}

}  // namespace stella::telemetry
