// What the limits of the environment leave of a record, and what they count.
#include "record_limits.h"

#include <gtest/gtest.h>

#include "stella/contracts/errors.h"
#include "stella/telemetry/otlp.h"
#include "stella/telemetry/otlp_rows.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

OtelLimits with(void (*change)(OtelLimits&)) {
  OtelLimits limits;
  change(limits);
  return limits;
}

std::vector<std::string> texts_of(const RecordView& record) {
  std::vector<std::string> out;
  record.each_field([&](const FieldView& field) { out.push_back(std::string(field.key) + "=" + (field.kind == Field::Kind::kInt ? std::to_string(field.integer()) : std::string(field.value))); });
  return out;
}

RecordBuilder span_builder() {
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = 1'795'000'000'000'000'000;
  b.head.end_ns = b.head.ns + 1'000'000;
  b.head.trace_id.fill(1);
  b.head.span_id.fill(2);
  b.tenant = "acme";
  b.message = "unit";
  return b;
}

TEST(Limits, CharactersAreNeverCutInTwo) {
  const std::string text = "aä€😀z";
  const char* const cut[] = {"", "a", "aä", "aä€", "aä€😀", "aä€😀z", "aä€😀z"};
  for (std::size_t i = 0; i < std::size(cut); ++i) EXPECT_EQ(clip_chars(text, i), cut[i]) << i;
  EXPECT_EQ(clip_chars("\x80\x80", 1), "\x80\x80");  // no character begins here
}

TEST(Limits, WithoutThemARecordIsItself) {
  RecordLimits off{OtelLimits{}};
  EXPECT_FALSE(off.on());
  RecordLimits limits(with([](OtelLimits& l) { l.log_attribute_count = 2; }));
  EXPECT_TRUE(limits.on());
  const std::string bytes = log_bytes(Level::kInfo, 1, "two fields");
  const auto record = *RecordView::parse(bytes);
  EXPECT_EQ(limits.apply(record).bytes().data(), bytes.data());
}

TEST(Limits, TheFirstAttributesStayWithTheLastThatWasSaidOfThem) {
  RecordBuilder b = span_builder();
  b.add(f::count(1));
  b.add(f::reason("first"));
  b.add(f::operation("third"));
  b.add(f::count(2));
  b.add(f::limit(4));
  b.head.dropped_fields = 5;
  const std::string bytes = b.build();
  RecordLimits limits(with([](OtelLimits& l) { l.span_attribute_count = 2; }));
  const RecordView cut = limits.apply(*RecordView::parse(bytes));
  EXPECT_EQ(texts_of(cut), (std::vector<std::string>{"count=1", "reason=first", "count=2"}));
  EXPECT_EQ(cut.head().dropped_fields, 7);
  EXPECT_EQ(cut.tenant(), "acme");
  EXPECT_EQ(cut.name(), "unit");
  RecordLimits none(with([](OtelLimits& l) { l.span_attribute_count = 0; }));
  EXPECT_TRUE(texts_of(none.apply(*RecordView::parse(bytes))).empty());
  RecordLimits logs(with([](OtelLimits& l) { l.log_attribute_count = 0; }));  // the other kind's
  EXPECT_EQ(texts_of(logs.apply(*RecordView::parse(bytes))).size(), 5u);
}

TEST(Limits, CountsDoNotOverflow) {
  RecordBuilder b = span_builder();
  b.add(f::count(1));
  b.head.dropped_fields = 65535;
  const std::string bytes = b.build();
  RecordLimits limits(with([](OtelLimits& l) { l.span_attribute_count = 0; }));
  EXPECT_EQ(limits.apply(*RecordView::parse(bytes)).head().dropped_fields, 65535);
}

TEST(Limits, TextsOfEveryKindAreCut) {
  RecordBuilder b = log_builder(Level::kError, 7, "aä€😀z");
  b.add(f::sbom_id(*SbomId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012")));
  b.add(f::error(Error(contracts::errors::kMalformed, "no SBOM").with("path", "/very/long").with("short", "a")));
  const std::string bytes = b.build();
  RecordLimits limits(with([](OtelLimits& l) { l.log_text_chars = 3; }));
  const RecordView cut = limits.apply(*RecordView::parse(bytes));
  EXPECT_EQ(texts_of(cut)[0], "count=7");
  EXPECT_EQ(texts_of(cut)[1], "reason=aä€");
  EXPECT_EQ(texts_of(cut)[2], "sbom_id=019");
  EXPECT_EQ(cut.message(), "something happened");  // no attribute
  std::vector<std::string> error;
  cut.each_field([&](const FieldView& field) {
    const auto view = error_view(field);
    if (!view) return;
    error = {std::string(view->code), std::string(view->message)};
    std::string_view rest = view->rest, name, value;
    while (next_error_field(rest, name, value)) error.push_back(std::string(name) + "=" + std::string(value));
  });
  EXPECT_EQ(error, (std::vector<std::string>{std::string(contracts::error_info(contracts::errors::kMalformed).wire), "no SBOM", "path=/ve", "short=a"}));
}

TEST(Limits, ARecordFullOfIdsStaysARecord) {
  RecordBuilder b = span_builder();
  std::size_t bytes = sizeof(RecordHead) + 100;
  for (; bytes + 36 + 5 < kRecordBytes; bytes += 36) b.event(b.head.ns, "", {f::sbom_id(*SbomId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012"))});
  b.add(f::count(1));
  const std::string record = b.build();
  ASSERT_TRUE(RecordView::parse(record));
  RecordLimits limits(with([](OtelLimits& l) {
    l.span_text_chars = 35;
    l.span_attribute_count = 0;
    l.span_events = 100'000;
  }));
  const RecordView cut = limits.apply(*RecordView::parse(record));
  EXPECT_EQ(cut.head().field_count, 0);  // the other limits hold
  EXPECT_EQ(cut.head().event_count, RecordView::parse(record)->head().event_count);
}

TEST(Limits, EventsAndLinksAndWhatTheyLostReachTheRequest) {
  RecordBuilder b = span_builder();
  for (int i = 0; i < 4; ++i) b.link({TraceId::generate(), SpanId::generate(), 1});
  b.event(b.head.ns, "one", {f::count(1), f::limit(2)});
  b.event(b.head.ns, "two", {f::count(1), f::limit(2), f::reason("three")});
  b.event(b.head.ns, "three", {f::count(1)});
  b.event(b.head.ns, "four", {f::count(1)});
  b.head.dropped_links = 2;
  const std::string bytes = b.build();
  RecordLimits limits(with([](OtelLimits& l) {
    l.span_events = 3;
    l.span_links = 1;
    l.event_attributes = 1;
  }));
  TraceBatch batch;
  const RecordView cut = limits.apply(*RecordView::parse(bytes));
  batch.add(cut, SamplingReason::kHead, limits.event_drops());
  const std::string request = batch.take(kTestResource);
  const auto rows = decode_traces(request);
  ASSERT_TRUE(rows);
  const SpanRow& span = rows->spans.at(0);
  EXPECT_EQ(span.links.count, 1u);
  EXPECT_EQ(span.dropped_links, 5u);
  EXPECT_EQ(span.dropped_events, 1u);
  ASSERT_EQ(span.events.count, 3u);
  const auto events = slice(rows->events, span.events);
  EXPECT_EQ(events[0].dropped_attributes, 1u);
  EXPECT_EQ(events[1].dropped_attributes, 2u);
  EXPECT_EQ(events[2].dropped_attributes, 0u);
  EXPECT_EQ(events[1].attributes.count, 1u);
}

}  // namespace
}  // namespace stella::telemetry
