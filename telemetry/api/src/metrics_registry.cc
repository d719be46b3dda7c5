// Registration of series: enums, bounds and caps.
#include "metrics_registry.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>

#include "stella/base/encoding.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry::detail {
namespace {

constexpr std::string_view kOther = "_OTHER";
constexpr std::string_view kOverflow = "otel_metric_overflow=\"true\"";
constexpr std::size_t kMaxValue = 256;

bool same_shape(const contracts::MetricSpec& a, const contracts::MetricSpec& b) {
  return a.type == b.type && a.unit == b.unit && std::ranges::equal(a.buckets, b.buckets) &&
         std::ranges::equal(a.labels, b.labels, {}, &contracts::MetricLabel::name, &contracts::MetricLabel::name);
}

Instrument& instrument(Registry& r, const contracts::MetricSpec& spec) STELLA_REQUIRES(r.mutex) {
  Instrument*& known = r.by_spec[&spec];
  if (known != nullptr) return *known;
  auto& named = r.instruments[spec.name];
  if (!named) named = std::make_unique<Instrument>(spec);
  known = named.get();
  if (!same_shape(named->spec, spec)) known = r.refused.emplace_back(std::make_unique<Instrument>(spec)).get();
  return *known;
}

// As it is kept: an enum's value or _OTHER; of a bounded set valid UTF-8 without secrets.
std::string canonical(const contracts::MetricLabel& label, std::string_view value) {
  if (!label.values.empty()) return std::string(std::ranges::find(label.values, value) == label.values.end() ? kOther : value);
  if (value.size() > kMaxValue || !is_utf8(value)) return std::string(kOther);
  return certainly_clean(value) ? std::string(value) : scrub(value);
}

bool names_tenant(const contracts::MetricLabel& label) { return label.name == "tenant" || label.name == "tenant_id"; }

// Whether a new series with these values stays within the label's bounds and the instrument's and tenant's caps; notes it where so.
bool admit(Instrument& instrument, const std::vector<std::string>& values) {
  if (instrument.series.size() >= instrument.spec.max_series) return false;
  std::uint32_t* tenant = nullptr;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const contracts::MetricLabel& label = instrument.spec.labels[i];
    if (label.values.empty() && !instrument.seen[i].contains(values[i]) && instrument.seen[i].size() >= label.bound) return false;
    if (!names_tenant(label)) continue;
    const auto known = instrument.tenants.find(values[i]);
    if (known != instrument.tenants.end() && known->second >= instrument.spec.max_series_per_tenant) return false;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (instrument.spec.labels[i].values.empty()) instrument.seen[i].insert(values[i]);
    if (names_tenant(instrument.spec.labels[i])) tenant = &instrument.tenants[values[i]];
  }
  if (tenant != nullptr) ++*tenant;
  return true;
}

std::string label_text(const contracts::MetricSpec& spec, const std::vector<std::string>& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text.push_back(',');
    text.append(spec.labels[i].name).append("=\"");
    append_escaped(text, values[i]);
    text.push_back('"');
  }
  return text;
}

}  // namespace

Registry::Registry() {
  // A child of fork() inherits the registry whole, whoever was registering.
  pthread_atfork([]() STELLA_TS(no_thread_safety_analysis) { registry().mutex.lock(); },
                 []() STELLA_TS(no_thread_safety_analysis) { registry().mutex.unlock(); },
                 []() STELLA_TS(no_thread_safety_analysis) { registry().mutex.unlock(); });
}

Registry& registry() {
  static Registry* const r = new Registry;
  return *r;
}

std::int64_t wall_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

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

Series& register_series(const contracts::MetricSpec& spec, const std::string_view* labels, std::size_t count, std::uint64_t hash) {
  std::vector<std::string> values;
  values.reserve(count);
  bool as_given = true;
  for (std::size_t i = 0; i < count; ++i) as_given = values.emplace_back(canonical(spec.labels[i], labels[i])) == labels[i] && as_given;
  std::string text = label_text(spec, values);
  if (!as_given) {
    std::vector<std::string_view> views(values.begin(), values.end());
    hash = hash_labels(spec, views.data(), count);
  }

  Registry& r = registry();
  Lock lock(r.mutex);
  Instrument& in = instrument(r, spec);
  if (const auto known = in.series.find(text); known != in.series.end()) return *known->second;
  if (!admit(in, values)) {
    if (!in.overflow) in.overflow = std::make_unique<Series>(in.spec, r.next_id++, std::string(kOverflow), std::vector<std::string>{}, 0, true, wall_ns());
    return *in.overflow;
  }
  auto series = std::make_unique<Series>(in.spec, r.next_id++, text, std::move(values), hash, false, wall_ns());
  return *in.series.emplace(std::move(text), std::move(series)).first->second;
}

Cell& take_cell(Series& series) {
  if (!series.free.empty()) {
    Cell& cell = *series.free.back();
    series.free.pop_back();
    return cell;
  }
  const std::size_t buckets = series.spec.type == contracts::MetricType::kHistogram ? series.spec.buckets.size() + 1 : 0;
  series.free.reserve(series.cells.size() + 1);
  return *series.cells.emplace_back(std::make_unique<Cell>(buckets));
}

void release_cells(std::span<Cell* const> cells) {
  Registry& r = registry();
  Lock lock(r.mutex);
  const auto release = [&](Series& series) {
    if (series.id < cells.size() && cells[series.id] != nullptr) series.free.push_back(cells[series.id]);
  };
  const auto release_all = [&](Instrument& in) {
    for (auto& [text, series] : in.series) release(*series);
    if (in.overflow) release(*in.overflow);
  };
  for (auto& [name, in] : r.instruments) release_all(*in);
  for (auto& in : r.refused) release_all(*in);
}

}  // namespace stella::telemetry::detail
