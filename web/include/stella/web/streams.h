// Threads that write streamed answers (server-sent events), one each: a bounded number per tenant and in all, so that followers never take
// what requests need, and one tenant's slow query holds up nobody else's stream.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/platform/http_server.h"
#include "stella/tenancy/scope.h"

namespace stella::web {

struct StreamLimits {
  int per_tenant = 8;
  int in_all = 64;
  std::chrono::milliseconds poll{250};         // how often a writer looks for news
  std::chrono::milliseconds heartbeat{15'000};  // so that proxies and clients know that the line is alive
};

// Thread-safe. stop() comes before the server that made the streams is destroyed (http::Stream).
class Streams {
 public:
  explicit Streams(StreamLimits limits = StreamLimits()) : limits_(limits) {}
  ~Streams() { stop(); }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  // What a writer does runs on a thread of its own until it returns; then the stream is closed. It returns soon once pause() says false.
  using Writer = std::function<void(http::Stream&)>;
  // An answer that streams. kRateLimited where the tenant, or all together, have as many open as they may.
  Result<http::Response> open(const TenantId& tenant, Writer writer);
  // Waits so long. False once everything stops.
  bool pause(std::chrono::milliseconds time);
  // Tells every writer to return and waits until they have. Nothing can be opened afterwards.
  void stop();
  int open_now();

  const StreamLimits& limits() const { return limits_; }

 private:
  struct Slot;
  struct Running {
    std::thread thread;
    bool done = false;
  };
  void begin(std::shared_ptr<Slot> slot, std::shared_ptr<http::Stream> stream, const Writer& writer);
  void release(const std::string& tenant);
  std::list<Running> take_done() STELLA_REQUIRES(mutex_);

  const StreamLimits limits_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ STELLA_GUARDED_BY(mutex_) = false;
  int open_ STELLA_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> of_tenant_ STELLA_GUARDED_BY(mutex_);
  std::list<Running> running_ STELLA_GUARDED_BY(mutex_);
};

}  // namespace stella::web
