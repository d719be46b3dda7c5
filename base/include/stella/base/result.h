// Errors as values: Error, Result<T> and the STELLA_TRY macros. Every fallible function of the platform returns a Result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace stella {

// A string known at compile time. Log and error messages are Literals, so run-time data (and with it PII or secrets)
// can never become a message: values travel in typed fields.
class Literal {
 public:
  template <std::size_t N>
  consteval Literal(const char (&text)[N]) : text_(text, N - 1) {}  // NOLINT(google-explicit-constructor)
  constexpr std::string_view view() const { return text_; }
  constexpr const char* c_str() const { return text_.data(); }

 private:
  std::string_view text_;
};

// Numeric identity of an error; names, HTTP statuses and remedies stand in contracts/errors.json.
struct ErrorCode {
  std::uint16_t value = 0;
  friend constexpr bool operator==(ErrorCode, ErrorCode) = default;
};

// The codes that rank 0 itself needs. contracts/errors.json lists the same numbers (a test compares them).
namespace base_errors {
inline constexpr ErrorCode kInternal{1};   // a bug: an invariant of ours does not hold
inline constexpr ErrorCode kMalformed{2};  // input that is not what it claims to be; fields: line, column, expected
inline constexpr ErrorCode kLimit{3};      // input over a stated limit; fields: limit, actual
inline constexpr ErrorCode kIo{4};         // the operating system refused; fields: errno, path
inline constexpr ErrorCode kInvalid{5};    // well-formed but not acceptable; fields: field, expected
inline constexpr ErrorCode kNotFound{6};   // no such thing (or not yours: the two never differ)
}  // namespace base_errors

struct ErrorField {
  std::string_view name;  // always a literal
  std::string value;
};

// What went wrong: a code, a literal message and typed fields. Cheap to move; never carries secrets or PII.
class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, Literal message) : code_(code), message_(message) {}

  Error&& with(Literal name, std::string value) && {
    fields_.push_back({name.view(), std::move(value)});
    return std::move(*this);
  }
  Error&& with(Literal name, std::uint64_t value) && { return std::move(*this).with(name, std::to_string(value)); }

  void add(Literal name, std::string value) { fields_.push_back({name.view(), std::move(value)}); }

  ErrorCode code() const { return code_; }
  std::string_view message() const { return message_.view(); }
  const std::vector<ErrorField>& fields() const { return fields_; }
  // The value of the field, or "" where it is absent.
  std::string_view field(std::string_view name) const;
  // "message (name=value, …)": for people and tests.
  std::string describe() const;

 private:
  ErrorCode code_;
  Literal message_;
  std::vector<ErrorField> fields_;
};

// std::expected that may not be ignored. GCC 12 offers no monadic operations: use STELLA_TRY.
template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using Base = std::expected<T, Error>;
  using Base::Base;
  Result(Error error) : Base(std::unexpected(std::move(error))) {}  // NOLINT(google-explicit-constructor)
};

template <>
class [[nodiscard]] Result<void> : public std::expected<void, Error> {
 public:
  using Base = std::expected<void, Error>;
  using Base::Base;
  Result() = default;
  Result(Error error) : Base(std::unexpected(std::move(error))) {}  // NOLINT(google-explicit-constructor)
};

}  // namespace stella

// Statement: STELLA_TRY_VOID(f()); returns the error of a failed Result<…> and drops its value.
#define STELLA_TRY_VOID(...)                                       \
  do {                                                             \
    if (auto stella_try_ = (__VA_ARGS__); !stella_try_.has_value()) \
      return std::move(stella_try_.error());                       \
  } while (0)

// Whole initialiser only (inside a braced aggregate GCC 12 leaks finished members): auto x = STELLA_TRY(f());
#define STELLA_TRY(...)                                                            \
  ({                                                                               \
    auto stella_try_ = (__VA_ARGS__);                                              \
    if (!stella_try_.has_value()) return std::move(stella_try_.error());           \
    std::move(*stella_try_);                                                       \
  })
