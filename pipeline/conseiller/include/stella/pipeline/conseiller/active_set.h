// The advisory documents that are in force: the input `active.bin` of advisory.link. Immutable, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::pipeline {

// A view over sorted, distinct 32-byte digests; the bytes must outlive it.
class ActiveSet {
 public:
  ActiveSet() = default;
  // kMalformed unless `bytes` is strictly ascending digests, one after the other.
  static Result<ActiveSet> parse(std::string_view bytes);
  // The bytes of `active.bin`: sorted, repeated digests once.
  static std::string encode(std::vector<Sha256> digests);

  // `digest` is 32 raw bytes.
  bool contains(std::string_view digest) const;
  std::size_t size() const { return bytes_.size() / Sha256::kSize; }

 private:
  explicit ActiveSet(std::string_view bytes) : bytes_(bytes) {}
  std::string_view bytes_;
};

}  // namespace stella::pipeline
