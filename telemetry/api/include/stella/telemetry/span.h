// Spans as values: begin where they are made, end where they go.
//
//   telemetry::Span span("policy.evaluate", telemetry::SpanKind::kInternal, {f::sbom_id(id)});
//   span.set(f::decision_effect("deny"));
//   if (!result) span.fail(result.error());
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/contracts/catalogue.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/field.h"
#include "stella/telemetry/fields.h"

namespace stella::telemetry {

enum class SpanKind : std::uint8_t { kInternal, kServer, kClient, kProducer, kConsumer };
std::string_view to_string(SpanKind kind);

// A literal, `api.<route template>`, or the work span of a job kind: never made from run-time data.
class SpanName {
 public:
  template <std::size_t N>
  consteval SpanName(const char (&text)[N]) : prefix_(""), text_(text, N - 1) {}  // NOLINT(google-explicit-constructor)
  static SpanName api(std::string_view route_template) { return SpanName("api.", route_template); }
  static SpanName job(const contracts::JobKindRow& row) { return SpanName("", row.span); }
  std::string str() const { return std::string(prefix_).append(text_); }

 private:
  SpanName(std::string_view prefix, std::string_view text) : prefix_(prefix), text_(text) {}
  std::string_view prefix_, text_;
};

// A span that is not ambient: it may begin on one thread and end on another, with one owner at a time.
class ManualSpan {
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
  // The last value of a key wins.
  void set(const Field& field);
  void link(const TraceParent& other);
  void fail(const Error& error);
  void ok() { status_ = Status::kOk; }
  // Moves the beginning back, for work that began before its context was known.
  void started_at(Timestamp start);
  // Ends it now; later calls do nothing. The destructor ends it too.
  void end();

 private:
  friend class Span;
  enum class Status : std::uint8_t { kUnset, kOk, kError };
  struct Attribute {
    std::string_view key;
    std::uint8_t order;
    std::string json;
  };
  std::string name_;
  SpanKind kind_;
  Status status_ = Status::kUnset;
  bool open_ = true;
  Timestamp start_;
  std::chrono::steady_clock::time_point steady_start_;
  Context context_;
  std::vector<Attribute> attributes_;
  std::vector<TraceParent> links_;
};

// Child of the ambient context, and ambient itself until it goes. Lives and dies on one thread, in nesting order.
class Span {
 public:
  explicit Span(SpanName name, SpanKind kind = SpanKind::kInternal, std::initializer_list<Field> fields = {});
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  void set(const Field& field) { span_.set(field); }
  void link(const TraceParent& other) { span_.link(other); }
  void fail(const Error& error) { span_.fail(error); }
  void ok() { span_.ok(); }
  void started_at(Timestamp start) { span_.started_at(start); }

 private:
  ManualSpan span_;
  TraceId saved_trace_;
  SpanId saved_span_, saved_parent_;
};

}  // namespace stella::telemetry
