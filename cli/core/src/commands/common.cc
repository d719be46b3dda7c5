// What several commands share, and the lists of registrations.
#include "common.h"

#include "stella/base/file.h"
#include "stella/cli/commands.h"

namespace stella::cli {

Result<std::string> read_document(const std::string& path, std::uint64_t max_bytes) {
  auto bytes = path == "-" ? read_fd(0, max_bytes) : read_file(path, max_bytes);
  if (!bytes && bytes.error().code() == base_errors::kNotFound) return Error(base_errors::kNotFound, "no such file").with("path", path).with("remedy", "Check the path.");
  return bytes;
}

void add_limit(Command& command, std::int64_t* limit) { command.option("--limit", limit, "How many to show; 0 shows all.", {.value = "N"}); }

Result<int> show_rows(Session& session, std::string path, Query query, std::int64_t limit, std::vector<Column> columns, const std::function<std::vector<Cell>(const json::Value&)>& row,
                      std::string_view none) {
  Api* api = STELLA_TRY(session.api());
  const json::Value list = STELLA_TRY(api->list(std::move(path), std::move(query), static_cast<int>(limit)));
  session.show_list(list, [&] {
    if (list.items("items").empty()) return std::string(none) + "\n";
    Table table(std::move(columns));
    for (const json::Value& item : list.items("items")) table.row(row(item));
    return table.render(session.console().out_palette(), session.console().width());
  });
  if (!list.find("next_cursor")->is_null() && !session.machine()) session.console().note("these are the first " + with_commas(static_cast<std::int64_t>(list.items("items").size())) + "; --limit 0 shows all\n");
  return kExitDone;
}

std::string count_of(const json::Value& counts, std::string_view name) { return with_commas(counts.integer(name)); }

void register_access(App& app) {
  register_login(app);
  register_account(app);
  register_tenant(app);
  register_principal(app);
  register_keys(app);
}

void register_documents(App& app) {
  register_sbom(app);
  register_ingest(app);
  register_linkset(app);
  register_policy(app);
}

void register_evaluations(App& app) {
  register_evaluate(app);
  register_findings(app);
  register_compare(app);
  register_export(app);
  register_job(app);
}

std::string ended_tokens(const json::Value& reply) {
  const std::int64_t n = reply.integer("ended_tokens");
  return n == 0 ? "" : ", " + counted(n, "token") + " ended";
}

}  // namespace stella::cli
