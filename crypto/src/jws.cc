// ES256 tokens and JWK sets.
#include "stella/crypto/jws.h"

#include <algorithm>

#include "stella/base/encoding.h"

namespace stella::crypto {

json::Value jwk(const PublicKey& key) {
  return json::Value::object({{"kty", "EC"},
                              {"crv", "P-256"},
                              {"x", base64url_encode(key.x())},
                              {"y", base64url_encode(key.y())},
                              {"use", "sig"},
                              {"alg", "ES256"},
                              {"kid", key.id().str()}});
}

json::Value jwk_set(std::span<const PublicKey> keys) {
  json::Array list;
  for (const auto& key : keys) list.push_back(jwk(key));
  return json::Value::object({{"keys", std::move(list)}});
}

Result<PublicKey> key_from_jwk(const json::Value& value) {
  if (value.str("kty") != "EC" || value.str("crv") != "P-256")
    return Error(base_errors::kInvalid, "not a P-256 JWK").with("field", "kty").with("expected", "EC with crv P-256");
  const std::string x = STELLA_TRY(base64_decode(value.str("x")));
  const std::string y = STELLA_TRY(base64_decode(value.str("y")));
  return PublicKey::from_coordinates(x, y);
}

Result<std::vector<PublicKey>> keys_from_jwk_set(const json::Value& set) {
  std::vector<PublicKey> out;
  for (const auto& value : set.items("keys")) {
    if (value.str("kty") != "EC" || value.str("crv") != "P-256" || (value.find("use") != nullptr && value.str("use") != "sig")) continue;
    out.push_back(STELLA_TRY(key_from_jwk(value)));
  }
  return out;
}

Result<std::string> jwt_sign(const Signer& signer, const json::Value& claims, std::string_view type) {
  const auto header = json::Value::object({{"alg", "ES256"}, {"kid", signer.public_key().id().str()}, {"typ", type}});
  std::string token = base64url_encode(json::dump(header)) + "." + base64url_encode(json::dump(claims));
  const std::string der = STELLA_TRY(signer.sign(token));
  const std::string raw = STELLA_TRY(ecdsa_der_to_raw(der));
  return token.append(".").append(base64url_encode(raw));
}

namespace {

Error bad_token(std::string field, std::string expected) {
  return Error(base_errors::kInvalid, "not an acceptable token").with("field", std::move(field)).with("expected", std::move(expected));
}

// base64_decode takes both alphabets; JOSE knows one, without padding.
Result<std::string> decode_part(std::string_view part) {
  if (part.find_first_of("+/=") != std::string_view::npos) return bad_token("encoding", "base64url without padding");
  auto bytes = base64_decode(part);
  if (!bytes) return bad_token("encoding", "base64url without padding");
  return bytes;
}

bool same_text_any_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

Result<void> check_header(const json::Value& header, std::string_view type) {
  if (header.str("alg") != "ES256") return bad_token("alg", "ES256");
  if (header.find("crit") != nullptr) return bad_token("crit", "absent");
  if (header.find("typ") != nullptr && !same_text_any_case(header.str("typ"), type)) return bad_token("typ", std::string(type));
  return {};
}

}  // namespace

Result<json::Value> jwt_verify(std::string_view token, std::span<const PublicKey> keys, std::string_view type) {
  if (token.size() > kTokenBytes) return Error(base_errors::kLimit, "token is too long").with("limit", kTokenBytes);
  const auto first = token.find('.');
  const auto second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) return bad_token("token", "three parts");
  const std::string header_text = STELLA_TRY(decode_part(token.substr(0, first)));
  const std::string claims_text = STELLA_TRY(decode_part(token.substr(first + 1, second - first - 1)));
  const std::string signature = STELLA_TRY(decode_part(token.substr(second + 1)));
  const json::Value header = STELLA_TRY(json::parse(header_text, {.max_bytes = kTokenBytes, .max_depth = 4}));
  STELLA_TRY_VOID(check_header(header, type));
  const auto kid = header.str("kid");
  const auto key = std::find_if(keys.begin(), keys.end(), [&](const PublicKey& k) { return k.id().str() == kid; });
  if (key == keys.end()) return bad_token("kid", "a key of the set");
  if (!key->verify_raw(token.substr(0, second), signature)) return bad_token("signature", "ES256 by the key that kid names");
  json::Value claims = STELLA_TRY(json::parse(claims_text, {.max_bytes = kTokenBytes, .max_depth = 16}));
  if (!claims.is_object()) return bad_token("claims", "an object");
  return claims;
}

namespace {

// NumericDate: seconds, possibly with a fraction.
Result<std::int64_t> numeric_date(const json::Value& claims, Literal name, bool required, std::int64_t fallback) {
  const json::Value* value = claims.find(name.view());
  if (value == nullptr && !required) return fallback;
  if (value == nullptr || !value->is_number() || value->as_double() < 0 || value->as_double() > 253'402'300'799.0)
    return bad_token(std::string(name.view()), "seconds since 1970");
  return value->is_int() ? value->as_int() : static_cast<std::int64_t>(value->as_double());
}

bool has_audience(const json::Value& claims, std::string_view audience) {
  const json::Value* aud = claims.find("aud");
  if (aud == nullptr) return false;
  if (aud->is_string()) return aud->as_string() == audience;
  if (!aud->is_array()) return false;
  return std::any_of(aud->as_array().begin(), aud->as_array().end(),
                     [&](const json::Value& one) { return one.is_string() && one.as_string() == audience; });
}

}  // namespace

Result<void> jwt_check_claims(const json::Value& claims, const ClaimExpectation& expected) {
  const std::int64_t now = expected.now.seconds();
  const std::int64_t leeway = expected.leeway.count();
  const std::int64_t exp = STELLA_TRY(numeric_date(claims, "exp", true, 0));
  const std::int64_t nbf = STELLA_TRY(numeric_date(claims, "nbf", false, now));
  const std::int64_t iat = STELLA_TRY(numeric_date(claims, "iat", false, now));
  if (now >= exp + leeway) return bad_token("exp", "a time to come");
  if (nbf > now + leeway) return bad_token("nbf", "a time past");
  if (iat > now + leeway) return bad_token("iat", "a time past");
  if (!expected.issuer.empty() && claims.str("iss") != expected.issuer) return bad_token("iss", std::string(expected.issuer));
  if (!expected.audience.empty() && !has_audience(claims, expected.audience)) return bad_token("aud", std::string(expected.audience));
  return {};
}

}  // namespace stella::crypto
