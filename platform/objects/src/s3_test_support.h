// A real S3 server (versitygw, built by tools/build-versitygw) and a proxy that breaks things on the way to it, for the tests of this module.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <optional>
#include <thread>

#include "s3_client.h"
#include "stella/testing/shared_data.h"
#include "stella/testing/temp_dir.h"

namespace stella::objects::testing {

using stella::testing::TempDir;

// The server program; "" and why where it cannot be built. Built once, which takes minutes.
inline std::string versitygw(std::string& why) {
  FILE* pipe = ::popen((stella::testing::source_path("tools/build-versitygw") + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return why = "popen", "";
  std::string text;
  char buffer[4096];
  while (const auto n = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, n);
  const int status = ::pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (status != 0) return why = text.substr(text.size() > 300 ? text.size() - 300 : 0), "";
  return text.substr(text.rfind('\n') + 1);
}

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline Fd connect_to(std::uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = loopback(port);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

inline std::pair<Fd, std::uint16_t> listener() {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto address = loopback(0);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd.get(), 64), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return {std::move(fd), ntohs(address.sin_port)};
}

class S3Server {
 public:
  struct Options {
    std::string data;                       // directory of the objects; "" is one of its own
    std::vector<std::string> arguments;     // before `posix`
    std::string scheme = "http";
  };
  S3Server(std::string program, const Options& options) : program_(std::move(program)), options_(options) {
    data_ = options_.data.empty() ? dir_ / "data" : options_.data;
    EXPECT_TRUE(make_dirs(data_ + "/buckets") && make_dirs(data_ + "/versions"));
    EXPECT_TRUE(write_file_durable(credentials(), "[other]\naws_access_key_id = nobody\n[default]\naws_access_key_id = stella\naws_secret_access_key = stella-secret\n", 0600));
    for (int i = 0; i < 5 && pid_ < 0; ++i) start();  // the port may be taken between choosing and binding it
    EXPECT_GE(pid_, 0) << "versitygw does not start: " << read_file(dir_ / "log", 1 << 20).value_or("");
  }
  ~S3Server() { kill(); }
  S3Server(const S3Server&) = delete;
  S3Server& operator=(const S3Server&) = delete;

  std::uint16_t port() const { return port_; }
  std::string credentials() const { return dir_ / "credentials"; }
  const std::string& data() const { return data_; }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // On the port that it had.
  void restart() {
    start();
    ASSERT_GE(pid_, 0) << read_file(dir_ / "log", 1 << 20).value_or("");
  }

  S3Options options(const std::string& bucket) const {
    S3Options out;
    out.endpoint = options_.scheme + "://127.0.0.1:" + std::to_string(port_);
    out.bucket = bucket;
    out.credentials_file = credentials();
    out.spool_dir = dir_.path();
    out.backoff = std::chrono::milliseconds(1);
    out.part_bytes = 5u << 20;
    return out;
  }
  std::unique_ptr<S3Client> client(const std::string& bucket) const { return std::move(S3Client::create(options(bucket)).value()); }
  void make_bucket(const std::string& name, bool object_lock) const {
    S3Call call;
    call.method = "PUT";
    if (object_lock) call.headers.emplace_back("x-amz-bucket-object-lock-enabled", "true");
    const auto reply = client(name)->call(call);
    ASSERT_TRUE(reply && reply->ok()) << (reply ? reply->body : reply.error().describe());
  }

 private:
  void start() {
    if (port_ == 0 || pid_ < 0) {
      auto [fd, port] = listener();
      if (port_ == 0) port_ = port;
    }
    std::vector<std::string> words{program_, "--port", "127.0.0.1:" + std::to_string(port_), "--keep-alive", "--quiet", "--health", "/health"};
    words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
    for (const auto& word : {std::string("posix"), std::string("--versioning-dir"), data_ + "/versions", data_ + "/buckets"}) words.push_back(word);
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const std::string log = dir_ / "log";
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::setenv("ROOT_ACCESS_KEY", "stella", 1);
      ::setenv("ROOT_SECRET_KEY", "stella-secret", 1);
      if (std::freopen(log.c_str(), "a", stdout) == nullptr || ::dup2(1, 2) < 0) ::_exit(1);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    const auto deadline = Deadline::after(std::chrono::seconds(30));
    while (!connect_to(port_)) {
      if (::waitpid(pid, nullptr, WNOHANG) != 0) {
        port_ = 0;
        return;
      }
      ASSERT_FALSE(deadline.passed()) << "versitygw does not listen";
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = pid;
  }

  const TempDir dir_;
  const std::string program_;
  const Options options_;
  std::string data_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

// What happens to one request on its way.
enum class Fault : std::uint8_t {
  kNone,
  kSlowDown,      // 503 SlowDown instead of an answer
  kResetInBody,   // half of the body arrives at the server, then both connections are reset
  kDropAnswer,    // the server has done it; the answer is lost
  kStall,         // never an answer
  kDiskFull,      // 507
  kNotImplemented,  // 501
  kTamper,        // the last byte of the answer is another one
};

// A proxy in front of a server. `decide` is asked for each request with its first line and may count.
class FaultProxy {
 public:
  using Decide = std::function<Fault(std::string_view request_line, std::string_view head)>;
  FaultProxy(std::uint16_t upstream, Decide decide) : upstream_(upstream), decide_(std::move(decide)) {
    auto [fd, port] = listener();
    listener_ = std::move(fd);
    port_ = port;
    thread_ = std::thread([this] { accept(); });
  }
  ~FaultProxy() {
    stopping_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    for (auto& thread : connections_) thread.join();
  }
  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int requests() const { return requests_; }

 private:
  void accept() {
    for (;;) {
      Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      connections_.emplace_back([this, fd = std::move(client)] { serve(fd.get()); });
    }
  }
  // More bytes; false at the end or where the test is over.
  bool more(int fd, std::string& buffer) {
    while (!stopping_) {
      pollfd entry{fd, POLLIN, 0};
      if (::poll(&entry, 1, 20) == 0) continue;
      char bytes[64 << 10];
      const auto n = ::recv(fd, bytes, sizeof bytes, 0);
      if (n <= 0) return false;
      buffer.append(bytes, static_cast<std::size_t>(n));
      return true;
    }
    return false;
  }
  static void send(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  static void reset(int fd) {
    const linger hard{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }
  static std::string answer(std::string_view status, std::string_view code) {
    const std::string body = "<Error><Code>" + std::string(code) + "</Code><Message>key stella-secret is no good</Message></Error>";
    return "HTTP/1.1 " + std::string(status) + "\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static std::size_t body_size(std::string_view head) {
    const auto at = head.find("\r\nContent-Length: ");
    return at == std::string_view::npos ? 0 : std::strtoull(std::string(head.substr(at + 18, 20)).c_str(), nullptr, 10);
  }

  // One request a connection: the server is told to close after its answer, which SigV4 does not mind.
  void serve(int client) {
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos) {
      if (!more(client, request)) return;
    }
    const std::size_t head = request.find("\r\n\r\n") + 2;
    const std::size_t size = body_size(std::string_view(request).substr(0, head));
    ++requests_;
    const Fault fault = decide_(std::string_view(request).substr(0, request.find("\r\n")), std::string_view(request).substr(0, head));
    const std::size_t wanted = head + 2 + (fault == Fault::kResetInBody ? size / 2 : size);
    while (request.size() < wanted) {
      if (!more(client, request)) return;
    }
    if (fault == Fault::kSlowDown) return send(client, answer("503 Slow Down", "SlowDown"));
    if (fault == Fault::kDiskFull) return send(client, answer("507 Insufficient Storage", "InsufficientStorage"));
    if (fault == Fault::kNotImplemented) return send(client, answer("501 Not Implemented", "NotImplemented"));
    if (fault == Fault::kStall) {
      while (more(client, request)) {
      }
      return;
    }
    const Fd server = connect_to(upstream_);
    request.resize(fault == Fault::kResetInBody ? wanted : request.size());
    request.insert(head, "Connection: close\r\n");
    send(server.get(), request);
    if (fault == Fault::kResetInBody) {
      reset(server.get());
      return reset(client);
    }
    std::string reply;
    while (more(server.get(), reply)) {
    }
    if (fault == Fault::kDropAnswer) return reset(client);
    if (fault == Fault::kTamper && !reply.empty()) reply.back() = static_cast<char>(reply.back() ^ 1);
    send(client, reply);
  }

  const std::uint16_t upstream_;
  const Decide decide_;
  Fd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::thread thread_;
  std::vector<std::thread> connections_;  // touched by thread_ alone until it has ended
};

}  // namespace stella::objects::testing
