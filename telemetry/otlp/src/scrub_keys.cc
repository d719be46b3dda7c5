// What the key of an attribute says about its value, and queries of URLs.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "stella/telemetry/otlp_scrub.h"

namespace stella::telemetry {
namespace {

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return is_upper(c) ? static_cast<char>(c + 32) : c; }

// db.clientSecret -> db, client, secret
std::vector<std::string> words_of(std::string_view key) {
  std::vector<std::string> words(1);
  char before = 0;
  for (const char c : key) {
    const bool letter = is_lower(c) || is_upper(c) || is_digit(c);
    if ((!letter || (is_upper(c) && is_lower(before))) && !words.back().empty()) words.emplace_back();
    if (letter) words.back() += lower(c);
    before = c;
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

template <std::size_t N>
bool among(std::string_view word, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// Anywhere in the key.
constexpr std::array<std::string_view, 7> kStrong{"password", "passwd", "passphrase", "passwords", "authorization", "clientsecret", "privatekey"};
// At its end: token.id is an id, session_token is not.
constexpr std::array<std::string_view, 24> kLast{"pwd",      "pass",    "passcode", "secret",      "secrets",       "token",       "cookie",       "cookies",
                                                "apikey",   "jwt",     "bearer",   "credential",  "credentials",   "accesskey",   "secretkey",    "accesstoken",
                                                "authtoken", "idtoken", "refreshtoken", "sessiontoken", "accountkey", "sharedkey", "signingkey", "encryptionkey"};
constexpr std::array<std::string_view, 9> kBeforeKey{"api", "private", "access", "secret", "account", "shared", "signing", "encryption", "master"};

// In each of those words, and in few other keys: the others need not be taken apart.
constexpr std::array<std::string_view, 10> kParts{"pass", "pwd", "authorization", "secret", "token", "cookie", "key", "jwt", "bearer", "credential"};
constexpr std::uint32_t kFirst = [] {
  std::uint32_t letters = 0;
  for (const std::string_view part : kParts) letters |= 1u << (part[0] - 'a');
  return letters;
}();
bool may_be_secret(std::string_view key) {
  for (std::size_t i = 0; i + 3 <= key.size(); ++i) {
    const unsigned letter = static_cast<unsigned>(key[i] | 0x20) - 'a';
    if (letter > 25 || (kFirst >> letter & 1) == 0) continue;
    const char first = lower(key[i]), second = lower(key[i + 1]);
    for (const std::string_view part : kParts) {
      if (part[0] != first || part[1] != second || i + part.size() > key.size()) continue;
      if (std::equal(part.begin(), part.end(), key.begin() + static_cast<std::ptrdiff_t>(i), [](char a, char b) { return a == lower(b); })) return true;
    }
  }
  return false;
}

constexpr std::array<std::string_view, 7> kSigning{"sig", "signature", "x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid", "x-goog-signature"};

}  // namespace

bool is_secret_key(std::string_view key) {
  if (key.size() > 256) key = key.substr(key.size() - 256);
  if (!may_be_secret(key)) return false;
  const std::vector<std::string> words = words_of(key);
  if (words.empty()) return false;
  for (const std::string& word : words)
    if (among(word, kStrong)) return true;
  std::size_t last = words.size() - 1;
  while (last > 0 && std::all_of(words[last].begin(), words[last].end(), is_digit)) --last;  // cookies.0
  if (among(words[last], kLast)) return true;
  return last > 0 && (words[last] == "key" || words[last] == "keys") && among(words[last - 1], kBeforeKey);
}

std::string redact_query(std::string_view text) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t equals = text.find('='); equals != std::string_view::npos; equals = text.find('=', equals + 1)) {
    std::size_t name = equals;
    while (name > 0 && equals - name <= 24 && text[name - 1] != '?' && text[name - 1] != '&' && text[name - 1] != ';') --name;
    std::string folded(text.substr(name, equals - name));
    std::transform(folded.begin(), folded.end(), folded.begin(), lower);
    if (!among(folded, kSigning) || equals < at) continue;
    const std::size_t end = std::min(text.find_first_of("&;# \t\n\"'<>", equals + 1), text.size());
    out.append(text.substr(at, equals + 1 - at)).append("REDACTED");
    at = end;
  }
  return out.append(text.substr(at));
}

}  // namespace stella::telemetry
