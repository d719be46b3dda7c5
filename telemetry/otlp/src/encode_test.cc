// Records become export requests: every value at its place, grouped by tenant and scope. (tests/telemetry lets other people's classes read them.)
#include <gtest/gtest.h>

#include "stella/contracts/errors.h"
#include "stella/telemetry/otlp.h"

namespace stella::telemetry {
namespace {

RecordBuilder span_record(std::string tenant) {
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = 1'700'000'000'000'000'000;
  b.head.end_ns = b.head.ns + 1500;
  b.head.trace_id.fill(0x11);
  b.head.span_id.fill(0x22);
  b.tenant = std::move(tenant);
  b.message = "policy.evaluate";
  b.add(f::operation("read"));
  return b;
}

void add(TraceBatch& batch, const RecordBuilder& b) {
  const std::string bytes = b.build();
  const auto view = RecordView::parse(bytes);
  ASSERT_TRUE(view);
  batch.add(*view);
}

TEST(TraceBatch, IsEmptyAgainAfterTake) {
  TraceBatch batch;
  EXPECT_EQ(batch.take({}), "");
  add(batch, span_record("acme"));
  add(batch, span_record("other"));
  add(batch, span_record("acme"));
  EXPECT_EQ(batch.spans(), 3u);
  const std::size_t expected = batch.bytes();
  const std::string request = batch.take({});
  EXPECT_LE(request.size(), expected + 400);
  EXPECT_EQ(batch.spans(), 0u);
  EXPECT_EQ(batch.take({}), "");
  add(batch, span_record("acme"));
  add(batch, span_record("other"));
  add(batch, span_record("acme"));
  EXPECT_EQ(batch.take({}), request);
}

TEST(TraceBatch, LogsAreNoSpans) {
  TraceBatch spans;
  RecordBuilder log = span_record("acme");
  log.head.kind = RecordKind::kLog;
  add(spans, log);
  EXPECT_TRUE(spans.empty());
}

}  // namespace
}  // namespace stella::telemetry
