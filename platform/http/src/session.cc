// One connection of the server: deadlines, limits, reading, writing. Beast, and the only file that includes it.
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <optional>

#include "body_sink.h"
#include "messages.h"
#include "server_impl.h"

namespace stella::http {
namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr auto kHandlerGrace = std::chrono::seconds(1);  // handlers watch Request::deadline themselves; who does not is answered for
constexpr std::size_t kReadBytes = 64 << 10;
constexpr std::uint64_t kUncountedAnswer = 64 << 10;  // answers that are as small are not worth a counter

bool is_http_error(const error_code& ec) { return ec.category() == bhttp::make_error_code(bhttp::error::bad_method).category(); }

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

// How fast bytes move over a line whose other end decides it.
class Pace {
 public:
  void begin() {
    began_ = Clock::now();
    bytes_ = 0;
  }
  void moved(std::size_t bytes) { bytes_ += bytes; }
  Clock::duration took() const { return Clock::now() - began_; }
  // Below the average that is asked for of what takes longer than the idle timeout: else a byte now and then would hold the line for good.
  bool too_slow(const Limits& limits) const {
    const auto time = took();
    if (time <= limits.body_idle_timeout) return false;
    return bytes_ < limits.body_min_bytes_per_second * static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(time).count());
  }

 private:
  Clock::time_point began_;
  std::uint64_t bytes_ = 0;
};

// One connection. Everything runs on its strand but the handler, which owns request_ while it runs.
class Session : public Connection, public Parking, public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::string peer, Server::Impl& server)
      : server_(server), limits_(server.options.limits), peer_(std::move(peer)), socket_(std::move(socket)), timer_(socket_.get_executor()),
        buffer_(limits_.header_bytes + 2 * kReadBytes) {
    error_code ec;
    const auto remote = socket_.remote_endpoint(ec);
    if (!ec) remote_ = remote.address().to_string(ec);
    socket_.set_option(tcp::no_delay(true), ec);
    socket_.non_blocking(true, ec);
  }
  ~Session() override { server_.remove(this, peer_); }

  void start(Literal refused) override {
    net::post(socket_.get_executor(), [self = shared_from_this(), refused] {
      if (!refused.view().empty()) return self->refuse(503, refused, nullptr);
      self->next_request();
    });
  }

  void drain() override {
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

  // On the worker that has request_: from here on it is nobody's, until it is taken from where it is parked.
  std::function<void()> park() override {
    server_.park(shared_from_this());
    return [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self || !self->server_.take_parked(self.get())) return;
      // What it waited is not taken from what it may take.
      self->request_.deadline = Deadline::after(self->limits_.request_timeout);
      net::post(self->socket_.get_executor(), [self] {
        if (self->handling_) self->arm(self->limits_.request_timeout + kHandlerGrace);
      });
      self->server_.pool.push([self] { self->run_handler(); });
    };
  }

  void abort() override {
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

  void check_head() {
    if (const auto target = parse_target(request_); !target) {
      return refuse(400, "the request target is not acceptable: a percent-encoded UTF-8 path without dot segments", &request_);
    }
    const auto fault = framing_fault(request_, parser_->get().version() >= 11);
    if (fault) return refuse(fault->status, fault->detail, &request_);
    if (!body_pending_) return dispatch();
    start_body(!request_.header("expect").empty());
  }

  // --- reading the body ------------------------------------------------------------------------------------------------------
  void start_body(bool wants_continue) {
    const auto coding = content_coding(request_.header("content-encoding"));
    if (coding == Coding::kUnknown || count_headers(request_, "content-encoding") > 1) {
      return refuse(415, "the content-encoding is not supported: send identity, gzip or deflate", &request_);
    }
    BodySinkOptions sink;
    sink.compressed = coding == Coding::kCompressed;
    sink.memory_bytes = limits_.memory_body_bytes;
    sink.temp_dir = server_.options.temp_dir;
    sink.memory = &server_.memory;
    sink.disk = &server_.disk;
    sink.keep_free = limits_.temp_free_bytes;
    sink.max_bytes = body_limit();
    const auto length = parser_->content_length();
    if (sink.max_bytes == 0 || (coding == Coding::kIdentity && length && *length > sink.max_bytes)) {
      return refuse(413, "the body is too large", &request_);
    }
    sink_.emplace(std::move(sink));
    if (chunk_.empty()) chunk_.resize(kReadBytes);
    pace_.begin();
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
    pace_.moved(got);
    if (pace_.too_slow(limits_) || pace_.took() > limits_.body_timeout) return refuse(408, "the request body took too long", &request_);
    if (auto fed = sink_->feed({chunk_.data(), got}); !fed) return refuse_body(fed.error());
    decode();
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
    body_share_ = sink_->take_share();
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
    request_.parking = this;
    WorkerPool& pool = server_.is_express(request_) ? *server_.express_pool : server_.pool;
    if (pool.try_push([self = shared_from_this()] { self->run_handler(); })) return;
    handling_ = false;
    drop_body();
    refuse(503, "the server is overloaded", &request_);
  }

  // On a worker.
  void run_handler() {
    // What waited until its deadline has nobody who still waits for it.
    const bool late = request_.deadline.passed();
    if (late) request_.held.reset();
    if (late && !request_.claim.take()) return;
    auto response = late ? server_.refuse(503, "the server is overloaded", &request_) : server_.handle(request_);
    if (response.parked) return;  // request_ may be another worker's already
    net::post(socket_.get_executor(), [self = shared_from_this(), response = std::move(response)]() mutable {
      if (!std::exchange(self->handling_, false)) return;  // answered for already
      self->drop_body();
      self->respond(std::move(response));
    });
  }

  // Nobody reads it any more: a slow reader of the answer does not keep it.
  void drop_body() {
    request_.body_file.reset();
    std::string().swap(request_.body);
    body_share_.reset();
  }

  // The handler still owns request_, of which only what it leaves alone is read; what it returns is dropped, and the connection ends. Where it
  // has its answer already, that one is on its way.
  void abandon_handler() {
    const auto parked = server_.take_parked(this);
    if (!request_.claim.take()) return arm(kHandlerGrace);
    handling_ = false;
    body_pending_ = true;
    if (parked) {
      request_.held.reset();
      return refuse(503, "the request waited too long for its turn", &request_);
    }
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
    answer_share_ = Share(&server_.answers);
    if (response_.body.size() > kUncountedAnswer && !answer_share_.cover(response_.body.size(), kUncountedAnswer)) response_ = server_.refuse(503, "too many answers wait for their readers", &request_);
    pace_.begin();
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
      self->pace_.moved(n);
      if (self->pace_.too_slow(self->limits_)) return self->close();
      self->write_some();
    });
  }

  void send_file() {
    // At most this much per turn: a client on the same machine would otherwise keep the thread until the file is through.
    static constexpr std::size_t kTurnBytes = 1 << 20;
    if (response_.body_file_size == 0) return finish();
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(kTurnBytes, response_.body_file_size));
    const auto n = ::sendfile(socket_.native_handle(), response_.body_file.get(), nullptr, want);
    if (n > 0) {
      response_.body_file_size -= static_cast<std::uint64_t>(n);
      pace_.moved(static_cast<std::size_t>(n));
    }
    // Short files and read errors: the length is promised already, only closing tells the client that it did not get all.
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return close();
    if (response_.body_file_size == 0) return finish();
    if (pace_.too_slow(limits_)) return close();
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
    answer_share_.reset();
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
  const std::string peer_;
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
  Share answer_share_; // of what response_ has in memory
  Share body_share_;   // of the server's budgets, as long as request_ has its body
  Pace pace_;          // of the request's body, then of the answer
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

std::shared_ptr<Connection> make_session(tcp::socket socket, std::string peer, Server::Impl& server) { return std::make_shared<Session>(std::move(socket), std::move(peer), server); }

}  // namespace stella::http
