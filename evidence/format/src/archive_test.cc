// tar and gzip against GNU tar, gzip and Python, and what the readers must refuse.
#include <cstring>

#include "bundle_fixture.h"
#include "stella/base/ids.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/tar.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

class ArchiveTest : public BundleTest {
 protected:
  // Names of an archive, or the error.
  static Result<std::vector<std::string>> read_names(std::string_view tar, const TarLimits& limits = {}) {
    StringSource source(tar);
    TarReader reader(source, limits);
    std::vector<std::string> names;
    for (;;) {
      auto entry = reader.next();
      if (!entry) return entry.error();
      if (!*entry) return names;
      names.push_back((*entry)->path);
    }
  }
  static std::string tar_of(const std::map<std::string, std::string>& files) {
    StringSink out;
    TarWriter tar(out);
    for (const auto& [name, bytes] : files) EXPECT_TRUE(tar.add(name, bytes).has_value()) << name;
    EXPECT_TRUE(tar.finish().has_value());
    return std::move(out.text);
  }
  static Result<std::string> gunzip(std::string_view bytes, std::uint64_t limit = 1u << 30, std::size_t step = 4096) {
    StringSource source(bytes);
    GunzipSource reader(source, limit);
    std::string out;
    std::string buffer(step, '\0');
    for (;;) {
      auto n = reader.read(buffer.data(), buffer.size());
      if (!n) return n.error();
      if (*n == 0) return out;
      out.append(buffer, 0, *n);
    }
  }
  static std::string gzip(std::string_view bytes, std::size_t step = 1u << 20) {
    StringSink out;
    GzipSink writer(out);
    for (std::size_t i = 0; i < bytes.size(); i += step) EXPECT_TRUE(writer.write(bytes.substr(i, step)).has_value());
    EXPECT_TRUE(writer.finish().has_value());
    return std::move(out.text);
  }
};

TEST_F(ArchiveTest, GnuTarReadsWhatWeWrite) {
  const std::string deep = "data/" + std::string(90, 'd') + "/" + std::string(100, 'n');
  const std::map<std::string, std::string> files = {
      {"a", ""}, {"data/" + std::string(95, 'x'), "exactly one hundred"}, {deep, std::string(513, 'y')}, {"z.txt", "last"}};
  write("t.tar", tar_of(files));
  for (const auto& [name, bytes] : files) EXPECT_EQ(shell("tar xOf t.tar " + name).output, bytes) << name;
  std::vector<std::string> names;
  std::string listing;
  for (const auto& [name, bytes] : files) {
    names.push_back(name);
    listing += name + "\n";
  }
  EXPECT_EQ(shell("tar tf t.tar").output, listing);
  EXPECT_EQ(read_names(tar_of(files)).value(), names);
}

TEST_F(ArchiveTest, WriterRefusesDisorderAndWrongSizes) {
  StringSink out;
  TarWriter tar(out);
  ASSERT_TRUE(tar.add("b", "x").has_value());
  EXPECT_FALSE(tar.add("b", "x").has_value());
  EXPECT_FALSE(tar.add("a", "x").has_value());
  ASSERT_TRUE(tar.begin("c", 2).has_value());
  EXPECT_FALSE(tar.write("xyz").has_value());
  ASSERT_TRUE(tar.write("x").has_value());
  EXPECT_FALSE(tar.finish().has_value());
}

TEST_F(ArchiveTest, SizesBeyondOctal) {
  StringSink out;
  TarWriter tar(out);
  ASSERT_TRUE(tar.begin("big", 9ull << 30).has_value());
  StringSource source(out.text);
  TarReader reader(source);
  const auto entry = reader.next();
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ((*entry)->size, 9ull << 30);
  write("big.tar", out.text);
  EXPECT_NE(shell("tar tvf big.tar 2>/dev/null | head -1").output.find("9663676416"), std::string::npos);
}

TEST_F(ArchiveTest, ReaderRefusesSurprises) {
  write("f", "content");
  shell("mkdir d && ln -s f link && ln f hard && mkfifo fifo && cp f 'sp ace' && cp f $(printf 'n\\303\\244me')");
  for (const char* command : {"tar -cf t.tar --format=ustar link", "tar -cf t.tar --format=ustar f hard", "tar -cf t.tar --format=ustar d",
                              "tar -cf t.tar --format=ustar fifo", "tar -cPf t.tar --format=ustar $PWD/f", "tar -cPf t.tar --format=ustar d/../f",
                              "tar -cf t.tar --format=ustar ./f", "tar -cf t.tar --format=ustar 'sp ace'", "tar -cf t.tar --format=ustar n*me",
                              "tar -cf t.tar --format=ustar f f", "tar -cf t.tar --format=ustar f --transform=s/f/F/ && tar -rf t.tar --format=ustar f",
                              "tar -cf t.tar --format=pax --pax-option=comment=x f", "tar -cf t.tar --format=v7 f",
                              "tar -cf t.tar --format=gnu --transform=s/f/$(printf '%0150d' 0)/ f"}) {
    ASSERT_EQ(shell(command).exit_code, 0) << command << shell(command).output;
    const auto names = read_names(testing::slurp(path("t.tar")));
    ASSERT_FALSE(names.has_value()) << command;
    EXPECT_EQ(names.error().code(), base_errors::kMalformed) << command;
  }
  // A plain ustar archive of GNU tar, with its other modes, times and padding, is fine.
  shell("tar -cf t.tar --format=ustar f");
  EXPECT_EQ(read_names(testing::slurp(path("t.tar"))).value(), std::vector<std::string>{"f"});
}

TEST_F(ArchiveTest, ReaderRefusesDamage) {
  const std::string good = tar_of({{"a", std::string(700, 'x')}, {"b", "y"}});
  ASSERT_TRUE(read_names(good).has_value());
  for (std::size_t cut = 0; cut < good.size(); cut += 256) EXPECT_FALSE(read_names(good.substr(0, cut)).has_value()) << cut;
  EXPECT_FALSE(read_names(good + "x").has_value());
  EXPECT_TRUE(read_names(good + std::string(9216, '\0')).has_value());
  EXPECT_FALSE(read_names(good + std::string(2u << 20, '\0')).has_value());
  for (std::size_t i = 0; i < 512; ++i) {  // any change to a header breaks its checksum
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] + 1);
    EXPECT_FALSE(read_names(bad).has_value()) << i;
  }
  std::string bad = good;
  bad[512 + 700] = 'x';  // padding
  EXPECT_FALSE(read_names(bad).has_value());
}

TEST_F(ArchiveTest, ReaderKeepsItsLimits) {
  const std::string tar = tar_of({{"a", "1234"}, {"b", "123"}});
  EXPECT_TRUE(read_names(tar, {.max_total_bytes = 7, .max_entry_bytes = 4, .max_entries = 2}).has_value());
  EXPECT_EQ(read_names(tar, {.max_total_bytes = 6}).error().code(), base_errors::kLimit);
  EXPECT_EQ(read_names(tar, {.max_entry_bytes = 3}).error().code(), base_errors::kLimit);
  EXPECT_EQ(read_names(tar, {.max_entries = 1}).error().code(), base_errors::kLimit);
}

TEST_F(ArchiveTest, ArchivePaths) {
  for (const char* good : {"a", "data/inputs/x.json", "data/.hidden", "A-Z_0.9"}) EXPECT_TRUE(is_archive_path(good)) << good;
  for (const char* bad : {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a b", "a\\b", "a:b", "-a", "a/-b", "a\n", "\xc3\xa4"})
    EXPECT_FALSE(is_archive_path(bad)) << bad;
  EXPECT_TRUE(is_archive_path(std::string(100, 'a')));
  EXPECT_FALSE(is_archive_path(std::string(101, 'a')));
  EXPECT_TRUE(is_archive_path(std::string(99, 'a') + "/" + std::string(100, 'b')));
  EXPECT_FALSE(is_archive_path(std::string(100, 'a') + "/" + std::string(100, 'b')));
}

TEST_F(ArchiveTest, GzipRoundTrips) {
  std::string noise(300'000, '\0');
  fill_random(noise.data(), noise.size());
  std::string text;
  for (int i = 0; text.size() < 900'000; ++i) text += "{\"line\":" + std::to_string(i) + "}\n";
  for (const std::string& bytes : {std::string(), std::string("x"), noise, text, std::string(5'000'000, '\0')}) {
    const std::string packed = gzip(bytes, 65'537);
    write("x.gz", packed);
    write("x.raw", bytes);
    EXPECT_EQ(shell("gzip -dc x.gz | cmp - x.raw && gzip -t x.gz").exit_code, 0);
    for (const std::size_t step : {1u << 20, 4096u, 7u}) {
      if (step == 7 && bytes.size() > 400'000) continue;
      const auto again = gunzip(packed, 1u << 30, step);
      ASSERT_TRUE(again.has_value()) << bytes.size() << " " << step;
      EXPECT_EQ(*again, bytes) << step;
    }
  }
  write("y", text);
  shell("gzip -9 -k y");
  EXPECT_EQ(gunzip(testing::slurp(path("y.gz"))).value(), text);  // with name and time: other people's gzip
}

TEST_F(ArchiveTest, GzipRefusesEverythingElse) {
  const std::string good = gzip(std::string(100'000, 'a') + "end");
  for (std::size_t cut = 0; cut < good.size(); ++cut) EXPECT_FALSE(gunzip(good.substr(0, cut)).has_value()) << cut;
  for (const std::size_t extra : {1u, 2u, 7u, 8u, 9u, 100u, 300'000u}) EXPECT_FALSE(gunzip(good + std::string(extra, 'x')).has_value()) << extra;
  for (const std::size_t extra : {1u, 8u, 512u}) EXPECT_FALSE(gunzip(good + std::string(extra, '\0')).has_value()) << extra;
  EXPECT_FALSE(gunzip(good + good).has_value());
  std::string bad = good;
  bad[bad.size() - 5] ^= 1;  // checksum
  EXPECT_FALSE(gunzip(bad).has_value());
  bad = good;
  bad[bad.size() - 1] ^= 1;  // length
  EXPECT_FALSE(gunzip(bad).has_value());
}

TEST_F(ArchiveTest, BombsStopAtTheLimit) {
  const std::string bomb = gzip(std::string(50u << 20, '\0'));
  EXPECT_LT(bomb.size(), 1u << 20);
  EXPECT_EQ(gunzip(bomb, (50u << 20) - 1, 1u << 20).error().code(), base_errors::kLimit);
  EXPECT_EQ(gunzip(bomb, 50u << 20, 1u << 20)->size(), 50u << 20);
}

}  // namespace
}  // namespace stella::evidence
