// The collecting outlet and the wire form of what it collects.
#include "telemetry_capture.h"

#include <mutex>

#include "stella/contracts/catalogue.h"
#include "stella/telemetry/controls.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/record.h"

namespace stella::runner {
namespace {

constexpr std::size_t kRecords = 1000;   // of each sort per job
constexpr std::size_t kErrors = 4000;    // lines, where all beyond kRecords are errors
constexpr std::size_t kLateSpans = 250;  // the last ones, beside the first kRecords
constexpr std::size_t kBytes = 1 << 20;  // of each sort; errors may take as much again. A report holds more: telemetry fails no job
thread_local TelemetryCapture* t_capture = nullptr;

constexpr std::string_view kParentSpan = "runner.execute";

template <class Id>
Id parse_or_empty(std::string_view text) {
  auto id = Id::parse(text);
  return id ? *id : Id();
}

}  // namespace

// In front of the process's own outlet: copies what a thread with a capture emits.
class CaptureOutlet final : public telemetry::Outlet {
 public:
  // `next` null: nothing else is written (the child of a job).
  explicit CaptureOutlet(telemetry::Outlet* next) : next_(next) {}
  void push(std::string_view record) noexcept override {
    if (t_capture != nullptr) t_capture->take(record);
    if (next_ != nullptr) next_->push(record);
  }

 private:
  telemetry::Outlet* next_;
};

void TelemetryCapture::take(std::string_view record) {
  const auto view = telemetry::RecordView::parse(record);
  if (!view) return;
  if (view->head().kind == telemetry::RecordKind::kLog) {
    take_line(*view);
  } else {
    take_span(telemetry::to_span_record(*view, telemetry::resource()));
  }
}

void TelemetryCapture::take_line(const telemetry::RecordView& record) {
  const bool error = record.head().level >= telemetry::Level::kError;
  if (lines_.size() >= (error ? kErrors : kRecords) || line_bytes_ >= (error ? 2 : 1) * kBytes) {
    ++dropped_.logs;
    return;
  }
  telemetry::append_line(lines_.emplace_back(), record, telemetry::resource());
  line_bytes_ += lines_.back().size();
}

void TelemetryCapture::take_span(telemetry::SpanRecord span) {
  const auto bytes = [](const telemetry::SpanRecord& s) { return s.attributes.size() + s.links.size() + 400; };
  if (late_.empty() && spans_.size() < kRecords && span_bytes_ + bytes(span) <= kBytes) {
    span_bytes_ += bytes(span);
    spans_.push_back(std::move(span));
    return;
  }
  late_.push_back(std::move(span));
  std::size_t late_bytes = 0;
  for (const auto& s : late_) late_bytes += bytes(s);
  while (late_.size() > kLateSpans || (late_bytes > kBytes && late_.size() > 1)) {
    late_bytes -= bytes(late_.front());
    late_.pop_front();
    ++dropped_.spans;
  }
}

void install_capture() {
  static std::once_flag once;
  std::call_once(once, [] {
    telemetry::Outlet* before = telemetry::install_outlet(nullptr);
    telemetry::install_outlet(new CaptureOutlet(before != nullptr ? before : &telemetry::default_outlet()));  // never freed, like every outlet
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
  out.context = telemetry::Context::continue_from(value.str("traceparent"), value.str("tracestate"));
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
  telemetry::install_outlet(new CaptureOutlet(nullptr));
  scope_.emplace(context.context);
  t_capture = this;
}

TelemetryCapture::~TelemetryCapture() { t_capture = nullptr; }

json::Value to_json(const telemetry::SpanRecord& span) {
  auto attributes = json::parse(span.attributes);
  auto links = json::parse(span.links);
  return json::Value::object({{"trace_id", span.trace_id},
                              {"span_id", span.span_id},
                              {"parent_span_id", span.parent_span_id},
                              {"name", span.name},
                              {"kind", span.kind},
                              {"start_ts", span.start.rfc3339()},
                              {"end_ts", span.end.rfc3339()},
                              {"status", span.status},
                              {"attributes", attributes ? std::move(*attributes) : json::Value::object()},
                              {"links", links ? std::move(*links) : json::Value::array()}});
}

json::Value TelemetryCapture::spans() const {
  json::Value out = json::Value::array();
  for (const auto& span : spans_) out.push(to_json(span));
  for (const auto& span : late_) out.push(to_json(span));
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
