// Timestamps: authorities that the openssl program runs, its own verdict on what we store, tokens it would not make, published responses.
#include "stella/crypto/timestamp.h"

#include <unistd.h>

#include <array>
#include <cstdio>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/testing/shared_data.h"

namespace stella::crypto {
namespace {

constexpr std::string_view kConfig = R"(
[req]
distinguished_name = dn
prompt = no
[dn]
CN = unused
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[tsa]
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[noncritical]
extendedKeyUsage = timeStamping
[wrong]
extendedKeyUsage = critical,codeSigning
[two]
extendedKeyUsage = critical,timeStamping,codeSigning
[unknown]
extendedKeyUsage = critical,timeStamping,1.3.6.1.4.1.99999.1
[noeku]
keyUsage = critical,digitalSignature
[encrypts]
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = critical,timeStamping
[root_config]
database = index.txt
serial = ca.serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = root
[ca]
default_ca = ca_old
[ca_old]
database = index.txt
serial = ca.serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = tsa
[any]
commonName = supplied
[tsa_config]
serial = tsa.serial
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.5
digests = sha256, sha384, sha512
signer_digest = sha256
accuracy = secs:1, millisecs:500, microsecs:100
clock_precision_digits = 6
ess_cert_id_alg = sha256
)";

std::string g_dir;

// Output of a shell command run in the suite's directory.
std::string shell(const std::string& command) {
  FILE* pipe = ::popen(("cd '" + g_dir + "' && { " + command + "; } 2>&1").c_str(), "r");
  std::string out;
  std::array<char, 4096> buf;
  while (const std::size_t n = std::fread(buf.data(), 1, buf.size(), pipe)) out.append(buf.data(), n);
  ::pclose(pipe);
  return out;
}
std::string file(const std::string& name) { return testing::slurp(g_dir + "/" + name); }
void put(const std::string& name, std::string_view bytes) { ASSERT_TRUE(write_file_durable(g_dir + "/" + name, bytes).has_value()); }

// DER with a definite length.
std::string der(char tag, const std::string& content) {
  std::string out(1, tag);
  if (content.size() < 0x80) return out + static_cast<char>(content.size()) + content;
  return out + '\x82' + static_cast<char>(content.size() >> 8) + static_cast<char>(content.size() & 0xff) + content;
}
std::string granted(const std::string& token) { return der(0x30, std::string("\x30\x03\x02\x01\x00", 5) + token); }

class TimestampTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    char dir[] = "/tmp/stella_timestamp_XXXXXX";
    ASSERT_NE(::mkdtemp(dir), nullptr);
    g_dir = dir;
    put("conf", kConfig);
    for (const char* root : {"root", "other"}) {
      shell(std::string("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ") + root + ".key -out " + root +
            ".pem -days 3650 -subj '/CN=Root' -config conf -extensions root");
    }
    for (const char* kind : {"tsa", "noncritical", "wrong", "two", "unknown", "noeku", "encrypts"}) issue(kind, kind, "root");
    issue("second", "tsa", "root");
    issue("foreign", "tsa", "other");
    shell(": > index.txt; echo 01 > ca.serial; echo 01 > tsa.serial");
    request("expired");
    shell("openssl ca -batch -config conf -in expired.csr -cert root.pem -keyfile root.key -startdate 20200101000000Z -enddate 20210101000000Z -notext -out expired.pem");
  }
  static void TearDownTestSuite() { (void)!std::system(("rm -rf '" + g_dir + "'").c_str()); }

  static void request(const std::string& name) {
    shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout " + name + ".key -out " + name + ".csr -subj '/CN=" + name + "' -config conf");
  }
  static void issue(const std::string& name, const std::string& extensions, const std::string& root) {
    request(name);
    shell("openssl x509 -req -in " + name + ".csr -CA " + root + ".pem -CAkey " + root + ".key -CAcreateserial -days 30 -extfile conf -extensions " + extensions +
          " -out " + name + ".pem");
    ASSERT_NE(file(name + ".pem").find("BEGIN CERTIFICATE"), std::string::npos);
  }

  static TimestampTrust trust(const std::string& anchors = "root.pem", const std::string& others = {}) {
    auto made = TimestampTrust::from_pem(file(anchors), others.empty() ? std::string() : file(others));
    EXPECT_TRUE(made.has_value());
    return *made;
  }
  // What the authority `signer` replies.
  static Result<std::string> reply(const std::string& signer, std::string_view query) {
    put("q", query);
    const std::string log = shell("rm -f r; openssl ts -reply -config conf -section tsa_config -queryfile q -signer " + signer + ".pem -inkey " + signer + ".key -out r");
    if (::access((g_dir + "/r").c_str(), R_OK) != 0) return Error(base_errors::kIo, "openssl ts made no reply").with("log", log);
    return file("r");
  }
  static TimestampAuthority authority(const std::string& signer, const TimestampTrust& anchors) {
    return {.name = signer, .post = [signer](std::string_view query) { return reply(signer, query); }, .trust = anchors};
  }
  // The TSTInfo of `response` signed anew with options of `openssl cms -sign`: what `openssl ts` refuses to make.
  static std::string sign_again(const std::string& response, const std::string& options) {
    put("again.r", response);
    put("again.token", timestamp_token(response).value());
    const std::string log = shell("rm -f again.out; openssl cms -verify -noverify -binary -inform DER -in again.token -out again.tst >/dev/null 2>&1; "
                                  "openssl cms -sign -binary -nodetach -outform DER -econtent_type 1.2.840.113549.1.9.16.1.4 -in again.tst -out again.out " + options);
    EXPECT_EQ(::access((g_dir + "/again.out").c_str(), R_OK), 0) << log;
    return granted(file("again.out"));
  }
  static std::string field(const Result<VerifiedTimestamp>& result) { return result ? "holds" : std::string(result.error().field("field")); }

  // One response of the good authority over "evidence".
  void SetUp() override {
    query_ = timestamp_request(sha256("evidence")).value();
    const auto response = reply("tsa", query_.der);
    ASSERT_TRUE(response.has_value()) << response.error().describe();
    response_ = *response;
  }
  Result<VerifiedTimestamp> verify(std::string_view response) const { return verify_timestamp(response, TimestampSubject::digest(sha256("evidence")), trust()); }
  TimestampRequest query_;
  std::string response_;
};

TEST_F(TimestampTest, RequestHasTheBytesOfOpenssl) {
  put("data", "evidence");
  for (const std::string policy : {"", "1.2.3.4.5"}) {
    shell("openssl ts -query -data data -sha256 -cert -out q" + (policy.empty() ? "" : " -tspolicy " + policy));
    const std::string theirs = file("q");
    // The nonce stands before certReq: INTEGER, length, value, then 01 01 ff.
    const auto tag = theirs.size() - 3 - 2;
    std::size_t at = 0;
    for (std::size_t n = 1; n <= 9; ++n)
      if (theirs[tag - n + 1] == static_cast<char>(n) && theirs[tag - n] == 2) at = tag - n + 2;
    ASSERT_NE(at, 0u);
    const auto ours = timestamp_request(sha256("evidence"), policy, std::string_view(theirs).substr(at, theirs.size() - 3 - at));
    ASSERT_TRUE(ours.has_value());
    EXPECT_EQ(hex_encode(ours->der), hex_encode(theirs));
  }
  EXPECT_EQ(query_.der.size(), 69u);
  EXPECT_NE(timestamp_request(sha256("evidence"))->nonce, query_.nonce);
  EXPECT_EQ(timestamp_request(Sha256(), "no oid").error().field("field"), "policy");
  EXPECT_EQ(timestamp_request(Sha256(), "", std::string(21, 'x')).error().field("field"), "nonce");
}

TEST_F(TimestampTest, HoldsAndSaysWhatTheTokenSays) {
  const auto before = Timestamp::now();
  const auto obtained = obtain_timestamp(sha256("evidence"), authority("tsa", trust()));
  ASSERT_TRUE(obtained.has_value()) << obtained.error().describe();
  const auto& verified = obtained->verified;
  EXPECT_GE(verified.gen_time, before);
  EXPECT_LE(verified.gen_time, Timestamp::now());
  EXPECT_EQ(verified.accuracy, std::chrono::microseconds(1'500'100));
  EXPECT_EQ(verified.policy, "1.2.3.4.1");
  EXPECT_EQ(verified.signer_name, "CN=tsa");
  EXPECT_EQ(verified.chain.size(), 2u);
  shell("openssl x509 -in tsa.pem -outform DER -out tsa.der");
  EXPECT_EQ(verified.signer, sha256(file("tsa.der")));
  EXPECT_GT(verified.chain_ends, verified.gen_time + std::chrono::hours(24 * 29));
  EXPECT_LT(verified.chain_ends, verified.gen_time + std::chrono::hours(24 * 31));
  // What is stored holds for a verifier that is not ours, and the number is the one it prints.
  put("data", "evidence");
  put("stored.tsr", obtained->response);
  EXPECT_NE(shell("openssl ts -verify -data data -in stored.tsr -CAfile root.pem").find("Verification: OK"), std::string::npos);
  const std::string text = shell("openssl ts -reply -in stored.tsr -text");
  const auto line = text.find("Serial number: 0x") + 17;
  EXPECT_EQ(verified.serial.size() % 2 == 0 ? verified.serial : "0" + verified.serial, [&] {
    std::string s = text.substr(line, text.find('\n', line) - line);
    for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return s;
  }());
  // The bare token says the same.
  const auto bare = verify_timestamp_token(timestamp_token(obtained->response).value(), TimestampSubject::message("evidence"), trust());
  ASSERT_TRUE(bare.has_value());
  EXPECT_EQ(bare->gen_time, verified.gen_time);
}

TEST_F(TimestampTest, ImprintNonceAndPolicyAreTheOnesDemanded) {
  EXPECT_EQ(field(verify(response_)), "holds");
  EXPECT_EQ(field(verify_timestamp(response_, TimestampSubject::digest(sha256("evidencf")), trust())), "imprint");
  EXPECT_EQ(field(verify_timestamp(response_, TimestampSubject::message("evidencf"), trust())), "imprint");
  const auto with = [&](const TimestampDemands& demands) { return field(verify_timestamp(response_, TimestampSubject::message("evidence"), trust(), demands)); };
  EXPECT_EQ(with({.nonce = query_.nonce}), "holds");
  EXPECT_EQ(with({.nonce = std::string(1, '\0') + query_.nonce}), "holds");
  EXPECT_EQ(with({.nonce = query_.nonce + "x"}), "nonce");
  EXPECT_EQ(with({.policies = {"1.2.3", "1.2.3.4.1"}}), "holds");
  EXPECT_EQ(with({.policies = {"1.2.3.4"}}), "policy");
  // A reply without a nonce to a request that had one is somebody else's.
  put("data", "evidence");
  shell("openssl ts -query -data data -sha256 -cert -no_nonce -out none.q");
  const std::string none = reply("tsa", file("none.q")).value();
  EXPECT_EQ(field(verify_timestamp(none, TimestampSubject::message("evidence"), trust(), {.nonce = query_.nonce})), "nonce");
  EXPECT_EQ(field(verify(none)), "holds");
}

TEST_F(TimestampTest, TheSignersCertificateIsForNothingButTimestamps) {
  // What is wrong is only the certificate: the same way of signing with the right one holds.
  EXPECT_EQ(field(verify(sign_again(response_, "-cades -signer tsa.pem -inkey tsa.key"))), "holds");
  for (const std::string kind : {"noncritical", "wrong", "two", "unknown", "noeku", "encrypts"})
    EXPECT_EQ(field(verify(sign_again(response_, "-cades -signer " + kind + ".pem -inkey " + kind + ".key"))), "signer certificate") << kind;
  // The usage without a name is what OpenSSL's own check overlooks.
  put("data", "evidence");
  put("unknown.tsr", sign_again(response_, "-cades -signer unknown.pem -inkey unknown.key"));
  EXPECT_NE(shell("openssl ts -verify -data data -in unknown.tsr -CAfile root.pem").find("Verification: OK"), std::string::npos);
}

TEST_F(TimestampTest, ExactlyOneSignerBoundByEssCertId) {
  EXPECT_EQ(field(verify(sign_again(response_, "-cades -signer tsa.pem -inkey tsa.key -signer second.pem -inkey second.key"))), "signers");
  EXPECT_EQ(field(verify(sign_again(response_, "-signer tsa.pem -inkey tsa.key"))), "signed attributes");
  EXPECT_EQ(field(verify(sign_again(response_, "-noattr -signer tsa.pem -inkey tsa.key"))), "signed attributes");
  EXPECT_EQ(field(verify(sign_again(response_, "-cades -md sha1 -signer tsa.pem -inkey tsa.key"))), "digest algorithm");
  // A certificate with the same key, issuer and serial number, but another text, is not the one that ESSCertID names.
  shell("openssl x509 -req -in tsa.csr -CA root.pem -CAkey root.key -set_serial \"0x$(openssl x509 -in tsa.pem -noout -serial | cut -d= -f2)\" -days 31 -extfile conf "
        "-extensions tsa -out twin.pem");
  const std::string no_certificate = sign_again(response_, "-cades -nocerts -signer tsa.pem -inkey tsa.key");
  const auto subject = TimestampSubject::message("evidence");
  EXPECT_EQ(field(verify(no_certificate)), "signer certificate");
  EXPECT_EQ(field(verify_timestamp(no_certificate, subject, trust("root.pem", "twin.pem"))), "signer certificate");
  EXPECT_EQ(field(verify_timestamp(no_certificate, subject, trust("root.pem", "tsa.pem"))), "holds");
  // Where both are there the right one is found.
  EXPECT_EQ(field(verify(sign_again(response_, "-cades -certfile twin.pem -signer tsa.pem -inkey tsa.key"))), "holds");
  shell("cat twin.pem tsa.pem > both.pem");
  EXPECT_EQ(field(verify_timestamp(no_certificate, subject, trust("root.pem", "both.pem"))), "holds");
}

TEST_F(TimestampTest, TheChainHoldsAtTheTimeOfTheToken) {
  // Made now by a certificate that ended in 2021.
  const std::string late = sign_again(response_, "-cades -signer expired.pem -inkey expired.key");
  EXPECT_EQ(field(verify(late)), "signer certificate");
  const auto at = [&](const std::string& response, std::string_view time) {
    return field(verify_timestamp(response, TimestampSubject::message("evidence"), trust(), {.chain_at = Timestamp::parse(time).value()}));
  };
  EXPECT_EQ(at(late, "2020-06-01T00:00:00Z"), "signer certificate");  // the root did not exist then
  EXPECT_EQ(at(response_, "2099-01-01T00:00:00Z"), "signer certificate");
  // OpenSSL agrees when it is told the time.
  put("data", "evidence");
  put("good.tsr", response_);
  const auto openssl = [](std::string_view time) {
    return shell("openssl ts -verify -data data -in good.tsr -CAfile root.pem -attime " + std::to_string(Timestamp::parse(time)->seconds())).find("Verification: OK") != std::string::npos;
  };
  EXPECT_FALSE(openssl("2099-01-01T00:00:00Z"));
  EXPECT_TRUE(openssl(Timestamp::now().rfc3339()));
}

// A token of 2020 of an authority whose certificate ended in 2021 still says when it was made: what it needs, its chain, is archived with it.
// Today's clock, which `openssl ts -verify` takes where nobody gives it a time, refuses it.
TEST_F(TimestampTest, ATokenOutlivesItsAuthority) {
  request("old");
  request("ended");
  shell("openssl ca -batch -selfsign -name root_config -config conf -in old.csr -keyfile old.key -startdate 20190101000000Z -enddate 20400101000000Z -notext -out old.pem; "
        "openssl ca -batch -config conf -in ended.csr -cert old.pem -keyfile old.key -startdate 20200101000000Z -enddate 20210101000000Z -notext -out ended.pem");
  // The authority's own words about now, with another time in them: GeneralizedTime is a text of digits.
  put("now.token", timestamp_token(response_).value());
  shell("openssl cms -verify -noverify -binary -inform DER -in now.token -out then.tst");
  std::string info = file("then.tst");
  const auto at = info.find("\x18", info.find(std::string(sha256("evidence").view()))) + 2;
  ASSERT_LT(at, info.size());
  const auto stamped = [&](std::string_view time) {
    info.replace(at, time.size(), time);
    put("then.tst", info);
    shell("rm -f then.out; openssl cms -sign -binary -nodetach -outform DER -econtent_type 1.2.840.113549.1.9.16.1.4 -in then.tst -out then.out -cades -signer ended.pem -inkey ended.key");
    return granted(file("then.out"));
  };
  const auto check = [&](const std::string& response) { return verify_timestamp(response, TimestampSubject::message("evidence"), trust("old.pem")); };
  const std::string good = stamped("20200601");
  const auto then = check(good);
  ASSERT_TRUE(then.has_value()) << then.error().describe();
  EXPECT_EQ(then->gen_time.rfc3339().substr(0, 10), "2020-06-01");
  EXPECT_LT(then->chain_ends, Timestamp::now());
  EXPECT_EQ(then->chain.size(), 2u) << "what an archive has to keep";
  put("data", "evidence");
  put("then.tsr", good);
  const auto openssl = [](std::string_view more) { return shell("openssl ts -verify -data data -in then.tsr -CAfile old.pem " + std::string(more)).find("Verification: OK") != std::string::npos; };
  EXPECT_FALSE(openssl(""));
  EXPECT_TRUE(openssl("-attime 1591000000"));
  // The same certificate about a time before and after its own.
  for (const char* time : {"20191231", "20210102"}) EXPECT_EQ(field(check(stamped(time))), "signer certificate") << time;
}

// What an issuer's list says counts, and only its own: an end in order leaves earlier stamps alone (RFC 3161 §4), a compromise casts doubt on all of them.
TEST_F(TimestampTest, RevocationsCountFromTheirTime) {
  put("crl.conf", "[ca]\ndefault_ca = here\n[here]\ndatabase = crl.txt\ndefault_md = sha256\ndefault_crl_days = 30\n");
  const std::string serial = shell("openssl x509 -in tsa.pem -noout -serial | cut -d= -f2 | tr -d '\n'");
  const auto list = [&](const std::string& revocation, const std::string& root = "root") {
    put("crl.txt", revocation.empty() ? std::string() : "R\t400101000000Z\t" + revocation + "\t" + serial + "\tunknown\t/CN=tsa\n");
    shell("openssl ca -gencrl -config crl.conf -cert " + root + ".pem -keyfile " + root + ".key -out list.pem");
    return file("list.pem");
  };
  const auto check = [&](const std::string& crl) {
    EXPECT_NE(crl.find("BEGIN X509 CRL"), std::string::npos) << crl;
    return verify_timestamp(response_, TimestampSubject::message("evidence"), TimestampTrust::from_pem(file("root.pem") + crl).value());
  };
  const auto none = check(list(""));
  ASSERT_TRUE(none.has_value()) << none.error().describe();
  EXPECT_EQ(none->ends(), none->chain_ends);
  // Before the stamp: it never was one, for whatever reason.
  for (const char* reason : {"", ",keyCompromise", ",superseded"}) EXPECT_EQ(field(check(list(std::string("200101000000Z") + reason))), "signer certificate") << reason;
  // After it.
  for (const char* reason : {"", ",keyCompromise", ",CACompromise"}) {
    const auto later = check(list(std::string("390101000000Z") + reason));
    ASSERT_TRUE(later.has_value()) << later.error().describe();
    ASSERT_TRUE(later->revoked.has_value()) << reason;
    EXPECT_EQ(later->revoked->rfc3339_seconds(), "2039-01-01T00:00:00Z");
  }
  EXPECT_FALSE(check(list("390101000000Z,superseded"))->revoked.has_value());
  EXPECT_FALSE(check(list("390101000000Z,cessationOfOperation"))->revoked.has_value());
  // Since when its holder believes it.
  EXPECT_EQ(field(check(list("390101000000Z,keyTime,20200101000000Z"))), "signer certificate");
  // Who trusts the revoked certificate itself, beside its issuer, is told as well.
  const auto both = TimestampTrust::from_pem(file("root.pem") + file("tsa.pem") + list("200101000000Z,keyCompromise"));
  EXPECT_EQ(field(verify_timestamp(response_, TimestampSubject::message("evidence"), both.value())), "signer certificate");
  // The list of another authority of the same name.
  EXPECT_TRUE(check(list("200101000000Z", "other")).has_value());
  EXPECT_EQ(TimestampTrust::from_pem(file("root.pem") + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").error().code(), base_errors::kMalformed);
  EXPECT_EQ(TimestampTrust::from_pem(list("")).error().code(), base_errors::kInvalid);
}

TEST_F(TimestampTest, OnlyTheCallersAnchorsGiveTrust) {
  const std::string foreign = reply("foreign", query_.der).value();
  const auto subject = TimestampSubject::message("evidence");
  EXPECT_EQ(field(verify(foreign)), "signer certificate");
  EXPECT_EQ(field(verify_timestamp(foreign, subject, trust("other.pem"))), "holds");
  EXPECT_EQ(field(verify_timestamp(foreign, subject, trust("root.pem", "other.pem"))), "signer certificate");
  EXPECT_EQ(field(verify_timestamp(response_, subject, trust("tsa.pem"))), "holds");  // pinned
  EXPECT_EQ(TimestampTrust::from_pem("").error().code(), base_errors::kInvalid);
  EXPECT_EQ(TimestampTrust::from_pem(file("root.key")).error().code(), base_errors::kMalformed);
  EXPECT_EQ(TimestampTrust::from_pem(file("root.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").error().code(), base_errors::kMalformed);
}

TEST_F(TimestampTest, RefusalsAndDamage) {
  put("conf.strict", std::string(kConfig) + "\n[strict]\nserial = tsa.serial\ndefault_policy = 1.2.3.4.1\ndigests = sha512\nsigner_digest = sha256\n");
  put("q", query_.der);
  shell("openssl ts -reply -config conf.strict -section strict -queryfile q -signer tsa.pem -inkey tsa.key -out refused.tsr");
  const auto refused = verify(file("refused.tsr"));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().field("field"), "status");
  EXPECT_EQ(refused.error().field("actual"), "rejection");
  EXPECT_EQ(refused.error().field("failure"), "badAlg");
  EXPECT_EQ(verify(response_ + '\0').error().code(), base_errors::kMalformed);
  EXPECT_EQ(verify(granted(timestamp_token(response_).value() + '\0')).error().code(), base_errors::kMalformed);
  EXPECT_EQ(verify(granted("")).error().code(), base_errors::kMalformed);
  EXPECT_EQ(verify("").error().code(), base_errors::kMalformed);
  EXPECT_EQ(verify("<html>502</html>").error().code(), base_errors::kMalformed);
  EXPECT_EQ(verify(std::string(kTimestampBytes + 1, '0')).error().code(), base_errors::kLimit);
  // A TSTInfo with a byte behind it, properly signed.
  put("again.token", timestamp_token(response_).value());
  shell("openssl cms -verify -noverify -binary -inform DER -in again.token -out long.tst; printf x >> long.tst; openssl cms -sign -cades -binary -nodetach -outform DER "
        "-econtent_type 1.2.840.113549.1.9.16.1.4 -in long.tst -signer tsa.pem -inkey tsa.key -out long.token");
  EXPECT_EQ(verify(granted(file("long.token"))).error().code(), base_errors::kMalformed);
  // Every byte counts, or changes nothing that was promised: no altered response says another time, imprint, policy or signer.
  const auto good = verify(response_);
  ASSERT_TRUE(good.has_value());
  std::size_t survived = 0;
  for (std::size_t i = 0; i < response_.size(); ++i) {
    std::string bad = response_;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    const auto result = verify(bad);
    if (!result) continue;
    ++survived;
    EXPECT_TRUE(result->gen_time == good->gen_time && result->serial == good->serial && result->policy == good->policy && result->signer == good->signer) << i;
  }
  EXPECT_LT(survived, 16u);  // what CMS does not sign: the status, versions, names of algorithms that the key decides
  for (std::size_t n = 0; n < response_.size(); n += 7) EXPECT_FALSE(verify(response_.substr(0, n)).has_value());
}

TEST_F(TimestampTest, AQuorumCountsCertificates) {
  const auto anchors = trust();
  const std::vector<TimestampAuthority> two{authority("tsa", anchors), authority("second", anchors)};
  const auto both = timestamp_quorum(2, sha256("evidence"), two);
  ASSERT_TRUE(both.has_value()) << both.error().describe();
  EXPECT_EQ(distinct_timestamp_signers(std::vector{(*both)[0].verified, (*both)[1].verified}), 2u);
  EXPECT_EQ(timestamp_quorum(1, sha256("evidence"), two)->size(), 1u);
  // Two names of one authority are one.
  auto alias = authority("tsa", anchors);
  alias.name = "alias";
  const std::vector<TimestampAuthority> same{authority("tsa", anchors), alias};
  const auto once = timestamp_quorum(2, sha256("evidence"), same);
  ASSERT_FALSE(once.has_value());
  EXPECT_EQ(once.error().field("expected"), "2");
  EXPECT_EQ(once.error().field("actual"), "1");
  EXPECT_EQ(once.error().field("authorities"), "alias: same certificate as tsa");
  const auto first = verify(response_);
  const auto again = verify(reply("tsa", query_.der).value());
  EXPECT_EQ(distinct_timestamp_signers(std::vector{*first, *again}), 1u);
  // One that lies or is away does not spoil it for the others; a replayed reply does not pass.
  auto away = authority("away", anchors);
  away.post = [](std::string_view) -> Result<std::string> { return Error(base_errors::kIo, "no route"); };
  auto replays = authority("replays", anchors);
  replays.post = [this](std::string_view) -> Result<std::string> { return response_; };
  const std::vector<TimestampAuthority> mixed{away, replays, two[0], two[1]};
  EXPECT_TRUE(timestamp_quorum(2, sha256("evidence"), mixed).has_value());
  const auto three = timestamp_quorum(3, sha256("evidence"), mixed);
  ASSERT_FALSE(three.has_value());
  EXPECT_NE(three.error().field("authorities").find("away: no route; replays: the timestamp does not hold (field=nonce"), std::string::npos) << three.error().describe();
  EXPECT_EQ(timestamp_quorum(0, sha256("evidence"), two).error().field("field"), "needed");
  // The first policy is asked for, and the reply must have one of them.
  auto strict = authority("tsa", anchors);
  strict.policies = {"1.2.3.4.5"};
  EXPECT_EQ(obtain_timestamp(sha256("evidence"), strict)->verified.policy, "1.2.3.4.5");
}

// ---- published responses

std::string pem_of(const std::string& path) {
  std::string text = testing::slurp(path);
  if (text.starts_with("-----")) return text;
  return "-----BEGIN CERTIFICATE-----\n" + base64_encode(text) + "\n-----END CERTIFICATE-----\n";
}

// The nonce of a TimeStampReq: the INTEGER before BOOLEAN certReq at its end.
std::string nonce_of(const std::string& request) {
  for (std::size_t n = 8; n <= 21; ++n) {
    const auto at = request.size() - 3 - n;
    if (request[at - 2] == 2 && request[at - 1] == static_cast<char>(n)) return request.substr(at, n);
  }
  ADD_FAILURE() << "no nonce";
  return {};
}

TEST(TimestampVectors, PublishedResponses) {
  const std::string dir = STELLA_SHARED_OR_SKIP("vectors/rfc3161") + "/";
  const std::string table = testing::slurp(dir + "expected.tsv");
  std::size_t rows = 0;
  for (std::size_t at = table.find('\n') + 1; at < table.size();) {
    const auto end = std::min(table.find('\n', at), table.size());
    std::vector<std::string> cell;
    for (std::size_t from = at;;) {
      const auto to = std::min(table.find('\t', from), end);
      cell.push_back(table.substr(from, to - from));
      if (to == end) break;
      from = to + 1;
    }
    at = end + 1;
    ASSERT_EQ(cell.size(), 6u);
    const std::string& extra = cell[3];
    // The chain file lists signer, intermediates and root: only the last one is trusted.
    const std::string chain = pem_of(dir + cell[2]);
    const auto root = chain.rfind("-----BEGIN");
    const auto trust = TimestampTrust::from_pem(std::string_view(chain).substr(root), std::string_view(chain).substr(0, root));
    ASSERT_TRUE(trust.has_value()) << cell[2];
    const std::string data = cell[1].starts_with("file ") ? testing::slurp(dir + cell[1].substr(5)) : cell[1];
    TimestampDemands demands;
    std::string_view name;
    if (extra.starts_with("request ")) demands.nonce = nonce_of(testing::slurp(dir + extra.substr(8)));
    if (extra.starts_with("policy ")) demands.policies = {extra.substr(7, extra.find(' ', 7) - 7)};
    if (extra.starts_with("signer name ")) name = std::string_view(extra).substr(12, extra.rfind(' ') - 12);
    if (extra.starts_with("checked at 2")) demands.chain_at = Timestamp::parse(extra.substr(11, 20)).value();
    const auto result = verify_timestamp(testing::slurp(dir + cell[0]), TimestampSubject::message(data), *trust, demands);
    const bool holds = result.has_value() && (name.empty() || result->signer_name.find(name) != std::string::npos);
    EXPECT_EQ(holds, cell[4] == "valid") << cell[0] << " " << extra << ": " << cell[5] << " | " << (result ? result->signer_name : result.error().describe());
    if (extra.starts_with("checked at genTime ")) {
      ASSERT_TRUE(result.has_value());
      EXPECT_EQ(result->gen_time.rfc3339_seconds(), extra.substr(19));
    }
    if (rows == 0) {
      ASSERT_TRUE(result.has_value());
      EXPECT_EQ(result->serial, "797035501f358571fed54952bebbd000497461dc");
      EXPECT_EQ(result->policy, "1.3.6.1.4.1.57264.2");
      EXPECT_EQ(result->gen_time.rfc3339_seconds(), "2024-10-08T15:40:32Z");
      EXPECT_EQ(result->accuracy, std::chrono::microseconds(1'000'000));
    }
    ++rows;
  }
  EXPECT_EQ(rows, 18u);
}

}  // namespace
}  // namespace stella::crypto
