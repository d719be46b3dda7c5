// Foreign telemetry, scrubbed before it is kept: what the library does with our own records, done to an OTLP request.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/telemetry/otlp_rows.h"
#include "stella/telemetry/scrub.h"
#include "stella/telemetry/signal.h"

namespace stella::telemetry {

struct OtlpScrubOptions {
  // Resources get this `tenant_id`, whatever they said; "" leaves what they said. From a verified token, never from the request.
  std::string_view tenant;
  // Whose fingerprints and deep debug: ScrubPolicy::for_tenant(tenant of the token).
  ScrubPolicy policy;
  OtlpLimits limits;
};

// The request (protocol buffers) with every text scrubbed: values and keys of attributes at any depth, bodies, names, descriptions,
// messages, states, labels, exemplars, bytes values where they hold text. Besides:
//   secret-like keys (password, authorization, cookie, api_key …)   the whole value becomes `[secret:fingerprint]`, lists and maps too
//   keys that hold a person's name (user.name, enduser.id …)         the value becomes `[name:fingerprint]`
//   URLs                                                            values of signing parameters become REDACTED (semantic conventions)
// Everything else keeps its meaning: numbers, times, order. Texts of the result are UTF-8. Ids of a wrong length go. Of fields that are
// not known, those that could hold text go. A message that is there twice in a resource becomes one.
// Pure; linear in the request; errors as decode_traces(), but only depth and bytes are limited here.
Result<std::string> scrub_otlp(Signal signal, std::string_view request, const OtlpScrubOptions& options = {});

// True where the value of an attribute with this key is a secret by its name alone.
bool is_secret_key(std::string_view key);
// `text` with the values of signing parameters in queries replaced (semantic conventions 1.44, url.query).
std::string redact_query(std::string_view text);

}  // namespace stella::telemetry
