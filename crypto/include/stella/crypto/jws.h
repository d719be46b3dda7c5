// ES256 tokens: compact JWS with JWT claims (RFC 7515, 7519) and JWK sets (RFC 7517). One algorithm; a token cannot choose another.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/crypto/keys.h"

namespace stella::crypto {

inline constexpr std::size_t kTokenBytes = 16u << 10;

// {"kty":"EC","crv":"P-256","x","y","use":"sig","alg":"ES256","kid"}; kid = the key's KeyId.
json::Value jwk(const PublicKey& key);
// {"keys":[…]}
json::Value jwk_set(std::span<const PublicKey> keys);
Result<PublicKey> key_from_jwk(const json::Value& jwk);
// The P-256 signing keys of a set; other key types are skipped, a malformed P-256 key is an error.
Result<std::vector<PublicKey>> keys_from_jwk_set(const json::Value& set);

// Header {"alg":"ES256","kid":…,"typ":…}; claims are written as given.
Result<std::string> jwt_sign(const Signer& signer, const json::Value& claims, std::string_view type = "JWT");

// The claims of a token whose signature verifies with the key its `kid` names. Refused (kInvalid): every other alg, `crit`, unknown kid,
// padding or the standard alphabet in base64, typ other than `type` (case-insensitive). Says nothing about time, issuer or audience.
Result<json::Value> jwt_verify(std::string_view token, std::span<const PublicKey> keys, std::string_view type = "JWT");

// What a token must claim. Empty issuer or audience = not checked.
struct ClaimExpectation {
  std::string_view issuer;
  std::string_view audience;
  Timestamp now;
  std::chrono::seconds leeway{30};
};
// `exp` is required; `nbf` and `iat` are honoured where present; `aud` may be a string or an array. kInvalid with field and expected.
Result<void> jwt_check_claims(const json::Value& claims, const ClaimExpectation& expected);

}  // namespace stella::crypto
