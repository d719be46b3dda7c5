// NATS JetStream: publish with ack, pull consumers, probe and rebuild. The only code that touches libnats.
// The bus only tells: whoever publishes can say everything again from a row (architecture.md §2). Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"

namespace stella::bus {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Message {
  std::string subject;
  std::string payload;
  Headers headers;
  std::uint64_t deliveries = 1;
};

// What was fetched; ack() or nak() at most once (the second is kInvalid). Unacked messages are delivered again after ack_wait.
// Independent of the consumer it came from; must not outlive the connection. One thread at a time.
class Delivery {
 public:
  struct Impl;
  explicit Delivery(std::unique_ptr<Impl> impl);
  Delivery(Delivery&&) noexcept;
  Delivery& operator=(Delivery&&) noexcept;
  ~Delivery();
  const Message& message() const;
  Result<void> ack();
  // Deliver again, after `delay`.
  Result<void> nak(std::chrono::milliseconds delay);
  // Starts ack_wait anew; any number of times before ack() or nak().
  Result<void> in_progress();

 private:
  std::unique_ptr<Impl> impl_;
};

struct ConnectOptions {
  std::string url;       // nats://127.0.0.1:port, several comma separated, no credentials inside
  std::string user;
  std::string password;
  std::string name;       // shown by the server's monitoring
  std::string api_prefix; // "": $JS.API; see bus_topology.h, whose login() fills it
  std::chrono::milliseconds timeout{2000};
};

struct StreamSpec {
  std::string name;
  std::vector<std::string> subjects;
  bool work_queue = false;
  std::chrono::seconds max_age{0};          // 0: none
  std::chrono::seconds dedupe_window{120};
};

struct ConsumerSpec {
  std::string stream;
  std::string durable;
  std::string filter_subject;               // one wildcard (nats-server 2.9)
  std::chrono::milliseconds ack_wait{30000};
  int max_ack_pending = 256;
};

// What a durable consumer has before it.
struct Backlog {
  std::uint64_t waiting = 0;  // not delivered yet
  std::uint64_t taken = 0;    // delivered and not acknowledged
};

// A connection; reconnects forever. Errors: kUnavailable with part=nats and reason (disconnected, timeout, no_stream, auth, refused);
// kForbidden where the server refused the subject to this user; kLimit over the server's message size.
// Replies arrive below `_inbox.<user>.`, which the server's permissions reserve for that user.
class Connection {
 public:
  static Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options);
  ~Connection();
  bool connected() const;
  // JetStream publish that returns after the ack. `message_id` is Nats-Msg-Id (dedupe), "" for none.
  Result<void> publish(std::string_view subject, std::string_view payload, const Headers& headers, std::string_view message_id,
                       Deadline deadline);
  // Many messages, sent in order, acks awaited together. On an error some may be stored: send all again. A message id travels
  // as the header Nats-Msg-Id.
  Result<void> publish_batch(const std::vector<Message>& messages, Deadline deadline);
  // Core NATS, no ack: hints only.
  void tell(std::string_view subject, std::string_view payload);
  // Core subscription for hints; the callback runs on a library thread and must not block. Once the handle is gone no callback
  // runs or starts (so never drop the handle inside the callback).
  Result<std::shared_ptr<void>> listen(std::string_view subject, std::function<void()> on_message);
  // Creates or updates the stream / the durable consumer (owner of the stream only). A stream also gets probe_subject().
  Result<void> ensure_stream(const StreamSpec& spec);
  Result<void> ensure_consumer(const ConsumerSpec& spec);
  // Needs the owner's rights.
  Result<Backlog> backlog(std::string_view stream, std::string_view durable);
  // Deletes stream and consumer, adds them again and counts stella_bus_rebuilt_total: the only thing that heals a deleted store.
  Result<void> rebuild(const StreamSpec& stream, const std::vector<ConsumerSpec>& consumers);
  // End-to-end probe: publishes on `probe_subject` of the stream ("": its own, see bus_topology.h) and sees it arrive on a temporary
  // consumer. Needs the owner's rights.
  Result<void> probe(const StreamSpec& stream, std::string_view probe_subject, Deadline deadline);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  explicit Connection(std::unique_ptr<Impl> impl);
  Result<void> publish_all(const std::vector<Message>& messages, Deadline deadline);
  std::unique_ptr<Impl> impl_;
};

// Pull subscription bound to an existing durable consumer (so.Stream/so.Consumer: unsubscribing never deletes it).
// Concurrent fetches of one object wait for each other; several objects on one durable share its messages.
class PullConsumer {
 public:
  static Result<std::unique_ptr<PullConsumer>> bind(Connection& connection, std::string stream, std::string durable);
  ~PullConsumer();
  // Up to `max` messages; an empty vector where none came before the deadline. Missing stream looks the same: see rebind().
  Result<std::vector<Delivery>> fetch(int max, std::chrono::milliseconds wait);
  // New subscription on the same durable; callers do it after 10 s without messages.
  Result<void> rebind();

  struct Impl;

 private:
  explicit PullConsumer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// How often rebuild() ran in this process (stella_bus_rebuilt_total).
std::uint64_t rebuilt_total();

}  // namespace stella::bus
