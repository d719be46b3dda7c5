// stella findings: what an evaluation found, and which rule decided.
#include <cstdio>

#include "common.h"

namespace stella::cli {
namespace {

struct Args {
  std::string evaluation;
  std::string effect;
  std::string severity;
  std::string verdict;
  std::string advisory;
  std::int64_t limit = 100;
};

std::string score_text(const json::Value& finding) {
  const json::Value* score = finding.find("score");
  if (score == nullptr || !score->is_number()) return "-";
  char text[16];
  std::snprintf(text, sizeof text, "%.1f", score->as_double());
  return text;
}

std::string fixed_text(const json::Value& finding) {
  std::string out;
  for (const json::Value& v : finding.items("fixed_versions")) out += (out.empty() ? "" : ", ") + (v.is_string() ? v.as_string() : "");
  return out;
}

// "pkg:npm/lodash@4.17.20?x=y" → "npm/lodash@4.17.20": the scheme says nothing in a table.
std::string component_text(std::string_view purl) {
  if (purl.starts_with("pkg:")) purl.remove_prefix(4);
  return std::string(purl.substr(0, purl.find('?')));
}

Result<int> findings(Session& session, const Args& args) {
  Query query{{"evaluation", args.evaluation}};
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"effect", args.effect}, {"severity", args.severity}, {"verdict", args.verdict}, {"advisory", args.advisory}})
    if (!value.empty()) query.emplace_back(name, value);
  return show_rows(session, "/findings", std::move(query), args.limit,
                   {{"EFFECT"}, {"SEVERITY"}, {"SCORE", true}, {"COMPONENT", false, true}, {"ADVISORY"}, {"VEX", false, true}, {"RULE", false, true}, {"FIXED IN", false, true}},
                   [](const json::Value& f) -> std::vector<Cell> {
                     const std::string_view vex = f.str("vex_status");
                     return {word(f.str("decision_effect")), word(f.str("severity")), score_text(f), component_text(f.str("purl")), f.str("advisory_id").empty() ? std::string_view("-") : f.str("advisory_id"),
                             vex == "none" ? Cell("-") : word(vex), f.str("rule_id"), fixed_text(f)};
                   },
                   "no findings");
}

}  // namespace

void register_findings(App& app) {
  auto args = std::make_shared<Args>();
  add_limit(app.command("findings", "What an evaluation found, with the rule that decided each.")
                .option("--evaluation", &args->evaluation, "The evaluation's id.", {.required = true, .value = "EVALUATION"})
                .option("--effect", &args->effect, "Only these.", {.choices = {"deny", "warn", "defer", "allow"}})
                .option("--severity", &args->severity, "Only these.", {.choices = {"critical", "high", "medium", "low", "none", "unknown"}})
                .option("--verdict", &args->verdict, "Only these.", {.choices = {"affected", "not_affected", "unknown", "withdrawn"}})
                .option("--advisory", &args->advisory, "Only this advisory.", {.value = "ID"})
                .note("`-o json` also says the clause of the advisory that matched, and the reason of the decision.")
                .run([args](Session& s) { return findings(s, *args); }),
            &args->limit);
}

}  // namespace stella::cli
