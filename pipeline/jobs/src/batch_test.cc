// Archives as tar programs write them, and archives as nobody should.
#include "stella/pipeline/jobs/batch.h"

#include <stdlib.h>
#include <unistd.h>

#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/stella-batch-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() { run("rm -rf " + path_); }
  const std::string& path() const { return path_; }
  static void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

 private:
  std::string path_;
};

TEST(Batch, ReadsWhatTarProgramsWrite) {
  const std::string long_name = std::string(60, 'd') + "/" + std::string(90, 'f') + ".json";
  for (const std::string format : {"gnu", "pax", "ustar", "posix"}) {
    const TempDir dir;
    TempDir::run("cd " + dir.path() + " && mkdir -p in/" + std::string(60, 'd') + " && printf one > in/a.json && printf '' > in/empty.json && head -c 1300 /dev/zero | tr '\\0' x > in/" +
                 long_name + " && printf zwei > in/ü.json && tar --format=" + format + " --sort=name -C in -cf out.tar .");
    const std::string tar = testing::slurp(dir.path() + "/out.tar");
    const auto documents = read_batch(tar);
    ASSERT_TRUE(documents) << format << " " << documents.error().describe();
    std::map<std::string, std::string> got;
    for (const auto& document : *documents) got[document.path] = document.bytes;
    EXPECT_EQ(got.size(), 4u) << format;
    EXPECT_EQ(got["./a.json"], "one");
    EXPECT_EQ(got["./ü.json"], "zwei") << format;
    EXPECT_EQ(got["./" + long_name], std::string(1300, 'x')) << format;
    EXPECT_TRUE(got.contains("./empty.json"));
  }
}

TEST(Batch, RefusesLinksAndDevices) {
  const TempDir dir;
  TempDir::run("cd " + dir.path() + " && ln -s /etc/passwd link && tar -cf out.tar link && printf x > a && ln a b && tar -cf hard.tar a b && mkfifo p && tar -cf fifo.tar p");
  for (const std::string name : {"out.tar", "hard.tar", "fifo.tar"}) {
    const std::string tar = testing::slurp(dir.path() + "/" + name);
    const auto documents = read_batch(tar);
    ASSERT_FALSE(documents) << name;
    EXPECT_EQ(documents.error().code(), base_errors::kMalformed);
    EXPECT_EQ(documents.error().field("expected"), "regular files and directories");
  }
}

TEST(Batch, LimitsHold) {
  const TempDir dir;
  TempDir::run("cd " + dir.path() + " && printf 1 > a && printf 2 > b && tar -cf out.tar a b");
  const std::string tar = testing::slurp(dir.path() + "/out.tar");
  EXPECT_TRUE(read_batch(tar, {.max_bytes = tar.size(), .max_documents = 2}));
  EXPECT_EQ(read_batch(tar, {.max_bytes = tar.size() - 1, .max_documents = 2}).error().code(), base_errors::kLimit);
  EXPECT_EQ(read_batch(tar, {.max_bytes = tar.size(), .max_documents = 1}).error().code(), base_errors::kLimit);
}

// Every truncation and every changed byte of the header: an error or the same documents, never a crash or bytes from elsewhere.
TEST(Batch, HostileBytesAreErrors) {
  const TempDir dir;
  TempDir::run("cd " + dir.path() + " && printf content > a.json && tar --format=pax --blocking-factor=1 -cf out.tar a.json");
  const std::string tar = testing::slurp(dir.path() + "/out.tar");
  ASSERT_TRUE(read_batch(tar));
  for (std::size_t size = 0; size + 1024 < tar.size(); ++size) EXPECT_FALSE(read_batch(std::string_view(tar).substr(0, size))) << size;
  for (std::size_t i = 0; i < tar.size() - 1024; ++i) {
    for (const char c : {'\0', '7', '\xff'}) {
      std::string changed = tar;
      changed[i] = c;
      const auto documents = read_batch(changed);
      if (!documents) continue;
      for (const auto& document : *documents) {
        EXPECT_GE(document.bytes.data(), changed.data());
        EXPECT_LE(document.bytes.data() + document.bytes.size(), changed.data() + changed.size());
      }
    }
  }
  EXPECT_FALSE(read_batch(""));
  EXPECT_FALSE(read_batch(std::string(512, 'x')));
  EXPECT_TRUE(read_batch(std::string(1024, '\0'))->empty());
}

}  // namespace
}  // namespace stella::pipeline
