// Exposition: a snapshot as OpenMetrics 1.0 or as the classic text format 0.0.4.
#include <charconv>
#include <cmath>

#include "metrics_registry.h"
#include "stella/base/json.h"
#include "stella/telemetry/metric_snapshot.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

enum class Format { kOpenMetrics, kClassic };

// Numbers as ES6 writes them are valid in both formats.
std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (std::isnan(value)) return "NaN";
  std::string out;
  json::append_number(out, value);
  return out;
}

std::string number(const MetricPoint& point) { return point.integral ? std::to_string(point.whole) : number(point.value); }

// OpenMetrics §"Canonical numbers": le values are floats.
std::string bound(double value) {
  std::string text = number(value);
  if (text.find_first_of(".eE") == text.npos) text += ".0";
  return text;
}

// Two ids are 63 code points with their names: always within the limit of 128.
void append_exemplar(std::string& out, const MetricPoint& point, std::uint32_t bucket) {
  for (const auto& [slot, exemplar] : point.exemplars) {
    if (slot != bucket) continue;
    const std::int64_t micros = exemplar.ns / 1000;
    out += " # {trace_id=\"" + exemplar.trace_id.hex() + "\",span_id=\"" + exemplar.span_id.hex() + "\"} " + number(exemplar.value) + " " +
           std::to_string(micros / 1'000'000) + "." + std::to_string(1'000'000 + micros % 1'000'000).substr(1);
  }
}

class Writer {
 public:
  Writer(const MetricFamily& family, Format format, std::string& out) : spec_(*family.spec), format_(format), out_(out) {
    head();
    for (const MetricPoint& point : family.points) sample(point);
  }

 private:
  void head() {
    constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram", "gauge"};  // OpenMetrics has no up-down counter
    // The classic format knows no families: a counter is named as its sample.
    const std::string name = std::string(spec_.name) + (format_ == Format::kClassic && counter() ? "_total" : "");
    out_.append("# TYPE ").append(name).append(" ").append(kTypes[static_cast<std::size_t>(spec_.type)]).append("\n");
    if (format_ == Format::kOpenMetrics && !spec_.unit.empty()) out_.append("# UNIT ").append(name).append(" ").append(spec_.unit).append("\n");
    out_.append("# HELP ").append(name).append(" ");
    if (format_ == Format::kOpenMetrics) {
      detail::append_escaped(out_, spec_.help);
    } else {
      for (const char c : spec_.help) out_.append(c == '\\' ? "\\\\" : c == '\n' ? "\\n" : std::string(1, c));
    }
    out_.push_back('\n');
  }

  void sample(const MetricPoint& point) {
    labels_.clear();
    if (point.overflow) labels_ = "otel_metric_overflow=\"true\"";
    for (std::size_t i = 0; i < point.labels->size(); ++i) {
      if (i > 0) labels_.push_back(',');
      labels_.append(spec_.labels[i].name).append("=\"");
      detail::append_escaped(labels_, (*point.labels)[i]);
      labels_.push_back('"');
    }
    if (spec_.type == contracts::MetricType::kHistogram) return histogram(point);
    line(counter() ? "_total" : "", labels_, number(point));
    if (counter() && format_ == Format::kOpenMetrics) append_exemplar(out_, point, 0);
    out_.push_back('\n');
  }

  void histogram(const MetricPoint& point) {
    std::uint64_t total = 0;
    for (std::uint32_t i = 0; i < point.counts.size(); ++i) {
      total += point.counts[i];
      const std::string le = "le=\"" + (i < spec_.buckets.size() ? bound(spec_.buckets[i]) : "+Inf") + "\"";
      line("_bucket", labels_.empty() ? le : labels_ + "," + le, std::to_string(total));
      if (format_ == Format::kOpenMetrics) append_exemplar(out_, point, i);
      out_.push_back('\n');
    }
    line("_sum", labels_, number(point.sum));
    out_.push_back('\n');
    line("_count", labels_, std::to_string(total));
    out_.push_back('\n');
  }

  void line(std::string_view suffix, std::string_view labels, std::string_view value) {
    out_.append(spec_.name).append(suffix);
    if (!labels.empty()) out_.append("{").append(labels).append("}");
    out_.append(" ").append(value);
  }

  bool counter() const { return spec_.type == contracts::MetricType::kCounter; }

  const contracts::MetricSpec& spec_;
  const Format format_;
  std::string& out_;
  std::string labels_;
};

std::string write(Format format) {
  std::string out;
  for (const MetricFamily& family : snapshot().families) Writer(family, format, out);
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The part before `separator`; takes both off `text`.
std::string_view next_part(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return trim(part);
}

}  // namespace

std::string openmetrics() { return write(Format::kOpenMetrics) + "# EOF\n"; }
std::string prometheus_text() { return write(Format::kClassic); }

Exposition expose(std::string_view accept) {
  double open = 0, classic = 0, any = 0;
  bool empty = trim(accept).empty();
  while (!accept.empty()) {
    std::string_view range = next_part(accept, ',');
    const std::string_view type = next_part(range, ';');
    double q = 1;
    while (!range.empty()) {
      const std::string_view parameter = next_part(range, ';');
      if (parameter.starts_with("q=") && std::from_chars(parameter.data() + 2, parameter.data() + parameter.size(), q).ec != std::errc()) q = 0;
    }
    double& best = type == "application/openmetrics-text" ? open : type == "text/plain" || type == "text/*" ? classic : any;
    if (&best != &any || type == "*/*" || type == "application/*") best = std::max(best, q);
  }
  if (empty || open >= classic || (open == 0 && any > classic)) return {kOpenMetricsType, openmetrics()};
  return {kPrometheusType, prometheus_text()};
}

}  // namespace stella::telemetry
