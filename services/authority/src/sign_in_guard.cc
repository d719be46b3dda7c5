// Failures of the last minute by login and network, and by network.
#include "stella/services/sign_in_guard.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "stella/contracts/errors.h"

namespace stella::authority {
namespace {

namespace errors = contracts::errors;

constexpr std::chrono::minutes kWindow{1};
constexpr std::size_t kEntries = 50'000;  // so many are remembered: each costs whoever makes it a check of a secret

std::string key_of(const std::string& login, const std::string& network) { return network + '\0' + login; }

}  // namespace

std::string network_of(std::string_view address) {
  const std::string text(address.substr(0, 64));
  std::array<unsigned char, 16> bytes{};
  const auto of_four = [&](auto begin) { return *begin == 127 ? std::string() : "4" + std::string(begin, begin + 3); };
  if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return of_four(bytes.begin());
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) return {};
  static constexpr std::array<unsigned char, 16> kOne{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (bytes == kOne) return {};
  static constexpr std::array<unsigned char, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) return of_four(bytes.begin() + 12);
  return "6" + std::string(bytes.begin(), bytes.begin() + 6);
}

std::size_t SignInGuard::lately(const std::string& key, Timestamp now) {
  const auto it = failures_.find(key);
  if (it == failures_.end()) return 0;
  std::erase_if(it->second, [&](Timestamp t) { return t < now - kWindow; });
  return it->second.size();
}

std::size_t SignInGuard::note(std::string key, Timestamp now) {
  if (failures_.size() >= kEntries && !failures_.contains(key)) return 0;
  Times& times = failures_[std::move(key)];
  std::erase_if(times, [&](Timestamp t) { return t < now - kWindow; });
  times.push_back(now);
  return times.size();
}

Result<void> SignInGuard::may_try(const std::string& login, const std::string& network) {
  const Timestamp now = Timestamp::now();
  const Lock lock(mutex_);
  if (lately(key_of(login, network), now) >= kFailuresOfLogin) return Error(errors::kRateLimited, "too many failed logins").with("retry_after", 60);
  if (!network.empty() && lately(network, now) >= kFailuresOfNetwork) return Error(errors::kRateLimited, "too many failed logins from this network").with("retry_after", 60);
  return {};
}

Result<SignInGuard::Check> SignInGuard::check(const std::string& network) {
  const Lock lock(mutex_);
  const auto own = checks_.find(network);
  if (checks_now_ >= kHashesAtOnce || (!network.empty() && own != checks_.end() && own->second >= kHashesOfNetwork)) return Error(errors::kRateLimited, "too many logins at once").with("retry_after", 1);
  ++checks_[network];
  ++checks_now_;
  return Check(this, network);
}

void SignInGuard::ended(const std::string& network) {
  const Lock lock(mutex_);
  --checks_now_;
  if (const auto it = checks_.find(network); --it->second == 0) checks_.erase(it);
}

bool SignInGuard::failed(const std::string& login, const std::string& network) {
  const Timestamp now = Timestamp::now();
  const Lock lock(mutex_);
  if (swept_ < now - kWindow) {
    std::erase_if(failures_, [&](const auto& entry) { return entry.second.empty() || entry.second.back() < now - kWindow; });
    swept_ = now;
  }
  note(network, now);
  return note(key_of(login, network), now) == kFailuresOfLogin;
}

}  // namespace stella::authority
