// The loop over blocks and the arithmetic on their bit masks, shared by the three implementations. Each includes it once, inside an unnamed
// namespace and (for vectors) under its own target options.
//
// Masks are written so that a bit stands at the *last* byte of what it is about: only earlier bytes decide. The masks of several blocks lie side
// by side in one vector of 64-bit lanes, so that the arithmetic, which needs more instructions than the look at the bytes, is done for all at once
// and nothing is carried from block to block but by a move of lanes.

#pragma once

// What 64 bytes are, one bit a byte; or several such blocks, one a lane.
template <class V>
struct MasksOf {
  V digit, dot, colon, at, sep /* blank, - */, open /* + ( */, symbol /* + - / _ */, word /* base64 */;
  V first, second;  // may be the first, second of four base64 characters that encode three ASCII bytes
  V trigger;
};
using Masks = MasksOf<std::uint64_t>;

// One block and none before it.
struct One {
  using V = std::uint64_t;
  static V before(V, V) { return 0; }
  template <int k>
  static V shift(V x, V) {
    return x << k;
  }
};

typedef std::uint64_t Two __attribute__((vector_size(16)));
typedef std::uint64_t Four __attribute__((vector_size(32)));
typedef std::uint64_t Eight __attribute__((vector_size(64)));

// L blocks, in the vector extension of the compiler.
template <class Vector>
struct Lanes {
  using V = Vector;
  static constexpr std::size_t kLanes = sizeof(V) / 8;
  // Each lane the one before it: the first is the last of `last`.
  static inline __attribute__((always_inline)) V before(const V& x, const V& last) {
    if constexpr (kLanes == 8) return __builtin_shufflevector(last, x, 7, 8, 9, 10, 11, 12, 13, 14);
    if constexpr (kLanes == 4) return __builtin_shufflevector(last, x, 3, 4, 5, 6);
    if constexpr (kLanes == 2) return __builtin_shufflevector(last, x, 1, 2);
  }
  // x << k, filled up from the end of the block before.
  template <int k>
  static inline __attribute__((always_inline)) V shift(const V& x, const V& before) {
    return x << k | before >> (64 - k);
  }
  static inline __attribute__((always_inline)) void load(V& to, const std::uint64_t* from, std::size_t n) {
    to = V{};
    for (std::size_t i = 0; i < n; ++i) to[i] = from[i];
  }
  static inline __attribute__((always_inline)) unsigned nonzero(const V& x) {
    unsigned out = 0;
    for (std::size_t i = 0; i < kLanes; ++i) out |= static_cast<unsigned>(x[i] != 0) << i;
    return out;
  }
  // The rows of a bucket that `window` is of, as bits.
  static inline __attribute__((always_inline)) unsigned rows(std::size_t bucket, std::uint32_t window) {
    unsigned out = 0;
    for (std::size_t i = 0; i < Windows::kMost; ++i) out |= static_cast<unsigned>((window & kWindows.mask[bucket][i]) == kWindows.value[bucket][i]) << i;
    return out;
  }
};

// Each mask of which bits move, as it was in the blocks before.
template <class V>
struct Carry {
  V dot{}, digit{}, dotted{}, dotted2{}, colon{}, colon2{}, run{}, run2{}, run4{}, open{}, word{}, symbol{}, start{}, first{}, pair{};
};

// A mask with the blocks before it.
template <class Ops>
struct Moving {
  using V = typename Ops::V;
  inline __attribute__((always_inline)) Moving(const V& value, V& last) : x(value), before(Ops::before(value, last)) { last = value; }
  template <int k>
  inline __attribute__((always_inline)) V by() const {
    return Ops::template shift<k>(x, before);
  }
  const V x, before;
};

template <class Ops, class V = typename Ops::V>
inline __attribute__((always_inline)) void combine(const MasksOf<V>& b, Carry<V>& c, CandidatesOf<V>& out) {
  using M = Moving<Ops>;
  out.trigger = b.trigger;
  out.at = b.at;

  const M digit(b.digit, c.digit), dot(b.dot, c.dot);
  const M dotted(b.digit & dot.template by<1>() & digit.template by<2>(), c.dotted);
  const M dotted2(dotted.x & (dotted.template by<2>() | dotted.template by<3>() | dotted.template by<4>() | dotted.template by<5>()), c.dotted2);
  out.dotted = dotted2.x & (dotted2.template by<2>() | dotted2.template by<3>() | dotted2.template by<4>() | dotted2.template by<5>());

  const M colon(b.colon, c.colon);
  const M colon2(b.colon & (colon.template by<2>() | colon.template by<3>() | colon.template by<4>() | colon.template by<5>()), c.colon2);
  out.colons = colon2.x & (colon2.template by<2>() | colon2.template by<3>() | colon2.template by<4>() | colon2.template by<5>());

  const M run(b.digit | (b.sep & digit.template by<1>()), c.run);
  const M run2(run.x & run.template by<1>(), c.run2);
  const M run4(run2.x & run2.template by<2>(), c.run4);
  out.digits = run4.x & run4.template by<4>() & run4.template by<8>();
  const M open(b.open, c.open);
  out.open = b.digit & open.template by<1>();

  // Twelve characters that may be base64 of ASCII, from a start: the pair of the first quad ends at start + 1, that of the third at start + 9.
  const M word(b.word, c.word), symbol(b.symbol, c.symbol), first(b.first, c.first);
  const M start(b.word & (~word.template by<1>() | symbol.template by<1>()), c.start);
  const M pair(b.second & first.template by<1>(), c.pair);
  out.base64 = pair.x & pair.template by<4>() & pair.template by<8>() & start.template by<9>();
}

template <class V>
inline __attribute__((always_inline)) V any_of(const CandidatesOf<V>& c) {
  return c.trigger | c.at | c.dotted | c.colons | c.digits | c.open | c.base64;
}

// Keeps a mask in a general register: the shifts of mask registers are slow.
inline __attribute__((always_inline)) std::uint64_t pin(std::uint64_t m) {
  asm("" : "+r"(m));
  return m;
}

inline __attribute__((always_inline)) Masks pinned(const Masks& m) {
  return {pin(m.digit), pin(m.dot), pin(m.colon), m.at, pin(m.sep), pin(m.open), pin(m.symbol), pin(m.word), pin(m.first), pin(m.second), m.trigger};
}

// A short text at a glance: its block is its only one, and what an e-mail address or base64 needs behind it is known.
template <class Isa>
inline __attribute__((always_inline)) bool quiet(std::string_view text) {
  const std::size_t size = text.size();
  if (size == 0) return true;
  Isa isa;
  const Masks masks = pinned(isa.tail(reinterpret_cast<const std::uint8_t*>(text.data()), size, size));
  Carry<std::uint64_t> none;
  Candidates found;
  combine<One>(masks, none, found);
  found.at &= masks.dot == 0 ? 0 : ~std::uint64_t{0} >> std::countl_zero(masks.dot);  // a dot follows
  if (size < 16) found.base64 = 0;
  return any_of(found) == 0 && !isa.rare();
}

template <class F>
inline __attribute__((always_inline)) void each(std::uint64_t mask, F&& f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<std::size_t>(std::countr_zero(mask)));
}
// The same, but a call may have looked further: positions before `seen` are passed over.
template <class F>
inline __attribute__((always_inline)) void each_unseen(std::uint64_t mask, std::size_t base, const std::size_t& seen, F&& f) {
  while (mask != 0) {
    const auto i = static_cast<std::size_t>(std::countr_zero(mask));
    f(base + i);
    const std::size_t next = seen > base + i ? seen - base : i + 1;
    mask = next > 63 ? 0 : mask & (~std::uint64_t{0} << next);
  }
}

// Isa::block(p) classifies p[0..63] and may read up to p[66]; Isa::tail(p, n, size) the last n of `size` bytes, 0 < n < 67 (what lies behind
// counts as 0). Isa::rare(): some percent sign, backslash or byte beyond ASCII was seen. Isa::buckets() writes the buckets of the block just
// classified; Isa::flags() says which rare characters were seen in any. Isa::Ops: the lanes.
template <class Isa>
class Scan {
  using Ops = typename Isa::Ops;
  using V = typename Ops::V;
  static constexpr std::size_t kLanes = Ops::kLanes;

 public:
  inline __attribute__((always_inline)) explicit Scan(Finder& finder)
      : finder_(finder), text_(reinterpret_cast<const std::uint8_t*>(finder.text().data())), size_(finder.text().size()) {}
  inline __attribute__((always_inline)) void all() {
    if (size_ <= 64) {
      if (size_ != 0) single();
    } else if (size_ <= 64 * kLanes) {  // nearly every text: nothing comes before its blocks
      Carry<V> none;
      group(0, none);
    } else {
      Carry<V> carry;
      for (std::size_t base = 0; base < size_; base += 64 * kLanes) group(base, carry);
    }
    isa_.flags(finder_);
  }

 private:
  inline __attribute__((always_inline)) void single() {
    const Masks masks = pinned(isa_.tail(text_, size_, size_));
    Carry<std::uint64_t> none;
    Candidates found;
    combine<One>(masks, none, found);
    if (any_of(found) == 0) return;
    isa_.buckets(buckets_[0]);
    candidates(found, buckets_[0], 0);
  }
  inline __attribute__((always_inline)) void keep(const Masks& m, std::size_t n) {
    in_.digit[n] = m.digit;
    in_.dot[n] = m.dot;
    in_.colon[n] = m.colon;
    in_.at[n] = m.at;
    in_.sep[n] = m.sep;
    in_.open[n] = m.open;
    in_.symbol[n] = m.symbol;
    in_.word[n] = m.word;
    in_.first[n] = m.first;
    in_.second[n] = m.second;
    in_.trigger[n] = m.trigger;
    isa_.buckets(buckets_[n]);
  }
  // The blocks from `base` on, as many as there are lanes.
  inline __attribute__((always_inline)) void group(std::size_t base, Carry<V>& carry) {
    std::size_t n = 0;
    for (; n < kLanes && base + 64 * n + 67 <= size_; ++n) keep(isa_.block(text_ + base + 64 * n), n);
    for (; n < kLanes && base + 64 * n < size_; ++n) keep(isa_.tail(text_ + base + 64 * n, size_ - base - 64 * n, size_), n);
    MasksOf<V> masks;
    Ops::load(masks.digit, in_.digit, n);
    Ops::load(masks.dot, in_.dot, n);
    Ops::load(masks.colon, in_.colon, n);
    Ops::load(masks.at, in_.at, n);
    Ops::load(masks.sep, in_.sep, n);
    Ops::load(masks.open, in_.open, n);
    Ops::load(masks.symbol, in_.symbol, n);
    Ops::load(masks.word, in_.word, n);
    Ops::load(masks.first, in_.first, n);
    Ops::load(masks.second, in_.second, n);
    Ops::load(masks.trigger, in_.trigger, n);
    CandidatesOf<V> found;
    combine<Ops>(masks, carry, found);
    unsigned lanes = Ops::nonzero(any_of(found));
    if (lanes == 0) return;
    const CandidatesOf<V> copy = found;  // in memory
    for (; lanes != 0; lanes &= lanes - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(lanes));
      const Candidates one{copy.trigger[i], copy.at[i], copy.dotted[i], copy.colons[i], copy.digits[i], copy.open[i], copy.base64[i]};
      candidates(one, buckets_[i], base + 64 * i);
    }
  }

  // First all compares, then all calls: a call would make the first forget its registers.
  inline __attribute__((always_inline)) void triggers(std::string_view text, std::uint64_t trigger, const Buckets& buckets, std::size_t base) {
    struct Ready {
      std::uint8_t at, bucket;
      std::uint16_t rows;
    };
    Ready ready[64 * 16];  // uninitialised on purpose
    Ready* end = ready;
    each(trigger, [&](std::size_t i) __attribute__((always_inline)) {
      const std::uint32_t window = window_at(text, base + i);
      for (unsigned in = buckets.low[i] | buckets.up[i] << 8; in != 0; in &= in - 1) {
        const auto bucket = static_cast<std::size_t>(std::countr_zero(in));
        const unsigned rows = Ops::rows(bucket, window);
        *end = {static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(bucket), static_cast<std::uint16_t>(rows)};
        end += rows != 0;
      }
    });
    for (const Ready* r = ready; r != end; ++r) {
      for (unsigned rows = r->rows; rows != 0; rows &= rows - 1) {
        const Task& task = kTasks[kBucketBegin[r->bucket] + static_cast<std::size_t>(std::countr_zero(rows))];
        if (base + r->at >= task.at) finder_.match(task.matcher, task.rule, base + r->at, task.at);
      }
    }
  }

  // Not inlined: the loop over blocks needs the registers.
  __attribute__((noinline)) void candidates(const Candidates& found, const Buckets& buckets, std::size_t base) {
    finder_.start();
    const std::string_view text = finder_.text();
    if (found.trigger != 0) triggers(text, found.trigger, buckets, base);
    each(found.at, [&](std::size_t i) { finder_.email(base + i); });
    each_unseen(found.dotted, base, finder_.seen_dotted(), [&](std::size_t pos) { finder_.ipv4(pos); });
    each_unseen(found.colons, base, finder_.seen_colons(), [&](std::size_t pos) { finder_.ipv6(pos); });
    each_unseen(found.digits, base, finder_.seen_digits(), [&](std::size_t pos) { finder_.digits(pos); });
    each(found.open, [&](std::size_t i) { finder_.phone(base + i); });
    if (finder_.in_base64()) each(found.base64, [&](std::size_t i) { finder_.base64(base + i - 9); });
  }

  Finder& finder_;
  const std::uint8_t* const text_;
  const std::size_t size_;
  Isa isa_;
  MasksOf<std::uint64_t[kLanes]> in_;  // uninitialised on purpose, as the buckets
  Buckets buckets_[kLanes];
};
