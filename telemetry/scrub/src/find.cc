// Dispatch: from positions of the scan to matchers, and from hits to a sorted list.
#include "find.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "layers.h"

namespace stella::telemetry::scrubbing {

bool available(Engine engine) {
  switch (engine) {
    case Engine::kScalar: return true;
#if defined(__x86_64__)
    case Engine::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    case Engine::kAvx512: return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
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

bool quiet(std::string_view text, Engine engine) {
  switch (engine) {
#if defined(__x86_64__)
    case Engine::kAvx2: return quiet_avx2(text);
    case Engine::kAvx512: return quiet_avx512(text);
#endif
    default: return quiet_scalar(text);
  }
}

template <class F>
static inline void each(std::uint64_t mask, F&& f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<std::size_t>(std::countr_zero(mask)));
}

void Finder::candidates(const Candidates& found, const Buckets& buckets, std::size_t base) {
  if (!started_) {
    seen_ = Seen{};
    started_ = true;
  }
  each(found.trigger, [&](std::size_t i) { trigger(base + i, buckets.low[i] | buckets.up[i] << 8); });
  each(found.at, [&](std::size_t i) { email(base + i); });
  each(found.dotted, [&](std::size_t i) { ipv4(base + i); });
  each(found.colons, [&](std::size_t i) { ipv6(base + i); });
  each(found.digits, [&](std::size_t i) { digits(base + i); });
  each(found.open, [&](std::size_t i) { phone(base + i); });
  if (layers_.base64) each(found.base64, [&](std::size_t i) { base64(base + i - 9); });
}

void Finder::trigger(std::size_t pos, unsigned buckets) {
  std::uint32_t window = 0;
  if (pos + 4 <= text_.size()) std::memcpy(&window, text_.data() + pos, 4);
  else std::memcpy(&window, text_.data() + pos, text_.size() - pos);
  if constexpr (std::endian::native == std::endian::big) window = __builtin_bswap32(window);
  for (; buckets != 0; buckets &= buckets - 1) {
    const int bucket = std::countr_zero(buckets);
    for (std::size_t t = kBucketBegin[bucket]; t < kBucketBegin[bucket + 1]; ++t) {
      const TriggerRow& row = kTriggers[t];
      if ((window & row.mask) == row.value && pos >= row.at) match(row.rule, pos, row.at);
    }
  }
}

void Finder::match(Rule rule, std::size_t pos, std::size_t at) {
  switch (kRules[static_cast<std::size_t>(rule)].matcher) {
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
    case Matcher::kAuthorization: return authorization(pos);
    case Matcher::kEntropy: return entropy(pos);
    case Matcher::kIban: return iban(pos);
    case Matcher::kPath: return path(pos);
    case Matcher::kIpv6: return ipv6(pos);
    case Matcher::kWindowsPath: return windows_path(pos);
    default: return;  // found by the scan's own arithmetic
  }
}

std::size_t own_mask(std::string_view text) {
  if (text.empty() || text[0] != '[') return 0;
  std::size_t kind = 1;
  while (kind < text.size() && kind < 33 && (is(text[kind], kLower) || text[kind] == '_')) ++kind;
  while (kind < text.size() && kind < 33 && kind > 1 && (is(text[kind], kLower | kDigit) || text[kind] == '_')) ++kind;
  if (kind == 1 || kind >= text.size() || text[kind] != ':') return 0;
  const auto fingerprint = [&](std::size_t from) -> std::size_t {
    if (from + 9 > text.size() || text[from + 8] != ']') return 0;
    for (std::size_t i = from; i < from + 8; ++i) {
      if (!is(text[i], kDigit) && (text[i] < 'a' || text[i] > 'f')) return 0;
    }
    return from + 9;
  };
  if (const std::size_t end = fingerprint(kind + 1); end != 0) return end;
  if (!text.starts_with("[ipv4:") && !text.starts_with("[ipv6:")) return 0;
  std::size_t net = kind + 1;  // a network, then the fingerprint
  while (net < text.size() && net < kind + 32 && (is(text[net], kHex) || text[net] == ':' || text[net] == '.')) ++net;
  if (net + 3 >= text.size() || (text.substr(net, 4) != "/24:" && text.substr(net, 4) != "/48:")) return 0;
  return fingerprint(net + 4);
}

namespace {

// True where [begin, end) is made of masks of ours, but for brackets at its end that a matcher trimmed or took along.
bool only_masks(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t open = begin;
  for (std::size_t back = 0; back < 64 && open > 0 && text[open] != '['; ++back) --open;
  if (open > begin || text[open] != '[') return false;
  while (true) {
    const std::size_t size = own_mask(text.substr(open));
    if (size == 0 || open + size <= begin) return false;
    open += size;
    if (open >= end) return true;
    if (text[open] != '[') return false;
  }
}

unsigned weight(Rule rule) {
  switch (kRules[static_cast<std::size_t>(rule)].cls) {
    case Class::kSecret: return 2;
    case Class::kPath: return 0;
    default: return 1;
  }
}

}  // namespace

void settle(std::string_view text, Hits& hits) {
  if (hits.empty()) return;
  Hit* end = std::remove_if(hits.begin(), hits.end(), [&](const Hit& h) { return only_masks(text, h.begin, h.end); });
  std::sort(hits.begin(), end, [](const Hit& a, const Hit& b) {
    return a.begin != b.begin ? a.begin < b.begin : weight(a.rule) != weight(b.rule) ? weight(a.rule) > weight(b.rule) : a.end > b.end;
  });
  Hit* out = hits.begin();
  for (Hit* h = hits.begin(); h != end; ++h) {
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
