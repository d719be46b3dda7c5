// Work that no request asked for: each time it does something it has a span of its own, and is counted and timed.
//
//   auto done = telemetry::in_work(contracts::work::kTimelineCheckpoint, telemetry::of_tenant(tenant), [&](telemetry::Work& work) -> Result<bool> {
//     ...                              // database, object store and log lines in here belong to the span
//     return true;                     // false, 0 or Work::did(0): an idle look, which leaves nothing behind
//   });
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "stella/base/result.h"
#include "stella/contracts/workers.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {

// A new trace of this tenant; of the platform where it is empty.
Context of_tenant(const TenantId& tenant);

// One run of a kind of background work (contracts/workers.json): its root span, or the child of the span that `context` continues. Ends on the
// thread that it began on. What it says goes to stella_background_{runs,duration_seconds,items}.
class Work {
 public:
  explicit Work(const contracts::WorkRow& row, Context context = Context(), SpanKind kind = SpanKind::kInternal);
  // Ends it: as done where something was done, else it is forgotten.
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // So many things more. Of work that never says it, a success without a value counts as one thing.
  void did(std::int64_t count = 1) { items_ = (items_ < 0 ? 0 : items_) + count; }
  // Others were asked, so that its span has children: it stays, also where nothing comes of it.
  void tried() { tried_ = true; }
  // Counted as failed, whatever was done before; the last error stands on the span.
  void fail(const Error& error);
  // To where it comes from: a traceparent that a row keeps. Nothing where it is none.
  void link(std::string_view traceparent);
  void link(const TraceParent& other) { span_.link(other); }
  void set(const Field& field) { span_.set(field); }
  // Moves the beginning back, for work that is known as such only at its end.
  void started_at(Timestamp start);

  // What the work came to, as in_work() says it: an error fails it; true, a number and success without a value count.
  template <class T>
  void end(const Result<T>& result) {
    if (!result) return fail(result.error());
    if (items_ >= 0) return;
    if constexpr (std::same_as<T, bool>) did(*result ? 1 : 0);
    else if constexpr (std::integral<T>) did(static_cast<std::int64_t>(*result));
    else did(1);
  }

  // How many things the last look found due (stella_background_waiting).
  static void waiting(const contracts::WorkRow& row, std::int64_t count);
  // Makes the series of all kinds of work, with 0: so that the first failure is seen as a change.
  static void announce();

 private:
  const contracts::WorkRow& row_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::microseconds before_{0};
  std::int64_t items_ = -1;  // -1: not said
  bool failed_ = false;
  bool tried_ = false;
  ContextScope scope_;
  Span span_;
};

template <class F>
auto in_work(const contracts::WorkRow& row, Context context, F&& work, SpanKind kind = SpanKind::kInternal) -> std::invoke_result_t<F&, Work&> {
  Work run(row, std::move(context), kind);
  auto result = work(run);
  run.end(result);
  return result;
}

}  // namespace stella::telemetry
