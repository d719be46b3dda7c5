// Keys by URI: files, and SoftHSM tokens whose keys were made by openssl, which also checks the signatures.
#include "stella/crypto/key_provider.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <utility>

#include "aes_gcm.h"
#include "pkcs11_token.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/crypto/ed25519_provider.h"
#include "stella/crypto/envelope.h"
#include "stella/crypto/pkcs11.h"
#include "stella/testing/shared_data.h"
#include "wrapping.h"

namespace stella::crypto {
namespace {

std::string refused_field(std::string_view uri) {
  const auto parsed = KeyUri::parse(uri);
  return parsed ? "parsed" : std::string(parsed.error().field("field"));
}

TEST(KeyUri, ReadsWhatItKnows) {
  const auto file = KeyUri::parse("file:/etc/a%20b.pem?pin-source=file:/run/pin");
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->path, "/etc/a b.pem");
  EXPECT_EQ(file->pin_source, "/run/pin");
  EXPECT_EQ(KeyUri::parse("file:///etc/k.pem?pin-source=file:///run/pin")->path, "/etc/k.pem");
  EXPECT_EQ(KeyUri::parse("file:///etc/k.pem?pin-source=file:///run/pin")->pin_source, "/run/pin");
  const auto token = KeyUri::parse("pkcs11:token=My%20token;serial=12;manufacturer=m;model=x;object=sig;id=%A1%b2;type=private?module-path=/lib/p.so&pin-source=/run/pin");
  ASSERT_TRUE(token.has_value()) << token.error().describe();
  EXPECT_EQ(token->token, "My token");
  EXPECT_EQ(token->serial, "12");
  EXPECT_EQ(token->id, "\xa1\xb2");
  EXPECT_EQ(token->object, "sig");
  EXPECT_EQ(token->module_path, "/lib/p.so");
}

TEST(KeyUri, RefusesWhatItWouldMisread) {
  EXPECT_EQ(refused_field("/etc/k.pem"), "scheme");
  EXPECT_EQ(refused_field("https://x/k"), "scheme");
  EXPECT_EQ(refused_field("file:k.pem"), "path");
  EXPECT_EQ(refused_field("file:/k.pem?pin-source=pin"), "pin-source");
  EXPECT_EQ(refused_field("file:/k.pem?module-path=/x"), "module-path");
  EXPECT_EQ(refused_field("file:/k%00.pem"), "path");
  EXPECT_EQ(refused_field("pkcs11:token=t"), "module-path");
  EXPECT_EQ(refused_field("pkcs11:token=t?module-path=/p&pin-value=1234"), "pin-value");
  EXPECT_EQ(refused_field("pkcs11:token=t;token=u?module-path=/p"), "token");
  EXPECT_EQ(refused_field("pkcs11:token=?module-path=/p"), "token");
  EXPECT_EQ(refused_field("pkcs11:tokne=t?module-path=/p"), "tokne");
  EXPECT_EQ(refused_field("pkcs11:type=public?module-path=/p"), "type");
  EXPECT_EQ(refused_field("pkcs11:token?module-path=/p"), "token");
  EXPECT_EQ(KeyUri::parse("pkcs11:token=%zz?module-path=/p").error().code(), base_errors::kMalformed);
  // No PIN in the message of any error.
  EXPECT_EQ(KeyUri::parse("pkcs11:token=t?module-path=/p&pin-value=7391").error().describe().find("7391"), std::string::npos);
}

TEST(FileKeyProvider, OpensWhatKeyPairSaved) {
  char dir[] = "/tmp/stella_provider_XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const std::string base = dir;
  const auto key = KeyPair::generate();
  ASSERT_TRUE(key.has_value());
  ASSERT_TRUE(write_file_durable(base + "/k.pem", key->to_pem("correct horse", 1000).value(), 0600).has_value());
  ASSERT_TRUE(write_file_durable(base + "/pin", "correct horse\n", 0600).has_value());
  const auto signer = open_signer("file:" + base + "/k.pem?pin-source=file:" + base + "/pin");
  ASSERT_TRUE(signer.has_value()) << signer.error().describe();
  EXPECT_TRUE(key->public_key().verify("m", (*signer)->sign("m").value()));
  EXPECT_TRUE(open_signer("file:" + base + "/k.pem", SecretBytes("correct horse")).has_value());
  EXPECT_EQ(open_signer("file:" + base + "/k.pem").error().field("field"), "pin-source");
  EXPECT_EQ(open_signer("file:" + base + "/k.pem", SecretBytes("wrong")).error().code(), base_errors::kInvalid);
  EXPECT_EQ(open_signer("file:" + base + "/none.pem", SecretBytes("x")).error().code(), base_errors::kNotFound);
  (void)!std::system(("rm -rf '" + base + "'").c_str());
}

TEST(Pkcs11Module, SaysWhyItDoesNotLoad) {
  const auto none = open_signer("pkcs11:token=t?module-path=/nonexistent/p.so", SecretBytes("1"));
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), base_errors::kIo);
  EXPECT_EQ(none.error().message(), "cannot load the PKCS#11 module");
  const auto other = open_signer("pkcs11:token=t?module-path=/usr/lib/x86_64-linux-gnu/libz.so.1", SecretBytes("1"));
  ASSERT_FALSE(other.has_value());
  EXPECT_TRUE(other.error().message() == "not a PKCS#11 module" || other.error().message() == "cannot load the PKCS#11 module");
}

// ---- SoftHSM: the module reads its configuration once per process, so all tokens are made before the first test

class Pkcs11Test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (const char* path : {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"})
      if (::access(path, R_OK) == 0) module_ = path;
    if (module_.empty() || shell("command -v softhsm2-util").empty()) {
      module_.clear();
      return;
    }
    char dir[] = "/tmp/stella_pkcs11_XXXXXX";
    ASSERT_NE(::mkdtemp(dir), nullptr);
    dir_ = dir;
    ASSERT_TRUE(make_dirs(dir_ + "/tokens").has_value());
    ASSERT_TRUE(write_file_durable(dir_ + "/conf", "directories.tokendir = " + dir_ + "/tokens\nobjectstore.backend = file\nlog.level = ERROR\n").has_value());
    ASSERT_TRUE(write_file_durable(dir_ + "/pin", "1234", 0600).has_value());
    ::setenv("SOFTHSM2_CONF", (dir_ + "/conf").c_str(), 1);
    for (const char* label : {"main", "pin", "leaves", "twice", "twice", "changed", "counted"}) {
      const std::string log = shell(std::string("softhsm2-util --init-token --free --label ") + label + " --so-pin 12345678 --pin 1234");
      ASSERT_NE(log.find("initialized"), std::string::npos) << log;
    }
    shell("for k in sig two pub leaves pin bare; do openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $k.pem; openssl pkey -in $k.pem -pubout -out $k.pub; done; "
          "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.pem; openssl genpkey -algorithm RSA -out rsa.pem");
    import("main", "sig", "sig", "a1b2");
    import("main", "two", "two", "c3");
    import("main", "p384", "p384", "d4");
    import("main", "rsa", "rsa", "e5");
    shell("openssl genpkey -algorithm ED25519 -out ed.pem; openssl pkey -in ed.pem -pubout -out ed.pub");
    import("main", "ed", "log", "0e");
    import("main", "bare", "bare", "f6", "--no-public-key");
    import("main", "pub", "liar", "f7", "--no-public-key");
    import("leaves", "leaves", "sig", "01");
    import("pin", "pin", "sig", "01");
    import("counted", "pin", "sig", "01");
    restart_module();  // where the suite runs again, the module knows the directories of the first time
  }
  static void TearDownTestSuite() {
    if (!dir_.empty()) (void)!std::system(("rm -rf '" + dir_ + "'").c_str());
    dir_.clear();
  }
  void SetUp() override {
    if (module_.empty()) GTEST_SKIP() << "skipped: no SoftHSM (softhsm2)";
  }

  static std::string shell(const std::string& command) {
    FILE* pipe = ::popen(((dir_.empty() ? "" : "cd '" + dir_ + "' && ") + "{ " + command + "; } 2>&1").c_str(), "r");
    std::string out;
    std::array<char, 4096> buf;
    while (const std::size_t n = std::fread(buf.data(), 1, buf.size(), pipe)) out.append(buf.data(), n);
    ::pclose(pipe);
    return out;
  }
  static void import(const std::string& token, const std::string& file, const std::string& label, const std::string& id, const std::string& options = {}) {
    const std::string log = shell("softhsm2-util --import " + file + ".pem --token " + token + " --label " + label + " --id " + id + " --pin 1234 " + options);
    ASSERT_NE(log.find("imported"), std::string::npos) << log;
  }
  static void restart_module() {
    CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
    CK_C_INITIALIZE_ARGS arguments{};
    arguments.flags = CKF_OS_LOCKING_OK;
    ASSERT_EQ(module->C_Finalize(nullptr), CKR_OK);
    ASSERT_EQ(module->C_Initialize(&arguments), CKR_OK);
  }
  static std::string uri(const std::string& path) { return "pkcs11:" + path + "?module-path=" + module_ + "&pin-source=file:" + dir_ + "/pin"; }
  static PublicKey original(const std::string& name) { return PublicKey::from_pem(testing::slurp(dir_ + "/" + name + ".pub")).value(); }
  static std::unique_ptr<Pkcs11Kms> kms() {
    auto opened = Pkcs11Kms::open(KeyUri::parse(uri("token=main")).value());
    EXPECT_TRUE(opened.has_value()) << opened.error().describe();
    return std::move(*opened);
  }

  // Another function in the module's list, as long as it lives.
  template <class F>
  struct Instead {
    F& at;
    const F before;
    Instead(F& of, F with) : at(of), before(of) { at = with; }
    Instead(const Instead&) = delete;
    Instead& operator=(const Instead&) = delete;
    ~Instead() { at = before; }
  };
  // As an administrator does it; whoever is logged in is out afterwards.
  static void change_pin(const std::string& token, std::string before, std::string after) {
    CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
    const CK_SESSION_HANDLE session = pkcs11_login(module, KeyUri::parse(uri("token=" + token)).value(), before, true).value();
    const auto text = [](std::string& s) { return reinterpret_cast<CK_UTF8CHAR*>(s.data()); };
    ASSERT_EQ(module->C_SetPIN(session, text(before), before.size(), text(after), after.size()), CKR_OK);
    ASSERT_EQ(module->C_Logout(session), CKR_OK);
    module->C_CloseSession(session);
  }

  static inline std::string module_;
  static inline std::string dir_;
};

TEST_F(Pkcs11Test, OpensslChecksWhatTheTokenSigned) {
  for (const char* path : {"token=main;object=sig", "token=main;id=%a1%b2", "token=main;object=sig;id=%A1%B2;type=private"}) {
    const auto signer = open_signer(uri(path));
    ASSERT_TRUE(signer.has_value()) << path << ": " << signer.error().describe();
    EXPECT_EQ((*signer)->public_key(), original("sig"));
    const std::string signature = (*signer)->sign("the message").value();
    ASSERT_TRUE(write_file_durable(dir_ + "/m", "the message").has_value());
    ASSERT_TRUE(write_file_durable(dir_ + "/s", signature).has_value());
    EXPECT_EQ(shell("openssl dgst -sha256 -verify sig.pub -signature s m"), "Verified OK\n");
  }
  EXPECT_EQ((*open_signer(uri("token=main;object=two")))->public_key(), original("two"));
  EXPECT_TRUE(open_signer("pkcs11:token=main;object=sig?module-path=" + module_, SecretBytes("1234")).has_value());
}

TEST_F(Pkcs11Test, ALogKeySignsInTheTokenToo) {
  const auto expected = Ed25519PublicKey::from_pem(read_file(dir_ + "/ed.pub", 4096).value()).value();
  for (const char* path : {"token=main;object=log", "token=main;id=%0e"}) {
    const auto signer = open_ed25519_signer(uri(path));
    ASSERT_TRUE(signer.has_value()) << path << ": " << signer.error().describe();
    EXPECT_EQ((*signer)->public_key(), expected);
    const std::string signature = (*signer)->sign("the message").value();
    EXPECT_EQ(signature.size(), kEd25519SignatureBytes);
    EXPECT_TRUE(expected.verify("the message", signature));
    EXPECT_FALSE(expected.verify("another message", signature));
    ASSERT_TRUE(write_file_durable(dir_ + "/m", "the message").has_value());
    ASSERT_TRUE(write_file_durable(dir_ + "/s", signature).has_value());
    EXPECT_NE(shell("openssl pkeyutl -verify -pubin -inkey ed.pub -rawin -in m -sigfile s").find("Signature Verified Successfully"), std::string::npos);
  }
  // A key of another kind is none.
  EXPECT_EQ(open_ed25519_signer(uri("token=main;object=sig")).error().message(), "no such key in the token");
  EXPECT_EQ(open_signer(uri("token=main;object=log")).error().message(), "no such key in the token");
  // And from a file.
  const auto key = Ed25519KeyPair::generate().value();
  ASSERT_TRUE(write_file_durable(dir_ + "/log.pem", key.to_pem("pass", 1000).value(), 0600).has_value());
  EXPECT_EQ(open_ed25519_signer("file:" + dir_ + "/log.pem", SecretBytes("pass")).value()->public_key(), key.public_key());
}

TEST_F(Pkcs11Test, NamesOneKeyOrSaysWhyNot) {
  const auto error = [](const std::string& path) { return open_signer(uri(path)).error(); };
  EXPECT_EQ(error("token=none;object=sig").message(), "no such token");
  EXPECT_EQ(error("token=main;object=none").message(), "no such key in the token");
  EXPECT_EQ(error("token=main;object=none").code(), base_errors::kNotFound);
  EXPECT_EQ(error("token=main;object=sig;id=%c3").message(), "no such key in the token");
  EXPECT_EQ(error("token=main").message(), "several keys of the token match");
  EXPECT_EQ(error("token=twice;object=sig").message(), "several tokens match");
  EXPECT_EQ(error("token=main;object=p384").message(), "the token's key is not a P-256 key");
  EXPECT_EQ(error("token=main;object=rsa").message(), "no such key in the token");
  EXPECT_EQ(error("token=main;object=bare").message(), "the token holds no public key beside the private one");
}

TEST_F(Pkcs11Test, APublicKeyOfAnotherPairIsFound) {
  const KeyUri main = KeyUri::parse(uri("token=main")).value();
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  const CK_SESSION_HANDLE session = pkcs11_login(module, main, "1234", true).value();
  CK_OBJECT_CLASS object_class = CKO_PUBLIC_KEY;
  CK_KEY_TYPE type = CKK_EC;
  CK_BBOOL yes = CK_TRUE;
  std::string params = hex_decode("06082a8648ce3d030107").value();
  const PublicKey wrong = original("two");
  std::string point = "\x04\x41\x04" + std::string(wrong.x()) + std::string(wrong.y());
  std::string id = "\xf7";
  std::array<CK_ATTRIBUTE, 7> wanted{{{CKA_CLASS, &object_class, sizeof object_class},
                                      {CKA_KEY_TYPE, &type, sizeof type},
                                      {CKA_TOKEN, &yes, sizeof yes},
                                      {CKA_VERIFY, &yes, sizeof yes},
                                      {CKA_EC_PARAMS, params.data(), params.size()},
                                      {CKA_EC_POINT, point.data(), point.size()},
                                      {CKA_ID, id.data(), id.size()}}};
  CK_OBJECT_HANDLE made = 0;
  ASSERT_EQ(module->C_CreateObject(session, wanted.data(), wanted.size(), &made), CKR_OK);
  EXPECT_EQ(open_signer(uri("token=main;object=liar")).error().message(), "the token's public key does not belong to its private key");
  EXPECT_EQ(module->C_DestroyObject(session, made), CKR_OK);
  module->C_CloseSession(session);
}

TEST_F(Pkcs11Test, AWrongPinIsOfferedOnce) {
  const auto wrong = open_signer("pkcs11:token=pin;object=sig?module-path=" + module_, SecretBytes("4321"));
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code(), base_errors::kInvalid);
  EXPECT_EQ(wrong.error().describe(), "the token refuses the PIN (token=pin, reason=CKR_PIN_INCORRECT)");
  EXPECT_EQ(Pkcs11Kms::open(KeyUri::parse("pkcs11:token=pin?module-path=" + module_).value(), SecretBytes("4321")).error().field("reason"), "CKR_PIN_INCORRECT");
  EXPECT_EQ(open_signer("pkcs11:token=pin;object=sig?module-path=" + module_).error().field("field"), "pin-source");
  // A key whose PIN was changed while it was in use: the session dies, the PIN is offered once, then no more.
  const auto signer = open_signer(uri("token=pin;object=sig"));
  ASSERT_TRUE(signer.has_value()) << signer.error().describe();
  change_pin("pin", "1234", "9876");
  EXPECT_EQ((*signer)->sign("m").error().message(), "the token refuses the PIN");
  EXPECT_EQ((*signer)->sign("m").error().message(), "the token refused the PIN before; it is not offered again");
}

// Tokens lock after three tries or ten, counted over all threads and keys of all processes: of this one comes one.
TEST_F(Pkcs11Test, APinThatWasChangedIsOfferedOnceByAllTogether) {
  const auto first = open_signer(uri("token=counted;object=sig")).value();
  const auto second = open_signer(uri("token=counted;id=%01")).value();
  const auto token = Pkcs11Kms::open(KeyUri::parse(uri("token=counted")).value()).value();
  ASSERT_TRUE(token->add_key("k").has_value());
  const std::string wrapped = token->wrap("k", std::string(32, 'k'), "c").value();
  change_pin("counted", "1234", "9876");
  static std::atomic<int> offered;
  static CK_C_Login original;
  offered = 0;
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  original = module->C_Login;
  const Instead counting(module->C_Login, CK_C_Login{[](CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR* pin, CK_ULONG size) {
                           ++offered;
                           std::this_thread::sleep_for(std::chrono::milliseconds(5));
                           return original(session, user, pin, size);
                         }});
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      EXPECT_FALSE((t % 2 == 0 ? first : second)->sign("m").has_value());
      EXPECT_FALSE(token->unwrap("k", wrapped, "c").has_value());
      EXPECT_FALSE(token->newest(std::to_string(t)).has_value());
      EXPECT_FALSE(token->add_key("new").has_value());
      EXPECT_FALSE(token->destroy_key("k").has_value());
      EXPECT_FALSE(open_signer(uri("token=counted;object=sig")).has_value());
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(offered, 1);
  // Another PIN is another matter.
  EXPECT_TRUE(open_signer("pkcs11:token=counted;object=sig?module-path=" + module_, SecretBytes("9876")).has_value());
}

TEST_F(Pkcs11Test, ManyThreadsSignAtOnce) {
  const auto signer = open_signer(uri("token=main;object=sig"));
  ASSERT_TRUE(signer.has_value());
  const PublicKey key = original("sig");
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        const std::string message = std::to_string(t) + "/" + std::to_string(i);
        const auto signature = (*signer)->sign(message);
        if (signature && key.verify_der(message, *signature)) ++good;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 8 * 40);
}

TEST_F(Pkcs11Test, IdleSessionsMakeRoomWhereTheTokenHasNoMore) {
  static std::atomic<int> open, most;
  static CK_C_OpenSession open_session;
  static CK_C_CloseSession close_session;
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  open_session = module->C_OpenSession;
  close_session = module->C_CloseSession;
  open = 0;
  most = 2;
  const Instead opening(module->C_OpenSession, CK_C_OpenSession{[](CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* session) {
                          if (open >= most) return CK_RV{CKR_SESSION_COUNT};
                          const CK_RV rv = open_session(slot, flags, application, notify, session);
                          open += rv == CKR_OK ? 1 : 0;
                          return rv;
                        }});
  const Instead closing(module->C_CloseSession, CK_C_CloseSession{[](CK_SESSION_HANDLE session) {
                          --open;
                          return close_session(session);
                        }});
  {
    const auto first = open_signer(uri("token=main;object=sig")), second = open_signer(uri("token=main;object=two"));
    ASSERT_TRUE(first && second);
    const auto third = open_signer(uri("token=main;object=sig"));
    ASSERT_TRUE(third.has_value()) << third.error().describe();
    for (const auto* one : {&first, &second, &third}) EXPECT_TRUE((**one)->sign("m").has_value());
    most = 0;
    EXPECT_EQ(open_signer(uri("token=main;object=two")).error().field("reason"), "CKR_SESSION_COUNT") << "tried once more, and no oftener";
    most = 2;
  }
  EXPECT_EQ(open, 0) << "none is lost";
}

TEST_F(Pkcs11Test, LogsInAgainWhenItsSessionsDied) {
  const auto signer = open_signer(uri("token=leaves;object=sig"));
  ASSERT_TRUE(signer.has_value()) << signer.error().describe();
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  const CK_SESSION_HANDLE session = pkcs11_login(module, KeyUri::parse(uri("token=leaves")).value(), "1234", false).value();
  CK_SESSION_INFO info{};
  ASSERT_EQ(module->C_GetSessionInfo(session, &info), CKR_OK);
  // Logged out by somebody else in this process.
  ASSERT_EQ(module->C_Logout(session), CKR_OK);
  EXPECT_TRUE(original("leaves").verify("m", (*signer)->sign("m").value()));
  // What a token that is pulled out does to its sessions.
  ASSERT_EQ(module->C_CloseAllSessions(info.slotID), CKR_OK);
  EXPECT_TRUE(original("leaves").verify("n", (*signer)->sign("n").value()));
  // Pulled out and not back: its directory is gone.
  ASSERT_EQ(module->C_CloseAllSessions(info.slotID), CKR_OK);
  shell("mkdir out; for t in tokens/*; do grep -q leaves $t/token.object 2>/dev/null && mv $t out/; done");
  ASSERT_EQ(shell("ls out | wc -l"), "1\n");
  const auto gone = (*signer)->sign("o");
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().field("token"), "leaves") << gone.error().describe();
  EXPECT_NE(gone.error().code(), base_errors::kInternal);
  // And back again: SoftHSM looks for tokens only when it starts.
  shell("mv out/* tokens/");
  restart_module();
  const auto back = (*signer)->sign("p");
  ASSERT_TRUE(back.has_value()) << back.error().describe();
  EXPECT_TRUE(original("leaves").verify("p", *back));
}

TEST_F(Pkcs11Test, TheTokenWrapsDataKeys) {
  const auto token = kms();
  ASSERT_TRUE(token->add_key("acme/1").has_value());
  EXPECT_EQ(token->add_key("acme/1").error().message(), "the token has this key");
  EXPECT_EQ(token->add_key("no id").error().field("field"), "key_id");
  const std::string data_key(32, 'k');
  const std::string wrapped = token->wrap("acme/1", data_key, "c").value();
  EXPECT_EQ(token->unwrap("acme/1", wrapped, "c")->view(), data_key);
  EXPECT_EQ(kms()->unwrap("acme/1", wrapped, "c")->view(), data_key);
  EXPECT_NE(token->wrap("acme/1", data_key, "c").value(), wrapped);
  EXPECT_EQ(token->unwrap("acme/1", wrapped, "d").error().message(), kDoesNotOpen.view());
  EXPECT_EQ(token->unwrap("acme/1", wrapped.substr(1), "c").error().code(), base_errors::kInvalid);
  for (std::size_t i = 0; i < wrapped.size(); i += 5) {
    std::string bad = wrapped;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    const auto opened = token->unwrap("acme/1", bad, "c");
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().message(), kDoesNotOpen.view()) << i;
  }
  EXPECT_EQ(token->unwrap("acme/2", wrapped, "c").error().code(), base_errors::kNotFound);
  EXPECT_EQ(token->wrap("acme/2", data_key, "c").error().message(), "no such wrapping key");
  EXPECT_EQ(token->wrap("acme/1", "short", "c").error().field("field"), "data_key");
  // After all those failures the session pool is sound.
  EXPECT_EQ(token->unwrap("acme/1", wrapped, "c")->view(), data_key);
  // Another process that knows the key already loses it, too, when it is destroyed.
  const auto beside = kms();
  ASSERT_TRUE(token->add_key("gone/1").has_value());
  const std::string lost = beside->wrap("gone/1", data_key, "c").value();
  ASSERT_TRUE(token->destroy_key("gone/1").has_value());
  EXPECT_EQ(token->unwrap("gone/1", lost, "c").error().code(), base_errors::kNotFound);
  EXPECT_FALSE(beside->unwrap("gone/1", lost, "c").has_value());
  EXPECT_EQ(token->destroy_key("gone/1").error().code(), base_errors::kNotFound);
  EXPECT_EQ(beside->unwrap("gone/1", lost, "c").error().field("reason"), "destroyed");
  // The key does not come out.
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  const CK_SESSION_HANDLE session = pkcs11_login(module, KeyUri::parse(uri("token=main")).value(), "1234", false).value();
  const auto found = pkcs11_find(module, session, {.object_class = CKO_SECRET_KEY, .key_type = CKK_AES, .label = "acme/1"}).value();
  ASSERT_EQ(found.size(), 1u);
  std::array<char, 64> value{};
  CK_ATTRIBUTE wanted{CKA_VALUE, value.data(), value.size()};
  EXPECT_EQ(module->C_GetAttributeValue(session, found[0], &wanted, 1), CKR_ATTRIBUTE_SENSITIVE);
  module->C_CloseSession(session);
}

// A verdict about the bytes is for ever: a token that does not work gives none.
TEST_F(Pkcs11Test, ATokenThatDoesNotWorkSaysNothingAboutTheBytes) {
  const auto token = Pkcs11Kms::open(KeyUri::parse(uri("token=changed")).value()).value();
  ASSERT_TRUE(token->add_key("k").has_value());
  const std::string data_key(32, 'k');
  const std::string wrapped = token->wrap("k", data_key, "c").value();
  {
    CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
    const Instead failing(module->C_Decrypt, CK_C_Decrypt{[](CK_SESSION_HANDLE, CK_BYTE*, CK_ULONG, CK_BYTE*, CK_ULONG*) { return CK_RV{CKR_GENERAL_ERROR}; }});
    EXPECT_EQ(token->unwrap("k", wrapped, "c").error().code(), base_errors::kIo);
  }
  EXPECT_EQ(token->unwrap("k", wrapped, "c")->view(), data_key);
  change_pin("changed", "1234", "9876");
  for (const Error& error : {token->unwrap("k", wrapped, "c").error(), token->wrap("k", data_key, "c").error(), token->newest("k").error(), token->add_key("k/2").error(), token->destroy_key("k").error()}) {
    EXPECT_EQ(error.code(), base_errors::kIo) << error.describe();
    EXPECT_EQ(error.field("token"), "changed");
  }
}

// Each looks, finds nothing and makes one: what either wraps is read by everybody, for ever.
TEST_F(Pkcs11Test, TwoProcessesMakeOneKeyAtTheSameMoment) {
  static CK_C_GenerateKey original;
  static std::function<void()> meanwhile;
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  original = module->C_GenerateKey;
  const Instead racing(module->C_GenerateKey, CK_C_GenerateKey{[](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* wanted, CK_ULONG count, CK_OBJECT_HANDLE* key) {
                         if (const auto other = std::exchange(meanwhile, nullptr)) other();
                         return original(session, mechanism, wanted, count, key);
                       }});
  const std::string data_key(32, 'k');
  for (int n = 0; n < 8; ++n) {
    const std::string id = "race/" + std::to_string(n);
    const auto first = kms(), second = kms();
    std::string early;
    meanwhile = [&] {
      EXPECT_TRUE(second->add_key(id).has_value());
      early = second->wrap(id, data_key, "c").value();
    };
    ASSERT_TRUE(first->add_key(id).has_value());
    const std::string late = first->wrap(id, data_key, "c").value();
    const auto third = kms();
    for (const auto* one : {&first, &second, &third}) {
      for (const auto& wrapped : {early, late}) {
        const auto opened = (*one)->unwrap(id, wrapped, "c");
        ASSERT_TRUE(opened.has_value()) << n << ": " << opened.error().describe();
        EXPECT_EQ(opened->view(), data_key);
      }
      EXPECT_EQ((*one)->unwrap(id, early, "d").error().message(), kDoesNotOpen.view());
    }
    EXPECT_EQ(third->add_key(id).error().message(), "the token has this key");
    ASSERT_TRUE(third->destroy_key(id).has_value());
    for (const auto* one : {&first, &second, &third}) {
      for (const auto& wrapped : {early, late}) EXPECT_EQ((*one)->unwrap(id, wrapped, "c").error().field("reason"), "destroyed") << "all of that name go";
    }
  }
}

TEST_F(Pkcs11Test, ADestroyedKeyDoesNotComeBack) {
  const auto token = kms(), beside = kms();
  const std::string data_key(32, 'k');
  for (const char* id : {"dead", "dead/2", "dead/3"}) ASSERT_TRUE(token->add_key(id).has_value());
  const std::string wrapped = token->wrap("dead/3", data_key, "c").value();
  // Broken off after the tombstone: the key is there still, and the next try ends it.
  {
    CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
    const Instead failing(module->C_DestroyObject, CK_C_DestroyObject{[](CK_SESSION_HANDLE, CK_OBJECT_HANDLE) { return CK_RV{CKR_DEVICE_ERROR}; }});
    EXPECT_EQ(token->destroy_key("dead/3").error().code(), base_errors::kIo);
  }
  EXPECT_EQ(wrapping_key_versions(*token, "dead").value(), (std::vector<std::string>{"dead", "dead/2", "dead/3"}));
  ASSERT_TRUE(token->destroy_key("dead/3").has_value());
  ASSERT_TRUE(token->destroy_key("dead").has_value());
  const auto fresh = kms();
  for (const auto* one : {&token, &beside, &fresh}) {
    EXPECT_EQ((*one)->unwrap("dead/3", wrapped, "c").error().code(), base_errors::kNotFound);
    EXPECT_EQ((*one)->unwrap("dead/3", wrapped, "c").error().field("reason"), "destroyed");
    EXPECT_EQ((*one)->wrap("dead/3", data_key, "c").error().field("reason"), "destroyed");
    EXPECT_EQ((*one)->add_key("dead/3").error().code(), base_errors::kInvalid);
    EXPECT_EQ((*one)->add_key("dead/3").error().field("reason"), "destroyed");
    EXPECT_EQ((*one)->destroy_key("dead/3").error().code(), base_errors::kNotFound);
    EXPECT_EQ((*one)->newest("dead").value(), "dead/3") << "what is destroyed is followed by nothing older";
    EXPECT_EQ(wrapping_key_versions(**one, "dead").value(), std::vector<std::string>{"dead/2"});
  }
  EXPECT_NE(token->wrap("never", data_key, "c").error().field("reason"), "destroyed");
}

// One process makes a key while another makes and destroys one of that name: destroyed it is.
TEST_F(Pkcs11Test, AKeyIsNotMadeBehindItsTombstone) {
  static CK_C_GenerateKey original;
  static std::function<void()> meanwhile;
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  original = module->C_GenerateKey;
  const Instead racing(module->C_GenerateKey, CK_C_GenerateKey{[](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* wanted, CK_ULONG count, CK_OBJECT_HANDLE* key) {
                         if (const auto other = std::exchange(meanwhile, nullptr)) other();
                         return original(session, mechanism, wanted, count, key);
                       }});
  const auto first = kms(), second = kms();
  meanwhile = [&] {
    EXPECT_TRUE(second->add_key("brief").has_value());
    EXPECT_TRUE(second->destroy_key("brief").has_value());
  };
  EXPECT_EQ(first->add_key("brief").error().field("reason"), "destroyed");
  EXPECT_EQ(first->wrap("brief", std::string(32, 'k'), "c").error().field("reason"), "destroyed");
}

TEST_F(Pkcs11Test, WrapsAsTheKeyringDoes) {
  // One key in both places: each opens what the other wrapped.
  std::string key(32, '\x5a');
  std::string label = "imported";
  CK_FUNCTION_LIST* module = pkcs11_module(module_).value();
  const CK_SESSION_HANDLE session = pkcs11_login(module, KeyUri::parse(uri("token=main")).value(), "1234", true).value();
  CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_AES;
  CK_BBOOL yes = CK_TRUE;
  std::array<CK_ATTRIBUTE, 7> wanted{{{CKA_CLASS, &object_class, sizeof object_class},
                                      {CKA_KEY_TYPE, &type, sizeof type},
                                      {CKA_TOKEN, &yes, sizeof yes},
                                      {CKA_ENCRYPT, &yes, sizeof yes},
                                      {CKA_DECRYPT, &yes, sizeof yes},
                                      {CKA_VALUE, key.data(), key.size()},
                                      {CKA_LABEL, label.data(), label.size()}}};
  CK_OBJECT_HANDLE made = 0;
  ASSERT_EQ(module->C_CreateObject(session, wanted.data(), wanted.size(), &made), CKR_OK);
  module->C_CloseSession(session);
  const auto token = kms();
  const std::string data_key(32, 'd');
  const auto wrapped = token->wrap("imported", data_key, "c");
  ASSERT_TRUE(wrapped.has_value()) << wrapped.error().describe();
  EXPECT_EQ(gcm_unwrap(key, wrapping_aad("imported", "c"), *wrapped, kDoesNotOpen).value(), data_key);
  EXPECT_EQ(token->unwrap("imported", gcm_wrap(key, wrapping_aad("imported", "c"), data_key).value(), "c")->view(), data_key);
  const std::string sealed = envelope_seal(*token, "imported", "tenants/acme/x", "evidence").value();
  EXPECT_EQ(envelope_open(*token, "tenants/acme/x", sealed).value(), "evidence");
}

}  // namespace
}  // namespace stella::crypto
