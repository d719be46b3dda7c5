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

// The token of the Authorization header. kUnauthenticated where there is none.
Result<std::string> bearer_token(const http::Request& request);

}  // namespace stella::web
