// How often somebody may try secrets, and how many are checked at once: by login and network, so that a stranger's guesses neither shut the door to
// the login's holder nor take all that the checks of others need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"

namespace stella::authority {

// Whom a peer's address stands for: the /24 of an IPv4 address, the /48 of an IPv6 one. "" for what is no address and for
// this machine: a proxy that nobody told us of stands there for everybody, so only the failures of each login are counted.
std::string network_of(std::string_view address);

// Thread-safe.
class SignInGuard {
 public:
  static constexpr std::size_t kFailuresOfLogin = 10;     // from one network within a minute
  static constexpr std::size_t kFailuresOfNetwork = 100;  // with whatever logins
  static constexpr int kHashesAtOnce = 4;                 // half of the workers that requests have by default
  static constexpr int kHashesOfNetwork = 2;

  // A secret that is being checked.
  class Check {
   public:
    Check() = default;
    Check(Check&& other) noexcept : guard_(std::exchange(other.guard_, nullptr)), network_(std::move(other.network_)) {}
    Check& operator=(Check&&) = delete;
    ~Check() {
      if (guard_ != nullptr) guard_->ended(network_);
    }

   private:
    friend class SignInGuard;
    Check(SignInGuard* guard, std::string network) : guard_(guard), network_(std::move(network)) {}
    SignInGuard* guard_ = nullptr;
    std::string network_;
  };

  // kRateLimited where it may not be tried now.
  Result<void> may_try(const std::string& login, const std::string& network);
  // kRateLimited where too many are being checked.
  Result<Check> check(const std::string& network);
  // True where this was the one that shut the door.
  bool failed(const std::string& login, const std::string& network);

 private:
  using Times = std::vector<Timestamp>;
  std::size_t lately(const std::string& key, Timestamp now) STELLA_REQUIRES(mutex_);
  std::size_t note(std::string key, Timestamp now) STELLA_REQUIRES(mutex_);
  void ended(const std::string& network);

  Mutex mutex_;
  std::unordered_map<std::string, Times> failures_ STELLA_GUARDED_BY(mutex_);
  Timestamp swept_ STELLA_GUARDED_BY(mutex_);
  std::unordered_map<std::string, int> checks_ STELLA_GUARDED_BY(mutex_);  // of networks that have some
  int checks_now_ STELLA_GUARDED_BY(mutex_) = 0;
};

}  // namespace stella::authority
