// Secret<T> and Pii<T>: values that no log line, span, metric or formatted text accepts. Using one as such does not compile.
#pragma once

#include <string.h>  // explicit_bzero

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

namespace stella {

namespace telemetry::detail {
template <class>
inline constexpr bool kNever = false;
}

// A key, password or token. Text is wiped when the holder goes. Reading it is `expose()`: easy to find in a review.
template <class T>
class Secret {
 public:
  Secret() = default;
  explicit Secret(T value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { other.wipe(); }
  Secret& operator=(const Secret&) = default;
  Secret& operator=(Secret&& other) noexcept {
    wipe();
    value_ = std::move(other.value_);
    other.wipe();
    return *this;
  }
  ~Secret() { wipe(); }
  const T& expose() const { return value_; }

 private:
  void wipe() {
    if constexpr (std::is_same_v<T, std::string>) {
      explicit_bzero(value_.data(), value_.capacity());  // the short buffer that a move leaves behind, too
      value_.clear();
    }
  }
  T value_{};
};

// A personal datum. Accepted only by fields of PII class `pii`, which the library masks: f::email(Pii<std::string>(…)).
template <class T>
class Pii {
 public:
  Pii() = default;
  explicit Pii(T value) : value_(std::move(value)) {}
  const T& expose() const { return value_; }

 private:
  T value_{};
};

template <class T>
std::ostream& operator<<(std::ostream& out, const Secret<T>&) {
  static_assert(telemetry::detail::kNever<T>, "a Secret must not be printed: leave it out");
  return out;
}
template <class T>
std::ostream& operator<<(std::ostream& out, const Pii<T>&) {
  static_assert(telemetry::detail::kNever<T>, "a Pii must not be printed: give it to a typed field, which masks it");
  return out;
}

}  // namespace stella

// fmt's own message for a missing formatter is obscure; these print ours. Declared without fmt's headers, matching fmt 9.
namespace fmt {
inline namespace v9 {
template <typename T, typename Char, typename Enable>
struct formatter;
}
}  // namespace fmt
template <class T, class Char>
struct fmt::formatter<stella::Secret<T>, Char, void> {
  static_assert(stella::telemetry::detail::kNever<T>, "a Secret must not be formatted: leave it out");
};
template <class T, class Char>
struct fmt::formatter<stella::Pii<T>, Char, void> {
  static_assert(stella::telemetry::detail::kNever<T>, "a Pii must not be formatted: give it to a typed field, which masks it");
};
