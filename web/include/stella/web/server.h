// The HTTP API: routes behind the middleware that gives every request its trace, its authorisation, its record and its problem+json.
#pragma once

#include <memory>

#include "stella/platform/http_server.h"
#include "stella/web/context.h"

namespace stella::web {

// Starts serving. The middleware, in order: trace context → route → authenticate → its turn → authorise (decision) → handler → decision row,
// span `api.<template>`, log line, golden-signal metrics, Server-Timing.
Result<std::unique_ptr<http::Server>> start(http::ServerOptions options, Services& services);

// RFC 9457 problem+json for an error; public for tests.
http::Response problem(const Error& error, const TraceId& trace);

}  // namespace stella::web
