// "Compatible" stores whose locks do not hold, each in its own way: the probe must find every one out, and trust only what it saw.
#include "s3_worm.h"

#include <poll.h>
#include <unistd.h>

#include <optional>

#include "s3_test_support.h"
#include "stella/base/file.h"

namespace stella::objects {
namespace {

enum class Lie : std::uint8_t {
  kNone,
  kDeletes,          // a locked version goes with a plain delete
  kDeletesOnBypass,  // and only where governance may be bypassed
  kRefusesAndDeletes,
  kShortens,
  kShortensOnBypass,
  kWeakensOnBypass,
  kSaysShorter,      // refuses to shorten, and has done it
  kReplaces,         // an overwrite takes the place of the locked version
  kMarkerDeletes,    // a delete without version takes it along
  kOtherBytes,
  kForgetsLocks,     // takes the headers, keeps no lock
  kNoCompliance,     // refuses one of the modes
  kRefusesAll,       // enforces nothing; our key may not delete, nor change a retention
  kLocksAll,         // a default lock of the bucket
};

// One bucket of one object, spoken to by one client at a time. Does nothing that the probe does not ask for.
class LyingStore {
 public:
  explicit LyingStore(Lie lie) : lie_(lie) {
    auto [fd, port] = testing::listener();
    listener_ = std::move(fd);
    port_ = port;
    EXPECT_TRUE(write_file_durable(dir_ / "credentials", "[default]\naws_access_key_id = stella\naws_secret_access_key = secret\n", 0600));
    thread_ = std::thread([this] { accept(); });
  }
  ~LyingStore() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  Result<WormReport> probe(LockMode mode = LockMode::kNone) const {
    S3Options options;
    options.endpoint = "http://127.0.0.1:" + std::to_string(port_);
    options.bucket = "evidence";
    options.credentials_file = dir_ / "credentials";
    options.spool_dir = dir_.path();
    options.attempts = 1;
    const auto client = S3Client::create(options);
    if (!client) return client.error();
    return s3_worm_probe(**client, mode, true, "");
  }

 private:
  struct Request {
    std::string method, target, head, body;
    bool has(std::string_view text) const { return target.find(text) != std::string::npos || head.find(text) != std::string::npos; }
  };
  static std::string between(const std::string& text, std::string_view begin, std::string_view end) {
    const auto at = text.find(begin);
    if (at == std::string::npos) return {};
    const auto from = at + begin.size();
    return text.substr(from, text.find(end, from) - from);
  }
  static std::string reply(std::string_view status, std::string_view body = {}, std::string_view headers = {}) {
    return "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(headers) + "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  }
  static std::string denied() { return reply("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"); }
  static std::string gone() { return reply("404 Not Found", "<Error><Code>NoSuchVersion</Code></Error>"); }

  void accept() {
    for (;;) {
      const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      std::string bytes;
      const auto more = [&] {
        char buffer[4096];
        const auto n = ::recv(client.get(), buffer, sizeof buffer, 0);
        if (n > 0) bytes.append(buffer, static_cast<std::size_t>(n));
        return n > 0;
      };
      while (bytes.find("\r\n\r\n") == std::string::npos && more()) {
      }
      const auto head = bytes.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      Request request;
      request.head = bytes.substr(0, head + 2);
      request.method = request.head.substr(0, request.head.find(' '));
      request.target = between(request.head, " ", " ");
      const std::string length = between(request.head, "Content-Length: ", "\r\n");
      const std::size_t size = length.empty() ? 0 : std::stoul(length);
      while (bytes.size() < head + 4 + size && more()) {
      }
      request.body = bytes.substr(head + 4);
      const std::string answer = respond(request);
      (void)!::write(client.get(), answer.data(), answer.size());
    }
  }

  std::string respond(const Request& r) {
    if (r.has("versions=")) return reply("200 OK", "<ListVersionsResult></ListVersionsResult>");
    if (r.has("/unlocked-")) return unlocked(r);
    const bool locked = r.target.find("versionId=locked") != std::string::npos;
    if (r.has("retention=")) return r.method == "PUT" ? retention(r) : state();
    if (r.has("legal-hold=")) return reply("404 Not Found", "<Error><Code>NoSuchObjectLockConfiguration</Code></Error>");
    if (r.method == "PUT") return put(r);
    if (r.method == "DELETE") return locked ? remove(r) : marker(r);
    if (!bytes_) return gone();
    return reply("200 OK", lie_ == Lie::kOtherBytes ? *bytes_ + "!" : *bytes_);
  }
  // The control: a version that nothing should hold.
  std::string unlocked(const Request& r) const {
    if (r.method == "PUT") return reply("200 OK", {}, "x-amz-version-id: free\r\n");
    if (r.method == "DELETE") return lie_ == Lie::kRefusesAll || lie_ == Lie::kLocksAll ? denied() : reply("204 No Content");
    if (lie_ == Lie::kLocksAll && r.has("retention=")) return reply("200 OK", "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2040-01-01T00:00:00Z</RetainUntilDate></Retention>");
    return reply("404 Not Found", "<Error><Code>NoSuchObjectLockConfiguration</Code></Error>");
  }
  std::string put(const Request& r) {
    const std::string mode = between(r.head, "x-amz-object-lock-mode: ", "\r\n");
    if (mode.empty()) {  // the overwrite
      if (lie_ != Lie::kReplaces) return reply("200 OK", {}, "x-amz-version-id: second\r\n");
      bytes_ = r.body;
      return reply("200 OK", {}, "x-amz-version-id: locked\r\n");
    }
    if (lie_ == Lie::kNoCompliance && mode == "COMPLIANCE") return reply("400 Bad Request", "<Error><Code>InvalidRequest</Code></Error>");
    bytes_ = r.body;
    if (lie_ != Lie::kForgetsLocks) mode_ = mode, until_ = between(r.head, "x-amz-object-lock-retain-until-date: ", "\r\n");
    return reply("200 OK", {}, "x-amz-version-id: locked\r\n");
  }
  std::string retention(const Request& r) {
    const bool bypass = r.has("x-amz-bypass-governance-retention"), weaker = r.body.find("GOVERNANCE") != std::string::npos && mode_ == "COMPLIANCE";
    const bool done = lie_ == Lie::kShortens || (bypass && !weaker && lie_ == Lie::kShortensOnBypass) || (bypass && weaker && lie_ == Lie::kWeakensOnBypass);
    if (!done && lie_ != Lie::kSaysShorter) return denied();
    mode_ = between(r.body, "<Mode>", "</Mode>");
    until_ = between(r.body, "<RetainUntilDate>", "</RetainUntilDate>");
    return done ? reply("200 OK") : denied();
  }
  std::string state() const {
    if (mode_.empty()) return reply("404 Not Found", "<Error><Code>NoSuchObjectLockConfiguration</Code></Error>");
    return reply("200 OK", "<Retention><Mode>" + mode_ + "</Mode><RetainUntilDate>" + until_ + "</RetainUntilDate></Retention>");
  }
  std::string remove(const Request& r) {
    const bool bypass = r.has("x-amz-bypass-governance-retention");
    if (lie_ == Lie::kRefusesAndDeletes) return bytes_.reset(), denied();
    if (lie_ != Lie::kDeletes && !(bypass && lie_ == Lie::kDeletesOnBypass)) return denied();
    bytes_.reset();
    return reply("204 No Content");
  }
  std::string marker(const Request&) {
    if (lie_ == Lie::kMarkerDeletes) bytes_.reset();
    return reply("204 No Content", {}, "x-amz-version-id: marker\r\n");
  }

  const Lie lie_;
  const testing::TempDir dir_;
  Fd listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
  std::optional<std::string> bytes_;  // of the locked version; touched by thread_ alone, as is its lock
  std::string mode_, until_;
};

TEST(WormProbe, ALockThatDoesNotHoldIsFoundOut) {
  constexpr struct {
    Lie lie;
    const char* level;
    const char* said;
  } kStores[] = {
      {Lie::kNone, "W3", "the locked version afterwards"},
      {Lie::kDeletes, "W0", "delete of the version: 204, NOT refused"},
      {Lie::kDeletesOnBypass, "W2", "delete of the version with bypass: 204, NOT refused"},
      {Lie::kRefusesAndDeletes, "W0", "GONE"},
      {Lie::kShortens, "W0", "retention shortened: 200, NOT refused"},
      {Lie::kShortensOnBypass, "W2", "retention shortened with bypass: 200, NOT refused"},
      {Lie::kWeakensOnBypass, "W2", "mode changed to governance with bypass: 200, NOT refused"},
      {Lie::kSaysShorter, "W0", "WEAKER than set"},
      {Lie::kReplaces, "W0", "REPLACED"},
      {Lie::kMarkerDeletes, "W0", "GONE"},
      {Lie::kOtherBytes, "W0", "OTHER bytes"},
      {Lie::kForgetsLocks, "W0", "WEAKER than set"},
      {Lie::kNoCompliance, "W2", "400 InvalidRequest"},
      {Lie::kRefusesAll, "W0", "refusals prove NOTHING"},
      {Lie::kLocksAll, "W3", "the bucket locks it by default"},
  };
  for (const auto& store : kStores) {
    const auto report = LyingStore(store.lie).probe();
    ASSERT_TRUE(report.has_value()) << store.said << ": " << report.error().describe();
    EXPECT_EQ(to_string(report->level), store.level) << report->transcript;
    EXPECT_NE(report->transcript.find(store.said), std::string::npos) << store.said << "\n" << report->transcript;
  }
  // A mode that was asked for is not exchanged for another one.
  EXPECT_EQ(to_string(LyingStore(Lie::kDeletesOnBypass).probe(LockMode::kCompliance)->level), "W0");
  EXPECT_EQ(to_string(LyingStore(Lie::kNone).probe(LockMode::kGovernance)->level), "W2");
}

}  // namespace
}  // namespace stella::objects
