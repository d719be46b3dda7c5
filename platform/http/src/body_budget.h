// What the bodies that are being held may take together, and how much of the disk is left for everything else.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace stella::http {

// Bytes that several hold at once. Thread-safe.
class Budget {
 public:
  explicit Budget(std::uint64_t limit) : limit_(limit) {}
  // False, and nothing is taken, where it would be more than the limit.
  bool take(std::uint64_t bytes) {
    if (used_.fetch_add(bytes) + bytes <= limit_) return true;
    used_ -= bytes;
    return false;
  }
  void give_back(std::uint64_t bytes) { used_ -= bytes; }
  std::uint64_t used() const { return used_; }

 private:
  const std::uint64_t limit_;
  std::atomic<std::uint64_t> used_{0};
};

// One holder's part of a budget; given back with it. Null budget: no limit. Not thread-safe.
class Share {
 public:
  explicit Share(Budget* budget = nullptr) : budget_(budget) {}
  Share(Share&& other) noexcept : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
  Share& operator=(Share&& other) noexcept {
    if (this != &other) {
      reset();
      budget_ = other.budget_;
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  ~Share() { reset(); }
  // Grows to at least `bytes`, in steps of `step` so that a counter is not touched for every piece. False: the budget is used up.
  bool cover(std::uint64_t bytes, std::uint64_t step) {
    if (budget_ == nullptr || bytes <= bytes_) return true;
    const std::uint64_t more = (bytes - bytes_ + step - 1) / step * step;
    if (!budget_->take(more)) return false;
    bytes_ += more;
    return true;
  }
  bool held() const { return bytes_ > 0; }
  void reset() {
    if (budget_ != nullptr && bytes_ > 0) budget_->give_back(std::exchange(bytes_, 0));
  }

 private:
  Budget* budget_;
  std::uint64_t bytes_ = 0;
};

// Whether the file system of `dir` has more than `bytes` left for those who are not root; false where that cannot be told.
bool has_room(const std::string& dir, std::uint64_t bytes);

}  // namespace stella::http
