// Finds the optional data set beside the checkout.
#include "stella/testing/shared_data.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "stella/base/file.h"

namespace stella::testing {

std::optional<std::string> shared_path(std::string_view below) {
  const char* env = std::getenv("STELLA_SHARED");
  const std::string root = env != nullptr ? env : std::string(STELLA_SOURCE_DIR) + "/../shared";
  std::string path = root + "/" + std::string(below);
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

std::string source_path(std::string_view below) { return std::string(STELLA_SOURCE_DIR) + "/" + std::string(below); }

std::string slurp(const std::string& path) {
  auto bytes = read_file(path, 1ull << 30);
  EXPECT_TRUE(bytes.has_value()) << path;
  return bytes ? std::move(*bytes) : std::string();
}

std::vector<std::string> files_below(const std::string& dir, std::string_view suffix) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir))
    if (entry.is_regular_file() && entry.path().string().ends_with(suffix)) out.push_back(entry.path().string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace stella::testing
