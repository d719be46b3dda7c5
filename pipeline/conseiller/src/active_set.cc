// The set of documents in force, as sorted digests.
#include "stella/pipeline/conseiller/active_set.h"

#include <algorithm>

namespace stella::pipeline {

Result<ActiveSet> ActiveSet::parse(std::string_view bytes) {
  constexpr std::size_t kSize = Sha256::kSize;
  if (bytes.size() % kSize != 0)
    return Error(base_errors::kMalformed, "not a set of digests").with("expected", "a multiple of 32 bytes").with("actual", bytes.size());
  for (std::size_t at = kSize; at < bytes.size(); at += kSize)
    if (bytes.substr(at - kSize, kSize) >= bytes.substr(at, kSize))
      return Error(base_errors::kMalformed, "not a set of digests").with("expected", "strictly ascending digests").with("offset", at);
  return ActiveSet(bytes);
}

std::string ActiveSet::encode(std::vector<Sha256> digests) {
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  std::string out;
  out.reserve(digests.size() * Sha256::kSize);
  for (const auto& digest : digests) out += digest.view();
  return out;
}

bool ActiveSet::contains(std::string_view digest) const {
  std::size_t low = 0;
  std::size_t high = size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    const int order = bytes_.substr(middle * Sha256::kSize, Sha256::kSize).compare(digest);
    if (order == 0) return true;
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return false;
}

}  // namespace stella::pipeline
