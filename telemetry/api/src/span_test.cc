// What spans bound and count: attributes, links, events; who asks to be kept; and that no two processes share ids.
#include "stella/telemetry/span.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "capture_outlet.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {
namespace {

using detail::FieldMaker;

class Spans : public ::testing::Test {
 protected:
  void SetUp() override { set_sampling({}); }
  void TearDown() override { set_sampling({}); }
  static Field attribute(const std::string& key, std::int64_t value) { return FieldMaker::integer(key, kForeignField, Field::Kind::kInt, value); }
  static json::Value attributes(const RecordView& record) { return *json::parse(to_span_record(record, Resource{}).attributes); }
  static std::size_t fields(const RecordView& record) {
    std::size_t n = 0;
    record.each_field([&](const FieldView&) { ++n; });
    return n;
  }
  CaptureOutlet out;
};

TEST_F(Spans, KeepTheFirst128AttributesAndCountTheRest) {
  {
    Span span("full");
    for (int i = 0; i < 140; ++i) span.set(attribute("k" + std::to_string(i), i));
    span.set(attribute("k5", 55));   // there already: its new value takes the old one's place
    span.set(attribute("k139", 1));  // never got in
    span.fail(Error(contracts::errors::kLimit, "too deep"));  // an error always has a place
  }
  const RecordView record = out.last();
  EXPECT_EQ(fields(record), 129u);
  EXPECT_EQ(record.head().dropped_fields, 13);
  EXPECT_EQ(record.head().status, SpanStatus::kError);
  bool error = false;
  std::set<std::string, std::less<>> keys;
  record.each_field([&](const FieldView& f) {
    error = error || f.kind == Field::Kind::kError;
    EXPECT_TRUE(keys.emplace(f.key).second) << f.key;
    if (f.key == "k5") {
      EXPECT_EQ(f.integer(), 55);
    }
  });
  EXPECT_TRUE(error);
  EXPECT_TRUE(keys.contains("k127"));
  EXPECT_FALSE(keys.contains("k128"));
  EXPECT_EQ(attributes(record).boolean("truncated"), true);
}

TEST_F(Spans, At128AttributesNothingIsDropped) {
  {
    Span span("just full");
    for (int i = 0; i < 128; ++i) span.set(attribute("k" + std::to_string(i), i));
  }
  EXPECT_EQ(fields(out.last()), 128u);
  EXPECT_EQ(out.last().head().dropped_fields, 0);
  EXPECT_EQ(attributes(out.last()).find("truncated"), nullptr);
}

TEST_F(Spans, KeepTheFirst32LinksAndCountTheRest) {
  std::vector<TraceParent> others;
  {
    Span span("links");
    for (int i = 0; i < 40; ++i) {
      others.push_back({TraceId::generate(), SpanId::generate(), 1});
      span.link(others.back());
    }
  }
  const RecordView record = out.last();
  EXPECT_EQ(record.head().link_count, 32);
  EXPECT_EQ(record.head().dropped_links, 8);
  std::size_t i = 0;
  record.each_link([&](std::span<const std::uint8_t, 16> trace, std::span<const std::uint8_t, 8> id) {
    ASSERT_LT(i, others.size());
    EXPECT_TRUE(std::equal(trace.begin(), trace.end(), others[i].trace_id.bytes().begin()));
    EXPECT_TRUE(std::equal(id.begin(), id.end(), others[i].span_id.bytes().begin()));
    ++i;
  });
  EXPECT_EQ(i, 32u);
}

TEST_F(Spans, KeepTheFirst32EventsInOrderAndCountTheRest) {
  {
    Span span("events");
    for (int i = 0; i < 35; ++i) span.event("retried", {f::count(i), f::reason("away")});
  }
  const RecordView record = out.last();
  EXPECT_EQ(record.head().event_count, 32);
  EXPECT_EQ(record.head().dropped_events, 3);
  std::int64_t next = 0, last = record.head().ns;
  record.each_event([&](std::int64_t ns, std::string_view name, auto&& each) {
    EXPECT_EQ(name, "retried");
    EXPECT_GE(ns, last);
    last = ns;
    std::int64_t count = -1;
    std::string reason;
    each([&](const FieldView& f) {
      if (f.key == "count") count = f.integer();
      if (f.key == "reason") reason = f.value;
    });
    EXPECT_EQ(count, next++);
    EXPECT_EQ(reason, "away");
  });
  EXPECT_EQ(next, 32);
  EXPECT_LE(last, record.head().end_ns);
}

TEST_F(Spans, TextOfEventsIsMaskedAndBounded) {
  const std::string huge(40'000, 'x');
  {
    Span span("events");
    span.event("first", {f::reason("mail ann@example.org")});
    for (int i = 0; i < 19; ++i) span.event("huge", {f::reason(huge)});
  }
  const RecordView record = out.last();
  EXPECT_NE(record.head().flags & RecordHead::kTruncated, 0);
  EXPECT_GE(record.head().dropped_events, 1);
  EXPECT_EQ(record.head().event_count + record.head().dropped_events, 20);
  EXPECT_LE(record.bytes().size(), kRecordBytes);
  EXPECT_EQ(record.bytes().find("ann@example.org"), std::string_view::npos);
}

TEST_F(Spans, ANameOfARouteIsCut) {
  const std::string route = "/" + std::string(600, 'r');
  { Span span(SpanName::api(route)); }
  EXPECT_EQ(out.last().name(), "api." + route.substr(0, 256));
}

TEST_F(Spans, AreKeptWhereACalleeAsks) {
  set_sampling_rate(0);
  {
    Span span("caller");
    EXPECT_TRUE(span.recorded());
    EXPECT_FALSE(span.wants_keep());
    span.keep();
    EXPECT_TRUE(span.wants_keep());
  }
  EXPECT_NE(out.last().head().flags & RecordHead::kKeep, 0);
  EXPECT_EQ(out.last().head().sampling, SamplingReason::kUndecided);
  EXPECT_NE(out.last().head().flags & RecordHead::kLocalRoot, 0);
  EXPECT_EQ(out.last().head().status, SpanStatus::kUnset);
  { Span span("caller"); }
  EXPECT_EQ(out.last().head().flags & RecordHead::kKeep, 0);
}

TEST_F(Spans, AskTheirCallerEvenWhereNobodyRecordsThem) {
  set_sampling_rate(0);
  set_tail_keep(false);
  {
    Span failed("failed");
    EXPECT_FALSE(failed.recorded());
    failed.fail(Error(contracts::errors::kUnavailable, "database is away"));
    EXPECT_TRUE(failed.wants_keep());
    ManualSpan asked("asked", SpanKind::kClient, Context::current());
    asked.keep();
    EXPECT_TRUE(asked.wants_keep());
  }
  EXPECT_EQ(out.size(), 0u);
}

TEST_F(Spans, AFailureStays) {
  {
    Span span("failed");
    span.fail(Error(contracts::errors::kLimit, "too deep"));
    span.ok();
  }
  EXPECT_EQ(out.last().head().status, SpanStatus::kError);
}

TEST_F(Spans, KnowTheirRoots) {
  RemoteContext remote{*parse_traceparent("00-12345678901234567890123456789012-1234567890123456-01"), ""};
  {
    ContextScope scope(Context::continue_from(remote));
    Span server("server", SpanKind::kServer);
    Span inner("inner");
  }
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out.at(0).head().flags & (RecordHead::kLocalRoot | RecordHead::kRemoteParent), 0);
  EXPECT_EQ(out.at(1).head().flags & (RecordHead::kLocalRoot | RecordHead::kRemoteParent), RecordHead::kLocalRoot | RecordHead::kRemoteParent);
  EXPECT_EQ(out.at(0).head().parent_span_id, out.at(1).head().span_id);
  EXPECT_EQ(out.at(0).head().trace_id, out.at(1).head().trace_id);
}

TEST_F(Spans, MayBeginBeforeTheyWereMade) {
  const Timestamp early = Timestamp::from_micros(Timestamp::now().micros() - 5'000'000), late = Timestamp::from_micros(Timestamp::now().micros() + 5'000'000);
  {
    Span span("early");
    span.started_at(early);
    span.started_at(late);  // never forwards
  }
  EXPECT_EQ(out.last().head().ns, early.micros() * 1000);
  EXPECT_GE(out.last().head().end_ns - out.last().head().ns, 4'999'000'000) << "Timestamp's clock and the spans' agree to microseconds, not to the last one";
}

TEST_F(Spans, IdsOfAllThreadsDiffer) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 2'000; ++i) Span span("thread");
    });
  }
  for (std::thread& t : threads) t.join();
  std::set<std::array<std::uint8_t, 16>> traces;
  std::set<std::array<std::uint8_t, 8>> spans;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const RecordView record = out.at(i);
    traces.insert(record.head().trace_id);
    spans.insert(record.head().span_id);
  }
  EXPECT_EQ(traces.size(), 8'000u);
  EXPECT_EQ(spans.size(), 8'000u);
}

TEST_F(Spans, IdsDifferAfterAFork) {
  using Ids = std::array<std::array<std::uint8_t, 24>, 8>;
  const auto take = [] {
    Ids ids{};
    for (auto& id : ids) {
      Span span("forked");
      const Context& context = Context::current();
      std::copy_n(context.trace_id.bytes().begin(), 16, id.begin());
      std::copy_n(context.span_id.bytes().begin(), 8, id.begin() + 16);
    }
    return ids;
  };
  (void)take();  // this thread has its generator, which a child gets a copy of
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const Ids ids = take();
    _exit(write(pipe_ends[1], &ids, sizeof ids) == static_cast<ssize_t>(sizeof ids) ? 0 : 1);
  }
  close(pipe_ends[1]);
  const Ids mine = take();
  Ids other{};
  EXPECT_EQ(read(pipe_ends[0], &other, sizeof other), static_cast<ssize_t>(sizeof other));
  close(pipe_ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::set<std::array<std::uint8_t, 16>> traces;
  std::set<std::array<std::uint8_t, 8>> spans;
  for (const Ids* ids : {&std::as_const(mine), &std::as_const(other)}) {
    for (const auto& id : *ids) {
      std::array<std::uint8_t, 16> trace;
      std::array<std::uint8_t, 8> span;
      std::copy_n(id.begin(), 16, trace.begin());
      std::copy_n(id.begin() + 16, 8, span.begin());
      traces.insert(trace);
      spans.insert(span);
    }
  }
  EXPECT_EQ(traces.size(), 16u);
  EXPECT_EQ(spans.size(), 16u);
}

// Spans of which is known that nobody records them take a shorter way: what they leave in the context must be the same.
class QuietSpans : public Spans {
 protected:
  void SetUp() override {
    Spans::SetUp();
    set_sampling_rate(0);
    set_tail_keep(false);
  }
  static Context continued(const char* traceparent) { return Context::continue_from(RemoteContext{*parse_traceparent(traceparent), ""}); }
  static constexpr const char* kUnsampled = "00-12345678901234567890123456789012-1234567890123456-00";
  static constexpr const char* kSampled = "00-12345678901234567890123456789012-1234567890123456-01";
};

TEST_F(QuietSpans, HaveIdsOfTheirOwnAndGiveThemBack) {
  const ContextScope scope(continued(kUnsampled));
  const Context& context = Context::current();
  const Span server("server", SpanKind::kServer);
  std::set<std::string> ids{context.span_id.hex()};
  for (int i = 0; i < 3; ++i) {  // the first finds out, the others know
    const SpanId outer = context.span_id, outer_parent = context.parent_span_id;
    {
      const Span child("child", SpanKind::kInternal, {f::count(i), f::reason("away")});
      EXPECT_FALSE(child.recorded());
      EXPECT_EQ(context.parent_span_id, outer);
      EXPECT_TRUE(ids.insert(context.span_id.hex()).second);
      const auto sent = parse_traceparent(context.traceparent());
      ASSERT_TRUE(sent.has_value());
      EXPECT_EQ(sent->span_id, context.span_id);
      EXPECT_EQ(sent->trace_id.hex(), "12345678901234567890123456789012");
      EXPECT_EQ(sent->flags & TraceParent::kSampled, 0);
      const SpanId mine = context.span_id;
      {
        const Span grandchild("grandchild");
        EXPECT_EQ(context.parent_span_id, mine);
        EXPECT_TRUE(ids.insert(context.span_id.hex()).second);
      }
      EXPECT_EQ(context.span_id, mine);
      EXPECT_EQ(context.parent_span_id, outer);
    }
    EXPECT_EQ(context.span_id, outer);
    EXPECT_EQ(context.parent_span_id, outer_parent);
  }
  EXPECT_EQ(out.size(), 0u);
}

TEST_F(QuietSpans, EndWithTheirTrace) {
  std::set<std::string> traces;
  for (int i = 0; i < 3; ++i) {
    {
      Span root("root");
      EXPECT_TRUE(traces.insert(Context::current().trace_id.hex()).second);
      const Span child("child"), other("other");
      EXPECT_FALSE(other.recorded());
    }
    EXPECT_TRUE(Context::current().trace_id.empty());
    EXPECT_TRUE(Context::current().span_id.empty());
    EXPECT_FALSE(Context::current().started_here);
  }
  const ContextScope scope(continued(kUnsampled));
  for (int i = 0; i < 2; ++i) {
    {
      Span server("server", SpanKind::kServer);
      const Span child("child"), other("other");
      EXPECT_FALSE(Context::current().remote);
    }
    EXPECT_TRUE(Context::current().remote);
    EXPECT_EQ(Context::current().span_id.hex(), "1234567890123456");
  }
  EXPECT_EQ(out.size(), 0u);
}

TEST_F(QuietSpans, AreRecordedAgainWhereContextOrPolicySaySo) {
  const ContextScope scope(continued(kUnsampled));
  Span server("server", SpanKind::kServer);
  { const Span child("child"), other("other"); }
  {
    const ContextScope inner(continued(kSampled));
    const Span sampled("sampled", SpanKind::kServer, {f::count(7)});
    EXPECT_TRUE(sampled.recorded());
  }
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(fields(out.last()), 1u);
  { const Span child("child"), other("other"); }
  EXPECT_EQ(out.size(), 1u);
  set_tail_keep(true);
  { const Span child("child", SpanKind::kInternal, {f::reason("away"), f::cached(true)}); }
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(fields(out.last()), 2u);
  set_tail_keep(false);
  set_route_tail_keep("/sboms/:id", {.tail_keep = true, .slow = std::nullopt});
  { const Span child("child"), other("other"); }
  EXPECT_EQ(out.size(), 2u);
  Context::edit([](Context& c) { c.route = "/sboms/:id"; });
  { const Span child("child"); }
  EXPECT_EQ(out.size(), 3u);
}

// Its sampling follows the tenant that becomes known on the way.
TEST_F(QuietSpans, AreRecordedOnceTheirTenantChoosesTheTrace) {
  set_tenant_sampling("acme", 1.0);
  Span root("root");
  { const Span child("child"), other("other"); }
  EXPECT_EQ(out.size(), 0u);
  Context::edit([](Context& c) { c.tenant_id = *TenantId::parse("acme"); });
  { const Span child("child"); }
  EXPECT_EQ(out.size(), 1u);
  Context::edit([](Context& c) { c.tenant_id = TenantId(); });
}

// Every open ancestor hears the wish: the answer of the outermost span passes it on.
TEST(Keep, IsPassedOnUntilTheLocalRootEnds) {
  const ContextScope scope{Context()};
  {
    Span root("policy.evaluate", SpanKind::kServer);
    EXPECT_FALSE(Context::current().keep);
    {
      Span middle("policy.evaluate");
      Span call("policy.evaluate", SpanKind::kClient);
      call.keep();
    }
    EXPECT_TRUE(Context::current().keep);
    EXPECT_FALSE(root.wants_keep());
  }
  EXPECT_FALSE(Context::current().keep);
}

}  // namespace
}  // namespace stella::telemetry
