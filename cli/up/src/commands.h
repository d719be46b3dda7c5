// One registration per file.
#pragma once

#include <string>

#include "checks.h"
#include "layout.h"
#include "state.h"
#include "stella/cli/app.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/session.h"
#include "stella/cli/table.h"

namespace stella::cli::up {

// `stella up` where another one is just starting.
inline constexpr int kExitBusy = 3;

void register_start(App& app);   // up
void register_stop(App& app);    // down
void register_look(App& app);    // status, doctor
void register_demo(App& app);    // demo
void register_witness(App& app);  // witness

// The checks as a table with remedies below; only those at `least` or worse.
std::string checks_text(const std::vector<Check>& checks, Verdict least, const Palette& paint, std::size_t width);
json::Value checks_json(const std::vector<Check>& checks);

inline constexpr const char* kDataDirHelp = "Directory of the platform's data (default: STELLA_DATA_DIR, else /var/lib/stella for root, else ~/.local/share/stella).";

}  // namespace stella::cli::up
