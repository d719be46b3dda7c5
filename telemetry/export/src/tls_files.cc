// The PEM files of a target, read and looked at before the first attempt.
#include "client.h"
#include "stella/base/file.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

constexpr std::uint64_t kMostPem = 4u << 20;  // bundles of all public CAs have 250 KB

Result<std::string> read_pem(const std::string& path, std::string_view what, std::string_view label) {
  if (path.empty()) return std::string();
  auto text = read_file(path, kMostPem);
  if (!text) return Error(base_errors::kInvalid, "a TLS file of the OTLP target cannot be read").with("file", std::string(what)).with("path", path).with("detail", text.error().describe());
  const std::size_t begin = text->find("-----BEGIN ");
  if (begin == text->npos || text->find(label, begin) == text->npos) {
    return Error(base_errors::kInvalid, "a TLS file of the OTLP target is not what it should be").with("file", std::string(what)).with("path", path).with("expected", "PEM with " + std::string(label));
  }
  return text;
}

}  // namespace

Result<TlsFiles> read_tls_files(const TargetOptions& target) {
  if (target.cert_file.empty() != target.key_file.empty()) {
    return Error(base_errors::kInvalid, "a client certificate and its key go together").with("expected", "cert_file and key_file, or none");
  }
  TlsFiles files;
  files.ca = STELLA_TRY(read_pem(target.ca_file, "ca_file", "CERTIFICATE-----"));
  files.cert = STELLA_TRY(read_pem(target.cert_file, "cert_file", "CERTIFICATE-----"));
  files.key = STELLA_TRY(read_pem(target.key_file, "key_file", "PRIVATE KEY-----"));
  return files;
}

}  // namespace stella::telemetry
