// Head decisions and the table they are made by.
#include "stella/telemetry/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>

#include "sampling_policy.h"
#include "stella/telemetry/clock.h"
#include "stella/telemetry/reclaim.h"

namespace stella::telemetry {
namespace detail {

constinit std::atomic<std::uint32_t> g_sampling_generation{1};
constinit std::atomic<std::uint64_t> g_sampling_threshold{kSampleAll};
constinit std::atomic<bool> g_sampling_by_tenant{false}, g_sampling_incidents{false};

namespace {

struct SamplingTable {
  SamplingPolicy policy;
  std::uint64_t threshold = kSampleAll;  // of its rate
};
struct Holder {
  std::mutex mutex;  // writers
  Retired retired;
  std::uint64_t made = 0;
};
Holder& holder() {
  static Holder& h = *new Holder;
  return h;
}
const SamplingTable& first_table() {
  static const SamplingTable& table = *new SamplingTable;
  return table;
}
std::atomic<const SamplingTable*> g_table{nullptr};

// For the life of a Reading, or of the writers' lock.
const SamplingTable& sampling_table() noexcept {
  const SamplingTable* table = g_table.load();
  return table != nullptr ? *table : first_table();
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The value of `key` in the `ot` member: "" where there is none.
std::string_view ot_value(std::string_view tracestate, std::string_view key) {
  while (!tracestate.empty()) {
    const std::size_t comma = tracestate.find(',');
    std::string_view member = tracestate.substr(0, comma);
    tracestate = comma == tracestate.npos ? std::string_view{} : tracestate.substr(comma + 1);
    if (!member.starts_with("ot=")) continue;
    member.remove_prefix(3);
    while (!member.empty()) {
      const std::size_t end = member.find(';');
      const std::string_view part = member.substr(0, end);
      if (part.size() > key.size() && part.starts_with(key) && part[key.size()] == ':') return part.substr(key.size() + 1);
      member = end == member.npos ? std::string_view{} : member.substr(end + 1);
    }
  }
  return {};
}

// Up to 14 hex digits, left-aligned in 56 bits.
bool parse_bits(std::string_view hex, std::uint64_t& out) {
  if (hex.empty() || hex.size() > 14) return false;
  std::uint64_t v = 0;
  for (const char c : hex) {
    const int digit = hex_value(c);
    if (digit < 0) return false;
    v = v << 4 | static_cast<std::uint64_t>(digit);
  }
  out = v << (4 * (14 - hex.size()));
  return true;
}

double clamped(double rate) { return rate >= 0 ? std::min(rate, 1.0) : 0; }

const SamplingPolicy::Incident* incident_of(const SamplingTable& table, std::string_view tenant) {
  const std::int64_t now = now_ns() / 1000;
  const auto on = [now](const SamplingPolicy::Incident& i) { return i.until.micros() > now; };
  if (const auto it = table.policy.incidents.find(tenant); it != table.policy.incidents.end() && on(it->second)) return &it->second;
  return table.policy.incident && on(*table.policy.incident) ? &*table.policy.incident : nullptr;
}

bool incident_chooses(const SamplingTable& table, std::string_view tenant, std::uint64_t random) {
  const auto* incident = incident_of(table, tenant);
  return incident != nullptr && random >= sampling_threshold(incident->rate);
}

void write_state(Context& context, std::uint64_t threshold) {
  context.tracestate.clear();
  if (threshold == kSampleAll) return;  // nothing was left out: nothing to scale
  context.tracestate = "ot=th:";
  for (std::uint64_t rest = threshold & (kKeepNothing - 1); rest != 0; rest = rest << 4 & (kKeepNothing - 1)) context.tracestate.push_back("0123456789abcdef"[rest >> 52]);
}

}  // namespace

void decide(Context& context) {
  context.sampling = SamplingReason::kHead;
  context.threshold = g_sampling_threshold.load(std::memory_order_acquire);
  const bool by_tenant = g_sampling_by_tenant.load(std::memory_order_acquire);
  if (!by_tenant && context.threshold == kSampleAll) [[likely]] {
    context.flags = TraceParent::kSampled | TraceParent::kRandom;
    context.tracestate.clear();
    return;
  }
  const std::uint64_t random = randomness_of(context.trace_id, {});
  if (by_tenant) {
    const Reading reading;
    const SamplingTable& table = sampling_table();
    const std::string_view tenant = context.tenant_id.str();
    const auto it = table.policy.tenants.find(tenant);
    context.threshold = it != table.policy.tenants.end() ? sampling_threshold(it->second) : table.threshold;
    if (random < context.threshold && incident_chooses(table, tenant, random)) {
      context.sampling = SamplingReason::kIncident;
      context.threshold = kSampleAll;
    }
  }
  const bool sampled = random >= context.threshold;
  context.flags = static_cast<std::uint8_t>((sampled ? TraceParent::kSampled : 0) | TraceParent::kRandom);
  if (sampled) write_state(context, context.threshold);
  else context.tracestate.clear();
}

void decide_again(Context& context) {
  if (g_sampling_by_tenant.load(std::memory_order_acquire)) decide(context);
}

void boost(Context& context) {
  const Reading reading;
  if (!incident_chooses(sampling_table(), context.tenant_id.str(), randomness_of(context.trace_id, context.tracestate))) return;
  context.flags |= TraceParent::kSampled;
  context.sampling = SamplingReason::kIncident;
  context.threshold = kSampleAll;
}

std::uint64_t threshold_of(std::string_view tracestate) {
  std::uint64_t bits = kSampleAll;
  return !tracestate.empty() && parse_bits(ot_value(tracestate, "th"), bits) ? bits : kSampleAll;
}

std::uint64_t randomness_of(const TraceId& trace, std::string_view tracestate) {
  std::uint64_t bits;
  if (!tracestate.empty()) {
    const std::string_view rv = ot_value(tracestate, "rv");
    if (rv.size() == 14 && parse_bits(rv, bits)) return bits;
  }
  std::memcpy(&bits, trace.bytes().data() + 8, 8);
  if constexpr (std::endian::native == std::endian::little) bits = __builtin_bswap64(bits);
  return bits & (kKeepNothing - 1);
}

}  // namespace detail

std::uint64_t sampling_threshold(double rate) {
  rate = detail::clamped(rate);
  if (rate == 0) return detail::kKeepNothing;
  const auto exact = static_cast<std::uint64_t>(std::llround((1 - rate) * static_cast<double>(detail::kKeepNothing)));
  if (exact >= detail::kKeepNothing) return detail::kKeepNothing - 1;
  // Five digits behind the leading f's are enough for any rate that people set, and keep tracestate short.
  int digits = 5;
  for (std::uint64_t rest = exact; (rest >> 52) == 0xf && digits < 14; rest = rest << 4 & (detail::kKeepNothing - 1)) ++digits;
  const int shift = 4 * (14 - digits);
  if (shift <= 0) return exact;
  const std::uint64_t rounded = (exact + (std::uint64_t{1} << (shift - 1))) >> shift << shift;
  return rounded >= detail::kKeepNothing ? exact : rounded;
}

void set_sampling(SamplingPolicy policy) {
  auto table = std::make_unique<detail::SamplingTable>();
  policy.rate = detail::clamped(policy.rate);
  for (auto& [tenant, rate] : policy.tenants) rate = detail::clamped(rate);
  table->threshold = sampling_threshold(policy.rate);
  const bool incidents = policy.incident.has_value() || !policy.incidents.empty();
  table->policy = std::move(policy);
  auto& h = detail::holder();
  const std::lock_guard lock(h.mutex);
  if (table->policy == detail::sampling_table().policy) return;  // each job of a runner says what its tenant's rate is
  const bool by_tenant = incidents || !table->policy.tenants.empty();
  detail::g_sampling_threshold.store(table->threshold, std::memory_order_release);
  std::unique_ptr<const detail::SamplingTable> old(detail::g_table.load());
  detail::g_table.store(table.release());
  detail::g_sampling_by_tenant.store(by_tenant, std::memory_order_release);
  detail::g_sampling_incidents.store(incidents, std::memory_order_release);
  ++h.made;
  h.retired.add(std::move(old));
  const std::uint32_t next = detail::g_sampling_generation.load(std::memory_order_relaxed) + 1;
  detail::g_sampling_generation.store(next == 0 ? 1 : next, std::memory_order_release);
}

Tables sampling_tables() {
  auto& h = detail::holder();
  const std::lock_guard lock(h.mutex);
  return {h.made, h.retired.size()};
}

SamplingPolicy sampling() {
  const Reading reading;
  return detail::sampling_table().policy;
}

namespace {
// One change at a time, so that none is lost.
template <class F>
void change(F&& f) {
  static std::mutex& mutex = *new std::mutex;
  const std::lock_guard lock(mutex);
  SamplingPolicy policy = sampling();
  f(policy);
  set_sampling(std::move(policy));
}
}  // namespace

void set_sampling_rate(double rate) {
  change([&](SamplingPolicy& p) { p.rate = rate; });
}
void set_tenant_sampling(std::string_view tenant, std::optional<double> rate) {
  change([&](SamplingPolicy& p) {
    if (rate) p.tenants.insert_or_assign(std::string(tenant), *rate);
    else if (const auto it = p.tenants.find(tenant); it != p.tenants.end()) p.tenants.erase(it);
  });
}
void set_incident_sampling(std::string_view tenant, double rate, Timestamp until) {
  change([&](SamplingPolicy& p) {
    const bool over = until <= Timestamp::now();
    const SamplingPolicy::Incident incident{rate, until};
    if (tenant.empty()) {
      p.incident = over ? std::nullopt : std::optional(incident);
    } else if (over) {
      p.incidents.erase(std::string(tenant));
    } else {
      p.incidents.insert_or_assign(std::string(tenant), incident);
    }
  });
}
void set_tail_keep(bool on) {
  change([&](SamplingPolicy& p) { p.tail_keep = on; });
}
void set_route_tail_keep(std::string_view route, SamplingPolicy::Route route_policy) {
  change([&](SamplingPolicy& p) { p.routes.insert_or_assign(std::string(route), route_policy); });
}

std::int64_t tail_keep_threshold(std::string_view route) {
  const Reading reading;
  const SamplingPolicy& p = detail::sampling_table().policy;
  if (const auto it = p.routes.find(route); it != p.routes.end() && it->second.slow) return it->second.slow->count();
  return p.slow.count();
}

bool tail_keep(std::string_view route) {
  const Reading reading;
  const SamplingPolicy& p = detail::sampling_table().policy;
  if (const auto it = p.routes.find(route); it != p.routes.end() && it->second.tail_keep) return *it->second.tail_keep;
  return p.tail_keep;
}

}  // namespace stella::telemetry
