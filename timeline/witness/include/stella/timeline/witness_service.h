// The witness over HTTP: POST /add-checkpoint.
#pragma once

#include <memory>

#include "stella/base/result.h"
#include "stella/platform/http_server.h"
#include "stella/timeline/witness_store.h"

namespace stella::timeline {

// Serves until the server is destroyed; `store` outlives it.
Result<std::unique_ptr<http::Server>> serve_witness(http::ServerOptions options, WitnessStore& store);

}  // namespace stella::timeline
