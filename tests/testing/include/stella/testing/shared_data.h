// Where tests find the optional data set and the project's own samples.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stella::testing {

// Path below the shared data directory (../shared beside the checkout, or $STELLA_SHARED); nullopt where it is absent.
std::optional<std::string> shared_path(std::string_view below);
// Path below the project's root.
std::string source_path(std::string_view below);
// The whole file; fails the test where it cannot be read.
std::string slurp(const std::string& path);
// All regular files below `dir` whose name ends in `suffix`, sorted.
std::vector<std::string> files_below(const std::string& dir, std::string_view suffix);

}  // namespace stella::testing

// At the top of a test: `const auto path = STELLA_SHARED_OR_SKIP("vectors/jcs");`
#define STELLA_SHARED_OR_SKIP(below)                                                      \
  ({                                                                                      \
    auto stella_path_ = ::stella::testing::shared_path(below);                            \
    if (!stella_path_) GTEST_SKIP() << "skipped: no data set (" << (below) << ")";        \
    *stella_path_;                                                                        \
  })
