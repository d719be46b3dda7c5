// Records survive the way from a child, and a child that lies gets nothing into another trace or tenant.
#include "stella/telemetry/records.h"

#include <gtest/gtest.h>

#include "line_schema.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

constexpr Logger kLog{"unit"};
const TenantId kAcme = *TenantId::parse("acme");

// What a job child does: one trace, its own sink.
struct Child {
  std::shared_ptr<CollectingSink> sink = std::make_shared<CollectingSink>(50);
  std::shared_ptr<Sink> previous = install_sink(sink);
  TraceId trace = TraceId::generate();
  ~Child() { install_sink(previous); }
  template <class F>
  Records run(F work) {
    Context context;
    context.trace_id = trace;
    context.span_id = SpanId::generate();
    context.tenant_id = kAcme;
    context.job_id = JobId::generate();
    ContextScope scope(context);
    {
      Span span("policy.evaluate");
      work(span);
    }
    return sink->take();
  }
};

TEST(Records, SurviveTheWay) {
  Child child;
  const Records sent = child.run([](Span& span) {
    span.set(f::decision_effect("deny"));
    span.link({TraceId::generate(), SpanId::generate(), 1});
    kLog.info("evaluated", {f::finding_count(17)});
    Span inner("inner");
    inner.fail(Error(contracts::errors::kLimit, "too deep"));
  });
  ASSERT_EQ(sent.spans.size(), 2u);
  const auto received = decode_records(encode_records(sent), kAcme, child.trace);
  ASSERT_TRUE(received) << received.error().describe();
  ASSERT_EQ(received->spans.size(), 2u);
  ASSERT_EQ(received->logs.size(), 1u);
  EXPECT_EQ(received->logs[0].line, sent.logs[0].line);
  EXPECT_EQ(received->logs[0].ts, sent.logs[0].ts);
  checked_line(received->logs[0].line);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(received->spans[i].attributes, sent.spans[i].attributes);
    EXPECT_EQ(received->spans[i].links, sent.spans[i].links);
    EXPECT_EQ(received->spans[i].span_id, sent.spans[i].span_id);
    EXPECT_EQ(received->spans[i].parent_span_id, sent.spans[i].parent_span_id);
    EXPECT_EQ(received->spans[i].start, sent.spans[i].start);
    EXPECT_EQ(received->spans[i].end, sent.spans[i].end);
    EXPECT_EQ(received->spans[i].status, sent.spans[i].status);
    EXPECT_EQ(received->spans[i].name, sent.spans[i].name);
  }
}

TEST(Records, NamesAreScrubbedAsWell) {
  Child child;
  Records sent = child.run([](Span&) { kLog.info("x"); });
  sent.spans[0].name = "mail ann@example.org";
  sent.spans[0].service = "of ann@example.org";
  sent.spans[0].attributes = R"({"ann@example.org":"a","deep":[{"to ann@example.org":{"ann@example.org":1}}],"plain.name":true})";
  sent.logs[0].line.replace(sent.logs[0].line.find("\"message\""), 9, "\"ann@example.org\":\"x\",\"message\"");
  const auto received = decode_records(encode_records(sent), kAcme, child.trace);
  ASSERT_TRUE(received) << received.error().describe();
  const SpanRecord& span = received->spans.at(0);
  for (const std::string& text : {span.name, span.service, span.attributes, received->logs.at(0).line}) EXPECT_EQ(text.find("ann@"), text.npos) << text;
  EXPECT_EQ(span.name.substr(0, 5), "mail ");
  EXPECT_TRUE(json::parse(span.attributes)->boolean("plain.name"));
  EXPECT_TRUE(json::parse(received->logs[0].line));
}

TEST(Records, OfAnotherTenantOrTraceAreLeftOut) {
  Child child;
  const Records sent = child.run([](Span&) { kLog.info("x"); });
  const std::string text = encode_records(sent);
  EXPECT_TRUE(decode_records(text, *TenantId::parse("globex"), child.trace)->empty());
  EXPECT_TRUE(decode_records(text, kAcme, TraceId::generate())->empty());
  EXPECT_FALSE(decode_records(text, kAcme, child.trace)->empty());
}

TEST(Records, AreScrubbedAgain) {
  Child child;
  Records sent = child.run([](Span&) { kLog.info("x", {f::reason("clean")}); });
  sent.spans[0].attributes = R"({"a":"password=hunter22","b":["ann@example.org"],"c":{"d":"ok \"quoted\" token=\"a\\\"b\""}})";
  sent.logs[0].line.replace(sent.logs[0].line.find("clean"), 5, "Bearer abcdef0123456789");
  const auto received = decode_records(encode_records(sent), kAcme, child.trace);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->spans[0].attributes.find("hunter22"), std::string::npos);
  EXPECT_EQ(received->spans[0].attributes.find("ann@"), std::string::npos);
  EXPECT_TRUE(json::parse(received->spans[0].attributes));
  EXPECT_EQ(received->logs[0].line.find("abcdef0123456789"), std::string::npos);
  EXPECT_TRUE(json::parse(received->logs[0].line));
}

TEST(Records, MalformedOnesAreRefused) {
  Child child;
  const Records good = child.run([](Span&) { kLog.info("x"); });
  const auto refused = [&](auto change) {
    Records bad = good;
    change(bad);
    const auto received = decode_records(encode_records(bad), kAcme, child.trace);
    return !received && received.error().code() == contracts::errors::kMalformed;
  };
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].trace_id = "0"; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].parent_span_id = "XYZ"; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].kind = "odd"; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].status = "odd"; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].name = ""; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].attributes = "[]"; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].links = "[{}]"; }));
  EXPECT_TRUE(refused([](Records& r) { r.spans[0].end = r.spans[0].start - std::chrono::microseconds(1); }));
  EXPECT_TRUE(refused([](Records& r) { r.logs[0].line = "no json"; }));
  EXPECT_TRUE(refused([](Records& r) { r.logs[0].line = "{}"; }));
  EXPECT_TRUE(refused([](Records& r) { r.logs[0].line.append(kLineBytes, ' '); }));
  EXPECT_FALSE(decode_records("", kAcme, child.trace));
  EXPECT_FALSE(decode_records("{}", kAcme, child.trace));
  EXPECT_FALSE(decode_records(std::string(200, '['), kAcme, child.trace));
}

TEST(Records, WithinABudgetTheGravestStay) {
  Child child;
  child.sink = std::make_shared<CollectingSink>(2000);
  install_sink(child.sink);
  const Records sent = child.run([](Span&) {
    for (int i = 0; i < 200; ++i) {
      Span inner("inner");
      kLog.info("info", {f::reason(std::string(500, 'x'))});
      if (i % 50 == 0) kLog.error("error");
    }
  });
  const std::string text = encode_records(sent, 40'000);
  EXPECT_LE(text.size(), 40'000u);
  const auto received = decode_records(text, kAcme, child.trace);
  ASSERT_TRUE(received);
  int errors = 0;
  for (const LogRecord& log : received->logs) errors += log.level == Level::kError ? 1 : 0;
  EXPECT_EQ(errors, 4);
  ASSERT_FALSE(received->spans.empty());
  EXPECT_EQ(received->spans.back().name, "policy.evaluate");
}

TEST(CollectingSink, KeepsErrorsAndTheOuterSpanBeyondItsBound) {
  Child child;  // 50 records
  const Records records = child.run([](Span&) {
    for (int i = 0; i < 200; ++i) kLog.info("info");
    kLog.error("error");
  });
  EXPECT_EQ(records.logs.size(), 51u);
  EXPECT_EQ(records.logs.back().level, Level::kError);
  EXPECT_EQ(records.spans.size(), 1u);
}

}  // namespace
}  // namespace stella::telemetry
