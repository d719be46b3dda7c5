// OTLP's messages as a table (opentelemetry-proto 1.11): what the JSON reader and the scrubber walk by. Fields of profiles are left out.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "stella/telemetry/signal.h"

namespace stella::telemetry::otlp_schema {

// The first three are the Export…ServiceRequests.
enum class Message : std::uint8_t {
  kTraces, kMetrics, kLogs, kAnyValue, kArrayValue, kKeyValueList, kKeyValue, kInstrumentationScope, kEntityRef, kResource,
  kResourceSpans, kScopeSpans, kSpan, kEvent, kLink, kStatus, kResourceLogs, kScopeLogs, kLogRecord, kResourceMetrics, kScopeMetrics,
  kMetric, kGauge, kSum, kHistogram, kExponentialHistogram, kSummary, kNumberDataPoint, kHistogramDataPoint,
  kExponentialHistogramDataPoint, kBuckets, kSummaryDataPoint, kValueAtQuantile, kExemplar
};
enum class Type : std::uint8_t { kString, kBytes, kTraceId, kSpanId, kBool, kEnum, kInt64, kUint32, kUint64, kSint32, kFixed32, kFixed64, kSfixed64, kDouble, kMessage };

struct Field {
  std::uint8_t number;
  Type type;
  bool repeated;
  std::string_view json;
  Message message = Message::kTraces;  // of kMessage
};

std::span<const Field> fields(Message message);
// nullptr where the message has no such field.
const Field* find(Message message, std::uint32_t number);
Message request_of(Signal signal);

}  // namespace stella::telemetry::otlp_schema
