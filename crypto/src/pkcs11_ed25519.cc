// Signing with an Ed25519 key inside a PKCS#11 token (PKCS#11 3.0, CKM_EDDSA), and the choice between token and file.
#include "pkcs11_token.h"
#include "stella/crypto/ed25519_provider.h"
#include "stella/crypto/key_provider.h"

namespace stella::crypto {
namespace {

Error not_ed25519(const KeyUri& uri) {
  return Error(base_errors::kInvalid, "the token's key is not an Ed25519 key").with("token", uri.token).with("object", uri.object);
}

class Pkcs11Ed25519Signer final : public Ed25519Signer {
 public:
  Pkcs11Ed25519Signer(std::shared_ptr<Pkcs11Object> key, Ed25519PublicKey public_key) : key_(std::move(key)), public_(std::move(public_key)) {}
  const Ed25519PublicKey& public_key() const override { return public_; }
  // The token hashes: CKM_EDDSA takes the message.
  Result<std::string> sign(std::string_view message) const override {
    std::string raw(kEd25519SignatureBytes, '\0');
    CK_ULONG size = raw.size();
    STELLA_TRY_VOID(key_->run("the token does not sign", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
      CK_MECHANISM mechanism{CKM_EDDSA, nullptr, 0};
      size = raw.size();
      if (const CK_RV rv = module.C_SignInit(session.handle, &mechanism, session.object); rv != CKR_OK) return rv;
      auto* bytes = reinterpret_cast<CK_BYTE*>(const_cast<char*>(message.data()));
      return module.C_Sign(session.handle, bytes, message.size(), reinterpret_cast<CK_BYTE*>(raw.data()), &size);
    }));
    if (size != kEd25519SignatureBytes) return Error(base_errors::kIo, "the token's signature is not one of Ed25519").with("token", key_->uri().token).with("actual", size);
    return raw;
  }

 private:
  std::shared_ptr<Pkcs11Object> key_;
  Ed25519PublicKey public_;
};

// CKA_EC_POINT is a DER OCTET STRING of the 32 bytes; some tokens give them bare.
Result<Ed25519PublicKey> key_of_point(const KeyUri& uri, std::string_view point) {
  if (point.size() == kEd25519KeyBytes + 2 && point.starts_with(std::string_view("\x04\x20", 2))) point.remove_prefix(2);
  if (point.size() != kEd25519KeyBytes) return not_ed25519(uri);
  return Ed25519PublicKey::from_raw(point);
}

Result<std::unique_ptr<Ed25519Signer>> open_in_token(const KeyUri& uri, SecretBytes given) {
  const SecretBytes pin = STELLA_TRY(detail::pin_for(uri, std::move(given)));
  auto key = STELLA_TRY(Pkcs11Object::open(uri, SecretBytes(pin.view()), {.object_class = CKO_PRIVATE_KEY, .key_type = CKK_EC_EDWARDS, .label = uri.object, .id = uri.id}));
  const std::string point = STELLA_TRY(pkcs11_public_point(uri, pin.view(), *key, CKK_EC_EDWARDS));
  Ed25519PublicKey public_key = STELLA_TRY(key_of_point(uri, point));
  auto signer = std::make_unique<Pkcs11Ed25519Signer>(std::move(key), std::move(public_key));
  STELLA_TRY_VOID(pkcs11_prove_pair(uri, *signer, [](const Ed25519PublicKey& own, std::string_view text, const std::string& signature) { return own.verify(text, signature); }));
  return std::unique_ptr<Ed25519Signer>(std::move(signer));
}

}  // namespace

Result<std::unique_ptr<Ed25519Signer>> open_ed25519_signer(std::string_view text, SecretBytes pin) {
  const KeyUri uri = STELLA_TRY(KeyUri::parse(text));
  if (uri.scheme == KeyUri::Scheme::kPkcs11) return open_in_token(uri, std::move(pin));
  const SecretBytes passphrase = STELLA_TRY(detail::pin_for(uri, std::move(pin)));
  Ed25519KeyPair key = STELLA_TRY(Ed25519KeyPair::load(uri.path, passphrase.view()));
  return std::unique_ptr<Ed25519Signer>(std::make_unique<Ed25519KeyPair>(std::move(key)));
}

}  // namespace stella::crypto
