// Resources, scopes, attributes and the requests of traces and logs as rows.
#include "decode.h"

#include <algorithm>

namespace stella::telemetry {
namespace otlp_detail {

Attribute Common::key_value(std::string_view bytes, int depth) {
  Attribute out;
  Reader reader = reader_of(bytes);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case text(1): out.key = view(reader); break;
      case text(2): out.value = any(view(reader), depth); break;
      default: reader.skip();
    }
  }
  return out;
}

AnyValue Common::any(std::string_view bytes, int depth) {
  AnyValue out;
  Reader reader = reader_of(bytes);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case text(1): out = AnyValue::of_text(AnyValue::Kind::kString, view(reader)); break;
      case varint(2): out = AnyValue::of_bool(reader.get_bool()); break;
      case varint(3): out = AnyValue::of_int(reader.get_int64()); break;
      case fixed64(4): out = AnyValue::of_double(reader.get_double()); break;
      case text(5):
      case text(6): {
        if (depth >= limits_.depth) throw OverLimit{"depth", static_cast<std::size_t>(limits_.depth)};
        const bool map = reader.tag() == 6;
        std::vector<Attribute> items;  // their own items go to the pool before them
        Reader list = reader_of(view(reader));
        while (list.next()) {
          if (list.tag_and_type() != text(1)) {
            list.skip();
            continue;
          }
          if (rows_.nested.size() + items.size() >= limits_.attributes) throw OverLimit{"attributes", limits_.attributes};
          items.push_back(map ? key_value(view(list), depth + 1) : Attribute{{}, any(view(list), depth + 1)});
        }
        out = AnyValue::of_items(map ? AnyValue::Kind::kMap : AnyValue::Kind::kArray, {static_cast<std::uint32_t>(rows_.nested.size()), static_cast<std::uint32_t>(items.size())});
        rows_.nested.insert(rows_.nested.end(), items.begin(), items.end());
        break;
      }
      case text(7): out = AnyValue::of_text(AnyValue::Kind::kBytes, view(reader)); break;
      default: reader.skip();
    }
  }
  return out;
}

std::size_t Common::reopen(Range range) {
  const std::size_t first = rows_.attributes.size();
  if (range.count == 0) return first;
  if (range.first + range.count == first) return range.first;
  if (first + range.count > limits_.attributes) throw OverLimit{"attributes", limits_.attributes};
  for (std::size_t i = 0; i < range.count; ++i) rows_.attributes.push_back(Attribute(rows_.attributes[range.first + i]));
  return first;
}

void Common::resource(std::string_view bytes, ResourceRow& row) {
  const std::size_t first = reopen(row.attributes);
  Range refs = row.entity_refs;
  if (refs.count == 0) refs.first = static_cast<std::uint32_t>(rows_.entity_refs.size());
  Reader reader = reader_of(bytes);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case text(1): attribute(view(reader)); break;
      case varint(2): row.dropped_attributes = reader.get_uint32(); break;
      case text(3):
        if (refs.first + refs.count != rows_.entity_refs.size()) {  // a second message, after another resource's
          const std::size_t begin = rows_.entity_refs.size();
          for (std::size_t i = 0; i < refs.count; ++i) {
            const EntityRefRow copy = rows_.entity_refs[refs.first + i];
            rows_.entity_refs[add(rows_.entity_refs, "entity references")] = copy;
          }
          refs.first = static_cast<std::uint32_t>(begin);
        }
        entity_ref(view(reader), rows_.entity_refs[add(rows_.entity_refs, "entity references")]);
        ++refs.count;
        break;
      default: reader.skip();
    }
  }
  row.attributes = attributes_since(first);
  row.entity_refs = refs;
}

void Common::entity_ref(std::string_view bytes, EntityRefRow& row) {
  std::vector<std::string_view> descriptions;
  row.id_keys.first = static_cast<std::uint32_t>(rows_.texts.size());
  Reader reader = reader_of(bytes);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case text(1): row.schema_url = view(reader); break;
      case text(2): row.type = view(reader); break;
      case text(3): add_value(rows_.texts, view(reader)); break;
      case text(4): add_value(descriptions, view(reader)); break;
      default: reader.skip();
    }
  }
  row.id_keys.count = static_cast<std::uint32_t>(rows_.texts.size() - row.id_keys.first);
  row.description_keys = {static_cast<std::uint32_t>(rows_.texts.size()), static_cast<std::uint32_t>(descriptions.size())};
  for (const std::string_view key : descriptions) add_value(rows_.texts, key);
}

void Common::scope(std::string_view bytes, ScopeRow& row) {
  const std::size_t first = reopen(row.attributes);
  Reader reader = reader_of(bytes);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case text(1): row.name = view(reader); break;
      case text(2): row.version = view(reader); break;
      case text(3): attribute(view(reader)); break;
      case varint(4): row.dropped_attributes = reader.get_uint32(); break;
      default: reader.skip();
    }
  }
  row.attributes = attributes_since(first);
}

namespace {

class Traces {
 public:
  Traces(TraceRows& rows, const OtlpLimits& limits) : rows_(rows), common_(rows, limits) {}
  void decode(std::string_view request) {
    common_.request(request, [this](std::uint32_t scope, std::string_view bytes) { span(scope, bytes); });
  }

 private:
  // Events and links wait until the span's own attributes are together.
  void span(std::uint32_t scope, std::string_view bytes) {
    SpanRow& row = rows_.spans[common_.add(rows_.spans, "spans")];
    row.scope = scope;
    const std::size_t first = common_.attributes();
    events_.clear();
    links_.clear();
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): row.trace_id = view(reader); break;
        case text(2): row.span_id = view(reader); break;
        case text(3): row.trace_state = view(reader); break;
        case text(4): row.parent_span_id = view(reader); break;
        case text(5): row.name = view(reader); break;
        case varint(6): row.kind = reader.get_int32(); break;
        case fixed64(7): row.start_ns = reader.get_fixed64(); break;
        case fixed64(8): row.end_ns = reader.get_fixed64(); break;
        case text(9): common_.attribute(view(reader)); break;
        case varint(10): row.dropped_attributes = reader.get_uint32(); break;
        case text(11): events_.push_back(view(reader)); break;
        case varint(12): row.dropped_events = reader.get_uint32(); break;
        case text(13): links_.push_back(view(reader)); break;
        case varint(14): row.dropped_links = reader.get_uint32(); break;
        case text(15): status(view(reader), row); break;
        case fixed32(16): row.flags = reader.get_fixed32(); break;
        default: reader.skip();
      }
    }
    row.attributes = common_.attributes_since(first);
    row.events = {static_cast<std::uint32_t>(rows_.events.size()), static_cast<std::uint32_t>(events_.size())};
    for (const std::string_view e : events_) event(e, rows_.events[common_.add(rows_.events, "events")]);
    row.links = {static_cast<std::uint32_t>(rows_.links.size()), static_cast<std::uint32_t>(links_.size())};
    for (const std::string_view l : links_) link(l, rows_.links[common_.add(rows_.links, "links")]);
  }

  static void status(std::string_view bytes, SpanRow& row) {
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(2): row.status_message = view(reader); break;
        case varint(3): row.status = reader.get_int32(); break;
        default: reader.skip();
      }
    }
  }

  void event(std::string_view bytes, EventRow& row) {
    const std::size_t first = common_.attributes();
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case fixed64(1): row.time_ns = reader.get_fixed64(); break;
        case text(2): row.name = view(reader); break;
        case text(3): common_.attribute(view(reader)); break;
        case varint(4): row.dropped_attributes = reader.get_uint32(); break;
        default: reader.skip();
      }
    }
    row.attributes = common_.attributes_since(first);
  }

  void link(std::string_view bytes, LinkRow& row) {
    const std::size_t first = common_.attributes();
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): row.trace_id = view(reader); break;
        case text(2): row.span_id = view(reader); break;
        case text(3): row.trace_state = view(reader); break;
        case text(4): common_.attribute(view(reader)); break;
        case varint(5): row.dropped_attributes = reader.get_uint32(); break;
        case fixed32(6): row.flags = reader.get_fixed32(); break;
        default: reader.skip();
      }
    }
    row.attributes = common_.attributes_since(first);
  }

  TraceRows& rows_;
  Common common_;
  std::vector<std::string_view> events_, links_;
};

void decode_log(Common& common, LogRow& row, std::string_view bytes) {
  const std::size_t first = common.attributes();
  Reader reader = reader_of(bytes);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case fixed64(1): row.time_ns = reader.get_fixed64(); break;
      case varint(2): row.severity_number = reader.get_int32(); break;
      case text(3): row.severity_text = view(reader); break;
      case text(5): row.body = common.any(view(reader)); break;
      case text(6): common.attribute(view(reader)); break;
      case varint(7): row.dropped_attributes = reader.get_uint32(); break;
      case fixed32(8): row.flags = reader.get_fixed32(); break;
      case text(9): row.trace_id = view(reader); break;
      case text(10): row.span_id = view(reader); break;
      case fixed64(11): row.observed_ns = reader.get_fixed64(); break;
      case text(12): row.event_name = view(reader); break;
      default: reader.skip();
    }
  }
  row.attributes = common.attributes_since(first);
}

}  // namespace
}  // namespace otlp_detail

Result<void> decode_traces(TraceRows& rows, std::string_view request, const OtlpLimits& limits) {
  otlp_detail::clear_common(rows);
  otlp_detail::clear(rows.spans, rows.events, rows.links);
  // Room for what most requests are; memory that is not used is never touched.
  rows.attributes.reserve(std::min(request.size() / 24, limits.attributes));
  rows.spans.reserve(std::min(request.size() / 128, limits.records));
  return otlp_detail::guarded(request, limits, [&] { otlp_detail::Traces(rows, limits).decode(request); });
}

Result<void> decode_logs(LogRows& rows, std::string_view request, const OtlpLimits& limits) {
  otlp_detail::clear_common(rows);
  rows.records.clear();
  rows.attributes.reserve(std::min(request.size() / 24, limits.attributes));
  rows.records.reserve(std::min(request.size() / 128, limits.records));
  return otlp_detail::guarded(request, limits, [&] {
    otlp_detail::Common common(rows, limits);
    common.request(request, [&](std::uint32_t scope, std::string_view bytes) {
      LogRow& row = rows.records[common.add(rows.records, "log records")];
      row.scope = scope;
      otlp_detail::decode_log(common, row, bytes);
    });
  });
}

Result<TraceRows> decode_traces(std::string_view request, const OtlpLimits& limits) {
  TraceRows rows;
  STELLA_TRY_VOID(decode_traces(rows, request, limits));
  return rows;
}

Result<LogRows> decode_logs(std::string_view request, const OtlpLimits& limits) {
  LogRows rows;
  STELLA_TRY_VOID(decode_logs(rows, request, limits));
  return rows;
}

}  // namespace stella::telemetry
