// Targets that answer as a test tells them to, over plain text and TLS: a raw HTTP server and a gRPC server.
#pragma once

#include <arpa/inet.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/time.h"
#include "stella/telemetry/exporter.h"

namespace stella::telemetry {

using std::chrono::milliseconds;

// Where a server has its certificate, its key and the CA that its clients must have a certificate of ("": they need none).
struct ServerTls {
  std::string cert, key, client_ca;
};

// A raw HTTP server: `answer` makes the bytes of each reply ("" closes without one, "hang" never answers).
class HttpTarget {
 public:
  struct Request {
    std::string path, body;
    std::map<std::string, std::string> headers;
  };
  explicit HttpTarget(std::function<std::string(const Request&)> answer, const ServerTls* tls = nullptr) : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    if (tls != nullptr) use(*tls);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpTarget() {
    stop_ = true;
    thread_.join();
  }
  std::string url(std::string_view path = "/v1/logs") const { return (context_ ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port) + std::string(path); }
  std::vector<Request> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int port = 0;
  std::atomic<int> refused{0};  // TLS handshakes

 private:
  struct Client {
    Fd fd;
    std::unique_ptr<SSL, decltype(&::SSL_free)> ssl{nullptr, &::SSL_free};
    std::string in;
  };
  void use(const ServerTls& tls) {
    ::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
    context_.reset(::SSL_CTX_new(::TLS_server_method()));
    EXPECT_EQ(::SSL_CTX_use_certificate_chain_file(context_.get(), tls.cert.c_str()), 1);
    EXPECT_EQ(::SSL_CTX_use_PrivateKey_file(context_.get(), tls.key.c_str(), SSL_FILETYPE_PEM), 1);
    if (tls.client_ca.empty()) return;
    EXPECT_EQ(::SSL_CTX_load_verify_locations(context_.get(), tls.client_ca.c_str(), nullptr), 1);
    ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    ::SSL_CTX_set_session_id_context(context_.get(), reinterpret_cast<const unsigned char*>("test"), 4);
  }
  void serve() {
    std::map<int, Client> clients;
    while (!stop_) {
      std::vector<pollfd> polled{{listener_.get(), POLLIN, 0}};
      for (const auto& [fd, client] : clients) polled.push_back({fd, POLLIN, 0});
      if (::poll(polled.data(), polled.size(), 20) <= 0) continue;
      if (polled[0].revents != 0) accept(clients);
      for (std::size_t i = 1; i < polled.size(); ++i) {
        if (polled[i].revents != 0 && !read(clients.at(polled[i].fd))) clients.erase(polled[i].fd);
      }
    }
  }
  void accept(std::map<int, Client>& clients) {
    Client client{.fd = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)), .in = {}};
    const int fd = client.fd.get();
    if (context_) {
      const timeval patience{10, 0};  // one thread serves all: nobody may hold it for ever
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      client.ssl.reset(::SSL_new(context_.get()));
      ::SSL_set_fd(client.ssl.get(), fd);
      if (::SSL_accept(client.ssl.get()) != 1) {
        ++refused;
        ::ERR_clear_error();
        return;
      }
    }
    clients.emplace(fd, std::move(client));
  }
  // False: close.
  bool read(Client& client) {
    char buffer[65536];
    do {
      const int got = client.ssl ? ::SSL_read(client.ssl.get(), buffer, sizeof buffer) : static_cast<int>(::recv(client.fd.get(), buffer, sizeof buffer, 0));
      ::ERR_clear_error();
      if (got <= 0) return false;
      client.in.append(buffer, static_cast<std::size_t>(got));
    } while (client.ssl && ::SSL_pending(client.ssl.get()) > 0);
    return whole(client);
  }
  // False: close.
  bool whole(Client& client) {
    std::string& in = client.in;
    const std::size_t end = in.find("\r\n\r\n");
    if (end == in.npos) return true;
    Request request;
    request.path = in.substr(5, in.find(' ', 5) - 5);
    for (std::size_t at = in.find("\r\n") + 2; at < end; at = in.find("\r\n", at) + 2) {
      const std::size_t colon = in.find(": ", at), stop = in.find("\r\n", at);
      if (colon < stop) request.headers[in.substr(at, colon - at)] = in.substr(colon + 2, stop - colon - 2);
    }
    const std::size_t size = static_cast<std::size_t>(std::atol(request.headers["content-length"].c_str()) + std::atol(request.headers["Content-Length"].c_str()));
    if (in.size() < end + 4 + size) return true;
    request.body = in.substr(end + 4, size);
    in.erase(0, end + 4 + size);
    std::string reply;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    reply = answer_(request);
    if (reply == "hang") return true;
    if (reply.empty()) return false;
    if (client.ssl) return ::SSL_write(client.ssl.get(), reply.data(), static_cast<int>(reply.size())) == static_cast<int>(reply.size());
    return ::send(client.fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(reply.size());
  }

  const std::function<std::string(const Request&)> answer_;
  Fd listener_;
  std::unique_ptr<SSL_CTX, decltype(&::SSL_CTX_free)> context_{nullptr, &::SSL_CTX_free};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<Request> requests_;
  std::thread thread_;
};

inline std::string reply(int status, std::string_view body = "", std::string_view extra = "", std::string_view type = "application/x-protobuf") {
  return "HTTP/1.1 " + std::to_string(status) + " -\r\ncontent-type: " + std::string(type) + "\r\n" + std::string(extra) + "content-length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

inline ExporterOptions options_for(const std::string& url, std::string spool = "") {
  ExporterOptions options;
  for (TargetOptions& target : options.targets) target.endpoint = url;
  options.spool.dir = std::move(spool);
  options.backoff.first = milliseconds(5);
  options.backoff.most = milliseconds(20);
  return options;
}

inline Batch batch(std::string payload, Signal signal = Signal::kLogs, std::uint32_t errors = 0) { return {signal, std::move(payload), 2, errors}; }
inline Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }

inline void expect_balanced(const ExportStats& stats) {
  for (const Signal signal : kAllSignals) {
    const SignalStats& s = stats.of(signal);
    EXPECT_EQ(s.offered + s.recovered, s.sent + s.rejected + s.queued + s.spooled + s.dropped_total()) << to_string(signal);
  }
}

// A gRPC server that takes bytes.
class GrpcTarget {
 public:
  using Answer = std::function<std::pair<grpc::Status, std::string>(int n)>;  // to the n-th call, from 0: a status, or a body
  explicit GrpcTarget(Answer answer, std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials(), const std::string& address = "127.0.0.1:0")
      : answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, std::move(credentials), &port);
    builder.RegisterAsyncGenericService(&service_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    thread_ = std::thread([this] { serve(); });
  }
  ~GrpcTarget() {
    {
      const std::lock_guard lock(asking_);
      stopped_ = true;
    }
    server_->Shutdown(std::chrono::system_clock::now());
    queue_->Shutdown();
    thread_.join();
  }
  int port = 0;
  std::mutex mutex;
  std::vector<std::pair<std::string, std::string>> calls;  // method, body
  std::string token;

 private:
  void serve() {
    void* tag = nullptr;
    bool ok = false;
    for (int n = 0;; ++n) {
      grpc::GenericServerContext context;
      grpc::GenericServerAsyncReaderWriter stream(&context);
      {
        const std::lock_guard lock(asking_);  // to ask a server that was shut down is an assertion of gRPC's
        if (stopped_) break;
        service_.RequestCall(&context, &stream, queue_.get(), queue_.get(), this);
      }
      if (!queue_->Next(&tag, &ok) || !ok) break;
      grpc::ByteBuffer request;
      stream.Read(&request, this);
      if (!queue_->Next(&tag, &ok)) break;
      std::vector<grpc::Slice> slices;
      std::string body;
      if (ok && request.Dump(&slices).ok())
        for (const auto& slice : slices) body.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      {
        const std::lock_guard lock(mutex);
        calls.emplace_back(context.method(), body);
        const auto found = context.client_metadata().find("authorization");
        if (found != context.client_metadata().end()) token.assign(found->second.data(), found->second.size());
      }
      const auto [status, reply] = answer_(n);
      if (!status.ok()) {
        stream.Finish(status, this);
      } else {
        const grpc::Slice slice(reply);
        stream.WriteAndFinish(grpc::ByteBuffer(&slice, 1), {}, grpc::Status::OK, this);
      }
      if (!queue_->Next(&tag, &ok)) break;
    }
    while (queue_->Next(&tag, &ok)) {
    }
  }
  const Answer answer_;
  std::mutex asking_;
  bool stopped_ = false;
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;
};

}  // namespace stella::telemetry
