// A raw client socket and a running server for the tests of this module.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "stella/base/file.h"
#include "stella/platform/http_client.h"
#include "stella/platform/http_server.h"

namespace stella::http::testing {

// A TCP connection that sends what it is told and reads with a deadline.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  // False where the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void half_close() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }

  // One whole response: head and as many body bytes as its Content-Length says; what is there where the server closes before.
  std::string read_response(bool head_only = false) {
    std::size_t end = 0;
    while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return std::exchange(pending_, "");
    }
    std::size_t total = end + 4;
    const auto at = pending_.find("content-length: ");
    if (at < end && !head_only) total += std::stoull(pending_.substr(at + 16));
    while (pending_.size() < total && more()) {
    }
    total = std::min(total, pending_.size());
    std::string response = pending_.substr(0, total);
    pending_.erase(0, total);
    return response;
  }
  // Exactly n bytes; fewer where the server closes.
  std::string read_some(std::size_t n) {
    while (pending_.size() < n && more()) {
    }
    std::string bytes = pending_.substr(0, n);
    pending_.erase(0, bytes.size());
    return bytes;
  }
  // Everything until the server closes.
  std::string read_all() {
    while (more()) {
    }
    return std::exchange(pending_, "");
  }
  // True where the server closes without another byte.
  bool closed_by_server() { return pending_.empty() && !more() && pending_.empty() && !timed_out_; }

 private:
  bool more() {
    pollfd entry{fd_.get(), POLLIN, 0};
    if (::poll(&entry, 1, 30'000) != 1) {
      timed_out_ = true;
      return false;
    }
    char buffer[64 << 10];
    const auto n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    pending_.append(buffer, static_cast<std::size_t>(n));
    return true;
  }

  Fd fd_;
  bool connected_ = false;
  bool timed_out_ = false;
  std::string pending_;
};

inline int status_of(std::string_view response) {
  return response.size() > 12 && response.starts_with("HTTP/1.1 ") ? std::stoi(std::string(response.substr(9, 3))) : 0;
}
inline std::string body_of(std::string_view response) {
  const auto end = response.find("\r\n\r\n");
  return end == std::string_view::npos ? "" : std::string(response.substr(end + 4));
}

// What the application would do: problem+json.
inline Response problem(int status, Literal detail, const Request*) {
  auto response = Response::json(status, "{\"status\":" + std::to_string(status) + ",\"detail\":\"" + std::string(detail.view()) + "\"}");
  response.content_type = "application/problem+json";
  return response;
}

inline std::unique_ptr<Server> serve(Handler handler, Limits limits = {}, BodyLimit body_limit = nullptr, ServerOptions options = {}) {
  options.limits = limits;
  auto server = Server::start(options, std::move(handler), std::move(body_limit), problem);
  EXPECT_TRUE(server) << (server ? "" : server.error().describe());
  return server ? std::move(*server) : nullptr;
}

// "method path?query body-size body"
inline Response echo(Request& request) {
  auto text = request.body_text(64 << 20);
  Response response;
  response.content_type = "text/plain";
  response.body = request.method + " " + request.path + (request.query.empty() ? "" : "?" + request.query) + " " +
                  std::to_string(request.body_size) + " " + (text ? *text : text.error().describe());
  return response;
}

inline std::string url(const Server& server, std::string_view path) {
  return "http://127.0.0.1:" + std::to_string(server.port()) + std::string(path);
}

inline std::string gzip(std::string_view bytes) {
  z_stream z{};
  ::deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
  std::string out(::deflateBound(&z, bytes.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  ::deflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  ::deflateEnd(&z);
  return out;
}

// `total` zero bytes, compressed piece by piece.
inline std::string gzip_zeros(std::uint64_t total) {
  z_stream z{};
  ::deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
  const std::string zeros(1 << 20, '\0');
  std::string out;
  std::string piece(1 << 20, '\0');
  while (total > 0) {
    const auto n = std::min<std::uint64_t>(total, zeros.size());
    total -= n;
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(zeros.data()));
    z.avail_in = static_cast<uInt>(n);
    do {
      z.next_out = reinterpret_cast<Bytef*>(piece.data());
      z.avail_out = static_cast<uInt>(piece.size());
      ::deflate(&z, total == 0 ? Z_FINISH : Z_NO_FLUSH);
      out.append(piece, 0, piece.size() - z.avail_out);
    } while (z.avail_out == 0);
  }
  ::deflateEnd(&z);
  return out;
}

// Peak resident memory of this process, in KiB.
inline std::uint64_t peak_rss_kib() {
  const Fd fd(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  const auto text = read_fd(fd.get(), 1 << 16).value_or("");
  const auto at = text.find("VmHWM:");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 6, nullptr, 10);
}

}  // namespace stella::http::testing
