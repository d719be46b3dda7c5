// What a seal says of events: each way of leaving one out is found and named, and what came later is free.
#include "stella/evidence/format/sealed_events.h"

#include <gtest/gtest.h>

#include "bundle_fixture.h"
#include "stella/evidence/format/seal.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

const std::vector<std::string> kKinds = {"sbom.received", "job.finished", "sbom.computed", "job.finished", "policy.evaluated", "evidence.snapshot"};
const std::vector<std::uint64_t> kEntries = {2, 3, 4, 9, 11, 12};

std::string line(std::size_t n, std::string_view kind) { return R"({"event_id":"0193f0a2-7d5c-7000-8000-0000000000)" + std::to_string(10 + n) + R"(","kind":")" + std::string(kind) + "\"}\n"; }

std::string lines_of(const std::vector<std::size_t>& which) {
  std::string out;
  for (const std::size_t n : which) out += line(n, n < kKinds.size() ? kKinds[n] : "evidence.signed");
  return out;
}

std::string said(const SealedEvents& sealed, const std::vector<std::size_t>& which) {
  std::vector<std::optional<std::uint64_t>> indexes;
  for (const std::size_t n : which) indexes.push_back(n < kEntries.size() ? kEntries[n] : 20 + n);
  return differs_from_sealed(sealed, lines_of(which), indexes);
}

// Nothing was taken from the knowledge base: a locker that took what it wrote for something else would sign for ever.
TEST(SealedEvents, OfNoEventsASealSaysWhatIsReadFromIt) {
  EXPECT_EQ(sealed_events("", {}).value(), SealedEvents());
  EXPECT_EQ(sealed_events(lines_of({0, 1}), kEntries, 0).value(), SealedEvents());
}

TEST(SealedEvents, EachOmissionIsNamedAndWhatCameLaterIsFree) {
  const SealedEvents sealed = sealed_events(lines_of({0, 1, 2, 3, 4, 5}), kEntries).value();
  EXPECT_EQ(sealed.entries, "2-4,9,11-12");
  EXPECT_EQ(sealed.kinds.at("job.finished"), 2u);
  EXPECT_EQ(said(sealed, {0, 1, 2, 3, 4, 5}), "");
  EXPECT_EQ(said(sealed, {0, 1, 2, 3, 4, 5, 6, 7}), "");
  for (std::size_t gone = 0; gone < kKinds.size(); ++gone)
    for (const bool later : {false, true}) {
      std::vector<std::size_t> rest;
      for (std::size_t n = 0; n < kKinds.size() + (later ? 2 : 0); ++n)
        if (n != gone) rest.push_back(n);
      EXPECT_EQ(said(sealed, rest), "left out: " + kKinds[gone] + " (entry " + std::to_string(kEntries[gone]) + " of the log)");
    }
  EXPECT_EQ(said(sealed, {}), "left out: evidence.snapshot, 2 job.finished, policy.evaluated, sbom.computed, sbom.received (entry 2, 3, 4, 9, 11 and 1 more of the log)");
  EXPECT_NE(said(sealed, {0, 1, 2, 4, 3, 5}), "");
  EXPECT_NE(said(sealed, {0, 1, 2, 2, 3, 4, 5}), "");
  // Another event of the log among them, and one in the place of another.
  const std::vector<std::optional<std::uint64_t>> more = {2, 3, 4, 9, 10, 11, 12}, same = {2, 3, 4, 9, 11, 12};
  EXPECT_EQ(differs_from_sealed(sealed, lines_of({0, 1, 2, 3, 7, 4, 5}), more), "not named by the seal: entry 10");
  EXPECT_NE(differs_from_sealed(sealed, lines_of({0, 1, 2, 3, 4}) + line(9, "evidence.snapshot"), same), "");
  // Without the proofs the kind is still known; without the last newline it is not that line.
  EXPECT_EQ(differs_from_sealed(sealed, lines_of({0, 1, 2, 3, 5}), {}).substr(0, 27), "left out: policy.evaluated ");
  const std::string cut = lines_of({0, 1, 2, 3, 4, 5});
  EXPECT_NE(differs_from_sealed(sealed, std::string_view(cut).substr(0, cut.size() - 1), same), "");
}

TEST(SealedEvents, TheMemberIsReadAsItWasWrittenAndNothingElse) {
  const SealedEvents sealed = sealed_events(lines_of({0, 1, 2, 3, 4, 5}), kEntries).value();
  EXPECT_EQ(parse_sealed_events(sealed.json()).value(), sealed);
  EXPECT_EQ(sealed_events(lines_of({0, 1, 2, 3, 4, 5, 6}), kEntries, 6).value(), sealed);
  EXPECT_EQ(sealed_events(lines_of({0, 1}), kEntries, 6)->count, 2u);
  EXPECT_FALSE(sealed_events(lines_of({0, 1, 2}), std::span(kEntries).first(2)).has_value());
  EXPECT_FALSE(sealed_events("no event\n", kEntries).has_value());
  const auto refused = [&](std::string_view member, const json::Value& value) {
    json::Value other = sealed.json();
    other.set(std::string(member), value);
    const auto read = parse_sealed_events(other);
    EXPECT_FALSE(read.has_value()) << member << " " << json::dump(value);
  };
  for (const char* entries : {"", "2-4", "2-4,9,11-13", "2-4,4,11-12", "4-2,9,11-12", "2-4,9,11-12,", "0-18446744073709551615", "2-4,x,11-12", "2-4,9-,11-12", "-1", "12,11,9,2-4"}) refused("entries", entries);
  for (const json::Value& events : {json::Value(0), json::Value(-1), json::Value(5), json::Value("6"), json::Value()}) refused("events", events);
  refused("lines_sha256", "00");
  refused("kinds", json::Value::object({{"job.finished", 5}}));
  refused("kinds", json::Value::object({{"job.finished", 7}}));
  refused("kinds", json::Value::object({{"job.finished", 6}, {"x", 0}}));
  refused("kinds", json::Value::array({}));
}

// On bundles: every verifier without any key of a log.
class SealedEventsInBundles : public BundleTest {
 protected:
  void SetUp() override {
    BundleTest::SetUp();
    custody_events_ = lines_of({0, 1, 2, 3, 4, 5, 6});
    sealed_entries_ = kEntries;
    seal(evaluation_files());
  }
};

TEST_F(SealedEventsInBundles, ADroppedEventIsRefusedByUsAndByTheShell) {
  const Members good = members(testing::slurp(path("bundle.tgz")));
  EXPECT_EQ(verify(pack(good)).of(Dimension::kIntegrity).outcome, Outcome::kPass);
  const auto shell = verify_with_shell("bundle.tgz");
  EXPECT_EQ(shell.exit_code, 0) << shell.output;
  EXPECT_NE(shell.output.find("PASS  events: the 6 that the seal names"), std::string::npos) << shell.output;
  for (std::size_t gone = 0; gone < kKinds.size(); ++gone) {
    std::vector<std::size_t> rest;
    for (std::size_t n = 0; n < 7; ++n)
      if (n != gone) rest.push_back(n);
    Members m = good;
    m["custody/events.jsonl"] = lines_of(rest);
    fix_manifests(m);
    write("other.tgz", pack(m));
    const Verdict v = verify(pack(m));
    for (const Dimension d : {Dimension::kIntegrity, Dimension::kCompleteness}) {
      EXPECT_EQ(v.of(d).outcome, Outcome::kFail) << verdict_text(v);
      EXPECT_NE(v.of(d).reason.find(kKinds[gone]), std::string::npos) << v.of(d).reason;
    }
    const auto refused = verify_with_shell("other.tgz");
    EXPECT_EQ(refused.exit_code, 1) << refused.output;
    EXPECT_NE(refused.output.find("events that the seal names"), std::string::npos) << refused.output;
  }
  Members none = good;
  none.erase("custody/events.jsonl");
  fix_manifests(none);
  write("other.tgz", pack(none));
  EXPECT_EQ(verify(pack(none)).of(Dimension::kIntegrity).outcome, Outcome::kFail);
  EXPECT_EQ(verify_with_shell("other.tgz").exit_code, 1);
  // What is not named comes and goes.
  for (const auto& rest : {std::vector<std::size_t>{0, 1, 2, 3, 4, 5}, std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7}}) {
    Members m = good;
    m["custody/events.jsonl"] = lines_of(rest);
    fix_manifests(m);
    write("other.tgz", pack(m));
    EXPECT_EQ(verify(pack(m)).of(Dimension::kIntegrity).outcome, Outcome::kPass);
    EXPECT_EQ(verify_with_shell("other.tgz").exit_code, 0);
  }
}

TEST_F(SealedEventsInBundles, ASealOfBeforeNamesNone) {
  sealed_entries_.clear();
  seal(evaluation_files());
  Members m = members(testing::slurp(path("bundle.tgz")));
  EXPECT_EQ(m["evidence/seal.json"].find("\"custody\""), std::string::npos);
  m["custody/events.jsonl"] = lines_of({0, 1, 2, 3, 5, 6});
  fix_manifests(m);
  write("other.tgz", pack(m));
  EXPECT_EQ(verify(pack(m)).of(Dimension::kIntegrity).outcome, Outcome::kPass);
  const auto shell = verify_with_shell("other.tgz");
  EXPECT_EQ(shell.exit_code, 0);
  EXPECT_NE(shell.output.find("NOT CHECKED  whether events were left out"), std::string::npos) << shell.output;
}

}  // namespace
}  // namespace stella::evidence
