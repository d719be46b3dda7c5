// The Beast edge: connections, deadlines, limits. The only file that includes Beast and Asio.
#include "stella/platform/http_server.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <optional>
#include <thread>
#include <unordered_map>

#include "body_sink.h"
#include "messages.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/telemetry/metrics.h"
#include "worker_pool.h"

namespace stella::http {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;
using tcp = net::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr auto kHandlerGrace = std::chrono::seconds(1);  // handlers watch Request::deadline themselves; who does not is answered for
constexpr std::size_t kReadBytes = 64 << 10;
constexpr std::size_t kRefusedConnections = 64;  // connections over the limit that still get a 503 instead of a bare close

bool is_http_error(const error_code& ec) { return ec.category() == bhttp::make_error_code(bhttp::error::bad_method).category(); }

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? x + 32 : x) == (y >= 'A' && y <= 'Z' ? y + 32 : y);
         });
}

enum class Coding { kIdentity, kCompressed, kUnknown };
Coding content_coding(std::string_view value) {
  if (value.empty() || equals_ignoring_case(value, "identity")) return Coding::kIdentity;
  for (const std::string_view known : {"gzip", "x-gzip", "deflate"}) {
    if (equals_ignoring_case(value, known)) return Coding::kCompressed;
  }
  return Coding::kUnknown;
}

class Session;

constexpr std::size_t kStreamBacklog = 1 << 20;

// The writer's end of a streamed body. Only flags are shared with the connection; bytes travel by posts to its strand.
class SessionStream : public Stream {
 public:
  explicit SessionStream(std::shared_ptr<Session> session);
  ~SessionStream() override { close(); }
  bool write(std::string bytes) override;
  std::size_t waiting() const override { return shared->waiting; }
  void close() override;

  struct Shared {
    std::atomic<bool> open{true};
    std::atomic<std::size_t> waiting{0};  // bytes handed over and not yet sent
  };
  const std::shared_ptr<Shared> shared = std::make_shared<Shared>();

 private:
  const std::weak_ptr<Session> session_;
  std::atomic<bool> ended_{false};
};

}  // namespace

struct Server::Impl {
  Impl(ServerOptions o, Handler h, BodyLimit b, Refusal r)
      : options(std::move(o)), handler(std::move(h)), body_limit(std::move(b)), refusal(std::move(r)),
        pool(options.workers, options.limits.queue), acceptor_strand(net::make_strand(ioc)), acceptor(acceptor_strand),
        accept_pause(acceptor_strand) {}
  ~Impl() { stop(); }

  Result<void> listen();
  void accept();
  void start_session(tcp::socket socket);
  void drain(Deadline deadline);
  void stop();
  void add(Session* session, std::weak_ptr<Session> weak);
  void remove(Session* session);
  std::vector<std::shared_ptr<Session>> sessions_now();
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
  Mutex mutex;
  CondVar closed;
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions STELLA_GUARDED_BY(mutex);

  // The order matters: ioc goes before what sessions touch when they are destroyed, and pending jobs (which hold sessions) before ioc.
  net::io_context ioc;
  WorkerPool pool;
  net::strand<net::io_context::executor_type> acceptor_strand;
  tcp::acceptor acceptor;
  net::steady_timer accept_pause;
  std::vector<std::thread> threads;
};

namespace {

// One connection. Everything runs on its strand but the handler, which owns request_ while it runs.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Server::Impl& server)
      : server_(server), limits_(server.options.limits), socket_(std::move(socket)), timer_(socket_.get_executor()),
        buffer_(limits_.header_bytes + 2 * kReadBytes) {
    error_code ec;
    const auto peer = socket_.remote_endpoint(ec);
    if (!ec) remote_ = peer.address().to_string(ec);
    socket_.set_option(tcp::no_delay(true), ec);
    socket_.non_blocking(true, ec);
  }
  ~Session() { server_.remove(this); }

  void start(bool over_limit) {
    net::post(socket_.get_executor(), [self = shared_from_this(), over_limit] {
      if (over_limit) return self->refuse(503, "too many connections", nullptr);
      self->next_request();
    });
  }

  // Closes the connection where nothing of a request has arrived.
  void drain() {
    net::post(socket_.get_executor(), [self = shared_from_this()] {
      error_code ec;
      if (self->idle_ && self->socket_.available(ec) == 0) self->close();
      if (self->stream_) self->stream_end();
    });
  }

  // Called by the stream from any thread.
  void stream_write(std::string bytes, bool end) {
    net::post(socket_.get_executor(), [self = shared_from_this(), bytes = std::move(bytes), end] {
      if (!self->stream_ || self->stream_ended_) return;
      if (!bytes.empty()) self->stream_chunk(bytes);
      if (end) self->stream_end();
    });
  }

  void abort() {
    net::post(socket_.get_executor(), [self = shared_from_this()] { self->close(); });
  }

 private:
  // --- deadlines -------------------------------------------------------------------------------------------------------------
  // One timer whose expiry moves forward only when it fires: moving a deadline costs a store.
  void arm(Clock::duration wait) {
    timed_out_ = false;
    deadline_ = Clock::now() + wait;
    if (!timer_runs_ || deadline_ < timer_at_) run_timer();
  }
  void disarm() { deadline_ = Clock::time_point::max(); }

  void run_timer() {
    timer_runs_ = true;
    timer_at_ = deadline_;
    timer_.expires_at(timer_at_);
    timer_.async_wait([weak = weak_from_this()](const error_code& ec) {
      const auto self = weak.lock();
      if (self && !ec) self->on_timer();
    });
  }

  void on_timer() {
    timer_runs_ = false;
    if (deadline_ == Clock::time_point::max()) return;
    if (Clock::now() < deadline_) return run_timer();
    if (const auto more = handling_ ? request_.patience.take() : std::chrono::milliseconds(0); more.count() > 0) return arm(more);
    timed_out_ = true;
    if (handling_) return abandon_handler();
    error_code ec;
    socket_.cancel(ec);
  }

  // --- reading the head ------------------------------------------------------------------------------------------------------
  void next_request() {
    request_ = Request();
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(limits_.header_bytes));
    parser_->body_limit(boost::none);
    head_only_ = false;
    body_pending_ = false;
    if (buffer_.size() > 0) return read_header();
    error_code ec;
    if (server_.draining && socket_.available(ec) == 0) return close();
    idle_ = true;
    arm(served_ ? Clock::duration(limits_.keep_alive) : Clock::duration(limits_.header_timeout));
    socket_.async_read_some(buffer_.prepare(4096), beast::bind_front_handler(&Session::on_first_bytes, shared_from_this()));
  }

  void on_first_bytes(const error_code& ec, std::size_t n) {
    idle_ = false;
    if (ec) return close();
    buffer_.commit(n);
    read_header();
  }

  void read_header() {
    arm(limits_.header_timeout);
    bhttp::async_read_header(socket_, buffer_, *parser_, beast::bind_front_handler(&Session::on_header, shared_from_this()));
  }

  void on_header(const error_code& ec, std::size_t bytes) {
    if (ec) {
      body_pending_ = true;
      if (timed_out_) return refuse(408, "the request headers took too long", nullptr);
      if (ec == bhttp::error::end_of_stream) return close();
      if (ec == bhttp::error::header_limit || ec == bhttp::error::buffer_overflow) {
        return refuse(431, "the request headers are too large", nullptr);
      }
      if (is_http_error(ec)) return refuse(400, "the request is not valid HTTP/1.1", nullptr);
      return close();
    }
    ++server_.requests;
    served_ = true;
    // Beast checks its limit only when it has to wait for more.
    if (bytes > limits_.header_bytes) return refuse(431, "the request headers are too large", nullptr);
    parser_->eager(true);
    take_head();
    body_pending_ = !parser_->is_done();
    check_head();
  }

  void take_head() {
    const auto& message = parser_->get();
    request_.method = std::string(message.method_string());
    request_.target = std::string(message.target());
    request_.remote = remote_;
    request_.arrived = Clock::now();
    head_only_ = request_.method == "HEAD";
    keep_alive_ = message.keep_alive();
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
      request_.headers.emplace_back(std::move(name), std::string(field.value()));
    }
  }

  std::size_t count(std::string_view name) const {
    return static_cast<std::size_t>(std::count_if(request_.headers.begin(), request_.headers.end(), [&](const auto& h) { return h.first == name; }));
  }

  void check_head() {
    if (const auto target = parse_target(request_); !target) {
      return refuse(400, "the request target is not acceptable: a percent-encoded UTF-8 path without dot segments", &request_);
    }
    const auto hosts = count("host");
    if (hosts > 1 || (hosts == 0 && parser_->get().version() >= 11)) return refuse(400, "exactly one Host header is needed", &request_);
    const auto transfer = request_.header("transfer-encoding");
    if (count("transfer-encoding") > 1 || count("content-length") > 1 || (!transfer.empty() && !equals_ignoring_case(transfer, "chunked")) ||
        (!transfer.empty() && count("content-length") > 0)) {
      return refuse(400, "the length of the body is ambiguous", &request_);
    }
    const auto expect = request_.header("expect");
    if (!expect.empty() && !equals_ignoring_case(expect, "100-continue")) return refuse(417, "the expectation is not supported", &request_);
    if (!body_pending_) return dispatch();
    start_body(!expect.empty());
  }

  // --- reading the body ------------------------------------------------------------------------------------------------------
  void start_body(bool wants_continue) {
    const auto coding = content_coding(request_.header("content-encoding"));
    if (coding == Coding::kUnknown || count("content-encoding") > 1) {
      return refuse(415, "the content-encoding is not supported: send identity, gzip or deflate", &request_);
    }
    BodySinkOptions sink;
    sink.compressed = coding == Coding::kCompressed;
    sink.memory_bytes = limits_.memory_body_bytes;
    sink.temp_dir = server_.options.temp_dir;
    sink.max_bytes = body_limit();
    const auto length = parser_->content_length();
    if (sink.max_bytes == 0 || (coding == Coding::kIdentity && length && *length > sink.max_bytes)) {
      return refuse(413, "the body is too large", &request_);
    }
    sink_.emplace(std::move(sink));
    if (chunk_.empty()) chunk_.resize(kReadBytes);
    body_started_ = Clock::now();
    body_wire_bytes_ = 0;
    if (!wants_continue || buffer_.size() > 0 || parser_->get().version() < 11) return read_body();
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    arm(limits_.body_idle_timeout);
    net::async_write(socket_, net::buffer(kContinue), [self = shared_from_this()](const error_code& ec, std::size_t) {
      if (ec) return self->close();
      self->read_body();
    });
  }

  std::uint64_t body_limit() {
    if (!server_.body_limit) return limits_.body_bytes;
    try {
      return server_.body_limit(request_);
    } catch (...) {
      return 0;
    }
  }

  void read_body() {
    auto& body = parser_->get().body();
    body.data = chunk_.data();
    body.size = chunk_.size();
    body.more = true;
    arm(limits_.body_idle_timeout);
    bhttp::async_read_some(socket_, buffer_, *parser_, beast::bind_front_handler(&Session::on_body, shared_from_this()));
  }

  void on_body(error_code ec, std::size_t) {
    if (ec == bhttp::error::need_buffer) ec = {};
    if (ec) {
      if (timed_out_) return refuse(408, "the request body took too long", &request_);
      if (is_http_error(ec)) return refuse(400, "the request body is truncated or not valid HTTP/1.1", &request_);
      return close();
    }
    const std::size_t got = chunk_.size() - parser_->get().body().size;
    body_wire_bytes_ += got;
    if (too_slow()) return refuse(408, "the request body took too long", &request_);
    if (auto fed = sink_->feed({chunk_.data(), got}); !fed) return refuse_body(fed.error());
    decode();
  }

  bool too_slow() const {
    const auto took = Clock::now() - body_started_;
    if (took <= limits_.body_idle_timeout) return false;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(took).count();
    return body_wire_bytes_ < limits_.body_min_bytes_per_second * static_cast<std::uint64_t>(seconds);
  }

  // A small compressed piece may become a thousand times as much: other connections get their turn between the steps.
  void decode() {
    auto more = sink_->step();
    if (!more) return refuse_body(more.error());
    if (*more) return net::post(socket_.get_executor(), [self = shared_from_this()] { self->decode(); });
    if (!parser_->is_done()) return read_body();
    body_pending_ = false;
    if (auto finished = sink_->finish(); !finished) return refuse_body(finished.error());
    request_.body_size = sink_->size();
    request_.body = sink_->take_text();
    request_.body_file = sink_->take_file();
    sink_.reset();
    dispatch();
  }

  void refuse_body(const Error& error) {
    sink_.reset();
    if (error.code() == base_errors::kLimit) return refuse(413, "the body is too large", &request_);
    if (error.code() == base_errors::kMalformed) return refuse(400, "the body does not match its content-encoding", &request_);
    refuse(503, "the body cannot be stored now", &request_);
  }

  // --- the handler -----------------------------------------------------------------------------------------------------------
  void dispatch() {
    handling_ = true;
    arm(limits_.request_timeout + kHandlerGrace);
    request_.deadline = Deadline::after(limits_.request_timeout);
    const bool taken = server_.pool.try_push([self = shared_from_this()] {
      // What waited in the queue until its deadline has nobody who still waits for it.
      const bool late = self->request_.deadline.passed();
      if (late && !self->request_.claim.take()) return;
      auto response = late ? self->server_.refuse(503, "the server is overloaded", &self->request_) : self->server_.handle(self->request_);
      net::post(self->socket_.get_executor(), [self, response = std::move(response)]() mutable {
        if (!std::exchange(self->handling_, false)) return;  // answered for already
        self->respond(std::move(response));
      });
    });
    if (taken) return;
    handling_ = false;
    refuse(503, "the server is overloaded", &request_);
  }

  // The handler still owns request_, of which only what it leaves alone is read; what it returns is dropped, and the connection ends. Where it
  // has its answer already, that one is on its way.
  void abandon_handler() {
    if (!request_.claim.take()) return arm(kHandlerGrace);
    handling_ = false;
    body_pending_ = true;
    refuse(504, "the handler took too long", &request_);
  }

  void refuse(int status, Literal detail, const Request* head) {
    auto response = server_.refuse(status, detail, head);
    if (status == 415) response.header("accept-encoding", "gzip, deflate, identity");
    if (head == nullptr) body_pending_ = true;
    respond(std::move(response));
  }

  // --- writing ---------------------------------------------------------------------------------------------------------------
  void respond(Response response) {
    response_ = std::move(response);
    if (response_.status < 200 || response_.status > 599) response_ = server_.refuse(500, "the handler returned no valid status", &request_);
    if (body_pending_ || server_.draining || response_.on_stream) keep_alive_ = false;
    const std::uint64_t bytes = response_.body_file ? response_.body_file_size : response_.body.size();
    head_ = response_head(response_, bytes, keep_alive_, http_date());
    if (head_only_ || response_.status == 204 || response_.status == 304) {
      response_.body.clear();
      response_.body_file.reset();
      response_.on_stream = nullptr;
    }
    if (response_.body_file || response_.on_stream) response_.body.clear();
    written_ = 0;
    write_some();
  }

  void write_some() {
    const std::size_t total = head_.size() + response_.body.size();
    if (written_ == total) {
      if (response_.on_stream) return start_stream();
      return response_.body_file ? send_file() : finish();
    }
    std::array<net::const_buffer, 2> left;
    if (written_ < head_.size()) {
      left = {net::buffer(head_) + written_, net::buffer(response_.body)};
    } else {
      left = {net::buffer(response_.body) + (written_ - head_.size()), net::const_buffer()};
    }
    arm(limits_.body_idle_timeout);
    socket_.async_write_some(left, [self = shared_from_this()](const error_code& ec, std::size_t n) {
      if (ec) return self->close();
      self->written_ += n;
      self->write_some();
    });
  }

  void send_file() {
    // At most this much per turn: a client on the same machine would otherwise keep the thread until the file is through.
    static constexpr std::size_t kTurnBytes = 1 << 20;
    if (response_.body_file_size == 0) return finish();
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(kTurnBytes, response_.body_file_size));
    const auto n = ::sendfile(socket_.native_handle(), response_.body_file.get(), nullptr, want);
    if (n > 0) response_.body_file_size -= static_cast<std::uint64_t>(n);
    // Short files and read errors: the length is promised already, only closing tells the client that it did not get all.
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return close();
    if (response_.body_file_size == 0) return finish();
    arm(limits_.body_idle_timeout);
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& ec) {
      if (ec) return self->close();
      self->send_file();
    });
  }

  // --- streamed bodies -------------------------------------------------------------------------------------------------------
  void start_stream() {
    const auto stream = std::make_shared<SessionStream>(shared_from_this());
    stream_ = stream->shared;
    disarm();
    watch_client();
    try {
      response_.on_stream(stream);
    } catch (...) {  // the stream goes out of scope and ends the body
    }
    response_.on_stream = nullptr;
    if (server_.draining) stream_end();
  }

  // A client that waits for events says nothing: whatever can be read is its end.
  void watch_client() {
    if (chunk_.empty()) chunk_.resize(4096);
    socket_.async_read_some(net::buffer(chunk_), [self = shared_from_this()](const error_code& ec, std::size_t) {
      if (!self->stream_ || self->stream_done_) return;
      if (ec && !self->timed_out_) return self->close();
      if (!ec) self->watch_client();
    });
  }

  void stream_chunk(std::string_view bytes) {
    char size[24];
    const int n = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
    stream_out_.append(size, static_cast<std::size_t>(n)).append(bytes).append("\r\n");
    stream_out_payload_ += bytes.size();
    stream_flush();
  }

  void stream_end() {
    if (stream_ended_) return;
    stream_ended_ = true;
    stream_->open = false;
    stream_out_.append("0\r\n\r\n");
    stream_flush();
  }

  void stream_flush() {
    if (stream_writing_ || stream_done_) return;
    if (stream_out_.empty()) {
      disarm();
      if (!stream_ended_) return;
      stream_done_ = true;
      error_code ec;
      socket_.cancel(ec);  // the watch; linger reads from here on
      return finish();
    }
    stream_writing_ = true;
    stream_now_ = std::exchange(stream_out_, std::string());
    const auto payload = std::exchange(stream_out_payload_, 0);
    arm(limits_.body_idle_timeout);
    net::async_write(socket_, net::buffer(stream_now_), [self = shared_from_this(), payload](const error_code& ec, std::size_t) {
      self->stream_writing_ = false;
      self->stream_->waiting -= payload;
      if (ec) return self->close();
      self->stream_flush();
    });
  }

  void finish() {
    response_ = Response();
    if (keep_alive_) return next_request();
    linger();
  }

  // Closing while the client still sends would reset the connection and could destroy the response on its way: say that we are done,
  // then read what comes until the client closes, for a short time.
  void linger() {
    error_code ec;
    socket_.shutdown(tcp::socket::shutdown_send, ec);
    if (ec) return close();
    arm(kLingerTime);
    if (chunk_.empty()) chunk_.resize(4096);
    discard();
  }

  void discard() {
    socket_.async_read_some(net::buffer(chunk_), [self = shared_from_this()](const error_code& ec, std::size_t) {
      if (ec || self->timed_out_) return self->close();
      self->discard();
    });
  }

  void close() {
    disarm();
    error_code ec;
    if (stream_) stream_->open = false;
    timer_.cancel();
    socket_.close(ec);
  }

  Server::Impl& server_;
  const Limits& limits_;
  tcp::socket socket_;
  net::steady_timer timer_;
  beast::flat_buffer buffer_;
  std::string remote_;

  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point timer_at_;
  bool timer_runs_ = false;
  bool timed_out_ = false;

  std::optional<bhttp::request_parser<bhttp::buffer_body>> parser_;
  Request request_;
  std::optional<BodySink> sink_;
  std::string chunk_;
  Clock::time_point body_started_;
  std::uint64_t body_wire_bytes_ = 0;
  bool idle_ = false;          // between requests: nothing of the next one has arrived
  bool served_ = false;        // a request came before
  bool head_only_ = false;     // HEAD
  bool keep_alive_ = false;
  bool handling_ = false;      // a worker has request_
  bool body_pending_ = false;  // bytes of this request are unread: the connection cannot be used again

  Response response_;
  std::string head_;
  std::size_t written_ = 0;

  std::shared_ptr<SessionStream::Shared> stream_;
  std::string stream_out_;       // queued
  std::size_t stream_out_payload_ = 0;
  std::string stream_now_;       // being written
  bool stream_writing_ = false;
  bool stream_ended_ = false;    // the last chunk is queued
  bool stream_done_ = false;     // and sent
};

SessionStream::SessionStream(std::shared_ptr<Session> session) : session_(session) {}

bool SessionStream::write(std::string bytes) {
  if (bytes.empty()) return shared->open;
  if (!shared->open || ended_) return false;
  const auto session = session_.lock();
  if (!session) return false;
  if (shared->waiting.fetch_add(bytes.size()) + bytes.size() > kStreamBacklog) {
    shared->open = false;
    session->abort();
    return false;
  }
  session->stream_write(std::move(bytes), false);
  return true;
}

void SessionStream::close() {
  if (ended_.exchange(true)) return;
  if (const auto session = session_.lock()) session->stream_write("", true);
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
  std::size_t open = 0;
  {
    Lock lock(mutex);
    open = sessions.size();
  }
  if (draining || open >= options.limits.connections + kRefusedConnections) return;
  auto session = std::make_shared<Session>(std::move(socket), *this);
  add(session.get(), session);
  session->start(open >= options.limits.connections);
}

void Server::Impl::add(Session* session, std::weak_ptr<Session> weak) {
  Lock lock(mutex);
  sessions.emplace(session, std::move(weak));
}

void Server::Impl::remove(Session* session) {
  Lock lock(mutex);
  sessions.erase(session);
  if (sessions.empty()) closed.notify_all();
}

std::vector<std::shared_ptr<Session>> Server::Impl::sessions_now() {
  std::vector<std::shared_ptr<Session>> alive;
  Lock lock(mutex);
  for (const auto& [session, weak] : sessions) {
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
  for (const auto& session : sessions_now()) session->drain();
  {
    Lock lock(mutex);
    while (!sessions.empty() && !deadline.passed()) closed.wait_until(mutex, deadline);
  }
  for (const auto& session : sessions_now()) session->abort();
}

void Server::Impl::stop() {
  pool.stop();
  ioc.stop();
  for (auto& thread : threads) thread.join();
  threads.clear();
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
  stats.open_connections = impl_->sessions.size();
  return stats;
}

void Server::drain(Deadline deadline) { impl_->drain(deadline); }

}  // namespace stella::http
