// The policy in force, as spans read it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "stella/telemetry/context.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry::detail {

inline constexpr std::uint64_t kKeepNothing = std::uint64_t{1} << 56;

// What of the policy every span asks, apart from its table.
extern std::atomic<bool> g_sampling_by_tenant;  // a tenant that becomes known may change a decision
extern std::atomic<bool> g_sampling_incidents;

// Sets flags, threshold, reason and tracestate of a trace that begins here.
void decide(Context& context);
void decide_again(Context& context);
// A trace that began elsewhere and was not chosen there: incidents may choose it.
void boost(Context& context);

// `th` of a tracestate's `ot` member; kSampleAll where there is none.
std::uint64_t threshold_of(std::string_view tracestate);
// 56 bits: `rv` of the `ot` member, else of the trace id.
std::uint64_t randomness_of(const TraceId& trace, std::string_view tracestate);

}  // namespace stella::telemetry::detail
