// A run of background work: its span, its figures, and that an idle look leaves nothing behind.
#include "stella/telemetry/work.h"

#include <gtest/gtest.h>

#include "capture_outlet.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/active_span.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/metric_snapshot.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {
namespace {

namespace work = contracts::work;
const Error kAway(contracts::errors::kUnavailable, "the store is away");

class Background : public ::testing::Test {
 protected:
  void SetUp() override { set_sampling({}); }
  static SpanRecord record(const RecordView& view) { return to_span_record(view, Resource{}); }
  static std::int64_t count_of(const SpanRecord& span) { return json::parse(span.attributes)->find("count")->as_int(); }
  // Sum of the points of a metric with these values of its labels.
  static double total(std::string_view name, std::vector<std::string> labels) {
    for (const MetricFamily& family : snapshot().families) {
      if (family.spec->name != name) continue;
      for (const MetricPoint& point : family.points) {
        if (*point.labels == labels) return family.spec->type == contracts::MetricType::kHistogram ? static_cast<double>(point.count) : point.value;
      }
    }
    return -1;
  }
  CaptureOutlet out;
};

TEST_F(Background, IsTheRootOfItsOwnTraceEvenWithinAnother) {
  const TenantId tenant = *TenantId::parse("acme");
  TraceId outer, inner;
  {
    Span request("request");
    outer = Context::current().trace_id;
    const auto done = in_work(work::kTimelineCheckpoint, of_tenant(tenant), [&](Work&) -> Result<bool> {
      inner = Context::current().trace_id;
      EXPECT_EQ(Context::current().tenant_id, tenant);
      return true;
    });
    EXPECT_TRUE(done && *done);
    EXPECT_EQ(Context::current().trace_id, outer);
  }
  const SpanRecord span = record(out.at(0));
  EXPECT_EQ(span.name, "timeline.checkpoint");
  EXPECT_EQ(span.trace_id, inner.hex());
  EXPECT_NE(inner, outer);
  EXPECT_EQ(span.parent_span_id, "");
  EXPECT_EQ(span.tenant_id, "acme");
  EXPECT_EQ(span.status, "ok");
  EXPECT_EQ(count_of(span), 1);
}

TEST_F(Background, CountsWhatItDid) {
  const auto before = [] { return std::array{total("stella_background_runs", {"timeline.publish", "done"}), total("stella_background_items", {"timeline.publish"}), total("stella_background_duration_seconds", {"timeline.publish"})}; };
  (void)in_work(work::kTimelinePublish, {}, [](Work&) -> Result<int> { return 1; });
  const auto first = before();
  (void)in_work(work::kTimelinePublish, {}, [](Work&) -> Result<int> { return 7; });
  EXPECT_EQ(count_of(record(out.last())), 7);
  (void)in_work(work::kTimelinePublish, {}, [](Work& run) -> Result<void> {
    run.did(2);
    run.did(3);
    return {};
  });
  EXPECT_EQ(count_of(record(out.last())), 5);
  const auto second = before();
  EXPECT_EQ(second[0] - first[0], 2);
  EXPECT_EQ(second[1] - first[1], 12);
  EXPECT_EQ(second[2] - first[2], 2);
}

TEST_F(Background, AnIdleLookLeavesNothing) {
  (void)in_work(work::kEvidenceSeal, {}, [](Work&) -> Result<bool> { return false; });
  (void)in_work(work::kEvidenceSeal, {}, [](Work&) -> Result<int> { return 0; });
  (void)in_work(work::kEvidenceSeal, {}, [](Work& run) -> Result<void> {
    run.did(0);
    return {};
  });
  { const Work unused(work::kEvidenceSeal); }
  EXPECT_EQ(out.size(), 0u);
  EXPECT_EQ(total("stella_background_runs", {"evidence.seal", "done"}), -1);
  EXPECT_TRUE(Context::current().span_id.empty());
  EXPECT_EQ(innermost_span(), nullptr);
}

TEST_F(Background, WhoAskedOthersInVainKeepsTheSpanButCountsNothing) {
  (void)in_work(work::kEvidenceRedact, {}, [](Work& run) -> Result<bool> {
    run.tried();
    return false;
  });
  EXPECT_EQ(record(out.last()).name, "evidence.redact");
  EXPECT_EQ(count_of(record(out.last())), 0);
  EXPECT_EQ(total("stella_background_runs", {"evidence.redact", "done"}), -1);
}

TEST_F(Background, AFailureIsAnErrorOnItsSpanAndCounted) {
  const auto failed = in_work(work::kEvidenceLock, {}, [](Work& run) -> Result<bool> {
    run.did(4);
    return Error(kAway);
  });
  EXPECT_FALSE(failed);
  const SpanRecord span = record(out.last());
  EXPECT_EQ(span.status, "error");
  EXPECT_NE(span.attributes.find("unavailable"), std::string::npos) << span.attributes;
  EXPECT_EQ(count_of(span), 4);
  EXPECT_EQ(total("stella_background_runs", {"evidence.lock", "failed"}), 1);
  EXPECT_EQ(total("stella_background_runs", {"evidence.lock", "done"}), -1);
}

TEST_F(Background, LinksToItsOriginOrContinuesIt) {
  const TraceParent origin{TraceId::generate(), SpanId::generate(), 1};
  (void)in_work(work::kEvidenceRenew, {}, [&](Work& run) -> Result<void> {
    run.link("no traceparent");
    run.link(format_traceparent(origin));
    return {};
  });
  EXPECT_NE(record(out.last()).links.find(origin.trace_id.hex()), std::string::npos);
  EXPECT_NE(record(out.last()).trace_id, origin.trace_id.hex());
  (void)in_work(work::kEvidenceSeal, Context::continue_from(format_traceparent(origin), ""), [](Work&) -> Result<void> { return {}; });
  EXPECT_EQ(record(out.last()).trace_id, origin.trace_id.hex());
  EXPECT_EQ(record(out.last()).parent_span_id, origin.span_id.hex());
}

TEST_F(Background, ItsExemplarNamesItsTrace) {
  (void)in_work(work::kTimelineCosign, {}, [](Work&) -> Result<void> { return {}; });
  const std::string trace = record(out.last()).trace_id;
  bool found = false;
  for (const MetricFamily& family : snapshot().families) {
    if (family.spec->name != "stella_background_duration_seconds") continue;
    for (const MetricPoint& point : family.points) {
      for (const auto& [bucket, exemplar] : point.exemplars) found = found || (*point.labels == std::vector<std::string>{"timeline.cosign"} && exemplar.trace_id.hex() == trace);
    }
  }
  EXPECT_TRUE(found);
}

TEST_F(Background, AllKindsAreThereFromTheBeginning) {
  Work::announce();
  for (const contracts::WorkRow& row : contracts::kWork) {
    EXPECT_GE(total("stella_background_runs", {std::string(row.name), "failed"}), 0) << row.name;
    EXPECT_GE(total("stella_background_runs", {std::string(row.name), "done"}), 0) << row.name;
  }
  Work::waiting(work::kEvidenceSeal, 3);
  EXPECT_EQ(total("stella_background_waiting", {"evidence.seal"}), 3);
}

}  // namespace
}  // namespace stella::telemetry
