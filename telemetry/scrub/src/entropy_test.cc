// The sliding tally says at every place what a fresh one says, and exactly 3.5 bits are enough.
#include "entropy.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "find.h"

namespace stella::telemetry::scrubbing {
namespace {

TEST(RandomWindow, SaysAtEveryPlaceWhatAFreshOneSays) {
  std::mt19937_64 random(20261130);  // repeatable on purpose
  const std::string_view alphabets[] = {"ABCabc123", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_.~=-", "0123456789abcdef-", "abcdefgh1=", "Key1="};
  int yes = 0, no = 0;
  for (std::size_t round = 0; round < 400; ++round) {
    std::string text;
    while (text.size() < 40 + round % 700) {
      const std::string_view alphabet = alphabets[random() % std::size(alphabets)];
      for (std::size_t n = 1 + random() % 60; n > 0; --n) text.push_back(alphabet[random() % alphabet.size()]);
    }
    const std::size_t begin = random() % 20, end = text.size() - random() % 20;
    RandomWindow window;
    window.start(begin);
    for (std::size_t pos = begin; pos < end; pos += random() % 9) {
      const std::size_t at = random() % 16 == 0 ? begin + random() % (pos - begin + 1) : pos;  // now and then back
      const bool wanted = high_entropy(std::string_view(text).substr(at, end - at));
      ASSERT_EQ(window.random(text, at, end), wanted) << text << " at " << at << " of " << end;
      ++(wanted ? yes : no);
      if (random() % 50 == 0) pos += 300;  // beyond all that was tallied
    }
  }
  EXPECT_GT(yes, 1000);
  EXPECT_GT(no, 1000);
}

TEST(RandomWindow, ExactlyTheBitsThatAreNeededAreEnough) {
  // Of 32 characters four stand four times and eight twice: half of them 3 bits each, half of them 4.
  EXPECT_TRUE(high_entropy("b4CbhA1Af3CCfdG11hb4AGAJ3JEb1dEC"));
  EXPECT_FALSE(high_entropy("b4CbhA1Af3CCfAG11hb4AGAJ3JEb1dEC"));  // one A more, one d less
}

}  // namespace
}  // namespace stella::telemetry::scrubbing
