// Seeded runs of processes that are killed, stalled and refused at every operation of log and evidence: nothing lost, nothing doubled, order kept.
//
//   STELLA_RUNS=3000 STELLA_SEED=1 stella_tests_chaos_seeds_test     or: make chaos-seeds N=3000
//   STELLA_RUNS=1 STELLA_SEED=417 …                                  one seed again; STELLA_KEEP=1 leaves its store and logs
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "run.h"
#include "stella/base/file.h"

namespace stella::chaos {
namespace {

constexpr std::uint64_t kRuns = 30;
constexpr std::uint64_t kOneInABucket = 10;  // so many in a directory for one in a bucket, which takes longer
constexpr std::uint64_t kSeedsOfACopy = 50;
constexpr std::uint64_t kTell = 100;
constexpr int kEnough = 5;  // failed seeds, then it ends

std::uint64_t number_of(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

std::string report(const chaos::Run& run, std::uint64_t seed, const std::vector<std::string>& problems) {
  std::string out = "seed " + std::to_string(seed) + " (STELLA_SEED=" + std::to_string(seed) + " STELLA_RUNS=1):\n";
  for (const auto& problem : problems) out += "  " + problem + "\n";
  for (const auto& line : run.story()) out += "    " + line + "\n";
  const std::string told = read_file(run.world().told(), 1 << 24).value_or("");
  out += "  told:\n" + told.substr(told.size() > 3000 ? told.size() - 3000 : 0);
  for (const char* table : {"evidence_snapshots", "evidence_retention", "evidence_holds", "evidence_cases", "evidence_clock", "dispositions", "timeline_dispositions"})
    out += std::string("  ") + table + ": " + testing::Postgres::shared().sql(std::string("SELECT jsonb_agg(to_jsonb(t) - 'seal_envelope' - 'request' - 'custody_traces') FROM ") + table + " t", run.world().database) + "\n";
  if (std::getenv("STELLA_KEEP") == nullptr) return out;
  const std::string kept = run.world().dir.path() + "-kept";
  std::filesystem::copy(run.world().dir.path(), kept, std::filesystem::copy_options::recursive);
  return out + "  kept in " + kept + "\n";
}

// All seeds of a test; how many there were.
std::uint64_t run_seeds(Buckets* buckets, std::uint64_t runs, Tally& tally) {
  const Start start;
  std::unique_ptr<Copy> copy;
  const std::uint64_t first = number_of("STELLA_SEED", 1);
  const auto begin = std::chrono::steady_clock::now();
  int failed = 0;
  std::uint64_t done = 0;
  for (; done < runs && failed < kEnough; ++done) {
    if (done % kSeedsOfACopy == 0) {
      copy.reset();
      copy = std::make_unique<Copy>(start, "chaos_" + std::to_string(::getpid()) + "_" + std::to_string(done));
    } else {
      copy->reset();
    }
    chaos::Run run(start, *copy, buckets, first + done, tally);
    const auto problems = run.go();
    if ((done + 1) % kTell == 0) {
      std::printf("%llu seeds, %d failed\n", static_cast<unsigned long long>(done + 1), failed);
      std::fflush(stdout);
    }
    if (problems.empty()) continue;
    ++failed;
    ADD_FAILURE() << report(run, first + done, problems);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu seeds from %llu in %.1f s (%.1f/s), %d failed\n%s\n", static_cast<unsigned long long>(done), static_cast<unsigned long long>(first), seconds, static_cast<double>(done) / seconds, failed, tally.str().c_str());
  return done;
}

TEST(CrashSeeds, NothingIsLostNothingIsDoubledOrderIsKept) {
  Tally tally;
  if (run_seeds(nullptr, number_of("STELLA_RUNS", kRuns), tally) < kRuns || HasFailure()) return;
  // Faults that never come prove nothing.
  for (int place = 1; place < kPlaces; ++place) EXPECT_GT(tally.struck[static_cast<std::size_t>(place)], 2) << place;
  EXPECT_GT(tally.killed, 20);
  EXPECT_GT(tally.stalled, 5);
  EXPECT_GT(tally.rotations, 10);
  EXPECT_GT(tally.sealed, 10);
  EXPECT_GT(tally.disposed, 20);
  EXPECT_GT(tally.expired, 20);
}

// The same where the store is an S3 server, which is killed now and then as well.
TEST(CrashSeeds, InABucket) {
  const auto buckets = Buckets::find();
  if (buckets == nullptr) GTEST_SKIP() << "no S3 server: tools/build-versitygw";
  Tally tally;
  const std::uint64_t runs = std::max<std::uint64_t>(1, number_of("STELLA_RUNS", kRuns) / kOneInABucket);
  if (run_seeds(buckets.get(), runs, tally) < 3 || HasFailure()) return;
  EXPECT_GT(tally.killed, 0);
  EXPECT_GT(tally.sealed + tally.disposed, 0);
}

}  // namespace
}  // namespace stella::chaos
