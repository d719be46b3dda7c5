// How a context comes in with a message and goes out with a call: W3C Trace Context and W3C Baggage over any carrier (HTTP headers, gRPC
// metadata, headers of bus messages), and the one rule of whose trace is continued.
//
//   telemetry::Extractor caller;
//   for (const auto& [name, value] : request.headers) caller.header(name, value);
//   const auto admission = telemetry::admit(caller, same_tenant);
//   const telemetry::ContextScope scope(admission.context);
//   telemetry::Span span("shop.buy", telemetry::SpanKind::kServer);
//   admission.mark(span);
//   …
//   telemetry::inject(telemetry::Context::current(), [&](std::string_view name, std::string_view value) { call.headers.emplace_back(name, value); });
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/fields.h"

namespace stella::telemetry {

// W3C Trace Context §3.3: the members of all `tracestate` values of a message, in order. Allocates nothing; what is added must outlive it.
class TraceStateReader {
 public:
  static constexpr std::size_t kMembers = 32;     // more are malformed
  static constexpr std::size_t kTextBytes = 512;  // that are sent on

  TraceStateReader() {}  // members_ are set as they come
  // One value. From the first malformed member on the whole state is dropped, as the recommendation wants it.
  void add(std::string_view value);
  // The state in its one form: first of each key, no blanks around members, at most kTextBytes (whole members go: those over 128 characters
  // first, then from the right). "" where nothing came or anything was malformed. Is the value itself where that has the form already, else
  // written to `buffer`.
  std::string_view text(std::array<char, kTextBytes>& buffer) const;

 private:
  struct Member {
    const char* at;
    std::uint16_t size, key;  // "key=value", and of the key
  };
  void keep(const char* at, std::size_t key, std::size_t size);
  Member members_[kMembers];
  std::size_t count_ = 0, bytes_ = 0;  // bytes_: of members and the commas between them
  std::string_view only_;              // the only value that is not empty
  bool several_ = false, malformed_ = false;
};

// Which of the two formats come in with messages and go out with calls, in this process (OTEL_PROPAGATORS); both at first. Without trace
// context every message begins a trace of its own. For the start of a program; thread-safe.
void set_propagators(bool tracecontext, bool baggage);
namespace detail {
inline constexpr std::uint8_t kTraceContext = 1, kBaggage = 2;
inline constinit std::atomic<std::uint8_t> g_propagators{kTraceContext | kBaggage};
inline bool propagates(std::uint8_t which) { return (g_propagators.load(std::memory_order_relaxed) & which) != 0; }
}  // namespace detail

// What a message carries. Feed it every header, or those it wants; names in any case. Texts must outlive it. Not for two messages.
class Extractor {
 public:
  Extractor() {}
  explicit Extractor(std::span<const std::pair<std::string_view, std::string_view>> headers) {
    for (const auto& [name, value] : headers) header(name, value);
  }
  Extractor(const Extractor&) = delete;
  Extractor& operator=(const Extractor&) = delete;

  void header(std::string_view name, std::string_view value) {
    if (name.size() == 11 || name.size() == 10 || name.size() == 7) named(name, value);
  }
  void traceparent(std::string_view value);
  void tracestate(std::string_view value) { state_.add(value); }
  void baggage(std::string_view value);

  // nullopt where traceparent is absent, malformed or there twice: start a new trace, without the state. Valid as long as this object.
  std::optional<RemoteContext> remote() const;
  // The allowed members (allow_baggage) in the form in which they are sent on; independent of traceparent.
  const std::string& allowed_baggage() const { return baggage_; }

 private:
  void named(std::string_view name, std::string_view value);
  std::optional<TraceParent> parent_;
  bool seen_ = false, twice_ = false;
  std::size_t baggage_bytes_ = 0;  // read so far
  std::size_t baggage_members_ = 0;
  TraceStateReader state_;
  std::string baggage_;
  mutable std::array<char, TraceStateReader::kTextBytes> buffer_;
};

// What became of a caller's context.
struct Admission {
  Context context;                    // to make ambient; without a trace where a new one starts
  std::optional<TraceParent> linked;  // the caller's span, where its trace is not continued

  // Tells the span of the request whose trace was not continued: as a link and as the field linked_trace_id. For Span and ManualSpan.
  template <class S>
  void mark(S& span) const {
    if (!linked) return;
    span.link(*linked);
    span.set(f::linked_trace_id(linked->trace_id));
  }
};
// The rule of restart and link. `same_tenant`: the caller is authenticated and asks in the name of its own tenant. Its trace goes on, with
// its sampling decision and its allowed baggage. Of anybody else only the id is kept, as a link: no stranger writes into a trace, chooses
// what is sampled, or has its baggage sent on.
Admission admit(const Extractor& caller, bool same_tenant);

inline constexpr std::size_t kTraceparentBytes = 55;
// The traceparent, version 00, without a terminating zero. Allocates nothing.
void write_traceparent(const TraceParent& parent, std::span<char, kTraceparentBytes> out) noexcept;

// Calls put(name, value) for every header that a call made in `context` carries: traceparent, and tracestate and baggage where there are
// any. Nothing outside of a trace: a traceparent of zeros is malformed. Names are lower case; values are valid during the call of put.
template <class Put>
void inject(const Context& context, Put&& put) {
  if (context.trace_id.empty() || context.span_id.empty()) return;
  if (detail::propagates(detail::kTraceContext)) [[likely]] {
    char text[kTraceparentBytes];
    write_traceparent(context.parent(), text);
    put(std::string_view("traceparent"), std::string_view(text, sizeof text));
    if (!context.tracestate.empty()) put(std::string_view("tracestate"), std::string_view(context.tracestate));
  }
  if (!context.baggage.empty() && detail::propagates(detail::kBaggage)) put(std::string_view("baggage"), std::string_view(context.baggage));
}

// W3C Baggage: values that travel with a request. They are never in a log line or span of ours: what they mean is the sender's business.
class Baggage {
 public:
  static constexpr std::size_t kMembers = 64;
  static constexpr std::size_t kBytes = 8192;  // of all values together

  struct Member {
    std::string key;         // token of RFC 9110
    std::string value;       // decoded, UTF-8
    std::string properties;  // as received, without blanks ("k1=v1;k2"); "" where none
  };

  // All `baggage` values of a message, in order. A malformed member is left out and the others stay; so do those that fit where there are
  // more than kMembers or kBytes. Octets that are not UTF-8 become U+FFFD. Of members with the same key the last one counts for find().
  static Baggage parse(std::span<const std::string_view> values);
  const std::vector<Member>& members() const { return members_; }
  // null where there is none of that key.
  const Member* find(std::string_view key) const;
  // Replaces all of that key. kInvalid (what is wrong, never the value) for a key that is no token, a value that is not UTF-8, malformed
  // properties, and where a limit would be passed.
  Result<void> set(std::string_view key, std::string_view value, std::string_view properties = {});
  void remove(std::string_view key);
  // One `baggage` value; "" where there are no members.
  std::string str() const;

 private:
  std::vector<Member> members_;
};

// The keys that come in from callers and go out with calls; none unless this was called, for baggage may hold personal data. Replaces what
// was allowed before. kInvalid where one is no token or there are more than Baggage::kMembers. For the start of a program; thread-safe.
Result<void> allow_baggage(std::span<const std::string> keys);

}  // namespace stella::telemetry
