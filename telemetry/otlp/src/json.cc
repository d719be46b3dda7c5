// OTLP/JSON to protocol buffers by the table of messages: so that everything behind it knows one form only.
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <protozero/pbf_writer.hpp>

#include "schema.h"
#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/telemetry/otlp_rows.h"

namespace stella::telemetry {
namespace {

using otlp_schema::Message;
using otlp_schema::Type;
using JsonField = otlp_schema::Field;

Error refuse(const JsonField& field, Literal expected) {
  return Error(base_errors::kMalformed, "not an OTLP/JSON request").with("field", std::string(field.json)).with("expected", std::string(expected.view()));
}

// A whole number: as such, as a number without fraction, or as a decimal string.
template <class T>
Result<T> integer(const JsonField& field, const json::Value& value) {
  if (value.is_int()) {
    if (std::in_range<T>(value.as_int())) return static_cast<T>(value.as_int());
  } else if (value.is_double()) {
    const double d = value.as_double();
    if (std::trunc(d) == d && d >= static_cast<double>(std::numeric_limits<T>::min()) && d < std::ldexp(1.0, std::numeric_limits<T>::digits)) return static_cast<T>(d);
  } else if (value.is_string()) {
    const std::string& text = value.as_string();
    T out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return out;
  }
  return refuse(field, "a whole number in range");
}

Result<double> number(const JsonField& field, const json::Value& value) {
  if (value.is_number()) return value.as_double();
  if (value.is_string()) {
    const std::string& text = value.as_string();
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    double out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(out)) return out;
  }
  return refuse(field, "a number");
}

Result<std::string> id(const JsonField& field, const json::Value& value, std::size_t size) {
  if (value.is_string()) {
    if (value.as_string().empty()) return std::string();
    auto bytes = hex_decode(value.as_string());
    if (bytes && bytes->size() == size) return std::move(*bytes);
  }
  return refuse(field, size == 16 ? Literal("32 hexadecimal digits") : Literal("16 hexadecimal digits"));
}

class Writer {
 public:
  explicit Writer(const OtlpLimits& limits) : limits_(limits) {}

  Result<void> message(Message message, const json::Value& value, protozero::pbf_writer& out, int depth) {
    for (const JsonField& field : otlp_schema::fields(message)) {
      const json::Value* member = value.find(field.json);
      if (member == nullptr || member->is_null()) continue;
      if (!field.repeated) {
        STELLA_TRY_VOID(single(field, *member, out, depth));
      } else if (!member->is_array()) {
        return refuse(field, "an array");
      } else if (field.type == Type::kFixed64 || field.type == Type::kDouble || field.type == Type::kUint64) {
        STELLA_TRY_VOID(packed(field, member->as_array(), out));
      } else {
        for (const json::Value& item : member->as_array()) STELLA_TRY_VOID(single(field, item, out, depth));
      }
    }
    return {};
  }

 private:
  Result<void> single(const JsonField& field, const json::Value& value, protozero::pbf_writer& out, int depth) {
    const std::uint32_t number_of = field.number;
    switch (field.type) {
      case Type::kString:
        if (!value.is_string()) return refuse(field, "a string");
        out.add_string(number_of, value.as_string());
        break;
      case Type::kBytes: {
        auto bytes = value.is_string() ? base64_decode(value.as_string()) : Result<std::string>(refuse(field, "base64"));
        if (!bytes) return refuse(field, "base64");
        out.add_bytes(number_of, *bytes);
        break;
      }
      case Type::kTraceId: out.add_bytes(number_of, STELLA_TRY(id(field, value, 16))); break;
      case Type::kSpanId: out.add_bytes(number_of, STELLA_TRY(id(field, value, 8))); break;
      case Type::kBool:
        if (!value.is_bool()) return refuse(field, "true or false");
        out.add_bool(number_of, value.as_bool());
        break;
      case Type::kEnum:
        if (!value.is_number()) return refuse(field, "an enum as integer");
        out.add_int32(number_of, STELLA_TRY(integer<std::int32_t>(field, value)));
        break;
      case Type::kInt64: out.add_int64(number_of, STELLA_TRY(integer<std::int64_t>(field, value))); break;
      case Type::kUint32: out.add_uint32(number_of, STELLA_TRY(integer<std::uint32_t>(field, value))); break;
      case Type::kUint64: out.add_uint64(number_of, STELLA_TRY(integer<std::uint64_t>(field, value))); break;
      case Type::kSint32: out.add_sint32(number_of, STELLA_TRY(integer<std::int32_t>(field, value))); break;
      case Type::kFixed32: out.add_fixed32(number_of, STELLA_TRY(integer<std::uint32_t>(field, value))); break;
      case Type::kFixed64: out.add_fixed64(number_of, STELLA_TRY(integer<std::uint64_t>(field, value))); break;
      case Type::kSfixed64: out.add_sfixed64(number_of, STELLA_TRY(integer<std::int64_t>(field, value))); break;
      case Type::kDouble: out.add_double(number_of, STELLA_TRY(number(field, value))); break;
      case Type::kMessage: {
        if (!value.is_object()) return refuse(field, "an object");
        if (field.message == Message::kArrayValue || field.message == Message::kKeyValueList) ++depth;
        if (depth > limits_.depth) return Error(base_errors::kLimit, "OTLP request has too many parts").with("what", "depth").with("limit", static_cast<std::uint64_t>(limits_.depth));
        std::string bytes;  // a nested writer would leave out empty messages, which mean something here (an empty map)
        protozero::pbf_writer inner(bytes);
        STELLA_TRY_VOID(message(field.message, value, inner, depth));
        out.add_message(number_of, bytes);
        break;
      }
    }
    return {};
  }

  static Result<void> packed(const JsonField& field, const json::Array& items, protozero::pbf_writer& out) {
    std::string bytes;
    for (const json::Value& item : items) {
      if (field.type == Type::kDouble) {
        const double v = STELLA_TRY(number(field, item));
        bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
      } else {
        const std::uint64_t v = STELLA_TRY(integer<std::uint64_t>(field, item));
        if (field.type == Type::kFixed64)
          bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
        else
          protozero::write_varint(std::back_inserter(bytes), v);
      }
    }
    out.add_bytes(field.number, bytes);
    return {};
  }

  const OtlpLimits& limits_;
};

template <class Rows>
Result<Rows> decode_json(Signal signal, std::string_view json, const OtlpLimits& limits, Result<void> (*decode)(Rows&, std::string_view, const OtlpLimits&)) {
  auto owned = std::make_shared<const std::string>(STELLA_TRY(otlp_from_json(signal, json, limits)));
  Rows rows;
  STELLA_TRY_VOID(decode(rows, *owned, limits));
  rows.owned = std::move(owned);
  return rows;
}

}  // namespace

Result<std::string> otlp_from_json(Signal signal, std::string_view text, const OtlpLimits& limits) {
  // An attribute's value lies at most four levels of JSON under the next one.
  const json::Value value = STELLA_TRY(json::parse(text, {.max_bytes = limits.bytes, .max_depth = 24 + 4 * limits.depth}));
  if (!value.is_object()) return Error(base_errors::kMalformed, "not an OTLP/JSON request").with("field", "").with("expected", "an object");
  std::string out;
  protozero::pbf_writer writer(out);
  STELLA_TRY_VOID(Writer(limits).message(otlp_schema::request_of(signal), value, writer, 0));
  return out;
}

Result<TraceRows> decode_traces_json(std::string_view json, const OtlpLimits& limits) {
  return decode_json<TraceRows>(Signal::kTraces, json, limits, decode_traces);
}
Result<LogRows> decode_logs_json(std::string_view json, const OtlpLimits& limits) { return decode_json<LogRows>(Signal::kLogs, json, limits, decode_logs); }
Result<MetricRows> decode_metrics_json(std::string_view json, const OtlpLimits& limits) {
  return decode_json<MetricRows>(Signal::kMetrics, json, limits, decode_metrics);
}

}  // namespace stella::telemetry
