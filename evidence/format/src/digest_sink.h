// A sink that hashes and counts what passes.
#pragma once

#include "stella/crypto/digest.h"
#include "stella/evidence/format/stream.h"

namespace stella::evidence {

class DigestSink final : public ByteSink {
 public:
  explicit DigestSink(ByteSink& out) : out_(out) {}
  Result<void> write(std::string_view bytes) override {
    hasher_.update(bytes);
    size_ += bytes.size();
    return out_.write(bytes);
  }
  Sha256 digest() { return hasher_.finish(); }
  std::uint64_t size() const { return size_; }

 private:
  ByteSink& out_;
  crypto::Hasher hasher_;
  std::uint64_t size_ = 0;
};

}  // namespace stella::evidence
