// Verification of RFC 3161 responses. OpenSSL's CMS and X.509 code checks the signature, the chain and ESSCertID(v2); its TS code is not used
// to verify, because it would (1) take the chain's time from the clock or from its caller, not from genTime, (2) accept further extended key
// usages that it has no name for beside timeStamping, (3) accept SHA-1, bytes behind the response, and unknown critical extensions.
#include <openssl/cms.h>
#include <openssl/ess.h>
#include <openssl/pem.h>
#include <openssl/ts.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "openssl.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/timestamp.h"

namespace stella::crypto {
namespace {

constexpr int kMaxCertificates = 64;  // in one token; real ones hold at most four
constexpr int kChainDepth = 8;
constexpr int kSecurityLevel = 2;     // 112 bits: RSA from 2048 bits on, no SHA-1 in certificates

void free_stack(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
void free_crls(STACK_OF(X509_CRL) * stack) { sk_X509_CRL_pop_free(stack, X509_CRL_free); }

using CmsPtr = std::unique_ptr<CMS_ContentInfo, Freer<CMS_ContentInfo_free>>;
using TstPtr = std::unique_ptr<TS_TST_INFO, Freer<TS_TST_INFO_free>>;
using StatusPtr = std::unique_ptr<TS_STATUS_INFO, Freer<TS_STATUS_INFO_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreCtxPtr = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using X509StackPtr = std::unique_ptr<STACK_OF(X509), Freer<free_stack>>;
using CrlStackPtr = std::unique_ptr<STACK_OF(X509_CRL), Freer<free_crls>>;
using EkuPtr = std::unique_ptr<EXTENDED_KEY_USAGE, Freer<EXTENDED_KEY_USAGE_free>>;
using EssPtr = std::unique_ptr<ESS_SIGNING_CERT, Freer<ESS_SIGNING_CERT_free>>;
using EssV2Ptr = std::unique_ptr<ESS_SIGNING_CERT_V2, Freer<ESS_SIGNING_CERT_V2_free>>;
using BnPtr = std::unique_ptr<BIGNUM, Freer<BN_free>>;

struct Certificates {
  StorePtr store;        // the anchors
  X509StackPtr anchors;  // again, to look a pinned signer up
  X509StackPtr others;
  CrlStackPtr revocations;
};

Error malformed(std::string_view expected) {
  return Error(base_errors::kMalformed, "not a timestamp response").with("expected", std::string(expected));
}
Error refused(std::string_view field, std::string expected, std::string actual = {}) {
  Error error = Error(base_errors::kInvalid, "the timestamp does not hold").with("field", std::string(field)).with("expected", std::move(expected));
  if (!actual.empty()) error.add("actual", std::move(actual));
  return error;
}
Error out_of_memory() { return Error(base_errors::kInternal, "OpenSSL has no memory for a timestamp"); }

std::string dotted(const ASN1_OBJECT* object) {
  char text[128];
  const int size = OBJ_obj2txt(text, sizeof text, object, 1);
  return {text, static_cast<std::size_t>(std::clamp(size, 0, static_cast<int>(sizeof text) - 1))};
}

int blocks_of(std::string_view pem, std::string_view begin) {
  int out = 0;
  for (auto at = pem.find(begin); at != std::string_view::npos; at = pem.find(begin, at + 1)) ++out;
  return out;
}

// The certificates of a PEM text; its revocation lists go into `revocations`.
Result<X509StackPtr> read_certificates(std::string_view pem, STACK_OF(X509_CRL) * revocations) {
  const int lists = blocks_of(pem, "-----BEGIN X509 CRL-----"), certificates = blocks_of(pem, "-----BEGIN ") - lists;
  X509StackPtr out(sk_X509_new_null());
  if (!out) return out_of_memory();
  if (certificates + lists == 0) return out;
  const auto other = [] { return Error(base_errors::kMalformed, "not a list of certificates").with("expected", "PEM, BEGIN CERTIFICATE and BEGIN X509 CRL, nothing else"); };
  // Each reader passes over what the other one takes.
  const BioPtr bio = memory_bio(pem), again = memory_bio(pem);
  if (!bio || !again) return out_of_memory();
  for (int i = 0; i < certificates; ++i) {
    X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
    if (certificate == nullptr) return other();
    if (sk_X509_push(out.get(), certificate) == 0) {
      X509_free(certificate);
      return out_of_memory();
    }
  }
  for (int i = 0; i < lists; ++i) {
    X509_CRL* list = PEM_read_bio_X509_CRL(again.get(), nullptr, nullptr, nullptr);
    if (list == nullptr) return other();
    if (sk_X509_CRL_push(revocations, list) == 0) {
      X509_CRL_free(list);
      return out_of_memory();
    }
  }
  return out;
}

// ---- the response around the token

std::string failure_names(const TS_STATUS_INFO* status) {
  constexpr std::array<std::pair<int, const char*>, 8> kNames{{{TS_INFO_BAD_ALG, "badAlg"},
                                                              {TS_INFO_BAD_REQUEST, "badRequest"},
                                                              {TS_INFO_BAD_DATA_FORMAT, "badDataFormat"},
                                                              {TS_INFO_TIME_NOT_AVAILABLE, "timeNotAvailable"},
                                                              {TS_INFO_UNACCEPTED_POLICY, "unacceptedPolicy"},
                                                              {TS_INFO_UNACCEPTED_EXTENSION, "unacceptedExtension"},
                                                              {TS_INFO_ADD_INFO_NOT_AVAILABLE, "addInfoNotAvailable"},
                                                              {TS_INFO_SYSTEM_FAILURE, "systemFailure"}}};
  std::string out;
  const ASN1_BIT_STRING* bits = TS_STATUS_INFO_get0_failure_info(status);
  for (const auto& [bit, name] : kNames)
    if (bits != nullptr && ASN1_BIT_STRING_get_bit(bits, bit) != 0) out += (out.empty() ? "" : ",") + std::string(name);
  return out;
}

Result<void> check_granted(const TS_STATUS_INFO* status) {
  constexpr std::array<const char*, 6> kNames{"granted", "grantedWithMods", "rejection", "waiting", "revocationWarning", "revocationNotification"};
  std::int64_t value = -1;
  if (ASN1_INTEGER_get_int64(&value, TS_STATUS_INFO_get0_status(status)) != 1 || value < 0 || value >= static_cast<std::int64_t>(kNames.size()))
    return malformed("PKIStatus 0 to 5");
  if (value <= TS_STATUS_GRANTED_WITH_MODS) return {};
  Error error = refused("status", "granted", kNames[static_cast<std::size_t>(value)]);
  if (std::string names = failure_names(status); !names.empty()) error.add("failure", std::move(names));
  return error;
}

// The TimeStampToken of a granted response: what follows PKIStatusInfo in the outer SEQUENCE.
Result<std::string_view> token_of(std::string_view response) {
  if (response.size() > kTimestampBytes)
    return Error(base_errors::kLimit, "timestamp response too long").with("limit", kTimestampBytes).with("actual", response.size());
  const unsigned char* p = bytes_of(response);
  const unsigned char* const end = p + response.size();
  long size = 0;
  int tag = 0;
  int tag_class = 0;
  const int form = ASN1_get_object(&p, &size, &tag, &tag_class, static_cast<long>(response.size()));
  if (form != V_ASN1_CONSTRUCTED || tag != V_ASN1_SEQUENCE || tag_class != V_ASN1_UNIVERSAL) return malformed("DER SEQUENCE");
  if (end - p != size) return malformed("nothing behind the response");
  const StatusPtr status(d2i_TS_STATUS_INFO(nullptr, &p, size));
  if (!status) return malformed("PKIStatusInfo");
  STELLA_TRY_VOID(check_granted(status.get()));
  if (p == end) return malformed("a token in a granted response");
  return std::string_view(reinterpret_cast<const char*>(p), static_cast<std::size_t>(end - p));
}

// ---- the token: CMS SignedData around a TSTInfo

struct Token {
  CmsPtr cms;
  CMS_SignerInfo* signer = nullptr;  // owned by cms
  TstPtr info;
};

bool is_sha2(const ASN1_OBJECT* algorithm) {
  const int nid = OBJ_obj2nid(algorithm);
  return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

Result<Token> parse_token(std::string_view bytes) {
  if (bytes.size() > kTimestampBytes) return Error(base_errors::kLimit, "timestamp token too long").with("limit", kTimestampBytes).with("actual", bytes.size());
  const unsigned char* p = bytes_of(bytes);
  Token token;
  token.cms.reset(d2i_CMS_ContentInfo(nullptr, &p, static_cast<long>(bytes.size())));
  if (!token.cms) return malformed("CMS ContentInfo");
  if (p != bytes_of(bytes) + bytes.size()) return malformed("nothing behind the token");
  if (OBJ_obj2nid(CMS_get0_type(token.cms.get())) != NID_pkcs7_signed) return malformed("CMS SignedData");
  if (OBJ_obj2nid(CMS_get0_eContentType(token.cms.get())) != NID_id_smime_ct_TSTInfo) return malformed("content type id-ct-TSTInfo");
  STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(token.cms.get());
  if (sk_CMS_SignerInfo_num(signers) != 1) return refused("signers", "exactly one", std::to_string(std::max(0, sk_CMS_SignerInfo_num(signers))));
  token.signer = sk_CMS_SignerInfo_value(signers, 0);
  ASN1_OCTET_STRING** content = CMS_get0_content(token.cms.get());
  if (content == nullptr || *content == nullptr) return malformed("a TSTInfo inside the token");
  p = ASN1_STRING_get0_data(*content);
  const unsigned char* const end = p + ASN1_STRING_length(*content);
  token.info.reset(d2i_TS_TST_INFO(nullptr, &p, end - p));
  if (!token.info || p != end || TS_TST_INFO_get_version(token.info.get()) != 1) return malformed("one TSTInfo, version 1");
  return token;
}

// The single value of a signed attribute; null where it is absent. An attribute that is there twice, or of another type, is an error.
Result<const ASN1_STRING*> signed_attribute(CMS_SignerInfo* signer, int nid, int type) {
  if (CMS_signed_get_attr_by_NID(signer, nid, -1) < 0) return nullptr;
  const auto* value = static_cast<const ASN1_STRING*>(CMS_signed_get0_data_by_OBJ(signer, OBJ_nid2obj(nid), -3, type));
  if (value == nullptr) return refused("signed attributes", "each once and well-formed", OBJ_nid2sn(nid));
  return value;
}

Result<void> check_signed_attributes(CMS_SignerInfo* signer) {
  X509_ALGOR* digest = nullptr;
  CMS_SignerInfo_get0_algs(signer, nullptr, nullptr, &digest, nullptr);
  const ASN1_OBJECT* algorithm = nullptr;
  X509_ALGOR_get0(&algorithm, nullptr, nullptr, digest);
  if (!is_sha2(algorithm)) return refused("digest algorithm", "SHA-256, SHA-384 or SHA-512", dotted(algorithm));
  // Without this a signature made for another content type would pass for one of a TSTInfo.
  if (CMS_signed_get_attr_by_NID(signer, NID_pkcs9_contentType, -1) < 0) return refused("signed attributes", "contentType");
  const auto* type = static_cast<const ASN1_OBJECT*>(CMS_signed_get0_data_by_OBJ(signer, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT));
  if (type == nullptr || OBJ_obj2nid(type) != NID_id_smime_ct_TSTInfo) return refused("signed attributes", "contentType id-ct-TSTInfo");
  return {};
}

// ---- the signer's certificate and its chain

Result<void> check_usage(const X509* certificate) {
  const int at = X509_get_ext_by_NID(certificate, NID_ext_key_usage, -1);
  if (at < 0) return refused("signer certificate", "extended key usage timeStamping", "none");
  if (X509_get_ext_by_NID(certificate, NID_ext_key_usage, at) >= 0) return refused("signer certificate", "one extended key usage extension");
  if (X509_EXTENSION_get_critical(X509_get_ext(certificate, at)) == 0) return refused("signer certificate", "a critical extended key usage");
  const EkuPtr usages(static_cast<EXTENDED_KEY_USAGE*>(X509_get_ext_d2i(certificate, NID_ext_key_usage, nullptr, nullptr)));
  if (!usages || sk_ASN1_OBJECT_num(usages.get()) != 1 || OBJ_obj2nid(sk_ASN1_OBJECT_value(usages.get(), 0)) != NID_time_stamp)
    return refused("signer certificate", "timeStamping as the sole extended key usage");
  return {};
}

Result<X509StackPtr> chain_of(X509* signer, STACK_OF(X509) * links, const Certificates& trust, std::time_t at) {
  const StoreCtxPtr context(X509_STORE_CTX_new());
  if (!context || X509_STORE_CTX_init(context.get(), trust.store.get(), signer, links) != 1) return out_of_memory();
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_depth(param, kChainDepth);
  X509_VERIFY_PARAM_set_auth_level(param, kSecurityLevel);
  X509_VERIFY_PARAM_set_time(param, at);
  if (X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_TIMESTAMP_SIGN) != 1) return out_of_memory();
  if (X509_verify_cert(context.get()) != 1)
    return refused("signer certificate", "a chain to a trusted authority at that time", X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  X509StackPtr chain(X509_STORE_CTX_get1_chain(context.get()));
  if (!chain) return out_of_memory();
  return chain;
}

// ESSCertID and ESSCertIDv2 bind the signature to one certificate: another one with the same key and name does not do.
Result<void> check_ess(CMS_SignerInfo* signer, STACK_OF(X509) * chain) {
  const ASN1_STRING* v1 = STELLA_TRY(signed_attribute(signer, NID_id_smime_aa_signingCertificate, V_ASN1_SEQUENCE));
  const ASN1_STRING* v2 = STELLA_TRY(signed_attribute(signer, NID_id_smime_aa_signingCertificateV2, V_ASN1_SEQUENCE));
  if (v1 == nullptr && v2 == nullptr) return refused("signed attributes", "ESSCertID or ESSCertIDv2");
  EssPtr ess;
  EssV2Ptr ess2;
  if (v1 != nullptr) {
    const unsigned char* p = ASN1_STRING_get0_data(v1);
    ess.reset(d2i_ESS_SIGNING_CERT(nullptr, &p, ASN1_STRING_length(v1)));
    if (!ess) return refused("signed attributes", "a well-formed ESSCertID");
  }
  if (v2 != nullptr) {
    const unsigned char* p = ASN1_STRING_get0_data(v2);
    ess2.reset(d2i_ESS_SIGNING_CERT_V2(nullptr, &p, ASN1_STRING_length(v2)));
    if (!ess2) return refused("signed attributes", "a well-formed ESSCertIDv2");
  }
  if (OSSL_ESS_check_signing_certs(ess.get(), ess2.get(), chain, 1) != 1) return refused("signer certificate", "the one that ESSCertID names");
  return {};
}

// The chain, signer first.
Result<X509StackPtr> check_candidate(const Token& token, X509* candidate, STACK_OF(X509) * links, const Certificates& trust, std::time_t at) {
  STELLA_TRY_VOID(check_usage(candidate));
  X509StackPtr chain = STELLA_TRY(chain_of(candidate, links, trust, at));
  STELLA_TRY_VOID(check_ess(token.signer, chain.get()));
  CMS_SignerInfo_set1_signer_cert(token.signer, candidate);
  if (CMS_verify(token.cms.get(), nullptr, nullptr, nullptr, nullptr, CMS_NO_SIGNER_CERT_VERIFY | CMS_NOINTERN | CMS_BINARY) != 1)
    return refused("signature", "one that verifies with the signer's certificate");
  return chain;
}

// The signer is found by issuer and serial number (or key identifier), never by position. Several certificates may claim to be it; one must hold.
Result<X509StackPtr> check_signer(const Token& token, const Certificates& trust, std::time_t at) {
  const X509StackPtr inside(CMS_get1_certs(token.cms.get()));
  if (inside && sk_X509_num(inside.get()) > kMaxCertificates) return refused("certificates", "at most 64", std::to_string(sk_X509_num(inside.get())));
  const X509StackPtr links(sk_X509_new_null());
  if (!links) return out_of_memory();
  for (STACK_OF(X509) * part : {inside.get(), trust.others.get()})
    if (part != nullptr && X509_add_certs(links.get(), part, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP) != 1) return out_of_memory();
  Error last = refused("signer certificate", "inside the token or among the given certificates", "none");
  for (STACK_OF(X509) * part : {links.get(), trust.anchors.get()}) {
    for (int i = 0; i < sk_X509_num(part); ++i) {
      X509* candidate = sk_X509_value(part, i);
      if (CMS_SignerInfo_cert_cmp(token.signer, candidate) != 0) continue;
      auto checked = check_candidate(token, candidate, links.get(), trust, at);
      if (checked) return checked;
      last = std::move(checked.error());
    }
  }
  return last;
}

// ---- what the TSTInfo says

Result<Timestamp> gen_time(const TS_TST_INFO* info) {
  const ASN1_GENERALIZEDTIME* time = TS_TST_INFO_get_time(info);
  const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(time)), static_cast<std::size_t>(ASN1_STRING_length(time)));
  constexpr std::size_t kSeconds = 14;  // YYYYMMDDhhmmss
  if (text.size() <= kSeconds || text.substr(0, kSeconds).find_first_not_of("0123456789") != std::string_view::npos) return malformed("genTime YYYYMMDDhhmmss[.f]Z");
  const auto part = [&](std::size_t at, std::size_t size = 2) { return std::string(text.substr(at, size)); };
  auto parsed = Timestamp::parse(part(0, 4) + "-" + part(4) + "-" + part(6) + "T" + part(8) + ":" + part(10) + ":" + part(12) + std::string(text.substr(kSeconds)));
  if (!parsed || !text.ends_with('Z')) return malformed("genTime YYYYMMDDhhmmss[.f]Z");
  return parsed;
}

Result<std::optional<std::chrono::microseconds>> accuracy(TS_TST_INFO* info) {
  TS_ACCURACY* given = TS_TST_INFO_get_accuracy(info);
  if (given == nullptr) return std::optional<std::chrono::microseconds>();
  std::int64_t total = 0;
  const auto add = [&total](const ASN1_INTEGER* part, std::int64_t unit, std::int64_t most) {
    std::int64_t value = 0;
    if (part == nullptr) return true;
    if (ASN1_INTEGER_get_int64(&value, part) != 1 || value < 0 || value > most) return false;
    total += value * unit;
    return true;
  };
  if (!add(TS_ACCURACY_get_seconds(given), 1'000'000, 1'000'000'000) || !add(TS_ACCURACY_get_millis(given), 1'000, 999) || !add(TS_ACCURACY_get_micros(given), 1, 999))
    return malformed("an accuracy of seconds, milliseconds 0 to 999, microseconds 0 to 999");
  return std::optional(std::chrono::microseconds(total));
}

std::string number_hex(const ASN1_INTEGER* number) {
  const BnPtr value(ASN1_INTEGER_to_BN(number, nullptr));
  if (!value) return {};
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(value.get())), '\0');
  BN_bn2bin(value.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  std::string hex = hex_encode(bytes);
  hex.erase(0, std::min(hex.find_first_not_of('0'), hex.size()));
  if (hex.empty()) hex = "0";
  return BN_is_negative(value.get()) ? "-" + hex : hex;
}

Result<void> check_imprint(TS_TST_INFO* info, const TimestampSubject& subject) {
  TS_MSG_IMPRINT* imprint = TS_TST_INFO_get_msg_imprint(info);
  const ASN1_OBJECT* algorithm = nullptr;
  X509_ALGOR_get0(&algorithm, nullptr, nullptr, TS_MSG_IMPRINT_get_algo(imprint));
  const ASN1_OCTET_STRING* stamped = TS_MSG_IMPRINT_get_msg(imprint);
  const std::string_view actual(reinterpret_cast<const char*>(ASN1_STRING_get0_data(stamped)), static_cast<std::size_t>(ASN1_STRING_length(stamped)));
  if (!is_sha2(algorithm)) return refused("imprint algorithm", "SHA-256, SHA-384 or SHA-512", dotted(algorithm));
  std::string expected;
  if (subject.sha256()) {
    if (OBJ_obj2nid(algorithm) != NID_sha256) return refused("imprint algorithm", "SHA-256", OBJ_nid2sn(OBJ_obj2nid(algorithm)));
    expected = subject.sha256()->view();
  } else {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const auto message = subject.bytes();
    if (EVP_Digest(message.data(), message.size(), digest, &size, EVP_get_digestbyobj(algorithm), nullptr) != 1) return out_of_memory();
    expected.assign(reinterpret_cast<char*>(digest), size);
  }
  if (actual != expected) return refused("imprint", hex_encode(expected), hex_encode(actual.substr(0, EVP_MAX_MD_SIZE)));
  return {};
}

Result<void> check_demands(TS_TST_INFO* info, const TimestampDemands& demands) {
  if (TS_TST_INFO_get_ext_by_critical(info, 1, -1) >= 0) return refused("extensions", "none that is critical");
  if (!demands.nonce.empty()) {
    const ASN1_INTEGER* nonce = TS_TST_INFO_get_nonce(info);
    const BnPtr expected(BN_bin2bn(bytes_of(demands.nonce), static_cast<int>(demands.nonce.size()), nullptr));
    const BnPtr actual(nonce == nullptr ? nullptr : ASN1_INTEGER_to_BN(nonce, nullptr));
    if (!expected) return out_of_memory();
    if (!actual || BN_cmp(expected.get(), actual.get()) != 0)
      return refused("nonce", hex_encode(demands.nonce), nonce == nullptr ? "none" : number_hex(nonce));
  }
  const std::string policy = dotted(TS_TST_INFO_get_policy_id(info));
  if (!demands.policies.empty() && std::find(demands.policies.begin(), demands.policies.end(), policy) == demands.policies.end())
    return refused("policy", "one of the allowed policies", policy);
  return {};
}

Result<std::string> der_of(const X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return out_of_memory();
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

std::optional<Timestamp> timestamp_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  return Timestamp::from_micros(static_cast<std::int64_t>(::timegm(&parts)) * 1'000'000);
}

struct Revocation {
  Timestamp at;
  bool doubtful = true;  // earlier stamps, too
};

// RFC 3161 §4: of an authority that ended in order, and says so, earlier stamps stay good. A compromise may have begun before it was written down.
Result<Revocation> revocation_of(const X509_REVOKED* entry) {
  const auto at = timestamp_of(X509_REVOKED_get0_revocationDate(entry));
  if (!at) return malformed("revocations with a date");
  Revocation out{.at = *at};
  const std::unique_ptr<ASN1_ENUMERATED, Freer<ASN1_ENUMERATED_free>> reason(static_cast<ASN1_ENUMERATED*>(X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, nullptr, nullptr)));
  const long value = reason ? ASN1_ENUMERATED_get(reason.get()) : -1;
  out.doubtful = value != CRL_REASON_UNSPECIFIED && value != CRL_REASON_AFFILIATION_CHANGED && value != CRL_REASON_SUPERSEDED && value != CRL_REASON_CESSATION_OF_OPERATION;
  const std::unique_ptr<ASN1_GENERALIZEDTIME, Freer<ASN1_GENERALIZEDTIME_free>> since(static_cast<ASN1_GENERALIZEDTIME*>(X509_REVOKED_get_ext_d2i(entry, NID_invalidity_date, nullptr, nullptr)));
  if (const auto earlier = timestamp_of(since.get()); earlier && out.doubtful) out.at = std::min(out.at, *earlier);
  return out;
}

Result<void> check_list(X509_CRL* list, X509* certificate, VerifiedTimestamp& out) {
  X509_REVOKED* entry = nullptr;
  if (X509_CRL_get0_by_cert(list, &entry, certificate) != 1) return {};
  const Revocation revoked = STELLA_TRY(revocation_of(entry));
  if (revoked.at <= out.gen_time) return refused("signer certificate", "a chain of which nothing was revoked at that time", "revoked at " + revoked.at.rfc3339_seconds());
  if (revoked.doubtful && (!out.revoked || revoked.at < *out.revoked)) out.revoked = revoked.at;
  return {};
}

// Each certificate of the chain before the lists that an issuer of it signed. The chain ends at the first anchor, whose own issuer is among the
// other certificates where somebody trusts both.
Result<void> check_revocations(STACK_OF(X509) * chain, const Certificates& trust, VerifiedTimestamp& out) {
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* certificate = sk_X509_value(chain, i);
    for (int k = 0; k < sk_X509_CRL_num(trust.revocations.get()); ++k) {
      X509_CRL* list = sk_X509_CRL_value(trust.revocations.get(), k);
      bool ours = false;
      for (const auto* known : {chain, trust.anchors.get(), trust.others.get()}) {
        for (int j = 0; j < sk_X509_num(known) && !ours; ++j) {
          X509* issuer = sk_X509_value(known, j);
          ours = X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(issuer)) == 0 && X509_check_issued(issuer, certificate) == X509_V_OK && X509_CRL_verify(list, X509_get0_pubkey(issuer)) == 1;
        }
      }
      if (ours) STELLA_TRY_VOID(check_list(list, certificate, out));
    }
  }
  return {};
}

Result<void> describe_chain(STACK_OF(X509) * chain, VerifiedTimestamp& out) {
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    const X509* certificate = sk_X509_value(chain, i);
    out.chain.push_back(STELLA_TRY(der_of(certificate)));
    const auto at = timestamp_of(X509_get0_notAfter(certificate));
    if (!at) return malformed("certificates with an end");
    if (i == 0 || *at < out.chain_ends) out.chain_ends = *at;
  }
  out.signer = sha256(out.chain.front());
  const BioPtr name(BIO_new(BIO_s_mem()));
  if (!name || X509_NAME_print_ex(name.get(), X509_get_subject_name(sk_X509_value(chain, 0)), 0, XN_FLAG_RFC2253) < 0) return out_of_memory();
  out.signer_name = bio_text(name.get());
  return {};
}

}  // namespace

struct TimestampTrustAccess {
  static const Certificates& of(const TimestampTrust& trust) { return *static_cast<const Certificates*>(trust.certificates_.get()); }
};

Result<TimestampTrust> TimestampTrust::from_pem(std::string_view anchors, std::string_view others) {
  const ErrorQueueGuard guard;
  auto made = std::make_shared<Certificates>();
  made->revocations.reset(sk_X509_CRL_new_null());
  if (!made->revocations) return out_of_memory();
  made->anchors = STELLA_TRY(read_certificates(anchors, made->revocations.get()));
  made->others = STELLA_TRY(read_certificates(others, made->revocations.get()));
  made->store.reset(X509_STORE_new());
  if (!made->store) return out_of_memory();
  if (sk_X509_num(made->anchors.get()) == 0)
    return Error(base_errors::kInvalid, "no trusted timestamp authority").with("field", "anchors").with("expected", "at least one PEM certificate");
  for (int i = 0; i < sk_X509_num(made->anchors.get()); ++i)
    if (X509_STORE_add_cert(made->store.get(), sk_X509_value(made->anchors.get(), i)) != 1) return out_of_memory();
  TimestampTrust trust;
  trust.certificates_ = std::move(made);
  return trust;
}

Result<std::string> timestamp_token(std::string_view response) {
  const ErrorQueueGuard guard;
  return std::string(STELLA_TRY(token_of(response)));
}

Result<VerifiedTimestamp> verify_timestamp(std::string_view response, const TimestampSubject& subject, const TimestampTrust& trust, const TimestampDemands& demands) {
  const ErrorQueueGuard guard;
  const std::string_view token = STELLA_TRY(token_of(response));
  return verify_timestamp_token(token, subject, trust, demands);
}

Result<VerifiedTimestamp> verify_timestamp_token(std::string_view bytes, const TimestampSubject& subject, const TimestampTrust& trust, const TimestampDemands& demands) {
  const ErrorQueueGuard guard;
  const Token token = STELLA_TRY(parse_token(bytes));
  TS_TST_INFO* info = token.info.get();
  VerifiedTimestamp out;
  out.gen_time = STELLA_TRY(gen_time(info));
  out.accuracy = STELLA_TRY(accuracy(info));
  STELLA_TRY_VOID(check_imprint(info, subject));
  STELLA_TRY_VOID(check_demands(info, demands));
  STELLA_TRY_VOID(check_signed_attributes(token.signer));
  const Certificates& certificates = TimestampTrustAccess::of(trust);
  const X509StackPtr chain = STELLA_TRY(check_signer(token, certificates, static_cast<std::time_t>(demands.chain_at.value_or(out.gen_time).seconds())));
  STELLA_TRY_VOID(describe_chain(chain.get(), out));
  STELLA_TRY_VOID(check_revocations(chain.get(), certificates, out));
  out.serial = number_hex(TS_TST_INFO_get_serial(info));
  out.policy = dotted(TS_TST_INFO_get_policy_id(info));
  return out;
}

}  // namespace stella::crypto
