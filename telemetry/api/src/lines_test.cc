// Lines and rows from records: order, limits, escapes, and that no record whatever makes a line that is none.
#include "stella/telemetry/lines.h"

#include <gtest/gtest.h>

#include <random>

#include "json_text.h"
#include "line_schema.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

const Resource kResource{"stellad", "0.1.0", "test", "here", "unit:1"};

template <std::size_t N>
std::array<std::uint8_t, N> bytes(std::uint8_t first) {
  std::array<std::uint8_t, N> out;
  for (std::size_t i = 0; i < N; ++i) out[i] = static_cast<std::uint8_t>(first + i);
  return out;
}

RecordBuilder log_record() {
  RecordBuilder b;
  b.head.kind = RecordKind::kLog;
  b.head.level = Level::kWarn;
  b.head.ns = 1'795'000'000'123'456'789;
  b.head.trace_id = bytes<16>(0x10);
  b.head.span_id = bytes<8>(0xa0);
  b.head.request_id = bytes<16>(1);
  b.tenant = "acme";
  b.module = "unit";
  b.message = "something happened";
  return b;
}

std::string line_of(const RecordBuilder& b) {
  const std::string bytes = b.build();
  const auto view = RecordView::parse(bytes);
  EXPECT_TRUE(view);
  std::string out = "before";
  append_line(out, *view, kResource);
  EXPECT_TRUE(out.starts_with("before"));
  return out.substr(6);
}

std::vector<std::string> keys(const json::Value& value) {
  std::vector<std::string> out;
  for (const auto& [name, member] : value.as_object()) out.push_back(name);
  return out;
}

TEST(Lines, AreExactlyTheseBytes) {
  RecordBuilder b = log_record();
  b.actor = "user:1";
  b.route = "/sboms/:id";
  b.method = "GET";
  b.head.parent_span_id = bytes<8>(0xb0);
  b.add(f::duration(std::chrono::milliseconds(3)));
  b.add(f::sbom_id(SbomId(Uuid(bytes<16>(0x20)))));
  b.add(f::action("evaluation:write"));
  EXPECT_EQ(line_of(b),
            R"({"ts":")" + Timestamp::from_micros(1'795'000'000'123'456).rfc3339() +
                R"(","level":"warn","service":"stellad","version":"0.1.0","env":"test","region":"here","instance_id":"unit:1",)"
                R"("tenant_id":"acme","actor":"user:1","route":"/sboms/:id","method":"GET","action":"evaluation:write",)"
                R"("trace_id":"101112131415161718191a1b1c1d1e1f","span_id":"a0a1a2a3a4a5a6a7","parent_span_id":"b0b1b2b3b4b5b6b7",)"
                R"("request_id":"01020304-0506-0708-090a-0b0c0d0e0f10","sbom_id":"20212223-2425-2627-2829-2a2b2c2d2e2f",)"
                R"("module":"unit","message":"something happened","duration_us":3000})");
}

TEST(Lines, EveryKindOfValueFitsTheSchema) {
  RecordBuilder b = log_record();
  b.head.job_id = bytes<16>(3);
  b.head.run_id = bytes<16>(4);
  b.head.project_id = bytes<16>(5);
  b.add(f::stack("first\nsecond"));
  b.add(f::token_id(Uuid::v7()));
  b.add(f::sha256(*Sha256::parse(std::string(64, 'a'))));
  b.add(f::linked_trace_id(TraceId::generate()));
  b.add(f::cached(true));
  b.add(f::count(-3));
  b.add(f::path("<path>/web"));
  b.add(f::reason("x \"quoted\" \\ \x01 \xC3\xA9"));
  b.add(f::error(Error(contracts::errors::kUnavailable, "database is away").with("host", "db-1")));
  const json::Value line = checked_line(line_of(b));
  EXPECT_EQ(line.str("sha256"), std::string(64, 'a'));
  EXPECT_EQ(line.integer("count"), -3);
  EXPECT_TRUE(line.boolean("cached"));
  EXPECT_EQ(line.str("reason"), "x \"quoted\" \\ \x01 \xC3\xA9");
  EXPECT_EQ(line.str("error_code"), "unavailable");
  EXPECT_EQ(line.str("error_message"), "database is away");
  EXPECT_EQ(line.find("details")->str("stack"), "first\nsecond");
  EXPECT_EQ(line.find("details")->find("error")->str("host"), "db-1");
  EXPECT_EQ(line.find("truncated"), nullptr);
}

TEST(Lines, TextOfSeveralLinesIsFolded) {
  RecordBuilder b = log_record();
  b.add(f::reason("first\r\nsecond\nthird"));
  b.add(f::error(Error(contracts::errors::kIo, "write failed").with("os", "one\ntwo")));
  json::Value line = checked_line(line_of(b));
  EXPECT_EQ(line.str("reason"), "first");
  EXPECT_EQ(line.find("details")->str("stack"), "first\r\nsecond\nthird");
  EXPECT_EQ(line.find("details")->find("error")->str("os"), "one");

  RecordBuilder only_error = log_record();
  only_error.add(f::error(Error(contracts::errors::kIo, "write failed").with("os", "one\ntwo")));
  EXPECT_EQ(checked_line(line_of(only_error)).find("details")->str("stack"), "one\ntwo");

  b.add(f::stack("its own\nstack"));
  line = checked_line(line_of(b));
  EXPECT_EQ(line.find("details")->str("stack"), "its own\nstack");
}

TEST(Lines, TheLastOfAKeyCounts) {
  RecordBuilder b = log_record();
  b.add(f::count(1));
  b.add(f::operation("x"));
  b.add(f::count(2));
  EXPECT_EQ(checked_line(line_of(b)).integer("count"), 2);
}

TEST(Lines, AFieldCannotStandForAMemberOfTheLine) {
  RecordBuilder b = log_record();
  b.add(detail::FieldMaker::text("tenant_id", 7, Field::Kind::kText, "globex"));
  b.add(detail::FieldMaker::text("tenant_id", kForeignField, Field::Kind::kText, "globex"));
  b.add(detail::FieldMaker::text("ts", kForeignField, Field::Kind::kText, "never"));
  const json::Value line = checked_line(line_of(b));  // a member that is there twice would not parse
  EXPECT_EQ(line.str("tenant_id"), "acme");
}

TEST(Lines, ForeignFieldsStandUnderTheirKeys) {
  RecordBuilder b = log_record();
  b.add(detail::FieldMaker::text("cart.id", kForeignField, Field::Kind::kText, "17"));
  b.add(detail::FieldMaker::integer("cart.items", kForeignField, Field::Kind::kInt, 4));
  b.add(detail::FieldMaker::integer("cart.items", kForeignField, Field::Kind::kInt, 5));
  b.add(detail::FieldMaker::text("details.why", kForeignField, Field::Kind::kText, "because"));
  b.add(detail::FieldMaker::integer("count", kForeignField, Field::Kind::kInt, 6));
  const auto line = json::parse(line_of(b));
  ASSERT_TRUE(line);
  EXPECT_EQ(line->str("cart.id"), "17");
  EXPECT_EQ(line->integer("cart.items"), 5);
  EXPECT_EQ(line->integer("count"), 6);
  EXPECT_EQ(line->find("details")->str("why"), "because");
  EXPECT_EQ(keys(*line).back(), "details");
}

TEST(Lines, AHugeRecordIsCutMarkedAndKeepsItsError) {
  std::string quotes;
  for (int i = 0; i < 7'000; ++i) quotes += "\"\x01";
  RecordBuilder b = log_record();
  b.head.level = Level::kError;
  b.message = std::string(1500, '\x02');
  b.add(f::detail(quotes));
  b.add(f::reason(quotes));
  b.add(f::state(quotes));
  b.add(f::error(Error(contracts::errors::kIo, "write failed").with("path", "<path>/aa").with("os", std::string(2000, '"'))));
  const std::string text = line_of(b);
  const json::Value line = checked_line(text);
  EXPECT_TRUE(line.boolean("truncated"));
  EXPECT_EQ(line.str("error_code"), "io");
  EXPECT_EQ(line.str("message").size(), 1500u);
  EXPECT_EQ(line.find("details")->find("error")->str("path"), "<path>/aa");
  EXPECT_EQ(line.find("details")->find("error")->str("os").size(), 2000u);
}

TEST(Lines, SayWhatTheWriterLeftOut) {
  RecordBuilder b = log_record();
  b.head.flags = RecordHead::kTruncated;
  EXPECT_TRUE(checked_line(line_of(b)).boolean("truncated"));
  b.head.flags = 0;
  b.head.dropped_fields = 2;
  EXPECT_TRUE(checked_line(line_of(b)).boolean("truncated"));
}

TEST(Lines, WithoutIdsTheyStillFitTheSchema) {
  RecordBuilder b;
  b.head.kind = RecordKind::kLog;
  b.head.ns = -1;
  b.module = "unit";
  b.message = "bare";
  const json::Value line = checked_line(line_of(b));
  EXPECT_EQ(line.str("tenant_id"), "platform");
  EXPECT_EQ(line.str("ts"), "1969-12-31T23:59:59.999999Z");
}

// Random bytes in every text, at every length around the width of a vector, against the writer of base/json.
TEST(Lines, EscapesAreThoseOfTheJsonWriter) {
  std::mt19937 random(7);
  const std::string_view alphabet[] = {"a", "b", " ", "\"", "\\", "\n", "\t", "\x01", "\x1f", "\x7f", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    const std::size_t parts = random() % 70;
    for (std::size_t i = 0; i < parts; ++i) text += random() % 4 != 0 ? "x" : alphabet[random() % std::size(alphabet)];
    std::string expected, buffer(text.size() * detail::kEscape + detail::kSlack, '\0');
    json::append_quoted(expected, text);
    const char* end = detail::put_escaped(buffer.data(), text);
    ASSERT_EQ(std::string_view(buffer.data(), static_cast<std::size_t>(end - buffer.data())), std::string_view(expected).substr(1, expected.size() - 2));
    ASSERT_EQ(detail::escaped_size(text), expected.size() - 2);
    // In a record, with whatever lies around it.
    const std::size_t before = random() % 20;
    const std::string whole = std::string(before, '"') + text + std::string(random() % 20, "x\"\n"[random() % 3]);
    const std::string_view inside = std::string_view(whole).substr(before, text.size());
    end = detail::put_quoted(buffer.data(), inside, whole);
    ASSERT_EQ(std::string_view(buffer.data(), static_cast<std::size_t>(end - buffer.data())), expected);
  }
}

TEST(Lines, RandomRecordsMakeValidLines) {
  std::mt19937 random(11);
  const auto noise = [&](std::size_t most) {
    std::string text(random() % most, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
  };
  for (int round = 0; round < 500; ++round) {
    RecordBuilder b = log_record();
    b.tenant = noise(100);
    b.actor = noise(300);
    b.route = noise(400);
    b.method = noise(30);
    b.module = noise(200);
    b.message = noise(1500);
    b.add(f::detail(noise(9000)));
    b.add(f::reason(noise(9000)));
    b.add(f::stack(noise(9000)));
    b.add(f::state(noise(40)));
    if (round % 2 == 0) b.add(f::error(Error(contracts::errors::kIo, "write failed").with("os", noise(4000))));
    if (b.build().size() > kRecordBytes) continue;
    checked_line(line_of(b));
    const std::string span = [&] {
      b.head.kind = RecordKind::kSpan;
      b.event(5, noise(400), {});
      return b.build();
    }();
    if (span.size() > kRecordBytes) continue;
    const SpanRecord row = to_span_record(*RecordView::parse(span), kResource);
    const auto attributes = json::parse(row.attributes);
    ASSERT_TRUE(attributes) << attributes.error().describe();
    EXPECT_LE(row.attributes.size(), kLineBytes);
  }
}

TEST(Lines, ABrokenByteOfARecordNeverBreaksTheLine) {
  RecordBuilder b = log_record();
  b.add(f::reason("because"));
  b.add(f::error(Error(contracts::errors::kIo, "write failed").with("os", "x")));
  const std::string good = b.build();
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const unsigned flip : {0xffu, 0x01u, 0x80u}) {
      std::string broken = good;
      broken[i] = static_cast<char>(static_cast<unsigned char>(broken[i]) ^ flip);
      const auto view = RecordView::parse(broken);
      if (!view) continue;
      std::string line;
      append_line(line, *view, kResource);
      if (view->head().kind != RecordKind::kLog) continue;
      ASSERT_TRUE(json::parse(line)) << i << " " << line;
    }
  }
}

TEST(Lines, RowsOfALog) {
  const std::string bytes = log_record().build();
  const LogRecord log = to_log_record(*RecordView::parse(bytes), kResource);
  EXPECT_EQ(log.tenant_id, "acme");
  EXPECT_EQ(log.trace_id, "101112131415161718191a1b1c1d1e1f");
  EXPECT_EQ(log.span_id, "a0a1a2a3a4a5a6a7");
  EXPECT_EQ(log.ts.micros(), 1'795'000'000'123'456);
  EXPECT_EQ(log.level, Level::kWarn);
  EXPECT_EQ(log.service, "stellad");
  checked_line(log.line);
}

TEST(Lines, RowsOfASpan) {
  RecordBuilder b = log_record();
  b.head.kind = RecordKind::kSpan;
  b.head.end_ns = b.head.ns + 5'000'000;
  b.head.span_kind = SpanKind::kServer;
  b.head.status = SpanStatus::kError;
  b.head.sampling = SamplingReason::kError;
  b.message = "api./sboms/:id";
  b.route = "/sboms/:id";
  b.add(f::operation("read"));
  b.add(f::detail("text"));
  b.add(f::error(Error(contracts::errors::kLimit, "too deep")));
  b.link({TraceId(bytes<16>(9)), SpanId(bytes<8>(9)), 1});
  b.event(b.head.ns, "retry", {f::attempt(2)});
  const std::string text = b.build();
  const SpanRecord span = to_span_record(*RecordView::parse(text), kResource);
  EXPECT_EQ(span.name, "api./sboms/:id");
  EXPECT_EQ(span.kind, "server");
  EXPECT_EQ(span.status, "error");
  EXPECT_EQ((span.end - span.start).count(), 5000);
  EXPECT_EQ(span.links, R"([{"trace_id":"090a0b0c0d0e0f101112131415161718","span_id":"090a0b0c0d0e0f10"}])");
  const auto attributes = json::parse(span.attributes);
  ASSERT_TRUE(attributes) << span.attributes;
  EXPECT_EQ(attributes->str("operation"), "read");
  EXPECT_EQ(attributes->str("details.text"), "text");
  EXPECT_EQ(attributes->str("error_code"), "limit");
  EXPECT_EQ(attributes->str("sampling.reason"), "error");
  EXPECT_EQ(attributes->str("route"), "/sboms/:id");
  EXPECT_EQ(attributes->items("events").at(0).integer("attempt"), 2);
}

}  // namespace
}  // namespace stella::telemetry
