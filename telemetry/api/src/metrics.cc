// The metric registry: series are found by their label values, recorded with atomics, and written as OpenMetrics text.
#include "stella/telemetry/metrics.h"

#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"
#include "stella/telemetry/context.h"

namespace stella::telemetry {
namespace detail {

// The last observation of a bucket that belongs to a trace.
struct Exemplar {
  TraceId trace_id;
  SpanId span_id;
  double value = 0;
  Timestamp ts;
};

class Series {
 public:
  Series(const contracts::MetricSpec& spec, std::string label_text)
      : spec(spec), labels(std::move(label_text)), counts(spec.buckets.empty() ? 0 : spec.buckets.size() + 1), exemplars(counts.size() + 1) {}

  void keep_exemplar(std::size_t slot, double value) {
    const Context& context = Context::current();
    if (context.trace_id.empty() || context.span_id.empty()) return;
    Lock lock(mutex);
    exemplars[slot] = Exemplar{context.trace_id, context.span_id, value, Timestamp::now()};
  }

  const contracts::MetricSpec& spec;
  const std::string labels;  // `a="x",b="y"`
  std::atomic<double> value{0};  // of a counter or gauge; sum of a histogram
  std::vector<std::atomic<std::uint64_t>> counts;
  Mutex mutex;
  std::vector<std::optional<Exemplar>> exemplars;  // one per bucket; a counter has one
};

void add(Series& series, double value) {
  series.value.fetch_add(value, std::memory_order_relaxed);
  if (series.spec.type == contracts::MetricType::kCounter) series.keep_exemplar(0, value);
}

void set(Series& series, double value) { series.value.store(value, std::memory_order_relaxed); }

void observe(Series& series, double value) {
  if (std::isnan(value)) return;
  std::size_t bucket = 0;
  while (bucket < series.spec.buckets.size() && value > series.spec.buckets[bucket]) ++bucket;
  series.counts[bucket].fetch_add(1, std::memory_order_relaxed);
  series.value.fetch_add(value, std::memory_order_relaxed);
  series.keep_exemplar(bucket, value);
}

namespace {

constexpr std::string_view kOther = "_OTHER";
constexpr std::string_view kOverflow = "otel_metric_overflow=\"true\"";

struct Metric {
  std::map<std::string, std::unique_ptr<Series>> series;  // by label text, in the order of the exposition
  std::vector<std::unordered_map<std::string, bool>> seen;          // values of each bounded label
};

struct Registry {
  Mutex mutex;
  std::vector<Metric> metrics{contracts::metric_specs().size()};
  std::vector<std::function<void()>> callbacks;
};
// Never destroyed: threads may record while the process ends.
Registry& registry() {
  static Registry* const r = new Registry;
  return *r;
}

// OpenMetrics escapes: backslash, quote, line feed.
void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '\\' || c == '"') out.push_back('\\');
    if (c == '\n') {
      out.append("\\n");
    } else {
      out.push_back(c);
    }
  }
}

bool in_enum(const contracts::MetricLabel& label, std::string_view value) {
  for (const std::string_view known : label.values) {
    if (known == value) return true;
  }
  return false;
}

// The label text, or the overflow series where a bounded label has used up its bound.
std::string label_text(const contracts::MetricSpec& spec, Metric& metric, const std::string_view* values, std::size_t count) {
  std::string text;
  metric.seen.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const contracts::MetricLabel& label = spec.labels[i];
    std::string_view value = values[i];
    if (!label.values.empty()) {
      if (!in_enum(label, value)) value = kOther;
    } else if (auto& seen = metric.seen[i]; !seen.contains(std::string(value))) {
      if (seen.size() >= label.bound || value.size() > 256) return std::string(kOverflow);
      seen.emplace(value, true);
    }
    if (!text.empty()) text.push_back(',');
    text.append(label.name).append("=\"");
    append_escaped(text, value);
    text.push_back('"');
  }
  return text;
}

}  // namespace

Series& series(std::uint16_t metric, const std::string_view* labels, std::size_t count) {
  const contracts::MetricSpec& spec = contracts::metric_specs()[metric];
  Registry& r = registry();
  Lock lock(r.mutex);
  Metric& m = r.metrics[metric];
  std::string text = label_text(spec, m, labels, count);
  if (text == kOverflow) {
    const std::uint16_t overflow = contracts::metrics::kMetricOverflow.index;
    auto& slot = r.metrics[overflow].series[""];
    if (!slot) slot = std::make_unique<Series>(contracts::metric_specs()[overflow], "");
    slot->value.fetch_add(1, std::memory_order_relaxed);
  }
  auto& slot = m.series[text];
  if (!slot) slot = std::make_unique<Series>(spec, std::move(text));
  return *slot;
}

namespace {

// Numbers as ES6 writes them are valid in OpenMetrics.
std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (std::isnan(value)) return "NaN";
  std::string out;
  json::append_number(out, value);
  return out;
}

std::string bound(double value) {
  std::string text = number(value);
  if (text.find_first_of(".eE") == text.npos) text += ".0";  // OpenMetrics §"Canonical numbers": le values are floats
  return text;
}

void append_exemplar(std::string& out, const std::optional<Exemplar>& exemplar) {
  if (!exemplar) return;
  const std::int64_t micros = exemplar->ts.micros();
  std::string fraction = std::to_string(1'000'000 + micros % 1'000'000).substr(1);
  out += " # {trace_id=\"" + exemplar->trace_id.hex() + "\",span_id=\"" + exemplar->span_id.hex() + "\"} " + number(exemplar->value) + " " +
         std::to_string(micros / 1'000'000) + "." + fraction;
}

void append_sample(std::string& out, std::string_view name, std::string_view suffix, std::string_view labels, std::string_view value) {
  out.append(name).append(suffix);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(value);
}

void append_series(std::string& out, Series& s) {
  Lock lock(s.mutex);
  const std::string value = number(s.value.load(std::memory_order_relaxed));
  switch (s.spec.type) {
    case contracts::MetricType::kCounter:
      append_sample(out, s.spec.name, "_total", s.labels, value);
      append_exemplar(out, s.exemplars[0]);
      out.push_back('\n');
      return;
    case contracts::MetricType::kGauge:
      append_sample(out, s.spec.name, "", s.labels, value);
      out.push_back('\n');
      return;
    case contracts::MetricType::kHistogram: break;
  }
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < s.counts.size(); ++i) {
    total += s.counts[i].load(std::memory_order_relaxed);
    const std::string le = "le=\"" + (i < s.spec.buckets.size() ? bound(s.spec.buckets[i]) : "+Inf") + "\"";
    append_sample(out, s.spec.name, "_bucket", s.labels.empty() ? le : s.labels + "," + le, std::to_string(total));
    append_exemplar(out, s.exemplars[i]);
    out.push_back('\n');
  }
  append_sample(out, s.spec.name, "_sum", s.labels, value);
  out.push_back('\n');
  append_sample(out, s.spec.name, "_count", s.labels, std::to_string(total));
  out.push_back('\n');
}

}  // namespace
}  // namespace detail

void on_collect(std::function<void()> callback) {
  Lock lock(detail::registry().mutex);
  detail::registry().callbacks.push_back(std::move(callback));
}

std::string openmetrics() {
  detail::Registry& r = detail::registry();
  std::vector<std::function<void()>> callbacks;
  {
    Lock lock(r.mutex);
    callbacks = r.callbacks;
  }
  for (const auto& callback : callbacks) callback();  // they record, so not under the lock

  constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram"};
  std::string out;
  Lock lock(r.mutex);
  const auto specs = contracts::metric_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (r.metrics[i].series.empty()) continue;
    out.append("# TYPE ").append(specs[i].name).append(" ").append(kTypes[static_cast<std::size_t>(specs[i].type)]).append("\n");
    if (!specs[i].unit.empty()) out.append("# UNIT ").append(specs[i].name).append(" ").append(specs[i].unit).append("\n");
    out.append("# HELP ").append(specs[i].name).append(" ");
    detail::append_escaped(out, specs[i].help);
    out.push_back('\n');
    for (const auto& [labels, series] : r.metrics[i].series) detail::append_series(out, *series);
  }
  out.append("# EOF\n");
  return out;
}

}  // namespace stella::telemetry
