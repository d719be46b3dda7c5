// stella forensic hold: place, release, show.
#include "case_view.h"
#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

struct Args {
  std::string case_id;
  std::string authority;
  std::string reason;
};

Result<std::string> path_of(const Args& args) {
  STELLA_TRY_VOID(check_case(args.case_id));
  return "/evidence/hold/" + path_segment(args.case_id);
}

std::string state_text(const json::Value& state, const Palette& paint, std::size_t width) {
  const bool held = state.boolean("held");
  const json::Value* bundles = state.find("bundles");
  const std::int64_t sealed = bundles == nullptr ? 0 : bundles->integer("sealed"), locked = bundles == nullptr ? 0 : bundles->integer("locked");
  Facts facts;
  facts.add("state", state.str("state")).add("closed", long_time(state.str("closed_at"))).add("kept until", long_time(state.str("retain_until"))).add("by incident", long_time(state.str("incident_until")));
  facts.add("bundles", std::to_string(sealed) + (held ? ", " + std::to_string(locked) + " of them held by the store" : ""));
  std::string out = "case " + paint(Style::kBold, state.str("case_id")) + "  " + paint(held ? Style::kYellow : Style::kDim, held ? "held" : "not held") + "\n" + facts.render(paint, 2);
  if (state.items("holds").empty()) return out;
  Table table({{"AUTHORITY", false, true}, {"HOLD"}, {"PLACED"}, {"BY", false, true}, {"RELEASE", false, true}});
  const Timestamp now = Timestamp::now();
  for (const json::Value& h : state.items("holds")) {
    const bool released = h.str("due") == "none";
    const std::string asked(h.str("release_requested_by"));
    std::string release = released ? "by " + std::string(h.str("released_by")) : asked.empty() ? "" : "asked for by " + asked;
    table.row({h.str("authority"), word(released ? "released" : "in force"), short_time(h.str("placed_at"), now), h.str("placed_by"), std::move(release)});
  }
  return out + table.render(paint, width);
}

Result<int> show(Session& session, const Args& args) {
  const std::string path = STELLA_TRY(path_of(args));
  Api* api = STELLA_TRY(session.api());
  return show_case(session, STELLA_TRY(api->get(path)));
}

Result<int> place(Session& session, const Args& args) {
  const std::string path = STELLA_TRY(path_of(args));
  Api* api = STELLA_TRY(session.api());
  const json::Value state = STELLA_TRY(api->post(path, json::Value::object({{"action", "place"}, {"authority", args.authority}, {"reason", args.reason}})));
  if (!session.machine()) session.console().note(state.str("step") == "unchanged" ? "this hold is in force already\n" : "the hold is in force; nothing of this case can be deleted\n");
  return show_case(session, state);
}

// The hold that is meant: the one of that authority, or the only one.
Result<json::Value> in_force(const json::Value& state, const Args& args) {
  std::vector<json::Value> all;
  std::string names;
  for (const json::Value& h : state.items("holds")) {
    if (h.str("due") == "none" || (!args.authority.empty() && h.str("authority") != args.authority)) continue;
    names.append(names.empty() ? "" : ", ").append(h.str("authority"));
    all.push_back(h);
  }
  if (all.empty()) return Error(base_errors::kNotFound, "no such hold is in force").with("remedy", "stella forensic hold show --case " + args.case_id);
  if (all.size() > 1) return Error(base_errors::kInvalid, "several holds are in force: which one is meant?").with("field", "--authority").with("expected", names);
  return std::move(all.front());
}

// The step that is due, and no other: one run asks or confirms, it never does both.
Result<int> release(Session& session, const Args& args) {
  const std::string path = STELLA_TRY(path_of(args));
  Api* api = STELLA_TRY(session.api());
  const json::Value hold = STELLA_TRY(in_force(STELLA_TRY(api->get(path)), args));
  const std::string due(hold.str("due"));
  if (due == "request_release" && args.reason.empty())
    return Error(base_errors::kInvalid, "a release needs a reason").with("field", "--reason").with("remedy", "Give --reason: it stands in the record of the hold.");
  json::Value body = json::Value::object({{"action", due}, {"authority", hold.str("authority")}});
  if (!args.reason.empty()) body.set("reason", args.reason);
  const json::Value state = STELLA_TRY(api->post(path, body));
  if (!session.machine()) {
    const std::string step(state.str("step"));
    session.console().note(step == "released"            ? "step done: confirmed, the hold is released\n"
                           : step == "release_requested" ? "step done: the release is asked for; another person confirms it with the same command\n"
                                                         : "you have asked for this release already; another person has to confirm it\n");
  }
  return show_case(session, state);
}

}  // namespace

Result<int> show_case(Session& session, const json::Value& state) {
  session.show(state, [&] { return state_text(state, session.console().out_palette(), session.console().width()); });
  return kExitDone;
}

void register_hold(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic hold", "Legal holds: nothing of a held case can be deleted.");
  app.command("forensic hold place", "Place a hold on a case, also before it has evidence.")
      .option("--case", &args->case_id, "The case.", {.required = true, .value = "CASE"})
      .option("--authority", &args->authority, "Who demands it: a court, a regulator, an order's number.", {.required = true, .value = "TEXT"})
      .option("--reason", &args->reason, "Why; stands in the record.", {.required = true, .value = "TEXT"})
      .run([args](Session& s) { return place(s, *args); });
  app.command("forensic hold release", "Do the step of a release that is due: ask for it, or confirm as second person what another one asked for.")
      .option("--case", &args->case_id, "The case.", {.required = true, .value = "CASE"})
      .option("--authority", &args->authority, "Whose hold; may be left out where the case has one.", {.value = "TEXT"})
      .option("--reason", &args->reason, "Why; whoever asks has to give it.", {.value = "TEXT"})
      .run([args](Session& s) { return release(s, *args); });
  app.command("forensic hold show", "The holds of a case, released ones as well, and how long it is kept.")
      .option("--case", &args->case_id, "The case.", {.required = true, .value = "CASE"})
      .run([args](Session& s) { return show(s, *args); });
}

}  // namespace stella::cli
