// X.509 certificates of code signers, over OpenSSL.
#include "stella/crypto/certificate.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>

#include "openssl.h"
#include "stella/crypto/digest.h"

namespace stella::crypto {

struct CertificateAccess {
  static X509* x509(const Certificate& c) { return static_cast<X509*>(c.x509_.get()); }
};

namespace {

constexpr std::size_t kMaxBytes = 64u << 10;
constexpr const char* kSctListOid = "1.3.6.1.4.1.11129.2.4.2";

using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreCtxPtr = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;
using ObjectPtr = std::unique_ptr<ASN1_OBJECT, Freer<ASN1_OBJECT_free>>;

struct StackFree {
  void operator()(STACK_OF(X509) * p) const { sk_X509_free(p); }
};
using StackPtr = std::unique_ptr<STACK_OF(X509), StackFree>;

Error malformed(std::string_view what) { return Error(base_errors::kMalformed, "not a certificate").with("expected", std::string(what)); }
Error invalid(std::string_view why) { return Error(base_errors::kInvalid, "the certificate does not hold").with("reason", std::string(why)); }

X509* of(const Certificate& c) { return CertificateAccess::x509(c); }

template <class Write>
std::string der_of(Write write) {
  unsigned char* out = nullptr;
  const int size = write(&out);
  if (size <= 0) return {};
  std::string bytes(reinterpret_cast<char*>(out), static_cast<std::size_t>(size));
  OPENSSL_free(out);
  return bytes;
}

Timestamp time_of(const ASN1_TIME* t) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(t, &parts) != 1) return Timestamp();
  return Timestamp() + std::chrono::seconds(::timegm(&parts));
}

std::string text_of(const ASN1_STRING* s) { return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)), static_cast<std::size_t>(ASN1_STRING_length(s))}; }

// Reads big-endian numbers and length-prefixed bytes; after a failure everything is empty.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number(std::size_t size) {
    std::uint64_t out = 0;
    for (const char c : take(size)) out = out << 8 | static_cast<unsigned char>(c);
    return out;
  }
  std::string_view prefixed(std::size_t size) { return take(number(size)); }
  std::string_view take(std::size_t size) {
    if (size > bytes_.size()) ok_ = false;
    if (!ok_) return {};
    const std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

std::string big_endian(std::uint64_t value, int size) {
  std::string out;
  for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
  return out;
}

// The to-be-signed part without the timestamps: what was in the precertificate.
std::string precertificate(const Certificate& leaf) {
  const X509Ptr copy(X509_dup(of(leaf)));
  const ObjectPtr oid(OBJ_txt2obj(kSctListOid, 1));
  if (!copy || !oid) return {};
  const int at = X509_get_ext_by_OBJ(copy.get(), oid.get(), -1);
  if (at < 0) return {};
  X509_EXTENSION_free(X509_delete_ext(copy.get(), at));
  return der_of([&](unsigned char** out) { return i2d_re_X509_tbs(copy.get(), out); });
}

}  // namespace

Result<Certificate> Certificate::from_der(std::string_view der) {
  const ErrorQueueGuard guard;
  if (der.empty() || der.size() > kMaxBytes) return malformed("DER of 1 to 65536 bytes");
  const unsigned char* at = bytes_of(der);
  X509Ptr x509(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!x509 || at != bytes_of(der) + der.size()) return malformed("one X.509 certificate in DER");
  Certificate out;
  out.der_ = der;
  out.x509_ = {x509.release(), [](void* p) { X509_free(static_cast<X509*>(p)); }};
  return out;
}

Result<Certificate> Certificate::from_pem(std::string_view pem) {
  const ErrorQueueGuard guard;
  if (pem.size() > kMaxBytes) return malformed("PEM of at most 65536 bytes");
  const BioPtr bio = memory_bio(pem);
  const X509Ptr x509(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!x509) return malformed("a PEM certificate");
  const X509Ptr second(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (second) return malformed("one PEM certificate");
  return from_der(der_of([&](unsigned char** out) { return i2d_X509(x509.get(), out); }));
}

std::string Certificate::spki_der() const {
  return der_of([&](unsigned char** out) { return i2d_X509_PUBKEY(X509_get_X509_PUBKEY(of(*this)), out); });
}

std::string Certificate::pem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), of(*this)) != 1) return {};
  return bio_text(bio.get());
}

Timestamp Certificate::not_before() const { return time_of(X509_get0_notBefore(of(*this))); }
Timestamp Certificate::not_after() const { return time_of(X509_get0_notAfter(of(*this))); }

bool Certificate::self_issued() const { return X509_NAME_cmp(X509_get_subject_name(of(*this)), X509_get_issuer_name(of(*this))) == 0; }

std::vector<std::string> Certificate::alternative_names() const {
  const ErrorQueueGuard guard;
  std::vector<std::string> out;
  const NamesPtr names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(of(*this), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_URI) out.push_back(text_of(name->d.uniformResourceIdentifier));
    if (name->type == GEN_EMAIL) out.push_back(text_of(name->d.rfc822Name));
  }
  return out;
}

std::optional<std::string> Certificate::extension(const std::string& oid) const {
  const ErrorQueueGuard guard;
  const ObjectPtr object(OBJ_txt2obj(oid.c_str(), 1));
  const int at = object ? X509_get_ext_by_OBJ(of(*this), object.get(), -1) : -1;
  if (at < 0) return std::nullopt;
  return text_of(X509_EXTENSION_get_data(X509_get_ext(of(*this), at)));
}

Result<std::vector<Certificate>> verify_code_signing_chain(const Certificate& leaf, std::span<const Certificate> anchors, std::span<const Certificate> others, Timestamp at) {
  const ErrorQueueGuard guard;
  // X509_PURPOSE_CODE_SIGN came with OpenSSL 3.2: the two usages are looked at here.
  if ((X509_get_extension_flags(of(leaf)) & EXFLAG_XKUSAGE) == 0 || (X509_get_extended_key_usage(of(leaf)) & XKU_CODE_SIGN) == 0) return invalid("the certificate is not for code signing");
  if ((X509_get_key_usage(of(leaf)) & KU_DIGITAL_SIGNATURE) == 0) return invalid("the certificate is not for digital signatures");
  const StorePtr store(X509_STORE_new());
  const StackPtr untrusted(sk_X509_new_null());
  const StoreCtxPtr context(X509_STORE_CTX_new());
  if (!store || !untrusted || !context) return Error(base_errors::kInternal, "OpenSSL has no memory");
  for (const Certificate& anchor : anchors) X509_STORE_add_cert(store.get(), of(anchor));
  for (const Certificate& other : others) sk_X509_push(untrusted.get(), of(other));
  if (X509_STORE_CTX_init(context.get(), store.get(), of(leaf), untrusted.get()) != 1) return Error(base_errors::kInternal, "OpenSSL cannot build a chain");
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(rules, static_cast<std::time_t>(at.micros() / 1'000'000));
  X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_auth_level(rules, 2);
  if (X509_verify_cert(context.get()) != 1) return invalid(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  std::vector<Certificate> out;
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_chain(context.get());
  for (int i = 0; i < sk_X509_num(chain); ++i) out.push_back(STELLA_TRY(Certificate::from_der(der_of([&](unsigned char** der) { return i2d_X509(sk_X509_value(chain, i), der); }))));
  return out;
}

Result<std::vector<CertificateTimestamp>> certificate_timestamps(const Certificate& leaf, const Certificate& issuer) {
  const ErrorQueueGuard guard;
  std::vector<CertificateTimestamp> out;
  const auto value = leaf.extension(kSctListOid);
  if (!value) return out;
  const unsigned char* at = bytes_of(*value);
  const std::unique_ptr<ASN1_OCTET_STRING, Freer<ASN1_OCTET_STRING_free>> inner(d2i_ASN1_OCTET_STRING(nullptr, &at, static_cast<long>(value->size())));
  if (!inner) return malformed("a list of Signed Certificate Timestamps");
  const std::string bytes = text_of(inner.get());
  const std::string tbs = precertificate(leaf);
  if (tbs.empty() || tbs.size() >= 1u << 24) return malformed("a certificate that was a precertificate");
  Reader outer(bytes);
  Reader list(outer.prefixed(2));
  if (!outer.done()) return malformed("a list of Signed Certificate Timestamps");
  while (!list.done()) {
    Reader sct(list.prefixed(2));
    if (!list.ok()) return malformed("a list of Signed Certificate Timestamps");
    const std::uint64_t version = sct.number(1);
    CertificateTimestamp one;
    one.log_id = sct.take(32);
    const std::uint64_t millis = sct.number(8);
    const std::string_view extensions = sct.prefixed(2);
    const std::uint64_t hash = sct.number(1), algorithm = sct.number(1);
    one.signature = sct.prefixed(2);
    if (!sct.done() || version != 0 || hash != 4 || algorithm != 3 || millis > (1ull << 52)) continue;
    one.time = Timestamp() + std::chrono::milliseconds(millis);
    // version, signature_type certificate_timestamp, timestamp, entry_type precert_entry, issuer key hash, TBSCertificate, extensions
    one.signed_bytes = std::string(2, '\0') + big_endian(millis, 8) + big_endian(1, 2) + std::string(sha256(issuer.spki_der()).view()) + big_endian(tbs.size(), 3) + tbs + big_endian(extensions.size(), 2) +
                       std::string(extensions);
    out.push_back(std::move(one));
  }
  return out;
}

bool verify_digest(const PublicKey& key, const Sha256& digest, std::string_view der_signature) {
  const ErrorQueueGuard guard;
  const unsigned char* at = bytes_of(key.spki_der());
  const PkeyPtr pkey(d2i_PUBKEY(nullptr, &at, static_cast<long>(key.spki_der().size())));
  const std::unique_ptr<EVP_PKEY_CTX, Freer<EVP_PKEY_CTX_free>> context(pkey ? EVP_PKEY_CTX_new(pkey.get(), nullptr) : nullptr);
  // The same strictness as PublicKey::verify_der: one spelling per signature.
  if (!context || !ecdsa_der_to_raw(der_signature)) return false;
  return EVP_PKEY_verify_init(context.get()) == 1 && EVP_PKEY_CTX_set_signature_md(context.get(), EVP_sha256()) == 1 &&
         EVP_PKEY_verify(context.get(), bytes_of(der_signature), der_signature.size(), digest.bytes().data(), Sha256::kSize) == 1;
}

}  // namespace stella::crypto
