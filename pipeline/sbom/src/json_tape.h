// Where each token of a JSON text begins: simdjson's stage 1, which also checks UTF-8, closed strings and control characters.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "stella/base/result.h"

namespace stella::pipeline::sbom {

// Line and column (1-based, bytes) of a byte offset.
struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
};
Position position_of(std::string_view text, std::size_t offset);
Error malformed_at(std::string_view text, std::size_t offset, Literal message, std::string_view expected);

// Views `text`, which must outlive the tape.
class Tape {
 public:
  // kMalformed with line, column, expected; kLimit where memory for the index is refused.
  static Result<Tape> build(std::string_view text);
  Tape(Tape&&) noexcept;
  Tape& operator=(Tape&&) noexcept;
  ~Tape();

  std::string_view text() const { return text_; }
  // Offsets of the first bytes of the tokens { } [ ] : , and of strings and scalars, ascending; then text.size() twice.
  const std::uint32_t* begin() const { return begin_; }
  const std::uint32_t* end() const { return end_; }
  // Offsets of the escapes' backslashes, ascending, then 0xffffffff.
  const std::uint32_t* escapes() const { return escapes_.data(); }

 private:
  Tape();
  struct Index;
  std::unique_ptr<Index> index_;
  std::string_view text_;
  const std::uint32_t* begin_ = nullptr;
  const std::uint32_t* end_ = nullptr;
  std::vector<std::uint32_t> escapes_;
};

}  // namespace stella::pipeline::sbom
