// Files from the server, kept only where they are what they should be.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/cli/api.h"
#include "stella/platform/http_client.h"

namespace stella::cli {

// What was kept, and the answer around it.
struct Downloaded {
  Sha256 sha256;
  std::uint64_t size = 0;
  http::ClientResponse response;  // without its body
};
// Saves the answer's body at `path`, which appears there whole, durable and only with the expected digest: `sha256` (hex), or where that is
// empty the one that the server names in its ETag. kIntegrity: other bytes, or no digest to compare with; nothing is kept then.
Result<Downloaded> download(Api& api, Call call, const std::string& path, std::string_view sha256 = {});

}  // namespace stella::cli
