// Secrets in memory and from files.
#include "stella/crypto/secret.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include "stella/base/file.h"
#include "stella/base/ids.h"

namespace stella::crypto {
namespace {
constexpr std::uint64_t kSecretFileBytes = 4096;
}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    OPENSSL_cleanse(bytes_.data(), bytes_.size());
    bytes_ = std::move(other.bytes_);
    other.bytes_.clear();
  }
  return *this;
}

SecretBytes::~SecretBytes() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

SecretBytes SecretBytes::random(std::size_t size) {
  SecretBytes out;
  out.bytes_.resize(size);
  fill_random(out.bytes_.data(), size);
  return out;
}

void erase_secret(std::string& text) { OPENSSL_cleanse(text.data(), text.size()); }

Result<SecretBytes> read_secret_file(const std::string& path) {
  std::string text = STELLA_TRY(read_file(path, kSecretFileBytes));
  struct stat st {};
  const bool open_to_all = ::stat(path.c_str(), &st) == 0 && (st.st_mode & S_IROTH) != 0;
  std::string_view content = text;
  if (content.ends_with('\n')) content.remove_suffix(1);
  if (content.ends_with('\r')) content.remove_suffix(1);
  SecretBytes out(content);
  erase_secret(text);
  if (open_to_all) return Error(base_errors::kInvalid, "everybody may read this secret").with("path", path).with("expected", "mode 0600 or 0640");
  if (out.empty()) return Error(base_errors::kInvalid, "this secret is empty").with("path", path);
  return out;
}

}  // namespace stella::crypto
