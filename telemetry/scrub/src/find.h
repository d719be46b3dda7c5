// Finds what must be masked. The scan names positions; the matchers here say whether a rule's match begins (or lies) there, and where it ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chars.h"
#include "entropy.h"
#include "rules_data.h"
#include "scan.h"

namespace stella::telemetry::scrubbing {

// [begin, end) of the text is to be masked.
struct Hit {
  std::size_t begin, end;
  Rule rule;
  Class cls() const { return kRules[static_cast<std::size_t>(rule)].cls; }
};

// A vector that begins on the stack: a text has few hits.
class Hits {
 public:
  Hits() = default;
  Hits(const Hits& other) {
    for (std::size_t i = 0; i < other.size_; ++i) push(other.data_[i]);
  }
  Hits& operator=(const Hits&) = delete;
  ~Hits() {
    if (many_) [[unlikely]] give_back();
  }
  void push(const Hit& hit) {
    if (size_ == room_) [[unlikely]] grow();
    data_[size_++] = hit;
  }
  Hit* begin() { return data_; }
  Hit* end() { return data_ + size_; }
  const Hit* begin() const { return data_; }
  const Hit* end() const { return data_ + size_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void shrink(std::size_t size) { size_ = size; }
  void clear() { size_ = 0; }

 private:
  void grow();
  void give_back();

  static constexpr std::size_t kInline = 16;
  Hit few_[kInline];  // uninitialised on purpose
  Hit* data_ = few_;
  std::size_t size_ = 0, room_ = kInline;
  std::unique_ptr<Hit[]> many_;
};

// Which encodings are looked into.
struct Layers {
  bool escapes = true;  // JSON escapes and percent-encoding
  bool base64 = true;
};

struct Found {
  bool high = false;  // bytes >= 0x80: the text may be broken UTF-8
};

// Appends the hits of `text`, unsorted and overlapping. Linear.
Found find(std::string_view text, Hits& hits, Layers layers = {}, Engine engine = best_engine());

// True where there is nothing to find in a text of at most kShort bytes, and it is ASCII. False: find() decides.
bool quiet(std::string_view text, Engine engine = best_engine());

// Sorts and merges; drops what is a mask of ours already.
void settle(std::string_view text, Hits& hits);

// The size of a mask of ours that begins `text` ("[kind:7f3a91c2]", "[ipv4:203.0.113.0/24:7f3a91c2]"), or 0.
std::size_t own_mask(std::string_view text);

class Finder {
 public:
  Finder(std::string_view text, Hits& hits, Layers layers, Engine engine) : text_(text), hits_(hits), layers_(layers), engine_(engine) {}
  std::string_view text() const { return text_; }
  // For the scan.
  void start() {
    if (started_) return;
    seen_ = Seen{};
    started_ = true;
  }
  void match(Matcher matcher, Rule rule, std::size_t pos, std::size_t at);
  void flags(bool percent, bool slash, bool high) {
    percent_ = percent;
    slash_ = slash;
    high_ = high;
  }
  bool percent() const { return percent_; }
  bool slash() const { return slash_; }
  bool high() const { return high_; }
  bool in_base64() const { return layers_.base64; }
  // What the scan's own arithmetic finds (match_pii.cc, layers.cc); the last position that they have looked at.
  void email(std::size_t at_sign) {
    if (is(before(at_sign), kEmailLocal) && at_sign != 0 && is(at(at_sign + 1), kLabel)) email_around(at_sign);
  }
  void ipv4(std::size_t pos);
  void ipv6(std::size_t pos) {
    if (is(before(pos), kHex) || is(at(pos + 1), kHex) || before(pos) == ':' || at(pos + 1) == ':') ipv6_around(pos);
  }
  void phone(std::size_t pos);
  void digits(std::size_t pos);
  void base64(std::size_t start);
  const std::size_t& seen_dotted() const { return seen_.dotted; }
  const std::size_t& seen_colons() const { return seen_.colons; }
  const std::size_t& seen_digits() const { return seen_.digits; }

 private:
  void hit(Rule rule, std::size_t begin, std::size_t end) { hits_.push({begin, end, rule}); }

  // match_secret.cc
  void token(Rule rule, std::size_t begin);
  void azure(std::size_t pos);
  void jwt(std::size_t pos);
  void scheme(Rule rule, std::size_t pos, std::string_view name);
  void pem(std::size_t pos);
  void userinfo(std::size_t pos);
  void dsn(std::size_t at);
  void signature(std::size_t pos);
  // match_pair.cc
  void pair(std::size_t pos);
  std::size_t after_masks(std::size_t begin);
  bool in_own_mask(std::size_t pos);
  bool in_cpe(std::size_t pos);
  void authorization(std::size_t pos);
  void entropy(std::size_t pos);
  bool pair_value(std::size_t name, std::size_t pos, bool argument = false);
  std::size_t quoted_end(std::size_t pos) const;
  bool is_option(std::size_t name) const;
  void sql(std::size_t pos);
  void sql_unquoted(std::size_t end);
  // match_pii.cc
  void email_around(std::size_t at_sign);
  void ipv6_around(std::size_t pos);
  void phone_after_00(std::size_t begin, std::size_t end);
  void iban(std::size_t pos);
  template <bool small>
  void iban_at(std::size_t pos, std::size_t length);
  void iban_around(std::size_t digits);
  void spaced_card(std::size_t pos);
  bool spaced_card_at(std::size_t begin, std::size_t pos);
  std::size_t separator(std::size_t pos) const;
  void dotted_card(std::size_t begin, std::size_t end);
  struct Purl {
    std::size_t asked = 0;  // the last position, and the answer there
    bool inside = false;
  };
  bool in_purl(std::size_t pos, Purl& memo);
  // match_path.cc
  void path(std::size_t pos);
  void windows_path(std::size_t pos);

  char before(std::size_t pos) const { return pos == 0 ? '\0' : text_[pos - 1]; }
  char at(std::size_t pos) const { return pos < text_.size() ? text_[pos] : '\0'; }
  // The end of the run of `bits` that begins at pos.
  std::size_t run(std::size_t pos, unsigned bits) const {
    while (pos < text_.size() && is(text_[pos], bits)) ++pos;
    return pos;
  }
  std::size_t run_until(std::size_t pos, unsigned stop) const {
    while (pos < text_.size() && !is(text_[pos], stop)) ++pos;
    return pos;
  }

  const std::string_view text_;
  Hits& hits_;
  const Layers layers_;
  const Engine engine_;
  bool percent_ = false, slash_ = false, high_ = false;
  // Up to where each matcher has looked already; what makes it linear. Filled in by the first candidate: most texts have none.
  struct Seen {
    std::size_t jwt_run = 0, pem = 0, pair_begin = 0, pair_run = 0, pair_end = 0, dotted = 0, colons_begin = 0, colons = 0, digits = 0, base64 = 0, base64_run = 0, path = 0, signature = 0, bearer = 0, basic = 0,
                authorization = 0, entropy = 0, random_begin = 0, random_end = 0, masks_begin = 0, masks_end = 0, masks_slash = 0, url_begin = 0, url_stop = 0, url_end = 0;
    bool cpe_asked = false;  // where the first CPE is
    std::size_t cpe = 0;
    Purl email_purl, ipv4_purl;
    std::size_t token[std::size(kRules)] = {};  // by rule: a key of one may begin inside that of another and reach further
  };
  union {
    Seen seen_;
  };
  union {
    RandomWindow window_;  // over the value from seen_.random_begin on
  };
  bool started_ = false;
};

// Shared with nobody but the matchers; in their own functions so that they can be tested against the rules' words.
bool innocent_value(std::string_view name, std::string_view value);
bool innocent_sql(std::string_view value, bool quoted);
// What follows an option in prose, in a usage or where another option follows: `--password PASSWORD`, "--token is missing".
bool innocent_argument(std::string_view value);
bool high_entropy(std::string_view value);
// `name`, followed by `=` and some value, would be a pair whose value is masked (split.cc).
bool names_secret(std::string_view name);
bool basic_credentials(std::string_view base64);
// Writes the bytes of `encoded` up to the first that is no printable ASCII to `out`, which has room for decoded_room(encoded.size()).
struct Decoded {
  std::size_t used, size;  // characters of `encoded`, and bytes
};
Decoded decode_base64_text(std::string_view encoded, char* out);
constexpr std::size_t decoded_room(std::size_t encoded) { return encoded / 4 * 3 + 3; }

}  // namespace stella::telemetry::scrubbing
