// What an exchange has to do with its trace: the headers that go out, and what the answer says of it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/platform/http_client.h"
#include "stella/telemetry/span.h"

namespace stella::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// What a call from `context` carries (propagation.h).
Headers trace_headers(const telemetry::Context& context);

// Whether a Server-Timing header (W3C: `name;param=value;…, …`) holds the metric `keep` with desc=1.
bool asks_to_keep(std::string_view server_timing);

// The span's share of an exchange: method, host, status, error, and, of our own services, whether the callee wants the trace kept. Semantic conventions: every
// status from 400 on is an error of a client span.
void tell(telemetry::Span& span, std::string_view method, std::string_view host, const Result<ClientResponse>& response, bool foreign);

}  // namespace stella::http
