// Whether a value looks random, also at every place of a long one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stella::telemetry::scrubbing {

// Random characters: three kinds of them that alternate, and few repetitions (3.5 bits each at least). Hex digests, UUIDs, versions, names and
// paths are none. The first 256 characters decide, and they are tallied: a value in which many names stand ("key=key=…") is asked at each of
// them and costs its length once.
class RandomWindow {
 public:
  // Before the first question about a value that begins at `pos`.
  void start(std::size_t pos) {
    begin_ = end_ = pos;
    kinds_ = 0;
    changes_ = 0;
    tallied_ = false;
  }
  // Of the characters of `text` from `pos` to `end`, the end of the value.
  bool random(std::string_view text, std::size_t pos, std::size_t end);

 private:
  static constexpr std::size_t kMost = 256;

  bool alternates() const;
  void tally(std::string_view text);

  // What decides about nearly every value: of [begin_, end_), how many characters of each kind and neighbours of two kinds.
  std::size_t begin_, end_;
  std::uint64_t kinds_;  // five counts side by side (entropy.cc)
  std::size_t changes_;
  // And where that leaves it open, how often each stands in [tallied_begin_, tallied_end_).
  bool tallied_;
  std::size_t tallied_begin_, tallied_end_;
  std::array<std::uint16_t, 256> counts_;
  std::uint64_t weight_;  // the sum of n log2 n over all counts, in units of 2^-32
};

}  // namespace stella::telemetry::scrubbing
