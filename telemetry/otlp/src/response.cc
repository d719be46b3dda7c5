// Answers of an OTLP receiver, in both encodings.
#include "stella/telemetry/otlp_response.h"

#include <algorithm>
#include <charconv>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>

#include "stella/base/encoding.h"
#include "stella/base/json.h"

namespace stella::telemetry {
namespace {

constexpr std::size_t kMessageBytes = 4096;
constexpr std::string_view kRetryInfo = "google.rpc.RetryInfo";
constexpr std::int64_t kMostSeconds = 24 * 3600;

std::string text_of(std::string_view text) { return std::string(clip_utf8(text, kMessageBytes)); }
std::string text_of_view(const protozero::data_view& view) { return text_of(std::string_view(view.data(), view.size())); }

std::optional<std::chrono::nanoseconds> delay_of(std::int64_t seconds, std::int64_t nanos) {
  seconds = std::clamp<std::int64_t>(seconds, 0, kMostSeconds);
  nanos = std::clamp<std::int64_t>(nanos, 0, 999'999'999);
  return std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos);
}

// Reads a message; what protozero throws becomes kMalformed.
template <class T, class F>
Result<T> read(std::string_view bytes, F&& f) {
  T out;
  try {
    protozero::pbf_reader reader(bytes.data(), bytes.size());
    f(reader, out);
  } catch (const std::exception&) {
    return Error(base_errors::kMalformed, "not a protocol buffers message of an OTLP receiver");
  }
  return out;
}

void read_partial(protozero::pbf_reader partial, ExportResponse& out) {
  using protozero::pbf_wire_type;
  while (partial.next()) {
    switch (partial.tag_and_type()) {
      case protozero::tag_and_type(1, pbf_wire_type::varint): out.rejected = std::max<std::int64_t>(0, partial.get_int64()); break;
      case protozero::tag_and_type(2, pbf_wire_type::length_delimited): out.error_message = text_of_view(partial.get_view()); break;
      default: partial.skip();
    }
  }
}

void read_duration(protozero::pbf_reader duration, RpcStatus& out) {
  using protozero::pbf_wire_type;
  std::int64_t seconds = 0, nanos = 0;
  while (duration.next()) {
    switch (duration.tag_and_type()) {
      case protozero::tag_and_type(1, pbf_wire_type::varint): seconds = duration.get_int64(); break;
      case protozero::tag_and_type(2, pbf_wire_type::varint): nanos = duration.get_int32(); break;
      default: duration.skip();
    }
  }
  out.retry_delay = delay_of(seconds, nanos);
}

void read_detail(protozero::pbf_reader any, RpcStatus& out) {
  std::string_view type, value;
  while (any.next()) {
    if (any.wire_type() != protozero::pbf_wire_type::length_delimited || any.tag() > 2) {
      any.skip();
      continue;
    }
    const bool is_type = any.tag() == 1;
    const protozero::data_view view = any.get_view();
    (is_type ? type : value) = std::string_view(view.data(), view.size());
  }
  if (!type.ends_with(kRetryInfo)) return;
  protozero::pbf_reader info(value.data(), value.size());
  while (info.next(1, protozero::pbf_wire_type::length_delimited)) read_duration(info.get_message(), out);
}

std::string_view rejected_name(Signal signal) {
  return signal == Signal::kTraces ? "rejectedSpans" : signal == Signal::kMetrics ? "rejectedDataPoints" : "rejectedLogRecords";
}

// int64 of proto3's JSON: a decimal string or a number.
std::int64_t integer_of(const json::Value* value) {
  if (value == nullptr) return 0;
  if (value->is_int()) return value->as_int();
  std::int64_t out = 0;
  if (value->is_string()) std::from_chars(value->as_string().data(), value->as_string().data() + value->as_string().size(), out);
  return out;
}

// "3.5s"
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (!text.ends_with('s')) return std::nullopt;
  text.remove_suffix(1);
  std::int64_t seconds = 0, nanos = 0, unit = 100'000'000;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || seconds < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return delay_of(seconds, 0);
  if (text.front() != '.') return std::nullopt;
  for (const char c : text.substr(1)) {
    if (c < '0' || c > '9' || unit == 0) return std::nullopt;
    nanos += (c - '0') * unit;
    unit /= 10;
  }
  return delay_of(seconds, nanos);
}

std::string format_duration(std::chrono::nanoseconds delay) {
  const std::string nanos = std::to_string(delay.count() % 1'000'000'000);
  std::string out = std::to_string(delay.count() / 1'000'000'000);
  if (nanos != "0") out.append(".").append(9 - nanos.size(), '0').append(nanos);
  return out.append("s");
}

}  // namespace

std::string encode_response(const ExportResponse& response) {
  std::string out;
  if (response.rejected == 0 && response.error_message.empty()) return out;
  protozero::pbf_writer message(out);
  protozero::pbf_writer partial(message, 1);
  if (response.rejected != 0) partial.add_int64(1, response.rejected);
  if (!response.error_message.empty()) partial.add_string(2, text_of(response.error_message));
  return out;
}

std::string encode_response_json(Signal signal, const ExportResponse& response) {
  json::Value out = json::Value::object();
  if (response.rejected != 0 || !response.error_message.empty()) {
    json::Value partial = json::Value::object();
    if (response.rejected != 0) partial.set(std::string(rejected_name(signal)), std::to_string(response.rejected));
    if (!response.error_message.empty()) partial.set("errorMessage", text_of(response.error_message));
    out.set("partialSuccess", std::move(partial));
  }
  return json::dump(out);
}

Result<ExportResponse> decode_response(std::string_view bytes) {
  return read<ExportResponse>(bytes, [](protozero::pbf_reader& message, ExportResponse& out) {
    while (message.next()) {
      if (message.tag_and_type() == protozero::tag_and_type(1, protozero::pbf_wire_type::length_delimited))
        read_partial(message.get_message(), out);
      else
        message.skip();
    }
  });
}

Result<ExportResponse> decode_response_json(Signal signal, std::string_view text) {
  const json::Value value = STELLA_TRY(json::parse(text, {.max_bytes = 4u << 20, .max_depth = 16}));
  if (!value.is_object()) return Error(base_errors::kMalformed, "not an OTLP response").with("expected", "an object");
  ExportResponse out;
  if (const json::Value* partial = value.find("partialSuccess")) {
    out.rejected = std::max<std::int64_t>(0, integer_of(partial->find(rejected_name(signal))));
    out.error_message = text_of(partial->str("errorMessage"));
  }
  return out;
}

std::string encode_status(const RpcStatus& status) {
  std::string out;
  protozero::pbf_writer message(out);
  if (status.code != 0) message.add_int32(1, status.code);
  if (!status.message.empty()) message.add_string(2, text_of(status.message));
  if (status.retry_delay) {
    protozero::pbf_writer any(message, 3);
    any.add_string(1, std::string("type.googleapis.com/").append(kRetryInfo));
    protozero::pbf_writer info(any, 2);
    protozero::pbf_writer duration(info, 1);
    duration.add_int64(1, status.retry_delay->count() / 1'000'000'000);
    duration.add_int32(2, static_cast<std::int32_t>(status.retry_delay->count() % 1'000'000'000));
  }
  return out;
}

std::string encode_status_json(const RpcStatus& status) {
  json::Value out = json::Value::object({{"code", status.code}, {"message", text_of(status.message)}});
  if (status.retry_delay) {
    out.set("details", json::Value::array({json::Value::object({{"@type", std::string("type.googleapis.com/").append(kRetryInfo)},
                                                                {"retryDelay", format_duration(*status.retry_delay)}})}));
  }
  return json::dump(out);
}

Result<RpcStatus> decode_status(std::string_view bytes) {
  return read<RpcStatus>(bytes, [](protozero::pbf_reader& message, RpcStatus& out) {
    using protozero::pbf_wire_type;
    while (message.next()) {
      switch (message.tag_and_type()) {
        case protozero::tag_and_type(1, pbf_wire_type::varint): out.code = message.get_int32(); break;
        case protozero::tag_and_type(2, pbf_wire_type::length_delimited): out.message = text_of_view(message.get_view()); break;
        case protozero::tag_and_type(3, pbf_wire_type::length_delimited): read_detail(message.get_message(), out); break;
        default: message.skip();
      }
    }
  });
}

Result<RpcStatus> decode_status_json(std::string_view text) {
  const json::Value value = STELLA_TRY(json::parse(text, {.max_bytes = 4u << 20, .max_depth = 16}));
  if (!value.is_object()) return Error(base_errors::kMalformed, "not a google.rpc.Status").with("expected", "an object");
  RpcStatus out;
  out.code = static_cast<std::int32_t>(integer_of(value.find("code")));
  out.message = text_of(value.str("message"));
  for (const json::Value& detail : value.items("details"))
    if (detail.str("@type").ends_with(kRetryInfo)) out.retry_delay = parse_duration(detail.str("retryDelay"));
  return out;
}

}  // namespace stella::telemetry
