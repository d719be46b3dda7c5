// AWS Signature Version 4: signs a request by header or as a URL. Pure functions, thread-safe. Against the published vectors in sigv4_test.cc.
// libcurl 7.88 neither sorts the query nor sends the content hash, so its own signer is not used.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/telemetry/secret.h"

namespace stella::objects::sigv4 {

struct Credentials {
  std::string access_key_id;
  Secret<std::string> secret_access_key;
  Secret<std::string> session_token;  // empty: none
};

struct Scope {
  std::string region;
  std::string service = "s3";
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

// In the place of the payload's digest; only where TLS protects the body.
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

struct Request {
  std::string method = "GET";
  std::string path = "/";  // decoded: the bytes of the key, not percent-encoded
  Pairs query;             // decoded
  Pairs headers;           // with Host; x-amz-date and x-amz-security-token are added here
  std::string payload_hash;  // SHA-256 in hexadecimal, or kUnsignedPayload
  bool https = true;
  bool normalize_path = false;  // S3 never does: `a/../b` is a key of its own. Other services do.
};

struct Signature {
  std::string canonical_request;
  std::string string_to_sign;
  std::string signature;
  Pairs added;  // headers to send besides those of the request (sign), or query parameters to append in this order (presign)
};

// `Authorization` over all headers of the request. kInvalid for kUnsignedPayload without TLS, a missing Host or payload hash.
Result<Signature> sign(const Request& request, const Credentials& credentials, const Scope& scope, Timestamp now);
// The same as query parameters: whoever has the URL may send the request until `life` has passed (1 s to 7 days, else kInvalid). The URL is a
// secret for that time.
Result<Signature> presign(const Request& request, const Credentials& credentials, const Scope& scope, Timestamp now, std::chrono::seconds life);

// The path and the sorted query as they must be sent: every byte but unreserved ones (and '/' in the path) as %XX.
std::string encode_path(std::string_view path);
std::string encode_query(const Pairs& query);

}  // namespace stella::objects::sigv4
