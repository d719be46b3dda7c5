// Identifiers: one spelling each, strict parsing, ordered UUIDv7.
#include "stella/base/ids.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace stella {
namespace {

TEST(Ids, Uuid7IsOrderedAndWellFormed) {
  Uuid last = Uuid::v7();
  for (int i = 0; i < 20'000; ++i) {
    const Uuid next = Uuid::v7();
    ASSERT_LT(last, next);
    last = next;
  }
  EXPECT_EQ(last.str()[14], '7');
  EXPECT_EQ(Uuid::parse(last.str()).value(), last);
}

TEST(Ids, AForkedChildDrawsOthersThanItsParent) {
  (void)TraceId::generate();  // randomness lies ready now
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string hex = TraceId::generate().hex();
    _exit(write(ends[1], hex.data(), hex.size()) == 32 ? 0 : 1);
  }
  char theirs[32];
  ASSERT_EQ(read(ends[0], theirs, sizeof theirs), 32);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_NE(TraceId::generate().hex(), std::string_view(theirs, sizeof theirs));
  close(ends[0]);
  close(ends[1]);
}

TEST(Ids, UuidRefusesOtherSpellings) {
  for (const char* bad : {"", "00000000000000000000000000000000", "0192F3A0-0000-7000-8000-000000000000", "0192f3a0-0000-7000-8000-00000000000g", "0192f3a0-0000-7000-8000-0000000000000"})
    EXPECT_FALSE(Uuid::parse(bad)) << bad;
}

TEST(Ids, TenantAndCase) {
  EXPECT_TRUE(TenantId::parse("acme-1"));
  for (const char* bad : {"", "-a", "A", "a_b", "a/b", "..", "a.b"}) EXPECT_FALSE(TenantId::parse(bad)) << bad;
  EXPECT_FALSE(TenantId::parse(std::string(64, 'a')));
  EXPECT_TRUE(TenantId::parse(std::string(63, 'a')));
  EXPECT_TRUE(CaseId::parse("CASE-1.b_2"));
  for (const char* bad : {"", ".a", "a..b", "a/b", "a b", "ä"}) EXPECT_FALSE(CaseId::parse(bad)) << bad;
}

TEST(Ids, TraceAndSpan) {
  EXPECT_EQ(TraceId::parse("0af7651916cd43dd8448eb211c80319c").value().hex(), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_FALSE(TraceId::parse("00000000000000000000000000000000"));
  EXPECT_FALSE(TraceId::parse("0AF7651916cd43dd8448eb211c80319c"));
  EXPECT_FALSE(SpanId::parse("0000000000000000"));
  EXPECT_NE(TraceId::generate(), TraceId::generate());
}

TEST(Ids, Sha256) {
  const std::string hex(64, 'a');
  EXPECT_EQ(Sha256::parse(hex).value().hex(), hex);
  EXPECT_FALSE(Sha256::parse(std::string(64, 'A')));
  EXPECT_FALSE(Sha256::from_bytes("short"));
}

}  // namespace
}  // namespace stella
