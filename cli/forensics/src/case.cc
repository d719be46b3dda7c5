// stella forensic case: close it, keep it or one of its bundles longer.
#include "case_view.h"
#include "register.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

struct Args {
  std::string case_id;
  std::string bundle;
  std::string until;
  std::string reason;
};

Result<int> close(Session& session, const Args& args) {
  STELLA_TRY_VOID(check_case(args.case_id));
  Api* api = STELLA_TRY(session.api());
  const json::Value state = STELLA_TRY(api->post("/evidence/cases/" + path_segment(args.case_id) + "/close", json::Value::object({{"reason", args.reason}})));
  if (!session.machine()) session.console().note(state.str("step") == "unchanged" ? "this case was closed before; its clock runs from then\n" : "the case is closed\n");
  return show_case(session, state);
}

// A day means its first instant, in UTC.
Result<std::string> instant(const std::string& text) {
  const auto parsed = Timestamp::parse(text.size() == 10 ? text + "T00:00:00Z" : text);
  if (parsed) return parsed->rfc3339();
  return Error(base_errors::kInvalid, "not an instant").with("field", "--until").with("expected", "a day as in 2031-12-31, or RFC 3339");
}

Result<int> extend(Session& session, const Args& args) {
  if (args.case_id.empty() == args.bundle.empty()) return Error(base_errors::kInvalid, "what is to be kept longer?").with("field", "--case").with("expected", "one of --case and --bundle");
  if (args.bundle.empty()) STELLA_TRY_VOID(check_case(args.case_id));
  const json::Value body = json::Value::object({{"retain_until", STELLA_TRY(instant(args.until))}, {"reason", args.reason}});
  Api* api = STELLA_TRY(session.api());
  const std::string thing = args.bundle.empty() ? "cases/" + path_segment(args.case_id) : path_segment(args.bundle);
  const json::Value reply = STELLA_TRY(api->post("/evidence/" + thing + "/retention", body));
  if (!session.machine()) session.console().note(reply.str("step") == "unchanged" ? "it is kept as long already\n" : "it is kept longer; nobody can shorten that\n");
  if (args.bundle.empty()) return show_case(session, reply);
  session.show(reply, [&] {
    Facts facts;
    facts.add("case", reply.str("case_id")).add("kept until", long_time(reply.str("retain_until")));
    return "bundle " + session.console().out_palette()(Style::kBold, reply.str("bundle_id")) + "\n" + facts.render(session.console().out_palette(), 2);
  });
  return kExitDone;
}

}  // namespace

void register_case(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic case", "Cases: close them, keep their evidence longer.");
  app.command("forensic case close", "Close a case: where retention begins at the end of the case, its clock starts. Closing it again changes nothing.")
      .option("--case", &args->case_id, "The case.", {.required = true, .value = "CASE"})
      .option("--reason", &args->reason, "Why; stands in the record.", {.required = true, .value = "TEXT"})
      .run([args](Session& s) { return close(s, *args); });
  app.command("forensic case extend", "Keep everything in a case, or one bundle, until a later instant. It is never kept shorter.")
      .option("--case", &args->case_id, "The case.", {.value = "CASE"})
      .option("--bundle", &args->bundle, "One bundle, in place of a case.", {.value = "BUNDLE"})
      .option("--until", &args->until, "A day (UTC), or an instant, RFC 3339; at most 100 years from now.", {.required = true, .value = "TIME"})
      .option("--reason", &args->reason, "Why; stands in the record.", {.required = true, .value = "TEXT"})
      .run([args](Session& s) { return extend(s, *args); });
}

}  // namespace stella::cli
