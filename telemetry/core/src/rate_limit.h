// Token buckets per tenant, in the time of the records themselves: a backlog that is drained late is judged as it was written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace stella::telemetry {

// One thread. A bucket costs about 100 bytes; beyond kTenants of them the ones that are full go.
class RateLimit {
 public:
  // `per_second` 0: no limit.
  RateLimit(double per_second, double burst) : rate_(per_second / 1e9), burst_(burst > per_second ? burst : per_second) {}

  bool off() const { return rate_ == 0; }
  // Takes one token; false where there is none, and the loss is remembered for due().
  bool take(std::string_view tenant, std::int64_t ns);
  struct Bite {
    std::string tenant;
    std::uint64_t lost = 0;
  };
  // Tenants that lost lines, once each kEvery of the time of the records; `all` at the end.
  std::vector<Bite> due(std::int64_t ns, bool all);

 private:
  static constexpr std::int64_t kEvery = 10'000'000'000;
  static constexpr std::int64_t kSetBack = 10'000'000'000;
  static constexpr std::size_t kTenants = 10'000;
  struct Bucket {
    double tokens = 0;
    std::int64_t at = 0, told = 0;
    std::uint64_t lost = 0;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  double rate_, burst_;
  std::unordered_map<std::string, Bucket, Hash, std::equal_to<>> buckets_;
  std::uint64_t biting_ = 0;
};

}  // namespace stella::telemetry
