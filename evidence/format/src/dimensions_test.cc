// TIME, INCLUSION, CONSISTENCY, CUSTODY, KEY-STATUS and RETENTION-STATE on a sealed bundle: passing where they should, and each attack named.
#include <fcntl.h>

#include <cstdlib>

#include "bundle_fixture.h"
#include "stella/base/file.h"
#include "stella/evidence/format/custody.h"
#include "stella/evidence/format/redact.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kOrigin = "log.example/tenant-7";

class DimensionsTest : public BundleTest {
 protected:
  static std::string event(int n, std::string_view kind, std::string_view input, std::string_view output, std::string_view tenant = "acme") {
    json::Value details = json::Value::object();
    if (!input.empty()) details.set("inputs", json::Value::array({json::Value::object({{"name", input}, {"sha256", crypto::sha256(input).hex()}})}));
    if (!output.empty()) details.set("outputs", json::Value::array({json::Value::object({{"name", output}, {"sha256", crypto::sha256(output).hex()}})}));
    return json::canonical(json::Value::object({{"event_id", "0193f0a2-7d5c-7000-8000-0000000000" + std::to_string(10 + n)}, {"ts", "2026-01-01T00:00:00Z"}, {"kind", kind}, {"tenant_id", tenant}, {"details", details}})).value();
  }

  // A log of eleven entries; those at 2, 5 and 7 are the custody of the bundle.
  void SetUp() override {
    BundleTest::SetUp();
    seal(evaluation_files());
    good_ = members(testing::slurp(path("bundle.tgz")));
    entries_ = {"a", "b", event(0, "sbom.received", "", "sbom"), "c", "d", event(1, "sbom.computed", "sbom", "components"), "e", event(2, "policy.evaluated", "components", "decision"), "f", "g", "h"};
    enclose(good_, {2, 5, 7}, entries_, log_key_, kOrigin);
    log_keys_.push_back(timeline::VerifierKey::ed25519(kOrigin, log_key_.public_key()).value());
  }

  static std::string checkpoint_of(const std::vector<std::string>& entries, const crypto::Ed25519Signer& key, std::string_view origin) {
    timeline::CompactTree tree;
    for (const auto& e : entries) tree.append_entry(e);
    return timeline::sign_checkpoint({.origin = std::string(origin), .size = tree.size(), .root = tree.root(), .extensions = {}}, key)->str();
  }
  static void enclose(Members& m, const std::vector<std::size_t>& indices, const std::vector<std::string>& entries, const crypto::Ed25519Signer& key, std::string_view origin) {
    std::vector<Sha256> leaves;
    for (const auto& e : entries) leaves.push_back(timeline::leaf_hash(e));
    const std::string note = checkpoint_of(entries, key, origin);
    std::erase_if(m, [](const auto& file) { return file.first.ends_with(".tlog-proof"); });
    m["custody/checkpoint"] = note;
    m["custody/events.jsonl"].clear();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      m["custody/events.jsonl"] += entries[indices[i]] + "\n";
      m["custody/00000" + std::to_string(i) + ".tlog-proof"] =
          timeline::TlogProof{.extra = {}, .index = indices[i], .hashes = timeline::inclusion_proof(std::span<const Sha256>(leaves), indices[i]).value(), .checkpoint = note}.str();
    }
    fix_manifests(m);
  }

  VerifyOptions options() const { return {.trust = trust_, .trust_source = "KEY.pub", .log_keys = log_keys_, .log_source = "LOG.vkey"}; }
  Verdict check(const Members& m, const VerifyOptions& o) const {
    const std::string tgz = pack(m);
    StringSource source(tgz);
    auto verdict = verify_bundle(source, o);
    EXPECT_TRUE(verdict.has_value()) << (verdict ? "" : verdict.error().describe());
    return verdict ? std::move(*verdict) : Verdict{};
  }

  Members good_;
  std::vector<std::string> entries_;
  const crypto::Ed25519KeyPair log_key_ = crypto::Ed25519KeyPair::generate().value();
  std::vector<timeline::VerifierKey> log_keys_;
};

TEST_F(DimensionsTest, EventsInTheLogFormAChain) {
  const Verdict v = check(good_, options());
  for (const Dimension d : {Dimension::kIntegrity, Dimension::kAuthenticity, Dimension::kInclusion, Dimension::kCustody}) EXPECT_EQ(v.of(d).outcome, Outcome::kPass) << verdict_text(v);
  EXPECT_EQ(v.of(Dimension::kInclusion).trust_input, "LOG.vkey");
  EXPECT_EQ(v.of(Dimension::kConsistency).outcome, Outcome::kNotChecked);
  // Without a trusted log key nothing is claimed.
  const Verdict w = check(good_, {.trust = trust_, .trust_source = "KEY.pub"});
  EXPECT_EQ(w.of(Dimension::kInclusion).outcome, Outcome::kNotChecked);
  EXPECT_EQ(w.of(Dimension::kCustody).outcome, Outcome::kNotChecked);
  EXPECT_NE(w.of(Dimension::kInclusion).reason.find(kOrigin), std::string::npos);
}

TEST_F(DimensionsTest, EveryAttackOnTheLogIsNamed) {
  const auto refused = [&](std::string_view what, Dimension dimension, std::string_view word, const std::function<void(Members&)>& attack) {
    Members m = good_;
    attack(m);
    fix_manifests(m);
    const Verdict v = check(m, options());
    EXPECT_EQ(v.of(dimension).outcome, Outcome::kFail) << what << "\n" << verdict_text(v);
    EXPECT_NE(v.of(dimension).reason.find(word), std::string::npos) << what << ": " << v.of(dimension).reason;
  };
  const auto lines = [&](const std::vector<std::size_t>& indices) {
    std::string out;
    for (const std::size_t i : indices) out += entries_[i] + "\n";
    return out;
  };
  const crypto::Ed25519KeyPair stranger = crypto::Ed25519KeyPair::generate().value();

  refused("an event changed", Dimension::kInclusion, "is not in the log", [&](Members& m) { m["custody/events.jsonl"] = event(0, "sbom.received", "", "other") + "\n" + entries_[5] + "\n" + entries_[7] + "\n"; });
  refused("an event swapped", Dimension::kInclusion, "is not in the log", [&](Members& m) { m["custody/events.jsonl"] = lines({5, 2, 7}); });
  refused("an event added", Dimension::kInclusion, "is missing", [&](Members& m) { m["custody/events.jsonl"] += event(9, "export.created", "decision", "x") + "\n"; });
  refused("an event doubled", Dimension::kInclusion, "out of order", [&](Members& m) {
    m["custody/events.jsonl"] = lines({2, 2, 5, 7});
    m["custody/000003.tlog-proof"] = m["custody/000002.tlog-proof"];
    m["custody/000002.tlog-proof"] = m["custody/000001.tlog-proof"];
    m["custody/000001.tlog-proof"] = m["custody/000000.tlog-proof"];
  });
  refused("an event dropped", Dimension::kCustody, "components", [&](Members& m) {
    enclose(m, {2, 7}, entries_, log_key_, kOrigin);
  });
  refused("a proof removed", Dimension::kInclusion, "is missing", [&](Members& m) { m.erase("custody/000001.tlog-proof"); });
  refused("a proof of another event", Dimension::kInclusion, "is not in the log", [&](Members& m) { m["custody/000000.tlog-proof"] = m["custody/000001.tlog-proof"]; });
  refused("the log of a stranger", Dimension::kInclusion, "trusted key", [&](Members& m) { enclose(m, {2, 5, 7}, entries_, stranger, kOrigin); });
  refused("another log of our key's owner", Dimension::kInclusion, "trusted key", [&](Members& m) { enclose(m, {2, 5, 7}, entries_, log_key_, "log.example/other"); });
  refused("proofs of another size", Dimension::kInclusion, "another checkpoint", [&](Members& m) { m["custody/checkpoint"] = checkpoint_of({"a", "b"}, log_key_, kOrigin); });
  refused("another tenant's event", Dimension::kCustody, "another tenant", [&](Members& m) { m["custody/events.jsonl"] = event(0, "sbom.received", "", "sbom", "other") + "\n"; });
}

// The enclosed checkpoint as a leaf of the deployment log, and what witnesses say of that.
class DeploymentDimensionTest : public DimensionsTest {
 protected:
  static constexpr std::string_view kDeployment = "log.example/deployment";
  struct Fork {
    std::vector<std::string> heads;
    std::vector<Sha256> leaves;
    std::string note;
  };
  Fork deployment(std::vector<std::string> heads, const crypto::Ed25519Signer& key, bool witnessed, std::string_view origin = kDeployment) const {
    Fork out{.heads = std::move(heads), .leaves = {}, .note = {}};
    for (const auto& head : out.heads) out.leaves.push_back(timeline::leaf_hash(head));
    auto note = timeline::parse_note(checkpoint_of(out.heads, key, origin)).value();
    if (witnessed) note.signatures.push_back(timeline::cosign_checkpoint(note.text, 1'790'000'000, "w.example", witness_).value());
    out.note = note.str();
    return out;
  }
  static std::string proof(const Fork& fork, std::size_t index, std::size_t claimed) {
    return timeline::TlogProof{.extra = {}, .index = claimed, .hashes = timeline::inclusion_proof(std::span<const Sha256>(fork.leaves), index).value(), .checkpoint = fork.note}.str();
  }
  static std::string proof(const Fork& fork, std::size_t index) { return proof(fork, index, index); }
  void SetUp() override {
    DimensionsTest::SetUp();
    mine_ = good_["custody/checkpoint"];
    log_keys_.push_back(timeline::VerifierKey::ed25519(kDeployment, log_key_.public_key()).value());
    policy_ = timeline::LogPolicy::parse("witness w " + timeline::VerifierKey::cosigner("w.example", witness_.public_key())->str() + "\nquorum w\n").value();
  }
  DimensionVerdict inclusion(const std::optional<std::string>& file, bool with_policy, const std::string& path = "custody/deployment.tlog-proof") {
    Members m = good_;
    if (file) m[path] = *file;
    fix_manifests(m);
    VerifyOptions o = options();
    if (with_policy) o.witnesses = &*policy_;
    return check(m, o).of(Dimension::kInclusion);
  }

  std::string mine_;
  const crypto::Ed25519KeyPair witness_ = crypto::Ed25519KeyPair::generate().value();
  std::optional<timeline::LogPolicy> policy_;
};

TEST_F(DeploymentDimensionTest, TheCheckpointIsALeafAndWitnessesStandForIt) {
  const Fork plain = deployment({"a head", mine_, "another"}, log_key_, false), witnessed = deployment({"a head", mine_, "another"}, log_key_, true);
  for (const auto& [fork, with_policy] : {std::pair{&plain, false}, {&witnessed, false}, {&witnessed, true}}) {
    const auto v = inclusion(proof(*fork, 1), with_policy);
    EXPECT_EQ(v.outcome, Outcome::kPass) << v.reason;
    EXPECT_NE(v.reason.find("leaf 1 of the deployment log log.example/deployment"), std::string::npos) << v.reason;
    EXPECT_EQ(v.reason.find("cosigned by 1 witnesses") != std::string::npos, with_policy) << v.reason;
  }
  // A bundle of before there was a deployment log; and one where the key of the tenant's log alone is known.
  EXPECT_EQ(inclusion(std::nullopt, false).outcome, Outcome::kPass);
  log_keys_.pop_back();
  const auto unknown = inclusion(proof(plain, 1), false);
  EXPECT_EQ(unknown.outcome, Outcome::kPass);
  EXPECT_NE(unknown.reason.find("is not checked"), std::string::npos) << unknown.reason;
}

TEST_F(DeploymentDimensionTest, EveryAttackOnItIsNamed) {
  const auto refused = [&](std::string_view what, std::string_view word, const std::optional<std::string>& file, bool with_policy = false, const std::string& path = "custody/deployment.tlog-proof") {
    const auto v = inclusion(file, with_policy, path);
    EXPECT_EQ(v.outcome, Outcome::kFail) << what;
    EXPECT_NE(v.reason.find(word), std::string::npos) << what << ": " << v.reason;
  };
  const crypto::Ed25519KeyPair stranger = crypto::Ed25519KeyPair::generate().value();
  const Fork log = deployment({"a head", mine_, "another"}, log_key_, true);
  refused("no proof", "malformed", "");
  refused("the proof of another tenant's head", "does not prove", proof(log, 0));
  refused("that proof under our index", "does not prove", proof(log, 0, 1));
  refused("an older checkpoint, which does not have it", "does not prove", proof(deployment({"a head"}, log_key_, true), 0));
  refused("its proof under an older checkpoint", "does not prove", [&] {
    auto parsed = timeline::parse_tlog_proof(proof(log, 1)).value();
    parsed.checkpoint = deployment({"a head"}, log_key_, true).note;
    return parsed.str();
  }());
  refused("a fork with another head in its place", "does not prove", proof(deployment({"a head", "my other head", "another"}, log_key_, true), 1));
  refused("a fork under a stranger's key", "trusted key of the deployment log", proof(deployment({"a head", mine_}, stranger, true), 1));
  refused("a fork that no witness saw", "witnesses cosigned", proof(deployment({mine_, "invented"}, log_key_, false), 0), true);
  refused("a witness that nobody named", "witnesses cosigned", [&] {
    auto parsed = timeline::parse_tlog_proof(proof(deployment({"a head", mine_}, log_key_, false), 1)).value();
    auto note = timeline::parse_note(parsed.checkpoint).value();
    note.signatures.push_back(timeline::cosign_checkpoint(note.text, 1'790'000'000, "w.example", stranger).value());
    parsed.checkpoint = note.str();
    return parsed.str();
  }(), true);
  refused("the log proves itself", "rests on the log itself", proof(deployment({mine_}, log_key_, false, kOrigin), 0));
  refused("taken out", "is missing: no witness", std::nullopt, true);
  for (const char* path : {"custody/kb-deployment.tlog-proof", "custody/keys-deployment.tlog-proof"})
    refused("for a checkpoint that is not there", "stands for no checkpoint", proof(log, 1), false, path);
}

// What an event names by the digest of a list is followed through the enclosed list, which verify.sh lets pass, too.
TEST_F(DimensionsTest, ListsOfCustodyAreFollowed) {
  const auto object = [](std::string_view name) { return json::Value::object({{"name", name}, {"sha256", crypto::sha256(name).hex()}}); };
  const auto bundle_with = [&](const json::Value& inputs) {
    const std::string list = json::dump(inputs);
    auto entries = entries_;
    json::Value last = *json::parse(entries[7]);
    const json::Value named = json::Value::object({{"name", "list:" + std::to_string(inputs.as_array().size())}, {"sha256", crypto::sha256(list).hex()}});
    last.set("details", json::Value::object({{"inputs", json::Value::array({named})}, {"outputs", json::Value::array({object("decision")})}}));
    entries[7] = json::canonical(last).value();
    Members m = good_;
    m[custody_list_path(crypto::sha256(list))] = list;
    enclose(m, {2, 5, 7}, entries, log_key_, kOrigin);
    return std::pair(m, custody_list_path(crypto::sha256(list)));
  };
  const auto [good, path_of_list] = bundle_with(json::Value::array({object("components"), object("sbom")}));
  const Verdict pass = check(good, options());
  for (const Dimension d : {Dimension::kIntegrity, Dimension::kInclusion, Dimension::kCustody}) EXPECT_EQ(pass.of(d).outcome, Outcome::kPass) << verdict_text(pass);
  EXPECT_EQ(pass.of(Dimension::kCustody).reason, "3 steps, 3 links, none broken");
  write("listed.tgz", pack(good));
  const auto by_shell = verify_with_shell("listed.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
  const auto refused = [&](Members m, std::string_view reason) {
    fix_manifests(m);
    const Verdict v = check(m, options());
    EXPECT_EQ(v.of(Dimension::kCustody).outcome, Outcome::kFail) << reason;
    EXPECT_NE(v.of(Dimension::kCustody).reason.find(reason), std::string::npos) << v.of(Dimension::kCustody).reason;
  };
  refused(bundle_with(json::Value::array({object("components"), object("invented")})).first, "nothing put out invented");
  Members m = good;
  m.erase(path_of_list);
  refused(m, "nothing put out list:2");
  m = good;
  m[path_of_list] += " ";
  refused(m, "not what the event names");
  m = good;
  m[custody_list_path(crypto::sha256("stray"))] = "stray";
  refused(m, "no event names");
}

TEST_F(DimensionsTest, AKeptCheckpointTellsTwoHistoriesApart) {
  std::vector<Sha256> leaves;
  for (const auto& e : entries_) leaves.push_back(timeline::leaf_hash(e));
  const std::vector<std::string> older(entries_.begin(), entries_.begin() + 4);
  KeptCheckpoint kept{.note = checkpoint_of(older, log_key_, kOrigin), .consistency = timeline::consistency_proof(std::span<const Sha256>(leaves), 4).value(), .source = "--checkpoint old"};
  VerifyOptions o = options();
  o.kept = &kept;
  Verdict v = check(good_, o);
  EXPECT_EQ(v.of(Dimension::kConsistency).outcome, Outcome::kPass) << verdict_text(v);

  // The log went on since: the kept one is newer.
  auto newer = entries_;
  newer.emplace_back("i");
  leaves.push_back(timeline::leaf_hash("i"));
  KeptCheckpoint later{.note = checkpoint_of(newer, log_key_, kOrigin), .consistency = timeline::consistency_proof(std::span<const Sha256>(leaves), 11).value(), .source = ""};
  o.kept = &later;
  EXPECT_EQ(check(good_, o).of(Dimension::kConsistency).outcome, Outcome::kPass);

  // Without the proof nothing is claimed, and the command that mends it is named.
  kept.consistency.clear();
  o.kept = &kept;
  v = check(good_, o);
  EXPECT_EQ(v.of(Dimension::kConsistency).outcome, Outcome::kNotChecked);
  EXPECT_NE(v.of(Dimension::kConsistency).reason.find("stella timeline proof --from 4 --to 11"), std::string::npos);

  // A second history of the same log, signed by its key: same size, and longer.
  for (const std::size_t size : {11u, 4u}) {
    std::vector<std::string> forked(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(size));
    forked[1] = "rewritten";
    KeptCheckpoint fork{.note = checkpoint_of(forked, log_key_, kOrigin), .consistency = {}, .source = ""};
    if (size == 4) fork.consistency = timeline::consistency_proof(std::span<const Sha256>(leaves).first(11), 4).value();
    o.kept = &fork;
    v = check(good_, o);
    EXPECT_EQ(v.of(Dimension::kConsistency).outcome, Outcome::kFail) << size;
    EXPECT_NE(v.of(Dimension::kConsistency).reason.find("two histories"), std::string::npos);
  }
  const KeptCheckpoint stranger{.note = checkpoint_of(older, crypto::Ed25519KeyPair::generate().value(), kOrigin), .consistency = {}, .source = ""};
  o.kept = &stranger;
  EXPECT_EQ(check(good_, o).of(Dimension::kConsistency).outcome, Outcome::kFail);
}

// An authority that the openssl program runs stamps the signature of the seal.
class TimeTest : public DimensionsTest {
 protected:
  void SetUp() override {
    DimensionsTest::SetUp();
    write("conf", "[req]\ndistinguished_name = dn\n[dn]\n[root]\nbasicConstraints = critical,CA:true\nkeyUsage = critical,keyCertSign\n[tsa]\nkeyUsage = critical,digitalSignature\n"
                  "extendedKeyUsage = critical,timeStamping\n[ts]\nserial = serial\ndefault_policy = 1.2.3.4.1\ndigests = sha256\nsigner_digest = sha256\ness_cert_id_alg = sha256\n");
    const auto made = shell("echo 01 > serial && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=Root -config conf -extensions root && "
                            "for n in one two; do openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr -subj /CN=$n -config conf && "
                            "openssl x509 -req -in $n.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 -extfile conf -extensions tsa -out $n.pem || exit 1; done");
    ASSERT_EQ(made.exit_code, 0) << made.output;
    write("sig", crypto::dsse_parse(good_["attest/seal.dsse.json"])->signatures.front().sig);
  }
  std::string stamp(const std::string& of, const std::string& authority) {
    const auto made = shell("openssl ts -query -data " + of + " -sha256 -cert -out q && openssl ts -reply -config conf -section ts -queryfile q -signer " + authority + ".pem -inkey " + authority + ".key -out r");
    EXPECT_EQ(made.exit_code, 0) << made.output;
    return testing::slurp(path("r"));
  }
};

TEST_F(TimeTest, AuthoritiesSayNoLaterThan) {
  Members m = good_;
  m["time/1.tsr"] = stamp("sig", "one");
  m["time/2.tsr"] = stamp("sig", "two");
  m["time/3.tsr"] = stamp("sig", "one");
  fix_manifests(m);
  VerifyOptions o = options();
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kNotChecked);
  const auto trust = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  o.time_trust = &trust;
  o.time_source = "root.pem";
  o.time_threshold = 2;
  const Verdict v = check(m, o);
  EXPECT_EQ(v.of(Dimension::kTime).outcome, Outcome::kPass) << verdict_text(v);
  EXPECT_EQ(v.time_authorities.size(), 2u);
  EXPECT_NE(verdict_text(v).find("signed no later than 20"), std::string::npos);
  // One authority that stamps twice is one authority.
  m.erase("time/2.tsr");
  fix_manifests(m);
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kFail);
  // A stamp over something else.
  o.time_threshold = 1;
  m = good_;
  m["time/1.tsr"] = stamp("conf", "one");
  fix_manifests(m);
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kFail);
  // An authority of somebody else.
  ASSERT_EQ(shell("mv root.pem kept.pem; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out root.pem -days 30 -subj /CN=Root -config conf -extensions root").exit_code, 0);
  const auto other = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  m["time/1.tsr"] = stamp("sig", "one");
  fix_manifests(m);
  o.time_trust = &other;
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kFail);
  o.time_trust = &trust;
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kPass);
}

TEST_F(TimeTest, ASignatureCountsWhileItsKeyIsGood) {
  Members m = good_;
  m["time/1.tsr"] = stamp("sig", "one");
  fix_manifests(m);
  const auto trust = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  VerifyOptions o = options();
  o.time_trust = &trust;
  const KeyId id = key_.public_key().id();
  const KeyId signers[] = {id};
  crypto::KeyHistory history({id});
  const Timestamp old = Timestamp::from_micros(1'500'000'000'000'000);
  ASSERT_TRUE(history.apply({.kind = crypto::KeyEventKind::kIntroduced, .key = id, .public_key = key_.public_key()}, signers, old).has_value());
  ASSERT_TRUE(history.apply({.kind = crypto::KeyEventKind::kActivated, .key = id}, signers, old).has_value());
  o.key_history = &history;
  o.key_source = "keys.jsonl";
  EXPECT_EQ(check(m, o).of(Dimension::kKeyStatus).outcome, Outcome::kPass);
  // Without a trusted time it cannot be said.
  EXPECT_EQ(check(good_, o).of(Dimension::kKeyStatus).outcome, Outcome::kNotChecked);
  // Compromised since before it was stamped.
  ASSERT_TRUE(history.apply({.kind = crypto::KeyEventKind::kCompromised, .key = id, .since = Timestamp::from_micros(1'600'000'000'000'000)}, signers, Timestamp::now()).has_value());
  const Verdict v = check(m, o);
  EXPECT_EQ(v.of(Dimension::kKeyStatus).outcome, Outcome::kFail) << verdict_text(v);
  EXPECT_EQ(v.of(Dimension::kAuthenticity).outcome, Outcome::kPass);
}

// A stamp over the signature of an omission's authorisation dates it; one over another signature in the same envelope does not.
TEST_F(TimeTest, AStampDatesAnAuthorisation) {
  const auto trust = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  const crypto::KeyPair other = crypto::KeyPair::generate().value();
  const std::vector<crypto::PublicKey> both = {key_.public_key(), other.public_key()};
  const KeyId id = other.public_key().id();
  const KeyId signers[] = {id};
  crypto::KeyHistory history({id});
  const Timestamp old = Timestamp::from_micros(1'500'000'000'000'000);
  ASSERT_TRUE(history.apply({.kind = crypto::KeyEventKind::kIntroduced, .key = id, .public_key = other.public_key()}, signers, old).has_value());
  ASSERT_TRUE(history.apply({.kind = crypto::KeyEventKind::kActivated, .key = id}, signers, old).has_value());
  VerifyOptions o = options();
  o.trust = both;
  o.time_trust = &trust;
  o.key_history = &history;
  write("whole.tgz", pack(good_));
  const Fd fd(::open(path("whole.tgz").c_str(), O_RDONLY | O_CLOEXEC));
  StringSink out;
  ASSERT_TRUE(redact_bundle(fd.get(), {.withhold = {"data/trace.ndjson"}, .reason = "privacy", .authority = {}, .at = old}, &other, out).has_value());
  Members m = members(out.text);
  const auto envelope = crypto::dsse_parse(m["redaction/1.dsse.json"]).value();
  write("redaction", envelope.signatures.front().sig);
  const auto completeness = [&](Members files) {
    fix_manifests(files);
    return check(files, o).of(Dimension::kCompleteness).outcome;
  };
  Members stamped = m, beside = m;
  stamped["time/9.tsr"] = stamp("redaction", "one");
  beside["time/9.tsr"] = stamp("sig", "one");
  auto padded = envelope;
  padded.signatures.push_back(crypto::dsse_parse(good_["attest/seal.dsse.json"])->signatures.front());
  beside["redaction/1.dsse.json"] = padded.json();
  EXPECT_EQ(completeness(m), Outcome::kPass);
  const Timestamp now = Timestamp::now();
  ASSERT_TRUE(history.apply({.kind = crypto::KeyEventKind::kCompromised, .key = id, .since = now}, signers, now).has_value());
  EXPECT_EQ(completeness(m), Outcome::kFail);
  EXPECT_EQ(completeness(stamped), Outcome::kPass);
  EXPECT_EQ(completeness(beside), Outcome::kFail);
  o.time_threshold = 2;
  EXPECT_EQ(completeness(stamped), Outcome::kFail);
}

TEST_F(DimensionsTest, TheStoreKeepsWhatTheSealPromises) {
  VerifyOptions o = options();
  StoreState store{.retain_until = facts().retain_until, .held = false, .source = "the object store"};
  o.store = &store;
  EXPECT_EQ(check(good_, o).of(Dimension::kRetentionState).outcome, Outcome::kPass);
  store.retain_until = Timestamp::from_micros(facts().retain_until.micros() - 1'000'000);
  EXPECT_EQ(check(good_, o).of(Dimension::kRetentionState).outcome, Outcome::kFail);
  store.held = true;
  EXPECT_EQ(check(good_, o).of(Dimension::kRetentionState).outcome, Outcome::kPass);
  o.store = nullptr;
  EXPECT_EQ(check(good_, o).of(Dimension::kRetentionState).outcome, Outcome::kNotChecked);
}

}  // namespace
}  // namespace stella::evidence
