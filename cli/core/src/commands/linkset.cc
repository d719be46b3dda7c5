// stella advisory linkset: the ids under which a vulnerability is known, and which document says so.
#include "common.h"

namespace stella::cli {
namespace {

struct Args {
  std::string id;
  std::int64_t revision = 0;
  bool global = false;
};

std::string linkset_text(const json::Value& set, const Palette& paint, std::size_t width) {
  std::string ids;
  for (const json::Value& id : set.items("members")) ids += (ids.empty() ? "" : ", ") + printable(id.is_string() ? id.as_string() : "");
  Facts facts;
  facts.add("revision", std::to_string(set.integer("revision"))).add("changed", long_time(set.str("changed_at"))).add("known as", ids.empty() ? "nothing else: the set is no more" : ids);
  std::string out = "vulnerability " + paint(Style::kBold, printable(set.str("vulnerability_id"))) + "\n" + facts.render(paint, 2);
  if (set.items("edges").empty()) return out;
  Table edges({{"RECORD"}, {"SAYS ALIAS"}, {"SOURCE"}, {"DOCUMENT", false, true}});
  for (const json::Value& e : set.items("edges")) edges.row({e.str("from"), e.str("to"), e.str("source_id"), e.str("source_doc")});
  return out + "\n" + edges.render(paint, width);
}

Result<int> linkset(Session& session, const Args& args) {
  std::string path = "/advisories/" + path_segment(args.id) + "/linkset";
  if (args.global) path += "?global=1";
  if (args.revision != 0) path += (args.global ? "&revision=" : "?revision=") + std::to_string(args.revision);
  Api* api = STELLA_TRY(session.api());
  const json::Value set = STELLA_TRY(api->get(path));
  session.show(set, [&] { return linkset_text(set, session.console().out_palette(), session.console().width()); });
  return kExitDone;
}

}  // namespace

void register_linkset(App& app) {
  auto args = std::make_shared<Args>();
  app.command("advisory linkset", "The ids under which a vulnerability is known, and which document says so.")
      .argument("ID", &args->id, "Id of an advisory, or an alias of one.", {.required = true, .value = "ID"})
      .option("--global", &args->global, "In the public knowledge base; else among the tenant's own records.")
      .option("--revision", &args->revision, "This revision of the set of that name (default: the one in force).", {.value = "N"})
      .note("Own records and those of the public knowledge base make sets of their own.")
      .run([args](Session& s) { return linkset(s, *args); });
}

}  // namespace stella::cli
