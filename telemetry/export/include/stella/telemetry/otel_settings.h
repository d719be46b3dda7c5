// The standard OTEL_* environment variables, read once into typed settings, as the OpenTelemetry specification says (SDK environment
// variables, OTLP exporter configuration): an empty value is an unset one; a boolean is true only by "true" in any case; a number that is
// none or out of range, and an unknown name, give a warning and count as unset. Values of a signal's own variable win over the general one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

enum class OtelSampler : std::uint8_t { kAlwaysOn, kAlwaysOff, kTraceIdRatio };
enum class OtelTemporality : std::uint8_t { kCumulative, kDelta, kLowMemory };
enum class OtelExemplarFilter : std::uint8_t { kAlwaysOn, kAlwaysOff, kTraceBased };

// OTEL_BSP_*, OTEL_BLRP_*: when batches are cut.
struct OtelBatching {
  std::chrono::milliseconds schedule_delay{1'000};
  std::chrono::milliseconds export_timeout{30'000};  // 0: none; TargetOptions::timeout is bounded by it
  std::uint32_t max_queue_size = 2048;               // records; has no effect: queues are bounded in bytes
  std::uint32_t max_export_batch_size = 512;         // records; at most max_queue_size
  bool size_set = false;                             // MAX_EXPORT_BATCH_SIZE was there; where not, only bytes bound a request
};

// Limits of exported records, as they are named, never above the library's own: a larger one is cut down, with a warning.
struct OtelLimits {
  static constexpr std::uint32_t kMostAttributes = 128, kMostEvents = 32, kMostLinks = 32, kMostChars = 16 * 1024;
  std::uint32_t span_attribute_count = kMostAttributes, event_attributes = kMostAttributes, log_attribute_count = kMostAttributes;
  std::uint32_t span_events = kMostEvents, span_links = kMostLinks;
  std::uint32_t link_attributes = kMostAttributes;  // links have none: any limit holds
  std::uint32_t span_text_chars = kMostChars, log_text_chars = kMostChars;  // characters of a text value
};

// A resource attribute that the application has a field of its own for.
struct OwnAttribute {
  std::string_view key;
  std::string_view instead;      // what holds where the environment has no say, for people: "the setting env holds"
  std::string* value = nullptr;  // to be filled, scrubbed, from the environment; null: that has no say
};

struct OtelSettings {
  bool disabled = false;                // OTEL_SDK_DISABLED: no telemetry is exported; propagators stay
  std::optional<std::string> service_name;
  std::vector<std::pair<std::string, std::string>> resource_attributes;  // without service.name, which stands above; each key once
  bool trace_context = true, baggage = true;  // OTEL_PROPAGATORS
  OtelSampler sampler = OtelSampler::kAlwaysOn;
  bool parent_based = true;
  double sampling_ratio = 1;            // of kTraceIdRatio, 0 to 1
  bool sampler_set = false;             // OTEL_TRACES_SAMPLER was there and known
  OtelBatching spans{.schedule_delay = std::chrono::milliseconds(5'000)}, logs;
  std::chrono::milliseconds metric_interval{60'000}, metric_timeout{30'000};
  OtelTemporality temporality = OtelTemporality::kCumulative;
  OtelExemplarFilter exemplars = OtelExemplarFilter::kTraceBased;
  OtelLimits limits;
  ExporterOptions exporter;             // targets; disabled signals have enabled = false
  // True where a variable names an endpoint or an exporter: for applications that export only when told to.
  bool export_named = false;

  // Sentences for people, each naming its variable; never with the value of a header. Also for every variable that is set and has no effect.
  std::vector<std::string> warnings;

  // Takes these out of resource_attributes; a warning says where one has no effect.
  void take(std::initializer_list<OwnAttribute> own);

  using Lookup = std::function<std::optional<std::string>(const std::string& name)>;
  // kInvalid (fields: variable, expected) where going on would send telemetry to the wrong place or in the clear: an endpoint that is no
  // URL, headers or resource attributes that cannot be decoded.
  static Result<OtelSettings> from(const Lookup& lookup);
  static Result<OtelSettings> from_environment();
};

}  // namespace stella::telemetry
