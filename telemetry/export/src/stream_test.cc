// The spool: order, recovery, damage of every kind, limits.
#include "stream.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <utility>

#include "stella/testing/temp_dir.h"

namespace stella::telemetry {
namespace {

using testing::TempDir;

Batch batch(std::uint32_t items, std::string payload) { return {Signal::kLogs, std::move(payload), items, 0}; }

Stream::Taken append(Stream& stream, std::uint64_t order, Batch&& batch, bool& failed) {
  SpoolWrite write = stream.begin(order, std::move(batch), 0);
  write.run();
  return stream.finish(std::move(write), failed);
}
bool put(Stream& stream, std::uint64_t order, std::size_t size = 100) {
  bool failed = false;
  return append(stream, order, batch(1, std::string(size, static_cast<char>('a' + order % 26))), failed) != Stream::Taken::kNoRoom;
}
std::optional<Stream::Recovered> open(Stream& stream, const std::string& dir) {
  auto opened = Stream::open(dir);
  if (!opened) return std::nullopt;
  return stream.adopt(std::move(*opened));
}
void pop(Stream& stream) { stream.settle(stream.front().key).run(); }

std::vector<std::uint64_t> drain(Stream& stream) {
  std::vector<std::uint64_t> out;
  while (!stream.empty()) {
    const std::uint64_t order = stream.front().order;
    const auto payload = stream.reading(stream.front()).run().payload;
    if (payload && *payload == std::string(stream.front().size, static_cast<char>('a' + order % 26))) out.push_back(order);
    pop(stream);
  }
  return out;
}

// Entries that no disk has: the file may not grow while they come.
void put_in_memory(Stream& stream, std::uint64_t order) {
  SpoolWrite write = stream.begin(order, batch(1, std::string(100, static_cast<char>('a' + order % 26))), 0);
  bool failed = false;
  stream.finish(std::move(write), failed);  // never run
  EXPECT_TRUE(failed);
}
std::uint64_t late(Stream& stream) {
  std::optional<SpoolWrite> write = stream.begin_late();
  if (!write) return 0;
  write->run();
  bool failed = false;
  SpoolWork work;
  const std::uint64_t items = stream.finish_late(std::move(*write), failed, work);
  work.run();
  EXPECT_FALSE(failed);
  return items;
}

std::vector<std::uint64_t> numbers(std::uint64_t from, std::uint64_t to) {
  std::vector<std::uint64_t> out;
  for (; from <= to; ++from) out.push_back(from);
  return out;
}

std::string only_segment(const std::string& dir) {
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(dir))
    if (entry.path().extension() == ".seg") path = entry.path();
  return path;
}

TEST(Stream, IsAQueueWithoutADisk) {
  Stream stream({1000, 1 << 20});
  for (std::uint64_t i = 1; i <= 10; ++i) EXPECT_TRUE(put(stream, i));
  EXPECT_FALSE(put(stream, 11));
  EXPECT_EQ(stream.items_in_memory(), 10u);
  EXPECT_EQ(drain(stream), numbers(1, 10));
  EXPECT_EQ(stream.memory_bytes(), 0u);
}

TEST(Stream, WhatDoesNotFitIntoMemoryIsReadFromDisk) {
  const TempDir dir;
  Stream stream({500, 1000});
  ASSERT_TRUE(open(stream, dir.path()));
  for (std::uint64_t i = 1; i <= 50; ++i) EXPECT_TRUE(put(stream, i));
  EXPECT_EQ(stream.items_in_memory(), 5u);
  EXPECT_EQ(stream.items_on_disk_only(), 45u);
  EXPECT_EQ(drain(stream), numbers(1, 50));
  EXPECT_LT(stream.disk_bytes(), 1000u);
}

TEST(Stream, AFileIsWrittenToUntilItIsFull) {
  const TempDir dir;
  {
    Stream stream({1 << 20, 1000});
    ASSERT_TRUE(open(stream, dir.path()));
    put(stream, 1);
    const std::string first = only_segment(dir.path());
    pop(stream);
    put(stream, 2);
    EXPECT_EQ(only_segment(dir.path()), first);
    EXPECT_EQ(stream.waiting_bytes(), 132u);
    pop(stream);
    EXPECT_GT(stream.disk_bytes(), 0u);
    EXPECT_EQ(stream.waiting_bytes(), 0u) << "what was sent does not wait";
  }
  Stream stream({1 << 20, 1000});
  const auto found = open(stream, dir.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->items, 0u) << "what was settled is not found again";
  EXPECT_EQ(stream.disk_bytes(), 0u);
  for (std::uint64_t i = 3; i <= 30; ++i) {
    put(stream, i);
    pop(stream);
    EXPECT_LT(stream.disk_bytes(), 1200u);
  }
  put(stream, 31);
  SpoolWork work;
  EXPECT_FALSE(stream.drop_settled(work));
  pop(stream);
  EXPECT_TRUE(stream.drop_settled(work));
  work.run();
  EXPECT_EQ(stream.disk_bytes(), 0u);
  EXPECT_EQ(only_segment(dir.path()), "");
  put(stream, 32);
  EXPECT_EQ(drain(stream), numbers(32, 32));
}

TEST(Stream, WorkOfTwoMovesTheCursorOfEach) {
  const TempDir one, two;
  {
    Stream logs({1 << 20, 1 << 20}), errors({1 << 20, 1 << 20});
    ASSERT_TRUE(open(logs, one.path()));
    ASSERT_TRUE(open(errors, two.path()));
    for (std::uint64_t i = 1; i <= 3; ++i) {
      put(logs, i);
      put(errors, i);
    }
    SpoolWork work = logs.settle(logs.at(0).key);  // moves a cursor
    work.add(logs.settle(logs.at(0).key));         // as far as here
    work.add(errors.settle(errors.at(1).key));     // moves none: an earlier one waits
    work.run();
  }
  Stream logs({1 << 20, 1 << 20}), errors({1 << 20, 1 << 20});
  ASSERT_TRUE(open(logs, one.path()));
  ASSERT_TRUE(open(errors, two.path()));
  EXPECT_EQ(drain(logs), (std::vector<std::uint64_t>{3}));
  EXPECT_EQ(drain(errors), (std::vector<std::uint64_t>{1, 3}));
}

TEST(Stream, TheNextProcessGoesOnWhereTheLastOneStopped) {
  const TempDir dir;
  {
    Stream stream({1 << 20, 1000});
    ASSERT_TRUE(open(stream, dir.path()));
    for (std::uint64_t i = 1; i <= 30; ++i) put(stream, i);
    for (int i = 0; i < 12; ++i) pop(stream);
  }
  Stream stream({1 << 20, 1000});
  const auto found = open(stream, dir.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->items, 18u);
  EXPECT_EQ(found->damaged_records, 0u);
  EXPECT_EQ(found->last_order, 30u);
  put(stream, 31);
  EXPECT_EQ(drain(stream), numbers(13, 31));
}

TEST(Stream, TwoProcessesDoNotShareASpool) {
  const TempDir dir;
  Stream one({1 << 20, 1000}), two({1 << 20, 1000});
  ASSERT_TRUE(open(one, dir.path()));
  EXPECT_FALSE(open(two, dir.path()));
  EXPECT_TRUE(put(two, 1));  // from memory
}

TEST(Stream, ATornEndIsCutWhereverItIsTornAndCountedOnce) {
  const TempDir dir;
  {
    Stream stream({1 << 20, 1 << 20});
    ASSERT_TRUE(open(stream, dir.path()));
    for (std::uint64_t i = 1; i <= 3; ++i) put(stream, i);
  }
  const std::string path = only_segment(dir.path());
  const std::string whole = *read_file(path, 1 << 20);
  for (std::size_t size = 2 * 132; size < whole.size(); ++size) {
    std::filesystem::remove(dir.path() + "/cursor");
    ASSERT_TRUE(write_file_durable(path, whole.substr(0, size)));
    {
      Stream stream({1 << 20, 1 << 20});
      const auto found = open(stream, dir.path());
      ASSERT_TRUE(found);
      EXPECT_EQ(found->items, 2u) << size;
      EXPECT_EQ(found->damaged_records, 0u) << size;
      EXPECT_EQ(found->torn_records, size > 2 * 132 ? 1u : 0u) << size;
      EXPECT_EQ(found->torn_items, size >= 2 * 132 + 32 ? 1u : 0u) << size;  // as far as its front is there
      EXPECT_EQ(stream.disk_bytes(), 2u * 132) << size;
    }
    EXPECT_EQ(std::filesystem::file_size(path), 2u * 132) << size;
    // Also where it is not the last file any more, nothing of it is found again.
    for (std::uint64_t start = 0; start < 2; ++start) {
      Stream stream({1 << 20, 1 << 20});
      const auto found = open(stream, dir.path());
      ASSERT_TRUE(found);
      EXPECT_EQ(found->items, 2u + start) << size;
      EXPECT_EQ(found->torn_records + found->damaged_records + found->torn_items + found->damaged_items, 0u) << size;
      put(stream, 4 + start);
    }
    for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
      if (entry.path().extension() == ".seg" && entry.path() != path) std::filesystem::remove(entry.path());
  }
}

TEST(Stream, ADamagedRecordIsSkippedAndTheOthersStay) {
  const TempDir dir;
  {
    Stream stream({1 << 20, 1 << 20});
    ASSERT_TRUE(open(stream, dir.path()));
    for (std::uint64_t i = 1; i <= 5; ++i) put(stream, i);
  }
  const std::string path = only_segment(dir.path());
  const std::string whole = *read_file(path, 1 << 20);
  for (std::size_t at = 132; at < 3 * 132; ++at) {  // every byte of the second and third record
    std::string broken = whole;
    broken[at] = static_cast<char>(broken[at] ^ 0x55);
    ASSERT_TRUE(write_file_durable(path, broken));
    const bool spare = at % 132 >= 28 && at % 132 < 32;  // the unused word
    for (int start = 0; start < 2; ++start) {
      Stream stream({1 << 20, 1 << 20});
      const auto found = open(stream, dir.path());
      ASSERT_TRUE(found);
      EXPECT_EQ(found->items, spare ? 5u : 4u) << at;
      EXPECT_EQ(found->damaged_records, spare || start > 0 ? 0u : 1u) << at << ": once";
      if (start > 0) {
        EXPECT_EQ(found->damaged_items, 0u) << at;
      }
    }
    ASSERT_TRUE(write_file_durable(path, whole));
  }
}

TEST(Stream, ABrokenCursorRepeatsAndLosesNothing) {
  const TempDir dir;
  {
    Stream stream({1 << 20, 1 << 20});
    ASSERT_TRUE(open(stream, dir.path()));
    for (std::uint64_t i = 1; i <= 5; ++i) put(stream, i);
    pop(stream);
  }
  ASSERT_TRUE(write_file_durable(dir.path() + "/cursor", std::string(24, 'x')));
  Stream stream({1 << 20, 1 << 20});
  ASSERT_TRUE(open(stream, dir.path()));
  EXPECT_EQ(drain(stream), numbers(1, 5));
}

TEST(Stream, DamageWhileItRunsIsSeenWhenItIsRead) {
  const TempDir dir;
  Stream stream({0, 1 << 20});
  ASSERT_TRUE(open(stream, dir.path()));
  for (std::uint64_t i = 1; i <= 3; ++i) put(stream, i);
  const std::string path = only_segment(dir.path());
  std::string bytes = *read_file(path, 1 << 20);
  bytes[132 + 50] ^= 1;
  const Fd file(::open(path.c_str(), O_WRONLY));
  ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(drain(stream), (std::vector<std::uint64_t>{1, 3}));
}

// Descriptors are short for a while: nothing is taken for damage.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(Stream, WhatCannotBeReadNowIsNotDamaged) {
  const TempDir dir;
  {
    Stream stream({0, 1 << 20});
    ASSERT_TRUE(open(stream, dir.path()));
    for (std::uint64_t i = 1; i <= 3; ++i) put(stream, i);
    const SpoolRead read = stream.reading(stream.front());
    {
      const NoDescriptors short_of_them;
      const SpoolBytes bytes = read.run();
      EXPECT_EQ(bytes.payload, nullptr);
      EXPECT_EQ(bytes.error, EMFILE);
    }
    EXPECT_NE(read.run().payload, nullptr);
  }
  // A segment that the next process cannot read: it has no spool yet, and all of it later.
  const std::string path = only_segment(dir.path());
  ASSERT_EQ(::rename(path.c_str(), (path + ".away").c_str()), 0);
  ASSERT_EQ(::symlink(path.c_str(), path.c_str()), 0);  // ELOOP
  EXPECT_FALSE(Stream::open(dir.path()).has_value());
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_EQ(::rename((path + ".away").c_str(), path.c_str()), 0);
  Stream next({0, 1 << 20});
  ASSERT_TRUE(open(next, dir.path()));
  EXPECT_EQ(drain(next), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST(Stream, TheOldestFileGoesButNotTheEntryUnderWay) {
  const TempDir dir;
  Stream stream({0, 300});
  ASSERT_TRUE(open(stream, dir.path()));
  for (std::uint64_t i = 1; i <= 12; ++i) put(stream, i);
  auto [gone, work] = stream.drop_oldest(stream.front().key);
  work.run();
  ASSERT_FALSE(gone.empty());
  EXPECT_EQ(stream.front().order, 1u);
  EXPECT_EQ(drain(stream).size(), 12 - gone.size());
  EXPECT_TRUE(stream.drop_oldest(std::nullopt).first.empty());
}

TEST(Stream, AFullDiskLeavesWholeRecordsAndGoesOnInMemory) {
  const TempDir dir;
  Stream stream({1 << 20, 1 << 20});
  ASSERT_TRUE(open(stream, dir.path()));
  put(stream, 1);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{200, before.rlim_max};
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  bool failed = false;
  EXPECT_EQ(append(stream, 2, batch(1, std::string(100, 'c')), failed), Stream::Taken::kMemory);
  EXPECT_TRUE(failed);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  put(stream, 3);
  EXPECT_EQ(drain(stream), numbers(1, 3));
}

// The first and third of five are set aside; what is settled meanwhile does not come again, neither now nor in the next process.
TEST(Stream, WhatIsSetAsideStaysAndWhatOvertookItIsDone) {
  const TempDir dir;
  {
    Stream stream({0, 300});
    ASSERT_TRUE(open(stream, dir.path()));
    for (std::uint64_t i = 1; i <= 9; ++i) put(stream, i);
    stream.set_aside(stream.front().key, {});
    pop(stream);                              // 2
    stream.set_aside(stream.front().key, {});  // 3
    stream.settle(stream.at(2).key).run();    // 6, before 4 and 5
    pop(stream);                              // 4
    EXPECT_EQ(stream.front().order, 5u);
    EXPECT_EQ(stream.aside().size(), 2u);
    EXPECT_EQ(*stream.reading(stream.aside()[1]).run().payload, std::string(100, 'd'));
    EXPECT_EQ(stream.items_on_disk_only(), 6u);
  }
  Stream stream({0, 300});
  const auto found = open(stream, dir.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->items, 6u);
  EXPECT_EQ(found->damaged_records, 0u);
  EXPECT_EQ(drain(stream), (std::vector<std::uint64_t>{1, 3, 5, 7, 8, 9}));
  EXPECT_EQ(stream.disk_bytes(), 0u);
}

TEST(Stream, AFullSpoolTakesWhatIsSetAsideToo) {
  const TempDir dir;
  Stream stream({0, 300});
  ASSERT_TRUE(open(stream, dir.path()));
  for (std::uint64_t i = 1; i <= 9; ++i) put(stream, i);
  stream.set_aside(stream.front().key, {});
  auto [gone, work] = stream.drop_oldest(std::nullopt);
  work.run();
  EXPECT_EQ(gone.size(), 3u);
  EXPECT_TRUE(stream.aside().empty());
  EXPECT_EQ(drain(stream), numbers(4, 9));
}

// A power cut: everything that was written is handed out to be synced, also what was written before the file changed.
TEST(Stream, EveryFileThatWasWrittenToIsSynced) {
  const TempDir dir;
  Stream stream({0, 300});
  ASSERT_TRUE(open(stream, dir.path()));
  for (std::uint64_t i = 1; i <= 7; ++i) put(stream, i);
  EXPECT_EQ(stream.take_dirty().size(), 6u);  // three files, and the directory for each of them
  EXPECT_TRUE(stream.take_dirty().empty());
  put(stream, 8);
  EXPECT_EQ(stream.take_dirty().size(), 1u);
}

// While a record is written, its file neither goes nor is another's.
TEST(Stream, AWriteUnderWayKeepsItsFile) {
  const TempDir dir;
  Stream stream({0, 300});
  ASSERT_TRUE(open(stream, dir.path()));
  put(stream, 1);
  SpoolWrite write = stream.begin(2, batch(1, std::string(100, 'c')), 0);
  EXPECT_TRUE(stream.drop_oldest(std::nullopt).first.empty());
  pop(stream);
  write.run();
  bool failed = true;
  EXPECT_EQ(stream.finish(std::move(write), failed), Stream::Taken::kDisk);
  EXPECT_FALSE(failed);
  EXPECT_EQ(drain(stream), numbers(2, 2));
  SpoolWork work;
  EXPECT_TRUE(stream.drop_settled(work));
  work.run();
  EXPECT_EQ(only_segment(dir.path()), "");
}

TEST(Stream, WhatIsWrittenLateKeepsItsPlaceAlsoForALaterProcess) {
  const TempDir dir;
  for (std::uint64_t settled = 0; settled <= 8; ++settled) {
    SCOPED_TRACE(settled);
    const std::string path = dir.path() + "/" + std::to_string(settled);
    {
      Stream stream({.memory_bytes = 1u << 20, .segment_bytes = 300});
      ASSERT_TRUE(open(stream, path));
      ASSERT_TRUE(put(stream, 1));
      for (const std::uint64_t order : {2, 3, 4}) put_in_memory(stream, order);
      for (const std::uint64_t order : {5, 6}) ASSERT_TRUE(put(stream, order));
      EXPECT_EQ(stream.items_in_memory_only(), 3u);
      EXPECT_EQ(stream.late_bytes(), 132u);
      EXPECT_EQ(late(stream) + late(stream), 2u);
      ASSERT_TRUE(put(stream, 7));
      EXPECT_EQ(late(stream), 1u);
      EXPECT_EQ(late(stream), 0u);
      EXPECT_EQ(stream.late_bytes(), 0u);
      EXPECT_EQ(stream.items_in_memory_only(), 0u);
      ASSERT_TRUE(put(stream, 8));
      for (std::uint64_t i = 0; i < settled; ++i) {
        EXPECT_EQ(stream.front().order, i + 1);
        pop(stream);
      }
    }
    Stream again({.memory_bytes = 1u << 20, .segment_bytes = 300});
    const auto found = open(again, path);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->items, 8 - settled);
    EXPECT_EQ(found->damaged_records, 0u);
    EXPECT_EQ(drain(again), numbers(settled + 1, 8));
    EXPECT_EQ(again.disk_bytes(), 0u);
  }
}

TEST(Stream, AnEntryThatIsSentWhileItIsWrittenLateIsNotSentAgain) {
  const TempDir dir;
  {
    Stream stream({.memory_bytes = 1u << 20, .segment_bytes = 1000});
    ASSERT_TRUE(open(stream, dir.path()));
    put_in_memory(stream, 1);
    ASSERT_TRUE(put(stream, 2));
    std::optional<SpoolWrite> write = stream.begin_late();
    ASSERT_TRUE(write);
    pop(stream);
    write->run();
    bool failed = false;
    SpoolWork work;
    EXPECT_EQ(stream.finish_late(std::move(*write), failed, work), 0u);
    work.run();
  }
  Stream again({.memory_bytes = 1u << 20, .segment_bytes = 1000});
  ASSERT_TRUE(open(again, dir.path()));
  EXPECT_EQ(drain(again), numbers(2, 2));
}

TEST(Stream, WhatIsSetAsideIsWrittenLateAsWell) {
  const TempDir dir;
  Stream stream({.memory_bytes = 1u << 20, .segment_bytes = 1000});
  ASSERT_TRUE(open(stream, dir.path()));
  put_in_memory(stream, 1);
  ASSERT_TRUE(put(stream, 2));
  stream.set_aside(stream.front().key, {});
  EXPECT_GT(stream.aside_memory_bytes(), 0u);
  EXPECT_EQ(late(stream), 1u);
  EXPECT_EQ(stream.aside_memory_bytes(), 0u);
  EXPECT_EQ(stream.items_on_disk_only(), 1u);
  const auto payload = stream.reading(stream.aside().front()).run().payload;
  ASSERT_TRUE(payload);
  EXPECT_EQ(*payload, std::string(100, 'b'));
}

}  // namespace
}  // namespace stella::telemetry
