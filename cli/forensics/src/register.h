// The commands of this module, one per file.
#pragma once

#include <string_view>

#include "stella/cli/app.h"

namespace stella::cli {

// Where the renewals of a bundle's timestamps lie: its path, and this.
inline constexpr std::string_view kRenewalsSuffix = ".renewals.tar";

void register_snapshot(App& app);
void register_get(App& app);
void register_verify(App& app);
void register_verify_script(App& app);
void register_redact(App& app);
void register_replay(App& app);
void register_attest(App& app);
void register_hold(App& app);
void register_case(App& app);
void register_custody(App& app);
void register_dispositions(App& app);

}  // namespace stella::cli
