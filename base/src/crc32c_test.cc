// CRC-32C against the published check values.
#include "stella/base/crc32c.h"

#include <gtest/gtest.h>

namespace stella {
namespace {

TEST(Crc32c, IsTheOneOfTheCatalogueAndOfRfc3720) {
  EXPECT_EQ(crc32c(0, "123456789"), 0xe3069283u);  // the check value of the algorithm's catalogue entry
  EXPECT_EQ(crc32c(crc32c(0, "12345"), "6789"), 0xe3069283u);
  EXPECT_EQ(crc32c(0, std::string(32, '\0')), 0x8a9136aau);  // RFC 3720 B.4
  EXPECT_EQ(crc32c(7, ""), 7u);
}

}  // namespace
}  // namespace stella
