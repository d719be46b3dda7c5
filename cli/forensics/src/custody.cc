// stella forensic custody: who made what from what, up to a bundle.
#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

constexpr std::size_t kShownDigest = 12;  // hex digits; -o json has them all

std::string object_text(const json::Value& object) { return std::string(object.str("name")) + " " + std::string(object.str("sha256").substr(0, kShownDigest)); }

std::string custody_text(const json::Value& custody, const Palette& paint) {
  std::string out;
  for (const json::Value& step : custody.items("steps")) {
    out += printable(step.str("ts").substr(0, 19)) + "  " + paint(Style::kBold, printable(step.str("kind"))) + "  " + printable(step.str("resource")) + "  " + paint(Style::kDim, printable(step.str("actor"))) + "\n";
    for (const json::Value& input : step.items("inputs")) out += "    from  " + printable(object_text(input)) + (input.str("from").empty() ? paint(Style::kYellow, "  (no event of the bundle put it out)") : "") + "\n";
    for (const json::Value& output : step.items("outputs")) out += "    made  " + printable(object_text(output)) + "\n";
  }
  for (const json::Value& gap : custody.items("broken"))
    out += paint(Style::kRed, "broken") + "  " + printable(gap.str("kind")) + " (event " + printable(gap.str("event_id")) + ") took in " + printable(gap.str("name")) + " " + printable(gap.str("sha256")) + ", which nothing put out\n";
  std::size_t absent = 0;
  for (const json::Value& m : custody.items("missing")) {
    const bool expired = m.boolean("may_have_expired");
    absent += expired ? 0 : 1;
    const std::string by = m.str("named_by").empty() ? std::string("the seal") : "event " + printable(m.str("named_by"));
    out += paint(expired ? Style::kYellow : Style::kRed, expired ? "not enclosed" : "broken") + "  " + printable(m.str("transition")) + " of job " + printable(m.str("job_id")) + ", which " + by + " names" + (expired ? " (expired, or left out)" : ", is missing") + "\n";
  }
  const bool complete = custody.boolean("complete");
  return out + "chain of custody " + paint(complete ? Style::kGreen : Style::kRed, complete ? "complete" : "broken") + ": " + std::to_string(custody.items("steps").size()) + " steps, " + std::to_string(custody.items("broken").size() + absent) + " broken links\n";
}

Result<int> run(Session& session, const std::string& bundle) {
  Api* api = STELLA_TRY(session.api());
  const json::Value custody = STELLA_TRY(api->get("/evidence/" + path_segment(bundle) + "/custody"));
  session.show(custody, [&] { return custody_text(custody, session.console().out_palette()); });
  return custody.boolean("complete") ? kExitDone : kExitFailed;
}

}  // namespace

void register_custody(App& app) {
  auto bundle = std::make_shared<std::string>();
  app.command("forensic custody", "The chain of custody of a bundle: each step with what it took in and what it made, broken links by name.")
      .argument("BUNDLE", bundle.get(), "Its id.")
      .note("Exit codes\n  0  every link leads to the event that made it, and no job lacks one\n  1  a link is broken, or an event about a job is missing")
      .run([bundle](Session& s) { return run(s, *bundle); });
}

}  // namespace stella::cli
