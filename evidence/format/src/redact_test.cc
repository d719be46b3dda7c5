// Redaction: the seal holds for the copy, the verdict counts, other tools agree, and nothing of what was withheld is left.
#include "stella/evidence/format/redact.h"

#include <fcntl.h>

#include "bundle_fixture.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/key_history.h"
#include "stella/evidence/format/predicates.h"
#include "stella/evidence/format/statement.h"
#include "stella/base/file.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

class RedactTest : public BundleTest {
 protected:
  Result<RedactedBundle> redact(const std::string& name, const Redaction& redaction, const crypto::Signer* signer, std::string& tgz) const {
    const Fd fd(::open(path(name).c_str(), O_RDONLY | O_CLOEXEC));
    StringSink out;
    auto done = redact_bundle(fd.get(), redaction, signer, out);
    tgz = std::move(out.text);
    return done;
  }
  static Redaction of(std::vector<std::string> paths) { return {.withhold = std::move(paths), .reason = "personal data", .authority = "user:7", .at = Timestamp::from_micros(1'764'000'000'000'000)}; }
};

TEST_F(RedactTest, TheSealHoldsAndTheOmissionIsAuthorised) {
  const auto sealed = seal(evaluation_files());
  std::string tgz;
  const auto done = redact("bundle.tgz", of({"data/inputs/vex/*", "data/trace.ndjson"}), &key_, tgz);
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(done->withheld, (std::vector<std::string>{"data/inputs/vex/vex-0000.json", "data/trace.ndjson"}));
  EXPECT_EQ(done->head, sealed.head);
  const Verdict verdict = this->verify(tgz);
  for (const Dimension d : {Dimension::kIntegrity, Dimension::kAuthenticity, Dimension::kCompleteness}) EXPECT_EQ(verdict.of(d).outcome, Outcome::kPass) << verdict_text(verdict);
  EXPECT_EQ(verdict.disclosure.withheld, 2u);
  EXPECT_EQ(verdict.disclosure.authorised, 2u);

  // Neither name, digest, size nor content is left.
  const std::string secret = R"({"rule":"r1","result":true})";
  for (const auto& [name, bytes] : members(tgz)) {
    EXPECT_EQ(bytes.find("trace.ndjson"), std::string::npos) << name;
    EXPECT_EQ(bytes.find(secret), std::string::npos) << name;
    EXPECT_EQ(bytes.find("vex-0000"), std::string::npos) << name;
  }
  // The other verifiers hold with it.
  write("copy.tgz", tgz);
  const auto by_shell = verify_with_shell("copy.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
  EXPECT_NE(by_shell.output.find("2 items are withheld"), std::string::npos) << by_shell.output;
  const auto bag = shell("mkdir x && tar -xzf copy.tgz -C x && cd x && sha256sum --quiet -c manifest-sha256.txt tagmanifest-sha256.txt && grep Oxum bag-info.txt");
  EXPECT_EQ(bag.exit_code, 0) << bag.output;
  const auto counted = shell("cd x && echo \"Payload-Oxum: $(find data -type f -exec cat {} + | wc -c).$(find data -type f | wc -l)\"");
  EXPECT_EQ(bag.output, counted.output);
}

TEST_F(RedactTest, FilesAreNamedByTheirRoleAsWell) {
  seal(evaluation_files());
  std::string tgz;
  const auto done = redact("bundle.tgz", of({"role:trace"}), &key_, tgz);
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(done->withheld, (std::vector<std::string>{"data/trace.ndjson"}));
  EXPECT_EQ(this->verify(tgz).of(Dimension::kCompleteness).reason.substr(0, 9), "disclosed");
  EXPECT_FALSE(redact("bundle.tgz", of({"role:no-such"}), &key_, tgz).has_value());
}

TEST_F(RedactTest, CanBeDoneAgain) {
  seal(evaluation_files());
  std::string first, second;
  ASSERT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), &key_, first).has_value());
  write("first.tgz", first);
  const auto done = redact("first.tgz", of({"data/empty.ndjson"}), &key_, second);
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  EXPECT_EQ(done->withheld_before, 1u);
  const Verdict verdict = this->verify(second);
  EXPECT_EQ(verdict.of(Dimension::kCompleteness).outcome, Outcome::kPass) << verdict_text(verdict);
  EXPECT_EQ(verdict.disclosure.authorised, 2u);
  EXPECT_TRUE(members(second).contains("redaction/2.dsse.json"));
}

// Two copies, each with its own statement: whoever has both must not get a third of them, from which all is gone that is gone from either.
TEST_F(RedactTest, StatementsOfTwoCopiesDoNotAddUp) {
  seal(evaluation_files());
  std::string a, b, forged;
  ASSERT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), &key_, a).has_value());
  ASSERT_TRUE(redact("bundle.tgz", of({"data/empty.ndjson", "data/inputs/vex/*"}), &key_, b).has_value());
  write("a.tgz", a);
  ASSERT_TRUE(redact("a.tgz", of({"data/empty.ndjson", "data/inputs/vex/*"}), nullptr, forged).has_value());
  Members m = members(forged);
  m["redaction/2.dsse.json"] = members(b).at("redaction/1.dsse.json");
  fix_manifests(m);
  const Verdict verdict = this->verify(pack(m));
  const auto& found = verdict.of(Dimension::kCompleteness);
  EXPECT_EQ(found.outcome, Outcome::kFail) << verdict_text(verdict);
  EXPECT_EQ(verdict.disclosure.withheld, 3u);
  EXPECT_EQ(verdict.disclosure.authorised, 2u) << "by the one that covers most";
  EXPECT_NE(found.reason.find("no one statement covers all of it"), std::string::npos) << found.reason;
  EXPECT_NE(found.reason.find("do not add up"), std::string::npos) << found.reason;
  // Made from what is left of A by somebody whose signature counts, it is authorised as a whole.
  write("forged.tgz", pack(m));
  std::string mended;
  ASSERT_TRUE(redact("forged.tgz", of({"report.html"}), &key_, mended).has_value());
  EXPECT_EQ(this->verify(mended).of(Dimension::kCompleteness).outcome, Outcome::kPass);
  EXPECT_EQ(this->verify(mended).disclosure.authorised, 4u);
}

TEST_F(RedactTest, SaysWhatACopyWithholdsBeforeItIsMade) {
  seal(evaluation_files());
  const std::string items = members(testing::slurp(path("bundle.tgz"))).at("evidence/items.jsonl");
  EXPECT_TRUE(withheld_indices(items).value().empty());
  std::string tgz;
  const Redaction first = of({"data/inputs/vex/*", "role:trace"});
  ASSERT_TRUE(redact("bundle.tgz", first, &key_, tgz).has_value());
  const std::string copied = members(tgz).at("evidence/items.jsonl");
  EXPECT_EQ(withheld_indices(items, first.withhold).value().size(), 2u);
  EXPECT_EQ(withheld_indices(items, first.withhold).value(), withheld_indices(copied).value());
  EXPECT_EQ(withheld_indices(copied, of({"report.html"}).withhold).value().size(), 3u);
  EXPECT_FALSE(withheld_indices("junk\n").has_value());
}

// Statements beside the seal stay: whoever withholds a file hears which of them still tell of it.
TEST_F(RedactTest, NamesTheStatementsThatStillTell) {
  const auto sealed = seal(evaluation_files());
  Members m = members(testing::slurp(path("bundle.tgz")));
  const Subject sbom{.name = "sbom", .sha256 = crypto::sha256(evaluation_files()[1].bytes)};
  m["attest/vulns.sigstore.json"] = sign_statement(key_, make_statement(std::span(&sbom, 1), kVulnsPredicate, json::Value::object({{"result", "CVE-2021-23337"}})).value()).value();
  fix_manifests(m);
  write("bundle.tgz", pack(m));
  std::string tgz;
  const std::vector<std::string> telling = {"attest/vulns.sigstore.json"};
  EXPECT_EQ(redact("bundle.tgz", of({"data/inputs/sbom/*"}), &key_, tgz).value().telling, telling) << "its subject";
  EXPECT_EQ(redact("bundle.tgz", of({"data/outputs/findings.ndjson"}), &key_, tgz).value().telling, telling) << "repeats it";
  EXPECT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), &key_, tgz).value().telling.empty());
}

TEST_F(RedactTest, WithoutTheRightSignatureTheOmissionIsSeenAndNotAuthorised) {
  seal(evaluation_files());
  std::string tgz;
  ASSERT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), nullptr, tgz).has_value());
  EXPECT_EQ(this->verify(tgz).of(Dimension::kIntegrity).outcome, Outcome::kPass);
  EXPECT_EQ(this->verify(tgz).of(Dimension::kCompleteness).outcome, Outcome::kFail);
  const auto stranger = crypto::KeyPair::generate().value();
  ASSERT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), &stranger, tgz).has_value());
  EXPECT_EQ(this->verify(tgz).of(Dimension::kCompleteness).outcome, Outcome::kFail);

  // A statement for other items authorises only those.
  ASSERT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), &key_, tgz).has_value());
  write("one.tgz", tgz);
  std::string more;
  ASSERT_TRUE(redact("one.tgz", of({"data/empty.ndjson"}), nullptr, more).has_value());
  const Verdict verdict = this->verify(more);
  EXPECT_EQ(verdict.disclosure.withheld, 2u);
  EXPECT_EQ(verdict.disclosure.authorised, 1u);
  EXPECT_EQ(verdict.of(Dimension::kCompleteness).outcome, Outcome::kFail);
}

TEST_F(RedactTest, RefusesWhatMakesNoSense) {
  seal(evaluation_files());
  std::string tgz;
  const auto error_of = [&](const Redaction& r) {
    const auto done = redact("bundle.tgz", r, &key_, tgz);
    EXPECT_FALSE(done.has_value());
    EXPECT_TRUE(tgz.empty());
    return done ? std::string() : done.error().describe();
  };
  EXPECT_NE(error_of(of({"data/no-such-file"})).find("data/no-such-file"), std::string::npos);
  EXPECT_NE(error_of(of({"evidence/seal.json"})).find("evidence/seal.json"), std::string::npos);
  EXPECT_NE(error_of(of({"*"})).find("at least one file"), std::string::npos);
  EXPECT_NE(error_of(of({})).find("withhold"), std::string::npos);
  Redaction silent = of({"data/trace.ndjson"});
  silent.reason.clear();
  EXPECT_NE(error_of(silent).find("reason"), std::string::npos);
  // A bundle that is not whole is not made to look whole.
  Members m = members(testing::slurp(path("bundle.tgz")));
  m["data/trace.ndjson"] += "x";
  fix_manifests(m);
  write("bundle.tgz", pack(m));
  EXPECT_NE(error_of(of({"data/empty.ndjson"})).find("data/trace.ndjson"), std::string::npos);
}

TEST_F(RedactTest, AKeyThatWasRetiredBeforeTheSealAuthorisesNothing) {
  seal(evaluation_files());
  const auto old = crypto::KeyPair::generate().value();
  const std::vector<crypto::PublicKey> both = {key_.public_key(), old.public_key()};
  std::string tgz;
  ASSERT_TRUE(redact("bundle.tgz", of({"data/trace.ndjson"}), &old, tgz).has_value());
  const auto completeness = [&](Timestamp retired) {
    const KeyId id = old.public_key().id();
    const KeyId signers[] = {id};
    crypto::KeyHistory history({id});
    EXPECT_TRUE(history.apply({.kind = crypto::KeyEventKind::kIntroduced, .key = id, .public_key = old.public_key()}, signers, Timestamp::from_micros(1'500'000'000'000'000)).has_value());
    EXPECT_TRUE(history.apply({.kind = crypto::KeyEventKind::kActivated, .key = id}, signers, Timestamp::from_micros(1'500'000'000'000'000)).has_value());
    EXPECT_TRUE(history.apply({.kind = crypto::KeyEventKind::kRetired, .key = id}, signers, retired).has_value());
    StringSource source(tgz);
    return verify_bundle(source, {.trust = both, .key_history = &history}).value().of(Dimension::kCompleteness);
  };
  const auto before = completeness(Timestamp::from_micros(facts().sealed_at.micros() - 1));
  EXPECT_EQ(before.outcome, Outcome::kFail);
  EXPECT_NE(before.reason.find("was retired"), std::string::npos) << before.reason;
  EXPECT_EQ(completeness(Timestamp::from_micros(facts().sealed_at.micros() + 1)).outcome, Outcome::kPass) << "it may have signed in between";

  // Retired after the seal: what it says itself to have made later does not count.
  const auto minutes = [&](int n) { return Timestamp::from_micros(facts().sealed_at.micros() + n * 60'000'000ll); };
  Redaction late = of({"data/trace.ndjson"});
  late.at = minutes(10);
  ASSERT_TRUE(redact("bundle.tgz", late, &old, tgz).has_value());
  EXPECT_EQ(completeness(minutes(11)).outcome, Outcome::kPass);
  for (const int n : {5, 10}) {
    const auto after = completeness(minutes(n));
    EXPECT_EQ(after.outcome, Outcome::kFail) << n;
    EXPECT_NE(after.reason.find("was retired by the time at which it says to have signed this"), std::string::npos) << after.reason;
  }
}

}  // namespace
}  // namespace stella::evidence
