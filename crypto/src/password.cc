// scrypt hashes in the modular text form.
#include "stella/crypto/password.h"

#include <charconv>

#include "openssl.h"
#include "stella/base/encoding.h"
#include "stella/base/ids.h"
#include "stella/crypto/digest.h"

namespace stella::crypto {
namespace {

constexpr std::string_view kPrefix = "$scrypt$";
constexpr std::size_t kSaltBytes = 16;
constexpr std::size_t kHashBytes = 32;

struct Stored {
  ScryptCost cost;
  std::string salt;
  std::string hash;
};

std::string base64_unpadded(std::string_view bytes) {
  std::string text = base64_encode(bytes);
  while (text.ends_with('=')) text.pop_back();
  return text;
}

// Reads "name=<int>" and the separator behind it.
bool take_int(std::string_view& text, std::string_view name, char end, int& out) {
  if (!text.starts_with(name)) return false;
  text.remove_prefix(name.size());
  const auto [p, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (ec != std::errc{} || p == text.data() + text.size() || *p != end) return false;
  text.remove_prefix(static_cast<std::size_t>(p - text.data()) + 1);
  return true;
}

Result<Stored> parse_stored(std::string_view text) {
  const auto malformed = [] { return Error(base_errors::kMalformed, "not a scrypt hash").with("expected", "$scrypt$ln=..,r=..,p=..$salt$hash"); };
  Stored out;
  if (!text.starts_with(kPrefix)) return malformed();
  text.remove_prefix(kPrefix.size());
  if (!take_int(text, "ln=", ',', out.cost.log_n) || !take_int(text, "r=", ',', out.cost.r) || !take_int(text, "p=", '$', out.cost.p)) return malformed();
  const auto split = text.find('$');
  if (split == std::string_view::npos) return malformed();
  out.salt = STELLA_TRY(base64_decode(text.substr(0, split)));
  out.hash = STELLA_TRY(base64_decode(text.substr(split + 1)));
  if (out.salt.size() < 8 || out.hash.size() != kHashBytes) return malformed();
  return out;
}

}  // namespace

Result<std::string> password_hash(std::string_view secret, const ScryptCost& cost) {
  std::string salt(kSaltBytes, '\0');
  fill_random(salt.data(), salt.size());
  const std::string hash = STELLA_TRY(scrypt(secret, salt, cost, kHashBytes));
  std::string out(kPrefix);
  out.append("ln=").append(std::to_string(cost.log_n)).append(",r=").append(std::to_string(cost.r)).append(",p=").append(std::to_string(cost.p));
  return out.append("$").append(base64_unpadded(salt)).append("$").append(base64_unpadded(hash));
}

Result<bool> password_verify(std::string_view secret, std::string_view stored) {
  const Stored parsed = STELLA_TRY(parse_stored(stored));
  const std::string hash = STELLA_TRY(scrypt(secret, parsed.salt, parsed.cost, kHashBytes));
  return equal_constant_time(hash, parsed.hash);
}

bool password_needs_rehash(std::string_view stored, const ScryptCost& cost) {
  const auto parsed = parse_stored(stored);
  return !parsed || parsed->cost.log_n < cost.log_n || parsed->cost.r < cost.r || parsed->cost.p < cost.p;
}

}  // namespace stella::crypto
