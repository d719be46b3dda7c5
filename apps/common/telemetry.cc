// Telemetry of our programs, made of the settings.
#include "telemetry.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "stella/base/file.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/otel_settings.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/scrub.h"
#include "stella/telemetry/sink.h"

namespace stella::apps {
namespace {

std::atomic<telemetry::Backend*> g_backend{nullptr};

void on_hangup(int) {
  if (auto* backend = g_backend.load(std::memory_order_acquire)) backend->reopen();
}

constexpr telemetry::Logger kLog{"telemetry"};

// The standard variables; where they name no endpoint, the setting does.
Result<telemetry::OtelSettings> otel_settings(const config::Settings& settings) {
  return telemetry::OtelSettings::from([&settings](const std::string& name) -> std::optional<std::string> {
    if (const char* value = std::getenv(name.c_str()); value != nullptr && *value != '\0') return value;
    if (name == "OTEL_EXPORTER_OTLP_ENDPOINT" && !settings.text("telemetry.otlp_endpoint").empty()) return settings.text("telemetry.otlp_endpoint");
    return std::nullopt;
  });
}

// The first line of the token file as it is now: it is renewed while we run.
std::function<Secret<std::string>()> token_of(const std::string& path) {
  if (path.empty()) return {};
  return [path] {
    auto text = read_file(path, 16 * 1024);
    return Secret<std::string>(text ? text->substr(0, text->find_first_of("\r\n")) : std::string());
  };
}

// Who the process is, by the environment where no setting says it.
void take_attributes(const config::Settings& settings, telemetry::OtelSettings& otel, telemetry::BackendOptions& options) {
  if (otel.service_name) options.resource.service = telemetry::scrub(*otel.service_name);
  const auto own = [&settings](std::string_view key, std::string_view setting, std::string_view instead, std::string& value) {
    return telemetry::OwnAttribute{key, instead, settings.source(setting) == "default" ? &value : nullptr};
  };
  otel.take({own("deployment.environment.name", "env", "the setting env holds", options.resource.env), own("cloud.region", "region", "the setting region holds", options.resource.region),
             own("service.instance.id", "instance_id", "the setting instance_id holds", options.resource.instance_id),
             {"service.version", "it is that of the program"}, {"tenant_id", "it is that of each record"}});
  options.resource_attributes = std::move(otel.resource_attributes);
}

Result<void> add_exporter(const config::Settings& settings, std::string_view service, telemetry::OtelSettings& otel, telemetry::BackendOptions& options) {
  if (otel.disabled || !otel.export_named || !settings.boolean("telemetry.enabled")) return {};
  options.export_every = std::min(otel.logs.schedule_delay, otel.spans.schedule_delay);  // one clock for both: nothing waits longer than asked
  options.export_logs = otel.logs.size_set ? otel.logs.max_export_batch_size : 0;
  options.export_spans = otel.spans.size_set ? otel.spans.max_export_batch_size : 0;
  options.export_limits = otel.limits;
  options.export_exemplars = otel.exemplars != telemetry::OtelExemplarFilter::kAlwaysOff;
  options.metrics_every = otel.metric_interval;
  const std::string& dir = settings.text("telemetry.spool_dir");
  // A spool is of one process alone: stellad and the runner read the same settings.
  otel.exporter.spool.dir = (dir.empty() ? settings.text("data_dir") + "/telemetry" : dir) + "/" + std::string(service);
  otel.exporter.spool.total_bytes = static_cast<std::uint64_t>(settings.integer("telemetry.spool_bytes"));
  // The oldest file goes where it is full: a small one has small files.
  otel.exporter.spool.segment_bytes = std::clamp<std::uint64_t>(otel.exporter.spool.total_bytes / 32, 16u << 10, otel.exporter.spool.segment_bytes);
  otel.exporter.bearer_token = token_of(settings.text("telemetry.token_file"));
  options.exporter = STELLA_TRY(telemetry::make_otlp_exporter(std::move(otel.exporter)));
  return {};
}

std::string host_and_pid() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') return std::to_string(::getpid());
  return std::string(host) + ":" + std::to_string(::getpid());
}

Result<telemetry::BackendOptions> backend_options(const config::Settings& settings, std::string_view service, telemetry::OtelSettings& otel) {
  telemetry::BackendOptions options;
  options.resource.service = std::string(service);
  options.resource.version = STELLA_VERSION;
  options.resource.env = settings.text("env");
  options.resource.region = settings.text("region");
  options.resource.instance_id = settings.text("instance_id").empty() ? host_and_pid() : settings.text("instance_id");
  if (const auto level = telemetry::parse_level(settings.text("log.level"))) options.level = *level;
  options.log_path = settings.text("log.path");
  options.rotation.max_bytes = static_cast<std::uint64_t>(settings.integer("log.rotate_bytes"));
  options.rotation.max_age = std::chrono::seconds(settings.integer("log.rotate_age") / 1000);
  options.rotation.keep_files = static_cast<std::size_t>(settings.integer("log.keep_files"));
  options.dir = settings.text("telemetry.dir");
  options.installation = settings.text("data_dir");
  // Rings lie in memory: a report that stayed there would not outlive a reboot. Of each program its own, since each may be another user.
  options.crash_dir_shown = "crash/" + std::string(service);
  options.crash_dir = settings.text("data_dir") + "/" + options.crash_dir_shown;
  options.queue = static_cast<std::size_t>(settings.integer("telemetry.queue"));
  options.rows_per_trace = static_cast<std::size_t>(settings.integer("telemetry.rows_per_trace"));
  options.tenant_lines_per_second = static_cast<double>(settings.integer("telemetry.tenant_lines_per_second"));
  options.rows_per_second = static_cast<double>(settings.integer("telemetry.rows_per_second"));
  options.ring_bytes = static_cast<std::size_t>(settings.integer("telemetry.ring_bytes"));
  take_attributes(settings, otel, options);
  // From here on something may be said: of this process, not of one unknown.
  telemetry::set_resource(options.resource);
  STELLA_TRY_VOID(add_exporter(settings, service, otel, options));
  return options;
}

void apply_sampling(const config::Settings& settings, const telemetry::OtelSettings& otel) {
  if (!settings.boolean("telemetry.enabled")) {
    telemetry::set_level(telemetry::Level::kError);
    telemetry::set_sampling_rate(0);
    telemetry::set_tail_keep(false);
    telemetry::set_metrics_enabled(false);
    return;
  }
  if (otel.sampler_set) {
    telemetry::set_sampling_rate(otel.sampler == telemetry::OtelSampler::kAlwaysOn ? 1 : otel.sampler == telemetry::OtelSampler::kAlwaysOff ? 0 : otel.sampling_ratio);
    return;
  }
  // Not a number counts as everything: too much is better than nothing.
  const std::string& text = settings.text("telemetry.sampling");
  char* end = nullptr;
  const double rate = std::strtod(text.c_str(), &end);
  telemetry::set_sampling_rate(end == text.c_str() || *end != '\0' ? 1 : rate);
}

Result<void> allow_baggage(const config::Settings& settings) {
  std::vector<std::string> keys;
  for (std::string_view rest = settings.text("telemetry.baggage_keys"); !rest.empty();) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    std::string_view key = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (key.starts_with(' ')) key.remove_prefix(1);
    while (key.ends_with(' ')) key.remove_suffix(1);
    if (!key.empty()) keys.emplace_back(key);
  }
  auto allowed = telemetry::allow_baggage(keys);
  if (!allowed) allowed.error().add("setting", "telemetry.baggage_keys");
  return allowed;
}

void warn_of_idle_rotation(const config::Settings& settings) {
  if (!settings.text("log.path").empty()) return;
  for (const char* setting : {"log.rotate_bytes", "log.rotate_age", "log.keep_files"})
    if (settings.source(setting) != "default") kLog.warn("a setting of the log file has no effect: lines go to standard error, set log.path", {f::detail(setting)});
}

}  // namespace

Result<std::unique_ptr<Telemetry>> Telemetry::start(const config::Settings& settings, std::string_view service) {
  auto otel = STELLA_TRY(otel_settings(settings));
  auto options = STELLA_TRY(backend_options(settings, service, otel));
  auto backend = STELLA_TRY(telemetry::Backend::install(std::move(options)));
  std::unique_ptr<Telemetry> started(new Telemetry(std::move(backend)));
  apply_sampling(settings, otel);
  telemetry::set_propagators(otel.trace_context, otel.baggage);
  STELLA_TRY_VOID(allow_baggage(settings));
  warn_of_idle_rotation(settings);
  for (const std::string& warning : otel.warnings) kLog.warn("a telemetry variable of the environment is not followed", {f::detail(warning)});
  return started;
}

Telemetry::Telemetry(std::unique_ptr<telemetry::Backend> backend) : backend_(std::move(backend)) {
  g_backend.store(backend_.get(), std::memory_order_release);
  struct sigaction action {};
  action.sa_handler = on_hangup;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGHUP, &action, nullptr);
}

Telemetry::~Telemetry() { g_backend.store(nullptr, std::memory_order_release); }

}  // namespace stella::apps
