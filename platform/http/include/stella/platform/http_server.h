// HTTP/1.1 server: asynchronous Beast edge, blocking handlers on a bounded worker pool. The only code that touches Beast.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/base/time.h"

namespace stella::http {

using Headers = std::vector<std::pair<std::string, std::string>>;  // names lower case

// How much longer than Limits::request_timeout a handler may take: it says so itself, as soon as it knows. Thread-safe.
class Patience {
 public:
  Patience() = default;
  Patience(const Patience& other) : more_(other.more_.load()) {}
  Patience& operator=(const Patience& other) {
    more_ = other.more_.load();
    return *this;
  }
  void ask(std::chrono::milliseconds more) { more_ = more.count(); }
  std::chrono::milliseconds take() { return std::chrono::milliseconds(more_.exchange(0)); }

 private:
  std::atomic<std::int64_t> more_{0};
};

// Whose answer it is: the handler's, or the server's where the handler takes too long. Thread-safe.
class Claim {
 public:
  Claim() = default;
  Claim(const Claim& other) : taken_(other.taken_.load()) {}
  Claim& operator=(const Claim& other) {
    taken_ = other.taken_.load();
    return *this;
  }
  // True for the first one.
  bool take() { return !taken_.exchange(true); }

 private:
  std::atomic<bool> taken_{false};
};

// How a handler lets go of its worker before it has an answer.
class Parking {
 public:
  virtual ~Parking() = default;
  // The request is put aside, and its handler returns Response::put_aside() without touching it again. What this returns is called once, from any
  // thread, when the request may go on: then the handler is called anew. A call too late does nothing. 503 where it never comes.
  virtual std::function<void()> park() = 0;
};

// A handler leaves method, target, path and headers as they are: the server reads them where it answers in its place.
struct Request {
  std::string method;   // "GET"
  std::string target;   // raw, path and query
  std::string path;     // percent-decoded path without query; refused where it holds NUL or '..' segments
  std::string query;    // raw query string, without '?'
  Headers headers;
  std::string body;     // small bodies (≤ Limits::memory_body_bytes), content decoding already undone
  Fd body_file;         // larger ones: an unlinked temporary file, positioned at 0; `body` is empty then
  std::uint64_t body_size = 0;
  std::string remote;   // peer address; PII: never log it
  Deadline deadline = Deadline::after(std::chrono::seconds(30));
  Patience patience;    // for handlers that read gigabytes
  std::chrono::steady_clock::time_point arrived{};  // of the head
  Parking* parking = nullptr;   // of the server that calls the handler
  std::shared_ptr<void> held;   // the handler's own, between its calls: let go of where there will be none
  Claim claim;          // a handler that keeps account takes it when it has its answer: false, and the caller had a 504

  std::string_view header(std::string_view lower_name) const;
  // First value of a query parameter, decoded; "" where absent.
  std::string query_param(std::string_view name) const;
  std::vector<std::string> query_params(std::string_view name) const;
  // Whole body as text whichever form it has; kLimit over max_bytes.
  Result<std::string> body_text(std::uint64_t max_bytes);
};

// The body of a response that grows over time (server-sent events). Thread-safe; keeps nothing alive but itself. Writers stop before the
// server is destroyed: drain() makes every write() return false.
class Stream {
 public:
  virtual ~Stream() = default;
  // Queues bytes for the client. False, and nothing is sent, once the client is gone, the server drains, or more than 1 MiB waits for a
  // client that does not read (the connection is closed then): the writer lets go of the stream.
  virtual bool write(std::string bytes) = 0;
  // Bytes that were written and that the client has not taken yet: who has much to send waits until this is small.
  virtual std::size_t waiting() const = 0;
  // Ends the body properly. Dropping the last reference does the same.
  virtual void close() = 0;
};

// "2xx": the class of a status, for a label of a metric.
std::string_view status_class(int status);

struct Response {
  int status = 200;
  Headers headers;          // content-length, date, connection are set by the server
  std::string content_type = "application/json";
  std::string body;
  Fd body_file;             // streamed where set, `body_file_size` bytes
  std::uint64_t body_file_size = 0;
  // Where set, there is no other body: called once, after the head is queued, on an I/O thread; hands the stream to whoever writes. Must not block.
  // The connection ends with the stream.
  std::function<void(std::shared_ptr<Stream>)> on_stream;

  bool parked = false;

  static Response json(int status, std::string body);
  // No answer yet: see Parking.
  static Response put_aside() {
    Response out;
    out.parked = true;
    return out;
  }
  Response& header(std::string name, std::string value);
};

struct Limits {
  std::size_t header_bytes = 16 << 10;                       // 431
  std::uint64_t body_bytes = 1 << 20;                        // default per request, after content decoding; 413
  std::size_t memory_body_bytes = 1 << 20;                   // beyond it the body goes to a temporary file
  std::chrono::milliseconds header_timeout{10000};                 // slow clients
  std::chrono::milliseconds body_idle_timeout{30000};
  std::uint64_t body_min_bytes_per_second = 4096;            // average over a body that takes longer than body_idle_timeout; below it: 408. Of an answer: closed
  std::chrono::milliseconds body_timeout{6 * 3600 * 1000};   // for a whole body, however steadily it comes: 408
  std::uint64_t memory_bytes = 256 << 20;                    // of all bodies in memory that are over 64 KiB; beyond it they go to files
  std::uint64_t temp_bytes = 128ull << 30;                   // of all bodies in files; beyond it: 503
  std::uint64_t temp_free_bytes = 0;                         // what bodies leave free on the file system of temp_dir: 503
  std::chrono::milliseconds keep_alive{60000};
  std::chrono::milliseconds request_timeout{30000};                // Request::deadline, from when the request is complete; 504 a second later, unless the handler asked for patience
  std::uint64_t answer_bytes = 256 << 20;                    // of all answers in memory that are over 64 KiB and not taken yet; beyond it: 503
  std::size_t connections = 1024;                            // beyond it: 503 with Retry-After and close
  std::size_t connections_per_peer = 0;                      // of them by one IPv4 address or IPv6 /64; 0: all of them
  std::size_t queue = 512;                                   // requests waiting for a worker; beyond it: 503 with Retry-After
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;         // 0: any free one, see Server::port()
  int io_threads = 1;
  int workers = 8;
  std::string temp_dir = "/tmp";  // for large bodies
  // Asked for each request: which ones have a thread of their own, so that they are answered while all workers are taken. Runs on an I/O thread:
  // it must not block. Null: none.
  std::function<bool(const Request&)> express;
  Limits limits;
};

// The application's side. Called on a worker thread, must return a response (errors are responses, too); never throws.
using Handler = std::function<Response(Request&)>;
// Asked after the headers of a request that announces a body, before it is read: how many bytes it may carry (after decoding); 0 refuses
// any (413). Runs on an I/O thread: it must not block. Null: Limits::body_bytes for every request.
using BodyLimit = std::function<std::uint64_t(const Request& head)>;
// Makes problem+json for what the server itself refuses (400, 408, 413, 415, 417, 431, 500, 503, 504): so that every error has one shape. `head` is
// null where the headers could not be read. Runs on an I/O thread: it must not block. The server adds Retry-After to 503 where it is missing.
using Refusal = std::function<Response(int status, Literal detail, const Request* head)>;

struct ServerStats {
  std::uint64_t requests = 0;
  std::uint64_t open_connections = 0;
  std::uint64_t queued = 0;
  std::uint64_t refused = 0;
};

class Server {
 public:
  // Listens when it returns. kInvalid for a bad address, kIo (address, port, errno text) where it cannot listen.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Handler handler, BodyLimit body_limit, Refusal refusal);
  ~Server();  // closes what is open, waits for handlers that run
  std::uint16_t port() const;
  ServerStats stats() const;
  // Graceful drain: stop accepting, close idle connections, answer what is in flight with `Connection: close`, then return; what is left
  // at the deadline is closed. A drained server stays drained.
  void drain(Deadline deadline);

  struct Impl;

 private:
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stella::http
