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
    *this = RandomWindow{};
    begin_ = end_ = pos;
  }
  // Of the characters of `text` from `pos` to `end`, the end of the value.
  bool random(std::string_view text, std::size_t pos, std::size_t end);

 private:
  static constexpr std::size_t kMost = 256;

  void add(char c);
  void drop(char c);
  bool verdict() const;

  std::size_t begin_ = 0, end_ = 0;
  std::array<std::uint16_t, 256> counts_{};
  std::array<std::uint16_t, 4> kinds_{};  // upper case, lower case, digits, others
  std::uint16_t hex_ = 0;                 // hex digits and '-'
  std::uint16_t changes_ = 0;             // neighbours of two kinds
  std::uint64_t weight_ = 0;              // the sum of n log2 n over all counts, in units of 2^-32
};

}  // namespace stella::telemetry::scrubbing
