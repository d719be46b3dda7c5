// The upload tar: what it writes it reads, what other programs write it reads, what is hostile it refuses.
#include "stella/base/tar.h"

#include <cstdlib>
#include <fstream>

#include "stella/testing/shared_data.h"

namespace stella {
namespace {

std::string archive_of(std::initializer_list<std::pair<std::string, std::string>> files) {
  std::string out;
  for (const auto& [path, bytes] : files) append_tar(out, path, bytes);
  append_tar_end(out);
  return out;
}

TEST(Tar, ReadsWhatItWrites) {
  const std::string deep = std::string(60, 'a') + "/" + std::string(120, 'b') + ".json";
  const std::string archive = archive_of({{"a.json", "{}"}, {deep, std::string(1000, 'x')}, {"leer", ""}, {"umlaut-ü.json", "ü"}});
  const auto files = read_tar(archive);
  ASSERT_TRUE(files) << files.error().describe();
  ASSERT_EQ(files->size(), 4u);
  EXPECT_EQ((*files)[1].path, deep);
  EXPECT_EQ((*files)[1].bytes, std::string(1000, 'x'));
  EXPECT_EQ((*files)[2].bytes, "");
  EXPECT_EQ((*files)[3].path, "umlaut-ü.json");
}

TEST(Tar, ReadsWhatTarWrites) {
  char dir[] = "/tmp/stella-tar-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  const std::string d = dir;
  const std::string longname = std::string(130, 'n') + ".json";
  ASSERT_EQ(std::system(("mkdir -p " + d + "/in/sub && printf 1 > " + d + "/in/a && printf 22 > " + d + "/in/sub/" + longname).c_str()), 0);
  for (const std::string format : {"gnu", "posix", "ustar"}) {
    if (format == "ustar") std::remove((d + "/in/sub/" + longname).c_str());
    ASSERT_EQ(std::system(("tar --format=" + format + " -C " + d + "/in -cf " + d + "/x.tar .").c_str()), 0);
    const std::string archive = testing::slurp(d + "/x.tar");
    const auto files = read_tar(archive);
    ASSERT_TRUE(files) << format << ": " << files.error().describe();
    EXPECT_EQ(files->size(), format == "ustar" ? 1u : 2u) << format;
    for (const TarFile& f : *files) EXPECT_TRUE(f.path == "a" || f.path == "sub/" + longname) << f.path;
  }
  ASSERT_EQ(std::system(("ln -s a " + d + "/in/link && tar -C " + d + "/in -cf " + d + "/x.tar .").c_str()), 0);
  const std::string with_link = testing::slurp(d + "/x.tar");
  EXPECT_FALSE(read_tar(with_link));
  ASSERT_EQ(std::system(("rm -r " + d).c_str()), 0);
}

TEST(Tar, RefusesHostileInput) {
  const std::string good = archive_of({{"a.json", "{}"}});
  for (const std::string bad : {"/etc/passwd", "../x", "a/../../x", "a//b", ""}) EXPECT_FALSE(read_tar(archive_of({{bad, "x"}}))) << bad;
  for (std::size_t cut = 0; cut < good.size() - 1024; cut += 17) EXPECT_FALSE(read_tar(std::string_view(good).substr(0, cut))) << cut;
  for (std::size_t at = 0; at < 512; at += 3) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x41);
    EXPECT_FALSE(read_tar(bad)) << at;
  }
  EXPECT_FALSE(read_tar(good, {.max_files = 0}));
  EXPECT_FALSE(read_tar(good, {.max_file_bytes = 1}));
  EXPECT_TRUE(read_tar(good, {.max_files = 1, .max_file_bytes = 2}));
}

}  // namespace
}  // namespace stella
