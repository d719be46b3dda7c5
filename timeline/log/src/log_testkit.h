// What the tests of notes, checkpoints, proofs and witnesses share: the published cases, fixed keys, and small leaves. Tests only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"
#include "stella/testing/shared_data.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/note.h"

namespace stella::timeline::testkit {

// The array of cases in a vector file.
inline json::Array cases(const std::string& path) {
  auto doc = json::parse(testing::slurp(path));
  EXPECT_TRUE(doc.has_value() && doc->is_array()) << path;
  return doc && doc->is_array() ? doc->as_array() : json::Array{};
}

// The same key for the same letter in every run.
inline crypto::Ed25519KeyPair key_of(char letter) { return crypto::Ed25519KeyPair::from_seed(std::string(32, letter)).value(); }

inline std::vector<Sha256> leaves_of(std::size_t n, std::string_view prefix = "") {
  std::vector<Sha256> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.push_back(leaf_hash(std::string(prefix) + std::to_string(i)));
  return out;
}

inline std::vector<VerifierKey> vkeys(const json::Array& texts) {
  std::vector<VerifierKey> out;
  for (const auto& text : texts) out.push_back(VerifierKey::parse(text.as_string()).value());
  return out;
}

}  // namespace stella::timeline::testkit
