// The reader of the event stream: any cut of the bytes gives the same events, repeats give none, and the end is seen.
#include "timeline_follow.h"

#include <gtest/gtest.h>

namespace stella::cli {
namespace {

std::string message(int index) { return "id: " + std::to_string(index) + "\nevent: sbom.received\ndata: {\"log_index\":" + std::to_string(index) + "}\n\n"; }

std::vector<std::int64_t> read(EventReader& reader, std::string_view text, std::size_t piece, bool* open = nullptr) {
  std::vector<std::int64_t> out;
  while (!text.empty()) {
    const bool more = reader.take(text.substr(0, piece), [&](const json::Value& e) { out.push_back(e.find("log_index")->as_int()); });
    if (open != nullptr) *open = more;
    text.remove_prefix(std::min(piece, text.size()));
  }
  return out;
}

TEST(EventReader, AnyCutGivesTheSameEvents) {
  const std::string text = ": following\n\n" + message(4) + ": alive\n\n" + message(5) + "id: 8\n: alive\n\n" + message(9);
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    EventReader reader;
    EXPECT_EQ(read(reader, text, piece), (std::vector<std::int64_t>{4, 5, 9})) << piece;
    EXPECT_EQ(reader.next(), 10);
  }
}

TEST(EventReader, ABrokenConnectionRepeatsAndLosesNothing) {
  const std::string first = ": following\n\n" + message(0) + message(1);
  for (std::size_t cut = 0; cut <= first.size(); ++cut) {
    EventReader reader;
    auto got = read(reader, first.substr(0, cut), 7);
    for (const auto index : read(reader, ": following\n\n" + message(0) + message(1) + message(2), 7)) got.push_back(index);
    EXPECT_EQ(got, (std::vector<std::int64_t>{0, 1, 2})) << cut;
  }
}

TEST(EventReader, TheEndIsSeen) {
  EventReader reader;
  bool open = true;
  EXPECT_EQ(read(reader, ": following\n\n" + message(0), 500, &open).size(), 1u);
  EXPECT_TRUE(open);
  EXPECT_TRUE(read(reader, "event: end\ndata: {\"reason\":\"x\"}\n\n", 500, &open).empty());
  EXPECT_FALSE(open);
}

}  // namespace
}  // namespace stella::cli
