// Secrets, operators, settings.
#include "files.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>

#include "ports.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/contracts/settings.h"
#include "stella/platform/config.h"
#include "telemetry.h"

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
    if (port != taken.http && port != taken.pg && port != taken.nats && port_free(port) && claim_port(port)) return port;
  return Error(base_errors::kLimit, "no free port near the usual one").with("part", std::string(part)).with("port", static_cast<std::uint64_t>(usual));
}

// The number of the line that the value of `name` stands in, from 1; 0 where the file does not set it.
std::size_t line_of(const Layout& layout, const config::Settings& settings, const std::string& name) {
  const std::string& source = settings.source(name);
  const std::string prefix = layout.config() + ":";
  return source.starts_with(prefix) ? static_cast<std::size_t>(std::atoll(source.c_str() + prefix.size())) : 0;
}

// Where a plain or quoted value that begins at `at` ends; npos for a list, a map, a block and what else YAML has.
std::size_t end_of_value(std::string_view line, std::size_t at) {
  if (at >= line.size() || std::string_view("[{&*!|>%@`#").find(line[at]) != std::string_view::npos) return std::string_view::npos;
  if (line[at] == '\'' || line[at] == '"') {
    std::size_t end = at + 1;
    while (end < line.size() && line[end] != line[at]) end += line[at] == '"' && line[end] == '\\' ? 2 : 1;
    return end < line.size() ? end + 1 : std::string_view::npos;
  }
  std::size_t end = std::min(line.find(" #", at), line.size());
  while (end > at && (line[end - 1] == ' ' || line[end - 1] == '\r')) --end;
  return end;
}

// The line with another value; key, indentation and comment stay. "" where it is no "key: value" of this setting, dotted or nested.
std::string with_value(std::string_view line, std::string_view name, std::string_view value) {
  const std::size_t key = line.find_first_not_of(' '), colon = line.find(':', key == std::string_view::npos ? 0 : key);
  if (key == std::string_view::npos || colon == std::string_view::npos) return "";
  const std::string_view written = line.substr(key, colon - key);
  const bool ours = name == written || (name.ends_with(written) && name[name.size() - written.size() - 1] == '.');
  const std::size_t begin = line.find_first_not_of(' ', colon + 1), end = end_of_value(line, begin);
  if (!ours || begin == colon + 1 || end == std::string_view::npos) return "";
  return std::string(line.substr(0, begin)) + std::string(value) + std::string(line.substr(end));
}

Error by_hand(const Layout& layout, const std::string& name, const std::string& value, std::size_t line) {
  auto error = Error(base_errors::kInvalid, "a setting must change, and its line is none that is changed here").with("path", layout.config()).with("field", name).with("expected", name + ": " + value);
  if (line != 0) error.add("line", std::to_string(line));
  return std::move(error).with("remedy", "Write " + name + ": " + value + " into " + layout.config() + ".");
}

// Gives one setting another value where the file sets it, else adds it, and leaves every other byte alone. Nothing is written that does not load.
Result<void> set_value(const Layout& layout, const std::string& name, const std::string& value) {
  std::string text = STELLA_TRY(read_file(layout.config(), 1 << 20));
  const auto before = load_settings(layout);
  if (!before) return before.error();
  const std::size_t line = line_of(layout, *before, name);
  if (line == 0) {
    text += (text.empty() || text.ends_with('\n') ? "" : "\n") + name + ": " + value + "\n";
  } else {
    std::size_t at = 0;
    for (std::size_t n = 1; n < line; ++n) at = text.find('\n', at) + 1;
    const std::size_t size = std::min(text.find('\n', at), text.size()) - at;
    const std::string changed = with_value(std::string_view(text).substr(at, size), name, value);
    if (changed.empty()) return by_hand(layout, name, value, line);
    text.replace(at, size, changed);
  }
  const std::string trial = layout.config() + ".new";
  STELLA_TRY_VOID(write_file_durable(trial, text, 0644));
  const bool loads = config::Settings::load(trial, config::Environment()).has_value();
  ::unlink(trial.c_str());
  if (!loads) return by_hand(layout, name, value, line);
  return write_file_durable(layout.config(), text, 0644);
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

// Another random value would take its place without a word: keys and cluster would not open, and the same inputs would have other digests.
std::string lost_secret(const Layout& l) {
  if (!exists(l.path("pg/PG_VERSION"))) return "";
  for (const char* name : {"secrets/pg_superuser", "secrets/key_passphrase", "secrets/salt_secret"})
    if (!exists(l.path(name))) return l.path(name);
  return "";
}

Result<void> make_secrets(const Layout& l) {
  if (const std::string lost = lost_secret(l); !lost.empty())
    return Error(base_errors::kNotFound, "a secret of this data directory is lost").with("path", lost).with("remedy", "Restore " + lost + " from the backup that holds it: the data beside it needs that very one.");
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
    STELLA_TRY_VOID(set_value(layout, "http.port", std::to_string(http_port)));
    ports.http = http_port;
  }
  // Nobody but our own parts knows these two ports: where another program took one in the meantime, we move.
  (void)claim_port(ports.http);  // where another has it, its part says so
  if (!port_free(ports.pg) || !claim_port(ports.pg)) {
    ports.pg = STELLA_TRY(choose("postgresql", ports.pg + 1, ports));
    STELLA_TRY_VOID(set_value(layout, "pg.port", std::to_string(ports.pg)));
  }
  if (!port_free(ports.nats) || !claim_port(ports.nats)) {
    ports.nats = STELLA_TRY(choose("nats", ports.nats + 1, ports));
    STELLA_TRY_VOID(set_value(layout, "nats.url", "nats://127.0.0.1:" + std::to_string(ports.nats)));
  }
  // Another environment may offer another socket directory; the address is ours, not the user's.
  const auto loaded = load_settings(layout);
  if (!loaded) return loaded.error();
  const config::Settings& settings = *loaded;
  if (settings.text("pg.host") != layout.sockets) STELLA_TRY_VOID(set_value(layout, "pg.host", quoted(layout.sockets)));
  return ports;
}

Result<void> write_runner_settings(const Layout& l) {
  const auto loaded = load_settings(l);
  if (!loaded) return loaded.error();
  const config::Settings& s = *loaded;
  std::string text = "# Written by `stella up` from stella.yaml at every start.\n";
  text += "data_dir: " + quoted(l.data) + "\n" + "nats.password_dir: " + quoted(l.path("secrets-runner")) + "\n";
  for (const config::SettingSpec& row : contracts::kSettings)
    if (for_runner(row.name) && !of_each_program(row.name) && s.source(row.name) != "default") text += std::string(row.name) + ": " + quoted(s.text(row.name)) + "\n";
  return write_file_durable(l.runner_config(), text, 0644);
}

}  // namespace stella::cli::up
