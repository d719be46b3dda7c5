// libFuzzer entry: any bytes as a Sigstore bundle (with a key, and as by a certificate), as a trusted root, as a certificate, as a VSA.
// Nothing may be accepted: the key signed nothing and the trusted root trusts nobody.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/evidence/format/sigstore.h"
#include "stella/evidence/format/vsa_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella;
  using namespace stella::evidence;
  static const crypto::PublicKey stranger = crypto::KeyPair::generate()->public_key();
  static const SigstoreTrust nobody;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  SigstoreExpectation expected;
  expected.trust = &nobody;
  expected.identity = "https://example.com/signer";
  expected.issuer = "https://example.com/issuer";
  if (verify_sigstore_blob(bytes, Sha256(), expected)) std::abort();
  expected.key = &stranger;
  expected.trust = nullptr;
  if (verify_sigstore_blob(bytes, Sha256(), expected)) std::abort();
  (void)SigstoreTrust::from_json(bytes);
  for (const auto& certificate : {crypto::Certificate::from_der(bytes), crypto::Certificate::from_pem(bytes)}) {
    if (!certificate) continue;
    (void)certificate->alternative_names();
    (void)certificate->not_before();
    (void)certificate->not_after();
    (void)certificate->public_key();
    (void)crypto::certificate_timestamps(*certificate, *certificate);
    if (crypto::verify_code_signing_chain(*certificate, {}, {}, Timestamp())) std::abort();
  }
  if (const auto statement = json::parse(bytes)) (void)verify_vsa(*statement, {.digests = {"sha256:00"}, .verifier_id = "v", .resource_uri = "r", .levels = {"SLSA_BUILD_LEVEL_1"}});
  return 0;
}
