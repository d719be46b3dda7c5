// State file, /proc, orphans.
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"

namespace stella::cli::up {
namespace {

json::Value to_json(const Process& p) { return json::Value::object({{"name", p.name}, {"pid", p.pid}, {"start", p.start}}); }

Process process_from(const json::Value& v) { return {std::string(v.str("name")), static_cast<int>(v.integer("pid")), static_cast<std::uint64_t>(v.integer("start"))}; }

// Polls: the process is no child of ours.
bool gone_within(const Process& p, std::chrono::seconds patience) {
  const Deadline deadline = Deadline::after(patience);
  while (alive(p)) {
    if (deadline.passed()) return false;
    ::usleep(20'000);
  }
  return true;
}

}  // namespace

Result<void> write_state(const Layout& layout, const State& s) {
  json::Array parts;
  for (const Process& p : s.parts) parts.push_back(to_json(p));
  const json::Value out = json::Value::object({{"state", s.state}, {"self", to_json(s.self)}, {"since", s.since.rfc3339()}, {"url", s.url},
                                               {"ports", json::Value::object({{"http", s.ports.http}, {"pg", s.ports.pg}, {"nats", s.ports.nats}, {"otlp_grpc", s.ports.otlp_grpc}, {"otlp_http", s.ports.otlp_http}})},
                                               {"new_operators", s.new_operators}, {"parts", std::move(parts)}, {"version", STELLA_VERSION}});
  return write_file_durable(layout.state(), json::pretty(out), 0644);
}

std::optional<State> read_state(const Layout& layout) {
  const auto text = read_file(layout.state(), 1 << 20);
  if (!text) return std::nullopt;
  const auto v = json::parse(*text);
  if (!v || !v->is_object() || v->find("self") == nullptr) return std::nullopt;
  State out;
  out.state = std::string(v->str("state"));
  out.self = process_from(*v->find("self"));
  if (const auto since = Timestamp::parse(v->str("since")); since) out.since = *since;
  out.url = std::string(v->str("url"));
  if (const json::Value* ports = v->find("ports"); ports != nullptr)
    for (auto [name, port] : {std::pair{"http", &out.ports.http}, {"pg", &out.ports.pg}, {"nats", &out.ports.nats}, {"otlp_grpc", &out.ports.otlp_grpc}, {"otlp_http", &out.ports.otlp_http}})
      *port = static_cast<int>(ports->integer(name));
  out.new_operators = v->boolean("new_operators");
  for (const json::Value& p : v->items("parts")) out.parts.push_back(process_from(p));
  return out;
}

std::uint64_t start_of(int pid) {
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 8192);
  if (!stat) return 0;
  // The name may hold blanks and parentheses: count from the last one. Field 22 of the line is 20th after it.
  const std::size_t close = stat->rfind(')');
  if (close == std::string::npos) return 0;
  std::istringstream fields(stat->substr(close + 1));
  std::string word;
  fields >> word;
  if (word == "Z" || word == "X") return 0;
  for (int i = 0; i < 19; ++i) fields >> word;
  return std::strtoull(word.c_str(), nullptr, 10);
}

Process process_of(std::string name, int pid) { return {std::move(name), pid, pid > 0 ? start_of(pid) : 0}; }

std::uint64_t resident_bytes(int pid) {
  const auto statm = read_file("/proc/" + std::to_string(pid) + "/statm", 4096);
  if (!statm) return 0;
  std::uint64_t size = 0, resident = 0;
  std::istringstream(*statm) >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::int64_t age_micros(const Process& p) {
  if (!alive(p)) return 0;
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const std::int64_t started = static_cast<std::int64_t>(p.start) * 1'000'000 / ::sysconf(_SC_CLK_TCK);
  return std::max<std::int64_t>(0, now.tv_sec * 1'000'000 + now.tv_nsec / 1000 - started);
}

int holder_of(const Layout& layout) {
  const Fd fd(::open(layout.lock().c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == EACCES) {
    const auto state = read_state(layout);
    return state && alive(state->self) ? state->self.pid : 0;
  }
  if (!fd || ::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return 0;
  const auto text = read_fd(fd.get(), 64);
  const int pid = text ? std::atoi(text->c_str()) : 0;
  return pid > 0 ? pid : -1;
}

std::optional<State> state_of(const Layout& layout, int holder) {
  auto state = read_state(layout);
  if (state && (holder <= 0 || state->self.pid != holder || !alive(state->self))) state.reset();
  return state;
}

Result<std::optional<State>> holding(const Layout& layout, std::chrono::milliseconds patience) {
  const Deadline deadline = Deadline::after(patience);
  for (;;) {
    const int holder = holder_of(layout);
    if (holder == 0) return std::optional<State>();
    if (auto state = state_of(layout, holder)) return state;
    if (deadline.passed()) break;
    ::usleep(50'000);
  }
  return Error(contracts::errors::kUnavailable, "it is just starting, or another program holds its lock")
      .with("path", layout.lock())
      .with("remedy", "Try again in a moment. If that does not help: lslocks says which program holds it.");
}

int end_orphans(const Layout& layout) {
  auto state = read_state(layout);
  if (!state) return 0;
  int ended = 0;
  std::reverse(state->parts.begin(), state->parts.end());
  for (const Process& p : state->parts) {
    if (!alive(p)) continue;
    ++ended;
    ::kill(p.pid, p.name == "postgresql" ? SIGINT : SIGTERM);
    if (gone_within(p, std::chrono::seconds(20))) continue;
    ::kill(p.pid, SIGKILL);
    gone_within(p, std::chrono::seconds(5));
  }
  return ended;
}

}  // namespace stella::cli::up
