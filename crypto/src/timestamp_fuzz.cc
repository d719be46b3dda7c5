// libFuzzer entry: any bytes as a timestamp response, as a bare token and as a list of certificates.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/crypto/timestamp.h"

namespace {

// A root that signed nothing: whatever holds under it is a defect.
constexpr std::string_view kStrangerPem = R"(-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUAta9u3VDAPT8AwFxpc365i4t8I4wCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIc3RyYW5nZXIwIBcNMjYxMTMwMDEzODU4WhgPMjEyNjExMDYw
MTM4NThaMBMxETAPBgNVBAMMCHN0cmFuZ2VyMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEmsLtkejKhh66WOt9y6ADvUi/NMiAJoh7NQcZzrm1A1VoNyvUK92f1ljr
/VJ2NectakkeHzK2oHUyuW+4hMrha6NTMFEwHQYDVR0OBBYEFLA9zy1kaBRJkgn4
6eAoyGl9UVDsMB8GA1UdIwQYMBaAFLA9zy1kaBRJkgn46eAoyGl9UVDsMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgHxiDK9CqYpsCUm0c1jnr/I2h
mGaV2qJdEBg8r2qso6cCIQDW8arhP7zZcFHUhNLghcnDbVNjwVR1u9I0rZtPVbFL
9g==
-----END CERTIFICATE-----
)";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::crypto;
  static const TimestampTrust stranger = TimestampTrust::from_pem(kStrangerPem).value();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)timestamp_token(bytes);
  const auto subject = TimestampSubject::message("hello");
  if (verify_timestamp(bytes, subject, stranger) || verify_timestamp_token(bytes, subject, stranger)) std::abort();
  (void)TimestampTrust::from_pem(bytes, bytes);
  return 0;
}
