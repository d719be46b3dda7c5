// OTLP's messages as a table (schema.h). A test compares the numbers with what the Python classes know.
#include "schema.h"

namespace stella::telemetry::otlp_schema {
namespace {

constexpr Field kTraces[] = {
    {1, Type::kMessage, true, "resourceSpans", Message::kResourceSpans},
};
constexpr Field kMetrics[] = {
    {1, Type::kMessage, true, "resourceMetrics", Message::kResourceMetrics},
};
constexpr Field kLogs[] = {
    {1, Type::kMessage, true, "resourceLogs", Message::kResourceLogs},
};
constexpr Field kAnyValue[] = {
    {1, Type::kString, false, "stringValue"},
    {2, Type::kBool, false, "boolValue"},
    {3, Type::kInt64, false, "intValue"},
    {4, Type::kDouble, false, "doubleValue"},
    {5, Type::kMessage, false, "arrayValue", Message::kArrayValue},
    {6, Type::kMessage, false, "kvlistValue", Message::kKeyValueList},
    {7, Type::kBytes, false, "bytesValue"},
};
constexpr Field kArrayValue[] = {
    {1, Type::kMessage, true, "values", Message::kAnyValue},
};
constexpr Field kKeyValueList[] = {
    {1, Type::kMessage, true, "values", Message::kKeyValue},
};
constexpr Field kKeyValue[] = {
    {1, Type::kString, false, "key"},
    {2, Type::kMessage, false, "value", Message::kAnyValue},
};
constexpr Field kInstrumentationScope[] = {
    {1, Type::kString, false, "name"},
    {2, Type::kString, false, "version"},
    {3, Type::kMessage, true, "attributes", Message::kKeyValue},
    {4, Type::kUint32, false, "droppedAttributesCount"},
};
constexpr Field kEntityRef[] = {
    {1, Type::kString, false, "schemaUrl"},
    {2, Type::kString, false, "type"},
    {3, Type::kString, true, "idKeys"},
    {4, Type::kString, true, "descriptionKeys"},
};
constexpr Field kResource[] = {
    {1, Type::kMessage, true, "attributes", Message::kKeyValue},
    {2, Type::kUint32, false, "droppedAttributesCount"},
    {3, Type::kMessage, true, "entityRefs", Message::kEntityRef},
};
constexpr Field kResourceSpans[] = {
    {1, Type::kMessage, false, "resource", Message::kResource},
    {2, Type::kMessage, true, "scopeSpans", Message::kScopeSpans},
    {3, Type::kString, false, "schemaUrl"},
};
constexpr Field kScopeSpans[] = {
    {1, Type::kMessage, false, "scope", Message::kInstrumentationScope},
    {2, Type::kMessage, true, "spans", Message::kSpan},
    {3, Type::kString, false, "schemaUrl"},
};
constexpr Field kSpan[] = {
    {1, Type::kTraceId, false, "traceId"},
    {2, Type::kSpanId, false, "spanId"},
    {3, Type::kString, false, "traceState"},
    {4, Type::kSpanId, false, "parentSpanId"},
    {5, Type::kString, false, "name"},
    {6, Type::kEnum, false, "kind"},
    {7, Type::kFixed64, false, "startTimeUnixNano"},
    {8, Type::kFixed64, false, "endTimeUnixNano"},
    {9, Type::kMessage, true, "attributes", Message::kKeyValue},
    {10, Type::kUint32, false, "droppedAttributesCount"},
    {11, Type::kMessage, true, "events", Message::kEvent},
    {12, Type::kUint32, false, "droppedEventsCount"},
    {13, Type::kMessage, true, "links", Message::kLink},
    {14, Type::kUint32, false, "droppedLinksCount"},
    {15, Type::kMessage, false, "status", Message::kStatus},
    {16, Type::kFixed32, false, "flags"},
};
constexpr Field kEvent[] = {
    {1, Type::kFixed64, false, "timeUnixNano"},
    {2, Type::kString, false, "name"},
    {3, Type::kMessage, true, "attributes", Message::kKeyValue},
    {4, Type::kUint32, false, "droppedAttributesCount"},
};
constexpr Field kLink[] = {
    {1, Type::kTraceId, false, "traceId"},
    {2, Type::kSpanId, false, "spanId"},
    {3, Type::kString, false, "traceState"},
    {4, Type::kMessage, true, "attributes", Message::kKeyValue},
    {5, Type::kUint32, false, "droppedAttributesCount"},
    {6, Type::kFixed32, false, "flags"},
};
constexpr Field kStatus[] = {
    {2, Type::kString, false, "message"},
    {3, Type::kEnum, false, "code"},
};
constexpr Field kResourceLogs[] = {
    {1, Type::kMessage, false, "resource", Message::kResource},
    {2, Type::kMessage, true, "scopeLogs", Message::kScopeLogs},
    {3, Type::kString, false, "schemaUrl"},
};
constexpr Field kScopeLogs[] = {
    {1, Type::kMessage, false, "scope", Message::kInstrumentationScope},
    {2, Type::kMessage, true, "logRecords", Message::kLogRecord},
    {3, Type::kString, false, "schemaUrl"},
};
constexpr Field kLogRecord[] = {
    {1, Type::kFixed64, false, "timeUnixNano"},
    {2, Type::kEnum, false, "severityNumber"},
    {3, Type::kString, false, "severityText"},
    {5, Type::kMessage, false, "body", Message::kAnyValue},
    {6, Type::kMessage, true, "attributes", Message::kKeyValue},
    {7, Type::kUint32, false, "droppedAttributesCount"},
    {8, Type::kFixed32, false, "flags"},
    {9, Type::kTraceId, false, "traceId"},
    {10, Type::kSpanId, false, "spanId"},
    {11, Type::kFixed64, false, "observedTimeUnixNano"},
    {12, Type::kString, false, "eventName"},
};
constexpr Field kResourceMetrics[] = {
    {1, Type::kMessage, false, "resource", Message::kResource},
    {2, Type::kMessage, true, "scopeMetrics", Message::kScopeMetrics},
    {3, Type::kString, false, "schemaUrl"},
};
constexpr Field kScopeMetrics[] = {
    {1, Type::kMessage, false, "scope", Message::kInstrumentationScope},
    {2, Type::kMessage, true, "metrics", Message::kMetric},
    {3, Type::kString, false, "schemaUrl"},
};
constexpr Field kMetric[] = {
    {1, Type::kString, false, "name"},
    {2, Type::kString, false, "description"},
    {3, Type::kString, false, "unit"},
    {5, Type::kMessage, false, "gauge", Message::kGauge},
    {7, Type::kMessage, false, "sum", Message::kSum},
    {9, Type::kMessage, false, "histogram", Message::kHistogram},
    {10, Type::kMessage, false, "exponentialHistogram", Message::kExponentialHistogram},
    {11, Type::kMessage, false, "summary", Message::kSummary},
    {12, Type::kMessage, true, "metadata", Message::kKeyValue},
};
constexpr Field kGauge[] = {
    {1, Type::kMessage, true, "dataPoints", Message::kNumberDataPoint},
};
constexpr Field kSum[] = {
    {1, Type::kMessage, true, "dataPoints", Message::kNumberDataPoint},
    {2, Type::kEnum, false, "aggregationTemporality"},
    {3, Type::kBool, false, "isMonotonic"},
};
constexpr Field kHistogram[] = {
    {1, Type::kMessage, true, "dataPoints", Message::kHistogramDataPoint},
    {2, Type::kEnum, false, "aggregationTemporality"},
};
constexpr Field kExponentialHistogram[] = {
    {1, Type::kMessage, true, "dataPoints", Message::kExponentialHistogramDataPoint},
    {2, Type::kEnum, false, "aggregationTemporality"},
};
constexpr Field kSummary[] = {
    {1, Type::kMessage, true, "dataPoints", Message::kSummaryDataPoint},
};
constexpr Field kNumberDataPoint[] = {
    {2, Type::kFixed64, false, "startTimeUnixNano"},
    {3, Type::kFixed64, false, "timeUnixNano"},
    {4, Type::kDouble, false, "asDouble"},
    {5, Type::kMessage, true, "exemplars", Message::kExemplar},
    {6, Type::kSfixed64, false, "asInt"},
    {7, Type::kMessage, true, "attributes", Message::kKeyValue},
    {8, Type::kUint32, false, "flags"},
};
constexpr Field kHistogramDataPoint[] = {
    {2, Type::kFixed64, false, "startTimeUnixNano"},
    {3, Type::kFixed64, false, "timeUnixNano"},
    {4, Type::kFixed64, false, "count"},
    {5, Type::kDouble, false, "sum"},
    {6, Type::kFixed64, true, "bucketCounts"},
    {7, Type::kDouble, true, "explicitBounds"},
    {8, Type::kMessage, true, "exemplars", Message::kExemplar},
    {9, Type::kMessage, true, "attributes", Message::kKeyValue},
    {10, Type::kUint32, false, "flags"},
    {11, Type::kDouble, false, "min"},
    {12, Type::kDouble, false, "max"},
};
constexpr Field kExponentialHistogramDataPoint[] = {
    {1, Type::kMessage, true, "attributes", Message::kKeyValue},
    {2, Type::kFixed64, false, "startTimeUnixNano"},
    {3, Type::kFixed64, false, "timeUnixNano"},
    {4, Type::kFixed64, false, "count"},
    {5, Type::kDouble, false, "sum"},
    {6, Type::kSint32, false, "scale"},
    {7, Type::kFixed64, false, "zeroCount"},
    {8, Type::kMessage, false, "positive", Message::kBuckets},
    {9, Type::kMessage, false, "negative", Message::kBuckets},
    {10, Type::kUint32, false, "flags"},
    {11, Type::kMessage, true, "exemplars", Message::kExemplar},
    {12, Type::kDouble, false, "min"},
    {13, Type::kDouble, false, "max"},
    {14, Type::kDouble, false, "zeroThreshold"},
};
constexpr Field kBuckets[] = {
    {1, Type::kSint32, false, "offset"},
    {2, Type::kUint64, true, "bucketCounts"},
};
constexpr Field kSummaryDataPoint[] = {
    {2, Type::kFixed64, false, "startTimeUnixNano"},
    {3, Type::kFixed64, false, "timeUnixNano"},
    {4, Type::kFixed64, false, "count"},
    {5, Type::kDouble, false, "sum"},
    {6, Type::kMessage, true, "quantileValues", Message::kValueAtQuantile},
    {7, Type::kMessage, true, "attributes", Message::kKeyValue},
    {8, Type::kUint32, false, "flags"},
};
constexpr Field kValueAtQuantile[] = {
    {1, Type::kDouble, false, "quantile"},
    {2, Type::kDouble, false, "value"},
};
constexpr Field kExemplar[] = {
    {2, Type::kFixed64, false, "timeUnixNano"},
    {3, Type::kDouble, false, "asDouble"},
    {4, Type::kSpanId, false, "spanId"},
    {5, Type::kTraceId, false, "traceId"},
    {6, Type::kSfixed64, false, "asInt"},
    {7, Type::kMessage, true, "filteredAttributes", Message::kKeyValue},
};

}  // namespace

std::span<const Field> fields(Message message) {
  switch (message) {
    case Message::kTraces: return kTraces;
    case Message::kMetrics: return kMetrics;
    case Message::kLogs: return kLogs;
    case Message::kAnyValue: return kAnyValue;
    case Message::kArrayValue: return kArrayValue;
    case Message::kKeyValueList: return kKeyValueList;
    case Message::kKeyValue: return kKeyValue;
    case Message::kInstrumentationScope: return kInstrumentationScope;
    case Message::kEntityRef: return kEntityRef;
    case Message::kResource: return kResource;
    case Message::kResourceSpans: return kResourceSpans;
    case Message::kScopeSpans: return kScopeSpans;
    case Message::kSpan: return kSpan;
    case Message::kEvent: return kEvent;
    case Message::kLink: return kLink;
    case Message::kStatus: return kStatus;
    case Message::kResourceLogs: return kResourceLogs;
    case Message::kScopeLogs: return kScopeLogs;
    case Message::kLogRecord: return kLogRecord;
    case Message::kResourceMetrics: return kResourceMetrics;
    case Message::kScopeMetrics: return kScopeMetrics;
    case Message::kMetric: return kMetric;
    case Message::kGauge: return kGauge;
    case Message::kSum: return kSum;
    case Message::kHistogram: return kHistogram;
    case Message::kExponentialHistogram: return kExponentialHistogram;
    case Message::kSummary: return kSummary;
    case Message::kNumberDataPoint: return kNumberDataPoint;
    case Message::kHistogramDataPoint: return kHistogramDataPoint;
    case Message::kExponentialHistogramDataPoint: return kExponentialHistogramDataPoint;
    case Message::kBuckets: return kBuckets;
    case Message::kSummaryDataPoint: return kSummaryDataPoint;
    case Message::kValueAtQuantile: return kValueAtQuantile;
    case Message::kExemplar: return kExemplar;
  }
  return {};
}

const Field* find(Message message, std::uint32_t number) {
  for (const Field& field : fields(message))
    if (field.number == number) return &field;
  return nullptr;
}

Message request_of(Signal signal) {
  return signal == Signal::kTraces ? Message::kTraces : signal == Signal::kMetrics ? Message::kMetrics : Message::kLogs;
}

}  // namespace stella::telemetry::otlp_schema
