// Bundles end to end: built, sealed, verified by our code, by verify.sh and by the tools it is made of; and every way to tamper with one.
#include <fcntl.h>

#include <cstdlib>

#include "bundle_fixture.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/predicates.h"
#include "stella/evidence/format/redact.h"
#include "stella/evidence/format/statement.h"
#include "stella/evidence/format/verify_script.h"
#include "stella/testing/shared_data.h"

namespace stella::evidence {
namespace {

TEST_F(BundleTest, PassesEverywhere) {
  const SealedBundle sealed = seal(evaluation_files());
  const std::string tgz = testing::slurp(path("bundle.tgz"));
  EXPECT_EQ(sealed.tgz_sha256, crypto::sha256(tgz));
  EXPECT_EQ(sealed.tgz_size, tgz.size());
  EXPECT_EQ(sealed.head.size, evaluation_files().size() + 2);

  const Verdict v = verify(tgz);
  EXPECT_EQ(exit_code(v), kExitPass) << verdict_text(v);
  EXPECT_EQ(v.of(Dimension::kIntegrity).outcome, Outcome::kPass);
  EXPECT_EQ(v.of(Dimension::kAuthenticity).outcome, Outcome::kPass);
  EXPECT_EQ(v.of(Dimension::kCompleteness).outcome, Outcome::kPass);
  for (const Dimension d : {Dimension::kTime, Dimension::kInclusion, Dimension::kConsistency, Dimension::kCustody, Dimension::kKeyStatus,
                            Dimension::kRetentionState}) {
    EXPECT_EQ(v.of(d).outcome, Outcome::kNotChecked) << dimension_name(d);
    EXPECT_FALSE(v.of(d).reason.empty()) << dimension_name(d);
  }
  ASSERT_EQ(v.signers.size(), 1u);
  EXPECT_EQ(v.signers[0], key_.public_key().id().str());
  EXPECT_EQ(v.seal->facts.bundle_id, facts().bundle_id);
  EXPECT_EQ(v.seal->head, sealed.head);

  const auto by_shell = verify_with_shell("bundle.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
  EXPECT_NE(by_shell.output.find("PASS  signature"), std::string::npos) << by_shell.output;
  EXPECT_NE(by_shell.output.find(sealed.head.root.hex()), std::string::npos);
  const auto unpacked = shell("mkdir u && tar xzf bundle.tgz -C u && sh verify.sh KEY.pub u && cd u && sh verify.sh ../KEY.pub");
  EXPECT_EQ(unpacked.exit_code, 0) << unpacked.output;
}

TEST_F(BundleTest, OtherToolsAgree) {
  seal(evaluation_files());
  const auto sums = shell("mkdir u && tar xzf bundle.tgz -C u && cd u && sha256sum -c --quiet manifest-sha256.txt tagmanifest-sha256.txt");
  EXPECT_EQ(sums.exit_code, 0) << sums.output;
  // The signature with openssl alone, over the pre-authentication encoding made by hand.
  const auto signature = shell(
      "cd u && { printf 'DSSEv1 28 application/vnd.in-toto+json %d ' $(wc -c <evidence/seal.json); cat evidence/seal.json; } >../pae && "
      "sed 's/.*\"sig\":\"\\([^\"]*\\)\".*/\\1/' attest/seal.dsse.json | openssl base64 -d -A >../sig && "
      "openssl dgst -sha256 -verify ../KEY.pub -signature ../sig ../pae");
  EXPECT_EQ(signature.output, "Verified OK\n");
  // Same mode, owner and time for every member; gzip without name and time.
  const auto listing = shell("TZ=UTC tar tvzf bundle.tgz | grep -v '^-rw-r--r-- 0/0 .* 1970-01-01 00:00 '");
  EXPECT_EQ(listing.output, "");
  const auto header = shell("head -c 10 bundle.tgz | od -An -tx1 | tr -d ' \\n'");
  EXPECT_EQ(header.output.substr(0, 16), "1f8b080000000000");
  EXPECT_EQ(shell("tar tzf bundle.tgz | LC_ALL=C sort -c && gzip -t bundle.tgz").exit_code, 0);
}

TEST_F(BundleTest, SameInputsGiveTheSameLeavesAndRoot) {
  auto files = evaluation_files();
  StringSink first, second;
  const auto a = build_payload(files, first);
  std::reverse(files.begin(), files.end());
  const auto b = build_payload(files, second);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(*a, *b);
  EXPECT_EQ(first.text, second.text);
  const auto one = seal(evaluation_files());
  const auto two = seal(files);
  EXPECT_EQ(one.head, two.head);
  EXPECT_EQ(one.items_jsonl, two.items_jsonl);
  EXPECT_EQ(one.seal_json, two.seal_json);
  EXPECT_NE(one.seal_dsse, two.seal_dsse);  // ECDSA is randomised
}

TEST_F(BundleTest, WithoutAKeyNothingIsAuthentic) {
  seal(evaluation_files());
  const auto verdict = verify_bundle_file(path("bundle.tgz"), {});
  ASSERT_TRUE(verdict.has_value());
  EXPECT_EQ(verdict->of(Dimension::kIntegrity).outcome, Outcome::kPass);
  EXPECT_EQ(verdict->of(Dimension::kAuthenticity).outcome, Outcome::kNotChecked);
  EXPECT_NE(verdict->of(Dimension::kAuthenticity).reason.find("--trust"), std::string::npos);
  EXPECT_EQ(exit_code(*verdict), kExitNotChecked);
  EXPECT_EQ(shell("sh verify.sh").exit_code, 2);
  EXPECT_EQ(shell("sh verify.sh nowhere.pub bundle.tgz").exit_code, 2);
  EXPECT_EQ(shell("sh verify.sh verify.sh bundle.tgz").exit_code, 2);
  const auto more = verify_bundle_file(path("bundle.tgz"), {.trust = trust_});
  constexpr Dimension kWithTime[] = {Dimension::kIntegrity, Dimension::kAuthenticity, Dimension::kTime};
  EXPECT_EQ(exit_code(*more, kWithTime), kExitNotChecked);
}

// After a rotation a reader has several keys, and a bundle is signed by one of them.
TEST_F(BundleTest, TheShellTakesAnyOfSeveralKeys) {
  seal(evaluation_files());
  write("a.pub", crypto::KeyPair::generate().value().public_key().pem());
  write("z.pem", crypto::KeyPair::generate().value().public_key().pem());
  ASSERT_EQ(shell("mkdir u && tar xzf bundle.tgz -C u").exit_code, 0);
  for (const std::string keys : {"KEY.pub a.pub", "a.pub KEY.pub", "a.pub KEY.pub z.pem", "*.pub", "*.pub *.pem"}) {
    for (const std::string bundle : {" bundle.tgz", " u"}) {
      const auto run = shell("sh verify.sh " + keys + bundle);
      EXPECT_EQ(run.exit_code, 0) << keys << bundle << run.output;
    }
  }
  const auto named = shell("sh verify.sh a.pub KEY.pub z.pem bundle.tgz");
  EXPECT_NE(named.output.find(", KEY.pub)"), std::string::npos) << named.output;
  EXPECT_EQ(shell("cd u && sh ../verify.sh ../a.pub ../KEY.pub").exit_code, 0);
  const auto none = shell("sh verify.sh a.pub z.pem bundle.tgz");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.output.find("FAIL  the seal is not signed by any of these 2 keys"), std::string::npos) << none.output;
  // Nothing is left out in silence: one that is no key, a pattern that matches nothing, a bundle that is not the last.
  write("text.pub", "no key");
  EXPECT_EQ(shell("sh verify.sh KEY.pub text.pub bundle.tgz").exit_code, 2);
  EXPECT_EQ(shell("sh verify.sh KEY.pub nowhere/*.pub bundle.tgz").exit_code, 2);
  EXPECT_EQ(shell("sh verify.sh KEY.pub bundle.tgz a.pub").exit_code, 2);
  EXPECT_EQ(shell("sh verify.sh KEY.pub bundle.tgz u").exit_code, 2);
  // A "bundle" that is a public key is a broken bundle, and does not make what lies in this directory trusted.
  write("forged.tgz", key_.public_key().pem());  // it would fit the bundle that lies there
  const auto forged = shell("cd u && sh ../verify.sh ../a.pub ../forged.tgz");
  EXPECT_EQ(forged.exit_code, 1);
  EXPECT_NE(forged.output.find("not a gzipped tar archive"), std::string::npos) << forged.output;
}

TEST_F(BundleTest, ThresholdNeedsDifferentKeys) {
  const auto second = crypto::KeyPair::generate().value();
  seal(evaluation_files(), &second);
  const std::vector<crypto::PublicKey> both = {key_.public_key(), second.public_key()};
  EXPECT_EQ(exit_code(*verify_bundle_file(path("bundle.tgz"), {.trust = both, .threshold = 2})), kExitPass);
  EXPECT_EQ(exit_code(*verify_bundle_file(path("bundle.tgz"), {.trust = trust_, .threshold = 2})), kExitFail);
  const std::vector<crypto::PublicKey> twice = {key_.public_key(), key_.public_key()};
  EXPECT_EQ(exit_code(*verify_bundle_file(path("bundle.tgz"), {.trust = twice, .threshold = 2})), kExitFail);
  write("KEY.pub", second.public_key().pem());
  const auto by_shell = verify_with_shell("bundle.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
}

// Every kind of tampering: our verifier and verify.sh must both say no (exit 1), with checksum lists left alone and fixed up.
class TamperTest : public BundleTest {
 protected:
  using Change = std::function<void(Members&)>;
  void expect_refused(const char* name, const Change& change, Dimension dimension = Dimension::kIntegrity) {
    const Members good = members(testing::slurp(path("bundle.tgz")));
    for (const bool fixed : {false, true}) {
      Members bad = good;
      change(bad);
      if (fixed) fix_manifests(bad);
      const std::string tgz = pack(bad);
      write("bad.tgz", tgz);
      const Verdict v = verify(tgz);
      EXPECT_EQ(exit_code(v), kExitFail) << name << (fixed ? ", lists fixed up" : "") << "\n" << verdict_text(v);
      if (fixed) {
        EXPECT_EQ(v.of(dimension).outcome, Outcome::kFail) << name << "\n" << verdict_text(v);
      }
      if (!fixed && shell_runs_++ > 2) continue;  // half a second each; the lists are the weaker check
      const auto by_shell = verify_with_shell("bad.tgz");
      EXPECT_EQ(by_shell.exit_code, 1) << name << (fixed ? ", lists fixed up" : "") << "\n" << by_shell.output;
      EXPECT_NE(by_shell.output.find("FAIL  "), std::string::npos) << name;
    }
  }
  int shell_runs_ = 0;
  // Lines of items.jsonl.
  static std::vector<std::string> lines(const Members& m) {
    std::vector<std::string> out;
    std::string_view text = m.at("evidence/items.jsonl");
    for (std::size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) out.emplace_back(text.substr(0, end));
    return out;
  }
  static void set_lines(Members& m, const std::vector<std::string>& lines) {
    std::string& text = m["evidence/items.jsonl"];
    text.clear();
    for (const auto& line : lines) text.append(line).append("\n");
  }
  // A seal that this tree would have, signed by `signer`.
  static void reseal(Members& m, const crypto::Signer& signer) {
    const auto envelope = crypto::dsse_sign(kInTotoPayloadType, m["evidence/seal.json"], signer).value();
    m["attest/seal.dsse.json"] = envelope.json();
    std::erase_if(m, [](const auto& file) { return file.first.ends_with(".sigstore.json"); });
  }
};

TEST_F(TamperTest, EveryKindIsRefused) {
  seal(evaluation_files());
  const auto other = crypto::KeyPair::generate().value();
  constexpr const char* kDecision = "data/outputs/decision.json";
  expect_refused("changed file", [](Members& m) { m[kDecision][13] = 'D'; });
  expect_refused("changed file of the same size and a changed item", [](Members& m) {
    m[kDecision][13] = 'D';
    auto all = lines(m);
    for (auto& line : all) {
      auto parsed = parse_item_line(line).value();
      if (parsed.item->path != kDecision) continue;
      parsed.item->sha256 = crypto::sha256(m[kDecision]);
      line = item_line(parsed.index, parsed.commitment, parsed.salt, parsed.item->canonical());
    }
    set_lines(m, all);
  });
  expect_refused("changed file, item and commitment", [](Members& m) {
    m[kDecision][13] = 'D';
    auto all = lines(m);
    for (auto& line : all) {
      auto parsed = parse_item_line(line).value();
      if (parsed.item->path != kDecision) continue;
      parsed.item->sha256 = crypto::sha256(m[kDecision]);
      const auto text = parsed.item->canonical();
      line = item_line(parsed.index, item_commitment(parsed.salt, text), parsed.salt, text);
    }
    set_lines(m, all);
  });
  expect_refused("dropped leaf", [](Members& m) { m.erase(kDecision); });
  expect_refused("dropped leaf and line", [](Members& m) {
    m.erase(kDecision);
    auto all = lines(m);
    std::erase_if(all, [](const std::string& line) { return line.find(kDecision) != std::string::npos; });
    set_lines(m, all);
  });
  expect_refused("dropped last leaf and line", [](Members& m) {
    m.erase("verify.sh");
    auto all = lines(m);
    all.pop_back();
    set_lines(m, all);
  });
  expect_refused("swapped salts", [](Members& m) {
    auto all = lines(m);
    auto a = parse_item_line(all[0]).value();
    auto b = parse_item_line(all[1]).value();
    all[0] = item_line(0, a.commitment, b.salt, a.item_text);
    all[1] = item_line(1, b.commitment, a.salt, b.item_text);
    set_lines(m, all);
  });
  expect_refused("swapped lines", [](Members& m) {
    auto all = lines(m);
    std::swap(all[2], all[3]);
    set_lines(m, all);
  });
  expect_refused("doubled line", [](Members& m) {
    auto all = lines(m);
    all.push_back(all.back());
    set_lines(m, all);
  });
  expect_refused("cut items.jsonl", [](Members& m) { m["evidence/items.jsonl"].resize(m["evidence/items.jsonl"].size() - 40); });
  expect_refused("no items at all", [](Members& m) { m["evidence/items.jsonl"].clear(); });
  expect_refused("unlisted file", [](Members& m) { m["data/outputs/decision.json.orig"] = "{}"; });
  expect_refused("unlisted file in an envelope folder", [](Members& m) { m["attest/run.sh"] = "id"; });
  expect_refused("unlisted file beside the bag files", [](Members& m) { m["README"] = "hello"; });
  expect_refused("changed report", [](Members& m) { m["report.html"] += "<!-- -->"; });
  expect_refused("changed verify.sh", [](Members& m) { m["verify.sh"] = "exit 0\n"; });
  expect_refused("another root.merkle", [](Members& m) { m["evidence/root.merkle"] = root_text(11, crypto::sha256("x")); });
  expect_refused("changed seal", [](Members& m) {
    auto& seal = m["evidence/seal.json"];
    seal.replace(seal.find("CASE-1"), 6, "CASE-2");
  });
  expect_refused("foreign signature", [&](Members& m) { reseal(m, other); }, Dimension::kAuthenticity);
  expect_refused("foreign signature with the right key id", [&](Members& m) {
    auto envelope = crypto::dsse_sign(kInTotoPayloadType, m["evidence/seal.json"], other).value();
    envelope.signatures[0].keyid = key_.public_key().id().str();
    m["attest/seal.dsse.json"] = envelope.json();
  }, Dimension::kAuthenticity);
  expect_refused("signature over other bytes", [&](Members& m) {
    const auto envelope = crypto::dsse_sign(kInTotoPayloadType, m["evidence/seal.json"] + " ", key_).value();
    m["attest/seal.dsse.json"] = envelope.json();
  });
  expect_refused("signature encoded twice", [&](Members& m) {
    auto envelope = crypto::dsse_sign(kInTotoPayloadType, m["evidence/seal.json"], key_).value();
    envelope.signatures[0].sig = base64_encode(envelope.signatures[0].sig);
    m["attest/seal.dsse.json"] = envelope.json();
  }, Dimension::kAuthenticity);
  expect_refused("no signature", [&](Members& m) {
    auto envelope = crypto::dsse_parse(m["attest/seal.dsse.json"]).value();
    envelope.signatures.clear();
    m["attest/seal.dsse.json"] = envelope.json();
  }, Dimension::kAuthenticity);
}

TEST_F(TamperTest, OursAloneSees) {
  seal(evaluation_files());
  const Members good = members(testing::slurp(path("bundle.tgz")));
  const auto other = crypto::KeyPair::generate().value();
  const auto refused = [&](const char* name, const Change& change, Dimension dimension) {
    Members bad = good;
    change(bad);
    fix_manifests(bad);
    const Verdict v = verify(pack(bad));
    EXPECT_EQ(v.of(dimension).outcome, Outcome::kFail) << name << "\n" << verdict_text(v);
  };
  // Each attestation counts, whichever is read first or last.
  for (const std::string name : {"attest/provenance.sigstore.json", "attest/a.sigstore.json", "attest/zz.sigstore.json"}) {
    refused("provenance of a stranger", [&](Members& m) {
      const Subject subject{.name = "x", .sha256 = crypto::sha256("x")};
      const auto statement = make_statement(std::span(&subject, 1), "https://example.com/p/v1", json::Value::object({})).value();
      m[name] = sign_statement(other, statement).value();
    }, Dimension::kAuthenticity);
  }
  refused("custody that is no list of events", [](Members& m) { m["custody/events.jsonl"] += "{}\n"; }, Dimension::kCustody);
  refused("another seal in the Sigstore copy", [&](Members& m) {
    for (auto& [name, bytes] : m)
      if (name.starts_with("attest/seal.") && name.ends_with(".sigstore.json")) bytes = sign_statement(key_, m["evidence/seal.json"] + " ").value();
  }, Dimension::kIntegrity);
}

// An attestation counts for what its name says, of what lies in this bundle; and where the seal names them, those count and no others.
TEST_F(TamperTest, AttestationsAreOfThisBundle) {
  const auto files = evaluation_files();
  const Subject decision{.name = "decision.json", .sha256 = crypto::sha256(files[0].bytes)}, sbom{.name = "sbom", .sha256 = crypto::sha256(files[1].bytes)}, other{.name = "sbom", .sha256 = crypto::sha256("x")};
  const auto stated = [&](const Subject& subject, std::string_view type, int version = 1) {
    return sign_statement(key_, make_statement(std::span(&subject, 1), type, json::Value::object({{"v", version}})).value()).value();
  };
  for (const bool names : {false, true}) {
    seal_names_attestations_ = names;
    seal(evaluation_files());
    const Members good = members(testing::slurp(path("bundle.tgz")));
    const auto found = [&](const Change& change) {
      Members m = good;
      change(m);
      fix_manifests(m);
      return verify(pack(m));
    };
    const auto refused = [&](const char* what, Dimension dimension, std::string_view word, const Change& change) {
      const Verdict v = found(change);
      EXPECT_EQ(v.of(dimension).outcome, Outcome::kFail) << what << "\n" << verdict_text(v);
      EXPECT_NE(v.of(dimension).reason.find(word), std::string::npos) << what << ": " << v.of(dimension).reason;
    };
    const Verdict whole = found([](Members&) {});
    EXPECT_EQ(exit_code(whole), kExitPass) << verdict_text(whole);
    EXPECT_EQ(whole.of(Dimension::kAuthenticity).reason.find("NOT-CHECKED whether attestations were taken out") == std::string::npos, names) << whole.of(Dimension::kAuthenticity).reason;
    const std::string provenance = "attest/provenance.sigstore.json", vsa = "attest/vsa.sigstore.json";
    refused("of another type", Dimension::kAuthenticity, "another type", [&](Members& m) { m[provenance] = stated(decision, kVsaPredicate); });
    refused("the VSA as provenance", Dimension::kAuthenticity, "another type", [&](Members& m) { m[vsa] = m[provenance]; });
    for (const char* name : {"vsa", "svr", "vulns"}) {
      const std::string type(name == std::string_view("vsa") ? kVsaPredicate : name == std::string_view("svr") ? kSvrPredicate : kVulnsPredicate), file = "attest/" + std::string(name) + ".sigstore.json";
      refused(name, Dimension::kAuthenticity, "not in this bundle", [&](Members& m) { m[file] = stated(other, type); });
      refused(name, Dimension::kAuthenticity, "not in this bundle", [&](Members& m) { m[file] = stated(decision, type); });
      if (names) continue;
      EXPECT_EQ(exit_code(found([&](Members& m) { m[file] = stated(sbom, type); })), kExitPass) << name;
    }
    refused("provenance of another job", Dimension::kAuthenticity, "not in this bundle", [&](Members& m) { m[provenance] = stated(other, kProvenancePredicate); });
    refused("of a name that we do not know", Dimension::kAuthenticity, "not in this bundle", [&](Members& m) { m["attest/more.sigstore.json"] = stated(other, "https://example.com/p/v1"); });
    if (!names) continue;
    refused("removed", Dimension::kIntegrity, "was removed", [&](Members& m) { m.erase(provenance); });
    refused("exchanged", Dimension::kIntegrity, "another statement", [&](Members& m) { m[provenance] = stated(decision, kProvenancePredicate, 2); });
    refused("no statement", Dimension::kIntegrity, "malformed", [&](Members& m) { m[provenance] = "{}"; });
    refused("added", Dimension::kIntegrity, "does not name", [&](Members& m) { m[vsa] = stated(sbom, kVsaPredicate); });
    EXPECT_EQ(exit_code(found([&](Members& m) { m[provenance] = sign_statement(key_, crypto::dsse_parse(json::dump(*json::parse(m[provenance])->find("dsseEnvelope")))->payload).value(); })), kExitPass) << "signed again, it says the same";
  }
}

// Files that say that an omission was authorised, of this bundle; and hints are told to be hints.
TEST_F(TamperTest, NothingLiesBesideTheSealWithoutAMeaning) {
  seal(evaluation_files());
  const Members good = members(testing::slurp(path("bundle.tgz")));
  const auto integrity = [&](const std::string& bytes) {
    Members m = good;
    m["redaction/zz.dsse.json"] = bytes;
    fix_manifests(m);
    return verify(pack(m)).of(Dimension::kIntegrity);
  };
  const auto authorised = [&](std::string_view type, std::string_view of) {
    const Subject root{.name = "evidence/root.merkle", .sha256 = crypto::sha256(of)};
    return crypto::dsse_sign(kInTotoPayloadType, make_statement(std::span(&root, 1), type, json::Value::object({{"withheld", json::Array{}}})).value(), key_)->json();
  };
  for (const std::string& bytes : {std::string("junk"), std::string("{}"), crypto::dsse_sign("text/plain", "x", key_)->json(), authorised(kVsaPredicate, good.at("evidence/root.merkle"))}) {
    EXPECT_EQ(integrity(bytes).outcome, Outcome::kFail) << bytes;
    EXPECT_NE(integrity(bytes).reason.find("redaction/zz.dsse.json is no authorisation"), std::string::npos) << integrity(bytes).reason;
  }
  EXPECT_NE(integrity(authorised(kRedactionPredicate, "x")).reason.find("about another bundle"), std::string::npos);
  EXPECT_EQ(integrity(authorised(kRedactionPredicate, good.at("evidence/root.merkle"))).outcome, Outcome::kPass);
  Members m = good;
  m["trust-hints/evil.pub"] = "junk";
  fix_manifests(m);
  EXPECT_NE(verdict_text(verify(pack(m))).find("hints       UNTRUSTED: 2 files in trust-hints/"), std::string::npos) << verdict_text(verify(pack(m)));
}

TEST_F(TamperTest, WithheldItemsKeepTheSealAndAreCounted) {
  seal(evaluation_files());
  Members m = members(testing::slurp(path("bundle.tgz")));
  auto all = lines(m);
  const auto hidden = parse_item_line(all[1]).value();
  all[1] = withheld_line(1, hidden.commitment);
  m.erase(hidden.item->path);
  set_lines(m, all);
  fix_manifests(m);
  write("redacted.tgz", pack(m));
  const Verdict without = verify(pack(m));
  EXPECT_EQ(exit_code(without), kExitPass) << verdict_text(without);
  EXPECT_EQ(without.of(Dimension::kCompleteness).outcome, Outcome::kFail);
  EXPECT_EQ(without.disclosure.withheld, 1u);
  EXPECT_EQ(without.disclosure.authorised, 0u);
  const auto by_shell = verify_with_shell("redacted.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
  EXPECT_NE(by_shell.output.find("1 items are withheld"), std::string::npos) << by_shell.output;

  const Subject root{.name = "evidence/root.merkle", .sha256 = crypto::sha256(m["evidence/root.merkle"])};
  const auto statement = make_statement(std::span(&root, 1), "https://stellaops.dev/evidence-redaction/v1",
                                        json::Value::object({{"withheld", json::Value::array({1})}, {"reason", "PII"}}))
                             .value();
  m["redaction/1.dsse.json"] = crypto::dsse_sign(kInTotoPayloadType, statement, key_)->json();
  fix_manifests(m);
  const Verdict with = verify(pack(m));
  EXPECT_EQ(with.of(Dimension::kCompleteness).outcome, Outcome::kPass) << verdict_text(with);
  EXPECT_EQ(with.disclosure.authorised, 1u);
  // A stranger's redaction authorises nothing.
  const auto other = crypto::KeyPair::generate().value();
  m["redaction/1.dsse.json"] = crypto::dsse_sign(kInTotoPayloadType, statement, other)->json();
  fix_manifests(m);
  EXPECT_EQ(verify(pack(m)).of(Dimension::kCompleteness).outcome, Outcome::kFail);
}

TEST_F(BundleTest, WhatIsNoBundleIsMalformed) {
  seal(evaluation_files());
  const std::string good = testing::slurp(path("bundle.tgz"));
  const auto code = [&](const std::string& tgz) { return try_verify(tgz).error().code(); };
  EXPECT_EQ(code(""), base_errors::kMalformed);
  EXPECT_EQ(code("hello"), base_errors::kMalformed);
  EXPECT_EQ(code(good + "x"), base_errors::kMalformed);
  EXPECT_EQ(code(good + good), base_errors::kMalformed);
  for (const std::size_t cut : {good.size() - 1, good.size() - 9, good.size() / 2, std::size_t{20}})
    EXPECT_EQ(code(good.substr(0, cut)), base_errors::kMalformed) << cut;
  for (const char* part : {"evidence/seal.json", "evidence/items.jsonl", "evidence/root.merkle", "attest/seal.dsse.json"}) {
    Members m = members(good);
    m.erase(part);
    EXPECT_EQ(code(pack(m)), base_errors::kMalformed) << part;
    write("bad.tgz", pack(m));
    EXPECT_EQ(verify_with_shell("bad.tgz").exit_code, 1) << part;
  }
  StringSource source(good);
  EXPECT_EQ(verify_bundle(source, {.limits = {.max_total_bytes = 1000}}).error().code(), base_errors::kLimit);
}

// One flipped bit anywhere: the archive is refused, the verdict is no pass, or the bit meant nothing (deflate has spare ones between blocks).
TEST_F(BundleTest, NoFlippedBitPasses) {
  seal(evaluation_files());
  const std::string good = testing::slurp(path("bundle.tgz"));
  const Members whole = members(good);
  std::size_t looked = 0, meaningless = 0;
  for (std::size_t i = 10; i < good.size(); i += 7, ++looked) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    const auto verdict = try_verify(bad);
    if (!verdict || exit_code(*verdict) != kExitPass) continue;
    EXPECT_EQ(members(bad), whole) << i;
    ++meaningless;
  }
  EXPECT_GT(looked, 500u);
  EXPECT_LT(meaningless, 10u);
}

TEST_F(BundleTest, WhoStampsSeesTheSignaturesAndAddsFilesOfTimeAlone) {
  StringSink payload;
  const auto items = build_payload(evaluation_files(), payload).value();
  write("payload.tar", payload.text);
  const crypto::KeyPair second = crypto::KeyPair::generate().value();
  const crypto::Signer* signers[] = {&key_, &second};
  const std::string lines = items_ndjson(items);
  std::vector<std::string> seen;
  using Files = std::vector<std::pair<std::string, std::string>>;
  const auto try_seal = [&](Result<Files> answer) -> Result<std::string> {
    const Fd fd(::open(path("payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
    SealInput input;
    input.payload_fd = fd.get();
    input.items_ndjson = lines;
    input.bundle_key = bundle_key_;
    input.signers = signers;
    input.facts = facts();
    input.stamp = [&](std::span<const std::string_view> signatures) {
      seen.assign(signatures.begin(), signatures.end());
      return answer;
    };
    StringSink out;
    auto sealed = seal_bundle(input, out);
    if (!sealed) return Error(sealed.error());
    return std::move(out.text);
  };
  const auto tgz = try_seal(Files{{"1.tsr", "token"}, {"chain.pem", "certificates"}});
  ASSERT_TRUE(tgz.has_value()) << tgz.error().describe();
  const Members files = members(*tgz);
  EXPECT_EQ(files.at("time/1.tsr"), "token");
  EXPECT_EQ(files.at("time/chain.pem"), "certificates");
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_TRUE(key_.public_key().verify(crypto::dsse_pae("application/vnd.in-toto+json", files.at("evidence/seal.json")), seen[0]));
  EXPECT_TRUE(second.public_key().verify(crypto::dsse_pae("application/vnd.in-toto+json", files.at("evidence/seal.json")), seen[1]));
  // The lists cover them: the bag is still a bag, and nothing but the token fails.
  EXPECT_EQ(verify(*tgz).of(Dimension::kIntegrity).outcome, Outcome::kPass);
  for (const char* name : {"notes.txt", "../x.tsr", "a/b.tsr", ""}) EXPECT_EQ(try_seal(Files{{name, "x"}}).error().code(), base_errors::kInvalid) << name;
  EXPECT_EQ(try_seal(Files{{"1.tsr", "x"}, {"1.tsr", "y"}}).error().code(), base_errors::kInvalid);
  EXPECT_EQ(try_seal(Error(base_errors::kIo, "no authority")).error().code(), base_errors::kIo);
}

TEST_F(BundleTest, SealRefusesAPayloadThatIsNotWhatItSays) {
  StringSink payload;
  const auto items = build_payload(evaluation_files(), payload).value();
  const auto try_seal = [&](const std::string& tar, const std::vector<Item>& claimed) {
    write("payload.tar", tar);
    const Fd fd(::open(path("payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
    const crypto::Signer* signer = &key_;
    const std::string lines = items_ndjson(claimed);
    StringSink out;
    return seal_bundle({.payload_fd = fd.get(), .items_ndjson = lines, .bundle_key = bundle_key_, .signers = std::span(&signer, 1), .facts = facts(),
                        .custody_events = {}, .extra_files = {}, .on_progress = {}}, out).has_value();
  };
  EXPECT_TRUE(try_seal(payload.text, items));
  auto other = items;
  other[0].sha256 = crypto::sha256("x");
  EXPECT_FALSE(try_seal(payload.text, other));
  other = items;
  other.pop_back();
  EXPECT_FALSE(try_seal(payload.text, other));
  other = items;
  other.insert(other.begin() + 1, Item{.path = "data/aaa", .size = 0, .sha256 = {}, .media_type = "a/b", .role = "input"});
  EXPECT_FALSE(try_seal(payload.text, other));
  std::string cut = payload.text;
  cut.resize(cut.size() / 2);
  EXPECT_FALSE(try_seal(cut, items));
  // A runner that brings its own verify.sh.
  StringSink evil;
  TarWriter tar(evil);
  auto evil_items = items;
  for (auto& item : evil_items) {
    const std::string bytes = item.path == "verify.sh" ? "exit 0\n" : item.path == "VERIFY.md" ? std::string(verify_md()) : "x";
    item.size = bytes.size();
    item.sha256 = crypto::sha256(bytes);
    ASSERT_TRUE(tar.add(item.path, bytes).has_value());
  }
  ASSERT_TRUE(tar.finish().has_value());
  EXPECT_FALSE(try_seal(evil.text, evil_items));
}

TEST_F(BundleTest, PayloadRefusesBadFiles) {
  const auto build = [](std::string leaf, std::string type = "a/b", std::string role = "input") {
    StringSink out;
    LeafFile file{.path = std::move(leaf), .media_type = std::move(type), .role = std::move(role), .source_path = {}, .source_fd = -1, .bytes = "x"};
    return build_payload({std::move(file)}, out).has_value();
  };
  EXPECT_TRUE(build("data/a"));
  for (const char* bad : {"", "data", "data/", "/data/a", "data/../a", "data//a", "data/./a", "evidence/seal.json", "attest/x.json", "bagit.txt",
                          "data/a b", "data/\xc3\xa4", "data/-rf", "data/a\nb", "verify.sh", "other.html"})
    EXPECT_FALSE(build(bad)) << bad;
  const auto pair = [](const char* one, const char* two) {
    StringSink out;
    std::vector<LeafFile> files;
    for (const char* name : {one, two}) files.push_back({.path = name, .media_type = "a/b", .role = "input", .source_path = {}, .source_fd = -1, .bytes = "x"});
    return build_payload(std::move(files), out).has_value();
  };
  EXPECT_TRUE(pair("data/a", "data/b"));
  EXPECT_FALSE(pair("data/a", "data/a"));
  EXPECT_FALSE(pair("data/a", "data/A")) << "one file where letter case does not count";
  EXPECT_FALSE(pair("data/x/a", "data/X/a"));
  EXPECT_FALSE(pair("data/caf\xc3\xa9", "data/cafe\xcc\x81")) << "composed and decomposed: neither is a name";
  EXPECT_FALSE(build("data/a", "a/b\""));
  EXPECT_FALSE(build("data/a", "a/b", "in put"));
  EXPECT_FALSE(build("data/" + std::string(101, 'a')));
  EXPECT_FALSE(build("data/" + std::string(250, 'a')));
}

TEST_F(BundleTest, ReadsItemsForReplay) {
  seal(evaluation_files());
  const auto inputs = read_bundle_items_file(path("bundle.tgz"), [](const Item& i) { return i.path.starts_with("data/inputs/"); }, 1u << 20);
  ASSERT_TRUE(inputs.has_value());
  ASSERT_EQ(inputs->size(), 4u);
  EXPECT_EQ((*inputs)[0].item.path, "data/inputs/advisories/GHSA-35jh-r3h4-6jhm.json");
  EXPECT_EQ((*inputs)[1].bytes, "version: 1\nrules: []\n");
  EXPECT_EQ(read_bundle_items_file(path("bundle.tgz"), [](const Item&) { return true; }, 100).error().code(), base_errors::kLimit);
  auto m = members(testing::slurp(path("bundle.tgz")));
  m["data/inputs/policy/policy.yaml"] = "version: 2\nrules: []\n";
  const std::string changed = pack(m);
  StringSource source(changed);
  EXPECT_FALSE(read_bundle_items(source, [](const Item& i) { return i.path.starts_with("data/inputs/"); }, 1u << 20).has_value());
  const std::string good = testing::slurp(path("bundle.tgz"));
  StringSource again(good);
  EXPECT_EQ(read_bundle_member(again, "evidence/root.merkle", 1000)->substr(0, 3), "11\n");
}

// The real program, where it is installed ($COSIGN or in the PATH).
TEST_F(BundleTest, CosignAcceptsSealAndProvenance) {
  const char* env = std::getenv("COSIGN");
  const std::string cosign = env != nullptr ? env : "cosign";
  if (shell("command -v " + cosign).exit_code != 0) GTEST_SKIP() << "skipped: no cosign";
  seal(evaluation_files());
  ASSERT_EQ(shell("mkdir u && tar xzf bundle.tgz -C u").exit_code, 0);
  const std::string verify = "HOME=. " + cosign + " verify-blob-attestation --insecure-ignore-tlog=true --key ";
  const std::string seal_args = " --bundle $(ls u/attest/seal.*.sigstore.json) --type https://stellaops.dev/evidence-seal/v1 ";
  const auto good = shell(verify + "KEY.pub" + seal_args + "u/evidence/root.merkle");
  EXPECT_EQ(good.exit_code, 0) << good.output;
  EXPECT_NE(good.output.find("Verified OK"), std::string::npos) << good.output;
  EXPECT_NE(shell(verify + "KEY.pub" + seal_args + "u/evidence/seal.json").exit_code, 0) << "another subject";
  write("other.pub", crypto::KeyPair::generate()->public_key().pem());
  EXPECT_NE(shell(verify + "other.pub" + seal_args + "u/evidence/root.merkle").exit_code, 0) << "another key";
  const auto statement = shell(verify + "KEY.pub --bundle u/attest/provenance.sigstore.json --type https://slsa.dev/provenance/v1 u/data/outputs/decision.json");
  EXPECT_EQ(statement.exit_code, 0) << statement.output;
}

// Archives that would write outside of the directory, or hide something, must be refused by the script before they are unpacked.
TEST_F(BundleTest, VerifyShRefusesHostileArchives) {
  seal(evaluation_files());
  ASSERT_EQ(shell("mkdir u && tar xzf bundle.tgz -C u && cp -r u clean").exit_code, 0);
  const auto refused = [&](const char* make, const char* reason) {
    ASSERT_EQ(shell(std::string("rm -rf u bad.tgz && cp -r clean u && ") + make).exit_code, 0) << make;
    const auto result = verify_with_shell("bad.tgz");
    EXPECT_EQ(result.exit_code, 1) << make << "\n" << result.output;
    EXPECT_NE(result.output.find(reason), std::string::npos) << make << "\n" << result.output;
  };
  refused("ln -s /etc u/data/link && tar czf bad.tgz -C u $(cd u && ls)", "a link or a device");
  refused("mkfifo u/data/pipe && tar czf bad.tgz -C u $(cd u && ls)", "a link or a device");
  refused("cp u/report.html evil && tar czPf bad.tgz -C u $(cd u && ls) ../evil", "path with dots");
  refused("cp u/report.html evil && tar czPf bad.tgz $PWD/evil -C u $(cd u && ls)", "a name that no bundle has");
  refused("cp u/report.html 'u/re port.html' && tar czf bad.tgz -C u .", "a name that no bundle has");
  refused("cp bundle.tgz b.gz && gunzip -c b.gz >b.tar && tar rf b.tar -C u report.html && gzip -c b.tar >bad.tgz", "a file twice");
  refused("cp u/report.html u/REPORT.html && tar czf bad.tgz -C u $(cd u && ls)", "letter case alone");
  refused("cp u/report.html \"u/$(printf 'caf\\303\\251')\" && tar czf bad.tgz -C u .", "a name that no bundle has");
  refused("cp u/report.html \"u/$(printf 'cafe\\314\\201')\" && tar czf bad.tgz -C u .", "a name that no bundle has");
  refused("head -c 2000 bundle.tgz >bad.tgz", "not a gzipped tar");
  refused("echo hello >bad.tgz", "not a gzipped tar");
  // Zeros without end are not written anywhere, and the bound is a bound.
  ASSERT_EQ(shell("head -c 300000000 /dev/zero | gzip -1 -c >bomb.tgz").exit_code, 0);
  const auto bomb = shell("STELLA_VERIFY_MAX_BYTES=1000000 sh verify.sh KEY.pub bomb.tgz");
  EXPECT_EQ(bomb.exit_code, 1);
  EXPECT_NE(bomb.output.find("unpacks to more than 1000000 bytes"), std::string::npos) << bomb.output;
  EXPECT_EQ(shell("STELLA_VERIFY_MAX_BYTES=$(gunzip -c bundle.tgz | wc -c) sh verify.sh KEY.pub bundle.tgz").exit_code, 0);
  EXPECT_EQ(shell("STELLA_VERIFY_MAX_BYTES=$(($(gunzip -c bundle.tgz | wc -c) - 1)) sh verify.sh KEY.pub bundle.tgz").exit_code, 1);
  // The same for a directory.
  EXPECT_EQ(shell("rm -rf u && cp -r clean u && ln -s /etc/passwd u/data/link && sh verify.sh KEY.pub u").exit_code, 1);
  EXPECT_EQ(shell("sh verify.sh KEY.pub nowhere").exit_code, 2);
  EXPECT_EQ(shell("sh verify.sh KEY.pub .").exit_code, 1);
  // A key file with a space in its name, from another directory, and under another shell.
  EXPECT_EQ(shell("cp KEY.pub 'my key.pub' && mkdir 'sub dir' && cd 'sub dir' && sh ../verify.sh '../my key.pub' ../bundle.tgz").exit_code, 0);
  if (shell("command -v bash").exit_code == 0) {
    EXPECT_EQ(shell("bash verify.sh KEY.pub bundle.tgz").exit_code, 0);
  }
}

// A directory may hold names that no archive of ours has, and the caller's environment may lead elsewhere.
TEST_F(BundleTest, VerifyShReadsTheDirectoryThatItWasGiven) {
  seal(evaluation_files());
  ASSERT_EQ(shell("mkdir u && tar xzf bundle.tgz -C u && cp -r u clean").exit_code, 0);
  const auto refused = [&](const char* make, const char* reason) {
    ASSERT_EQ(shell(std::string("rm -rf u && cp -r clean u && cd u && ") + make).exit_code, 0) << make;
    for (const std::string sh : {"sh", "busybox sh"}) {
      if (shell("command -v " + sh.substr(0, sh.find(' '))).exit_code != 0) continue;
      const auto result = shell(sh + " verify.sh KEY.pub u");
      EXPECT_EQ(result.exit_code, 1) << make << "\n" << result.output;
      EXPECT_NE(result.output.find(reason), std::string::npos) << make << "\n" << result.output;
    }
  };
  // Two names of files that are there, in one that is not; the lists name both twice.
  const std::string both = "\"$(printf 'bagit.txt\nbag-info.txt')\"";
  const std::string twice = "for f in bagit.txt bag-info.txt; do grep \"  $f\" tagmanifest-sha256.txt >>more; done; cat more >>tagmanifest-sha256.txt; rm more";
  refused(("echo evil >" + both + " && " + twice).c_str(), "a name that no bundle has");
  refused(twice.c_str(), "twice in the checksum lists");
  refused("mkdir \"$(printf 'data\ndata')\"", "a name that no bundle has");
  // Another bundle of that name lies where CDPATH leads.
  ASSERT_EQ(shell("rm -rf u && mkdir -p away here && cp -r clean away/u && cp -r clean here/u && echo x >>here/u/report.html").exit_code, 0);
  const auto led = shell("cd here && CDPATH=$PWD/../away sh ../verify.sh ../KEY.pub u");
  EXPECT_EQ(led.exit_code, 1) << led.output;
  EXPECT_EQ(shell("cd away && CDPATH=$PWD/../here sh ../verify.sh ../KEY.pub u").exit_code, 0);
  EXPECT_EQ(shell("mv -- clean -u; sh verify.sh KEY.pub -u").exit_code, 0);
}

// It says what it does not check.
TEST_F(BundleTest, VerifyShSaysWhatItDoesNotCheck) {
  seal(evaluation_files());
  Members m = members(testing::slurp(path("bundle.tgz")));
  m["attest/vsa.sigstore.json"] = R"({"forged":"PASSED"})";
  fix_manifests(m);
  write("forged.tgz", pack(m));
  const auto said = verify_with_shell("forged.tgz");
  for (const char* word : {"NOT CHECKED  attestations (attest/ beside the seal), redactions, time", "UNTRUSTED    trust-hints"}) EXPECT_NE(said.output.find(word), std::string::npos) << said.output;
  for (const char* word : {"the other statements in `attest/`", "`redaction/` (who allowed", "`trust-hints/` are of the sender"}) EXPECT_NE(verify_md().find(word), std::string_view::npos) << word;
  EXPECT_EQ(exit_code(verify(pack(m))), kExitFail);
}

// Whoever runs the script under `set -e`, or looks at its exit code, must see every refusal, and a tool that fails must not pass for a check.
TEST_F(BundleTest, VerifyShExitCodesSayNoLess) {
  seal(evaluation_files());
  Members m = members(testing::slurp(path("bundle.tgz")));
  m["data/outputs/decision.json"][13] = 'D';
  write("bad.tgz", pack(m));
  for (const std::string sh : {"sh", "sh -e", "sh -eu"}) {
    EXPECT_EQ(shell(sh + " verify.sh KEY.pub bundle.tgz").exit_code, 0) << sh;
    EXPECT_EQ(shell(sh + " verify.sh KEY.pub bad.tgz").exit_code, 1) << sh;
    EXPECT_EQ(shell("( set -e; " + sh + " verify.sh KEY.pub bad.tgz; echo went on )").output.find("went on"), std::string::npos) << sh;
  }
  // Each tool in turn is there and fails; the others are the machine's.
  ASSERT_EQ(shell("mkdir broken").exit_code, 0);
  for (const std::string tool : {"openssl", "sha256sum", "tar", "gzip", "awk", "sed", "grep", "sort", "uniq", "tr", "wc", "find", "cmp", "mktemp", "xargs", "mkdir", "cat"}) {
    write("broken/" + tool, "#!/bin/sh\nexit 2\n");
    const auto run = shell("chmod +x broken/" + tool + " && PATH=\"$PWD/broken:$PATH\" sh verify.sh KEY.pub bundle.tgz; code=$?; rm broken/" + tool + "; exit $code");
    EXPECT_TRUE(run.exit_code == 1 || run.exit_code == 2) << tool << " exits " << run.exit_code << "\n" << run.output;
  }
}

// Real documents, in the numbers a real evaluation has.
TEST_F(BundleTest, RealDocuments) {
  const auto advisories = STELLA_SHARED_OR_SKIP("data/advisories/osv");
  const auto sboms = STELLA_SHARED_OR_SKIP("data/sboms");
  auto files = evaluation_files();
  const auto add = [&](std::string leaf, const std::string& source) {
    files.push_back({.path = std::move(leaf), .media_type = "application/json", .role = "input", .source_path = source, .source_fd = -1, .bytes = {}});
  };
  std::size_t n = 0;
  for (const auto& file : testing::files_below(advisories, ".json")) {
    if (++n > 400) break;
    add("data/inputs/advisories/" + file.substr(file.rfind('/') + 1), file);
  }
  const auto documents = testing::files_below(sboms, ".json");
  ASSERT_FALSE(documents.empty());
  add("data/inputs/sbom/sbom.json", documents.front());
  seal(files);
  EXPECT_EQ(exit_code(verify(testing::slurp(path("bundle.tgz")))), kExitPass);
  const auto by_shell = verify_with_shell("bundle.tgz");
  EXPECT_EQ(by_shell.exit_code, 0) << by_shell.output;
}

TEST_F(BundleTest, VerdictTexts) {
  seal(evaluation_files());
  const Verdict v = verify(testing::slurp(path("bundle.tgz")));
  const std::string text = verdict_text(v);
  for (const char* expected : {"INTEGRITY        PASS", "TIME             NOT-CHECKED", "local clock", "not checked TIME, INCLUSION",
                               "result      PASS for INTEGRITY AUTHENTICITY", "[trust: KEY.pub]"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\n" << text;
  const auto doc = verdict_json(v);
  EXPECT_EQ(doc.str("result"), "pass");
  EXPECT_EQ(doc.items("dimensions").size(), kDimensions);
  EXPECT_EQ(doc.find("bundle")->str("case_id"), "CASE-1");
  EXPECT_EQ(parse_dimension("key_status"), Dimension::kKeyStatus);
  EXPECT_EQ(parse_dimension("Integrity"), Dimension::kIntegrity);
  EXPECT_FALSE(parse_dimension("beauty").has_value());
}

}  // namespace
}  // namespace stella::evidence
