// What messages carry in, and the rule of whose trace goes on.
#include "stella/telemetry/propagation.h"

#include <algorithm>

#include "baggage.h"

namespace stella::telemetry {
namespace {

// `lower` is of letters alone, so the bit that tells upper from lower case cannot hide anything else.
template <std::size_t N>
bool is_name(std::string_view name, const char (&lower)[N]) {
  if (name.size() != N - 1) return false;
  unsigned differ = 0;
  for (std::size_t i = 0; i < N - 1; ++i) differ |= (static_cast<unsigned char>(name[i]) | 0x20u) ^ static_cast<unsigned char>(lower[i]);
  return differ == 0;
}

}  // namespace

void set_propagators(bool tracecontext, bool baggage) {
  detail::g_propagators.store(static_cast<std::uint8_t>((tracecontext ? detail::kTraceContext : 0) | (baggage ? detail::kBaggage : 0)), std::memory_order_relaxed);
}

void Extractor::named(std::string_view name, std::string_view value) {
  if (is_name(name, "traceparent")) traceparent(value);
  else if (is_name(name, "tracestate")) tracestate(value);
  else if (is_name(name, "baggage")) baggage(value);
}

void Extractor::traceparent(std::string_view value) {
  if (seen_) twice_ = true;
  else parent_ = parse_traceparent(value);
  seen_ = true;
}

void Extractor::baggage(std::string_view value) {
  if (detail::propagates(detail::kBaggage)) detail::append_allowed(value, baggage_bytes_, baggage_members_, baggage_);
}

std::optional<RemoteContext> Extractor::remote() const {
  if (!parent_ || twice_ || !detail::propagates(detail::kTraceContext)) return std::nullopt;
  return RemoteContext{*parent_, state_.text(buffer_)};
}

Admission admit(const Extractor& caller, bool same_tenant) {
  Admission out;
  const auto remote = caller.remote();
  if (!same_tenant) {
    if (remote) out.linked = remote->parent;
    return out;
  }
  if (remote) out.context = Context::continue_from(*remote);
  out.context.baggage = caller.allowed_baggage();
  return out;
}

}  // namespace stella::telemetry
