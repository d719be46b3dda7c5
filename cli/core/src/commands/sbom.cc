// stella sbom: ingest, list, show.
#include <sys/stat.h>

#include "common.h"
#include "stella/base/file.h"
#include "stella/base/limits.h"

namespace stella::cli {
namespace {

struct Args {
  std::vector<std::string> files;
  std::string project;
  std::string id;
  bool components = false;
  std::int64_t limit = 100;
};

Result<bool> is_gzip(const std::string& path) {
  const auto head = read_file(path, 2);
  if (head) return *head == "\x1f\x8b";
  if (head.error().code() != base_errors::kLimit) return Error(base_errors::kNotFound, "no such file, or not readable").with("path", path).with("remedy", "Check the path.");
  FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return io_error("cannot read the file", path);
  char magic[2] = {};
  const std::size_t n = std::fread(magic, 1, 2, file);
  std::fclose(file);
  return n == 2 && std::string_view(magic, 2) == "\x1f\x8b";
}

std::string summary(const json::Value& sbom, const Palette& paint) {
  const json::Value counts = sbom.find("counts") != nullptr && sbom.find("counts")->is_object() ? *sbom.find("counts") : json::Value::object();
  std::string ecosystems;
  if (const json::Value* by = counts.find("by_ecosystem"); by != nullptr && by->is_object())
    for (const auto& [name, n] : by->as_object())
      if (n.is_int()) ecosystems += (ecosystems.empty() ? "" : ", ") + name + " " + with_commas(n.as_int());
  Facts facts;
  const std::string document = std::string(sbom.str("document_name")) + (sbom.str("document_version").empty() ? "" : " " + std::string(sbom.str("document_version")));
  facts.add("document", document).add("format", sbom.str("source_format"));
  if (counts.find("components") != nullptr) facts.add("components", count_of(counts, "components") + (ecosystems.empty() ? "" : "  (" + ecosystems + ")"));
  if (counts.integer("problems") > 0) facts.add("problems", Cell(count_of(counts, "problems"), Style::kYellow));
  facts.add("sha256", sbom.str("sha256")).add("received", long_time(sbom.str("received_at")));
  const std::string head = "sbom " + paint(Style::kBold, sbom.str("sbom_id")) + "  " + paint(style_of(sbom.str("state")), sbom.str("state"));
  return head + (sbom.boolean("existed") ? paint(Style::kDim, "  (was here already)") : "") + "\n" + facts.render(paint, 2);
}

Result<json::Value> ingest_one(Session& session, const std::string& file, const std::string& project) {
  Api* api = STELLA_TRY(session.api());
  Call call{.method = "POST", .path = "/sboms", .query = {{"wait", std::string(kServerWait)}}, .content_type = "application/json"};
  if (!project.empty()) call.query.emplace_back("project", project);
  if (file == "-") {
    call.body = STELLA_TRY(read_document(file, limits::kSbomBytes));
  } else {
    if (STELLA_TRY(is_gzip(file))) call.content_encoding = "gzip";
    call.body_path = file;
  }
  call.timeout = std::chrono::minutes(10);
  Progress progress(session.console(), "upload", 100);
  call.on_upload = [&](std::uint64_t sent, std::uint64_t total) {
    if (total > (4u << 20)) progress.update(sent * 100 / total, human_bytes(total));
  };
  json::Value sbom = STELLA_TRY(api->json(call));
  progress.clear();
  const bool existed = sbom.boolean("existed");
  if (sbom.str("state") == "received") {
    sbom = STELLA_TRY(api->poll("/sboms/" + path_segment(sbom.str("sbom_id")), {}, kPatience, [](const json::Value& row) { return row.str("state") != "received"; }));
    sbom.set("existed", existed);
  }
  return sbom;
}

Result<int> ingest(Session& session, const Args& args) {
  int code = kExitDone;
  json::Array rows;
  for (const std::string& file : args.files) {
    auto sbom = ingest_one(session, file, args.project);
    std::optional<Error> failed;
    if (!sbom) failed = std::move(sbom.error());
    else if (const json::Value* error = sbom->find("error"); sbom->str("state") != "computed") failed = recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object());
    if (failed && args.files.size() == 1) return about_document(std::move(*failed), file);
    if (failed) {
      session.console().err(render_error(about_document(std::move(*failed), file), session.console().err_palette()));
      code = kExitFailed;
      continue;
    }
    if (!session.machine()) session.console().out(summary(*sbom, session.console().out_palette()));
    rows.push_back(std::move(*sbom));
  }
  const bool single = args.files.size() == 1;
  if (session.machine() && single) session.show(rows.at(0), [] { return std::string(); });
  if (session.machine() && !single) session.show_list(json::Value::object({{"items", std::move(rows)}}), [] { return std::string(); });
  else if (!session.machine() && single) session.console().note("next: stella evaluate --sbom " + std::string(rows.at(0).str("sbom_id")) + "\n");
  return code;
}

Result<int> list(Session& session, const Args& args) {
  return show_rows(session, "/sboms", {}, args.limit, {{"SBOM"}, {"STATE"}, {"DOCUMENT", false, true}, {"FORMAT"}, {"COMPONENTS", true}, {"RECEIVED"}},
                   [](const json::Value& s) -> std::vector<Cell> {
                     const json::Value* counts = s.find("counts");
                     const bool counted_yet = counts != nullptr && counts->find("components") != nullptr;
                     return {s.str("sbom_id"), word(s.str("state")), s.str("document_name"), s.str("source_format"), counted_yet ? count_of(*counts, "components") : "-", short_time(s.str("received_at"), Timestamp::now())};
                   },
                   "no SBOMs yet: stella sbom ingest FILE");
}

Result<int> show(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const std::string path = "/sboms/" + path_segment(args.id);
  if (args.components)
    return show_rows(session, path + "/components", {}, args.limit, {{"#", true}, {"ECOSYSTEM"}, {"NAME", false, true}, {"VERSION", false, true}, {"PROBLEM", false, true}},
                     [](const json::Value& c) -> std::vector<Cell> {
                       return {with_commas(c.integer("index")), c.str("ecosystem"), c.str("name").empty() ? c.str("label") : c.str("name"), c.str("version"), Cell(std::string(c.str("problem")), Style::kYellow)};
                     },
                     "no components");
  const json::Value sbom = STELLA_TRY(api->get(path));
  session.show(sbom, [&] {
    std::string out = summary(sbom, session.console().out_palette());
    if (const json::Value* error = sbom.find("error"); error != nullptr && error->is_object()) out += render_error(recorded_error(*error), session.console().out_palette());
    return out;
  });
  return kExitDone;
}

}  // namespace

void register_sbom(App& app) {
  auto args = std::make_shared<Args>();
  app.command("sbom", "Software bills of materials.");
  app.command("sbom ingest", "Send SBOMs (CycloneDX 1.4-1.6, SPDX 2.2-2.3 JSON; gzip is fine) and wait until they are computed.")
      .argument("FILE", &args->files, "Documents; - is stdin.", {.required = true, .value = "FILE"})
      .option("--project", &args->project, "The project they belong to (default: the tenant's first).", {.value = "SLUG"})
      .run([args](Session& s) { return ingest(s, *args); });
  add_limit(app.command("sbom list", "SBOMs, newest first.").run([args](Session& s) { return list(s, *args); }), &args->limit);
  add_limit(app.command("sbom show", "One SBOM.")
                .argument("SBOM", &args->id, "Its id.")
                .option("--components", &args->components, "Its components instead.")
                .run([args](Session& s) { return show(s, *args); }),
            &args->limit);
}

}  // namespace stella::cli
