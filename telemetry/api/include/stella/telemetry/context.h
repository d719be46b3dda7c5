// The ambient context of a thread (who and what the current work is for) and its W3C wire form.
//
// For diagnostics only: it is never an input to authorization.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "stella/base/ids.h"

namespace stella::telemetry {

// W3C Trace Context §3.2.
struct TraceParent {
  static constexpr std::uint8_t kSampled = 1;
  static constexpr std::uint8_t kRandom = 2;
  TraceId trace_id;
  SpanId span_id;
  std::uint8_t flags = kSampled;  // only the two known bits
};

// Value of one `traceparent` header. nullopt for everything that §3.2 says to ignore; versions above 00 by their first fields.
// Leading and trailing blanks are allowed.
std::optional<TraceParent> parse_traceparent(std::string_view text);
// Always version 00. Without an allocation: write_traceparent (propagation.h).
std::string format_traceparent(const TraceParent& parent);

// What a caller sent: parent and state. Views into the message (propagation.h).
struct RemoteContext {
  TraceParent parent;
  std::string_view tracestate;  // normalised, "" where absent or malformed
};

// Why a span is kept (field sampling_reason). kUndecided: the head did not choose it; the backend holds it until its local root ends.
enum class SamplingReason : std::uint8_t { kHead, kError, kLatency, kIncident, kUndecided };
std::string_view to_string(SamplingReason reason);
inline constexpr std::uint64_t kSampleAll = 0;  // rejection threshold of consistent sampling: 56 bits, 0 keeps everything

// The ambient values that every log line and span carries. Empty values are left out of the line.
struct Context {
  TraceId trace_id;
  SpanId span_id;         // of the innermost open span
  SpanId parent_span_id;  // of that span
  std::uint8_t flags = TraceParent::kSampled;
  std::string tracestate;
  std::string baggage;    // allowed members that the caller sent, and go out with calls
  TenantId tenant_id;     // empty: platform
  ProjectId project_id;
  std::string actor;      // opaque id ("user:<uuid>"), never a name
  std::string route;      // template ("/sboms/:id")
  std::string method;
  RequestId request_id;
  JobId job_id;
  RunId run_id;
  std::uint64_t threshold = kSampleAll;  // of the head decision
  SamplingReason sampling = SamplingReason::kHead;
  bool remote = false;    // span_id is a span of another process
  bool keep = false;      // a callee of this work asked to keep the trace: the answer passes the wish on to the caller
  bool started_here = false;  // this process made the trace: its sampling follows the tenant that becomes known

  // The ambient context of this thread.
  static const Context& current();
  // For what becomes known on the way (tenant and actor after authentication): f(Context&). Ends with the enclosing ContextScope.
  // Ids of trace and span are the open spans' business: leave them alone.
  template <class F>
  static void edit(F&& f) {
    f(mutable_current());
    edited();
  }

  // A child of a remote span: same trace, its span id as parent of the next Span. For a message's sender use admit() (propagation.h).
  static Context continue_from(const RemoteContext& remote);
  // The same from a stored traceparent and tracestate of ours; an empty context where the former is none, without state where the latter is.
  static Context continue_from(std::string_view traceparent, std::string_view tracestate);
  // The wire form for a call from here: current trace and span. All-zero ids where no span is open: call only inside a Span.
  TraceParent parent() const { return {trace_id, span_id, flags}; }
  std::string traceparent() const { return format_traceparent(parent()); }

 private:
  static Context& mutable_current();
  static void edited();
};

// Makes `context` ambient for this thread until the end of the scope. Scopes nest; they end in reverse order on their thread.
// Costs no copy of what is moved in, and none at its end.
class ContextScope {
 public:
  explicit ContextScope(Context context);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  Context context_;
  Context* saved_;
};

}  // namespace stella::telemetry
