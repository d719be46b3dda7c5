// Random metrics for the oracle: a snapshot with every kind of metric, and what must be found of it in the request.
#pragma once

#include <deque>
#include <random>
#include <string>
#include <vector>

#include "stella/base/json.h"
#include "stella/telemetry/metric_snapshot.h"

namespace stella::telemetry {

// Integers in `expected` are decimal strings and floating-point numbers hexadecimal ones (%a), so that nothing is rounded on the way.
class MetricsSample {
 public:
  explicit MetricsSample(std::mt19937_64& random);
  MetricsSample(const MetricsSample&) = delete;
  MetricsSample& operator=(const MetricsSample&) = delete;

  MetricSnapshot snapshot;
  json::Value expected = json::Value::object();  // families by name, the time of the snapshot

 private:
  struct Declared {
    std::string name, help;
    std::vector<double> buckets;
    std::vector<std::string> label_names;
    std::vector<contracts::MetricLabel> labels;
    contracts::MetricSpec spec;
  };
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  std::string text();
  double number();
  const Declared& declare(contracts::MetricType type);
  json::Value number_point(MetricPoint& point, bool gauge);
  json::Value histogram_point(MetricPoint& point, const Declared& declared);
  json::Value labels(MetricPoint& point, const Declared& declared);
  json::Value exemplars(MetricPoint& point, std::size_t most, bool integral);
  void family(contracts::MetricType type);

  std::mt19937_64& random_;
  std::deque<Declared> declared_;                // specs point into it
  std::deque<std::vector<std::string>> values_;  // points point into it
};

}  // namespace stella::telemetry
