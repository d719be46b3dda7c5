// stella compare: what changed between two evaluations, and why.
#include "common.h"
#include "stella/cli/app.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

struct Args {
  std::string before, after;
};

std::string effect_of(const json::Value* side) { return side == nullptr || side->is_null() ? std::string("-") : std::string(side->str("effect")); }

Result<int> compare(Session& session, const Args& args) {
  for (const auto& [name, id] : {std::pair("BEFORE", &args.before), std::pair("AFTER", &args.after)})
    if (!EvaluationId::parse(*id)) return Error(base_errors::kInvalid, "not the id of an evaluation").with("field", name).with("actual", *id).with("expected", "the id that stella evaluate printed");
  Api* api = STELLA_TRY(session.api());
  const json::Value out = STELLA_TRY(api->get("/evaluations/" + path_segment(args.before) + "/comparison?with=" + path_segment(args.after)));
  session.show(out, [&] {
    const Palette& paint = session.console().out_palette();
    const json::Value* before = out.find("before");
    const json::Value* after = out.find("after");
    std::string text = "decision  " + std::string(before->str("effect")) + " → " + paint(Style::kBold, after->str("effect")) + "  " + printable(after->str("reason")) + "\n";
    std::string changed;
    for (const json::Value& input : out.items("inputs"))
      if (input.boolean("changed")) changed.append(changed.empty() ? "" : ", ").append(input.str("name"));
    if (before->str("as_of") != after->str("as_of")) changed.append(changed.empty() ? "" : ", ").append("as of");
    text += "inputs    " + (changed.empty() ? std::string("all the same") : changed + " changed") + "\n";
    const json::Value* counts = out.find("counts");
    text += "findings  " + std::to_string(counts->integer("opened")) + " opened, " + std::to_string(counts->integer("closed")) + " closed, " + std::to_string(counts->integer("changed")) + " changed, " +
            std::to_string(counts->integer("same")) + " the same\n";
    if (!out.boolean("explained")) text += paint(Style::kRed, "NOT EXPLAINED") + "  equal inputs gave other results: replay a bundle of each (stella forensic replay)\n";
    if (out.items("findings").empty()) return text;
    Table table({{"CHANGE"}, {"CAUSE"}, {"COMPONENT", false, true}, {"ADVISORY"}, {"BEFORE"}, {"AFTER"}});
    for (const json::Value& f : out.items("findings"))
      table.row({Cell(std::string(f.str("change"))), Cell(std::string(f.str("cause"))), Cell(std::string(f.str("purl"))), Cell(std::string(f.str("advisory_id"))), word(effect_of(f.find("before"))), word(effect_of(f.find("after")))});
    return text + table.render(paint, session.console().width());
  });
  return kExitDone;
}

}  // namespace

void register_compare(App& app) {
  auto args = std::make_shared<Args>();
  app.command("compare", "Two evaluations side by side: which inputs differ, which findings came, went or changed, and what made them.")
      .argument("BEFORE", &args->before, "The earlier evaluation.", {.required = true, .value = "BEFORE"})
      .argument("AFTER", &args->after, "The later evaluation.", {.required = true, .value = "AFTER"})
      .run([args](Session& s) { return compare(s, *args); });
}

}  // namespace stella::cli
