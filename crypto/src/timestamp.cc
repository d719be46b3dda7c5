// RFC 3161 requests, and authorities asked through a callback.
#include "stella/crypto/timestamp.h"

#include <openssl/ts.h>

#include <algorithm>
#include <set>

#include "openssl.h"

namespace stella::crypto {
namespace {

constexpr std::size_t kNonceBytes = 8;
constexpr std::size_t kMaxNonceBytes = 20;

using TsReqPtr = std::unique_ptr<TS_REQ, Freer<TS_REQ_free>>;
using TsImprintPtr = std::unique_ptr<TS_MSG_IMPRINT, Freer<TS_MSG_IMPRINT_free>>;
using ObjectPtr = std::unique_ptr<ASN1_OBJECT, Freer<ASN1_OBJECT_free>>;
using IntegerPtr = std::unique_ptr<ASN1_INTEGER, Freer<ASN1_INTEGER_free>>;
using BnPtr = std::unique_ptr<BIGNUM, Freer<BN_free>>;

// 62 random bits in eight bytes that begin with 01: every INTEGER has the same size, so every request has.
std::string fresh_nonce() {
  std::string nonce(kNonceBytes, '\0');
  fill_random(nonce.data(), nonce.size());
  nonce[0] = static_cast<char>((nonce[0] & 0x3f) | 0x40);
  return nonce;
}

Error out_of_memory() { return Error(base_errors::kInternal, "OpenSSL cannot build a timestamp request"); }

Result<void> set_imprint(TS_REQ* request, const Sha256& imprint) {
  const TsImprintPtr made(TS_MSG_IMPRINT_new());
  const AlgorPtr algorithm(X509_ALGOR_new());
  // With a NULL parameter, as everyone sends it (RFC 5754 §2 would leave it out).
  if (!made || !algorithm || X509_ALGOR_set0(algorithm.get(), OBJ_nid2obj(NID_sha256), V_ASN1_NULL, nullptr) != 1 ||
      TS_MSG_IMPRINT_set_algo(made.get(), algorithm.get()) != 1 ||
      TS_MSG_IMPRINT_set_msg(made.get(), const_cast<unsigned char*>(imprint.bytes().data()), Sha256::kSize) != 1 ||
      TS_REQ_set_msg_imprint(request, made.get()) != 1)
    return out_of_memory();
  return {};
}

Result<void> set_policy(TS_REQ* request, std::string_view policy) {
  const ObjectPtr oid(OBJ_txt2obj(std::string(policy).c_str(), 1));
  if (!oid) return Error(base_errors::kInvalid, "not a timestamp policy").with("field", "policy").with("expected", "a dotted object identifier");
  if (TS_REQ_set_policy_id(request, oid.get()) != 1) return out_of_memory();
  return {};
}

Result<void> set_nonce(TS_REQ* request, std::string_view nonce) {
  const BnPtr number(BN_bin2bn(bytes_of(nonce), static_cast<int>(nonce.size()), nullptr));
  const IntegerPtr integer(number ? BN_to_ASN1_INTEGER(number.get(), nullptr) : nullptr);
  if (!integer || TS_REQ_set_nonce(request, integer.get()) != 1) return out_of_memory();
  return {};
}

}  // namespace

Result<TimestampRequest> timestamp_request(const Sha256& imprint, std::string_view policy, std::string_view nonce) {
  const ErrorQueueGuard guard;
  if (nonce.size() > kMaxNonceBytes) return Error(base_errors::kInvalid, "nonce too long").with("field", "nonce").with("expected", "at most 20 bytes");
  TimestampRequest out{.der = {}, .imprint = imprint, .nonce = nonce.empty() ? fresh_nonce() : std::string(nonce)};
  const TsReqPtr request(TS_REQ_new());
  if (!request || TS_REQ_set_version(request.get(), 1) != 1 || TS_REQ_set_cert_req(request.get(), 1) != 1) return out_of_memory();
  STELLA_TRY_VOID(set_imprint(request.get(), imprint));
  if (!policy.empty()) STELLA_TRY_VOID(set_policy(request.get(), policy));
  STELLA_TRY_VOID(set_nonce(request.get(), out.nonce));
  unsigned char* der = nullptr;
  const int size = i2d_TS_REQ(request.get(), &der);
  if (size <= 0) return out_of_memory();
  out.der.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

Result<ObtainedTimestamp> obtain_timestamp(const Sha256& imprint, const TimestampAuthority& authority) {
  const auto& policies = authority.policies;
  const TimestampRequest request = STELLA_TRY(timestamp_request(imprint, policies.empty() ? std::string_view() : std::string_view(policies.front())));
  std::string response = STELLA_TRY(authority.post(request.der));
  const TimestampDemands demands{.nonce = request.nonce, .policies = policies};
  VerifiedTimestamp verified = STELLA_TRY(verify_timestamp(response, TimestampSubject::digest(imprint), authority.trust, demands));
  return ObtainedTimestamp{.authority = authority.name, .response = std::move(response), .verified = std::move(verified)};
}

Result<std::vector<ObtainedTimestamp>> timestamp_quorum(std::size_t needed, const Sha256& imprint, std::span<const TimestampAuthority> authorities) {
  if (needed == 0) return Error(base_errors::kInvalid, "a quorum needs an authority").with("field", "needed").with("expected", "at least 1");
  std::vector<ObtainedTimestamp> out;
  std::string said;
  const auto note = [&said](const std::string& name, const std::string& text) { said += (said.empty() ? "" : "; ") + name + ": " + text; };
  for (const auto& authority : authorities) {
    if (out.size() == needed) break;
    auto obtained = obtain_timestamp(imprint, authority);
    if (!obtained) {
      note(authority.name, obtained.error().describe());
      continue;
    }
    const auto same = [&](const ObtainedTimestamp& o) { return o.verified.signer == obtained->verified.signer; };
    if (const auto twin = std::find_if(out.begin(), out.end(), same); twin != out.end()) {
      note(authority.name, "same certificate as " + twin->authority);
      continue;
    }
    out.push_back(std::move(*obtained));
  }
  if (out.size() < needed)
    return Error(base_errors::kInvalid, "too few timestamp authorities answered").with("expected", needed).with("actual", out.size()).with("authorities", said);
  return out;
}

std::size_t distinct_timestamp_signers(std::span<const VerifiedTimestamp> timestamps) {
  std::set<Sha256> signers;
  for (const auto& timestamp : timestamps) signers.insert(timestamp.signer);
  return signers.size();
}

}  // namespace stella::crypto
