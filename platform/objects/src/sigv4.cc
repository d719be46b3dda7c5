// Canonical request, string to sign, signature: the four steps of AWS Signature Version 4.
#include "sigv4.h"

#include <algorithm>
#include <map>

#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"

namespace stella::objects::sigv4 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::chrono::seconds kLongestLife{7 * 24 * 3600};

std::string raw(const Sha256& digest) { return hex_decode(digest.hex()).value(); }

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Runs of white space become one space, none at the ends.
std::string squeezed(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (!is_space(c)) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// RFC 3986 §5.2.4, and no empty segments.
std::string normalized(std::string_view path) {
  std::vector<std::string_view> kept;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const auto end = std::min(path.find('/', begin), path.size());
    const auto segment = path.substr(begin, end - begin);
    begin = end + 1;
    if (segment == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (!segment.empty() && segment != ".") {
      kept.push_back(segment);
    }
  }
  std::string out;
  for (const auto segment : kept) out.append("/").append(segment);
  const bool directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
  return out.empty() || directory ? out + "/" : out;
}

// "20150830T123600Z"
std::string basic_time(Timestamp now) {
  std::string text = now.rfc3339_seconds();
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

struct Parts {
  std::string time;
  std::string scope;
  std::map<std::string, std::string> headers;  // lower-case name to squeezed value

  Parts(const Scope& where, Timestamp now) : time(basic_time(now)), scope(time.substr(0, 8) + "/" + where.region + "/" + where.service + "/aws4_request") {}
  void add(const Pairs& more) {
    for (const auto& [name, value] : more) {
      auto& slot = headers[lower(name)];
      slot += (slot.empty() ? "" : ",") + squeezed(value);
    }
  }
  std::string names() const {
    std::string out;
    for (const auto& [name, value] : headers) out += (out.empty() ? "" : ";") + name;
    return out;
  }
};

Result<void> check(const Request& request, const Credentials& credentials) {
  const auto invalid = [](Literal message, std::string field) { return Error(base_errors::kInvalid, message).with("field", std::move(field)); };
  if (credentials.access_key_id.empty() || credentials.secret_access_key.expose().empty()) return invalid("no credentials to sign with", "credentials");
  if (request.payload_hash == kUnsignedPayload && !request.https) return invalid("a payload without TLS must be signed", "payload_hash");
  if (request.payload_hash.empty()) return invalid("a request is signed with its payload's digest", "payload_hash");
  const bool host = std::any_of(request.headers.begin(), request.headers.end(), [](const auto& header) { return lower(header.first) == "host"; });
  if (!host) return invalid("a request is signed with its host", "headers");
  return {};
}

Signature finish(const Request& request, const Pairs& query, const Parts& parts, const Credentials& credentials, const Scope& scope) {
  Signature out;
  out.canonical_request = request.method + "\n" + encode_path(request.normalize_path ? normalized(request.path) : request.path) + "\n" + encode_query(query) + "\n";
  for (const auto& [name, value] : parts.headers) out.canonical_request += name + ":" + value + "\n";
  out.canonical_request += "\n" + parts.names() + "\n" + request.payload_hash;
  out.string_to_sign = std::string(kAlgorithm) + "\n" + parts.time + "\n" + parts.scope + "\n" + crypto::sha256(out.canonical_request).hex();
  Secret<std::string> key("AWS4" + credentials.secret_access_key.expose());
  for (const std::string& step : {parts.time.substr(0, 8), scope.region, scope.service, std::string("aws4_request")}) key = Secret<std::string>(raw(crypto::hmac_sha256(key.expose(), step)));
  out.signature = crypto::hmac_sha256(key.expose(), out.string_to_sign).hex();
  return out;
}

}  // namespace

std::string encode_path(std::string_view path) {
  std::string out;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const auto end = std::min(path.find('/', begin), path.size());
    out += percent_encode(path.substr(begin, end - begin));
    if (end < path.size()) out += '/';
    begin = end + 1;
  }
  return out.empty() ? "/" : out;
}

std::string encode_query(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(percent_encode(name), percent_encode(value));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out.append(out.empty() ? "" : "&").append(name).append("=").append(value);
  return out;
}

Result<Signature> sign(const Request& request, const Credentials& credentials, const Scope& scope, Timestamp now) {
  STELLA_TRY_VOID(check(request, credentials));
  Parts parts(scope, now);
  Pairs added;
  if (!credentials.session_token.expose().empty()) added.emplace_back("X-Amz-Security-Token", credentials.session_token.expose());
  added.emplace_back("X-Amz-Date", parts.time);
  parts.add(request.headers);
  parts.add(added);
  Signature out = finish(request, request.query, parts, credentials, scope);
  added.emplace_back("Authorization", std::string(kAlgorithm) + " Credential=" + credentials.access_key_id + "/" + parts.scope + ", SignedHeaders=" + parts.names() + ", Signature=" + out.signature);
  out.added = std::move(added);
  return out;
}

Result<Signature> presign(const Request& request, const Credentials& credentials, const Scope& scope, Timestamp now, std::chrono::seconds life) {
  STELLA_TRY_VOID(check(request, credentials));
  if (life < std::chrono::seconds(1) || life > kLongestLife) return Error(base_errors::kInvalid, "a signed URL cannot live that long").with("field", std::string("life")).with("expected", std::string("1 s to 7 days"));
  Parts parts(scope, now);
  parts.add(request.headers);
  Pairs added{{"X-Amz-Algorithm", std::string(kAlgorithm)},
              {"X-Amz-Credential", credentials.access_key_id + "/" + parts.scope},
              {"X-Amz-Date", parts.time},
              {"X-Amz-SignedHeaders", parts.names()},
              {"X-Amz-Expires", std::to_string(life.count())}};
  if (!credentials.session_token.expose().empty()) added.emplace_back("X-Amz-Security-Token", credentials.session_token.expose());
  Pairs query = request.query;
  query.insert(query.end(), added.begin(), added.end());
  Signature out = finish(request, query, parts, credentials, scope);
  added.emplace_back("X-Amz-Signature", out.signature);
  out.added = std::move(added);
  return out;
}

}  // namespace stella::objects::sigv4
