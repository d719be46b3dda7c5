// What a log call becomes: fixed order, context, schema, limits, masking.
#include "stella/telemetry/log.h"

#include <gtest/gtest.h>

#include "line_schema.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/sink.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

class Capture final : public Sink {
 public:
  void log(LogRecord&& record) noexcept override { logs.push_back(std::move(record)); }
  void span(SpanRecord&& record) noexcept override { spans.push_back(std::move(record)); }
  std::vector<LogRecord> logs;
  std::vector<SpanRecord> spans;
};

class LogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_resource({"stellad", "0.1.0", "test", "here", "unit:1"});
    previous_ = install_sink(capture);
    set_level(Level::kInfo);
  }
  void TearDown() override { install_sink(previous_); }
  json::Value last_line() { return capture->logs.empty() ? json::Value() : checked_line(capture->logs.back().line); }
  static std::vector<std::string> keys(const json::Value& line) {
    std::vector<std::string> out;
    for (const auto& [name, value] : line.as_object()) out.push_back(name);
    return out;
  }
  std::shared_ptr<Capture> capture = std::make_shared<Capture>();
  std::shared_ptr<Sink> previous_;
};

constexpr Logger kLog{"unit"};
const SbomId kSbom = *SbomId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012");

Context request_context() {
  Context context;
  context.tenant_id = *TenantId::parse("acme");
  context.actor = "user:0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9099";
  context.route = "/sboms/:id";
  context.method = "GET";
  context.request_id = RequestId::generate();
  return context;
}

TEST_F(LogTest, FieldsStandInTheOrderOfTheCatalogueWhateverTheCallSiteSays) {
  ContextScope scope(request_context());
  Span outer("outer");
  Span span("policy.evaluate");
  const Error error = Error(contracts::errors::kUnavailable, "database is away").with("host", "db-1");
  kLog.error("evaluation failed", {f::duration(std::chrono::milliseconds(3)), f::error(error), f::decision_effect("deny"), f::sbom_id(kSbom),
                                   f::action("evaluation:write"), f::detail("could not connect")});
  const json::Value line = last_line();
  EXPECT_EQ(keys(line), (std::vector<std::string>{"ts", "level", "service", "version", "env", "region", "instance_id", "tenant_id", "actor", "route",
                                                  "method", "action", "trace_id", "span_id", "parent_span_id", "request_id", "sbom_id",
                                                  "decision_effect", "error_code", "error_message", "module", "message", "duration_us", "details"}));
  EXPECT_EQ(line.str("error_code"), "unavailable");
  EXPECT_EQ(line.str("error_message"), "database is away");
  EXPECT_EQ(line.integer("duration_us"), 3000);
  EXPECT_EQ(line.find("details")->find("error")->str("host"), "db-1");
  EXPECT_EQ(line.str("tenant_id"), "acme");
  EXPECT_EQ(capture->logs.back().tenant_id, "acme");
  EXPECT_EQ(capture->logs.back().trace_id, line.str("trace_id"));
  EXPECT_EQ(capture->logs.back().span_id, Context::current().span_id.hex());
}

TEST_F(LogTest, OutsideOfAnyWorkTheProcessIsTheTrace) {
  kLog.info("started", {f::port(18080)});
  const json::Value first = last_line();
  kLog.info("ready");
  const json::Value second = last_line();
  EXPECT_EQ(first.str("tenant_id"), "platform");
  EXPECT_EQ(first.str("trace_id"), second.str("trace_id"));
  EXPECT_EQ(first.str("request_id"), second.str("request_id"));
  EXPECT_EQ(first.integer("port"), 18080);
}

TEST_F(LogTest, InAJobTheJobIdStandsForTheRequest) {
  Context context;
  context.job_id = JobId::generate();
  context.run_id = RunId::generate();
  ContextScope scope(context);
  Span span("runner.execute");
  kLog.info("work");
  const json::Value line = last_line();
  EXPECT_EQ(line.find("request_id"), nullptr);
  EXPECT_EQ(line.str("job_id"), context.job_id.str());
  EXPECT_EQ(line.str("run_id"), context.run_id.str());
}

TEST_F(LogTest, EveryFieldOfTheCatalogueFitsTheSchema) {
  ContextScope scope(request_context());
  Span span("unit");
  const auto uuid = Uuid::v7();
  const Sha256 digest = *Sha256::parse(std::string(64, 'a'));
  kLog.info("all kinds", {f::token_id(uuid), f::sha256(digest), f::linked_trace_id(TraceId::generate()), f::cached(true), f::count(-3),
                          f::email(Pii<std::string>("ann@example.org")), f::client_address(Pii<std::string>("192.0.2.7")),
                          f::path("/var/lib/stella/secrets/pg/web"), f::wait(std::chrono::nanoseconds(5000)), f::http_status(201),
                          f::key_id(*KeyId::parse("SHA256:" + std::string(43, 'A'))), f::other_tenant(*TenantId::parse("globex")),
                          f::evaluation_id(EvaluationId::generate()), f::stack("first\nsecond"), f::purl("pkg:npm/lodash@4.17.20")});
  const json::Value line = last_line();
  EXPECT_EQ(line.str("path"), "<path>/web");
  EXPECT_EQ(line.integer("wait_us"), 5);
  EXPECT_EQ(line.str("purl"), "pkg:npm/lodash@4.17.20");
  EXPECT_EQ(line.find("details")->str("stack"), "first\nsecond");
  EXPECT_TRUE(line.str("email").starts_with("[email:"));
  EXPECT_TRUE(line.str("client.address").starts_with("[client_address:"));
  EXPECT_EQ(capture->logs.back().line.find("ann@"), std::string::npos);
}

TEST_F(LogTest, LevelsAreObeyedAndErrorsAlwaysPass) {
  kLog.debug("unseen");
  EXPECT_TRUE(capture->logs.empty());
  set_level(Level::kError);
  kLog.warn("unseen");
  EXPECT_TRUE(capture->logs.empty());
  kLog.error("seen");
  EXPECT_EQ(capture->logs.size(), 1u);
  set_level(Level::kTrace);
  kLog.trace("seen");
  EXPECT_EQ(capture->logs.size(), 2u);
}

TEST_F(LogTest, AHugeErrorIsCutMarkedAndStillALine) {
  const std::string big(300'000, 'x');
  std::string quotes;
  for (int i = 0; i < 40'000; ++i) quotes += "\"\n";
  Error error = Error(contracts::errors::kIo, "write failed").with("path", "/srv/data/objects/aa").with("os", big);
  kLog.error("huge", {f::error(error), f::detail(quotes), f::stack(big), f::reason(quotes), f::state(quotes), f::subject(big)});
  const json::Value line = last_line();
  EXPECT_TRUE(line.boolean("truncated"));
  EXPECT_EQ(line.str("error_code"), "io");
  EXPECT_EQ(line.str("message"), "huge");
  EXPECT_EQ(line.find("details")->find("error")->str("path"), "<path>/aa");
  EXPECT_GT(line.find("details")->find("error")->str("os").size(), 1000u);
}

TEST_F(LogTest, ASecretPastTheCutIsStillMasked) {
  const std::string text = std::string(16 * 1024 - 20, 'x') + " password=correct-horse-battery";
  kLog.warn("cut", {f::detail(text)});
  const json::Value line = last_line();
  EXPECT_TRUE(line.boolean("truncated"));
  EXPECT_EQ(capture->logs.back().line.find("correct"), std::string::npos);
}

TEST_F(LogTest, BrokenTextAndControlCharactersStayJson) {
  kLog.warn("odd text", {f::reason(std::string_view("a\xff\xfe\0b\x01\xc3", 7)), f::state("\xed\xa0\x80")});
  EXPECT_NE(last_line().str("reason").find("\xEF\xBF\xBD"), std::string_view::npos);
}

TEST_F(LogTest, AFieldGivenTwiceStandsOnce) {
  kLog.info("twice", {f::count(1), f::count(2)});
  EXPECT_EQ(last_line().integer("count"), 2);  // the last one counts, as on spans
}

TEST_F(LogTest, AnEmptyTextIsLeftOut) {
  kLog.info("empty", {f::scope(""), f::resource(std::string_view()), f::path(""), f::email(Pii<std::string>("")), f::count(0)});
  const json::Value line = last_line();
  for (const char* key : {"scope", "resource", "path", "email"}) EXPECT_EQ(line.find(key), nullptr) << key;
  EXPECT_EQ(line.integer("count"), 0);
  EXPECT_EQ(line.find("truncated"), nullptr);
  {
    Span span("empty", SpanKind::kInternal, {f::scope("stella:sbom:read")});
    span.set(f::resource(""));
    span.set(f::scope(""));  // the last one counts, and it says nothing
    span.set(f::action("sbom:read"));
  }
  const json::Value attributes = *json::parse(capture->spans.back().attributes);
  EXPECT_EQ(attributes.find("resource"), nullptr);
  EXPECT_EQ(attributes.find("scope"), nullptr);
  EXPECT_EQ(attributes.str("action"), "sbom:read");
}

TEST_F(LogTest, SpansCarryTheCommonFieldsTheirParentsAndTheirEnd) {
  {
    ContextScope scope(request_context());
    Span outer(SpanName::api("/sboms/:id"), SpanKind::kServer);
    {
      Span inner("policy.evaluate", SpanKind::kInternal, {f::sbom_id(kSbom)});
      inner.set(f::decision_effect("warn"));
      inner.set(f::decision_effect("deny"));
      inner.link({TraceId::generate(), SpanId::generate(), 1});
      inner.fail(Error(contracts::errors::kLimit, "too deep"));
    }
    Context::edit([](Context& c) { c.project_id = *ProjectId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9055"); });
    outer.ok();
  }
  ASSERT_EQ(capture->spans.size(), 2u);
  const SpanRecord& inner = capture->spans[0];
  const SpanRecord& outer = capture->spans[1];
  EXPECT_EQ(outer.name, "api./sboms/:id");
  EXPECT_EQ(outer.kind, "server");
  EXPECT_EQ(outer.status, "ok");
  EXPECT_EQ(outer.parent_span_id, "");
  EXPECT_EQ(outer.tenant_id, "acme");
  EXPECT_EQ(inner.parent_span_id, outer.span_id);
  EXPECT_EQ(inner.trace_id, outer.trace_id);
  EXPECT_EQ(inner.status, "error");
  EXPECT_LE(outer.start, inner.start);
  EXPECT_GE(outer.end, inner.end);
  const json::Value attributes = *json::parse(inner.attributes);
  EXPECT_EQ(attributes.str("decision_effect"), "deny");
  EXPECT_EQ(attributes.str("error_code"), "limit");
  EXPECT_EQ(attributes.str("sbom_id"), kSbom.str());
  EXPECT_EQ(attributes.str("route"), "/sboms/:id");
  EXPECT_EQ(json::parse(outer.attributes)->str("project_id"), "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9055");
  EXPECT_EQ(json::parse(inner.links)->as_array().size(), 1u);
  EXPECT_TRUE(Context::current().trace_id.empty());
}

TEST_F(LogTest, AManualSpanCrossesThreadsAndEndsOnce) {
  RemoteContext remote{*parse_traceparent("00-12345678901234567890123456789012-1234567890123456-01"), "foo=1"};
  {
    ManualSpan span("orchestrator.schedule", SpanKind::kProducer, Context::continue_from(remote));
    EXPECT_EQ(span.context().tracestate, "foo=1");
    ManualSpan moved(std::move(span));
    ContextScope scope(moved.context());
    Span child("child");
    moved.end();
  }
  ASSERT_EQ(capture->spans.size(), 2u);
  EXPECT_EQ(capture->spans[0].parent_span_id, "1234567890123456");
  EXPECT_EQ(capture->spans[0].trace_id, "12345678901234567890123456789012");
  EXPECT_EQ(capture->spans[1].parent_span_id, capture->spans[0].span_id);
}

}  // namespace
}  // namespace stella::telemetry
