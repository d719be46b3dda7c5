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

constexpr int kRuns = 30;
constexpr std::uint64_t kSeedsOfACopy = 50;
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

TEST(CrashSeeds, NothingIsLostNothingIsDoubledOrderIsKept) {
  const Start start;
  Tally tally;
  const std::uint64_t first = number_of("STELLA_SEED", 1), runs = number_of("STELLA_RUNS", kRuns);
  const auto begin = std::chrono::steady_clock::now();
  std::unique_ptr<Copy> copy;
  int failed = 0;
  std::uint64_t done = 0;
  for (; done < runs && failed < kEnough; ++done) {
    if (done % kSeedsOfACopy == 0) {
      copy.reset();
      copy = std::make_unique<Copy>(start, "chaos_" + std::to_string(::getpid()) + "_" + std::to_string(done));
    } else {
      copy->reset();
    }
    chaos::Run run(start, *copy, first + done, tally);
    const auto problems = run.go();
    if (problems.empty()) continue;
    ++failed;
    ADD_FAILURE() << report(run, first + done, problems);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu seeds from %llu in %.1f s (%.1f/s), %d failed\n%s\n", static_cast<unsigned long long>(done), static_cast<unsigned long long>(first), seconds, static_cast<double>(done) / seconds, failed, tally.str().c_str());
  if (runs < kRuns || failed > 0) return;
  // Faults that never come prove nothing.
  for (int place = 1; place < kPlaces; ++place) EXPECT_GT(tally.struck[static_cast<std::size_t>(place)], 2) << place;
  EXPECT_GT(tally.killed, 20);
  EXPECT_GT(tally.stalled, 5);
  EXPECT_GT(tally.rotations, 10);
  EXPECT_GT(tally.sealed, 20);
  EXPECT_GT(tally.disposed, 20);
  EXPECT_GT(tally.expired, 20);
}

}  // namespace
}  // namespace stella::chaos
