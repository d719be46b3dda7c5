// Logger's way out: from the call to the installed sink, or to standard error where none is installed.
#include "stella/telemetry/log.h"

#include <unistd.h>

#include <mutex>
#include <shared_mutex>

#include "encode.h"
#include "stella/base/file.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {
namespace {

// Lines to standard error, one write each so that lines of several threads never mix.
class StderrSink final : public Sink {
 public:
  void log(LogRecord&& record) noexcept override {
    record.line.push_back('\n');
    [[maybe_unused]] const auto written = write_all(STDERR_FILENO, record.line);
  }
  void span(SpanRecord&&) noexcept override {}
};

struct Installed {
  std::shared_mutex mutex;
  std::shared_ptr<Sink> sink = std::make_shared<StderrSink>();
  Resource resource;
};
// Never destroyed: threads may log while the process ends.
Installed& installed() {
  static Installed* const state = new Installed;
  return *state;
}

}  // namespace

namespace detail {

std::atomic<Level> g_level{Level::kInfo};

std::shared_ptr<Sink> sink() {
  std::shared_lock lock(installed().mutex);
  return installed().sink;
}

void emit(Level level, std::string_view module, std::string_view message, std::initializer_list<Field> fields) {
  sink()->log(encode_log({level, module, message, Timestamp::now()}, Context::current(), fields));
}

}  // namespace detail

std::string_view to_string(Level level) {
  switch (level) {
    case Level::kTrace: return "trace";
    case Level::kDebug: return "debug";
    case Level::kInfo: return "info";
    case Level::kWarn: return "warn";
    case Level::kError: return "error";
  }
  return "error";
}

std::optional<Level> parse_level(std::string_view text) {
  for (const Level level : {Level::kTrace, Level::kDebug, Level::kInfo, Level::kWarn, Level::kError}) {
    if (text == to_string(level)) return level;
  }
  return std::nullopt;
}

void set_level(Level level) { detail::g_level.store(level, std::memory_order_relaxed); }

std::shared_ptr<Sink> install_sink(std::shared_ptr<Sink> sink) {
  if (!sink) sink = std::make_shared<StderrSink>();
  std::unique_lock lock(installed().mutex);
  std::swap(installed().sink, sink);
  return sink;
}

void set_resource(Resource resource) { installed().resource = std::move(resource); }
const Resource& resource() { return installed().resource; }

}  // namespace stella::telemetry
