// The collecting sink and the wire form of what it collects.
#include "telemetry_capture.h"

#include <mutex>

#include "stella/contracts/catalogue.h"
#include "stella/telemetry/controls.h"

namespace stella::runner {
namespace {

constexpr std::size_t kRecords = 1000;  // of each sort per job; the orchestrator keeps no more
thread_local TelemetryCapture* t_capture = nullptr;

constexpr std::string_view kParentSpan = "runner.execute";

template <class Id>
Id parse_or_empty(std::string_view text) {
  auto id = Id::parse(text);
  return id ? *id : Id();
}

}  // namespace

class CaptureSink final : public telemetry::Sink {
 public:
  void log(telemetry::LogRecord&& record) noexcept override {
    if (t_capture != nullptr && t_capture->lines_.size() < kRecords) t_capture->lines_.push_back(record.line);
    if (next) next->log(std::move(record));
  }
  void span(telemetry::SpanRecord&& record) noexcept override {
    if (t_capture != nullptr && t_capture->spans_.size() < kRecords) t_capture->spans_.push_back(record);
    if (next) next->span(std::move(record));
  }
  std::shared_ptr<telemetry::Sink> next;
};

void install_capture() {
  static std::once_flag once;
  std::call_once(once, [] {
    auto sink = std::make_shared<CaptureSink>();
    sink->next = telemetry::install_sink(nullptr);
    telemetry::install_sink(std::move(sink));
  });
}

json::Value JobContext::to_json() const {
  return json::Value::object({{"traceparent", context.traceparent()},
                              {"tracestate", context.tracestate},
                              {"tenant_id", context.tenant_id.str()},
                              {"job_id", context.job_id.str()},
                              {"run_id", context.run_id.str()},
                              {"controls", controls},
                              {"service", resource.service},
                              {"version", resource.version},
                              {"env", resource.env},
                              {"region", resource.region},
                              {"instance_id", resource.instance_id}});
}

JobContext JobContext::from_json(const json::Value& value) {
  JobContext out;
  if (const auto parent = telemetry::parse_traceparent(value.str("traceparent"))) out.context = telemetry::Context::continue_from({*parent, std::string(value.str("tracestate"))});
  out.context.tenant_id = parse_or_empty<TenantId>(value.str("tenant_id"));
  out.context.job_id = parse_or_empty<JobId>(value.str("job_id"));
  out.context.run_id = parse_or_empty<RunId>(value.str("run_id"));
  if (const auto* controls = value.find("controls"); controls != nullptr) out.controls = *controls;
  out.resource.service = value.str("service");
  out.resource.version = value.str("version");
  out.resource.env = value.str("env");
  out.resource.region = value.str("region");
  out.resource.instance_id = value.str("instance_id");
  return out;
}

TelemetryCapture::TelemetryCapture() { t_capture = this; }

TelemetryCapture::TelemetryCapture(const JobContext& context) {
  telemetry::set_resource(context.resource);
  controls::apply(context.context.tenant_id, controls::from_json(context.controls));
  telemetry::install_sink(std::make_shared<CaptureSink>());
  scope_.emplace(context.context);
  t_capture = this;
}

TelemetryCapture::~TelemetryCapture() { t_capture = nullptr; }

json::Value TelemetryCapture::spans() const {
  json::Value out = json::Value::array();
  for (const auto& span : spans_) {
    auto attributes = json::parse(span.attributes);
    auto links = json::parse(span.links);
    out.push(json::Value::object({{"trace_id", span.trace_id},
                                  {"span_id", span.span_id},
                                  {"parent_span_id", span.parent_span_id},
                                  {"name", span.name},
                                  {"kind", span.kind},
                                  {"start_ts", span.start.rfc3339()},
                                  {"end_ts", span.end.rfc3339()},
                                  {"status", span.status},
                                  {"attributes", attributes ? std::move(*attributes) : json::Value::object()},
                                  {"links", links ? std::move(*links) : json::Value::array()}}));
  }
  return out;
}

json::Value TelemetryCapture::logs() const {
  json::Value out = json::Value::array();
  for (const auto& line : lines_) {
    if (auto parsed = json::parse(line)) out.push(std::move(*parsed));
  }
  return out;
}

WorkSpan::WorkSpan(std::string_view kind) {
  const auto* row = contracts::find_job_kind(kind);
  if (row != nullptr && row->span != kParentSpan) span_.emplace(telemetry::SpanName::job(*row));
}

}  // namespace stella::runner
