// KEY-STATUS by the logs alone: a seal that is signed first, logged, and written afterwards; and what a thief of the key can do about it.
#include <fcntl.h>

#include "bundle_fixture.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/key_log.h"
#include "stella/evidence/format/custody.h"
#include "stella/evidence/format/predicates.h"
#include "stella/evidence/format/redact.h"
#include "stella/evidence/format/statement.h"
#include "stella/testing/shared_data.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tlog_proof.h"

namespace stella::evidence {
namespace {

using crypto::KeyEventKind;

Timestamp at(int minute) { return Timestamp::parse("2026-03-01T10:" + std::string(minute < 10 ? "0" : "") + std::to_string(minute) + ":00Z").value(); }

// A log and those of its entries that a bundle encloses.
struct Log {
  std::string origin, tenant;
  std::vector<std::string> entries{};
  std::vector<std::size_t> enclosed{};

  void add(std::string_view kind, Timestamp when, json::Value details, bool is_enclosed = true) {
    if (is_enclosed) enclosed.push_back(entries.size());
    entries.push_back(json::canonical(json::Value::object({{"event_id", "0193f0a2-7d5c-7000-8000-0000000000" + std::to_string(10 + entries.size())}, {"ts", when.rfc3339()}, {"kind", kind}, {"tenant_id", tenant}, {"details", std::move(details)}})).value());
  }
};

class KeyStatusTest : public BundleTest {
 protected:
  void SetUp() override {
    BundleTest::SetUp();
    platform_.add("tenant.created", at(0), json::Value::object(), false);
    life({.kind = KeyEventKind::kIntroduced, .key = key_.public_key().id(), .public_key = key_.public_key()}, {&key_}, at(1), false);
    life({.kind = KeyEventKind::kActivated, .key = key_.public_key().id()}, {&key_}, at(2));
    tenant_.add("sbom.received", at(5), json::Value::object());
    log_keys_.push_back(log_key_.public_key());
  }

  // An event of the keys: a line of the history, and an entry of the platform's log.
  void life(const crypto::KeyEvent& event, std::vector<const crypto::Signer*> signers, Timestamp when, bool logged = true) {
    const auto envelope = crypto::sign_key_event(event, signers).value();
    lines_.push_back({when, envelope});
    if (logged) platform_.add("key.event", when, json::Value::object({{"envelope_sha256", crypto::sha256(envelope.json()).hex()}}));
  }
  std::string history() const {
    std::string out;
    for (const auto& line : lines_) out += crypto::key_log_line(line.at, line.event);
    return out;
  }

  struct Made {
    Members files;
    std::string envelope;
  };
  // Signed with `signer` as if the keys' history were `known`, logged at `when` (nullopt: the log does not hear of it), and written.
  Made make(const crypto::Signer& signer, const std::string& known, std::size_t events, std::optional<Timestamp> when, std::uint64_t log_size = 1) {
    StringSink payload;
    const std::string items = items_ndjson(build_payload(evaluation_files(), payload).value());
    write("payload.tar", payload.text);
    const Fd fd(::open(path("payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
    const crypto::Signer* signers[] = {&signer};
    SealInput input;
    input.payload_fd = fd.get();
    input.items_ndjson = items;
    input.bundle_key = bundle_key_;
    input.signers = signers;
    input.facts = facts();
    Made out;
    out.envelope = sign_payload(input, [&](SealFacts& f) -> Result<void> {
      f.log_origin = tenant_.origin;
      f.log_size = log_size;
      f.platform_origin = names_platform_;
      f.key_events = events;
      f.key_history_sha256 = crypto::sha256(known).hex();
      return {};
    }).value();
    if (when) took_in(out.envelope, *when);
    const crypto::PublicKey by[] = {signer.public_key()};
    input.signed_seal = out.envelope;
    input.signed_by = by;
    input.extra_files.emplace_back(kKeyHistoryPath, known);
    StringSink tgz;
    EXPECT_TRUE(seal_bundle(input, tgz).has_value());
    out.files = members(tgz.text);
    enclose(out.files);
    return out;
  }
  void took_in(const std::string& envelope, Timestamp when) {
    tenant_.add("evidence.signed", when, json::Value::object({{"seal_sha256", crypto::sha256(crypto::dsse_parse(envelope)->payload).hex()}, {"envelope_sha256", crypto::sha256(envelope).hex()}}));
  }
  void enclose(Members& m, std::size_t keys_size = 0) {
    std::erase_if(m, [](const auto& file) { return file.first.ends_with(".tlog-proof"); });
    enclose(m, tenant_, CustodyLog::kTenant, 0);
    enclose(m, platform_, CustodyLog::kKeys, keys_size);
    fix_manifests(m);
  }
  void enclose(Members& m, const Log& log, CustodyLog part, std::size_t size) const {
    timeline::CompactTree tree;
    std::vector<Sha256> leaves;
    const std::vector<std::string> covered(log.entries.begin(), size == 0 ? log.entries.end() : log.entries.begin() + static_cast<std::ptrdiff_t>(size));
    for (const auto& e : covered) {
      tree.append_entry(e);
      leaves.push_back(timeline::leaf_hash(e));
    }
    const std::string note = timeline::sign_checkpoint({.origin = log.origin, .size = tree.size(), .root = tree.root(), .extensions = {}}, log_key_)->str();
    const std::string prefix(custody_prefix(part));
    m[prefix + "checkpoint"] = note;
    m[prefix + "events.jsonl"].clear();
    for (std::size_t i = 0; i < log.enclosed.size(); ++i) {
      const std::size_t index = log.enclosed[i];
      m[prefix + "events.jsonl"] += log.entries[index] + "\n";
      const auto hashes = index < leaves.size() ? timeline::inclusion_proof(std::span<const Sha256>(leaves), index).value() : std::vector<Sha256>{};
      m[custody_proof_path(part, i)] = timeline::TlogProof{.extra = {}, .index = index, .hashes = hashes, .checkpoint = note}.str();
    }
  }

  VerifyOptions options() const { return {.trust = trust_, .trust_source = "KEY.pub", .log_signers = log_keys_, .log_source = "LOG.pub"}; }
  DimensionVerdict status(const Members& m, const VerifyOptions& o) const {
    const std::string tgz = pack(m);
    StringSource source(tgz);
    const auto verdict = verify_bundle(source, o);
    EXPECT_TRUE(verdict.has_value()) << (verdict ? "" : verdict.error().describe());
    if (!verdict) return {};
    EXPECT_EQ(verdict->of(Dimension::kAuthenticity).outcome, Outcome::kPass) << verdict_text(*verdict);
    return verdict->of(Dimension::kKeyStatus);
  }
  void refused(std::string_view what, std::string_view word, Members m, const VerifyOptions& o) {
    fix_manifests(m);
    const auto found = status(m, o);
    EXPECT_EQ(found.outcome, Outcome::kFail) << what << ": " << found.reason;
    EXPECT_NE(found.reason.find(word), std::string::npos) << what << ": " << found.reason;
  }

  // What an authority of its own says now of the seal's signature; its root is in root.pem.
  std::string stamp_of(const std::string& envelope) const {
    write("sig", crypto::dsse_parse(envelope)->signatures.front().sig);
    write("conf", "[req]\ndistinguished_name = dn\n[dn]\n[root]\nbasicConstraints = critical,CA:true\nkeyUsage = critical,keyCertSign\n[tsa]\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = critical,timeStamping\n[ts]\nserial = serial\n"
                  "default_policy = 1.2.3.4.1\ndigests = sha256\nsigner_digest = sha256\ness_cert_id_alg = sha256\n");
    const auto run = shell("echo 01 > serial && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=Root -config conf -extensions root && "
                           "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tsa.key -out tsa.csr -subj /CN=Authority -config conf && "
                           "openssl x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 -extfile conf -extensions tsa -out tsa.pem && "
                           "openssl ts -query -data sig -sha256 -cert -out q && openssl ts -reply -config conf -section ts -queryfile q -signer tsa.pem -inkey tsa.key -out r");
    EXPECT_EQ(run.exit_code, 0) << run.output;
    return testing::slurp(path("r"));
  }

  Verdict verdict(const Members& m, const VerifyOptions& o) const {
    const std::string tgz = pack(m);
    StringSource source(tgz);
    return verify_bundle(source, o).value();
  }
  Members redacted(const Members& m, const crypto::Signer& signer) const {
    write("original.tgz", pack(m));
    const Fd fd(::open(path("original.tgz").c_str(), O_RDONLY | O_CLOEXEC));
    StringSink out;
    EXPECT_TRUE(redact_bundle(fd.get(), {.withhold = {"data/trace.ndjson"}, .reason = "nothing to see", .authority = {}, .at = at(8)}, &signer, out).has_value());
    return members(out.text);
  }
  // Another key takes the place of key_, which is called compromised since minute 15.
  void stolen(const crypto::KeyPair& next) {
    const KeyId old = key_.public_key().id(), id = next.public_key().id();
    life({.kind = KeyEventKind::kIntroduced, .key = id, .public_key = next.public_key()}, {&next}, at(20));
    life({.kind = KeyEventKind::kRotated, .key = old, .successor = id}, {&key_, &next}, at(20));
    life({.kind = KeyEventKind::kCompromised, .key = old, .since = at(15)}, {&next}, at(21));
  }

  Log platform_{"log.example/platform", "platform"}, tenant_{"log.example/acme", facts().tenant_id.str()};
  std::string names_platform_;  // the seal says that the installation's log is called so
  std::vector<crypto::KeyLogEntry> lines_;
  const crypto::Ed25519KeyPair log_key_ = crypto::Ed25519KeyPair::generate().value();
  std::vector<crypto::Ed25519PublicKey> log_keys_;
};

// Of a log that nobody gave a key of nothing can be checked; but a seal that names the installation's log lets no other one stand in its place.
TEST_F(KeyStatusTest, NoOtherLogStandsInThePlaceOfTheInstallations) {
  VerifyOptions o = options();
  o.log_signers = {};
  const timeline::VerifierKey of_tenant[] = {timeline::VerifierKey::ed25519(tenant_.origin, log_key_.public_key()).value()};  // of its log alone
  o.log_keys = of_tenant;
  const auto inclusion = [&](const Members& m) { return verdict(m, o).of(Dimension::kInclusion); };
  const auto renamed = [&](Members m) {
    Log other = platform_;
    other.origin = "log.example/nobody-knows";
    std::erase_if(m, [](const auto& file) { return file.first.starts_with("custody/keys-"); });
    enclose(m, other, CustodyLog::kKeys, 0);
    fix_manifests(m);
    return m;
  };
  // A seal of before does not say it.
  auto made = make(key_, history(), 2, at(10));
  EXPECT_EQ(inclusion(renamed(made.files)).outcome, Outcome::kPass);
  names_platform_ = platform_.origin;
  tenant_ = {"log.example/acme", facts().tenant_id.str()};
  tenant_.add("sbom.received", at(5), json::Value::object());
  made = make(key_, history(), 2, at(10));
  EXPECT_EQ(parse_seal(made.files.at("evidence/seal.json"))->facts.platform_origin, platform_.origin);
  const auto honest = inclusion(made.files);
  EXPECT_EQ(honest.outcome, Outcome::kPass) << honest.reason;
  EXPECT_NE(honest.reason.find("are not checked: no key of the log log.example/platform was given"), std::string::npos) << honest.reason;
  const auto found = inclusion(renamed(made.files));
  EXPECT_EQ(found.outcome, Outcome::kFail) << found.reason;
  EXPECT_EQ(found.reason, "the seal names the log log.example/platform as that of the installation, custody/keys-checkpoint is of log.example/nobody-knows");
}

TEST_F(KeyStatusTest, TheLogsSayThatTheKeyWasGood) {
  const auto made = make(key_, history(), 2, at(10));
  const auto found = status(made.files, options());
  EXPECT_EQ(found.outcome, Outcome::kPass) << found.reason;
  EXPECT_NE(found.reason.find("entry 1 of log.example/acme"), std::string::npos) << found.reason;
  EXPECT_NE(found.trust_input.find("LOG.pub"), std::string::npos) << found.trust_input;
  // No log is trusted, so no time is.
  VerifyOptions o = options();
  o.log_signers = {};
  EXPECT_EQ(status(made.files, o).outcome, Outcome::kNotChecked);
}

TEST_F(KeyStatusTest, ACompromiseCountsFromItsDateOn) {
  const auto made = make(key_, history(), 2, at(10));
  const KeyId id = key_.public_key().id();
  for (const int minute : {9, 10, 11}) {
    auto lines = lines_;
    const crypto::Signer* self[] = {&key_};
    lines.push_back({at(30), crypto::sign_key_event({.kind = KeyEventKind::kCompromised, .key = id, .since = at(minute)}, self).value()});
    const auto later = crypto::key_history_of(lines, {}).value();
    VerifyOptions o = options();
    o.key_history = &later;
    o.key_source = "--keys";
    const auto found = status(made.files, o);
    EXPECT_EQ(found.outcome, minute == 11 ? Outcome::kPass : Outcome::kFail) << minute << ": " << found.reason;
  }
}

TEST_F(KeyStatusTest, AThiefCannotDateItsSealBack) {
  const std::string before = history();
  const auto honest = make(key_, before, 2, at(10));
  const crypto::KeyPair next = crypto::KeyPair::generate().value();
  const KeyId old = key_.public_key().id(), id = next.public_key().id();
  life({.kind = KeyEventKind::kIntroduced, .key = id, .public_key = next.public_key()}, {&next}, at(20));
  life({.kind = KeyEventKind::kRotated, .key = old, .successor = id}, {&key_, &next}, at(20));
  life({.kind = KeyEventKind::kCompromised, .key = old, .since = at(15)}, {&next}, at(21));
  const auto all = crypto::key_history_of(lines_, {}).value();
  VerifyOptions told = options();
  told.key_history = &all;
  told.key_source = "--keys";
  EXPECT_EQ(status(honest.files, told).outcome, Outcome::kPass);

  // It names the history of before, and the log never heard of it; nor does somebody else's event help.
  const auto forged = make(key_, before, 2, std::nullopt);
  Members m = forged.files;
  Log platform = platform_;
  platform_.enclosed.resize(1);
  enclose(m);
  refused("backdated", "did not take in its signature", m, options());
  refused("backdated, history given", "did not take in its signature", m, told);
  // It names nothing, as seals of other releases do.
  const auto plain = make(key_, "", 0, std::nullopt);
  m = plain.files;
  m.erase(std::string(kKeyHistoryPath));
  fix_manifests(m);
  refused("backdated, names nothing", "nobody trusted says", m, told);
  EXPECT_EQ(status(m, options()).outcome, Outcome::kNotChecked);
  // It talked the log into taking it in, long after.
  const auto late = make(key_, before, 2, at(40));
  refused("logged too late", "the signature does not count", late.files, told);
  // The log took it in with the whole history: that alone says it.
  platform_ = platform;
  const auto known = make(key_, history(), 5, at(41));
  refused("whole history", "compromised", known.files, options());
}

// "No later than" is not "at": what the log took in before the key was rotated, and the authority saw after it, is good.
TEST_F(KeyStatusTest, AStampAfterTheEndOfTheKeyTakesNothingFromTheLog) {
  const auto made = make(key_, history(), 2, at(10));
  const std::string stamp = stamp_of(made.envelope);
  Members m = made.files;
  m["time/1.tsr"] = stamp;
  fix_manifests(m);
  const auto roots = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  const crypto::KeyPair next = crypto::KeyPair::generate().value();
  stolen(next);  // rotated at 20, compromised since 15; the authority stamped long after
  const auto all = crypto::key_history_of(lines_, {}).value();
  VerifyOptions o = options();
  o.time_trust = &roots;
  o.time_source = "ROOTS.pem";
  o.key_history = &all;
  o.key_source = "--keys";
  const auto found = status(m, o);
  EXPECT_EQ(found.outcome, Outcome::kPass) << found.reason;
  EXPECT_NE(found.reason.find("entry 1 of log.example/acme"), std::string::npos) << found.reason;
  // Where no log is trusted the authority alone says when.
  o.log_signers = {};
  EXPECT_EQ(status(m, o).outcome, Outcome::kFail);
  // And where the log took it in even later, the authority says it better; it does not make up for a key that ended before.
  o = options();
  o.time_trust = &roots;
  o.time_source = "ROOTS.pem";
  const Timestamp tomorrow = Timestamp::now() + std::chrono::hours(24);
  tenant_ = {"log.example/acme", facts().tenant_id.str()};
  tenant_.add("sbom.received", at(5), json::Value::object());
  platform_.entries.resize(2);
  platform_.enclosed.resize(1);
  lines_.resize(2);
  took_in(made.envelope, tomorrow);
  m = made.files;
  m["time/1.tsr"] = stamp;
  enclose(m);
  const auto stamped = status(m, o);
  EXPECT_EQ(stamped.outcome, Outcome::kPass) << stamped.reason;
  EXPECT_NE(stamped.reason.find("as the authorities say"), std::string::npos) << stamped.reason;
  EXPECT_NE(stamped.trust_input.find("LOG.pub; ROOTS.pem"), std::string::npos) << stamped.trust_input;
  o.key_history = &all;
  EXPECT_EQ(status(m, o).outcome, Outcome::kFail);
}

// Rotated at 12:00:00.3, signed, logged and stamped by .9: the stamp says 12:00:00, and the new key was active.
TEST_F(KeyStatusTest, AStampOfTheSameSecondIsNoneOfBeforeTheRotation) {
  const auto made = make(key_, history(), 2, at(10));
  const std::string stamp = stamp_of(made.envelope);
  const auto roots = crypto::TimestampTrust::from_pem(testing::slurp(path("root.pem"))).value();
  VerifyOptions o = options();
  o.time_trust = &roots;
  Members m = made.files;
  m["time/1.tsr"] = stamp;
  fix_manifests(m);
  const Timestamp stamped = verdict(m, o).proven_at;
  ASSERT_NE(stamped.micros(), 0);
  // The logs with the activation of the key so much after what the stamp says, and the signature half a second later.
  const auto activated = [&](std::chrono::microseconds after) {
    platform_.entries.resize(1);
    platform_.enclosed.clear();
    platform_.add("key.event", stamped + after, json::Value::object({{"envelope_sha256", crypto::sha256(lines_[1].event.json()).hex()}}));
    tenant_.entries.resize(1);
    tenant_.enclosed.resize(1);
    took_in(made.envelope, stamped + after + std::chrono::milliseconds(500));
    enclose(m);
    return status(m, o);
  };
  const auto coarse = activated(std::chrono::milliseconds(300));
  EXPECT_EQ(coarse.outcome, Outcome::kPass) << coarse.reason;
  EXPECT_NE(coarse.reason.find("entry 1 of log.example/acme"), std::string::npos) << coarse.reason;
  const auto before = activated(std::chrono::seconds(2));
  EXPECT_EQ(before.outcome, Outcome::kFail) << before.reason;
}

TEST_F(KeyStatusTest, WhatIsEnclosedOfKeysIsWholeAndProved) {
  const crypto::KeyPair next = crypto::KeyPair::generate().value(), stranger = crypto::KeyPair::generate().value();
  const KeyId old = key_.public_key().id(), id = next.public_key().id();
  life({.kind = KeyEventKind::kIntroduced, .key = id, .public_key = next.public_key()}, {&next}, at(6));
  life({.kind = KeyEventKind::kRotated, .key = old, .successor = id}, {&key_, &next}, at(6));
  life({.kind = KeyEventKind::kCompromised, .key = old, .since = at(6)}, {&next}, at(7));
  const auto made = make(next, history(), 5, at(10));
  VerifyOptions o = options();
  const std::vector<crypto::PublicKey> both = {key_.public_key(), next.public_key()};
  o.trust = both;
  EXPECT_EQ(status(made.files, o).outcome, Outcome::kPass) << status(made.files, o).reason;

  const std::string path(kKeyHistoryPath);
  Members m = made.files;
  m[path] = m[path].substr(0, m[path].rfind('\n', m[path].size() - 2) + 1);
  refused("the compromise withheld", "withheld or exchanged", m, o);
  m = made.files;
  platform_.enclosed.pop_back();
  enclose(m);
  refused("the compromise withheld from the log's part", "not the next event", m, o);
  platform_.enclosed.push_back(platform_.entries.size() - 1);

  m = made.files;
  auto lines = lines_;
  const crypto::Signer* other[] = {&stranger};
  lines[2].event = crypto::sign_key_event({.kind = KeyEventKind::kIntroduced, .key = stranger.public_key().id(), .public_key = stranger.public_key()}, other).value();
  m[path].clear();
  for (const auto& line : lines) m[path] += crypto::key_log_line(line.at, line.event);
  refused("the event of another key", "withheld or exchanged", m, o);

  // A proof beyond its checkpoint.
  m = made.files;
  enclose(m, platform_.entries.size() - 1);
  refused("a position after the checkpoint", "INCLUSION", m, o);

  // The signature stands in the log before the size that the seal claims.
  const auto early = make(next, history(), 5, at(12), tenant_.entries.size() + 1);
  tenant_.add("sbom.received", at(13), json::Value::object());
  m = early.files;
  enclose(m);
  refused("older than it claims", "claims to be of when the log had", m, o);
}

TEST_F(KeyStatusTest, AStolenKeyAuthorisesNoOmission) {
  const crypto::KeyPair next = crypto::KeyPair::generate().value();
  const auto honest = make(key_, history(), 2, at(10));
  const Members copy = redacted(honest.files, key_);
  const auto completeness = [&](const Members& m, const VerifyOptions& o) { return verdict(m, o).of(Dimension::kCompleteness); };
  EXPECT_EQ(completeness(copy, options()).outcome, Outcome::kPass);
  stolen(next);
  const auto all = crypto::key_history_of(lines_, {}).value();
  VerifyOptions told = options();
  told.key_history = &all;
  EXPECT_EQ(verdict(copy, told).of(Dimension::kKeyStatus).outcome, Outcome::kPass) << "the seal is of before the theft";
  const auto found = completeness(copy, told);
  EXPECT_EQ(found.outcome, Outcome::kFail);
  EXPECT_NE(found.reason.find("withheld 1 (authorised 0)"), std::string::npos) << found.reason;
  EXPECT_NE(found.reason.find("redaction/1.dsse.json does not count: " + key_.public_key().id().str() + " was compromised"), std::string::npos) << found.reason;
  // On the server the key is no longer trusted, and counts for the seal alone.
  const std::vector<crypto::PublicKey> today = {next.public_key()}, former = {key_.public_key()};
  told.trust = today;
  told.former = former;
  EXPECT_EQ(verdict(copy, told).of(Dimension::kKeyStatus).outcome, Outcome::kPass);
  EXPECT_EQ(completeness(copy, told).outcome, Outcome::kFail);
  EXPECT_EQ(completeness(redacted(honest.files, next), told).outcome, Outcome::kPass);
  told.key_history = nullptr;
  EXPECT_EQ(completeness(copy, told).outcome, Outcome::kFail) << "nor where nobody says since when";
  // The enclosed history says it as well.
  const std::vector<crypto::PublicKey> both = {key_.public_key(), next.public_key()};
  VerifyOptions alone = options();
  alone.trust = both;
  const auto later = make(next, history(), 5, at(30));
  EXPECT_EQ(completeness(redacted(later.files, next), alone).outcome, Outcome::kPass);
  EXPECT_NE(completeness(redacted(later.files, key_), alone).reason.find("was compromised"), std::string::npos);
}

TEST_F(KeyStatusTest, AStolenKeyAttestsNothing) {
  const crypto::KeyPair next = crypto::KeyPair::generate().value();
  const Subject sbom{.name = "sbom", .sha256 = crypto::sha256(evaluation_files()[1].bytes)};
  const auto statement = [&](std::string_view result) { return make_statement(std::span(&sbom, 1), kVsaPredicate, json::Value::object({{"result", result}})).value(); };
  const auto logged = [&](std::string_view kind, std::string_view result, Timestamp when) { tenant_.add(kind, when, json::Value::object({{"payload_sha256", crypto::sha256(statement(result)).hex()}})); };
  logged("attestation.created", "FAILED", at(8));
  logged("attestation.created", "LATE", at(16));
  logged("attestation.verified", "OTHER", at(8));
  const auto honest = make(key_, history(), 2, at(10));
  const auto beside = [&](const Made& bundle, std::string_view result, const crypto::Signer& signer) {
    Members m = bundle.files;
    m["attest/vsa.sigstore.json"] = sign_statement(signer, statement(result)).value();
    fix_manifests(m);
    return m;
  };
  EXPECT_EQ(status(beside(honest, "PASSED", key_), options()).outcome, Outcome::kPass) << "nobody knows of the theft";
  stolen(next);
  const auto all = crypto::key_history_of(lines_, {}).value();
  const std::vector<crypto::PublicKey> both = {key_.public_key(), next.public_key()}, former = {key_.public_key()}, today = {next.public_key()};
  VerifyOptions told = options(), server = options(), alone = options();
  told.trust = alone.trust = both;
  server.trust = today;
  server.former = former;
  told.key_history = server.key_history = &all;
  // By a history that the verifier has, as the server has it, and by the one that a later bundle encloses.
  const auto later = make(next, history(), 5, at(30));
  for (const auto& [who, bundle, o] : {std::tuple{"told", &honest, &told}, {"server", &honest, &server}, {"alone", &later, &alone}}) {
    const auto good = status(beside(*bundle, "FAILED", key_), *o);
    EXPECT_EQ(good.outcome, Outcome::kPass) << who << ": the log took in what it says before the theft: " << good.reason;
    EXPECT_EQ(status(beside(*bundle, "PASSED", next), *o).outcome, Outcome::kPass) << who;
    refused(who, "attest/vsa.sigstore.json: " + key_.public_key().id().str() + " was compromised, and nobody trusted says", beside(*bundle, "PASSED", key_), *o);
    refused(who, "was compromised by the time", beside(*bundle, "LATE", key_), *o);
    refused(who, "nobody trusted says", beside(*bundle, "OTHER", key_), *o);
  }
}

}  // namespace
}  // namespace stella::evidence
