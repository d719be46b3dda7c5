// stella timeline: list, show.
#include <charconv>

#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "timeline_follow.h"

namespace stella::cli {

Result<std::string> time_argument(std::string_view text, Timestamp now) {
  if (const auto time = Timestamp::parse(text); time) return std::string(text);
  const auto bad = [&] { return Error(base_errors::kInvalid, "not a time").with("field", std::string(text)).with("expected", "RFC 3339 (2026-11-24T12:00:00Z), or how long ago: 90s, 15m, 2h, 7d"); };
  if (text.size() < 2) return bad();
  std::int64_t n = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size() - 1, n);
  const std::int64_t unit = text.back() == 's' ? 1 : text.back() == 'm' ? 60 : text.back() == 'h' ? 3600 : text.back() == 'd' ? 86'400 : 0;
  if (r.ec != std::errc() || r.ptr != text.data() + text.size() - 1 || n < 0 || unit == 0 || n > 100'000'000 / unit * 100) return bad();
  return (now - std::chrono::seconds(n * unit)).rfc3339();
}

namespace {

struct Args {
  std::string trace;
  std::vector<std::string> kinds;
  std::vector<std::string> resources;
  std::string project;
  std::string actor;
  std::string from;
  std::string to;
  std::string q;
  std::string order;
  std::int64_t limit = 100;
  std::string id;
  bool follow = false;
  std::string target, text;
  bool star = false;
};

Result<Query> query_of(const Args& args) {
  Query query;
  const Timestamp now = Timestamp::now();
  for (const std::string& kind : args.kinds) query.emplace_back("kind", kind);
  for (const std::string& resource : args.resources) query.emplace_back("resource", resource);
  if (!args.from.empty()) query.emplace_back("from", STELLA_TRY(time_argument(args.from, now)));
  if (!args.to.empty()) query.emplace_back("to", STELLA_TRY(time_argument(args.to, now)));
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"trace", args.trace}, {"project", args.project}, {"actor", args.actor}, {"q", args.q}})
    if (!value.empty()) query.emplace_back(name, value);
  // A trace is a story: it is told from its beginning.
  const std::string order = args.order.empty() ? (args.trace.empty() ? "time" : "log") : args.order;
  query.emplace_back("order", order);
  return query;
}

std::string index_text(const json::Value& event) {
  const json::Value* index = event.find("log_index");
  return index != nullptr && index->is_int() ? with_commas(index->as_int()) : "-";
}

// Within a trace milliseconds matter: "17:07:03.412".
std::string time_text(std::string_view rfc3339, Timestamp now, bool millis) {
  const std::string text = short_time(rfc3339, now);
  const auto time = Timestamp::parse(rfc3339);
  if (!millis || !time || text.size() != 8) return text;
  const std::string ms = std::to_string(time->micros() / 1000 % 1000);
  return text + "." + std::string(3 - ms.size(), '0') + ms;
}

Result<int> list(Session& session, const Args& args) {
  Query query = STELLA_TRY(query_of(args));
  if (args.follow) {
    for (const std::string* other : {&args.from, &args.to, &args.q, &args.order})
      if (!other->empty()) return Error(base_errors::kInvalid, "--follow begins now and has the log's order").with("field", "--from, --to, --search, --order").with("expected", "none of them beside --follow");
    query.pop_back();  // the order
    return follow_timeline(session, std::move(query));
  }
  Api* api = STELLA_TRY(session.api());
  const json::Value page = STELLA_TRY(api->list("/timeline", std::move(query), static_cast<int>(args.limit)));
  session.show_list(page, [&] {
    if (page.items("items").empty()) return std::string("no events\n");
    // Who did it gives way on a narrow terminal; `timeline show` says it.
    const std::size_t width = session.console().width();
    const bool with_actor = width == 0 || width >= 110;
    std::vector<Column> columns{{"INDEX", true}, {"TIME"}, {"EVENT"}, {"RESOURCE", false, true}};
    if (with_actor) columns.push_back({"ACTOR", false, true});
    columns.push_back({""});
    Table table(std::move(columns));
    const Timestamp now = Timestamp::now();
    for (const json::Value& e : page.items("items")) {
      std::vector<Cell> row{index_text(e), time_text(e.str("ts"), now, !args.trace.empty()), Cell(std::string(e.str("kind")), Style::kCyan), std::string(e.str("resource_type")) + " " + std::string(e.str("resource_id"))};
      if (with_actor) row.emplace_back(e.str("actor"));
      row.push_back(e.str("state") == "ok" ? Cell() : word(e.str("state")));
      table.row(std::move(row));
    }
    return table.render(session.console().out_palette(), width);
  });
  if (!page.str("searched_from").empty() && !session.machine()) session.console().note("only events since " + std::string(page.str("searched_from")) + " were searched; --to goes further back\n");
  if (!page.find("next_cursor")->is_null() && !session.machine()) session.console().note("these are the first " + with_commas(static_cast<std::int64_t>(page.items("items").size())) + "; --limit 0 shows all\n");
  return kExitDone;
}

Result<int> show(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const json::Value event = STELLA_TRY(api->get("/timeline/" + path_segment(args.id)));
  session.show(event, [&] {
    const Palette& paint = session.console().out_palette();
    Facts facts;
    facts.add("time", event.str("ts")).add("resource", std::string(event.str("resource_type")) + " " + std::string(event.str("resource_id"))).add("actor", event.str("actor")).add("project", event.str("project_id"));
    facts.add("trace", event.str("trace_id")).add("log index", index_text(event)).add("leaf", event.str("digest")).add("state", word(event.str("state")));
    std::string out = paint(Style::kCyan, event.str("kind")) + "  event " + paint(Style::kBold, event.str("event_id")) + "\n" + facts.render(paint, 2);
    if (const json::Value* details = event.find("details"); details != nullptr && details->is_object() && !details->as_object().empty()) {
      Facts more;
      for (const auto& [name, value] : details->as_object()) more.add(name, value.is_string() ? value.as_string() : json::dump(value));
      out += "details\n" + more.render(paint, 2);
    }
    return out;
  });
  return kExitDone;
}

Result<int> annotate(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  json::Value body = json::Value::object({{"target", args.target}, {"star", args.star}});
  if (!args.text.empty()) body.set("text", args.text);
  const json::Value made = STELLA_TRY(api->post("/timeline/annotations", body));
  session.show(made, [&] { return std::string(args.star ? "starred " : "annotated ") + printable(args.target) + "  event " + std::string(made.str("event_id")) + "\n"; });
  return kExitDone;
}

}  // namespace

void register_timeline(App& app) {
  auto args = std::make_shared<Args>();
  app.command("timeline", "Everything that happened in your tenant, in the order of its log.");
  app.command("timeline list", "Events, newest first; those of one trace from its beginning.")
      .option("--trace", &args->trace, "Only of this trace.", {.value = "TRACE"})
      .option("--kind", &args->kinds, "Only these kinds; policy.* is all of a family; may be repeated.", {.value = "KIND"})
      .option("--resource", &args->resources, "Only about this: TYPE/ID, or TYPE/ for all of a type; component/PURL with all SBOMs that contain it and their jobs; may be repeated.", {.value = "TYPE/ID"})
      .option("--project", &args->project, "Only of this project.", {.value = "PROJECT"})
      .option("--actor", &args->actor, "Only by this actor.", {.value = "ACTOR"})
      .option("--from", &args->from, "From this time on: RFC 3339, or 15m, 2h, 7d ago.", {.value = "TIME"})
      .option("--to", &args->to, "Before this time.", {.value = "TIME"})
      .option("--search", &args->q, "Only where the details hold this text.", {.value = "TEXT"})
      .option("--order", &args->order, "time: newest first; log: by log index, ascending.", {.choices = {"time", "log"}})
      .option("--limit", &args->limit, "How many to show; 0 shows all.", {.value = "N"})
      .option("--follow", &args->follow, "Show each event as it enters the log, until you stop it.")
      .run([args](Session& s) { return list(s, *args); });
  app.command("timeline show", "One event with its details.").argument("EVENT", &args->id, "Its id.").run([args](Session& s) { return show(s, *args); });
  app.command("timeline annotate", "Mark something with a comment or a star; it stays in the log.")
      .argument("RESOURCE", &args->target, "TYPE/ID of an event, trace, bundle, evaluation, finding or job.")
      .argument("TEXT", &args->text, "The comment, at most 2000 bytes.", {.required = false})
      .option("--star", &args->star, "A star: it matters.")
      .run([args](Session& s) { return annotate(s, *args); });
}

}  // namespace stella::cli
