// RFC 3339 in and out.
#include "stella/base/time.h"

#include <gtest/gtest.h>

namespace stella {
namespace {

TEST(Time, ParsesAndPrints) {
  EXPECT_EQ(Timestamp::parse("1970-01-01T00:00:00Z").value().micros(), 0);
  EXPECT_EQ(Timestamp::parse("2026-11-24T17:07:00.123456789Z").value().rfc3339(), "2026-11-24T17:07:00.123456Z");
  EXPECT_EQ(Timestamp::parse("2026-11-24T19:07:00+02:00").value().rfc3339_seconds(), "2026-11-24T17:07:00Z");
  EXPECT_EQ(Timestamp::parse("1969-12-31T23:59:59.999999Z").value().micros(), -1);
  EXPECT_EQ(Timestamp::parse("0007-01-02T03:04:05.000006Z").value().rfc3339(), "0007-01-02T03:04:05.000006Z");
  EXPECT_EQ(Timestamp::from_micros(-1).rfc3339(), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(Timestamp::parse("2024-02-29T00:00:00Z").value().rfc3339_seconds(), "2024-02-29T00:00:00Z");
}

TEST(Time, Refuses) {
  for (const char* bad : {"", "2026-11-24", "2026-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2026-11-24T24:00:00Z", "2026-11-24T17:07:00", "2026-11-24T17:07:00.Z", "2026-11-24T17:07:00Zx", "2023-01-05 15:15:00 UTC"})
    EXPECT_FALSE(Timestamp::parse(bad)) << bad;
}

}  // namespace
}  // namespace stella
