// What a thread knows about texts never changes what it writes: the memory is exact, and secrets over two fields are masked however often
// their parts were said before.
#include "known_texts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "stella/telemetry/log.h"
#include "stella/telemetry/sink.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

using detail::KnownTexts;

TEST(KnownTexts, KnowsExactlyWhatItWasTold) {
  for (std::size_t size = 0; size <= 70; ++size) {
    auto known = std::make_unique<KnownTexts>();
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text.push_back(static_cast<char>('a' + i % 23));
    EXPECT_EQ(known->find(text), KnownTexts::kUnknown);
    const KnownTexts::Id id = known->remember(text);
    EXPECT_EQ(known->find(text), id);
    EXPECT_EQ(id == KnownTexts::kUnknown, size > KnownTexts::kMost) << size;
    for (std::size_t i = 0; i < size; ++i) {  // a byte that differs, wherever it stands, makes another text
      for (const int bit : {1, 0x20, 0x80}) {
        std::string other = text;
        other[i] = static_cast<char>(other[i] ^ bit);
        EXPECT_EQ(known->find(other), KnownTexts::kUnknown) << size << ' ' << i;
      }
    }
    EXPECT_EQ(known->find(text + 'x'), KnownTexts::kUnknown);
    EXPECT_EQ(known->find(text + std::string(1, '\0')), KnownTexts::kUnknown);
  }
}

TEST(KnownTexts, RemembersPairsInTheirOrder) {
  auto known = std::make_unique<KnownTexts>();
  const auto a = known->remember("alpha"), b = known->remember("beta");
  EXPECT_FALSE(known->harmless(a, b));
  known->remember_harmless(a, b);
  EXPECT_TRUE(known->harmless(a, b));
  EXPECT_FALSE(known->harmless(b, a));
  EXPECT_FALSE(known->harmless(a, a));
  known->remember_harmless(a, KnownTexts::kUnknown);
  known->remember_harmless(KnownTexts::kUnknown, KnownTexts::kUnknown);
  EXPECT_FALSE(known->harmless(a, KnownTexts::kUnknown));
  EXPECT_FALSE(known->harmless(KnownTexts::kUnknown, KnownTexts::kUnknown));
}

// Far more texts than it holds, beside a map that forgets nothing: what it answers is a number of that very text, and a pair it calls harmless
// was called so.
TEST(KnownTexts, ForgetsButNeverMistakes) {
  std::mt19937_64 random(7);
  auto known = std::make_unique<KnownTexts>();
  std::map<KnownTexts::Id, std::string> told;
  std::set<std::pair<KnownTexts::Id, KnownTexts::Id>> pairs;
  std::size_t found = 0, harmless = 0;
  KnownTexts::Id last = KnownTexts::kUnknown;
  for (int i = 0; i < 200'000; ++i) {
    std::string text(random() % 2 == 0 ? random() % 4 : random() % 57, '\0');
    for (char& c : text) c = static_cast<char>(random() % 2);  // short ones come again
    KnownTexts::Id id = known->find(text);
    if (id != KnownTexts::kUnknown) {
      ++found;
      ASSERT_EQ(told.at(id), text);
    } else {
      id = known->remember(text);
      ASSERT_TRUE(told.emplace(id, text).second) << "a number was given twice";
    }
    if (known->harmless(last, id)) {
      ++harmless;
      ASSERT_TRUE(pairs.contains({last, id}));
    } else if (random() % 2 == 0) {
      known->remember_harmless(last, id);
      if (last != KnownTexts::kUnknown) pairs.emplace(last, id);
    }
    last = id;
  }
  EXPECT_GT(found, 10'000u);
  EXPECT_GT(harmless, 1000u);
}

class Capture final : public Sink {
 public:
  void log(LogRecord&& record) noexcept override { lines.push_back(record.line); }
  void span(SpanRecord&& record) noexcept override { lines.push_back(record.attributes); }
  std::vector<std::string> lines;
};

class SplitSecret : public ::testing::Test {
 protected:
  void SetUp() override { previous_ = install_sink(capture); }
  void TearDown() override { install_sink(previous_); }
  std::string last() const { return capture->lines.empty() ? "" : capture->lines.back(); }
  std::shared_ptr<Capture> capture = std::make_shared<Capture>();
  std::shared_ptr<Sink> previous_;
};

constexpr Logger kLog{"unit"};
constexpr std::string_view kHead = "ghp_abcdefghijklmnop", kTail = "qrstuvwxyz0123456789";  // together a token

TEST_F(SplitSecret, IsMaskedThoughBothPartsWereSaidBefore) {
  for (int i = 0; i < 3; ++i) {
    kLog.info("first part", {f::action(kHead)});
    EXPECT_NE(last().find(kHead), std::string::npos);
    kLog.info("second part", {f::operation(kTail)});
    EXPECT_NE(last().find(kTail), std::string::npos);
    kLog.info("the other way round", {f::action(kTail), f::operation(kHead)});
    EXPECT_NE(last().find(kTail), std::string::npos);
    kLog.info("both", {f::action(kHead), f::operation(kTail)});
    EXPECT_EQ(last().find(kHead), std::string::npos) << last();
    EXPECT_EQ(last().find(kTail), std::string::npos) << last();
    kLog.info("apart", {f::action(kHead), f::state("running"), f::operation(kTail)});
    EXPECT_NE(last().find(kTail), std::string::npos);
  }
}

TEST_F(SplitSecret, IsMaskedWhereAnotherValueOfAKeyMakesThemNeighbours) {
  for (int i = 0; i < 3; ++i) {
    {
      Span span("unit.work");
      span.set(f::action(kHead));
      span.set(f::state("running"));
      span.set(f::operation(kTail));
    }
    EXPECT_NE(last().find(kTail), std::string::npos);
    {
      Span span("unit.work");
      span.set(f::action(kHead));
      span.set(f::state("running"));
      span.set(f::operation(kTail));
      span.set(f::state("done"));  // stands last now
    }
    EXPECT_EQ(last().find(kHead), std::string::npos) << last();
    EXPECT_EQ(last().find(kTail), std::string::npos) << last();
  }
}

TEST_F(SplitSecret, NameAndValueInTwoFields) {
  for (int i = 0; i < 3; ++i) {
    kLog.info("a value", {f::operation("hunter22")});
    EXPECT_NE(last().find("hunter22"), std::string::npos);
    kLog.info("its name", {f::action("password"), f::operation("hunter22")});
    EXPECT_EQ(last().find("hunter22"), std::string::npos) << last();
  }
}

}  // namespace
}  // namespace stella::telemetry
