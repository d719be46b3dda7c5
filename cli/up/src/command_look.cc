// stella status and stella doctor.
#include <ftw.h>
#include <sys/stat.h>

#include "commands.h"
#include "services.h"

namespace stella::cli::up {
namespace {

std::uint64_t g_size = 0;  // nftw passes no argument; one thread
int add_size(const char*, const struct stat* info, int kind, FTW*) {
  if (kind == FTW_F) g_size += static_cast<std::uint64_t>(info->st_blocks) * 512;
  return 0;
}
std::uint64_t size_of(const std::string& path) {
  g_size = 0;
  ::nftw(path.c_str(), add_size, 32, FTW_PHYS);
  return g_size;
}

json::Value sizes(const Layout& layout) {
  json::Value out = json::Value::object();
  for (const char* dir : {"pg", "objects", "nats", "collector", "log"})
    if (exists(layout.path(dir))) out.set(dir, size_of(layout.path(dir)));
  return out;
}

std::string status_text(const Layout& layout, const State& state, bool ready, const json::Value& disk, const Palette& paint, std::size_t width) {
  std::string out = (ready ? paint(Style::kGreen, "ready") : paint(Style::kRed, state.state == "running" ? "not ready" : state.state)) + "  " + state.url + "\n";
  Table table({{"PART"}, {"PID", true}, {"UP", true}, {"MEMORY", true}, {"PORT", true}});
  const auto row = [&](const Process& p, int port) {
    const bool runs = alive(p);
    table.row({p.name, runs ? Cell(std::to_string(p.pid)) : Cell("gone", Style::kRed), human_duration(age_micros(p)), human_bytes(resident_bytes(p.pid)), port == 0 ? "" : std::to_string(port)});
  };
  row(state.self, 0);
  for (const Process& p : state.parts) row(p, p.name == "postgresql" ? state.ports.pg : p.name == "nats" ? state.ports.nats : p.name == "stellad" ? state.ports.http : p.name == "collector" ? state.ports.otlp_http : 0);
  out += table.render(paint, width);
  std::string data = layout.data;
  for (const auto& [name, bytes] : disk.as_object()) data += "  " + name + " " + human_bytes(static_cast<std::uint64_t>(bytes.as_int()));
  return out + "data  " + data + "\n";
}

Result<int> status(Session& session, const std::string& data_dir) {
  const Layout layout = STELLA_TRY(locate(data_dir));
  const int holder = holder_of(layout);
  const auto state = state_of(layout, holder);
  if (holder == 0 || !state) {
    session.show(json::Value::object({{"state", "stopped"}, {"data_dir", layout.data}}), [&] { return "it does not run (" + layout.data + ")\n"; });
    return kExitFailed;
  }
  const bool ready = state->state == "running" && web_ready(state->url);
  const json::Value disk = sizes(layout);
  json::Array parts;
  for (const Process& p : state->parts)
    parts.push_back(json::Value::object({{"name", p.name}, {"pid", p.pid}, {"running", alive(p)}, {"uptime_us", age_micros(p)}, {"resident_bytes", resident_bytes(p.pid)}}));
  session.show(json::Value::object({{"state", state->state}, {"ready", ready}, {"url", state->url}, {"pid", state->self.pid}, {"since", state->since.rfc3339()}, {"data_dir", layout.data}, {"disk_bytes", disk},
                                    {"ports", json::Value::object({{"http", state->ports.http}, {"pg", state->ports.pg}, {"nats", state->ports.nats}, {"otlp_grpc", state->ports.otlp_grpc}, {"otlp_http", state->ports.otlp_http}})}, {"parts", std::move(parts)}}),
               [&] { return status_text(layout, *state, ready, disk, session.console().out_palette(), session.console().width()); });
  return ready ? kExitDone : kExitFailed;
}

Result<int> doctor(Session& session, const std::string& data_dir) {
  const Layout layout = STELLA_TRY(locate(data_dir));
  const int holder = holder_of(layout);
  auto checks = check_machine(layout, holder, 0);
  for (Check& c : check_running(layout, holder)) checks.push_back(std::move(c));
  const bool good = std::none_of(checks.begin(), checks.end(), [](const Check& c) { return c.verdict == Verdict::kFail; });
  session.show(json::Value::object({{"healthy", good}, {"running", holder != 0}, {"checks", checks_json(checks)}}), [&] {
    return checks_text(checks, Verdict::kOk, session.console().out_palette(), session.console().width()) + (good ? holder != 0 ? "all is well\n" : "nothing is in the way of `stella up`\n" : "");
  });
  return good ? kExitDone : kExitFailed;
}

const char* word_of(Verdict v) { return v == Verdict::kOk ? "ok" : v == Verdict::kWarn ? "warn" : "FAIL"; }
Style style_of_verdict(Verdict v) { return v == Verdict::kOk ? Style::kGreen : v == Verdict::kWarn ? Style::kYellow : Style::kRed; }

}  // namespace

std::string checks_text(const std::vector<Check>& checks, Verdict least, const Palette& paint, std::size_t width) {
  Table table({{""}, {"CHECK"}, {"FOUND", false, true}});
  std::string remedies;
  for (const Check& c : checks) {
    if (c.verdict < least) continue;
    table.row({Cell(word_of(c.verdict), style_of_verdict(c.verdict)), c.name, c.detail});
    if (!c.remedy.empty()) remedies += "  " + paint(Style::kBold, c.name) + "\n    " + c.remedy + "\n";
  }
  if (table.empty()) return "";
  return table.render(paint, width) + (remedies.empty() ? "" : "what to do\n" + remedies);
}

json::Value checks_json(const std::vector<Check>& checks) {
  json::Array out;
  for (const Check& c : checks) out.push_back(json::Value::object({{"name", c.name}, {"verdict", c.verdict == Verdict::kOk ? "ok" : c.verdict == Verdict::kWarn ? "warn" : "fail"}, {"detail", c.detail}, {"remedy", c.remedy}}));
  return json::Value(std::move(out));
}

void register_look(App& app) {
  auto data_dir = std::make_shared<std::string>();
  app.command("status", "The parts of the platform on this machine: pids, memory, ports, data.")
      .option("--data-dir", data_dir.get(), kDataDirHelp, {.value = "DIR"})
      .note("Exit codes\n  0  it runs and is ready\n  1  it does not run, or is not ready")
      .run([data_dir](Session& s) { return status(s, *data_dir); });
  app.command("doctor", "What is wrong on this machine, and how to mend it; works whether the platform runs or not.")
      .option("--data-dir", data_dir.get(), kDataDirHelp, {.value = "DIR"})
      .note("Exit codes\n  0  nothing is wrong\n  1  something fails")
      .run([data_dir](Session& s) { return doctor(s, *data_dir); });
}

}  // namespace stella::cli::up
