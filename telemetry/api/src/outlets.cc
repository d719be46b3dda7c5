// Where records go: the installed outlet, one that calls a Sink, or standard error.
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>

#include "producer.h"
#include "stella/base/file.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {
namespace {

// Log lines to standard error, one write each so that lines of several threads never mix. Spans are forgotten.
class StderrOutlet final : public Outlet {
 public:
  void push(std::string_view record) noexcept override {
    const auto view = RecordView::parse(record);
    if (!view || view->head().kind != RecordKind::kLog) return;
    std::string line;
    append_line(line, *view, resource());
    line.push_back('\n');
    [[maybe_unused]] const auto written = write_all(STDERR_FILENO, line);
  }
};

// Hands a record to a Sink in the form that people read.
class SinkOutlet final : public Outlet {
 public:
  void push(std::string_view record) noexcept override {
    const auto view = RecordView::parse(record);
    if (!view) return;
    const std::shared_ptr<Sink> sink = get();
    if (!sink) return;
    if (view->head().kind == RecordKind::kLog) sink->log(to_log_record(*view, resource()));
    else sink->span(to_span_record(*view, resource()));
  }
  std::shared_ptr<Sink> get() {
    const std::shared_lock lock(mutex_);
    return sink_;
  }
  std::shared_ptr<Sink> swap(std::shared_ptr<Sink> sink) {
    const std::unique_lock lock(mutex_);
    std::swap(sink_, sink);
    return sink;
  }

 private:
  std::shared_mutex mutex_;
  std::shared_ptr<Sink> sink_;
};

// Never destroyed: threads may log while the process ends.
SinkOutlet& sink_outlet() {
  static SinkOutlet& outlet = *new SinkOutlet;
  return outlet;
}
Resource& own_resource() {
  static Resource& resource = *new Resource;
  return resource;
}

constinit std::atomic<Outlet*> g_outlet{nullptr};

}  // namespace

namespace detail {
void push(std::string_view record) noexcept {
  Outlet* const outlet = g_outlet.load(std::memory_order_acquire);
  if (outlet != nullptr) [[likely]] return outlet->push(record);
  default_outlet().push(record);
}
}  // namespace detail

Outlet& default_outlet() {
  static StderrOutlet& outlet = *new StderrOutlet;
  return outlet;
}

Outlet* install_outlet(Outlet* outlet) { return g_outlet.exchange(outlet, std::memory_order_acq_rel); }

std::shared_ptr<Sink> install_sink(std::shared_ptr<Sink> sink) {
  SinkOutlet& outlet = sink_outlet();
  const bool any = sink != nullptr;
  std::shared_ptr<Sink> old = outlet.swap(std::move(sink));
  const Outlet* const before = install_outlet(any ? &outlet : nullptr);
  return before == &outlet ? old : nullptr;
}

void set_resource(Resource resource) { own_resource() = std::move(resource); }
const Resource& resource() { return own_resource(); }

}  // namespace stella::telemetry
