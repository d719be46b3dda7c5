// What people read.
#include "stella/cli/format.h"

#include <gtest/gtest.h>

#include "stella/cli/table.h"

namespace stella::cli {
namespace {

TEST(Format, Numbers) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(5356), "5,356");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(counted(1, "file"), "1 file");
  EXPECT_EQ(counted(2, "batch"), "2 batches");
  EXPECT_EQ(counted(0, "advisory"), "0 advisories");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(4u << 20), "4.0 MiB");
  EXPECT_EQ(human_bytes((1u << 20) - 1), "1.0 MiB");  // never "1024.0 KiB"
  EXPECT_EQ(human_duration(85), "85 µs");
  EXPECT_EQ(human_duration(1'234), "1.2 ms");
  EXPECT_EQ(human_duration(412'000), "412 ms");
  EXPECT_EQ(human_duration(999'700), "1.00 s");
  EXPECT_EQ(human_duration(1'240'000), "1.24 s");
  EXPECT_EQ(human_duration(59'990'000), "1 min 00 s");
  EXPECT_EQ(human_duration(123'000'000), "2 min 03 s");
  EXPECT_EQ(human_duration(3'900'000'000), "1 h 05 min");
}

TEST(Format, ShortTimes) {
  const Timestamp now = *Timestamp::parse("2026-11-24T17:07:03Z");
  EXPECT_EQ(short_time("2026-11-24T01:02:03.9Z", now), "01:02:03");
  EXPECT_EQ(short_time("2026-11-23T23:59:59Z", now), "23 Nov 23:59");
  EXPECT_EQ(short_time("2025-11-24T17:07:03Z", now), "2025-11-24");
  EXPECT_EQ(short_time("2026-11-24T18:07:03+01:00", now), "17:07:03");  // shown in UTC
  EXPECT_EQ(short_time("", now), "-");
  EXPECT_EQ(short_time("soon", now), "soon");
}

TEST(Format, WidthsOfUnicode) {
  EXPECT_EQ(display_width("naïve"), 5u);
  EXPECT_EQ(display_width("漢字"), 4u);
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);  // e and a combining acute accent
  EXPECT_EQ(ellipsized("component", 5), "comp…");
  EXPECT_EQ(ellipsized("漢字漢字", 5), "漢字…");
  EXPECT_EQ(ellipsized("short", 5), "short");
}

TEST(Format, TerminalsObeyNobodyElse) {
  EXPECT_EQ(printable("a\x1b[2Jb"), "a·[2Jb");
  EXPECT_EQ(printable("a\r\nb"), "a··b");
  EXPECT_EQ(printable("\xe2\x80\xae" "evil"), "·evil");  // right-to-left override
  EXPECT_EQ(printable("\xff\xc0\xaf"), "???");
  EXPECT_EQ(printable("grüße"), "grüße");
}

TEST(Format, WrapsWords) {
  EXPECT_EQ(wrapped("one two three", 7), (std::vector<std::string>{"one two", "three"}));
  EXPECT_EQ(wrapped("averyverylongword x", 5), (std::vector<std::string>{"averyverylongword", "x"}));
  EXPECT_EQ(wrapped("", 5), (std::vector<std::string>{""}));
}

TEST(Format, NearestName) {
  const std::vector<std::string> known{"ingest", "list", "show"};
  EXPECT_EQ(nearest("ingst", known), "ingest");
  EXPECT_EQ(nearest("lst", known), "list");
  EXPECT_EQ(nearest("in", known), "ingest");
  EXPECT_EQ(nearest("destroy", known), "");
}

TEST(Table, AlignsAndCutsOnlyFlexibleColumns) {
  Table table({{"ID"}, {"NAME", false, true}, {"N", true}});
  table.row({"0193-1", "a component with a very long name indeed", "5"});
  table.row({"0193-2", "b", "1,234"});
  EXPECT_EQ(table.render(Palette(false), 0),
            "ID      NAME                                          N\n"
            "0193-1  a component with a very long name indeed      5\n"
            "0193-2  b                                         1,234\n");
  EXPECT_EQ(table.render(Palette(false), 30),
            "ID      NAME                 N\n"
            "0193-1  a component wi…      5\n"
            "0193-2  b                1,234\n");
}

TEST(Table, ColoursDoNotShiftColumns) {
  Table table({{"STATE"}, {"X"}});
  table.row({word("deny"), "y"});
  EXPECT_EQ(table.render(Palette(true), 0), "\x1b[2mSTATE\x1b[0m  \x1b[2mX\x1b[0m\n\x1b[31mdeny\x1b[0m   y\n");
}

TEST(Progress, LineFitsAndCounts) {
  const std::string half = progress_line("advisory", 440, 880, "2.2 MiB", 79);
  EXPECT_EQ(half, "advisory  [============>           ] 440/880  2.2 MiB");
  EXPECT_EQ(progress_line("x", 5, 5, "", 79), "x  [========================] 5/5");
  EXPECT_LE(display_width(progress_line("advisory", 1, 880, std::string(200, 'n'), 40)), 40u);
}

}  // namespace
}  // namespace stella::cli
