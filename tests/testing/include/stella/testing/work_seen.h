// What background work told of itself while a test looked on. For modules that use telemetry/api.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "stella/telemetry/metric_snapshot.h"
#include "stella/telemetry/sink.h"

namespace stella::testing {

// Takes the place of the process's sink while it lives.
class WorkSeen final : public telemetry::Sink {
 public:
  WorkSeen() : before_(telemetry::install_sink(std::shared_ptr<telemetry::Sink>(this, [](telemetry::Sink*) {}))) {}
  ~WorkSeen() override { telemetry::install_sink(before_); }
  void log(telemetry::LogRecord&&) noexcept override {}
  void span(telemetry::SpanRecord&& record) noexcept override {
    const std::lock_guard lock(mutex_);
    spans_.push_back(std::move(record));
  }
  // Ended spans of that name, the oldest first.
  std::vector<telemetry::SpanRecord> spans(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    std::vector<telemetry::SpanRecord> out;
    for (const auto& one : spans_) {
      if (one.name == name) out.push_back(one);
    }
    return out;
  }
  // Value of a counter with these values of its labels, of the whole process; 0 where there is no such series.
  static double counted(std::string_view metric, const std::vector<std::string>& labels) {
    for (const auto& family : telemetry::snapshot().families) {
      if (family.spec->name != metric) continue;
      for (const auto& point : family.points) {
        if (point.labels != nullptr && *point.labels == labels) return point.value;
      }
    }
    return 0;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<telemetry::SpanRecord> spans_;
  std::shared_ptr<telemetry::Sink> before_;
};

}  // namespace stella::testing
