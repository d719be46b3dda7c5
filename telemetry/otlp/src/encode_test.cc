// Records become export requests: every value at its place, grouped by tenant and scope. (tests/telemetry lets other people's classes read them.)
#include <gtest/gtest.h>

#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/otlp.h"
#include "stella/telemetry/otlp_rows.h"

namespace stella::telemetry {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000'000'000;

RecordBuilder span_record(std::string tenant) {
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = kStart;
  b.head.end_ns = kStart + 1500;
  b.head.trace_id.fill(0x11);
  b.head.span_id.fill(0x22);
  b.tenant = std::move(tenant);
  b.message = "policy.evaluate";
  return b;
}

template <class Batch>
void add(Batch& batch, const RecordBuilder& b) {
  const std::string bytes = b.build();
  const auto view = RecordView::parse(bytes);
  ASSERT_TRUE(view);
  batch.add(*view);
}

// Attributes as text; fails the test where a key is there twice.
std::map<std::string, std::string> texts(const OtlpRows& rows, Range range) {
  std::map<std::string, std::string> out;
  for (const Attribute& a : slice(rows.attributes, range)) {
    std::string text(a.value.kind() == AnyValue::Kind::kString ? a.value.text() : "");
    if (a.value.kind() == AnyValue::Kind::kInt) text = std::to_string(a.value.integer());
    if (a.value.kind() == AnyValue::Kind::kBool) text = a.value.boolean() ? "true" : "false";
    EXPECT_TRUE(out.emplace(a.key, text).second) << a.key;
  }
  return out;
}

struct Request {
  std::string bytes;
  TraceRows rows;
  const SpanRow& span() const { return rows.spans.at(0); }
  std::map<std::string, std::string> attributes() const { return texts(rows, span().attributes); }
};
Request one(const RecordBuilder& b, std::optional<SamplingReason> reason = std::nullopt) {
  TraceBatch batch;
  const std::string record = b.build();
  const auto view = RecordView::parse(record);
  EXPECT_TRUE(view);
  if (view) batch.add(*view, reason);
  Request request{batch.take({}), {}};
  auto rows = decode_traces(request.bytes);
  EXPECT_TRUE(rows);
  if (rows) request.rows = std::move(*rows);
  EXPECT_EQ(request.rows.spans.size(), 1u);
  return request;
}

TEST(TraceBatch, EveryPartOfASpan) {
  RecordBuilder b = span_record("acme");
  b.head.parent_span_id.fill(0x33);
  b.head.trace_flags = 3;
  b.head.flags = RecordHead::kTruncated | RecordHead::kRemoteParent;
  b.head.span_kind = SpanKind::kServer;
  b.head.status = SpanStatus::kError;
  b.head.threshold = 0xfd70a400000000;
  b.head.project_id.fill(0xaa);
  b.head.request_id.fill(0xbb);
  b.head.dropped_fields = 1;
  b.head.dropped_events = 2;
  b.head.dropped_links = 300;
  b.actor = "user:0190a5c8";
  b.route = "/sboms/:id";
  b.method = "GET";
  b.tracestate = "vendor=x,ot=rv:12345678abcdef;th:0,other=y";
  const SbomId sbom = SbomId::generate();
  std::array<std::uint8_t, 32> digest;
  digest.fill(0xcd);
  b.add(f::sbom_id(sbom));
  b.add(f::sha256(Sha256(digest)));
  b.add(f::http_status(503));
  b.add(f::cached(true));
  b.add(f::count(-1));
  b.add(f::operation(std::string(5000, 'x')));
  b.add(f::error(Error(contracts::errors::kMalformed, "not an SBOM").with("line", 7).with("column", 9)));
  b.link({TraceId::generate(), SpanId::generate(), 1});
  b.event(kStart + 5, "retry", {f::attempt(2), f::attempt(3)});
  b.event(kStart + 6, "done", {});

  const Request request = one(b);
  const SpanRow& span = request.span();
  EXPECT_EQ(span.trace_id, std::string(16, '\x11'));
  EXPECT_EQ(span.span_id, std::string(8, '\x22'));
  EXPECT_EQ(span.parent_span_id, std::string(8, '\x33'));
  EXPECT_EQ(span.trace_state, "ot=th:fd70a4;rv:12345678abcdef,vendor=x,other=y");
  EXPECT_EQ(span.name, "policy.evaluate");
  EXPECT_EQ(span.kind, 2);
  EXPECT_EQ(span.start_ns, std::uint64_t{kStart});
  EXPECT_EQ(span.end_ns, std::uint64_t{kStart} + 1500);
  EXPECT_EQ(span.flags, 0x303u);
  EXPECT_EQ(span.status, 2);
  EXPECT_EQ(span.status_message, "not an SBOM");
  EXPECT_EQ(span.dropped_attributes, 1u);
  EXPECT_EQ(span.dropped_events, 2u);
  EXPECT_EQ(span.dropped_links, 300u);
  EXPECT_EQ(request.attributes(),
            (std::map<std::string, std::string>{{"tenant_id", "acme"},
                                                {"project_id", "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"},
                                                {"actor", "user:0190a5c8"},
                                                {"route", "/sboms/:id"},
                                                {"method", "GET"},
                                                {"request_id", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"},
                                                {"sampling.reason", "head"},
                                                {"sbom_id", sbom.str()},
                                                {"sha256", Sha256(digest).hex()},
                                                {"http.response.status_code", "503"},
                                                {"cached", "true"},
                                                {"count", "-1"},
                                                {"operation", std::string(5000, 'x')},
                                                {"error_code", "malformed"},
                                                {"error_message", "not an SBOM"},
                                                {"error.type", "malformed"},
                                                {"error.line", "7"},
                                                {"error.column", "9"},
                                                {"http.request.method", "GET"},
                                                {"http.route", "/sboms/:id"},
                                                {"truncated", "true"}}));
  ASSERT_EQ(span.events.count, 2u);
  EXPECT_EQ(request.rows.events[0].name, "retry");
  EXPECT_EQ(request.rows.events[0].time_ns, std::uint64_t{kStart} + 5);
  EXPECT_EQ(texts(request.rows, request.rows.events[0].attributes).size(), 1u);
  EXPECT_EQ(request.rows.events[1].name, "done");
  ASSERT_EQ(span.links.count, 1u);
  EXPECT_EQ(request.rows.links[0].trace_id.size(), 16u);
  EXPECT_EQ(request.rows.links[0].span_id.size(), 8u);
}

TEST(TraceBatch, WhatTheEnvironmentSaysOfUsIsScrubbed) {
  TraceBatch batch;
  add(batch, span_record(""));
  const std::vector<std::pair<std::string, std::string>> extra{{"owner", "ann@example.org"}, {"api_key", "hunter22"}, {"of ann@example.org", "x"}, {"team", "blue"}};
  const std::string bytes = batch.take({.service = "stellad"}, extra);
  const auto rows = decode_traces(bytes);
  ASSERT_TRUE(rows);
  auto attributes = texts(*rows, rows->resources[0].attributes);
  EXPECT_TRUE(attributes["owner"].starts_with("[")) << attributes["owner"];
  EXPECT_TRUE(attributes["api_key"].starts_with("[secret:")) << attributes["api_key"];
  EXPECT_EQ(attributes["team"], "blue");
  for (const auto& [key, value] : attributes) EXPECT_EQ((key + value).find("ann@"), std::string::npos) << key;
}

TEST(TraceBatch, TheResourceSaysWhoAndForWhom) {
  TraceBatch batch;
  add(batch, span_record(""));
  add(batch, span_record("acme"));
  const std::vector<std::pair<std::string, std::string>> extra{{"k8s.pod.name", "p-1"}, {"service.name", "never"}, {"tenant_id", "never"}};
  const std::string bytes = batch.take({.service = "stellad", .version = "1.2", .env = "prod", .region = "eu", .instance_id = "i-1"}, extra);
  const auto rows = decode_traces(bytes);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->resources.size(), 2u);
  auto expected = std::map<std::string, std::string>{{"service.name", "stellad"},
                                                     {"service.version", "1.2"},
                                                     {"service.instance.id", "i-1"},
                                                     {"deployment.environment.name", "prod"},
                                                     {"cloud.region", "eu"},
                                                     {"telemetry.sdk.name", "stella-telemetry"},
                                                     {"telemetry.sdk.language", "cpp"},
                                                     {"telemetry.sdk.version", STELLA_VERSION},
                                                     {"tenant_id", "platform"},
                                                     {"k8s.pod.name", "p-1"}};
  EXPECT_EQ(texts(*rows, rows->resources[0].attributes), expected);
  expected["tenant_id"] = "acme";
  EXPECT_EQ(texts(*rows, rows->resources[1].attributes), expected);
  EXPECT_EQ(rows->scopes[0].name, "stella");
  EXPECT_EQ(texts(*rows, rows->spans[0].attributes)["tenant_id"], "platform");
}

TEST(TraceBatch, WeightsFollowTheReason) {
  RecordBuilder b = span_record("acme");
  b.head.threshold = 0x80000000000000;  // one in two
  EXPECT_EQ(one(b).span().trace_state, "ot=th:8");
  for (const SamplingReason reason : {SamplingReason::kError, SamplingReason::kLatency, SamplingReason::kIncident}) {
    const Request kept = one(b, reason);
    EXPECT_EQ(kept.span().trace_state, "ot=th:0");
    EXPECT_EQ(kept.attributes().at("sampling.reason"), to_string(reason));
  }
  b.head.threshold = kSampleAll;
  EXPECT_EQ(one(b).span().trace_state, "ot=th:0");
  b.head.threshold = 0x00000000000001;
  EXPECT_EQ(one(b).span().trace_state, "ot=th:00000000000001");
}

TEST(TraceBatch, OfAKeyThatIsThereTwiceTheLast) {
  RecordBuilder b = span_record("acme");
  b.head.job_id.fill(1);
  b.add(f::count(1));
  b.add(f::operation("first"));
  b.add(f::sampling_reason("a call site cannot say"));
  b.add(f::operation("last"));
  // A foreign field: id 255, text, key, value.
  const auto foreign = [](std::string_view key, std::string_view value) { return detail::FieldMaker::text(key, kForeignField, Field::Kind::kText, value); };
  b.add(foreign("billing.plan", "old"));
  b.add(foreign("job_id", "another"));
  b.add(foreign("count", "2"));
  b.add(foreign("billing.plan", "new"));
  auto attributes = one(b).attributes();
  EXPECT_EQ(attributes, (std::map<std::string, std::string>{{"tenant_id", "acme"},
                                                            {"job_id", "01010101-0101-0101-0101-010101010101"},
                                                            {"sampling.reason", "head"},
                                                            {"operation", "last"},
                                                            {"count", "2"},
                                                            {"billing.plan", "new"}}));
}

TEST(TraceBatch, HttpConventionsForHttpServersOnly) {
  RecordBuilder b = span_record("acme");
  b.head.span_kind = SpanKind::kServer;
  b.method = "BREW";
  b.route = "/pot";
  EXPECT_FALSE(one(b).attributes().contains("http.request.method"));  // gRPC, or a job
  b.add(f::http_status(418));
  EXPECT_EQ(one(b).attributes().at("http.request.method"), "_OTHER");
  b.method = "GET";
  b.head.span_kind = SpanKind::kInternal;
  EXPECT_FALSE(one(b).attributes().contains("http.route"));
}

TEST(TraceBatch, AFailedSpanHasAnErrorType) {
  RecordBuilder b = span_record("acme");
  b.head.status = SpanStatus::kError;
  EXPECT_EQ(one(b).attributes().at("error.type"), "_OTHER");
  b.add(f::http_status(500));
  EXPECT_EQ(one(b).attributes().at("error.type"), "500");
  b.head.status = SpanStatus::kOk;
  EXPECT_FALSE(one(b).attributes().contains("error.type"));
  EXPECT_EQ(one(b).span().status, 1);
}

TEST(TraceBatch, IsEmptyAgainAfterTake) {
  TraceBatch batch;
  EXPECT_EQ(batch.take({}), "");
  const auto fill = [&] {
    for (const char* tenant : {"acme", "other", "acme"}) add(batch, span_record(tenant));
  };
  fill();
  EXPECT_EQ(batch.spans(), 3u);
  const std::size_t expected = batch.bytes();
  const std::string request = batch.take({});
  EXPECT_LE(request.size(), expected);
  EXPECT_GE(request.size() + 1024, expected);
  EXPECT_EQ(batch.spans(), 0u);
  EXPECT_EQ(batch.take({}), "");
  fill();
  EXPECT_EQ(batch.take({}), request);
  RecordBuilder log = span_record("acme");
  log.head.kind = RecordKind::kLog;
  add(batch, log);
  EXPECT_TRUE(batch.empty());
}

// The largest records there can be, with the worst ratio of record bytes to OTLP bytes.
TEST(TraceBatch, RecordsFullOfTheSmallestFieldsFit) {
  RecordBuilder fields = span_record("acme"), events = span_record("acme"), errors = span_record("acme");
  for (int i = 0; i < 10'000; ++i) fields.add(f::operation(""));
  for (int i = 0; i < 4'000; ++i) events.event(0, "", {});
  std::string error("\x00\x00\x00", 3);  // code and message are empty
  for (int i = 0; i < 15'000; ++i) error.append("\x00\x00\x00", 3);
  TraceBatch batch;
  add(batch, fields);
  add(batch, events);
  std::string bytes = errors.build();  // one error field of 15 000 empty ones
  std::string field("\x19\x09", 2);
  const auto size = static_cast<std::uint16_t>(error.size());
  field.append(reinterpret_cast<const char*>(&size), 2).append(error);
  RecordHead head;
  std::memcpy(&head, bytes.data(), sizeof head);
  bytes.resize(sizeof head + head.tenant + head.message);
  bytes += field;
  bytes.resize((bytes.size() + 7) / 8 * 8);
  head.field_count = 1;
  head.size = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &head, sizeof head);
  const auto view = RecordView::parse(bytes);
  ASSERT_TRUE(view);
  batch.add(*view);
  const std::string request = batch.take({});
  const auto rows = decode_traces(request);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->spans.size(), 3u);
  EXPECT_EQ(rows->events.size(), 4'000u);
  EXPECT_GE(rows->spans[2].attributes.count, 15'000u);
}

TEST(LogBatch, EveryPartOfALog) {
  RecordBuilder b = span_record("acme");
  b.head.kind = RecordKind::kLog;
  b.head.level = Level::kWarn;
  b.head.trace_flags = 1;
  b.head.run_id.fill(7);
  b.module = "web";
  b.message = "sbom accepted";
  b.add(f::count(3));
  b.add(f::error(Error(contracts::errors::kLimit, "too large").with("limit", 5)));
  RecordBuilder other = b;
  other.module = "timeline";
  other.head.level = Level::kError;
  other.head.trace_id = {};
  LogBatch batch;
  add(batch, b);
  add(batch, other);
  add(batch, b);
  add(batch, span_record("acme"));
  EXPECT_EQ(batch.logs(), 3u);
  EXPECT_EQ(batch.errors(), 1u);
  const std::string bytes = batch.take({});
  EXPECT_EQ(batch.errors(), 0u);
  const auto rows = decode_logs(bytes);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->resources.size(), 1u);
  ASSERT_EQ(rows->scopes.size(), 2u);
  EXPECT_EQ(rows->scopes[0].name, "web");
  EXPECT_EQ(rows->scopes[1].name, "timeline");
  ASSERT_EQ(rows->records.size(), 3u);
  const LogRow& log = rows->records[0];
  EXPECT_EQ(log.time_ns, std::uint64_t{kStart});
  EXPECT_EQ(log.observed_ns, std::uint64_t{kStart});
  EXPECT_EQ(log.severity_number, 13);
  EXPECT_EQ(log.severity_text, "WARN");
  EXPECT_EQ(log.body.text(), "sbom accepted");
  EXPECT_EQ(log.trace_id, std::string(16, '\x11'));
  EXPECT_EQ(log.span_id, std::string(8, '\x22'));
  EXPECT_EQ(log.flags, 1u);
  EXPECT_EQ(texts(*rows, log.attributes), (std::map<std::string, std::string>{{"tenant_id", "acme"},
                                                                             {"run_id", "07070707-0707-0707-0707-070707070707"},
                                                                             {"count", "3"},
                                                                             {"error_code", "limit"},
                                                                             {"error_message", "too large"},
                                                                             {"error.type", "limit"},
                                                                             {"error.limit", "5"}}));
  EXPECT_EQ(rows->records[2].severity_number, 17);
  EXPECT_EQ(rows->records[2].trace_id, "");
}

TEST(LogBatch, ABrokenErrorFieldIsLeftOut) {
  RecordBuilder b = span_record("acme");
  b.head.kind = RecordKind::kLog;
  b.add(f::error(Error(contracts::errors::kLimit, "too large")));
  b.add(f::count(3));
  std::string bytes = b.build();
  bytes[bytes.find("limit") - 1] = '\xff';  // the size of the code
  const auto view = RecordView::parse(bytes);
  ASSERT_TRUE(view);
  LogBatch batch;
  batch.add(*view);
  const std::string request = batch.take({});
  const auto rows = decode_logs(request);
  ASSERT_TRUE(rows);
  EXPECT_EQ(texts(*rows, rows->records[0].attributes), (std::map<std::string, std::string>{{"tenant_id", "acme"}, {"count", "3"}}));
}

TEST(TraceBatch, ATracestateHasAtMost32Members) {
  RecordBuilder b = span_record("acme");
  b.head.threshold = 0x80000000000000;
  for (int i = 0; i < 32; ++i) b.tracestate += (i > 0 ? ",k" : "k") + std::to_string(i) + "=v";
  const Request request = one(b);
  const std::string state(request.span().trace_state);
  EXPECT_TRUE(state.starts_with("ot=th:8,k0=v,")) << state;
  EXPECT_TRUE(state.ends_with(",k30=v")) << state;
}

}  // namespace
}  // namespace stella::telemetry
