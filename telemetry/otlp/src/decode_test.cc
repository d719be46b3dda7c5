// Requests of others become rows: the published JSON examples, every limit at N and N+1, odd but valid wire forms, garbage.
#include <gtest/gtest.h>

#include <protozero/pbf_writer.hpp>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/telemetry/otlp_rows.h"
#include "stella/testing/shared_data.h"

namespace stella::telemetry {
namespace {

using Kind = AnyValue::Kind;

std::string read(const std::string& path) {
  auto text = read_file(path, 1 << 20);
  EXPECT_TRUE(text);
  return text ? *text : std::string();
}

TEST(DecodeJson, PublishedTrace) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/otlp-json");
  const auto rows = decode_traces_json(read(dir + "/trace.json"));
  ASSERT_TRUE(rows) << rows.error().describe();
  ASSERT_EQ(rows->spans.size(), 1u);
  const SpanRow& span = rows->spans[0];
  EXPECT_EQ(hex_encode(span.trace_id), "5b8efff798038103d269b633813fc60c");
  EXPECT_EQ(hex_encode(span.span_id), "eee19b7ec3c1b174");
  EXPECT_EQ(hex_encode(span.parent_span_id), "eee19b7ec3c1b173");
  EXPECT_EQ(span.name, "I'm a server span");
  EXPECT_EQ(span.start_ns, 1544712660000000000u);
  EXPECT_EQ(span.end_ns, 1544712661000000000u);
  EXPECT_EQ(span.kind, 2);
  ASSERT_EQ(span.attributes.count, 1u);
  EXPECT_EQ(slice(rows->attributes, span.attributes)[0].key, "my.span.attr");
  EXPECT_EQ(slice(rows->attributes, span.attributes)[0].value.text(), "some value");
  EXPECT_EQ(rows->scopes[span.scope].name, "my.library");
  EXPECT_EQ(slice(rows->attributes, rows->resources[0].attributes)[0].value.text(), "my.service");
}

TEST(DecodeJson, PublishedLogs) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/otlp-json");
  auto rows = decode_logs_json(read(dir + "/logs.json"));
  ASSERT_TRUE(rows) << rows.error().describe();
  ASSERT_EQ(rows->records.size(), 1u);
  const LogRow& log = rows->records[0];
  EXPECT_EQ(log.severity_number, 10);
  EXPECT_EQ(log.severity_text, "Information");
  EXPECT_EQ(log.body.text(), "Example log record");
  const auto attributes = slice(rows->attributes, log.attributes);
  ASSERT_EQ(attributes.size(), 6u);
  EXPECT_TRUE(attributes[1].value.boolean());
  EXPECT_EQ(attributes[2].value.integer(), 10);
  EXPECT_EQ(attributes[3].value.number(), 637.704);
  ASSERT_EQ(attributes[4].value.kind(), Kind::kArray);
  EXPECT_EQ(slice(rows->nested, attributes[4].value.items())[1].value.text(), "values");
  ASSERT_EQ(attributes[5].value.kind(), Kind::kMap);
  EXPECT_EQ(slice(rows->nested, attributes[5].value.items())[0].key, "some.map.key");

  rows = decode_logs_json(read(dir + "/events.json"));
  ASSERT_TRUE(rows) << rows.error().describe();
  EXPECT_EQ(rows->records[0].event_name, "browser.page_view");
  ASSERT_EQ(rows->records[0].body.kind(), Kind::kMap);
  EXPECT_EQ(rows->records[0].body.items().count, 4u);
  EXPECT_EQ(slice(rows->nested, rows->records[0].body.items())[0].value.integer(), 0);
}

TEST(DecodeJson, PublishedMetrics) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/otlp-json");
  const auto rows = decode_metrics_json(read(dir + "/metrics.json"));
  ASSERT_TRUE(rows) << rows.error().describe();
  ASSERT_EQ(rows->metrics.size(), 4u);
  EXPECT_EQ(rows->metrics[0].kind, MetricRow::Kind::kSum);
  EXPECT_EQ(rows->metrics[0].temporality, 1);
  EXPECT_TRUE(rows->metrics[0].monotonic);
  EXPECT_EQ(rows->points[0].value.number, 5);
  EXPECT_EQ(rows->metrics[1].kind, MetricRow::Kind::kGauge);
  const PointRow& histogram = rows->points[rows->metrics[2].points.first];
  EXPECT_EQ(histogram.count, 2u);
  EXPECT_EQ(histogram.sum, 2);
  EXPECT_EQ(slice(rows->counts, histogram.bucket_counts)[0], 1u);
  EXPECT_EQ(slice(rows->bounds, histogram.explicit_bounds)[0], 1);
  EXPECT_EQ(histogram.max, 2);
  const PointRow& exponential = rows->points[rows->metrics[3].points.first];
  EXPECT_EQ(exponential.count, 3u);
  EXPECT_EQ(exponential.positive.offset, 1);
  EXPECT_EQ(slice(rows->counts, exponential.positive.counts).size(), 2u);
}

TEST(DecodeJson, WhatItTakesAndRefuses) {
  const auto span = [](std::string_view members) { return R"({"resourceSpans":[{"scopeSpans":[{"spans":[{)" + std::string(members) + "}]}]}]}"; };
  for (const std::string_view members : {R"("startTimeUnixNano":1544712660000000000)", R"("startTimeUnixNano":"1544712660000000000")", R"("traceId":"")", R"("kind":null)",
                                         R"("unknown":{"deep":[1,2,{}]})", R"("kind":3.0)"}) {
    const auto rows = decode_traces_json(span(members));
    ASSERT_TRUE(rows) << members << rows.error().describe();
  }
  for (const std::string_view members : {R"("kind":"SPAN_KIND_SERVER")", R"("traceId":"5B8EFFF798038103D269B633813FC60")", R"("traceId":"5B8EFFF798038103D269B633813FC6XX")", R"("name":5)",
                                         R"("startTimeUnixNano":"-1")", R"("startTimeUnixNano":1.5)", R"("events":{})", R"("attributes":["x"])", R"("droppedLinksCount":4294967296)"}) {
    const auto rows = decode_traces_json(span(members));
    ASSERT_FALSE(rows) << members;
    EXPECT_EQ(rows.error().code(), base_errors::kMalformed) << members;
    EXPECT_NE(rows.error().field("field"), "");
  }
  const auto maps = decode_logs_json(R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"kvlistValue":{}}},{"body":{"arrayValue":{"values":[{}]}}},{"body":{}}]}]}]})");
  ASSERT_TRUE(maps);
  EXPECT_EQ(maps->records[0].body.kind(), Kind::kMap);
  ASSERT_EQ(maps->records[1].body.kind(), Kind::kArray);
  EXPECT_EQ(maps->records[1].body.items().count, 1u);
  EXPECT_EQ(maps->records[2].body.kind(), Kind::kEmpty);
  for (const std::string_view text : {"", "[]", "null", "{", "\xff"}) EXPECT_FALSE(decode_logs_json(text)) << text;
  const auto empty = decode_logs_json("{}");
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->records.empty());
}

TEST(Decode, GarbageIsRefusedWithAReason) {
  for (const std::string_view bytes : {std::string_view("\x0a\x05\x01", 3), std::string_view("\x0a\x80", 2), std::string_view("\x00", 1), std::string_view("<html></html>")}) {
    const auto rows = decode_traces(bytes);
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().code(), base_errors::kMalformed);
    EXPECT_NE(rows.error().field("reason"), "");
  }
  EXPECT_TRUE(decode_traces(""));
}

// One span with the given fields.
template <class F>
std::string traces(F&& fields) {
  std::string out;
  protozero::pbf_writer request(out);
  protozero::pbf_writer resource(request, 1);
  protozero::pbf_writer scope(resource, 2);
  protozero::pbf_writer span(scope, 2);
  fields(span);
  return out;
}
void add_attribute(protozero::pbf_writer& out, int field, const std::string& key, const std::string& value) {
  protozero::pbf_writer pair(out, field);
  pair.add_string(1, key);
  protozero::pbf_writer any(pair, 2);
  any.add_string(1, value);
}

TEST(Decode, FieldsInAnyOrderAndUnknownOnes) {
  const std::string request = traces([](protozero::pbf_writer& span) {
    add_attribute(span, 9, "a", "1");
    {
      protozero::pbf_writer event(span, 11);
      add_attribute(event, 3, "in event", "x");
      event.add_string(2, "happened");
      event.add_string(77, "new");
    }
    span.add_fixed32(99, 7);
    add_attribute(span, 9, "b", "2");
    span.add_string(5, "first name");
    span.add_string(5, "name");
    span.add_string(6, "a string where kind should be");
  });
  const auto rows = decode_traces(request);
  ASSERT_TRUE(rows);
  const SpanRow& span = rows->spans[0];
  ASSERT_EQ(span.attributes.count, 2u);
  EXPECT_EQ(slice(rows->attributes, span.attributes)[1].key, "b");
  EXPECT_EQ(span.name, "name");
  EXPECT_EQ(span.kind, 0);
  ASSERT_EQ(span.events.count, 1u);
  const EventRow& event = rows->events[0];
  EXPECT_EQ(event.name, "happened");
  EXPECT_EQ(slice(rows->attributes, event.attributes)[0].key, "in event");
}

TEST(Decode, MessagesThatAreThereTwiceAreOne) {
  std::string request;
  {
    protozero::pbf_writer out(request);
    protozero::pbf_writer layer(out, 1);
    for (const char* key : {"one", "two"}) {
      {
        protozero::pbf_writer resource(layer, 1);
        add_attribute(resource, 1, key, "v");
        protozero::pbf_writer ref(resource, 3);
        ref.add_string(4, "description");
        ref.add_string(3, key);
      }
      protozero::pbf_writer scopes(layer, 2);
      protozero::pbf_writer scope(scopes, 1);
      add_attribute(scope, 3, "scope", "v");
    }
  }
  const auto rows = decode_traces(request);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->resources.size(), 1u);
  const auto attributes = slice(rows->attributes, rows->resources[0].attributes);
  ASSERT_EQ(attributes.size(), 2u);
  EXPECT_EQ(attributes[0].key, "one");
  EXPECT_EQ(attributes[1].key, "two");
  const auto refs = slice(rows->entity_refs, rows->resources[0].entity_refs);
  ASSERT_EQ(refs.size(), 2u);
  EXPECT_EQ(slice(rows->texts, refs[1].id_keys)[0], "two");
  EXPECT_EQ(slice(rows->texts, refs[1].description_keys)[0], "description");
}

TEST(Decode, PackedAndUnpackedLists) {
  std::string request;
  {
    protozero::pbf_writer out(request);
    protozero::pbf_writer resource(out, 1);
    protozero::pbf_writer scope(resource, 2);
    protozero::pbf_writer metric(scope, 2);
    metric.add_string(1, "m");
    protozero::pbf_writer data(metric, 9);
    protozero::pbf_writer point(data, 1);
    const std::uint64_t more[] = {2, 3};
    point.add_fixed64(6, 1);
    point.add_bytes(6, reinterpret_cast<const char*>(more), sizeof more);  // packed
    point.add_double(7, 0.5);
    point.add_double(5, 0);
  }
  const auto rows = decode_metrics(request);
  ASSERT_TRUE(rows);
  const auto counts = slice(rows->counts, rows->points[0].bucket_counts);
  EXPECT_EQ((std::vector<std::uint64_t>(counts.begin(), counts.end())), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(rows->points[0].explicit_bounds.count, 1u);
  EXPECT_EQ(rows->points[0].sum, 0.0);
  EXPECT_FALSE(rows->points[0].min);
}

// `levels` arrays around an empty text.
void add_nested(protozero::pbf_writer& any, int levels) {
  if (levels == 0) return any.add_string(1, "");
  protozero::pbf_writer array(any, 5);
  protozero::pbf_writer value(array, 1);
  add_nested(value, levels - 1);
}
std::string nested(int levels) {
  return traces([&](protozero::pbf_writer& span) {
    protozero::pbf_writer pair(span, 9);
    protozero::pbf_writer any(pair, 2);
    add_nested(any, levels);
  });
}

template <class R>
void expect_limit(const R& rows, std::string_view what) {
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().code(), base_errors::kLimit);
  EXPECT_EQ(rows.error().field("what"), what);
}

TEST(Decode, LimitsAtNAndOneMore) {
  EXPECT_TRUE(decode_traces(nested(16)));
  expect_limit(decode_traces(nested(17)), "depth");
  expect_limit(decode_traces(nested(2'000)), "depth");

  const std::string two = traces([](protozero::pbf_writer& span) {
    add_attribute(span, 9, "a", "1");
    add_attribute(span, 9, "b", "1");
    for (int i = 0; i < 2; ++i) {
      protozero::pbf_writer event(span, 11);
      event.add_string(2, "e");
    }
  });
  EXPECT_TRUE(decode_traces(two, {.records = 2, .attributes = 2}));
  expect_limit(decode_traces(two, {.attributes = 1}), "attributes");
  expect_limit(decode_traces(two, {.records = 1}), "events");
  EXPECT_TRUE(decode_traces(two, {.bytes = two.size()}));
  const auto large = decode_traces(two, {.bytes = two.size() - 1});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code(), base_errors::kLimit);

  const auto json = [](int levels) {
    std::string text = R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":)", end;
    for (int i = 0; i < levels; ++i) {
      text += R"({"kvlistValue":{"values":[{"key":"k","value":)";
      end += "}]}}";
    }
    return text + "{}" + end + "}]}]}]}";
  };
  EXPECT_TRUE(decode_logs_json(json(16)));
  const auto deep = decode_logs_json(json(17));
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().code(), base_errors::kLimit);
}

}  // namespace
}  // namespace stella::telemetry
