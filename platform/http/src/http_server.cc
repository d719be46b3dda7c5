// The server: who may connect, the threads, the drain. What a connection does is session.cc.
#include "stella/platform/http_server.h"

#include <fcntl.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdio>

#include "messages.h"
#include "server_impl.h"
#include "stella/base/thread.h"
#include "stella/telemetry/metrics.h"

namespace stella::http {
namespace {

constexpr std::size_t kRefusedConnections = 64;  // connections over the limit that still get a 503 instead of a bare close
constexpr std::size_t kRefusedOfPeer = 8;        // the same of one peer

// Whom a connection is counted for: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from.
std::string peer_of(const net::ip::address& address) {
  if (!address.is_v6()) return address.to_string();
  const auto bytes = address.to_v6().to_bytes();
  const std::size_t used = address.to_v6().is_v4_mapped() ? bytes.size() : 8;
  return std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(used));
}

}  // namespace

Result<void> Server::Impl::listen() {
  error_code ec;
  const std::string host = options.address == "localhost" ? "127.0.0.1" : options.address;
  const auto address = net::ip::make_address(host, ec);
  if (ec) return Error(base_errors::kInvalid, "the listen address is no IP address").with("field", "address").with("value", options.address);
  const tcp::endpoint endpoint(address, options.port);
  const auto failed = [&] {
    return Error(base_errors::kIo, "cannot listen").with("address", options.address).with("port", options.port).with("errno", ec.message());
  };
  acceptor.open(endpoint.protocol(), ec);
  if (ec) return failed();
  acceptor.set_option(net::socket_base::reuse_address(true), ec);
  ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
  acceptor.bind(endpoint, ec);
  if (ec) return failed();
  acceptor.listen(net::socket_base::max_listen_connections, ec);
  if (ec) return failed();
  port = acceptor.local_endpoint(ec).port();
  net::post(acceptor_strand, [this] { accept(); });
  for (int i = 0; i < std::max(1, options.io_threads); ++i) {
    threads.push_back(start_thread("http-io", [this, guard = net::make_work_guard(ioc)] {
      for (;;) {
        try {
          ioc.run();
          return;
        } catch (...) {  // out of memory in one connection: that connection is gone, the others go on
        }
      }
    }));
  }
  return {};
}

void Server::Impl::accept() {
  acceptor.async_accept(net::make_strand(ioc), [this](const error_code& ec, tcp::socket socket) {
    if (!acceptor.is_open() || ec == net::error::operation_aborted) return;
    if (ec) {  // out of descriptors, mostly: waiting frees some
      accept_pause.expires_after(std::chrono::milliseconds(100));
      return accept_pause.async_wait([this](const error_code& stopped) {
        if (!stopped && acceptor.is_open()) accept();
      });
    }
    try {
      start_session(std::move(socket));
    } catch (...) {
    }
    accept();
  });
}

void Server::Impl::start_session(tcp::socket socket) {
  ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  error_code ec;
  std::string peer = peer_of(socket.remote_endpoint(ec).address());
  if (ec || draining) return;
  std::size_t open = 0, same = 0;
  {
    Lock lock(mutex);
    open = connections.size();
    const auto it = of_peer.find(peer);
    same = it == of_peer.end() ? 0 : it->second;
    // Who has its share gets no more than a few that say so: the others' are not used up by that.
    if (open >= options.limits.connections + kRefusedConnections || same >= peer_limit() + kRefusedOfPeer) return;
  }
  auto session = make_session(std::move(socket), peer, *this);
  {
    Lock lock(mutex);
    connections.emplace(session.get(), session);
    ++of_peer[peer];
  }
  session->start(open >= options.limits.connections ? Literal("too many connections") : same >= peer_limit() ? Literal("too many connections from one address") : Literal(""));
}

std::size_t Server::Impl::peer_limit() const { return options.limits.connections_per_peer == 0 ? options.limits.connections : options.limits.connections_per_peer; }

void Server::Impl::remove(Connection* connection, const std::string& peer) {
  Lock lock(mutex);
  connections.erase(connection);
  if (const auto it = of_peer.find(peer); it != of_peer.end() && --it->second == 0) of_peer.erase(it);
  if (connections.empty()) closed.notify_all();
}

std::vector<std::shared_ptr<Connection>> Server::Impl::connections_now() {
  std::vector<std::shared_ptr<Connection>> alive;
  Lock lock(mutex);
  for (const auto& [connection, weak] : connections) {
    if (auto strong = weak.lock()) alive.push_back(std::move(strong));
  }
  return alive;
}

Response Server::Impl::refuse(int status, Literal detail, const Request* head) {
  ++refused;
  Response response;
  try {
    if (refusal) response = refusal(status, detail, head);
    if (!refusal) response = Response::json(status, std::string(detail.view())), response.content_type = "text/plain";
  } catch (...) {
    response = Response();
    response.status = status;
  }
  if (status == 503 && std::none_of(response.headers.begin(), response.headers.end(), [](const auto& h) { return h.first == "retry-after"; })) {
    response.header("retry-after", "1");
  }
  return response;
}

Response Server::Impl::handle(Request& request) {
  static const auto in_flight = telemetry::Gauge{contracts::metrics::kHttpRequestsInFlight}.bind();
  struct Count {
    Count() { in_flight.add(1); }
    ~Count() { in_flight.add(-1); }
  } const count;
  try {
    return handler(request);
  } catch (...) {  // a bug: handlers return errors as responses
    if (request.claim.take()) return refuse(500, "the handler failed", &request);
    return Response::json(500, "{}");  // answered for already
  }
}

void Server::Impl::drain(Deadline deadline) {
  draining = true;
  net::post(acceptor_strand, [this] {
    error_code ec;
    acceptor.close(ec);
    accept_pause.cancel();
  });
  for (const auto& connection : connections_now()) connection->drain();
  {
    Lock lock(mutex);
    while (!connections.empty() && !deadline.passed()) closed.wait_until(mutex, deadline);
  }
  for (const auto& connection : connections_now()) connection->abort();
}

void Server::Impl::park(std::shared_ptr<Connection> connection) {
  Lock lock(mutex);
  parked.emplace(connection.get(), connection);
}

std::shared_ptr<Connection> Server::Impl::take_parked(Connection* connection) {
  Lock lock(mutex);
  const auto node = parked.extract(connection);
  return node.empty() ? nullptr : std::move(node.mapped());
}

bool Server::Impl::is_express(const Request& request) const {
  if (!express_pool) return false;
  try {
    return options.express(request);
  } catch (...) {
    return false;
  }
}

void Server::Impl::stop() {
  pool.stop();
  if (express_pool) express_pool->stop();
  ioc.stop();
  for (auto& thread : threads) thread.join();
  threads.clear();
  decltype(parked) waited;  // no thread is left that could touch them
  {
    Lock lock(mutex);
    waited.swap(parked);
  }
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Handler handler, BodyLimit body_limit, Refusal refusal) {
  if (!handler) return Error(base_errors::kInvalid, "a server needs a handler").with("field", "handler");
  try {
    auto impl = std::make_unique<Impl>(std::move(options), std::move(handler), std::move(body_limit), std::move(refusal));
    STELLA_TRY_VOID(impl->listen());
    return std::unique_ptr<Server>(new Server(std::move(impl)));
  } catch (...) {
    return Error(base_errors::kIo, "cannot start the server's threads or event loop");
  }
}

std::uint16_t Server::port() const { return impl_->port; }

ServerStats Server::stats() const {
  ServerStats stats;
  stats.requests = impl_->requests;
  stats.refused = impl_->refused;
  stats.queued = impl_->pool.queued();
  Lock lock(impl_->mutex);
  stats.open_connections = impl_->connections.size();
  return stats;
}

void Server::drain(Deadline deadline) { impl_->drain(deadline); }

}  // namespace stella::http
