// The commands of this module, one per file.
#pragma once

#include "stella/cli/app.h"

namespace stella::cli {

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

}  // namespace stella::cli
