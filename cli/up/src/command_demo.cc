// stella demo: the whole chain on the project's own samples, by the same commands that a person would type.
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster.h"
#include "commands.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"

extern char** environ;

namespace stella::cli::up {
namespace {

constexpr std::chrono::seconds kIndexerPatience{20};

struct Args {
  std::string samples;
  std::string data_dir;
};

// Where the samples lie: beside the programs in a checkout (build/<preset>/bin) or in an installation.
Result<std::string> find_samples(const Args& args, const Layout& layout) {
  if (!args.samples.empty()) return args.samples;
  for (const char* below : {"/../../../samples", "/../share/stella/samples", "/samples"})
    if (exists(layout.programs + below + "/policy.yaml")) return layout.programs + below;
  return Error(base_errors::kNotFound, "the samples are not where they are looked for").with("path", layout.programs).with("remedy", "stella demo --samples DIR (the folder `samples` of the source checkout)");
}

class Demo {
 public:
  Demo(Session& session, Layout layout, std::string samples) : session_(session), layout_(std::move(layout)), samples_(std::move(samples)) {}
  ~Demo() {
    if (work_.empty()) return;
    for (const char* name : {"/out", "/err", "/bundle.tgz"}) ::unlink((work_ + name).c_str());
    ::rmdir(work_.c_str());
  }

  Result<int> run() {
    char work[] = "/tmp/stella-demo-XXXXXX";
    if (::mkdtemp(work) == nullptr) return io_error("cannot make a working directory", "/tmp");
    work_ = work;
    STELLA_TRY_VOID(login());
    STELLA_TRY_VOID(knowledge());
    STELLA_TRY_VOID(decision());
    STELLA_TRY_VOID(evidence());
    STELLA_TRY_VOID(trace());
    if (!session_.machine()) session_.console().out("\n" + next());
    else session_.show(json::Value::object({{"evaluation_id", evaluation_}, {"sbom_id", sbom_}, {"bundle_id", bundle_}, {"trace_id", trace_}}), [] { return std::string(); });
    return kExitDone;
  }

 private:
  // Runs this program with other arguments, as the same user with the same profile; its JSON. `may_end` are exit codes that are answers, too.
  Result<json::Value> stella(std::vector<std::string> words, std::vector<int> may_end = {}) {
    char self[PATH_MAX];
    const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
    if (n <= 0) return io_error("cannot find this program", "/proc/self/exe");
    std::string line = "stella";
    for (const std::string& w : words) line += " " + w;
    process::SpawnOptions options;
    options.argv = {std::string(self, static_cast<std::size_t>(n)), "-o", "json", "--no-color"};
    options.argv.insert(options.argv.end(), words.begin(), words.end());
    for (char** e = environ; *e != nullptr; ++e)
      if (const std::string_view text = *e; text.find('=') != std::string_view::npos && !text.starts_with("STELLA_PASSWORD=")) options.environment.emplace_back(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
    options.environment.insert(options.environment.end(), secrets_.begin(), secrets_.end());
    options.directory = work_;
    options.stdout_path = work_ + "/out";
    options.stderr_path = work_ + "/err";
    ::unlink(options.stdout_path.c_str());
    ::unlink(options.stderr_path.c_str());
    process::Child child = STELLA_TRY(process::Child::spawn(options));
    const auto status = child.wait(Deadline::after(std::chrono::minutes(10)));
    const bool fine = status && (*status == 0 || std::find(may_end.begin(), may_end.end(), *status) != may_end.end());
    if (!fine) {
      session_.console().err("$ " + line + "\n" + read_file(options.stderr_path, 1 << 20).value_or(""));
      return Error(contracts::errors::kUnavailable, "a step of the demonstration failed").with("command", line).with("status", status ? std::to_string(*status) : "timeout").with("remedy", "stella doctor; then stella demo again");
    }
    return json::parse(read_file(options.stdout_path, 64 << 20).value_or(""));
  }

  void say(std::string_view what, const std::string& text) {
    if (session_.machine()) return;
    std::string name(what);
    name.resize(12, ' ');
    session_.console().out("  " + paint()(Style::kDim, name) + text + "\n");
  }
  const Palette& paint() { return session_.console().out_palette(); }

  Result<void> login() {
    const auto operators = STELLA_TRY(read_operators(layout_));
    if (operators.empty()) return Error(base_errors::kNotFound, "no operator is known").with("path", operators_path(layout_));
    const auto state = read_state(layout_);
    const std::string url = state ? state->url : "";
    secrets_ = {{"STELLA_PASSWORD", operators.front().secret}};
    std::vector<std::string> words = {"login", "-u", operators.front().login};
    if (!url.empty()) words.insert(words.begin(), {"--url", url});
    const json::Value me = STELLA_TRY(stella(std::move(words)));
    secrets_.clear();
    if (!url.empty()) secrets_ = {{"STELLA_URL", url}};
    if (!session_.machine()) session_.console().out(paint()(Style::kBold, "What happened") + "\n");
    say("login", std::string(me.str("username")) + ", tenant " + std::string(me.str("tenant_id")) + ", at " + std::string(me.str("url")));
    return {};
  }

  static std::string counts_text(const json::Value& result) {
    const json::Value* counts = result.find("counts");
    std::string out;
    if (counts == nullptr || !counts->is_object()) return out;
    for (const auto& [name, n] : counts->as_object())
      if (n.is_int() && n.as_int() > 0) out += (out.empty() ? "" : ", ") + with_commas(n.as_int()) + " " + name;
    return out;
  }

  Result<void> knowledge() {
    const json::Value advisories = STELLA_TRY(stella({"advisory", "ingest", "--global", samples_ + "/advisories"}));
    say("advisories", counted(advisories.integer("documents"), "OSV document") + ": " + counts_text(advisories));
    const json::Value vex = STELLA_TRY(stella({"vex", "ingest", "--global", samples_ + "/vex.openvex.json"}));
    say("vex", counted(vex.integer("documents"), "OpenVEX document") + ": " + counts_text(vex));
    const json::Value policy = STELLA_TRY(stella({"policy", "publish", samples_ + "/policy.yaml"}));
    STELLA_TRY_VOID(stella({"policy", "activate", std::string(policy.str("policy_version"))}));
    say("policy", std::string(policy.str("policy_version")) + ", " + counted(policy.integer("rules"), "rule") + ", active");
    return {};
  }

  Result<void> decision() {
    const json::Value sbom = STELLA_TRY(stella({"sbom", "ingest", samples_ + "/sbom.cdx.json"}));
    // One document may come back as a row or as a list of one.
    const json::Value& row = sbom.items("items").empty() ? sbom : sbom.items("items").front();
    sbom_ = std::string(row.str("sbom_id"));
    const json::Value* counts = row.find("counts");
    say("sbom", std::string(row.str("document_name")) + " (" + std::string(row.str("source_format")) + "), " + with_commas(counts == nullptr ? 0 : counts->integer("components")) + " components");
    const json::Value e = STELLA_TRY(stella({"evaluate", "--sbom", sbom_}));
    evaluation_ = std::string(e.str("evaluation_id"));
    trace_ = std::string(e.str("trace_id"));
    const json::Value* n = e.find("counts");
    std::string shout(e.str("decision_effect"));
    for (char& c : shout) c = static_cast<char>(::toupper(c));
    say("decision", paint()(style_of(e.str("decision_effect")), shout) + ": " + std::string(e.str("decision_reason")) + (n == nullptr ? "" : "; " + with_commas(n->integer("findings")) + " findings"));
    const json::Value findings = STELLA_TRY(stella({"findings", "--evaluation", evaluation_}));
    if (!session_.machine()) session_.console().out(findings_text(findings));
    const json::Value report = STELLA_TRY(stella({"export", "create", "--evaluation", evaluation_}));
    say("report", "export " + std::string(report.str("export_id")) + ", " + std::string(report.str("state")));
    return {};
  }

  std::string findings_text(const json::Value& findings) {
    Table table({{"             "}, {""}, {"", false, true}, {""}, {"", false, true}});
    for (const json::Value& f : findings.items("items")) {
      std::string_view purl = f.str("purl");
      if (purl.starts_with("pkg:")) purl.remove_prefix(4);
      table.row({"             ", word(f.str("decision_effect")), std::string(purl.substr(0, purl.find('?'))), f.str("advisory_id").empty() ? "-" : f.str("advisory_id"), f.str("rule_id")});
    }
    std::string out = table.render(paint(), session_.console().width());
    return out.substr(out.find('\n') + 1);  // without the line of titles
  }

  Result<void> evidence() {
    const json::Value bundle = STELLA_TRY(stella({"forensic", "snapshot", "create", "--case", "CASE-1", "--scope", "eval", "--id", evaluation_}));
    bundle_ = std::string(bundle.str("bundle_id"));
    const std::string file = work_ + "/bundle.tgz";
    STELLA_TRY_VOID(stella({"forensic", "get", bundle_, "--out", file}));
    struct stat info {};
    const std::uint64_t size = ::stat(file.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
    say("evidence", "bundle " + bundle_ + " of case CASE-1, " + human_bytes(size));
    const json::Value verdict = STELLA_TRY(stella({"forensic", "verify", file}, {2}));
    say("verified", "offline, without the server: " + verdict_text(verdict));
    const json::Value replay = STELLA_TRY(stella({"forensic", "replay", file}));
    say("replayed", replay_text(replay));
    return {};
  }

  std::string verdict_text(const json::Value& verdict) {
    std::string checked;
    int open = 0;
    for (const json::Value& d : verdict.items("dimensions")) {
      const std::string outcome(d.str("outcome"));
      if (outcome == "NOT-CHECKED") ++open;
      else checked += (checked.empty() ? "" : ", ") + std::string(d.str("name")) + " " + paint()(style_of(outcome), outcome);
    }
    return checked + (open > 0 ? "; " + std::to_string(open) + " dimensions not checked, each with its reason" : "");
  }

  static std::string replay_text(const json::Value& replay) {
    std::int64_t same = 0, all = 0;
    for (const char* list : {"outputs", "jobs", "steps"})
      for (const json::Value& o : replay.items(list)) {
        ++all;
        same += o.boolean("identical") || o.boolean("same") || o.str("result") == "identical" ? 1 : 0;
      }
    return "linked, reconciled and decided again from the bundle: " + (all > 0 ? with_commas(same) + " of " + with_commas(all) + " outputs identical" : std::string("identical"));
  }

  Result<void> trace() {
    // The indexer follows within moments; after a restart it first takes over the leases of its predecessor.
    json::Value events = STELLA_TRY(stella({"timeline", "list", "--trace", trace_}));
    for (const Deadline deadline = Deadline::after(kIndexerPatience); events.items("items").empty() && !deadline.passed();) {
      ::usleep(250'000);
      events = STELLA_TRY(stella({"timeline", "list", "--trace", trace_}));
    }
    const json::Value joined = STELLA_TRY(stella({"obs", "trace", trace_}));
    const auto n = [&](std::string_view list) { return static_cast<std::int64_t>(joined.items(list).size()); };
    say("trace", trace_ + ": " + counted(static_cast<std::int64_t>(events.items("items").size()), "event") + ", " + counted(n("spans"), "span") + ", " + counted(n("logs"), "log line") + ", " + counted(n("attestations"), "attestation"));
    return {};
  }

  std::string next() {
    std::string out = paint()(Style::kBold, "Try next") + "\n";
    for (const auto& [command, why] : std::initializer_list<std::pair<std::string, std::string_view>>{{"stella findings --evaluation " + evaluation_, "what was found"},
                                                                                                       {"stella timeline list --trace " + trace_, "the whole chain, in order"},
                                                                                                       {"stella obs trace " + trace_, "spans, log lines, decisions"},
                                                                                                       {"stella forensic get " + bundle_ + " --out bundle.tgz", "the evidence"},
                                                                                                       {"stella forensic verify bundle.tgz", "without any server"},
                                                                                                       {"stella status; stella doctor; stella down", "this machine"}}) {
      std::string line = "  " + command;
      if (line.size() < 78) line.resize(78, ' ');
      out += line + paint()(Style::kDim, "  " + std::string(why)) + "\n";
    }
    return out;
  }

  Session& session_;
  Layout layout_;
  std::string samples_;
  std::string work_;
  std::vector<std::pair<std::string, std::string>> secrets_;
  std::string sbom_, evaluation_, bundle_, trace_;
};

Result<int> run(Session& session, const Args& args) {
  Layout layout = STELLA_TRY(locate(args.data_dir));
  char real[PATH_MAX];
  const std::string samples = STELLA_TRY(find_samples(args, layout));
  if (::realpath(samples.c_str(), real) == nullptr) return Error(base_errors::kNotFound, "no such directory").with("path", samples);
  return Demo(session, std::move(layout), real).run();
}

}  // namespace

void register_demo(App& app) {
  auto args = std::make_shared<Args>();
  app.command("demo", "Run the whole chain on the samples, as the first operator, and say what happened.")
      .option("--samples", &args->samples, "The samples (default: those of the checkout that stella was built in).", {.value = "DIR"})
      .option("--data-dir", &args->data_dir, kDataDirHelp, {.value = "DIR"})
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace stella::cli::up
