// Secrets, operators, settings.
#include "files.h"

#include <errno.h>
#include <stdlib.h>

#include "ports.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/platform/config.h"

namespace stella::cli::up {
namespace {

constexpr const char* kLogins[] = {"stella_owner", "stella_web", "stella_authority", "stella_orchestrator", "stella_indexer", "stella_locker", "stella_telemetry"};
constexpr const char* kBusUsers[] = {"orchestrator", "indexer", "web", "locker", "runner"};

std::string random_secret() {
  char bytes[24];
  fill_random(bytes, sizeof bytes);
  return base64url_encode({bytes, sizeof bytes});
}

// For people who type: 20 characters of 32 that look different, 100 bits.
std::string random_password() {
  constexpr std::string_view kAlphabet = "abcdefghjkmnpqrstuvwxyz23456789A";
  unsigned char bytes[20];
  fill_random(bytes, sizeof bytes);
  std::string out;
  for (std::size_t i = 0; i < sizeof bytes; ++i) {
    if (i > 0 && i % 5 == 0) out += '-';
    out += kAlphabet[bytes[i] % kAlphabet.size()];
  }
  return out;
}

Result<void> secret_file(const std::string& path, const std::optional<process::User>& user, const std::string& content) {
  if (!exists(path)) STELLA_TRY_VOID(write_file_durable(path, content, 0600));
  return own_file(path, user, 0600);
}

Result<void> make_operators(const Layout& layout) {
  if (exists(operators_path(layout))) return {};
  json::Array operators;
  operators.push_back(json::Value::object({{"login", "ada"}, {"secret", random_password()}, {"display_name", "Ada (platform operator)"}, {"platform", true}}));
  operators.push_back(json::Value::object({{"login", "grace"}, {"secret", random_password()}, {"display_name", "Grace (operator)"}, {"platform", false}}));
  return write_file_durable(operators_path(layout), json::pretty(json::Value::object({{"tenant", kFirstTenant}, {"operators", std::move(operators)}})), 0600);
}

Result<int> choose(std::string_view part, int usual, const Ports& taken) {
  for (int port = usual; port < usual + 100; ++port)
    if (port != taken.http && port != taken.pg && port != taken.nats && port_free(port)) return port;
  return Error(base_errors::kLimit, "no free port near the usual one").with("part", std::string(part)).with("port", static_cast<std::uint64_t>(usual));
}

// Replaces the line of one setting and leaves every other byte alone.
Result<void> set_line(const std::string& path, const std::string& name, const std::string& value) {
  std::string text = STELLA_TRY(read_file(path, 1 << 20));
  const std::string line = name + ": " + value + "\n";
  std::size_t at = text.starts_with(name + ":") ? 0 : text.find("\n" + name + ":");
  if (at == std::string::npos) {
    text += line;
  } else {
    if (at != 0) ++at;
    const std::size_t end = text.find('\n', at);
    text.replace(at, end == std::string::npos ? end : end + 1 - at, line);
  }
  return write_file_durable(path, text, 0644);
}

int port_of_url(std::string_view url) {
  const std::size_t colon = url.rfind(':');
  return colon == std::string_view::npos ? 0 : std::atoi(std::string(url.substr(colon + 1)).c_str());
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

// Of the file alone: what the user's shell says is not what the parts see.
Result<config::Settings> load_settings(const Layout& layout) {
  const config::Environment none;
  return config::Settings::load(layout.config(), none);
}

std::string operators_path(const Layout& layout) { return layout.path("secrets/operators.json"); }

Result<void> make_secrets(const Layout& l) {
  const std::optional<process::User> self;
  // Only root (or the one user) gets the superuser's and the owner's passwords: the server needs neither.
  STELLA_TRY_VOID(secret_file(l.path("secrets/pg_superuser"), self, random_secret() + "\n"));
  for (const char* login : kLogins) STELLA_TRY_VOID(secret_file(l.path("secrets/pg/" + std::string(login)), std::string_view(login) == "stella_owner" ? self : l.server, random_secret() + "\n"));
  for (const char* user : kBusUsers) STELLA_TRY_VOID(secret_file(l.path("secrets/nats/" + std::string(user)), l.server, random_secret() + "\n"));
  for (const char* name : {"key_passphrase", "salt_secret"}) STELLA_TRY_VOID(secret_file(l.path("secrets/" + std::string(name)), l.server, random_secret() + "\n"));
  const std::string runner = STELLA_TRY(read_file(l.path("secrets/nats/runner"), 4096));
  STELLA_TRY_VOID(write_file_durable(l.path("secrets-runner/runner"), runner, 0600));
  STELLA_TRY_VOID(own_file(l.path("secrets-runner/runner"), l.runner, 0600));
  return make_operators(l);
}

Result<std::vector<Operator>> read_operators(const Layout& layout) {
  const json::Value file = STELLA_TRY(json::parse(STELLA_TRY(read_file(operators_path(layout), 1 << 20))));
  std::vector<Operator> out;
  for (const json::Value& o : file.items("operators")) out.push_back({std::string(o.str("login")), std::string(o.str("secret")), std::string(o.str("display_name")), o.boolean("platform")});
  return out;
}

std::string settings_text(const Layout& l, const Ports& ports) {
  return "# Settings of the platform on this machine, written once by `stella up`; edit, then `stella down` and `stella up`.\n"
         "# Every setting with its default: docs/reference/settings.md\n"
         "data_dir: " + quoted(l.data) + "\n"
         "roles: all\n"
         "http.address: 127.0.0.1\n"
         "http.port: " + std::to_string(ports.http) + "\n"
         "pg.host: " + quoted(l.sockets) + "\n"
         "pg.port: " + std::to_string(ports.pg) + "\n"
         "nats.url: nats://127.0.0.1:" + std::to_string(ports.nats) + "\n";
}

Result<Ports> read_ports(const Layout& layout) {
  const auto loaded = load_settings(layout);
  if (!loaded) return loaded.error();
  const config::Settings& settings = *loaded;
  Ports ports;
  ports.http = static_cast<int>(settings.integer("http.port"));
  ports.pg = static_cast<int>(settings.integer("pg.port"));
  ports.nats = port_of_url(settings.text("nats.url"));
  return ports;
}

Result<Ports> make_settings(const Layout& layout, int http_port) {
  if (!exists(layout.config())) {
    Ports ports;
    ports.http = http_port;
    if (http_port == 0) ports.http = STELLA_TRY(choose("web", 18080, ports));
    ports.pg = STELLA_TRY(choose("postgresql", 15432, ports));
    ports.nats = STELLA_TRY(choose("nats", 14222, ports));
    STELLA_TRY_VOID(write_file_durable(layout.config(), settings_text(layout, ports), 0644));
    return ports;
  }
  Ports ports = STELLA_TRY(read_ports(layout));
  if (http_port != 0 && http_port != ports.http) {
    STELLA_TRY_VOID(set_line(layout.config(), "http.port", std::to_string(http_port)));
    ports.http = http_port;
  }
  // Nobody but our own parts knows these two ports: where another program took one in the meantime, we move.
  if (!port_free(ports.pg)) {
    ports.pg = STELLA_TRY(choose("postgresql", ports.pg + 1, ports));
    STELLA_TRY_VOID(set_line(layout.config(), "pg.port", std::to_string(ports.pg)));
  }
  if (!port_free(ports.nats)) {
    ports.nats = STELLA_TRY(choose("nats", ports.nats + 1, ports));
    STELLA_TRY_VOID(set_line(layout.config(), "nats.url", "nats://127.0.0.1:" + std::to_string(ports.nats)));
  }
  // Another environment may offer another socket directory; the address is ours, not the user's.
  const auto loaded = load_settings(layout);
  if (!loaded) return loaded.error();
  const config::Settings& settings = *loaded;
  if (settings.text("pg.host") != layout.sockets) STELLA_TRY_VOID(set_line(layout.config(), "pg.host", quoted(layout.sockets)));
  return ports;
}

Result<void> write_runner_settings(const Layout& l) {
  const auto loaded = load_settings(l);
  if (!loaded) return loaded.error();
  const config::Settings& s = *loaded;
  std::string text = "# Written by `stella up` from stella.yaml at every start.\n";
  text += "data_dir: " + quoted(l.data) + "\n" + "nats.password_dir: " + quoted(l.path("secrets-runner")) + "\n";
  for (const char* name : {"nats.url", "env", "region", "instance_id", "log.level", "jobs.dir"})
    if (!s.text(name).empty()) text += std::string(name) + ": " + quoted(s.text(name)) + "\n";
  text += "runner.concurrency: " + std::to_string(s.integer("runner.concurrency")) + "\n";
  text += "runner.heartbeat: " + s.text("runner.heartbeat") + "\n";
  text += std::string("runner.allow_without_landlock: ") + (s.boolean("runner.allow_without_landlock") ? "true" : "false") + "\n";
  return write_file_durable(l.runner_config(), text, 0644);
}

}  // namespace stella::cli::up
