// stella export: create, list, get.
#include <sys/stat.h>

#include "common.h"
#include "stella/base/file.h"
#include "stella/cli/download.h"

namespace stella::cli {
namespace {

struct Args {
  std::string evaluation;
  std::string format = "json";
  std::string id;
  std::string out;
  std::int64_t limit = 100;
};

std::string export_text(const json::Value& e, const Palette& paint) {
  Facts facts;
  facts.add("evaluation", e.str("evaluation_id")).add("format", e.str("format")).add("attestation", e.str("attestation_id")).add("requested", long_time(e.str("requested_at")));
  std::string out = "export " + paint(Style::kBold, e.str("export_id")) + "  " + paint(style_of(e.str("state")), e.str("state")) + "\n" + facts.render(paint, 2);
  if (e.items("files").empty()) return out;
  Table table({{"FILE"}, {"SHA256"}});
  for (const json::Value& f : e.items("files")) table.row({f.str("name"), f.str("sha256")});
  return out + table.render(paint, 0);
}

// Each file is compared with the digest that the export names; one that differs is not kept.
Result<void> download_files(Session& session, const json::Value& e, const std::string& directory) {
  Api* api = STELLA_TRY(session.api());
  STELLA_TRY_VOID(make_dirs(directory));
  for (const json::Value& f : e.items("files")) {
    const std::string name(f.str("name"));
    if (name.empty() || name.find('/') != std::string::npos || name.starts_with('.')) return Error(base_errors::kInvalid, "the server named a file that cannot be kept").with("actual", printable(name));
    const std::string path = directory + "/" + name;
    const auto digest = STELLA_TRY(download(*api, {.path = "/exports/" + path_segment(e.str("export_id")) + "/files/" + path_segment(name), .timeout = std::chrono::hours(1)}, path, f.str("sha256")));
    session.console().note(path + "  " + human_bytes(digest.size) + "\n");
  }
  return {};
}

Result<int> finish(Session& session, const json::Value& e, const std::string& out) {
  session.show(e, [&] { return export_text(e, session.console().out_palette()); });
  if (e.str("state") == "failed") {
    const json::Value* error = e.find("error");
    return recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object());
  }
  if (!out.empty()) STELLA_TRY_VOID(download_files(session, e, out));
  return kExitDone;
}

Result<int> create(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const auto ended = [](const json::Value& e) { return e.str("state") != "requested"; };
  json::Value e = STELLA_TRY(api->post("/exports", json::Value::object({{"evaluation_id", args.evaluation}, {"format", args.format}}), {{"wait", std::string(kServerWait)}}));
  if (!ended(e)) e = STELLA_TRY(api->poll("/exports/" + path_segment(e.str("export_id")), {}, kPatience, ended));
  const int code = STELLA_TRY(finish(session, e, args.out));
  if (!session.machine() && args.out.empty()) session.console().note("next: stella export get " + std::string(e.str("export_id")) + " --out DIR\n");
  return code;
}

Result<int> get(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const json::Value e = STELLA_TRY(api->get("/exports/" + path_segment(args.id)));
  return finish(session, e, args.out);
}

Result<int> list(Session& session, const Args& args) {
  return show_rows(session, "/exports", {}, args.limit, {{"EXPORT"}, {"STATE"}, {"FORMAT"}, {"EVALUATION", false, true}, {"REQUESTED"}},
                   [](const json::Value& e) -> std::vector<Cell> { return {e.str("export_id"), word(e.str("state")), e.str("format"), e.str("evaluation_id"), short_time(e.str("requested_at"), Timestamp::now())}; },
                   "no exports yet: stella export create --evaluation ID");
}

}  // namespace

void register_export(App& app) {
  auto args = std::make_shared<Args>();
  app.command("export", "Reports of evaluations, with manifest and attestation.");
  app.command("export create", "Make an exposure report with its manifest; wait for it.")
      .option("--evaluation", &args->evaluation, "The evaluation's id.", {.required = true, .value = "EVALUATION"})
      .option("--format", &args->format, "The report's format.", {.choices = {"json"}})
      .option("--out", &args->out, "Download the files into this directory.", {.value = "DIR"})
      .run([args](Session& s) { return create(s, *args); });
  add_limit(app.command("export list", "Exports, newest first.").run([args](Session& s) { return list(s, *args); }), &args->limit);
  app.command("export get", "One export; with --out its files, each compared with its digest.")
      .argument("EXPORT", &args->id, "Its id.")
      .option("--out", &args->out, "Download the files into this directory.", {.value = "DIR"})
      .run([args](Session& s) { return get(s, *args); });
}

}  // namespace stella::cli
