// stella forensic dispositions: what retention would delete next, and why not yet.
#include "case_view.h"
#include "register.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

struct Args {
  std::string case_id;
  std::int64_t limit = 100;
};

std::string why_not_yet(const json::Value& row) {
  std::string out;
  for (const json::Value& rule : row.items("kept_by")) out.append(out.empty() ? "" : "; ").append(rule.str("reason"));
  if (out.empty()) out = row.str("step") == "due" ? "nothing: its deletion is planned at the next look" : "nothing: a checkpoint has to cover the plan";
  if (!row.str("refused_reason").empty()) out.append("; refused before: ").append(row.str("refused_reason"));
  return out;
}

Result<int> run(Session& session, const Args& args) {
  Query query;
  if (!args.case_id.empty()) {
    STELLA_TRY_VOID(check_case(args.case_id));
    query.emplace_back("case", args.case_id);
  }
  Api* api = STELLA_TRY(session.api());
  const json::Value page = STELLA_TRY(api->list("/evidence/dispositions", std::move(query), static_cast<int>(args.limit)));
  session.show_list(page, [&] {
    if (page.items("items").empty()) return std::string("nothing is under retention\n");
    Table table({{"BUNDLE"}, {"CASE", false, true}, {"WHAT"}, {"STEP"}, {"KEPT UNTIL"}, {"WHY NOT YET"}});
    const Timestamp now = Timestamp::now();
    for (const json::Value& row : page.items("items"))
      table.row({row.str("bundle_id"), row.str("case_id"), row.str("what"), word(row.str("step")), row.str("kept_until").empty() ? std::string("-") : short_time(row.str("kept_until"), now), why_not_yet(row)});
    return table.render(session.console().out_palette(), session.console().width());
  });
  return kExitDone;
}

}  // namespace

void register_dispositions(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic dispositions", "What retention would delete next, and why not yet: each hold, lock and rule that keeps it. Changes nothing.")
      .option("--case", &args->case_id, "Only of this case.", {.value = "CASE"})
      .option("--limit", &args->limit, "How many to show; 0 shows all.", {.value = "N"})
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace stella::cli
