// Head decisions and the table they are made by.
#include "stella/telemetry/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "sampling_policy.h"
#include "stella/telemetry/clock.h"

namespace stella::telemetry {
namespace detail {

constinit std::atomic<std::uint32_t> g_sampling_generation{1};

namespace {

struct Holder {
  std::mutex mutex;  // writers
  // Tables stay: a reader may hold one for as long as it likes. Only what changes something adds one, and people do that a few times a day.
  std::vector<std::unique_ptr<const SamplingTable>> tables;
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
  if (!table.incidents) return nullptr;
  const std::int64_t now = now_ns() / 1000;
  const auto on = [now](const SamplingPolicy::Incident& i) { return i.until.micros() > now; };
  if (const auto it = table.policy.incidents.find(tenant); it != table.policy.incidents.end() && on(it->second)) return &it->second;
  return table.policy.incident && on(*table.policy.incident) ? &*table.policy.incident : nullptr;
}

void write_state(Context& context, std::uint64_t threshold) {
  context.tracestate.clear();
  if (threshold == kSampleAll) return;  // nothing was left out: nothing to scale
  context.tracestate = "ot=th:";
  for (std::uint64_t rest = threshold & (kKeepNothing - 1); rest != 0; rest = rest << 4 & (kKeepNothing - 1)) context.tracestate.push_back("0123456789abcdef"[rest >> 52]);
}

}  // namespace

const SamplingTable& sampling_table() noexcept {
  const SamplingTable* table = g_table.load(std::memory_order_acquire);
  return table != nullptr ? *table : first_table();
}

void decide(Context& context) {
  const SamplingTable& table = sampling_table();
  context.sampling = SamplingReason::kHead;
  context.threshold = table.threshold;
  if (!table.by_tenant && table.threshold == kSampleAll) [[likely]] {
    context.flags = TraceParent::kSampled | TraceParent::kRandom;
    context.tracestate.clear();
    return;
  }
  const std::string_view tenant = context.tenant_id.str();
  if (const auto it = table.policy.tenants.find(tenant); it != table.policy.tenants.end()) context.threshold = sampling_threshold(it->second);
  const std::uint64_t random = randomness_of(context.trace_id, {});
  bool sampled = random >= context.threshold;
  if (!sampled) {
    if (const auto* incident = incident_of(table, tenant); incident != nullptr && random >= sampling_threshold(incident->rate)) {
      sampled = true;
      context.sampling = SamplingReason::kIncident;
      context.threshold = kSampleAll;
    }
  }
  context.flags = static_cast<std::uint8_t>((sampled ? TraceParent::kSampled : 0) | TraceParent::kRandom);
  if (sampled) write_state(context, context.threshold);
  else context.tracestate.clear();
}

void decide_again(Context& context) {
  if (sampling_table().by_tenant) decide(context);
}

void boost(Context& context) {
  const auto* incident = incident_of(sampling_table(), context.tenant_id.str());
  if (incident == nullptr || randomness_of(context.trace_id, context.tracestate) < sampling_threshold(incident->rate)) return;
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
  table->incidents = policy.incident.has_value() || !policy.incidents.empty();
  table->by_tenant = table->incidents || !policy.tenants.empty();
  table->policy = std::move(policy);
  auto& h = detail::holder();
  const std::lock_guard lock(h.mutex);
  if (table->policy == detail::sampling_table().policy) return;  // each job of a runner says what its tenant's rate is
  detail::g_table.store(table.get(), std::memory_order_release);
  h.tables.push_back(std::move(table));
  const std::uint32_t next = detail::g_sampling_generation.load(std::memory_order_relaxed) + 1;
  detail::g_sampling_generation.store(next == 0 ? 1 : next, std::memory_order_release);
}

std::uint64_t sampling_tables() {
  auto& h = detail::holder();
  const std::lock_guard lock(h.mutex);
  return h.tables.size();
}

SamplingPolicy sampling() { return detail::sampling_table().policy; }

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
  const SamplingPolicy& p = detail::sampling_table().policy;
  if (const auto it = p.routes.find(route); it != p.routes.end() && it->second.slow) return it->second.slow->count();
  return p.slow.count();
}

bool tail_keep(std::string_view route) {
  const SamplingPolicy& p = detail::sampling_table().policy;
  if (const auto it = p.routes.find(route); it != p.routes.end() && it->second.tail_keep) return *it->second.tail_keep;
  return p.tail_keep;
}

}  // namespace stella::telemetry
