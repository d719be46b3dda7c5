// What a run of background work leaves behind.
#include "stella/telemetry/work.h"

#include <algorithm>

#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

constexpr Counter kRuns{contracts::metrics::kBackgroundRuns};
constexpr Counter kItems{contracts::metrics::kBackgroundItems};
constexpr Histogram kDuration{contracts::metrics::kBackgroundDurationSeconds};
constexpr Gauge kWaiting{contracts::metrics::kBackgroundWaiting};

}  // namespace

Context of_tenant(const TenantId& tenant) {
  Context out;
  out.tenant_id = tenant;
  return out;
}

Work::Work(const contracts::WorkRow& row, Context context, SpanKind kind) : row_(row), scope_(std::move(context)), span_(SpanName::work(row), kind) {}

Work::~Work() {
  const bool nothing = items_ <= 0 && !failed_;
  if (nothing && !tried_) {
    span_.drop();
    return;
  }
  span_.set(f::count(std::max<std::int64_t>(items_, 0)));
  if (!failed_) span_.ok();
  if (nothing) return;
  kRuns.add(1, row_.name, failed_ ? "failed" : "done");
  kItems.add(items_, row_.name);
  // Within the span, for the exemplar.
  const auto took = std::chrono::steady_clock::now() - began_ + before_;
  kDuration.bind(row_.name).record(std::chrono::duration<double>(took).count());
}

void Work::fail(const Error& error) {
  failed_ = true;
  span_.fail(error);
}

void Work::link(std::string_view traceparent) {
  if (const auto origin = parse_traceparent(traceparent)) span_.link(*origin);
}

void Work::started_at(Timestamp start) {
  span_.started_at(start);
  before_ = std::max(std::chrono::microseconds(0), std::chrono::microseconds(Timestamp::now().micros() - start.micros()));
}

void Work::waiting(const contracts::WorkRow& row, std::int64_t count) { kWaiting.set(static_cast<double>(count), row.name); }

void Work::announce() {
  for (const contracts::WorkRow& row : contracts::kWork) {
    for (const std::string_view outcome : {"done", "failed"}) (void)kRuns.bind(row.name, outcome);
    (void)kItems.bind(row.name);
  }
}

}  // namespace stella::telemetry
