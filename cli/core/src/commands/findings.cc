// stella findings: what an evaluation found, and which rule decided.
#include <algorithm>
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

// "high 7.5"; the score alone says nothing to most people, the word alone hides how close it was.
Cell severity_cell(const json::Value& finding) {
  const std::string name(finding.str("severity"));
  const json::Value* score = finding.find("score");
  if (score == nullptr || !score->is_number()) return {name, style_of(name)};
  char text[16];
  std::snprintf(text, sizeof text, " %.1f", score->as_double());
  return {name + text, style_of(name)};
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

// The VEX column appears where a statement says something.
std::string findings_text(const json::Value& list, const Palette& paint, std::size_t width) {
  const json::Array& items = list.items("items");
  if (items.empty()) return "no findings\n";
  const bool with_vex = std::any_of(items.begin(), items.end(), [](const json::Value& f) { return f.str("vex_status") != "none" && !f.str("vex_status").empty(); });
  std::vector<Column> columns{{"EFFECT"}, {"SEVERITY"}, {"COMPONENT", false, true, 18}, {"ADVISORY"}};
  if (with_vex) columns.push_back({"VEX", false, true, 6});
  columns.push_back({"RULE", false, true, 7});
  columns.push_back({"FIXED", false, true, 7});
  Table table(std::move(columns));
  for (const json::Value& f : items) {
    std::vector<Cell> row{word(f.str("decision_effect")), severity_cell(f), f.str("purl").empty() ? Cell("(no purl)", Style::kDim) : Cell(component_text(f.str("purl"))), f.str("advisory_id").empty() ? Cell("-") : Cell(f.str("advisory_id"))};
    if (with_vex) row.push_back(f.str("vex_status") == "none" ? Cell("-") : word(f.str("vex_status")));
    row.emplace_back(f.str("rule_id"));
    row.emplace_back(fixed_text(f));
    table.row(std::move(row));
  }
  return table.render(paint, width);
}

Result<int> findings(Session& session, const Args& args) {
  Query query{{"evaluation", args.evaluation}};
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"effect", args.effect}, {"severity", args.severity}, {"verdict", args.verdict}, {"advisory", args.advisory}})
    if (!value.empty()) query.emplace_back(name, value);
  Api* api = STELLA_TRY(session.api());
  const json::Value list = STELLA_TRY(api->list("/findings", std::move(query), static_cast<int>(args.limit)));
  session.show_list(list, [&] { return findings_text(list, session.console().out_palette(), session.console().width()); });
  if (!list.find("next_cursor")->is_null() && !session.machine())
    session.console().note("these are the first " + with_commas(static_cast<std::int64_t>(list.items("items").size())) + "; --limit 0 shows all\n");
  return kExitDone;
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
