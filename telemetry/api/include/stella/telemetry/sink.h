// What a backend implements and installs. Call sites never include this.
#pragma once

#include <memory>
#include <string>

#include "stella/base/time.h"
#include "stella/telemetry/log.h"

namespace stella::telemetry {

// Who writes: the fields of source `resource`.
struct Resource {
  std::string service = "stella";
  std::string version = "unknown";
  std::string env = "local";
  std::string region = "local";
  std::string instance_id = "unknown";
};

// One log line as it leaves the process: scrubbed, at most kLineBytes, without the newline.
struct LogRecord {
  std::string tenant_id, trace_id, span_id;
  Timestamp ts;
  Level level = Level::kInfo;
  std::string service;
  std::string line;
};

// One ended span, scrubbed.
struct SpanRecord {
  std::string tenant_id, trace_id, span_id, parent_span_id;  // parent "" for a root
  std::string name, kind, service;
  Timestamp start, end;
  std::string status;      // "unset", "ok", "error"
  std::string attributes;  // JSON object: common fields and attributes
  std::string links = "[]";  // JSON array of {"trace_id","span_id"}
};

inline constexpr std::size_t kLineBytes = 64 * 1024;
inline constexpr std::size_t kLineFields = 64;

class Sink {
 public:
  virtual ~Sink() = default;
  // Called on the emitting thread; must not block, throw or log.
  virtual void log(LogRecord&& record) noexcept = 0;
  virtual void span(SpanRecord&& record) noexcept = 0;
};

// Replaces the sink; nullptr brings back the default, which writes lines to standard error and forgets spans. Returns the previous one.
std::shared_ptr<Sink> install_sink(std::shared_ptr<Sink> sink);
// Before the first record of a process, and at most once per process besides tests.
void set_resource(Resource resource);
const Resource& resource();

}  // namespace stella::telemetry
