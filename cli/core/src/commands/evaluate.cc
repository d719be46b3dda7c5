// stella evaluate: one decision over one SBOM.
#include "common.h"
#include "evaluation_text.h"

namespace stella::cli {
namespace {

struct Args {
  std::string sbom;
  std::string policy;
  std::string as_of;
  std::string fail_on;
};

bool ended(const json::Value& e) { return e.str("state") == "finished" || e.str("state") == "failed" || e.str("state") == "cancelled"; }

int severity_of(std::string_view effect) {
  static constexpr std::string_view kOrder[] = {"allow", "defer", "warn", "deny"};
  for (int i = 0; i < 4; ++i)
    if (kOrder[i] == effect) return i;
  return 4;
}

Result<int> evaluate(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  json::Value body = json::Value::object({{"sbom_id", args.sbom}});
  if (!args.policy.empty()) body.set("policy_version", args.policy);
  if (!args.as_of.empty()) body.set("as_of", args.as_of);
  session.console().note(session.console().err_is_terminal() ? "evaluating …\r" : "");
  json::Value e = STELLA_TRY(api->post("/evaluations", body, {{"wait", std::string(kServerWait)}}));
  if (!ended(e)) e = STELLA_TRY(api->poll("/evaluations/" + path_segment(e.str("evaluation_id")), {}, kPatience, ended));
  session.show(e, [&] { return evaluation_text(e, session.console().out_palette()); });
  if (e.str("state") != "finished") {
    const json::Value* error = e.find("error");
    return recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object());
  }
  if (!session.machine()) {
    const std::string id(e.str("evaluation_id"));
    session.console().note("next: stella findings --evaluation " + id + "\n      stella forensic snapshot create --case CASE-1 --scope eval --id " + id + "\n");
  }
  if (!args.fail_on.empty() && severity_of(e.str("decision_effect")) >= severity_of(args.fail_on)) return kExitDecision;
  return kExitDone;
}

}  // namespace

std::string evaluation_text(const json::Value& e, const Palette& paint) {
  const std::string effect(e.str("decision_effect"));
  const std::string state(e.str("state"));
  std::string shout = effect.empty() ? state : effect;
  for (char& c : shout) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  std::string out = paint(style_of(effect.empty() ? state : effect), shout) + "  evaluation " + paint(Style::kBold, e.str("evaluation_id")) + "\n";
  Facts facts;
  facts.add("because", e.str("decision_reason")).add("policy", e.str("policy_version")).add("as of", long_time(e.str("as_of"))).add("sbom", e.str("sbom_id")).add("decision", e.str("decision_id"));
  const auto from = Timestamp::parse(e.str("requested_at"));
  const auto to = Timestamp::parse(e.str("finished_at"));
  if (from && to) facts.add("took", human_duration((*to - *from).count()));
  out += facts.render(paint, 2);
  const json::Value* counts = e.find("counts");
  if (counts == nullptr || !counts->is_object() || counts->as_object().empty()) return out;
  const auto n = [&](std::string_view name) { return Cell(count_of(*counts, name)); };
  const auto colored = [&](std::string_view name) { return Cell(count_of(*counts, name), counts->integer(name) > 0 ? style_of(name) : Style::kDim); };
  Table table({{"FOUND"}, {"", true}, {"  MATCHED"}, {"", true}, {"  DECIDED"}, {"", true}});
  table.row({"components", n("components"), "  affected", n("affected"), "  deny", colored("deny")});
  table.row({"findings", n("findings"), "  not affected", n("not_affected"), "  warn", colored("warn")});
  table.row({"", "", "  unknown", n("unknown"), "  defer", colored("defer")});
  table.row({"", "", "  withdrawn", n("withdrawn"), "  allow", colored("allow")});
  return out + "\n" + table.render(paint, 0) + "\n";
}

void register_evaluate(App& app) {
  auto args = std::make_shared<Args>();
  app.command("evaluate", "Link advisories to an SBOM, reconcile VEX, decide by policy; wait for the decision.")
      .option("--sbom", &args->sbom, "The SBOM's id (`stella sbom list`).", {.required = true, .value = "SBOM"})
      .option("--policy", &args->policy, "A policy version (default: the active one).", {.value = "VERSION"})
      .option("--as-of", &args->as_of, "Decide as of this time: waivers expire by it (default: now).", {.value = "RFC3339"})
      .option("--fail-on", &args->fail_on, "Exit with 3 where the decision is this or worse (for pipelines).", {.choices = {"deny", "warn", "defer"}})
      .note("Exit codes\n  0  there is a decision (and it is better than --fail-on)\n  1  the evaluation failed\n  3  the decision is --fail-on or worse: deny > warn > defer > allow")
      .run([args](Session& s) { return evaluate(s, *args); });
}

}  // namespace stella::cli
