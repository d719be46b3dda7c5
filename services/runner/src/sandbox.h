// How a child isolates itself before it touches anything hostile.
#pragma once

#include "protocol.h"
#include "stella/base/result.h"

namespace stella::runner {

// The kernel's Landlock ABI, 0 where there is none.
int landlock_abi();

// The Landlock layer alone: from here on no file can be opened, made, removed or executed by path. Needs no_new_privs. kUnavailable
// where the kernel has no Landlock.
Result<void> deny_files();

// No new privileges, resource limits, Landlock without a single rule, the list of allowed system calls. Irreversible; for the calling
// process, which must be single-threaded. `landlock` false leaves Landlock out. Nothing hostile may have been read before.
Result<void> enter_sandbox(const Limits& limits, bool landlock);

}  // namespace stella::runner
