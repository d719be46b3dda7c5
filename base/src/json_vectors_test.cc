// The public JSON suites: JSONTestSuite (RFC 8259) and the JCS vectors (RFC 8785). Skipped where the data set is absent.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>

#include "stella/base/json.h"
#include "stella/testing/shared_data.h"

namespace stella::json {
namespace {

TEST(JsonVectors, JsonTestSuite) {
  const auto dir = STELLA_SHARED_OR_SKIP("vectors/json-test-suite/test_parsing");
  for (const auto& path : testing::files_below(dir, ".json")) {
    const std::string name = path.substr(path.rfind('/') + 1);
    const auto result = parse(testing::slurp(path), {.max_depth = 1000});
    if (name[0] == 'y') {
      // Duplicate names are legal in RFC 8259 but refused here: two readers could see two values.
      const bool duplicate = name.find("duplicated") != std::string::npos;
      EXPECT_EQ(result.has_value(), !duplicate) << name;
    }
    if (name[0] == 'n') {
      EXPECT_FALSE(result.has_value()) << name;
    }
  }
}

TEST(JsonVectors, Jcs) {
  const auto dir = STELLA_SHARED_OR_SKIP("vectors/jcs");
  for (const auto& path : testing::files_below(dir + "/input", ".json")) {
    const auto value = parse(testing::slurp(path));
    ASSERT_TRUE(value) << path << value.error().describe();
    EXPECT_EQ(canonical(*value).value(), testing::slurp(dir + "/output" + path.substr(path.rfind('/')))) << path;
  }
}

TEST(JsonVectors, Es6Numbers) {
  const auto dir = STELLA_SHARED_OR_SKIP("vectors/jcs");
  const std::string table = testing::slurp(dir + "/es6-numbers-10000.txt");
  std::size_t lines = 0;
  for (std::size_t at = 0; at < table.size();) {
    const std::size_t end = table.find('\n', at);
    const std::string line = table.substr(at, end - at);
    at = end + 1;
    const auto comma = line.find(',');
    const double number = std::bit_cast<double>(std::strtoull(line.substr(0, comma).c_str(), nullptr, 16));
    std::string out;
    append_number(out, number);
    ASSERT_EQ(out, line.substr(comma + 1)) << line;
    ++lines;
  }
  EXPECT_EQ(lines, 10'000u);
}

}  // namespace
}  // namespace stella::json
