// The row types of the catalogues that contracts/*.json declare. The tables themselves are generated: errors.h, events.h, scopes.h,
// settings.h, metrics.h, job_kinds.h in the build directory, included as "stella/contracts/<name>.h".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "stella/base/result.h"

namespace stella::json {
class Value;
}

namespace stella::contracts {

// Who a value may be shown to. `none` to everybody; `internal` to the tenant; `pii` is masked in telemetry; `secret` is never kept.
enum class PiiClass : std::uint8_t { kNone, kInternal, kPii, kSecret };

struct ErrorInfo {
  ErrorCode code;
  std::string_view wire;    // "unavailable": stable, in problem+json, logs and events
  int http_status = 500;
  std::string_view title;
  std::string_view remedy;  // what the reader can do
  bool retry = false;       // replies carry Retry-After
};

enum class DetailType : std::uint8_t {
  kString, kInt, kDouble, kBool, kUuid, kSha256, kTimestamp,
  kStrings,  // array of strings
  kDigests,  // array of {"name": string, "sha256": hex}
  kCounts,   // object of integers
  kObject,   // any object
};

struct DetailField {
  std::string_view name;
  DetailType type = DetailType::kString;
  bool required = false;
  PiiClass pii = PiiClass::kNone;
};

struct EventKind {
  std::string_view kind;
  std::string_view description;
  bool external = false;  // may be sent through POST /timeline
  std::span<const std::string_view> resource_types;
  std::span<const DetailField> details;  // the common ones are not repeated here
};

struct ScopeRow {
  std::string_view name;  // "obs:read"
  std::string_view text;  // "stella:obs:read", what a token carries before '#'
  std::string_view description;
  bool tenant = false;    // may be granted as #tenant/<id>
  bool platform = false;  // may be granted as #platform
};

struct SettingRow {
  std::string_view name;  // "http.port"; environment STELLA_HTTP_PORT
  std::string_view type;  // "string", "int", "bool", "duration", "bytes", "path", "secret_file"
  std::string_view default_text;
  std::string_view description;
  std::int64_t min = 0;   // ints, milliseconds or bytes
  std::int64_t max = 0;   // 0,0: unbounded
  bool restart = true;
  std::string_view example;
};

struct JobKindRow {
  std::string_view kind;
  std::string_view description;
  std::string_view span;           // name of its work span
  std::string_view journey;        // "" where it belongs to none
  std::string_view resource_type;  // of its timeline events, beside the job itself
  std::uint64_t cpu_ms = 0;        // limits of the sandboxed child
  std::uint64_t wall_ms = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t output_bytes = 0;  // all outputs together
  std::span<const std::string_view> params;
  std::span<const std::string_view> inputs;   // file names; * is a running number or slug, "*" alone is anything
  std::span<const std::string_view> outputs;
};

// Work that no request asked for: its name is that of its root span, too.
struct WorkRow {
  std::string_view name;
  std::string_view description;
};

enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram, kUpDownCounter };

struct MetricLabel {
  std::string_view name;
  std::span<const std::string_view> values;  // closed enum; empty for a bounded set
  std::uint32_t bound = 0;                   // most values of a bounded set
};

struct MetricSpec {
  std::string_view name;  // without _total
  MetricType type = MetricType::kCounter;
  std::string_view unit;
  std::string_view help;
  std::span<const double> buckets;  // upper bounds, ascending, without +Inf
  std::span<const MetricLabel> labels;
  bool integral = false;                     // counts whole things (OTLP: as_int)
  std::uint32_t max_series = 2000;           // what comes later is recorded in the overflow series
  std::uint32_t max_series_per_tenant = 200; // where a label is `tenant` or `tenant_id`
};

// What a call site names: the metric's row, with type and number of labels known to the compiler. Another service declares its own rows
// (static storage) and names them in the same way; a name that is taken with another shape is not recorded.
template <std::size_t Labels>
struct CounterDef {
  const MetricSpec* spec;
};
template <std::size_t Labels>
struct UpDownCounterDef {
  const MetricSpec* spec;
};
template <std::size_t Labels>
struct GaugeDef {
  const MetricSpec* spec;
};
template <std::size_t Labels>
struct HistogramDef {
  const MetricSpec* spec;
};

// Total: an unknown code answers like kInternal.
const ErrorInfo& error_info(ErrorCode code);
// By wire code; nullptr where there is none.
const ErrorInfo* find_error(std::string_view wire);
// nullptr where the catalogue has no such kind.
const EventKind* find_event(std::string_view kind);
std::span<const EventKind> event_kinds();
// Details that may stand in every kind (inputs, outputs, …).
std::span<const DetailField> common_details();
// `details` must be an object whose members are declared for `kind` (or common), of the declared types, none that is required missing.
// kInvalid with fields `field` and `expected` otherwise.
Result<void> check_event_details(const EventKind& kind, const json::Value& details);
const ScopeRow* find_scope(std::string_view text);  // by "stella:obs:read" or "obs:read"
const JobKindRow* find_job_kind(std::string_view kind);
std::span<const MetricSpec> metric_specs();

}  // namespace stella::contracts
