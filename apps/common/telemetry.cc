// Telemetry of our programs, made of the settings.
#include "telemetry.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "stella/telemetry/sampler.h"

namespace stella::apps {
namespace {

std::atomic<telemetry::Backend*> g_backend{nullptr};

void on_hangup(int) {
  if (auto* backend = g_backend.load(std::memory_order_acquire)) backend->reopen();
}

std::string host_and_pid() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') return std::to_string(::getpid());
  return std::string(host) + ":" + std::to_string(::getpid());
}

}  // namespace

telemetry::BackendOptions backend_options(const config::Settings& settings, std::string_view service) {
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
  options.queue = static_cast<std::size_t>(settings.integer("telemetry.queue"));
  options.rows_per_trace = static_cast<std::size_t>(settings.integer("telemetry.rows_per_trace"));
  options.tenant_lines_per_second = static_cast<double>(settings.integer("telemetry.tenant_lines_per_second"));
  return options;
}

void apply_sampling(const config::Settings& settings) {
  // Not a number counts as everything: too much is better than nothing.
  const std::string& text = settings.text("telemetry.sampling");
  char* end = nullptr;
  const double rate = std::strtod(text.c_str(), &end);
  telemetry::set_sampling_rate(end == text.c_str() || *end != '\0' ? 1 : rate);
}

void reopen_on_hangup(telemetry::Backend* backend) {
  g_backend.store(backend, std::memory_order_release);
  if (backend == nullptr) return;
  struct sigaction action {};
  action.sa_handler = on_hangup;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGHUP, &action, nullptr);
}

}  // namespace stella::apps
