// Spans as values: begin where they are made, end where they go.
//
//   telemetry::Span span("policy.evaluate", telemetry::SpanKind::kInternal, {f::sbom_id(id)});
//   span.set(f::decision_effect("deny"));
//   if (!result) span.fail(result.error());
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/contracts/catalogue.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/field.h"
#include "stella/telemetry/fields.h"

namespace stella::telemetry {

enum class SpanKind : std::uint8_t { kInternal, kServer, kClient, kProducer, kConsumer };
std::string_view to_string(SpanKind kind);

// A literal, `api.<route template>`, or the name of a job kind's or of background work: never made from run-time data.
class SpanName {
 public:
  template <std::size_t N>
  consteval SpanName(const char (&text)[N]) : prefix_(""), text_(text, N - 1) {}  // NOLINT(google-explicit-constructor)
  static SpanName api(std::string_view route_template) { return SpanName("api.", route_template); }
  static SpanName job(const contracts::JobKindRow& row) { return SpanName("", row.span); }
  static SpanName work(const contracts::WorkRow& row) { return SpanName("", row.name); }
  std::string str() const { return std::string(prefix_).append(text_); }
  std::string_view prefix() const { return prefix_; }
  std::string_view text() const { return text_; }

 private:
  SpanName(std::string_view prefix, std::string_view text) : prefix_(prefix), text_(text) {}
  std::string_view prefix_, text_;
};

namespace detail {
struct Producer;
struct SpanBuffer;

extern constinit std::atomic<std::uint32_t> g_sampling_generation;  // of the sampling policy; begins with 1, never 0
// The policy's generation for which children of the ambient context's span are known not to be recorded; 0: not known.
extern constinit thread_local std::uint32_t t_quiet_generation;
inline bool quiet() { return t_quiet_generation == g_sampling_generation.load(std::memory_order_acquire); }

// What both kinds of span share: the parts that are known at the beginning, and the buffer of those that are recorded.
class SpanCore {
 public:
  bool recorded() const { return buffer_ != nullptr; }
  void set(const Field& field) {
    if (buffer_ != nullptr) add(field);
  }
  void link(const TraceParent& other) {
    if (buffer_ != nullptr) add_link(other);
  }
  void event(Literal name, std::initializer_list<Field> fields) {
    if (buffer_ != nullptr) add_event(name.view(), fields);
  }
  void fail(const Error& error);
  // Failed without an Error that says why.
  void fail() { status_ = 2; }
  // Nothing came of it after all: it is not recorded. Meant for what has no children.
  void drop() { dropped_ = true; }
  void ok() {
    if (status_ == 0) status_ = 1;
  }
  void started_at(Timestamp start);
  void keep();
  bool wants_keep() const { return keep_ || status_ == 2; }

 protected:
  SpanCore(const SpanName& name, SpanKind kind) : name_(name), kind_(kind) {}
  // Makes `context` that of this span and decides whether it is recorded.
  void begin(Producer& producer, Context& context);
  // Lays out the record and pushes it. `ambient`: `context` is the thread's own.
  void finish(Producer& producer, const Context& context, bool ambient);
  void forget(Producer& producer);

  SpanBuffer* buffer_ = nullptr;  // null: not recorded, or ended
  SpanName name_;
  SpanKind kind_;
  std::uint8_t status_ = 0;  // SpanStatus
  bool keep_ = false;
  bool dropped_ = false;
  bool local_root_ = false, remote_parent_ = false, new_trace_ = false;

 private:
  void add(const Field& field);
  void add_link(const TraceParent& other);
  void add_event(std::string_view name, std::initializer_list<Field> fields);
};
}  // namespace detail

// A span that is not ambient: it may begin on one thread and end on another, with one owner at a time.
class ManualSpan : private detail::SpanCore {
 public:
  // Child of `parent`; a new trace where parent.trace_id is empty.
  ManualSpan(SpanName name, SpanKind kind, const Context& parent, std::initializer_list<Field> fields = {});
  ~ManualSpan() { end(); }
  ManualSpan(ManualSpan&&) noexcept;
  ManualSpan& operator=(ManualSpan&&) = delete;

  // `parent` with this span as the innermost one: make it ambient with a ContextScope where the work is done.
  const Context& context() const { return context_; }
  // For tenant, actor and the like that become known on the way.
  Context& edit_context() { return context_; }
  // The last value of a key wins. At most 128 attributes; more are counted, not kept.
  using SpanCore::set;
  using SpanCore::link;   // at most 32
  using SpanCore::event;  // at most 32
  using SpanCore::drop;
  using SpanCore::fail;
  using SpanCore::ok;     // after fail() it stays failed
  // Moves the beginning back, for work that began before its context was known.
  using SpanCore::started_at;
  // A callee asked to keep the trace (it failed there): the backend keeps it whatever the head decided.
  using SpanCore::keep;
  using SpanCore::wants_keep;  // failed, or asked to keep: say so to the caller
  using SpanCore::recorded;
  // Ends it now; later calls do nothing. The destructor ends it too.
  void end();

 private:
  bool open_ = true;
  Context context_;
};

// Child of the ambient context, and ambient itself until it goes. Lives and dies on one thread, in nesting order.
// Beginning and end copy no text; of a trace that nobody records they cost a few ns, and its fields are not even laid out.
class Span : private detail::SpanCore {
 public:
  [[gnu::always_inline]] explicit Span(const SpanName& name, SpanKind kind = SpanKind::kInternal) : SpanCore(name, kind) {
    if (detail::quiet()) begin_quiet();
    else begin_ambient(nullptr, 0);
  }
  // Fields in braces. Inline, and the fields made again where they are needed: so the compiler leaves them out of the quiet path.
  template <std::size_t N>
  [[gnu::always_inline]] explicit Span(const SpanName& name, SpanKind kind, const Field (&fields)[N]) : SpanCore(name, kind) {
    if (detail::quiet()) begin_quiet();
    else begin_with(fields, std::make_index_sequence<N>());
  }
  [[gnu::always_inline]] ~Span() {
    if (buffer_ != nullptr || local_root_) {
      end_ambient();
    } else {
      ambient_->span_id = saved_span_;
      ambient_->parent_span_id = saved_parent_;
    }
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  // As in ManualSpan.
  using SpanCore::set;
  using SpanCore::link;
  using SpanCore::event;
  using SpanCore::drop;
  using SpanCore::fail;
  using SpanCore::ok;
  using SpanCore::started_at;
  using SpanCore::keep;
  using SpanCore::wants_keep;
  using SpanCore::recorded;

 private:
  template <std::size_t N, std::size_t... I>
  [[gnu::always_inline]] void begin_with(const Field (&fields)[N], std::index_sequence<I...>) {
    const Field again[N] = {detail::FieldMaker::again(fields[I])...};
    begin_ambient(again, N);
  }
  void begin_quiet() noexcept;  // ids alone
  void begin_ambient(const Field* fields, std::size_t count);
  void end_ambient();

  Context* ambient_;
  SpanId saved_span_, saved_parent_;
  std::uint8_t saved_flags_ = 0;
};

}  // namespace stella::telemetry
