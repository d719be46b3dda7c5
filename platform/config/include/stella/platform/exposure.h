// What may leave this machine in the clear: nothing. Judged before anything listens or connects.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella::config {

// An address or name of this machine alone: 127.0.0.0/8, ::1, localhost.
bool is_loopback(std::string_view host);

// The API speaks no TLS. kInvalid where `address` is reached from other machines and no proxy that does is said to stand in front of it, or where
// that one's URL is no https.
Result<void> check_listener(std::string_view address, bool behind_tls_proxy, std::string_view public_url);
// Clients reach it over TLS, so there is a proxy, which nobody told us of: all of them seem to be one.
bool proxy_undeclared(bool behind_tls_proxy, std::string_view public_url);

// What a libpq connection string needs so that its server proves who it is: "" where every host of `hosts` (comma separated; a path is a directory of
// sockets) is this machine. kInvalid where another is named without a file of authorities.
Result<std::string> database_tls(std::string_view hosts, std::string_view ca_file);

}  // namespace stella::config
