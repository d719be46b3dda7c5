// What a child reported becomes records to export, as far as it may.
#include "child_records.h"

#include <gtest/gtest.h>

#include "stella/contracts/errors.h"

namespace stella::runner {
namespace {

const TenantId kTenant = *TenantId::parse("acme");
const TraceId kTrace = *TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736");

json::Value span(std::string_view trace, json::Value attributes = json::Value::object()) {
  json::Value links = json::Value::array();
  return json::Value::object({{"trace_id", trace}, {"span_id", "00f067aa0ba902b7"}, {"parent_span_id", "53995c3f42cd8ad8"}, {"name", "policy.evaluate"}, {"kind", "internal"},
                              {"start_ts", "2026-11-24T17:07:00.100000Z"}, {"end_ts", "2026-11-24T17:07:00.400000Z"}, {"status", "ok"}, {"attributes", std::move(attributes)}, {"links", std::move(links)}});
}
json::Value line(std::string_view trace, std::string_view tenant, std::string_view message) {
  return json::Value::object({{"ts", "2026-11-24T17:07:00.100000Z"}, {"level", "error"}, {"service", "stella-runner"}, {"tenant_id", tenant}, {"trace_id", trace}, {"span_id", "00f067aa0ba902b7"}, {"message", message}});
}
json::Value list(std::initializer_list<json::Value> values) {
  json::Value out = json::Value::array();
  for (const json::Value& v : values) out.push(v);
  return out;
}

TEST(ChildRecords, AreThoseOfTheReport) {
  const auto records = child_records(list({span(kTrace.hex(), json::Value::object({{"sampling.reason", "head"}}))}), list({line(kTrace.hex(), "acme", "it failed")}), kTenant, kTrace, ChildTrace::kChosen);
  ASSERT_TRUE(records) << records.error().describe();
  ASSERT_EQ(records->spans.size(), 1u);
  const telemetry::SpanRecord& s = records->spans[0];
  EXPECT_EQ(s.tenant_id, "acme");
  EXPECT_EQ(s.trace_id, kTrace.hex());
  EXPECT_EQ(s.span_id, "00f067aa0ba902b7");
  EXPECT_EQ(s.parent_span_id, "53995c3f42cd8ad8");
  EXPECT_EQ(s.name, "policy.evaluate");
  EXPECT_EQ(s.status, "ok");
  EXPECT_EQ(s.start.rfc3339(), "2026-11-24T17:07:00.100000Z");
  EXPECT_EQ(s.end.rfc3339(), "2026-11-24T17:07:00.400000Z");
  EXPECT_EQ(json::parse(s.attributes)->str("sampling.reason"), "head");
  ASSERT_EQ(records->logs.size(), 1u);
  EXPECT_EQ(records->logs[0].level, telemetry::Level::kError);
  EXPECT_EQ(json::parse(records->logs[0].line)->str("message"), "it failed");
}

TEST(ChildRecords, OfAnotherTraceOrTenantAreLeftOut) {
  const std::string other(32, 'a');
  const auto records = child_records(list({span(other), span(kTrace.hex())}), list({line(other, "acme", "x"), line(kTrace.hex(), "globex", "x"), line(kTrace.hex(), "acme", "mine")}), kTenant, kTrace, ChildTrace::kChosen);
  ASSERT_TRUE(records);
  EXPECT_EQ(records->spans.size(), 1u);
  ASSERT_EQ(records->logs.size(), 1u);
  EXPECT_EQ(json::parse(records->logs[0].line)->str("message"), "mine");
}

TEST(ChildRecords, AreScrubbedAgain) {
  const auto records = child_records(list({span(kTrace.hex(), json::Value::object({{"reason", "mail ann@example.org"}}))}), list({line(kTrace.hex(), "acme", "mail ann@example.org")}), kTenant, kTrace, ChildTrace::kChosen);
  ASSERT_TRUE(records);
  EXPECT_EQ(records->spans.at(0).attributes.find("ann@example.org"), std::string::npos);
  EXPECT_EQ(records->logs.at(0).line.find("ann@example.org"), std::string::npos);
}

TEST(ChildRecords, WhyASpanIsKeptIsNotTheChildsToSay) {
  const auto reason = [](json::Value attributes, ChildTrace state) {
    const auto records = child_records(list({span(kTrace.hex(), std::move(attributes))}), json::Value(), kTenant, kTrace, state);
    return records ? std::string(json::parse(records->spans.at(0).attributes)->str("sampling.reason")) : "malformed";
  };
  const auto said = [](std::string_view text) { return json::Value::object({{"sampling.reason", text}}); };
  EXPECT_EQ(reason(json::Value::object(), ChildTrace::kFailed), "error");
  EXPECT_EQ(reason(said("latency"), ChildTrace::kFailed), "error");
  EXPECT_EQ(reason(json::Value::object(), ChildTrace::kUndecided), "");
  EXPECT_EQ(reason(said("error"), ChildTrace::kUndecided), "");
  EXPECT_EQ(reason(json::Value::object(), ChildTrace::kChosen), "head");
  EXPECT_EQ(reason(said("incident"), ChildTrace::kChosen), "incident");
}

TEST(ChildRecords, WhatIsNoneIsRefused) {
  json::Value backwards = span(kTrace.hex()), nameless = span(kTrace.hex()), odd = span(kTrace.hex());
  backwards.set("end_ts", "2026-11-24T17:00:00Z");
  nameless.set("name", "");
  odd.set("links", "none");
  for (const json::Value& bad : {backwards, nameless, odd, span("not a trace"), json::Value(7), json::Value()}) {
    const auto records = child_records(list({bad}), json::Value(), kTenant, kTrace, ChildTrace::kChosen);
    ASSERT_FALSE(records) << json::dump(bad);
    EXPECT_EQ(records.error().code(), contracts::errors::kMalformed);
  }
  EXPECT_FALSE(child_records(json::Value(), list({json::Value("text")}), kTenant, kTrace, ChildTrace::kChosen));
  const auto none = child_records(json::Value(), json::Value("x"), kTenant, kTrace, ChildTrace::kChosen);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

}  // namespace
}  // namespace stella::runner
