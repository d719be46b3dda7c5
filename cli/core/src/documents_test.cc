// Which files are taken, and how they are packed.
#include "stella/cli/documents.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <set>

#include "stella/base/file.h"
#include "stella/base/tar.h"
#include "stella/testing/shared_data.h"
#include "stella/testing/temp_dir.h"

namespace stella::cli {
namespace {

class TempDir : public testing::TempDir {
 public:
  void put(const std::string& below, std::string_view bytes) const {
    const std::string path = *this / below;
    ASSERT_TRUE(make_dirs(path.substr(0, path.rfind('/'))));
    ASSERT_TRUE(write_file_durable(path, bytes));
  }
};

TEST(Documents, DirectoriesInOrderWithoutHiddenOrForeignFiles) {
  const TempDir dir;
  dir.put("npm/b.json", "{}");
  dir.put("npm/a.json", "{}");
  dir.put("go/x.json", "{}");
  dir.put("npm/readme.md", "no");
  dir.put(".git/c.json", "{}");
  dir.put("npm/.hidden.json", "{}");
  ASSERT_EQ(::symlink(dir.path().c_str(), (dir / "npm/loop").c_str()), 0);
  const auto found = collect_documents({dir.path() + "/"});
  ASSERT_TRUE(found) << found.error().describe();
  std::vector<std::string> names;
  for (const auto& d : *found) names.push_back(d.name);
  EXPECT_EQ(names, (std::vector<std::string>{"go/x.json", "npm/a.json", "npm/b.json"}));
  EXPECT_EQ(found->at(0).path, dir / "go/x.json");
}

TEST(Documents, NamesAreUniqueAndSafe) {
  const TempDir dir;
  dir.put("one/a.json", "1");
  dir.put("two/a.json", "2");
  dir.put("odd\n.txt", "3");
  const auto found = collect_documents({dir / "one", dir / "two", dir / "one/a.json", dir / "odd\n.txt"});
  ASSERT_TRUE(found) << found.error().describe();
  std::string archive;
  std::set<std::string> names;
  for (const auto& d : *found) {
    EXPECT_TRUE(names.insert(d.name).second) << d.name;
    append_tar(archive, d.name, *read_file(d.path, 100));
  }
  append_tar_end(archive);
  const auto read = read_tar(archive);
  ASSERT_TRUE(read) << read.error().describe();
  EXPECT_EQ(read->size(), 4u);
}

TEST(Documents, WhatIsNotThereIsSaid) {
  const TempDir dir;
  EXPECT_EQ(collect_documents({dir / "none"}).error().code(), base_errors::kNotFound);
  EXPECT_EQ(collect_documents({dir.path()}).error().code(), base_errors::kInvalid);
}

TEST(Batches, NoBoundIsCrossedAndNothingIsLost) {
  std::vector<LocalDocument> documents;
  for (int i = 0; i < 1000; ++i) documents.push_back({"", "d/" + std::string(static_cast<std::size_t>(i % 150), 'x') + std::to_string(i), static_cast<std::uint64_t>(i * 37 % 5000)});
  documents.push_back({"", "big", 1'000'000});
  const BatchBounds bounds{.batch_bytes = 100'000, .batch_documents = 30, .document_bytes = 500'000};
  const BatchPlan plan = plan_batches(documents, bounds);
  EXPECT_EQ(plan.too_large, (std::vector<std::size_t>{1000}));
  std::size_t next = 0;
  for (const auto& batch : plan.batches) {
    EXPECT_LE(batch.size(), 30u);
    std::string archive;
    for (const std::size_t i : batch) {
      EXPECT_EQ(i, next++);
      append_tar(archive, documents[i].name, std::string(documents[i].size, 'z'));
    }
    append_tar_end(archive);
    EXPECT_LE(archive.size(), 100'000u);
  }
  EXPECT_EQ(next, 1000u);
}

// At the bound and one beyond.
TEST(Batches, TheLastByteThatFits) {
  const std::uint64_t room = 10 * 512;
  const std::vector<LocalDocument> fits{{"", "a", room - 512 - 1024}};
  const std::vector<LocalDocument> over{{"", "a", room - 512 - 1024 + 1}};
  const BatchBounds bounds{.batch_bytes = room, .batch_documents = 10, .document_bytes = 1u << 20};
  EXPECT_EQ(plan_batches(fits, bounds).batches.size(), 1u);
  EXPECT_EQ(plan_batches(over, bounds).too_large.size(), 1u);
}

TEST(Batches, TheWholeFeedGoesInAFew) {
  const auto dir = STELLA_SHARED_OR_SKIP("data/advisories/osv");
  const auto documents = collect_documents({dir});
  ASSERT_TRUE(documents);
  EXPECT_EQ(documents->size(), 880u);
  const BatchPlan plan = plan_batches(*documents, {});
  EXPECT_EQ(plan.batches.size(), 1u);
  EXPECT_TRUE(plan.too_large.empty());
}

}  // namespace
}  // namespace stella::cli
