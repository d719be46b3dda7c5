// Rings and the spill: every record comes out as it went in, whatever its size and wherever the ring's end falls; what is broken is found.
#include "ring.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "instance.h"
#include "remains.h"
#include "spill.h"
#include "stella/contracts/errors.h"
#include "test_support.h"

namespace stella::telemetry {
namespace {

std::unique_ptr<Ring> make_ring(const TempDir& dir) {
  auto ring = Ring::create(dir / "ring-0000", 128 * 1024);
  EXPECT_TRUE(ring);
  return std::move(*ring);
}

// Reads whole records off `ring`, checks that their numbers are consecutive from `next`, and hands back their counts.
std::vector<std::int64_t> drain(Ring& ring, std::uint64_t& next) {
  std::vector<std::int64_t> counts;
  std::string_view rest = ring.readable();
  const std::size_t all = rest.size();
  while (!rest.empty()) {
    const auto view = RecordView::parse(rest);
    EXPECT_TRUE(view);
    if (!view) return counts;
    EXPECT_EQ(view->head().sequence, next++);
    counts.push_back(count_of(*view));
    rest.remove_prefix(view->bytes().size());
  }
  ring.advance(all, counts.size());
  ring.release();
  return counts;
}

#if !defined(__SANITIZE_THREAD__)  // whose shadow of the ring has pages of its own, each met for the first time
// Faults of this thread while it fills a new ring once. A page that the kernel writes back in between may cost one more.
TEST(Ring, APushMeetsNoPageForTheFirstTime) {
  const TempDir dir;
  const auto ring = make_ring(dir);
  const std::string bytes = log_bytes(Level::kInfo, 0, std::string(200, 'x'));
  ASSERT_TRUE(ring->push(bytes));  // code and stack are warm
  rusage before{}, after{};
  ASSERT_EQ(getrusage(RUSAGE_THREAD, &before), 0);
  while (ring->push(bytes)) {
  }
  ASSERT_EQ(getrusage(RUSAGE_THREAD, &after), 0);
  const auto pages = static_cast<long>(ring->size() / 4096);
  EXPECT_GT(static_cast<std::size_t>(ring->header().head.load()), ring->size() / 2);
  EXPECT_LT(after.ru_minflt - before.ru_minflt, pages / 4);
}
#endif

TEST(Ring, RecordsOfRandomSizesComeOutAsTheyWentIn) {
  const TempDir dir;
  const auto ring = make_ring(dir);
  std::mt19937 random(3);
  std::int64_t pushed = 0, read = 0;
  std::uint64_t next = 0;
  for (int round = 0; round < 400; ++round) {
    for (int i = static_cast<int>(random() % 60); i > 0; --i) {
      const std::string bytes = log_bytes(Level::kInfo, pushed, std::string(random() % 12'000, 'x'));
      if (!ring->push(bytes)) break;
      ++pushed;
    }
    for (const std::int64_t count : drain(*ring, next)) ASSERT_EQ(count, read++);
    ASSERT_EQ(read, pushed);
  }
  EXPECT_GT(static_cast<std::size_t>(ring->header().head.load()), 20 * ring->size());  // it went round often
}

TEST(Ring, TakesToItsLastByteAndNotOneMore) {
  const TempDir dir;
  const auto ring = make_ring(dir);
  const std::string bytes = log_bytes(Level::kInfo, 0, std::string(1000, 'x'));
  std::size_t n = 0;
  while (ring->push(bytes)) ++n;
  EXPECT_EQ(n, ring->size() / bytes.size());
  EXPECT_TRUE(ring->over_half());
  ring->advance(bytes.size(), 1);
  EXPECT_FALSE(ring->push(bytes));  // written is not released
  EXPECT_EQ(ring->held(), bytes.size());
  ring->release();
  EXPECT_TRUE(ring->push(bytes));
  EXPECT_FALSE(ring->push(bytes));
}

TEST(Ring, OneThreadWritesWhileAnotherReads) {
  const TempDir dir;
  const auto ring = make_ring(dir);
  constexpr std::int64_t kRecords = 50'000;
  std::thread writer([&] {
    for (std::int64_t i = 0; i < kRecords;) {
      if (ring->push(log_bytes(Level::kInfo, i, std::string(static_cast<std::size_t>(i % 300), 'y')))) ++i;
      else std::this_thread::yield();
    }
  });
  std::int64_t read = 0;
  std::uint64_t next = 0;
  while (read < kRecords) {
    for (const std::int64_t count : drain(*ring, next)) ASSERT_EQ(count, read++);
    std::this_thread::yield();
  }
  writer.join();
}

TEST(Ring, IsFoundAgainInItsFileWithItsBookkeeping) {
  const TempDir dir;
  {
    const auto ring = make_ring(dir);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(ring->push(log_bytes(Level::kInfo, i)));
    const std::size_t one = RecordView::parse(ring->readable())->bytes().size();
    ring->advance(2 * one, 2);
    ring->release();
    ring->advance(one, 1);
    ring->skip_dropped(true);
    ring->skip_spilled();
  }
  const auto again = Ring::open(dir / "ring-0000");
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->unaccounted(), 7u);
  EXPECT_EQ(count_of(*RecordView::parse((*again)->held_bytes())), 2);
  std::uint64_t next = 3;
  EXPECT_EQ(drain(**again, next), (std::vector<std::int64_t>{3, 4, 5, 6, 7, 8, 9}));
}

TEST(Ring, RefusesFilesThatAreNone) {
  const TempDir dir;
  make_ring(dir);
  const std::string good = *read_file(dir / "ring-0000", 1 << 20);
  const auto refused = [&](std::string bytes) {
    EXPECT_TRUE(write_file_durable(dir / "ring-bad", bytes, 0600));
    return !Ring::open(dir / "ring-bad");
  };
  EXPECT_FALSE(refused(good));
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused(good.substr(0, 100)));
  EXPECT_TRUE(refused(good.substr(0, good.size() - 1)));
  EXPECT_TRUE(refused("X" + good.substr(1)));
  const auto with = [&](std::size_t at, std::uint64_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return bytes;
  };
  EXPECT_TRUE(refused(with(offsetof(RingHeader, header_bytes), 0)));
  EXPECT_TRUE(refused(with(offsetof(RingHeader, head), 1 << 20)));  // more than there is room for
  EXPECT_TRUE(refused(with(offsetof(RingHeader, head), 7)));
  EXPECT_TRUE(refused(with(offsetof(RingHeader, tail), 8)));  // beyond done
  EXPECT_TRUE(refused(with(offsetof(RingHeader, done), 8)));  // beyond head
  EXPECT_FALSE(Ring::open(dir / "absent"));
}

TEST(Ring, WithoutRoomOnTheDiskItWorksInMemory) {
  const auto ring = Ring::create("/nonexistent/ring-0000", 128 * 1024);
  ASSERT_TRUE(ring);
  EXPECT_TRUE((*ring)->in_memory());
  ASSERT_TRUE((*ring)->push(log_bytes(Level::kInfo, 5)));
  std::uint64_t next = 0;
  EXPECT_EQ(drain(**ring, next), (std::vector<std::int64_t>{5}));
}

TEST(Spill, GivesBackWhatItTookInOrderAndShrinks) {
  const TempDir dir;
  Spill spill(dir / "spill", 1 << 20);
  std::uint64_t broken = 0;
  std::int64_t read = 0;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(spill.append(log_bytes(Level::kWarn, round * 100 + i), static_cast<std::uint64_t>(i), 7, false));
    const std::uint64_t end = spill.written();
    while (spill.place() < end) {
      for (const Spill::Frame& frame : spill.read(end, 60'000, broken)) {
        const auto view = RecordView::parse(frame.record);
        ASSERT_TRUE(view);
        EXPECT_EQ(frame.ring, 7u);
        EXPECT_EQ(view->head().sequence, static_cast<std::uint64_t>(read % 100));
        EXPECT_EQ(count_of(*view), read++);
      }
    }
    spill.release();
    EXPECT_EQ(spill.written(), 24u);
  }
  EXPECT_EQ(read, 500);
  EXPECT_EQ(broken, 0u);
}

TEST(Spill, BeyondItsBoundTakesOnlyWhatMustNotBeLost) {
  const TempDir dir;
  Spill spill(dir / "spill", 10'000);
  int warns = 0;
  while (spill.append(log_bytes(Level::kWarn, warns), 0, 0, false)) ++warns;
  EXPECT_GT(warns, 10);
  EXPECT_TRUE(spill.append(log_bytes(Level::kError, 1), 0, 0, true));
}

TEST(Spill, WhatARecoveryMustReadIsWhatWasNotReleased) {
  const TempDir dir;
  std::uint64_t broken = 0;
  {
    Spill spill(dir / "spill", 1 << 20);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(spill.append(log_bytes(Level::kWarn, i, std::string(20'000, 'x')), 0, 0, false));
    const auto first = spill.read(spill.written(), 1, broken);  // at least one frame, not all
    ASSERT_FALSE(first.empty());
    spill.done();
    spill.release();
    const auto second = spill.read(spill.written(), 1, broken);
    ASSERT_FALSE(second.empty());
    ASSERT_LT(first.size() + second.size(), 10u);
    spill.done();  // written, but not released
    bool unread = false;
    const auto rest = Spill::recover(dir / "spill", broken, unread);
    EXPECT_FALSE(unread);
    ASSERT_EQ(rest.size(), 10 - first.size());
    for (std::size_t i = 0; i < rest.size(); ++i) {
      EXPECT_EQ(count_of(*RecordView::parse(rest[i].record)), static_cast<std::int64_t>(first.size() + i));
      EXPECT_EQ(rest[i].written, i < second.size());
    }
  }
  EXPECT_EQ(broken, 0u);
}

TEST(Spill, BrokenFramesAreCountedAndTheRestIsRead) {
  const TempDir dir;
  {
    Spill spill(dir / "spill", 1 << 20);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(spill.append(log_bytes(Level::kWarn, i), 0, 0, false));
  }
  const std::string good = *read_file(dir / "spill", 1 << 20);
  const std::size_t frame = (good.size() - 24) / 10;
  const auto recover = [&](const std::string& bytes, std::uint64_t& broken) {
    EXPECT_TRUE(write_file_durable(dir / "spill", bytes, 0600));
    std::vector<std::int64_t> counts;
    bool unread = false;
    for (const auto& f : Spill::recover(dir / "spill", broken, unread)) counts.push_back(count_of(*RecordView::parse(f.record)));
    return counts;
  };
  std::string flipped = good;
  flipped[24 + 3 * frame + 60] = static_cast<char>(~flipped[24 + 3 * frame + 60]);
  std::uint64_t broken = 0;
  EXPECT_EQ(recover(flipped, broken), (std::vector<std::int64_t>{0, 1, 2, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(broken, 1u);
  broken = 0;
  EXPECT_EQ(recover(good.substr(0, good.size() - 5), broken).size(), 9u);
  EXPECT_EQ(broken, 1u);
  broken = 0;
  EXPECT_TRUE(recover(std::string(5000, 'x'), broken).empty());
  EXPECT_GE(broken, 1u);
}

TEST(Translate, FieldsGoByTheNamesOfTheirWriter) {
  RecordBuilder b = log_builder(Level::kInfo, 42, "why");
  b.add(detail::FieldMaker::text("cart.id", kForeignField, Field::Kind::kText, "17"));
  b.link({TraceId::generate(), SpanId::generate(), 1});
  b.event(5, "retry", {f::count(3)});
  const std::string bytes = b.build();
  // A catalogue in which everything has another place, and `reason` another name.
  std::vector<std::string> ours, theirs;
  std::istringstream in(catalogue_text());
  for (std::string key; std::getline(in, key);) ours.push_back(key);
  theirs = ours;
  std::reverse(theirs.begin(), theirs.end());
  std::string foreign = bytes;
  // The same record as that build would have written it: ids of its own catalogue.
  const auto id_of = [&](const std::vector<std::string>& keys, std::string_view key) {
    return static_cast<std::uint8_t>(std::find(keys.begin(), keys.end(), key) - keys.begin());
  };
  foreign = translate_record(bytes, ours);
  ASSERT_EQ(RecordView::parse(foreign)->head().field_count, 3);
  EXPECT_EQ(foreign, bytes);  // the same catalogue: the same bytes
  std::string written;
  {
    RecordBuilder other = log_builder(Level::kInfo, 42, "why");
    written = other.build();
    std::size_t at = sizeof(RecordHead) + 4 + 4 + 18;
    ASSERT_EQ(static_cast<std::uint8_t>(written[at]), id_of(ours, "count"));
    written[at] = static_cast<char>(id_of(theirs, "count"));
    at += 4 + 8;
    ASSERT_EQ(static_cast<std::uint8_t>(written[at]), id_of(ours, "reason"));
    written[at] = static_cast<char>(id_of(theirs, "reason"));
  }
  theirs[id_of(theirs, "reason")] = "old_reason";
  const std::string now = translate_record(written, theirs);
  const auto view = RecordView::parse(now);
  ASSERT_TRUE(view);
  EXPECT_EQ(count_of(*view), 42);
  std::string reason;
  view->each_field([&](const FieldView& field) {
    if (field.key == "old_reason") reason = field.value;
  });
  EXPECT_EQ(reason, "why");
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_EQ(translate_record(std::string_view(bytes).substr(0, n), ours), "");
}

// What the operating system does not give now is no torn record: who takes it for one deletes it.
TEST(Spill, WhatCannotBeReadNowIsNotBroken) {
  const TempDir dir;
  ASSERT_EQ(::mkdir((dir / "spill").c_str(), 0700), 0);
  std::uint64_t broken = 0;
  bool unread = false;
  EXPECT_TRUE(Spill::recover(dir / "spill", broken, unread).empty());
  EXPECT_TRUE(unread);
  EXPECT_EQ(broken, 0u);
}

}  // namespace
}  // namespace stella::telemetry
