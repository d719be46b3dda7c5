// RFC 3161 timestamps: requests, verification of responses, and n of m authorities. Pure: bytes go out and come in through a callback.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"

namespace stella::crypto {

// HTTP (RFC 3161 §3.4): POST the request with the first, expect the second.
inline constexpr std::string_view kTimestampQueryType = "application/timestamp-query";
inline constexpr std::string_view kTimestampReplyType = "application/timestamp-reply";
// Real responses have 1 to 8 KB; nothing longer is parsed.
inline constexpr std::size_t kTimestampBytes = 64u << 10;

struct TimestampRequest {
  std::string der;    // TimeStampReq: version 1, SHA-256, nonce, certReq; 69 bytes without a policy
  Sha256 imprint;
  std::string nonce;  // big-endian, as verify_timestamp expects it
};

// `policy` is a dotted object identifier, "" = the authority's choice. `nonce`: at most 20 bytes, "" = 8 random ones. kInvalid.
Result<TimestampRequest> timestamp_request(const Sha256& imprint, std::string_view policy = {}, std::string_view nonce = {});

// Whom the caller trusts to tell the time. A cheap, immutable value; thread-safe.
class TimestampTrust {
 public:
  // PEM certificates. `anchors` end a chain (a root, or any certificate that is pinned by standing here); `others` may only link: they never
  // give trust. Either may hold revocation lists (X509 CRL) too: what the issuer of a certificate signed about it counts. kMalformed for anything
  // else, kInvalid where there is no anchor.
  static Result<TimestampTrust> from_pem(std::string_view anchors, std::string_view others = {});

 private:
  friend struct TimestampTrustAccess;
  TimestampTrust() = default;
  std::shared_ptr<const void> certificates_;
};

// What was stamped: a digest, or a message whose digest is taken with the algorithm the token names (SHA-256, SHA-384, SHA-512).
class TimestampSubject {
 public:
  static TimestampSubject digest(const Sha256& sha256) { return TimestampSubject(sha256, {}); }
  // `message` must outlive the subject.
  static TimestampSubject message(std::string_view message) { return TimestampSubject(std::nullopt, message); }
  const std::optional<Sha256>& sha256() const { return sha256_; }
  std::string_view bytes() const { return message_; }

 private:
  TimestampSubject(std::optional<Sha256> sha256, std::string_view message) : sha256_(sha256), message_(message) {}
  std::optional<Sha256> sha256_;
  std::string_view message_;
};

// Demands beyond the imprint; the defaults demand nothing.
struct TimestampDemands {
  std::string nonce{};                       // "" = not compared (a stored token, whose request is gone)
  std::vector<std::string> policies{};       // dotted; empty = any
  std::optional<Timestamp> chain_at{};       // when the chain must hold; absent = at genTime, which is what a stored token needs
};

struct VerifiedTimestamp {
  Timestamp gen_time;                                  // cut to microseconds
  std::optional<std::chrono::microseconds> accuracy;   // absent = the authority says nothing
  std::string serial;                                  // lower-case hex, no leading zeros
  std::string policy;                                  // dotted
  Sha256 signer;                                       // SHA-256 of the certificate's DER: authorities are counted by it
  std::string signer_name;                             // RFC 2253, for people
  std::vector<std::string> chain;                      // DER, signer first, anchor last: archive it beside the token
  Timestamp chain_ends;                                // the first notAfter of the chain: renew before it
  std::optional<Timestamp> revoked{};                  // after genTime, for a reason that makes earlier stamps doubtful (RFC 3161 §4)

  // The last moment at which it proves anything by itself: a later stamp over it must be of before.
  Timestamp ends() const { return revoked && *revoked <= chain_ends ? *revoked - std::chrono::microseconds(1) : chain_ends; }
};

// A whole TimeStampResp (status granted or grantedWithMods) or, with the second, the bare TimeStampToken. All of this must hold:
//   - nothing follows the response, the token or the TSTInfo in it; exactly one signer; SHA-2 for imprint and signature
//   - content type TSTInfo, in the signed attributes too; the signature verifies; ESSCertID or ESSCertIDv2 names the signer
//   - the signer's certificate has timeStamping as its sole extended key usage, critical, and no key usage but signing
//   - the chain reaches an anchor of `trust` at genTime; no root needs to be inside. None of it was revoked by then, as far as `trust` has
//     revocation lists; none is asked for.
//   - imprint, nonce and policy are what the caller demands
// kMalformed for what is no response, kLimit, kInvalid with `field` for a response that does not hold or was not granted.
Result<VerifiedTimestamp> verify_timestamp(std::string_view response, const TimestampSubject& subject, const TimestampTrust& trust,
                                           const TimestampDemands& demands = {});
Result<VerifiedTimestamp> verify_timestamp_token(std::string_view token, const TimestampSubject& subject, const TimestampTrust& trust,
                                                 const TimestampDemands& demands = {});

// The bytes of the TimeStampToken inside a granted response, unverified.
Result<std::string> timestamp_token(std::string_view response);

// Sends a TimeStampReq and returns the body of the reply. Blocks as long as it likes; errors pass through.
using TimestampPost = std::function<Result<std::string>(std::string_view request)>;

struct TimestampAuthority {
  std::string name;  // for messages
  TimestampPost post;
  TimestampTrust trust;
  std::vector<std::string> policies{};  // see TimestampDemands; the first one is asked for
};

struct ObtainedTimestamp {
  std::string authority;
  std::string response;  // as received: what is stored
  VerifiedTimestamp verified;
};

// One request with a fresh nonce, its reply verified.
Result<ObtainedTimestamp> obtain_timestamp(const Sha256& imprint, const TimestampAuthority& authority);

// Asks one authority after the other until timestamps of `needed` (≥ 1) different certificates are there. Two authorities with one
// certificate are one authority. kInvalid with `expected`, `actual` and what each authority said where there are too few.
Result<std::vector<ObtainedTimestamp>> timestamp_quorum(std::size_t needed, const Sha256& imprint, std::span<const TimestampAuthority> authorities);

// How many different certificates signed: the n of "n of m authorities" for stored tokens.
std::size_t distinct_timestamp_signers(std::span<const VerifiedTimestamp> timestamps);

}  // namespace stella::crypto
