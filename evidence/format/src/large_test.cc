// Memory does not grow with the size of a bundle: half a gigabyte that does not compress is made and verified in less than 100 MB.
#include <gtest/gtest.h>

#include "large_bundle.h"

namespace stella::evidence {
namespace {

constexpr std::uint64_t kBytes = 512u << 20;
constexpr std::uint64_t kBound = 100u * 1000 * 1000;

// Instrumented builds keep what was freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMeasures = false;
#else
constexpr bool kMeasures = true;
#endif

TEST(Large, MemoryIsBounded) {
  const LargeBundle bundle("/tmp", kBytes, 3);
  const Measured made = bundle.create();
  ASSERT_TRUE(made.ok);
  EXPECT_GT(bundle.size(), kBytes * 95 / 100) << "this compresses: it shows nothing";
  const Measured verified = bundle.verify();
  ASSERT_TRUE(verified.ok);
  if (!kMeasures) GTEST_SKIP() << "memory of an instrumented build says nothing";
  EXPECT_GT(made.peak_bytes, 1'000'000u);
  EXPECT_LT(made.peak_bytes, kBound);
  EXPECT_LT(verified.peak_bytes, kBound);
}

// A leaf takes some two thousand bytes of memory wherever it is small; what that adds up to is said in docs/forensics/evidence-locker.md.
TEST(Large, ManyFilesTakeTheirPartEach) {
  constexpr std::size_t kFew = 2'000, kMany = 22'000;
  const LargeBundle few("/tmp", kFew * 64, kFew), many("/tmp", kMany * 64, kMany);
  const Measured less = few.create(), more = many.create();
  ASSERT_TRUE(less.ok && more.ok);
  const Measured less_read = few.verify(), more_read = many.verify();
  ASSERT_TRUE(less_read.ok && more_read.ok);
  if (!kMeasures) GTEST_SKIP() << "memory of an instrumented build says nothing";
  EXPECT_LT(more.peak_bytes, less.peak_bytes + (kMany - kFew) * 2'500);
  EXPECT_LT(more_read.peak_bytes, less_read.peak_bytes + (kMany - kFew) * 2'500);
}

TEST(Large, ReadingSaysHowFarItIs) {
  const LargeBundle bundle("/tmp", 8u << 20, 2);
  ASSERT_TRUE(bundle.create().ok);
  std::uint64_t last = 0;
  int calls = 0;
  // In this process, so that the answers are seen here.
  VerifyOptions options;
  options.on_read = [&](std::uint64_t read, std::uint64_t size) {
    EXPECT_GE(read, last);
    EXPECT_EQ(size, bundle.size());
    last = read;
    ++calls;
  };
  ASSERT_TRUE(verify_bundle_file(bundle.path(), options).has_value());
  EXPECT_EQ(last, bundle.size());
  EXPECT_GT(calls, 8);
}

}  // namespace
}  // namespace stella::evidence
