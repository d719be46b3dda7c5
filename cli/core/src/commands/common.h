// What several commands share.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/cli/app.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/session.h"
#include "stella/cli/table.h"

namespace stella::cli {

// The server waits this long by itself (?wait=); then we ask again and again.
inline constexpr std::string_view kServerWait = "20";
inline constexpr std::chrono::minutes kPatience{30};

// A local file, or stdin for "-". kNotFound with a remedy.
Result<std::string> read_document(const std::string& path, std::uint64_t max_bytes);

// A list command: fetches up to `limit` items and prints them as a table with `columns`, one row per item.
Result<int> show_rows(Session& session, std::string path, Query query, std::int64_t limit, std::vector<Column> columns, const std::function<std::vector<Cell>(const json::Value&)>& row,
                      std::string_view none);
// "--limit": how many items a list shows; 0 is all.
void add_limit(Command& command, std::int64_t* limit);

// 0 as "0", others with commas.
std::string count_of(const json::Value& counts, std::string_view name);

// ", 2 tokens ended" where a change ended some, else "".
std::string ended_tokens(const json::Value& reply);

// One per file: login.cc, account.cc, tenant.cc, …
void register_login(App& app);
void register_account(App& app);
void register_tenant(App& app);
void register_keys(App& app);
void register_principal(App& app);
void register_sbom(App& app);
void register_ingest(App& app);
void register_linkset(App& app);
void register_policy(App& app);
void register_evaluate(App& app);
void register_findings(App& app);
void register_compare(App& app);
void register_export(App& app);
void register_job(App& app);

}  // namespace stella::cli
