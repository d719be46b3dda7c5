// Key URIs, the file provider, and the choice between providers.
#include "stella/crypto/key_provider.h"

#include <array>

#include "stella/base/encoding.h"

namespace stella::crypto {
namespace {

constexpr std::size_t kUriBytes = 4096;

Error not_a_uri(std::string_view field, std::string_view expected) {
  return Error(base_errors::kInvalid, "not a key URI").with("field", std::string(field)).with("expected", std::string(expected));
}

struct Attribute {
  std::string_view name;
  std::string KeyUri::*member;
};
constexpr std::array<Attribute, 6> kPathAttributes{{{"token", &KeyUri::token},
                                                    {"serial", &KeyUri::serial},
                                                    {"manufacturer", &KeyUri::manufacturer},
                                                    {"model", &KeyUri::model},
                                                    {"object", &KeyUri::object},
                                                    {"id", &KeyUri::id}}};
constexpr std::array<Attribute, 2> kQueryAttributes{{{"module-path", &KeyUri::module_path}, {"pin-source", &KeyUri::pin_source}}};

// name=value pairs between separators, each name known and once.
template <std::size_t N>
Result<void> read_attributes(std::string_view text, char separator, const std::array<Attribute, N>& known, KeyUri& out) {
  std::array<bool, N> seen{};
  while (!text.empty()) {
    const auto pair = text.substr(0, text.find(separator));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    const auto equals = pair.find('=');
    const auto name = pair.substr(0, equals);
    if (equals == std::string_view::npos) return not_a_uri(name, "name=value");
    if (name == "pin-value") return not_a_uri(name, "pin-source: a URI is no place for a PIN");
    if (name == "type" && pair == "type=private") continue;  // what else would sign
    std::size_t at = 0;
    while (at < N && known[at].name != name) ++at;
    if (at == N) return not_a_uri(name.substr(0, 64), "an attribute that this release knows");
    if (seen[at]) return not_a_uri(name, "each attribute once");
    seen[at] = true;
    out.*known[at].member = STELLA_TRY(percent_decode(pair.substr(equals + 1)));
    if ((out.*known[at].member).empty()) return not_a_uri(name, "a value");
  }
  return {};
}

Result<void> need_absolute(std::string_view field, const std::string& path) {
  if (!path.starts_with('/') || path.find('\0') != std::string::npos) return not_a_uri(field, "an absolute path");
  return {};
}

class FileKeyProvider final : public KeyProvider {
 public:
  Result<std::unique_ptr<Signer>> open(const KeyUri& uri, SecretBytes pin) const override {
    if (uri.scheme != KeyUri::Scheme::kFile) return not_a_uri("scheme", "file");
    const SecretBytes passphrase = STELLA_TRY(detail::pin_for(uri, std::move(pin)));
    KeyPair key = STELLA_TRY(KeyPair::load(uri.path, passphrase.view()));
    return std::unique_ptr<Signer>(std::make_unique<KeyPair>(std::move(key)));
  }
};

}  // namespace

Result<KeyUri> KeyUri::parse(std::string_view text) {
  if (text.size() > kUriBytes) return not_a_uri("uri", "at most 4096 bytes");
  KeyUri out;
  const auto colon = text.find(':');
  const auto scheme = text.substr(0, colon);
  if (colon == std::string_view::npos || (scheme != "file" && scheme != "pkcs11")) return not_a_uri("scheme", "file: or pkcs11:");
  text.remove_prefix(colon + 1);
  const auto question = text.find('?');
  const auto path = text.substr(0, question);
  const auto query = question == std::string_view::npos ? std::string_view() : text.substr(question + 1);
  STELLA_TRY_VOID(read_attributes(query, '&', kQueryAttributes, out));
  if (!out.pin_source.empty()) {
    if (out.pin_source.starts_with("file:")) out.pin_source.erase(0, 5);
    if (out.pin_source.starts_with("///")) out.pin_source.erase(0, 2);
    STELLA_TRY_VOID(need_absolute("pin-source", out.pin_source));
  }
  if (scheme == "file") {
    out.path = STELLA_TRY(percent_decode(path.starts_with("///") ? path.substr(2) : path));
    if (!out.module_path.empty()) return not_a_uri("module-path", "only in pkcs11:");
    STELLA_TRY_VOID(need_absolute("path", out.path));
    return out;
  }
  out.scheme = Scheme::kPkcs11;
  STELLA_TRY_VOID(read_attributes(path, ';', kPathAttributes, out));
  STELLA_TRY_VOID(need_absolute("module-path", out.module_path));
  return out;
}

Result<SecretBytes> detail::pin_for(const KeyUri& uri, SecretBytes pin) {
  if (!pin.empty()) return pin;
  if (uri.pin_source.empty())
    return Error(base_errors::kInvalid, "this key needs a passphrase or PIN").with("field", "pin-source").with("expected", "pin-source=file:/path in the URI");
  return read_secret_file(uri.pin_source);
}

const KeyProvider& file_key_provider() {
  static const FileKeyProvider provider;
  return provider;
}

Result<std::unique_ptr<Signer>> open_signer(std::string_view text, SecretBytes pin) {
  const KeyUri uri = STELLA_TRY(KeyUri::parse(text));
  const KeyProvider& provider = uri.scheme == KeyUri::Scheme::kFile ? file_key_provider() : pkcs11_key_provider();
  return provider.open(uri, std::move(pin));
}

}  // namespace stella::crypto
