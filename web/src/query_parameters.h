// Pieces of a request that more than one handler reads.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/platform/http_server.h"

namespace stella::web {

// All parameters of a raw query string, decoded, in their order. kMalformed for a bad escape.
Result<std::vector<std::pair<std::string, std::string>>> query_parameters(std::string_view query);

struct Route;
// The names that a route takes, parted by blanks; "" of one that takes none.
std::string_view known_parameters(std::string_view method, std::string_view path);
// kInvalid where a route that takes parameters is given another one: a misspelt filter would show everything.
Result<void> no_other_parameters(const Route& route, std::string_view query);

// The token of the Authorization header. kUnauthenticated where there is none.
Result<std::string> bearer_token(const http::Request& request);

}  // namespace stella::web
