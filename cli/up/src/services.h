// How each part is started and when it counts as ready.
#pragma once

#include <sys/types.h>

#include "files.h"
#include "layout.h"
#include "stella/platform/process.h"

namespace stella::cli::up {

// A part with its log, as `user`; the caller adds how it is ready.
process::Service service(const Layout& layout, const std::string& name, std::vector<std::string> argv, const std::optional<process::User>& user);
// Keeps the log of a part that runs from growing without end: over `limit` its bytes go to path.1 in one's place, and it begins anew. The part goes on
// appending to the same file; what it writes in that very moment may be lost.
void shorten_log(const std::string& path, off_t limit = 64 << 20);
// The last lines of stellad or the runner, read with no more rights than theirs; "" for other parts.
std::string last_lines(const Layout& layout, std::string_view part);
process::Service postgres_service(const Layout& layout);
process::Service nats_service(const Layout& layout, const Ports& ports);
process::Service stellad_service(const Layout& layout, const Ports& ports, const config::Settings& settings, const std::string& url);
process::Service runner_service(const Layout& layout, const Ports& ports, const config::Settings& settings);

// nats-server.conf, by `stellad --nats-config`.
Result<void> write_nats_config(const Layout& layout);
// Logins, migrations, keys, first tenant and operators, by `stellad --init`. True where operators were made now.
Result<bool> init_platform(const Layout& layout);

// True where the server says that it is ready.
bool web_ready(const std::string& url);

}  // namespace stella::cli::up
