// The loop over blocks and the arithmetic on their bit masks, shared by the three implementations. Each includes it once, inside an unnamed
// namespace and (for vectors) under its own target options.
//
// Masks are written so that a bit stands at the *last* byte of what it is about: only earlier bytes, of this block or the one before, decide.

#pragma once

// What 64 bytes are: one bit a byte.
struct Masks {
  std::uint64_t digit, dot, colon, at, sep /* blank, - */, open /* + ( */, symbol /* + - / _ */, word /* base64 */;
  std::uint64_t first, second;  // may be the first, second of four base64 characters that encode three ASCII bytes
  std::uint64_t trigger;
};

// The top bits of a mask of the block before, at the bottom: what `m << k` lacks. Kept apart from the shift so that no double-word shift is
// made of the two, which is slow on some CPUs.
struct Carry {
  std::uint64_t dot1 = 0, digit1 = 0, digit2 = 0, dotted234 = 0, dotted2_234 = 0, colon2345 = 0, colon2_2345 = 0, run1 = 0, run2 = 0, run4_4 = 0, run4_8 = 0, open1 = 0, word1 = 0, symbol1 = 0, start9 = 0,
                first1 = 0, pair4 = 0, pair8 = 0;
};

// Any of 2, 3, 4 (and 5) bytes further on.
inline __attribute__((always_inline)) std::uint64_t on234(std::uint64_t m) { return m << 2 | m << 3 | m << 4; }
inline __attribute__((always_inline)) std::uint64_t top234(std::uint64_t m) { return m >> 62 | m >> 61 | m >> 60; }
inline __attribute__((always_inline)) std::uint64_t on2345(std::uint64_t m) { return on234(m) | m << 5; }
inline __attribute__((always_inline)) std::uint64_t top2345(std::uint64_t m) { return top234(m) | m >> 59; }

// Keeps a mask in a general register: the shifts of mask registers are slow.
inline __attribute__((always_inline)) std::uint64_t pin(std::uint64_t m) {
  asm("" : "+r"(m));
  return m;
}

inline __attribute__((always_inline)) Candidates combine(const Masks& in, Carry& c) {
  const Masks b{pin(in.digit), pin(in.dot), pin(in.colon), in.at, pin(in.sep), pin(in.open), pin(in.symbol), pin(in.word), pin(in.first), pin(in.second), in.trigger};
  Candidates out;
  out.trigger = b.trigger;
  out.at = b.at;

  const std::uint64_t dotted = b.digit & (b.dot << 1 | c.dot1) & (b.digit << 2 | c.digit2);
  const std::uint64_t dotted2 = dotted & (on234(dotted) | c.dotted234);
  out.dotted = dotted2 & (on234(dotted2) | c.dotted2_234);

  const std::uint64_t colon2 = b.colon & (on2345(b.colon) | c.colon2345);
  out.colons = colon2 & (on2345(colon2) | c.colon2_2345);

  const std::uint64_t run = b.digit | (b.sep & (b.digit << 1 | c.digit1));
  const std::uint64_t run2 = run & (run << 1 | c.run1);
  const std::uint64_t run4 = run2 & (run2 << 2 | c.run2);
  out.digits = run4 & (run4 << 4 | c.run4_4) & (run4 << 8 | c.run4_8);
  out.open = b.digit & (b.open << 1 | c.open1);

  // Twelve characters that may be base64 of ASCII, from a start: the pair of the first quad ends at start + 1, that of the third at start + 9.
  const std::uint64_t start = b.word & (~(b.word << 1 | c.word1) | (b.symbol << 1 | c.symbol1));
  const std::uint64_t pair = b.second & (b.first << 1 | c.first1);
  out.base64 = pair & (pair << 4 | c.pair4) & (pair << 8 | c.pair8) & (start << 9 | c.start9);

  c.dot1 = b.dot >> 63;
  c.digit1 = b.digit >> 63;
  c.digit2 = b.digit >> 62;
  c.dotted234 = top234(dotted);
  c.dotted2_234 = top234(dotted2);
  c.colon2345 = top2345(b.colon);
  c.colon2_2345 = top2345(colon2);
  c.run1 = run >> 63;
  c.run2 = run2 >> 62;
  c.run4_4 = run4 >> 60;
  c.run4_8 = run4 >> 56;
  c.open1 = b.open >> 63;
  c.word1 = b.word >> 63;
  c.symbol1 = b.symbol >> 63;
  c.start9 = start >> 55;
  c.first1 = b.first >> 63;
  c.pair4 = pair >> 60;
  c.pair8 = pair >> 56;
  return out;
}

inline __attribute__((always_inline)) bool any_of(const Candidates& c) { return (c.trigger | c.at | c.dotted | c.colons | c.digits | c.open | c.base64) != 0; }

// A short text at a glance: its block is its only one, so no carries, and what an e-mail address or base64 needs behind it is known.
template <class Isa>
inline __attribute__((always_inline)) bool quiet(std::string_view text) {
  const std::size_t size = text.size();
  if (size == 0) return true;
  Isa isa;
  const Masks masks = isa.tail(reinterpret_cast<const std::uint8_t*>(text.data()), size, size);
  Carry none;
  Candidates found = combine(masks, none);
  found.at &= masks.dot == 0 ? 0 : ~std::uint64_t{0} >> std::countl_zero(masks.dot);  // a dot follows
  if (size < 16) found.base64 = 0;
  return !any_of(found) && !isa.rare();
}

// Isa::block(p) classifies p[0..63] and may read up to p[66]; Isa::tail(p, n, size) the last n of `size` bytes, 0 < n < 67 (what lies behind
// counts as 0). Isa::rare(): some percent sign, backslash or byte beyond ASCII was seen. Isa::buckets() writes the buckets of the block just classified; Isa::flags() says which rare characters were seen in any.
template <class Isa>
inline __attribute__((always_inline)) void scan(Finder& finder) {
  const std::uint8_t* text = reinterpret_cast<const std::uint8_t*>(finder.text().data());
  const std::size_t size = finder.text().size();
  Isa isa;
  const auto step = [&](const Masks& masks, std::size_t i, Carry& carry) __attribute__((always_inline)) {
    const Candidates found = combine(masks, carry);
    if (any_of(found)) {
      const Candidates copy = found;
      Buckets buckets;
      isa.buckets(buckets);
      finder.candidates(copy, buckets, i);
    }
  };
  if (size <= 64) {  // most fields: nothing to carry
    Carry none;
    if (size != 0) step(isa.tail(text, size, size), 0, none);
  } else {
    Carry carry;
    std::size_t i = 0;
    for (; i + 67 <= size; i += 64) step(isa.block(text + i), i, carry);
    for (; i < size; i += 64) step(isa.tail(text + i, size - i, size), i, carry);
  }
  isa.flags(finder);
}
