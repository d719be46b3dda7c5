// For tests and fuzzers: a request in which every field of every message is set, from the table of messages.
#pragma once

#include <functional>
#include <protozero/pbf_writer.hpp>
#include <string>

#include "schema.h"

namespace stella::telemetry {

// What fills a request. `number(n)` gives the next number below n, `text()` the next text, `key()` the next key of an attribute.
struct SampleSource {
  std::function<std::uint64_t(std::uint64_t n)> number;
  std::function<std::string()> text, key;
  int repeat = 2;  // items of a repeated field
};

inline std::string sample_message(otlp_schema::Message message, const SampleSource& source, int depth = 0);

inline void sample_field(protozero::pbf_writer& out, const otlp_schema::Field& field, otlp_schema::Message message, const SampleSource& source, int depth) {
  using otlp_schema::Message;
  using otlp_schema::Type;
  const auto n = [&](std::uint64_t below) { return source.number(below); };
  switch (field.type) {
    case Type::kString: out.add_string(field.number, message == Message::kKeyValue ? source.key() : source.text()); break;
    case Type::kBytes: out.add_bytes(field.number, n(2) == 0 ? source.text() : "\xff" + source.text() + '\0'); break;
    case Type::kTraceId: out.add_bytes(field.number, std::string(16, static_cast<char>(1 + n(255)))); break;
    case Type::kSpanId: out.add_bytes(field.number, std::string(8, static_cast<char>(1 + n(255)))); break;
    case Type::kBool: out.add_bool(field.number, n(2) == 1); break;
    case Type::kEnum: out.add_int32(field.number, static_cast<std::int32_t>(n(3))); break;
    case Type::kInt64: out.add_int64(field.number, static_cast<std::int64_t>(n(1ull << 60)) - (1ll << 59)); break;
    case Type::kUint32: out.add_uint32(field.number, static_cast<std::uint32_t>(n(1ull << 32))); break;
    case Type::kUint64: out.add_uint64(field.number, n(1ull << 62)); break;
    case Type::kSint32: out.add_sint32(field.number, static_cast<std::int32_t>(n(2000)) - 1000); break;
    case Type::kFixed32: out.add_fixed32(field.number, static_cast<std::uint32_t>(n(1024))); break;
    case Type::kFixed64: out.add_fixed64(field.number, n(1ull << 62)); break;
    case Type::kSfixed64: out.add_sfixed64(field.number, static_cast<std::int64_t>(n(1000)) - 500); break;
    case Type::kDouble: out.add_double(field.number, static_cast<double>(n(100000)) / 8); break;
    case Type::kMessage: out.add_message(field.number, sample_message(field.message, source, depth + 1)); break;
  }
}

inline std::string sample_message(otlp_schema::Message message, const SampleSource& source, int depth) {
  using otlp_schema::Message;
  using otlp_schema::Type;
  std::string bytes;
  protozero::pbf_writer out(bytes);
  const auto fields = otlp_schema::fields(message);
  // Of alternatives only one is set; nesting ends somewhere.
  std::size_t chosen = fields.size();
  if (message == Message::kAnyValue) chosen = source.number(fields.size());
  if (message == Message::kMetric) chosen = 3 + source.number(5);
  const bool int_value = source.number(2) == 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const otlp_schema::Field& field = fields[i];
    const bool list = field.message == Message::kArrayValue || field.message == Message::kKeyValueList;
    if (message == Message::kAnyValue && (i != chosen || (list && depth > 12))) continue;
    if (message == Message::kMetric && i >= 3 && i < 8 && i != chosen) continue;
    if ((message == Message::kNumberDataPoint || message == Message::kExemplar) && (field.json == "asInt" ? !int_value : field.json == "asDouble" && int_value)) continue;
    const bool packed = field.repeated && field.type != Type::kMessage && field.type != Type::kString && source.number(2) == 0;
    if (packed) {
      std::string items;
      for (int k = 0; k < source.repeat; ++k) {
        const std::uint64_t v = source.number(1ull << 40);
        const double d = static_cast<double>(v) / 4;
        if (field.type == Type::kUint64) protozero::write_varint(std::back_inserter(items), v);
        if (field.type == Type::kFixed64) items.append(reinterpret_cast<const char*>(&v), 8);
        if (field.type == Type::kDouble) items.append(reinterpret_cast<const char*>(&d), 8);
      }
      out.add_bytes(field.number, items);
      continue;
    }
    for (int k = 0; k < (field.repeated ? source.repeat : 1); ++k) sample_field(out, field, message, source, depth);
  }
  return bytes;
}

}  // namespace stella::telemetry
