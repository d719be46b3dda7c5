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
    json::Array inputs, outputs;
    if (!input.empty()) inputs.push_back(object(input, crypto::sha256(input)));
    if (!output.empty()) outputs.push_back(object(output, crypto::sha256(output)));
    return event(n, kind, std::move(inputs), std::move(outputs), tenant);
  }
  static json::Value object(std::string_view name, const Sha256& digest) { return json::Value::object({{"name", name}, {"sha256", digest.hex()}}); }
  static std::string event(int n, std::string_view kind, json::Array inputs, json::Array outputs, std::string_view tenant = "acme", std::string_view bundle = {}) {
    json::Value details = json::Value::object();
    if (!inputs.empty()) details.set("inputs", std::move(inputs));
    if (!outputs.empty()) details.set("outputs", std::move(outputs));
    return json::canonical(json::Value::object({{"event_id", "0193f0a2-7d5c-7000-8000-0000000000" + std::to_string(10 + n)}, {"ts", "2026-01-01T00:00:00Z"}, {"kind", kind}, {"tenant_id", tenant}, {"resource_type", "bundle"}, {"resource_id", bundle}, {"details", details}})).value();
  }
  // The digests of the sealed files with one of those roles (none: of all).
  static json::Array files_of(const SealedBundle& sealed, const std::vector<std::string_view>& roles = {}) {
    json::Array out;
    for (const Item& item : sealed.items)
      if (roles.empty() || std::find(roles.begin(), roles.end(), item.role) != roles.end()) out.push_back(object(item.path, item.sha256));
    return out;
  }

  // A log of eleven entries; those at 2, 5, 7, 8 and 9 are the custody of the bundle.
  void SetUp() override {
    BundleTest::SetUp();
    sealed_ = seal(evaluation_files());
    json::Array payload = {object("items.ndjson", crypto::sha256(items_ndjson(sealed_.items)))};
    entries_ = {"a", "b", event(0, "sbom.received", "", "sbom"), "c", "d", event(1, "sbom.computed", "sbom", "components"), "e",
                event(2, "policy.evaluated", json::Array{object("components", crypto::sha256("components"))}, files_of(sealed_, {"output"})),
                event(3, "evidence.snapshot", json::Array{}, files_of(sealed_), "acme", facts().bundle_id.str()), event(4, "job.finished", files_of(sealed_), std::move(payload)), "h"};
    good_ = naming(entries_);
    enclose(good_, kCustody, entries_, log_key_, kOrigin);
    log_keys_.push_back(timeline::VerifierKey::ed25519(kOrigin, log_key_.public_key()).value());
  }

  // The same files, in a seal that names those events.
  Members naming(const std::vector<std::string>& entries, const std::vector<std::size_t>& indices = kCustody) {
    custody_events_.clear();
    for (const std::size_t i : indices) custody_events_ += entries[i] + "\n";
    sealed_entries_.assign(indices.begin(), indices.end());
    seal(evaluation_files());
    return members(testing::slurp(path("bundle.tgz")));
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

  static inline const std::vector<std::size_t> kCustody = {2, 5, 7, 8, 9};
  SealedBundle sealed_;
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

  refused("an event changed", Dimension::kInclusion, "is not in the log", [&](Members& m) { m["custody/events.jsonl"] = event(0, "sbom.received", "", "other") + "\n" + lines({5, 7, 8, 9}); });
  refused("an event swapped", Dimension::kInclusion, "is not in the log", [&](Members& m) { m["custody/events.jsonl"] = lines({5, 2, 7, 8, 9}); });
  refused("an event added", Dimension::kInclusion, "is missing", [&](Members& m) { m["custody/events.jsonl"] += event(9, "export.created", "decision", "x") + "\n"; });
  refused("an event doubled", Dimension::kInclusion, "out of order", [&](Members& m) {
    m["custody/events.jsonl"] = lines({2, 2, 5, 7});
    m.erase("custody/000004.tlog-proof");
    m["custody/000003.tlog-proof"] = m["custody/000002.tlog-proof"];
    m["custody/000002.tlog-proof"] = m["custody/000001.tlog-proof"];
    m["custody/000001.tlog-proof"] = m["custody/000000.tlog-proof"];
  });
  refused("an event dropped", Dimension::kCustody, "components", [&](Members& m) {
    enclose(m, {2, 7, 8, 9}, entries_, log_key_, kOrigin);
  });
  refused("a proof removed", Dimension::kInclusion, "is missing", [&](Members& m) { m.erase("custody/000001.tlog-proof"); });
  refused("a proof of another event", Dimension::kInclusion, "is not in the log", [&](Members& m) { m["custody/000000.tlog-proof"] = m["custody/000001.tlog-proof"]; });
  refused("the log of a stranger", Dimension::kInclusion, "trusted key", [&](Members& m) { enclose(m, kCustody, entries_, stranger, kOrigin); });
  refused("proofs of another size", Dimension::kInclusion, "another checkpoint", [&](Members& m) { m["custody/checkpoint"] = checkpoint_of({"a", "b"}, log_key_, kOrigin); });
  refused("another tenant's event", Dimension::kCustody, "another tenant", [&](Members& m) { m["custody/events.jsonl"] = event(0, "sbom.received", "", "sbom", "other") + "\n"; });
}

// A chain may be whole, in the log, and that of something else.
TEST_F(DimensionsTest, AChainIsThatOfItsBundle) {
  const auto custody = [&](const std::vector<std::size_t>& indices, const std::vector<std::string>& entries) {
    Members m = naming(entries, indices);
    enclose(m, indices, entries, log_key_, kOrigin);
    const Verdict v = check(m, options());
    EXPECT_EQ(v.of(Dimension::kIntegrity).outcome, Outcome::kPass) << verdict_text(v);
    return v.of(Dimension::kCustody);
  };
  const auto is = [](const DimensionVerdict& found, Outcome outcome, std::string_view word) {
    EXPECT_EQ(found.outcome, outcome) << found.reason;
    EXPECT_NE(found.reason.find(word), std::string::npos) << found.reason;
  };
  is(custody({}, entries_), Outcome::kNotChecked, "no step of a chain is enclosed");
  is(custody({0 + 2}, {"a", "b", event(0, "evidence.signed", "", "")}), Outcome::kNotChecked, "no step of a chain is enclosed");
  is(custody({2, 5}, entries_), Outcome::kFail, "no event took in or put out data/inputs/");
  auto of_another = entries_;
  of_another[8] = event(3, "evidence.snapshot", json::Array{}, files_of(sealed_), "acme", "0193f0a2-7d5c-7000-8000-0000000000ff");
  is(custody({2, 5, 7, 8}, of_another), Outcome::kFail, "no event put out the payload");
  is(custody(kCustody, of_another), Outcome::kPass, "none broken");
  is(custody({2, 5, 8, 9}, entries_), Outcome::kNotChecked, "the events that made data/outputs/decision.json are not enclosed");
  auto entries = entries_;
  entries[8] = event(3, "evidence.snapshot", json::Array{}, files_of(sealed_, {"input", "trace", "log", "report", "guide"}), "acme", facts().bundle_id.str());
  entries[9] = event(4, "job.finished", files_of(sealed_, {"input"}), json::Array{object("items.ndjson", crypto::sha256(items_ndjson(sealed_.items)))});
  is(custody(kCustody, entries), Outcome::kPass, "none broken");
  is(custody({2, 5, 8, 9}, entries), Outcome::kFail, "no event put out data/outputs/decision.json");
  // Nothing is withheld from a chain of nothing: INCLUSION does not pass for it either.
  Members none = naming(entries_, {});
  enclose(none, {}, entries_, log_key_, kOrigin);
  is(check(none, options()).of(Dimension::kInclusion), Outcome::kNotChecked, "no event of the tenant's log is enclosed");
}

// Whole, in the log, and without an event that breaks no link: the seal that names it says so, and of one that names none nobody can tell.
TEST_F(DimensionsTest, AnEventThatBreaksNoLinkIsMissed) {
  const auto without = [&](Members m, const std::vector<std::size_t>& indices) {
    enclose(m, indices, entries_, log_key_, kOrigin);
    return check(m, options());
  };
  const std::vector<std::size_t> whole = {2, 5, 6, 7, 8, 9}, cut = {2, 5, 7, 8, 9};
  entries_[6] = event(6, "finding.opened", "components", "");
  const Verdict good = without(naming(entries_, whole), whole), bad = without(naming(entries_, whole), cut);
  EXPECT_EQ(good.of(Dimension::kCustody).outcome, Outcome::kPass) << verdict_text(good);
  for (const Dimension d : {Dimension::kIntegrity, Dimension::kCompleteness, Dimension::kCustody}) {
    EXPECT_EQ(bad.of(d).outcome, Outcome::kFail) << verdict_text(bad);
    EXPECT_NE(bad.of(d).reason.find("left out: finding.opened (entry 6 of the log)"), std::string::npos) << verdict_text(bad);
  }
  EXPECT_EQ(bad.of(Dimension::kInclusion).outcome, Outcome::kPass) << verdict_text(bad);
  const Verdict before = without(naming(entries_, {}), cut);
  EXPECT_EQ(before.of(Dimension::kIntegrity).outcome, Outcome::kPass) << verdict_text(before);
  EXPECT_EQ(before.of(Dimension::kCustody).outcome, Outcome::kNotChecked) << verdict_text(before);
  EXPECT_NE(before.of(Dimension::kCustody).reason.find("this seal names none"), std::string::npos) << verdict_text(before);
}

// The payload of a copy with files withheld cannot be computed: the snapshot names the bundle.
TEST_F(DimensionsTest, TheChainOfARedactedCopyIsItsOwn) {
  const auto custody = [&](const BundleId& bundle) {
    auto entries = entries_;
    entries[8] = event(3, "evidence.snapshot", json::Array{}, files_of(sealed_), "acme", bundle.str());
    Members m = naming(entries);
    enclose(m, kCustody, entries, log_key_, kOrigin);
    write("whole.tgz", pack(m));
    const Fd fd(::open(path("whole.tgz").c_str(), O_RDONLY | O_CLOEXEC));
    StringSink out;
    EXPECT_TRUE(redact_bundle(fd.get(), {.withhold = {"data/outputs/findings.ndjson"}, .reason = "privacy", .authority = {}, .at = facts().sealed_at}, &key_, out).has_value());
    return check(members(out.text), options()).of(Dimension::kCustody);
  };
  const auto good = custody(facts().bundle_id);
  EXPECT_EQ(good.outcome, Outcome::kPass) << good.reason;
  const auto other = custody(BundleId::parse("0193f0a2-7d5c-7000-8000-0000000000ff").value());
  EXPECT_EQ(other.outcome, Outcome::kFail) << other.reason;
  EXPECT_NE(other.reason.find("or is the snapshot for the bundle"), std::string::npos) << other.reason;
}

// Whoever was given the key of the tenant's log alone can say nothing of the platform's, and of a log of another name nothing at all.
TEST_F(DimensionsTest, ALogOfWhichNoKeyWasGivenIsNotChecked) {
  Members m = good_;
  enclose(m, kCustody, entries_, log_key_, "log.example/other");
  const auto inclusion = check(m, options()).of(Dimension::kInclusion);
  EXPECT_EQ(inclusion.outcome, Outcome::kNotChecked) << inclusion.reason;
  EXPECT_NE(inclusion.reason.find("no key of the log log.example/other was given"), std::string::npos) << inclusion.reason;

  const auto with_platform = [&](CustodyLog log, const crypto::Ed25519Signer& key) {
    Members out = good_;
    const std::string prefix(custody_prefix(log)), entry = event(0, "source.fetched", "", "batch.tar", "platform"), note = checkpoint_of({entry}, key, "log.example/platform");
    out[prefix + "events.jsonl"] = entry + "\n";
    out[prefix + "checkpoint"] = note;
    out[custody_proof_path(log, 0)] = timeline::TlogProof{.extra = {}, .index = 0, .hashes = {}, .checkpoint = note}.str();
    fix_manifests(out);
    return out;
  };
  const crypto::Ed25519KeyPair platform = crypto::Ed25519KeyPair::generate().value(), stranger = crypto::Ed25519KeyPair::generate().value();
  for (const CustodyLog log : {CustodyLog::kKnowledgeBase, CustodyLog::kKeys}) {
    const Verdict v = check(with_platform(log, platform), options());
    EXPECT_EQ(v.of(Dimension::kInclusion).outcome, Outcome::kPass) << verdict_text(v);
    EXPECT_NE(v.of(Dimension::kInclusion).reason.find("are not checked: no key of the log log.example/platform was given"), std::string::npos) << verdict_text(v);
    EXPECT_EQ(v.of(Dimension::kCustody).outcome, log == CustodyLog::kKeys ? Outcome::kPass : Outcome::kNotChecked) << verdict_text(v);
  }
  log_keys_.push_back(timeline::VerifierKey::ed25519("log.example/platform", platform.public_key()).value());
  for (const CustodyLog log : {CustodyLog::kKnowledgeBase, CustodyLog::kKeys}) {
    EXPECT_EQ(check(with_platform(log, platform), options()).of(Dimension::kInclusion).outcome, Outcome::kPass);
    EXPECT_EQ(check(with_platform(log, stranger), options()).of(Dimension::kInclusion).outcome, Outcome::kFail);
  }
}

TEST_F(DimensionsTest, AProofThatStandsForNothingIsRefused) {
  for (const char* path : {"custody/zz.tlog-proof", "custody/000005.tlog-proof", "custody/kb-000000.tlog-proof"}) {
    Members m = good_;
    m[path] = m["custody/000000.tlog-proof"];
    fix_manifests(m);
    for (const bool keys : {true, false}) {
      const auto found = check(m, keys ? options() : VerifyOptions{.trust = trust_, .trust_source = "KEY.pub"}).of(Dimension::kInclusion);
      EXPECT_EQ(found.outcome, Outcome::kFail) << path << found.reason;
      EXPECT_NE(found.reason.find("stands for no event"), std::string::npos) << found.reason;
    }
  }
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
    EXPECT_EQ(v.reason.find("cosigned by 1 witness") != std::string::npos, with_policy) << v.reason;
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
  const auto named_by = [](std::string_view name) { return object(name, crypto::sha256(name)); };
  const auto bundle_with = [&](const json::Value& inputs) {
    const std::string list = json::dump(inputs);
    auto entries = entries_;
    json::Value last = *json::parse(entries[7]);
    const json::Value named = json::Value::object({{"name", "list:" + std::to_string(inputs.as_array().size())}, {"sha256", crypto::sha256(list).hex()}});
    last.set("details", json::Value::object({{"inputs", json::Value::array({named})}, {"outputs", files_of(sealed_, {"output"})}}));
    entries[7] = json::canonical(last).value();
    Members m = naming(entries);
    m[custody_list_path(crypto::sha256(list))] = list;
    enclose(m, kCustody, entries, log_key_, kOrigin);
    return std::pair(m, custody_list_path(crypto::sha256(list)));
  };
  const auto [good, path_of_list] = bundle_with(json::Value::array({named_by("components"), named_by("sbom")}));
  const Verdict pass = check(good, options());
  for (const Dimension d : {Dimension::kIntegrity, Dimension::kInclusion, Dimension::kCustody}) EXPECT_EQ(pass.of(d).outcome, Outcome::kPass) << verdict_text(pass);
  EXPECT_EQ(pass.of(Dimension::kCustody).reason, "5 steps, " + std::to_string(3 + sealed_.items.size()) + " links, none broken");
  write("listed.tgz", pack(good));
  const auto by_shell = verify_with_shell("listed.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
  const auto refused = [&](Members m, std::string_view reason) {
    fix_manifests(m);
    const Verdict v = check(m, options());
    EXPECT_EQ(v.of(Dimension::kCustody).outcome, Outcome::kFail) << reason;
    EXPECT_NE(v.of(Dimension::kCustody).reason.find(reason), std::string::npos) << v.of(Dimension::kCustody).reason;
  };
  refused(bundle_with(json::Value::array({named_by("components"), named_by("invented")})).first, "nothing put out invented");
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

// DSSE passes over signatures that it does not know. Stamps of long ago over one of those do not date the seal.
TEST_F(TimeTest, AStampOverAnotherSignatureSaysNothing) {
  Members m = good_;
  auto envelope = crypto::dsse_parse(m["attest/seal.dsse.json"]).value();
  const auto own = envelope.signatures.front();
  crypto::DsseSignature foreign = own;
  foreign.sig = "the signature of another seal, which was stamped before the key was stolen";
  envelope.signatures.push_back(foreign);
  m["attest/seal.dsse.json"] = envelope.json();
  write("foreign", foreign.sig);
  m["time/1.tsr"] = stamp("foreign", "one");
  fix_manifests(m);
  VerifyOptions o = options();
  const auto trust = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  o.time_trust = &trust;
  const Verdict backdated = check(m, o);
  EXPECT_EQ(backdated.of(Dimension::kAuthenticity).outcome, Outcome::kPass) << verdict_text(backdated);
  EXPECT_EQ(backdated.of(Dimension::kTime).outcome, Outcome::kFail) << verdict_text(backdated);
  EXPECT_EQ(backdated.proven_at, Timestamp{});
  m["time/2.tsr"] = stamp("sig", "two");
  fix_manifests(m);
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kPass);
  // Nobody's signature has a time.
  o.trust = {};
  EXPECT_EQ(check(m, o).of(Dimension::kTime).outcome, Outcome::kNotChecked);
}

// Authorities one after the other: of 2020, from 2020 to 2024, and two of today. Tokens of then are made by putting another time into one of now.
class RenewalTest : public TimeTest {
 protected:
  void SetUp() override {
    TimeTest::SetUp();
    write("ca.conf", "[ca]\ndefault_ca = here\n[here]\ndatabase = index.txt\nserial = ca.serial\nnew_certs_dir = .\ndefault_md = sha256\npolicy = names\nx509_extensions = tsa\nunique_subject = no\ndefault_crl_days = 30\n"
                     "[names]\ncommonName = supplied\n[root]\nbasicConstraints = critical,CA:true\n[tsa]\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = critical,timeStamping\n");
    const auto made = shell(": > index.txt && echo 71 > ca.serial && for n in base past middle today other; do openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr -subj /CN=$n -config conf || exit 1; done && "
                            "openssl ca -batch -selfsign -config ca.conf -extensions root -in base.csr -keyfile base.key -startdate 20190101000000Z -enddate 20450101000000Z -notext -out base.pem && "
                            "issue() { openssl ca -batch -config ca.conf -in $1.csr -cert base.pem -keyfile base.key -startdate $2 -enddate $3 -notext -out $1.pem; } && "
                            "issue past 20200101000000Z 20210101000000Z && issue middle 20200101000000Z 20240101000000Z && issue today 20200101000000Z 20400101000000Z && issue other 20200101000000Z 20400101000000Z");
    ASSERT_EQ(made.exit_code, 0) << made.output;
    trust_time_ = crypto::TimestampTrust::from_pem(testing::slurp(path("base.pem"))).value();
    stamped_ = good_;
    stamped_["time/1.tsr"] = stamp_at("sig", "past", "20200601");
    stamped_["time/chain.pem"] = testing::slurp(path("past.pem"));
    fix_manifests(stamped_);
  }
  // `day`: YYYYMMDD.
  std::string stamp_at(const std::string& of, const std::string& authority, const std::string& day) {
    write("now.token", crypto::timestamp_token(stamp(of, "one")).value());
    EXPECT_EQ(shell("openssl cms -verify -noverify -binary -inform DER -in now.token -out then.tst").exit_code, 0);
    std::string info = testing::slurp(path("then.tst"));
    const std::size_t digest = info.find(std::string(crypto::sha256(testing::slurp(path(of))).view()));
    info.replace(info.find("\x18", digest + 32) + 2, day.size(), day);  // GeneralizedTime: digits
    write("then.tst", info);
    const auto made = shell("rm -f then.out; openssl cms -sign -binary -nodetach -outform DER -econtent_type 1.2.840.113549.1.9.16.1.4 -in then.tst -out then.out -cades -signer " + authority + ".pem -inkey " + authority + ".key");
    EXPECT_EQ(made.exit_code, 0) << made.output;
    const std::string content = std::string("\x30\x03\x02\x01\x00", 5) + testing::slurp(path("then.out"));
    return std::string("\x30\x82") + static_cast<char>(content.size() >> 8) + static_cast<char>(content.size() & 0xff) + content;
  }
  TimeRenewal renewal(const Members& m, const std::string& authority, const std::string& day, std::span<const TimeRenewal> earlier = {}) {
    TimeEvidence evidence;
    const auto envelope = crypto::dsse_parse(m.at("attest/seal.dsse.json")).value();
    for (const auto& signature : envelope.signatures) evidence.signatures.push_back(signature.sig);
    for (const auto& [file, bytes] : m)
      if (file.starts_with("time/")) evidence.files.emplace(file, bytes);
    write("covered", renewed_bytes(evidence, earlier));
    return {stamp_at("covered", authority, day), testing::slurp(path(authority + ".pem"))};
  }
  Verdict verdict(const Members& m, std::span<const TimeRenewal> renewals, std::optional<Timestamp> at = {}, std::size_t threshold = 1) {
    VerifyOptions o = options();
    o.time_trust = &*trust_time_;
    o.time_threshold = threshold;
    o.at = at.value_or(Timestamp::now());
    o.renewals = renewals;
    return check(m, o);
  }
  DimensionVerdict time(const Members& m, std::span<const TimeRenewal> renewals, std::optional<Timestamp> at = {}, std::size_t threshold = 1) { return verdict(m, renewals, at, threshold).of(Dimension::kTime); }
  static Timestamp day(std::string_view text) { return Timestamp::parse(std::string(text) + "T00:00:00Z").value(); }
  static void says(const DimensionVerdict& verdict, Outcome outcome, std::initializer_list<std::string_view> words) {
    EXPECT_EQ(verdict.outcome, outcome) << verdict.reason;
    for (const auto word : words) EXPECT_NE(verdict.reason.find(word), std::string::npos) << word << ": " << verdict.reason;
  }
  std::optional<crypto::TimestampTrust> trust_time_;
  Members stamped_;
};

TEST_F(RenewalTest, ARenewalInTimeCarriesAStampOverTheEndOfItsCertificate) {
  EXPECT_EQ(time(stamped_, {}, day("2020-12-31")).outcome, Outcome::kPass);
  says(time(stamped_, {}), Outcome::kFail, {"time/1.tsr", "expired at 2021-01-01T00:00:00Z", "nobody renewed it before"});

  const std::vector<TimeRenewal> one{renewal(stamped_, "today", "20201101")};
  says(time(stamped_, one), Outcome::kPass, {"signed no later than 2020-06-01", "expired at 2021-01-01T00:00:00Z", "it was renewed at 2020-11-01", "stands until 2040-01-01T00:00:00Z"});
  EXPECT_EQ(verdict(stamped_, one).proven_at.rfc3339().substr(0, 10), "2020-06-01");
  // The last one is judged by its own certificate.
  says(time(stamped_, one, day("2040-01-02")), Outcome::kFail, {"its renewals stand until 2040-01-01T00:00:00Z only"});

  // A chain of two: the second covers the first and its certificates.
  std::vector<TimeRenewal> two{renewal(stamped_, "middle", "20201101")};
  says(time(stamped_, two), Outcome::kFail, {"its renewals stand until 2024-01-01T00:00:00Z only"});
  two.push_back(renewal(stamped_, "today", "20231101", two));
  says(time(stamped_, two), Outcome::kPass, {"it was renewed at 2020-11-01", "stands until 2040-01-01T00:00:00Z"});
  // A redacted copy has the same signature and stamps.
  write("stamped.tgz", pack(stamped_));
  const Fd fd(::open(path("stamped.tgz").c_str(), O_RDONLY | O_CLOEXEC));
  StringSink copy;
  ASSERT_TRUE(redact_bundle(fd.get(), {.withhold = {"data/trace.ndjson"}, .reason = "privacy", .authority = {}, .at = Timestamp::now()}, &key_, copy).has_value());
  EXPECT_EQ(time(members(copy.text), two).outcome, Outcome::kPass);
  // The sidecar holds them byte for byte.
  const auto back = renewals_from_tar(renewals_to_tar(two).value()).value();
  ASSERT_EQ(back.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back[i].token, two[i].token);
    EXPECT_EQ(back[i].chain, two[i].chain);
  }
  EXPECT_EQ(renewals_from_tar("no tar").error().code(), base_errors::kMalformed);
}

TEST_F(RenewalTest, ARenewalThatWasTamperedWithCarriesNothing) {
  std::vector<TimeRenewal> two{renewal(stamped_, "middle", "20201101")};
  two.push_back(renewal(stamped_, "today", "20231101", two));
  ASSERT_EQ(time(stamped_, two).outcome, Outcome::kPass);
  // One of them dropped, the two exchanged, a byte of the first one's certificates changed: the second covers other bytes then.
  const std::vector<TimeRenewal> dropped{two[1]}, exchanged{two[1], two[0]};
  std::vector<TimeRenewal> changed = two;
  changed[0].chain += "\n";
  says(time(stamped_, dropped), Outcome::kFail, {"nobody renewed it before", "time/renewal-1.tsr", "imprint"});
  says(time(stamped_, exchanged), Outcome::kFail, {"time/renewal-1.tsr", "imprint"});
  says(time(stamped_, changed), Outcome::kFail, {"its renewals stand until 2024-01-01T00:00:00Z only", "time/renewal-2.tsr", "imprint"});
  // Over other bytes, and of another bundle: its stamp is another one.
  says(time(stamped_, std::vector<TimeRenewal>{{stamp_at("conf", "today", "20201101"), "chain"}}), Outcome::kFail, {"time/renewal-1.tsr", "imprint"});
  Members other = good_;
  other["time/1.tsr"] = stamp_at("sig", "past", "20200602");
  fix_manifests(other);
  says(time(other, two), Outcome::kFail, {"time/renewal-1.tsr", "imprint"});
  // Of an authority that the verifier does not trust.
  VerifyOptions o = options();
  const auto stranger = crypto::TimestampTrust::from_pem(testing::slurp(path("past.pem"))).value();
  o.time_trust = &stranger;
  o.at = Timestamp::now();
  o.renewals = two;
  says(check(stamped_, o).of(Dimension::kTime), Outcome::kFail, {"time/renewal-1.tsr", "signer certificate"});
  // A sidecar with a gap in it.
  StringSink gap;
  TarWriter tar(gap);
  for (const char* name : {"time/renewal-2.pem", "time/renewal-2.tsr"}) ASSERT_TRUE(tar.add(name, "x").has_value());
  ASSERT_TRUE(tar.finish().has_value());
  EXPECT_EQ(renewals_from_tar(gap.text).error().code(), base_errors::kMalformed);
}

TEST_F(RenewalTest, ARenewalThatCameTooLateProvesNothing) {
  const std::vector<TimeRenewal> late{renewal(stamped_, "today", "20210102")};
  says(time(stamped_, late), Outcome::kFail, {"nobody renewed it before", "time/renewal-1.tsr was made at 2021-01-02", "after that, and proves nothing"});
  // The second one came after the end of the first.
  std::vector<TimeRenewal> two{renewal(stamped_, "middle", "20201101")};
  two.push_back(renewal(stamped_, "today", "20240102", two));
  says(time(stamped_, two), Outcome::kFail, {"its renewals stand until 2024-01-01T00:00:00Z only", "time/renewal-2.tsr was made at 2024-01-02", "proves nothing"});
  // Where two authorities are demanded, two must have renewed.
  Members m = stamped_;
  m["time/2.tsr"] = stamp_at("sig", "middle", "20200601");
  fix_manifests(m);
  std::vector<TimeRenewal> renewals{renewal(m, "today", "20201101")};
  says(time(m, renewals, {}, 2), Outcome::kFail, {"0 of 2", "1 of 2 authorities renewed it before"});
  renewals.push_back(renewal(m, "today", "20201102", renewals));
  says(time(m, renewals, {}, 2), Outcome::kFail, {"1 of 2 authorities renewed it before"});
  renewals.push_back(renewal(m, "other", "20201103", renewals));
  EXPECT_EQ(time(m, renewals, {}, 2).outcome, Outcome::kPass);
}

// The signature of the outer seal covers the stamps of what is inside, as a renewal would.
TEST_F(RenewalTest, ABundleInsideIsJudgedAtTheTimeOfTheOuterOne) {
  auto files = evaluation_files();
  files.push_back({.path = "data/bundles/0193f0a2-7d5c-7000-8000-000000000001.tgz", .media_type = "application/gzip", .role = std::string(kBundleRole), .source_path = {}, .source_fd = -1, .bytes = pack(stamped_)});
  seal(std::move(files));
  const Members outer = members(testing::slurp(path("bundle.tgz")));
  write("outer-sig", crypto::dsse_parse(outer.at("attest/seal.dsse.json"))->signatures.front().sig);
  const auto inside = [&](const std::string& authority, const std::string& day, bool renew = false) {
    Members m = outer;
    m["time/1.tsr"] = stamp_at("outer-sig", authority, day);
    fix_manifests(m);
    const std::vector<TimeRenewal> renewals{renewal(m, "today", "20231101")};
    write("outer.tgz", pack(m));
    VerifyOptions o = options();
    o.time_trust = &*trust_time_;
    o.at = Timestamp::now();
    if (renew) o.renewals = renewals;
    const Verdict v = verify_bundle_file(path("outer.tgz"), o).value();
    const auto nested = verify_nested_file(path("outer.tgz"), v, o);
    EXPECT_TRUE(nested.has_value() && nested->size() == 1);
    return nested->front().verdict->of(Dimension::kTime);
  };
  EXPECT_EQ(inside("today", "20201201").outcome, Outcome::kPass);
  says(inside("today", "20210201"), Outcome::kFail, {"expired at 2021-01-01"});
  // The outer stamp has ended itself.
  EXPECT_EQ(inside("middle", "20201201").outcome, Outcome::kFail);
  EXPECT_EQ(inside("middle", "20201201", true).outcome, Outcome::kPass);
}

TEST_F(RenewalTest, ARevokedCertificateEndsThatDay) {
  const auto revoke = [&](const std::string& date) {
    const auto made = shell("serial=$(openssl x509 -in past.pem -noout -serial | cut -d= -f2); printf 'R\t210101000000Z\t" + date + "\t%s\tunknown\t/CN=past\n' $serial > index.txt; openssl ca -gencrl -config ca.conf -cert base.pem -keyfile base.key -out list.pem");
    ASSERT_EQ(made.exit_code, 0) << made.output;
    trust_time_ = crypto::TimestampTrust::from_pem(testing::slurp(path("base.pem")) + testing::slurp(path("list.pem"))).value();
  };
  const std::vector<TimeRenewal> renewals{renewal(stamped_, "today", "20201101")};
  revoke("200901000000Z,keyCompromise");
  says(time(stamped_, {}), Outcome::kFail, {"a certificate of its authority was revoked at 2020-09-01T00:00:00Z", "nobody renewed it before"});
  says(time(stamped_, renewals), Outcome::kFail, {"revoked at 2020-09-01T00:00:00Z", "time/renewal-1.tsr was made at 2020-11-01", "proves nothing"});
  revoke("201201000000Z,keyCompromise");
  says(time(stamped_, renewals), Outcome::kPass, {"revoked at 2020-12-01T00:00:00Z", "it was renewed at 2020-11-01"});
  // Whoever names no time of the verdict does not get around it.
  VerifyOptions o = options();
  o.time_trust = &*trust_time_;
  EXPECT_EQ(check(stamped_, o).of(Dimension::kTime).outcome, Outcome::kFail);
  o.renewals = renewals;
  EXPECT_EQ(check(stamped_, o).of(Dimension::kTime).outcome, Outcome::kPass);
  // Its end in order says nothing against what it stamped before.
  revoke("200901000000Z,cessationOfOperation");
  says(time(stamped_, renewals), Outcome::kPass, {"expired at 2021-01-01T00:00:00Z"});
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
