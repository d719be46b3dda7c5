// What the acceptor and its connections share. Beast and Asio stay in the files that include this one.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "body_budget.h"
#include "stella/base/sync.h"
#include "stella/platform/http_server.h"
#include "worker_pool.h"

namespace stella::http {

namespace net = boost::asio;
using boost::system::error_code;
using tcp = net::ip::tcp;
using Clock = std::chrono::steady_clock;

// One client's, as the acceptor sees it. Every call may come from any thread.
class Connection {
 public:
  virtual ~Connection() = default;
  // Over a limit: it is told `refused` (where not empty) and closed.
  virtual void start(Literal refused) = 0;
  // Closes the connection where nothing of a request has arrived.
  virtual void drain() = 0;
  virtual void abort() = 0;
};

struct Server::Impl {
  Impl(ServerOptions o, Handler h, BodyLimit b, Refusal r)
      : options(std::move(o)), handler(std::move(h)), body_limit(std::move(b)), refusal(std::move(r)),
        memory(options.limits.memory_bytes), disk(options.limits.temp_bytes), answers(options.limits.answer_bytes),
        pool(options.workers, options.limits.queue), acceptor_strand(net::make_strand(ioc)), acceptor(acceptor_strand),
        accept_pause(acceptor_strand) {
    if (options.express) express_pool = std::make_unique<WorkerPool>(1, options.limits.queue);
  }
  ~Impl() { stop(); }

  Result<void> listen();
  void accept();
  void start_session(tcp::socket socket);
  void drain(Deadline deadline);
  void stop();
  void remove(Connection* connection, const std::string& peer);
  std::size_t peer_limit() const;
  std::vector<std::shared_ptr<Connection>> connections_now();
  void park(std::shared_ptr<Connection> connection);
  // Null where it is not parked (any more).
  std::shared_ptr<Connection> take_parked(Connection* connection);
  bool is_express(const Request& request) const;
  Response refuse(int status, Literal detail, const Request* head);
  Response handle(Request& request);

  const ServerOptions options;
  const Handler handler;
  const BodyLimit body_limit;
  const Refusal refusal;
  std::uint16_t port = 0;

  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<bool> draining{false};
  Budget memory, disk, answers;
  Mutex mutex;
  CondVar closed;
  std::unordered_map<Connection*, std::weak_ptr<Connection>> connections STELLA_GUARDED_BY(mutex);
  std::unordered_map<std::string, std::size_t> of_peer STELLA_GUARDED_BY(mutex);  // connections that are open

  std::unordered_map<Connection*, std::shared_ptr<Connection>> parked STELLA_GUARDED_BY(mutex);  // kept here alone: their requests wait for their turn

  // The order matters: ioc goes before what connections touch when they are destroyed, and pending jobs (which hold connections) before ioc.
  net::io_context ioc;
  WorkerPool pool;
  std::unique_ptr<WorkerPool> express_pool;
  net::strand<net::io_context::executor_type> acceptor_strand;
  tcp::acceptor acceptor;
  net::steady_timer accept_pause;
  std::vector<std::thread> threads;
};

// `peer`: whom the connection is counted for.
std::shared_ptr<Connection> make_session(tcp::socket socket, std::string peer, Server::Impl& server);

}  // namespace stella::http
