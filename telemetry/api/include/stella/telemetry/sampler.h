// Which traces are kept: head sampling by consistent probability (OpenTelemetry: rejection threshold on 56 random bits, `ot=th:` in
// tracestate), and tail keep for those that the head did not choose. Changeable at any time; readers take no lock.
//
// A trace that began elsewhere keeps its parent's decision. One that begins here is decided when its first span begins and again when its
// tenant becomes known; being consistent, the decisions of all rates agree (a lower rate keeps a part of what a higher one keeps).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/time.h"
#include "stella/telemetry/reclaim.h"

namespace stella::telemetry {

struct SamplingPolicy {
  // Traces at this rate until then; they carry sampling.reason=incident.
  struct Incident {
    double rate = 1;
    Timestamp until;
    friend bool operator==(const Incident&, const Incident&) = default;
  };
  struct Route {
    std::optional<bool> tail_keep;
    std::optional<std::chrono::nanoseconds> slow;
    friend bool operator==(const Route&, const Route&) = default;
  };
  double rate = 1;                                           // 0…1 of the traces that begin here
  std::map<std::string, double, std::less<>> tenants;        // instead of `rate`
  std::optional<Incident> incident;                          // all tenants
  std::map<std::string, Incident, std::less<>> incidents;    // one tenant
  bool tail_keep = true;                                     // record unsampled traces until their local root ends
  std::chrono::nanoseconds slow = std::chrono::seconds(1);   // a local root over it keeps its trace; negative: never
  std::map<std::string, Route, std::less<>> routes;          // by route template
  friend bool operator==(const SamplingPolicy&, const SamplingPolicy&) = default;
};

// Replaces everything. Rates are clamped to 0…1 (no number counts as 0).
void set_sampling(SamplingPolicy policy);
SamplingPolicy sampling();
// Tables of it: setting what holds already makes none.
Tables sampling_tables();

// Single switches of the policy in force.
void set_sampling_rate(double rate);
void set_tenant_sampling(std::string_view tenant, std::optional<double> rate);  // nullopt: the default again
// Boosts the tenant ("": everybody) until `until`; one in the past ends it.
void set_incident_sampling(std::string_view tenant, double rate, Timestamp until);
void set_tail_keep(bool on);
void set_route_tail_keep(std::string_view route, SamplingPolicy::Route route_policy);

// For backends: the duration in ns over which a local root of `route` keeps its trace; negative: never.
std::int64_t tail_keep_threshold(std::string_view route);
bool tail_keep(std::string_view route);

// The rejection threshold of a rate, in the precision that is written: 1 % is fd70a400000000. 2^56 keeps nothing.
std::uint64_t sampling_threshold(double rate);

}  // namespace stella::telemetry
