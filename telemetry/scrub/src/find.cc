// Dispatch: from positions of the scan to matchers, and from hits to a sorted list.
#include "find.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>

#include "layers.h"
#include "words.h"

namespace stella::telemetry::scrubbing {

constexpr std::size_t kLongestKind = 32;

bool available(Engine engine) {
  switch (engine) {
    case Engine::kScalar: return true;
#if defined(__x86_64__)
    case Engine::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    case Engine::kAvx512: return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
#endif
    default: return false;
  }
}

Engine best_engine() {
  static std::atomic<int> best{-1};
  int engine = best.load(std::memory_order_relaxed);
  if (engine < 0) [[unlikely]] {
    engine = static_cast<int>(available(Engine::kAvx512) ? Engine::kAvx512 : available(Engine::kAvx2) ? Engine::kAvx2 : Engine::kScalar);
    best.store(engine, std::memory_order_relaxed);
  }
  return static_cast<Engine>(engine);
}

Found find(std::string_view text, Hits& hits, Layers layers, Engine engine) {
  Finder finder(text, hits, layers, engine);
  switch (engine) {
#if defined(__x86_64__)
    case Engine::kAvx2: scan_avx2(finder); break;
    case Engine::kAvx512: scan_avx512(finder); break;
#endif
    default: scan_scalar(finder); break;
  }
  if (layers.escapes) {
    if (finder.slash()) find_in_json_escapes(text, hits, layers, engine);
    if (finder.percent()) find_in_percent(text, hits, layers, engine);
  }
  return {finder.high()};
}

namespace {

// The largest block that a thread gave back: texts with thousands of hits come one after the other, and blocks of their size would be mapped and
// unmapped by the allocator each time.
struct Spare {
  std::unique_ptr<Hit[]> block;
  std::size_t room = 0;
  ~Spare();
};
constexpr std::size_t kMostSpare = 16384;
thread_local bool t_spare_gone = false;  // its thread ends: what is destroyed later may scrub still
thread_local Spare t_spare;
Spare::~Spare() { t_spare_gone = true; }

}  // namespace

void Hits::grow() {
  std::unique_ptr<Hit[]> more;
  std::size_t room = room_ * 4;
  if (!t_spare_gone && t_spare.room >= room) {
    more = std::move(t_spare.block);
    room = std::exchange(t_spare.room, 0);
  } else {
    more = std::make_unique_for_overwrite<Hit[]>(room);
  }
  std::copy(data_, data_ + size_, more.get());
  many_ = std::move(more);
  data_ = many_.get();
  room_ = room;
}

void Hits::give_back() {
  if (t_spare_gone || room_ > kMostSpare || room_ <= t_spare.room) return;
  t_spare.block = std::move(many_);
  t_spare.room = room_;
}

bool quiet(std::string_view text, Engine engine) {
  switch (engine) {
#if defined(__x86_64__)
    case Engine::kAvx2: return quiet_avx2(text);
    case Engine::kAvx512: return quiet_avx512(text);
#endif
    default: return quiet_scalar(text);
  }
}

void Finder::match(Matcher matcher, Rule rule, std::size_t pos, std::size_t at) {
  switch (matcher) {
    case Matcher::kToken: return token(rule, pos - at);
    case Matcher::kAzure: return azure(pos);
    case Matcher::kJwt: return jwt(pos);
    case Matcher::kBearer: return scheme(rule, pos - std::min<std::size_t>(pos, 1), "bearer");
    case Matcher::kBasic: return scheme(rule, pos - std::min<std::size_t>(pos, 1), "basic");
    case Matcher::kPem: return pem(pos - at);
    case Matcher::kUserinfo: return userinfo(pos);
    case Matcher::kDsn: return dsn(pos);
    case Matcher::kSignature: return signature(pos);
    case Matcher::kPair: return pair(pos);
    case Matcher::kSql: return sql(pos);
    case Matcher::kAuthorization: return authorization(pos);
    case Matcher::kEntropy: return entropy(pos);
    case Matcher::kIban: return iban(pos);
    case Matcher::kSpacedCard: return spaced_card(pos);
    case Matcher::kPath: return path(pos);
    case Matcher::kIpv6: return ipv6(pos);
    case Matcher::kWindowsPath: return windows_path(pos);
    default: return;  // found by the scan's own arithmetic
  }
}

std::size_t own_mask(std::string_view text) {
  if (text.size() < 12 || text[0] != '[') return 0;
  // Behind the kind stand ten characters at least, so that eight can be read wherever it may go on.
  std::size_t kind = 1;
  for (;; kind += 8) {
    if (kind > kLongestKind + 1 || kind + 8 > text.size()) return 0;
    const std::uint64_t x = load8(text.data() + kind);
    const std::uint64_t word = in_range(x, 'a', 'z') | in_range(x, '0', '9') | equal_to(x, '_');
    if (word == kTops) continue;
    kind += first_marked(~word & kTops);
    break;
  }
  if (kind == 1 || kind > kLongestKind + 1 || text[kind] != ':' || is(text[1], kDigit)) return 0;
  const auto fingerprint = [&](std::size_t from) -> std::size_t {
    if (from + 9 > text.size() || text[from + 8] != ']') return 0;
    const std::uint64_t x = load8(text.data() + from);
    return (in_range(x, '0', '9') | in_range(x, 'a', 'f')) == kTops ? from + 9 : 0;
  };
  if (const std::size_t end = fingerprint(kind + 1); end != 0) return end;
  if (kind != 5 || (!text.starts_with("[ipv4:") && !text.starts_with("[ipv6:"))) return 0;
  std::size_t net = kind + 1;  // a network, then the fingerprint
  while (net < text.size() && net < kind + 32 && (is(text[net], kHex) || text[net] == ':' || text[net] == '.')) ++net;
  if (net + 3 >= text.size() || (text.substr(net, 4) != "/24:" && text.substr(net, 4) != "/48:")) return 0;
  return fingerprint(net + 4);
}

namespace {

// Masks of ours one after the other, as far as a text has been looked at: hits come in order, so that no mask is read twice.
class OwnMasks {
 public:
  explicit OwnMasks(std::string_view text) : text_(text), first_(text.find('[')) {}
  // True where [begin, end) is made of them, but for brackets at its end that a matcher trimmed or took along.
  bool cover(std::size_t begin, std::size_t end) {
    if (begin < first_) return false;
    if (begin >= begin_ && begin < end_) return end <= end_;
    const std::size_t from = begin < kLongest ? 0 : begin - kLongest;
    const void* open = ::memrchr(text_.data() + from, '[', begin - from + 1);
    if (open == nullptr) return false;
    begin_ = end_ = static_cast<std::size_t>(static_cast<const char*>(open) - text_.data());
    while (const std::size_t size = own_mask(text_.substr(end_))) end_ += size;
    return begin < end_ && end <= end_;
  }

 private:
  static constexpr std::size_t kLongest = 64;
  std::string_view text_;
  std::size_t first_, begin_ = 0, end_ = 0;
};

unsigned weight(Rule rule) {
  switch (kRules[static_cast<std::size_t>(rule)].cls) {
    case Class::kSecret: return 2;
    case Class::kPath: return 0;
    default: return 1;
  }
}

}  // namespace

namespace {

// By position; of those that begin together the weightier, then the longer first.
bool sooner(const Hit& a, const Hit& b) {
  return a.begin != b.begin ? a.begin < b.begin : weight(a.rule) != weight(b.rule) ? weight(a.rule) > weight(b.rule) : a.end > b.end;
}

// The scan finds hits nearly in order: each is moved a little. Where that takes more than a few steps a hit, a general sort.
void sort_hits(Hit* begin, Hit* end) {
  std::size_t steps = 8 * static_cast<std::size_t>(end - begin) + 64;
  for (Hit* h = begin; h != end; ++h) {
    if (h == begin || !sooner(*h, h[-1])) continue;
    const Hit moved = *h;
    Hit* to = h;
    for (; to != begin && sooner(moved, to[-1]) && steps != 0; --to, --steps) *to = to[-1];
    *to = moved;
    if (steps == 0) return std::stable_sort(begin, end, sooner);  // equals stay in order, as above
  }
}

}  // namespace

void settle(std::string_view text, Hits& hits) {
  if (hits.empty()) return;
  sort_hits(hits.begin(), hits.end());
  OwnMasks masks(text);
  Hit* out = hits.begin();
  for (const Hit* h = hits.begin(); h != hits.end(); ++h) {
    if (masks.cover(h->begin, h->end)) continue;
    if (out != hits.begin() && h->begin < out[-1].end) {
      Hit& last = out[-1];
      if (h->rule == Rule::kEmail && (last.rule == Rule::kUserinfo || last.rule == Rule::kDsnPassword)) continue;  // user:secret@host: the host stays
      last.end = std::max(last.end, h->end);
      if (weight(h->rule) > weight(last.rule)) last.rule = h->rule;
    } else {
      *out++ = *h;
    }
  }
  hits.shrink(static_cast<std::size_t>(out - hits.begin()));
}

}  // namespace stella::telemetry::scrubbing
