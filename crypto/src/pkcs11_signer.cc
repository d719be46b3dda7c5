// Signing with a P-256 key inside a PKCS#11 token.
#include "pkcs11_token.h"
#include "stella/base/ids.h"
#include "stella/crypto/digest.h"

namespace stella::crypto {
namespace {

constexpr std::string_view kPrime256v1("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 10);
constexpr std::size_t kPointBytes = 65;  // 04, x, y
constexpr std::size_t kRawBytes = 64;

class Pkcs11Signer final : public Signer {
 public:
  Pkcs11Signer(std::shared_ptr<Pkcs11Object> key, PublicKey public_key) : key_(std::move(key)), public_(std::move(public_key)) {}
  const PublicKey& public_key() const override { return public_; }
  // The token signs the digest (CKM_ECDSA) and answers r || s.
  Result<std::string> sign(std::string_view message) const override {
    const Sha256 digest = sha256(message);
    std::string raw(kRawBytes, '\0');
    CK_ULONG size = raw.size();
    STELLA_TRY_VOID(key_->run("the token does not sign", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
      CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
      size = raw.size();
      if (const CK_RV rv = module.C_SignInit(session.handle, &mechanism, session.object); rv != CKR_OK) return rv;
      return module.C_Sign(session.handle, const_cast<CK_BYTE*>(digest.bytes().data()), Sha256::kSize, reinterpret_cast<CK_BYTE*>(raw.data()), &size);
    }));
    if (size != kRawBytes) return Error(base_errors::kIo, "the token's signature is not one of P-256").with("token", key_->uri().token).with("actual", size);
    return ecdsa_raw_to_der(raw);
  }

 private:
  std::shared_ptr<Pkcs11Object> key_;
  PublicKey public_;
};

Error not_p256(const KeyUri& uri) {
  return Error(base_errors::kInvalid, "the token's key is not a P-256 key").with("token", uri.token).with("object", uri.object);
}

// CKA_EC_POINT is a DER OCTET STRING of the point; some tokens give the bare point.
Result<PublicKey> key_of_point(const KeyUri& uri, std::string_view point) {
  if (point.size() == kPointBytes + 2 && point.starts_with(std::string_view("\x04\x41", 2))) point.remove_prefix(2);
  if (point.size() != kPointBytes || point[0] != 4) return not_p256(uri);
  return PublicKey::from_coordinates(point.substr(1, 32), point.substr(33));
}

Result<PublicKey> public_key_of(const KeyUri& uri, std::string_view pin, Pkcs11Object& private_key) {
  const std::string params = STELLA_TRY(private_key.attribute(CKA_EC_PARAMS));
  if (!params.empty() && params != kPrime256v1) return not_p256(uri);
  const std::string point = STELLA_TRY(pkcs11_public_point(uri, pin, private_key, CKK_EC));
  return key_of_point(uri, point);
}

class Pkcs11KeyProvider final : public KeyProvider {
 public:
  Result<std::unique_ptr<Signer>> open(const KeyUri& uri, SecretBytes given) const override {
    if (uri.scheme != KeyUri::Scheme::kPkcs11) return Error(base_errors::kInvalid, "not a key URI").with("field", "scheme").with("expected", "pkcs11");
    const SecretBytes pin = STELLA_TRY(detail::pin_for(uri, std::move(given)));
    const ObjectQuery query{.object_class = CKO_PRIVATE_KEY, .key_type = CKK_EC, .label = uri.object, .id = uri.id};
    auto key = STELLA_TRY(Pkcs11Object::open(uri, SecretBytes(pin.view()), query));
    PublicKey public_key = STELLA_TRY(public_key_of(uri, pin.view(), *key));
    auto signer = std::make_unique<Pkcs11Signer>(std::move(key), std::move(public_key));
    STELLA_TRY_VOID(pkcs11_prove_pair(uri, *signer, [](const PublicKey& key, std::string_view text, const std::string& signature) { return key.verify_der(text, signature); }));
    return std::unique_ptr<Signer>(std::move(signer));
  }
};

}  // namespace

const KeyProvider& pkcs11_key_provider() {
  static const Pkcs11KeyProvider provider;
  return provider;
}

}  // namespace stella::crypto
