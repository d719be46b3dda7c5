// A service under the limits of its environment, for limits_oracle.py: a span and a log line by the library's own calls, and what its exporter
// is given.
//
//   limits_target DIR    files DIR/traces and DIR/logs: one request each
#include <cstdio>
#include <memory>
#include <string>

#include "stella/base/file.h"
#include "stella/telemetry/backend.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/otel_settings.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

constexpr Logger kLog{"limits"};

class ToFiles final : public Exporter {
 public:
  explicit ToFiles(std::string dir) : dir_(std::move(dir)) {}
  bool offer(Batch batch) noexcept override { return write_file_durable(dir_ + "/" + std::string(to_string(batch.signal)), batch.payload, 0600).has_value(); }
  bool flush(Deadline) override { return true; }
  ExportStats stats() const override { return {}; }

 private:
  const std::string dir_;
};

void work() {
  const std::string text = "aä€😀" + std::string(200, 'x');
  Span span("limits.work");
  span.set(f::count(1));
  span.set(f::reason(text));
  span.set(f::operation(text));
  span.set(f::limit(4));
  span.set(f::total(5));
  for (int i = 0; i < 8; ++i) {
    span.link({TraceId::generate(), SpanId::generate(), 1});
    span.event("step", {f::count(i), f::reason(text), f::limit(3)});
  }
  kLog.info("worked", {f::count(1), f::reason(text), f::operation(text), f::limit(4)});
}

int run(const std::string& dir) {
  auto settings = OtelSettings::from_environment();
  if (!settings) return 2;
  for (const std::string& warning : settings->warnings) std::printf("%s\n", warning.c_str());
  BackendOptions options;
  options.resource = {"limits", "1", "test", "here", "unit:1"};
  options.log_path = dir + "/log";
  options.dir = dir + "/rings";
  options.crash_handler = false;
  options.metrics_every = std::chrono::milliseconds(0);
  options.export_limits = settings->limits;
  options.exporter = std::make_shared<ToFiles>(dir);
  auto backend = Backend::install(std::move(options));
  if (!backend) return 2;
  work();
  return (*backend)->flush(Deadline::after(std::chrono::seconds(30))) ? 0 : 1;
}

}  // namespace
}  // namespace stella::telemetry

int main(int argc, char** argv) { return argc == 2 ? stella::telemetry::run(argv[1]) : 2; }
