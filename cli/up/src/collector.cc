// Collector: program, configuration, ports, environment.
#include "collector.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <sstream>

#include "cluster.h"
#include "ports.h"
#include "services.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/platform/http_client.h"

extern char** environ;

namespace stella::cli::up {
namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;
constexpr std::string_view kPrefix = "STELLA_COLLECTOR_";
constexpr const char* kProgram = "STELLA_COLLECTOR_PROGRAM";
constexpr const char* kConfigDir = "STELLA_COLLECTOR_CONFIG_DIR";

std::string config_dir(const Layout& l) { return l.path("run/collector"); }
std::string token_file(const Layout& l) { return l.path("run/telemetry/token"); }

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// First line of what a program of ours prints; "" where it fails. Its stderr is ours.
std::string line_of(const std::string& program) {
  FILE* pipe = ::popen(shell_quoted(program).c_str(), "re");
  if (pipe == nullptr) return "";
  std::string out;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) out += buffer;
  if (::pclose(pipe) != 0) return "";
  return out.substr(0, out.find('\n'));
}

bool is_collector_config(const std::string& dir) { return exists(dir + "/config.yaml"); }

Result<void> copy_file(const std::string& from, const std::string& to) {
  const std::string text = STELLA_TRY(read_file(from, 1 << 20));
  return write_file_durable(to, text, 0644);
}

// The YAML files of a folder.
Result<void> copy_folder(const std::string& from, const std::string& to) {
  STELLA_TRY_VOID(own_dir(to, std::nullopt, 0755));
  DIR* dir = ::opendir(from.c_str());
  if (dir == nullptr) return io_error("cannot read", from);
  Result<void> copied;
  while (const dirent* entry = copied ? ::readdir(dir) : nullptr) {
    const std::string name = entry->d_name;
    if (name.ends_with(".yaml")) copied = copy_file(from + "/" + name, to + "/" + name);
  }
  ::closedir(dir);
  return copied;
}

Result<void> copy_config(const std::string& from, const std::string& to) {
  STELLA_TRY_VOID(own_dir(to, std::nullopt, 0755));
  for (const char* name : {"config.yaml", "feature-gates"}) STELLA_TRY_VOID(copy_file(from + "/" + name, to + "/" + name));
  STELLA_TRY_VOID(copy_folder(from + "/exporters", to + "/exporters"));
  return copy_folder(from + "/extras", to + "/extras");
}

int port_of(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  return colon == std::string::npos ? 0 : std::atoi(address.c_str() + colon + 1);
}

// The port that the user's variable names, else a free one near the usual.
Result<int> choose(const char* variable, int usual, std::vector<int>& taken) {
  const std::string given = environment(variable);
  if (!given.empty()) {
    const int port = port_of(given);
    if (port > 0) return port;
    return Error(base_errors::kInvalid, "that is no address with a port").with("field", variable).with("expected", "127.0.0.1:" + std::to_string(usual));
  }
  for (int port = usual; port < usual + 100; ++port)
    if (std::find(taken.begin(), taken.end(), port) == taken.end() && port_free(port) && claim_port(port)) {
      taken.push_back(port);
      return port;
    }
  return Error(base_errors::kLimit, "no free port near the usual one").with("part", "collector").with("port", static_cast<std::uint64_t>(usual));
}

void set_default(Environment& out, std::string name, std::string value) {
  if (std::none_of(out.begin(), out.end(), [&](const auto& e) { return e.first == name; })) out.emplace_back(std::move(name), std::move(value));
}

// What the user says of the Collector goes through to it.
Environment given() {
  Environment out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (text.starts_with(kPrefix) && equals != text.npos && equals + 1 < text.size()) out.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

std::string loopback(int port) { return "127.0.0.1:" + std::to_string(port); }

bool healthy(int port) {
  http::ClientRequest request;
  request.url = "http://" + loopback(port) + "/";
  request.connect_timeout = std::chrono::milliseconds(1000);
  request.timeout = std::chrono::milliseconds(3000);
  const auto response = http::fetch(request);
  return response && response->status == 200;
}

// What was written to a file since this was last asked.
class NewText {
 public:
  explicit NewText(std::string path) : path_(std::move(path)) { take(); }
  std::string take() {
    const Fd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    const off_t end = fd ? ::lseek(fd.get(), 0, SEEK_END) : 0;
    std::string text(static_cast<std::size_t>(std::clamp<off_t>(end - at_, 0, 1 << 20)), '\0');
    const ssize_t n = fd ? ::pread(fd.get(), text.data(), text.size(), end - static_cast<off_t>(text.size())) : 0;
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    at_ = end;
    return text;
  }

 private:
  std::string path_;
  off_t at_ = 0;
};

// Its queue's library ends the program on a file that a failing disk tore, at every start again. The words are those of its errors and of a
// stack through it.
bool queue_is_torn(std::string_view text) {
  return text.find("go.etcd.io/bbolt.") != text.npos || text.find("invalid database") != text.npos || text.find("checksum error") != text.npos;
}

// Kept for somebody to look at; the Collector begins with an empty one.
void set_queue_aside(const Layout& l) {
  const std::string queue = l.path("collector");
  if (::rename(queue.c_str(), (queue + ".torn-" + std::to_string(Timestamp::now().seconds())).c_str()) == 0) (void)own_dir(queue, l.collector, 0700);
}

}  // namespace

Result<CollectorChoice> find_or_build_collector(const Layout& layout) {
  if (const CollectorChoice given = collector_from_environment(); !given.program.empty()) return given;
  const CollectorChoice installed{layout.programs + "/stella-collector", layout.programs + "/collector-config"};
  if (::access(installed.program.c_str(), X_OK) == 0 && is_collector_config(installed.config_dir)) return installed;
  const std::string source = STELLA_SOURCE_DIR;
  CollectorChoice built{"", source + "/telemetry/collector-config"};
  if (is_collector_config(built.config_dir)) built.program = line_of(source + "/tools/build-collector");
  if (!built.program.empty()) return built;
  return Error(contracts::errors::kUnavailable, "the Collector is not here and could not be built")
      .with("remedy", "Look at the lines above; then tools/build-collector in the source tree, or put stella-collector and collector-config/ beside stella in " + layout.programs + ".");
}

Environment collector_environment(const CollectorChoice& choice) {
  if (choice.program.empty()) return {};
  Environment out = given();
  std::erase_if(out, [](const auto& e) { return e.first == kProgram || e.first == kConfigDir; });
  out.emplace_back(kProgram, choice.program);
  out.emplace_back(kConfigDir, choice.config_dir);
  return out;
}

CollectorChoice collector_from_environment() { return {environment(kProgram), environment(kConfigDir)}; }

Result<void> prepare_collector(Layout& l, const CollectorChoice& choice, Ports& ports) {
  STELLA_TRY_VOID(find_collector_user(l));
  STELLA_TRY_VOID(own_dir(l.path("collector"), l.collector, 0700));
  // stellad writes the token that the processes of ours send with; the runner's group may read it.
  std::optional<process::User> token = l.server;
  if (token && l.runner) token->gid = l.runner->gid;
  STELLA_TRY_VOID(own_dir(l.path("run/telemetry"), token, l.root ? 02750 : 0700));
  STELLA_TRY_VOID(copy_config(choice.config_dir, config_dir(l)));
  std::vector<int> taken{ports.http, ports.pg, ports.nats};
  ports.otlp_grpc = STELLA_TRY(choose("STELLA_COLLECTOR_OTLP_GRPC", 4317, taken));
  ports.otlp_http = STELLA_TRY(choose("STELLA_COLLECTOR_OTLP_HTTP", 4318, taken));
  ports.collector_health = STELLA_TRY(choose("STELLA_COLLECTOR_HEALTH", 13133, taken));
  ports.collector_zpages = STELLA_TRY(choose("STELLA_COLLECTOR_ZPAGES", 55679, taken));
  ports.collector_metrics = STELLA_TRY(choose("", 8888, taken));
  return {};
}

Environment sender_environment(const Layout& l, const Ports& ports) {
  if (ports.otlp_http == 0) return {};
  return {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://" + loopback(ports.otlp_http)}, {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"}, {"STELLA_TELEMETRY_TOKEN_FILE", token_file(l)}};
}

bool mend_collector(const Layout& l, const Error& error) {
  if (!queue_is_torn(error.field("log"))) return false;
  set_queue_aside(l);
  return true;
}

std::string collector_target() {
  const std::string target = environment("STELLA_COLLECTOR_TARGET"), exporter = environment("STELLA_COLLECTOR_EXPORTER");
  if (!exporter.empty()) return exporter;
  return target.empty() ? "its own log only, as counts (STELLA_COLLECTOR_TARGET=URL names a backend)" : target;
}

Result<std::string> token_issuer(const Layout& layout, const std::string& url) {
  const auto settings = load_settings(layout);
  if (!settings) return settings.error();
  for (const char* name : {"auth.issuer", "http.public_url"})
    if (!settings->text(name).empty()) return settings->text(name);
  return url;
}

process::Service collector_service(const Layout& l, const CollectorChoice& choice, const Ports& ports, const std::string& issuer) {
  const std::string dir = config_dir(l);
  std::vector<std::string> argv{choice.program, "--config", dir + "/config.yaml"};
  if (exists(l.path("collector.yaml"))) argv.insert(argv.end(), {"--config", l.path("collector.yaml")});  // the operator's, laid over ours
  std::istringstream gates(read_file(dir + "/feature-gates", 4096).value_or(""));
  for (std::string gate; gates >> gate;) argv.push_back(gate);
  process::Service s = service(l, "collector", std::move(argv), l.collector);
  s.options.directory = dir;
  s.outlives = "stellad";  // it takes the last telemetry of those that send to it
  Environment own = given();
  if (!environment("STELLA_COLLECTOR_TARGET").empty()) set_default(own, "STELLA_COLLECTOR_EXPORTER", "otlp_http/target");
  set_default(own, "STELLA_COLLECTOR_OTLP_GRPC", loopback(ports.otlp_grpc));
  set_default(own, "STELLA_COLLECTOR_OTLP_HTTP", loopback(ports.otlp_http));
  set_default(own, "STELLA_COLLECTOR_HEALTH", loopback(ports.collector_health));
  set_default(own, "STELLA_COLLECTOR_ZPAGES", loopback(ports.collector_zpages));
  set_default(own, "STELLA_COLLECTOR_METRICS_PORT", std::to_string(ports.collector_metrics));
  set_default(own, "STELLA_COLLECTOR_ISSUER", issuer);
  set_default(own, "STELLA_COLLECTOR_AUDIENCE", issuer);
  set_default(own, "STELLA_COLLECTOR_STORAGE", l.path("collector"));
  set_default(own, "STELLA_COLLECTOR_SAMPLE_PERCENT", "100");  // one machine: nothing is too much
  s.options.environment.insert(s.options.environment.end(), own.begin(), own.end());
  s.on_exit = [l, written = std::make_shared<NewText>(l.log("collector"))](int) {
    if (queue_is_torn(written->take())) set_queue_aside(l);
  };
  s.ready = [port = ports.collector_health, otlp = ports.otlp_http] { return healthy(port) && port_answers(otlp); };
  return s;
}

}  // namespace stella::cli::up
