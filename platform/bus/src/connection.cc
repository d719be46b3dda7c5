// The connection: connect, publish and await acks, hints, streams and consumers, probe and rebuild.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "impl.h"
#include "stella/base/encoding.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"

namespace stella::bus {
namespace {

constexpr std::size_t kOutstanding = 1000;  // unacknowledged messages of one batch
constexpr std::int64_t kNano = 1'000'000'000;

std::atomic<std::uint64_t> g_rebuilt{0};

constexpr telemetry::Logger kLog{"bus"};
constexpr telemetry::Counter kPublished{contracts::metrics::kBusPublished};
constexpr telemetry::Counter kErrors{contracts::metrics::kBusErrors};
constexpr telemetry::Counter kRebuilt{contracts::metrics::kBusRebuilt};
constexpr telemetry::Gauge kConnected{contracts::metrics::kBusConnected};

// The label `stream` of a subject; "" for probes and hints.
std::string_view stream_label(std::string_view subject) {
  if (subject.starts_with("stellajobs.")) return "jobs";
  if (subject.starts_with("stellaresults.")) return "results";
  if (subject.starts_with("stella.global.kb.")) return "kb";
  if (subject.starts_with("stella.")) return "timeline";
  return "";
}

std::string_view stream_label_of(const StreamSpec& stream) { return stream.subjects.empty() ? "" : stream_label(stream.subjects.front()); }

void on_disconnected(natsConnection*, void*) { kConnected.set(0); }
void on_reconnected(natsConnection*, void*) { kConnected.set(1); }

// libnats reports what the server says about permissions out of band.
void on_error(natsConnection* nc, natsSubscription*, natsStatus, void* closure) {
  const char* text = nullptr;
  natsConnection_GetLastError(nc, &text);
  if (text == nullptr || std::strstr(text, "ermissions") == nullptr) return;
  auto* impl = static_cast<Connection::Impl*>(closure);
  const Lock lock(impl->mutex);
  impl->refused = text;
}

void on_closed(natsConnection*, void* closure) {
  auto* impl = static_cast<Connection::Impl*>(closure);
  const Lock lock(impl->mutex);
  impl->closed = true;
  impl->wake.notify_all();
}

bool was_refused(Connection::Impl& impl, std::string_view subject) {
  const Lock lock(impl.mutex);
  return impl.refused.find("\"" + std::string(subject) + "\"") != std::string::npos;
}

Error not_permitted(std::string_view subject) {
  return Error(contracts::errors::kForbidden, "the bus does not let this user publish here").with("part", std::string("nats")).with("subject", std::string(subject));
}

Result<MsgPtr> make_message(std::string_view subject, const std::string& reply, std::string_view payload, const Headers& headers) {
  natsMsg* raw = nullptr;
  const natsStatus created = natsMsg_Create(&raw, std::string(subject).c_str(), reply.empty() ? nullptr : reply.c_str(), payload.data(), static_cast<int>(payload.size()));
  if (created != NATS_OK) return from_status("cannot make message", created);
  MsgPtr msg(raw);
  for (const auto& [name, value] : headers) {
    if (const natsStatus set = natsMsgHeader_Set(raw, name.c_str(), value.c_str()); set != NATS_OK) return from_status("cannot set header", set);
  }
  return msg;
}

// What the server says about a stored message: {"stream":…,"seq":…} or {"error":{"code":…,"err_code":…,"description":…}}.
Result<void> read_ack(natsMsg* msg) {
  if (natsMsg_IsNoResponders(msg)) return unavailable("no stream takes this subject", "no_stream");
  const auto ack = json::parse({natsMsg_GetData(msg), static_cast<std::size_t>(natsMsg_GetDataLength(msg))});
  if (!ack) return unavailable("the bus answered with something else than an acknowledgement", "refused");
  if (const auto* error = ack->find("error")) {
    return std::move(unavailable("the bus refused the message", "refused")).with("detail", std::string(error->str("description")));
  }
  return {};
}

struct Streams {
  std::vector<const char*> subjects;
  std::vector<std::string> names;
  jsStreamConfig config;
};

void fill(Streams& out, const StreamSpec& spec) {
  jsStreamConfig_Init(&out.config);
  out.names = spec.subjects;
  out.names.push_back(probe_subject(spec.name));
  for (const auto& name : out.names) out.subjects.push_back(name.c_str());
  out.config.Name = spec.name.c_str();
  out.config.Subjects = out.subjects.data();
  out.config.SubjectsLen = static_cast<int>(out.subjects.size());
  out.config.Storage = js_FileStorage;
  out.config.Retention = spec.work_queue ? js_WorkQueuePolicy : js_LimitsPolicy;
  out.config.MaxAge = spec.max_age.count() * kNano;
  out.config.Duplicates = spec.dedupe_window.count() * kNano;
}

struct Closure {
  Mutex mutex;
  bool stopped = false;
  std::function<void()> on_message;
};

void on_hint(natsConnection*, natsSubscription*, natsMsg* msg, void* closure) {
  const MsgPtr owned(msg);
  auto* target = static_cast<Closure*>(closure);
  const Lock lock(target->mutex);
  if (!target->stopped) target->on_message();
}

}  // namespace

void count_error(std::string_view operation) { kErrors.add(1, operation); }

Error unavailable(Literal message, std::string reason) {
  return Error(contracts::errors::kUnavailable, message).with("part", std::string("nats")).with("reason", std::move(reason));
}

Error from_status(Literal message, natsStatus status, jsErrCode code) {
  if (status == NATS_MAX_PAYLOAD) return Error(base_errors::kLimit, "message is too large for the bus").with("part", std::string("nats"));
  std::string reason = "refused";
  if (status == NATS_TIMEOUT) reason = "timeout";
  if (status == NATS_NO_RESPONDERS) reason = "no_stream";
  if (status == NATS_CONNECTION_AUTH_FAILED) reason = "auth";
  if (status == NATS_NO_SERVER || status == NATS_CONNECTION_CLOSED || status == NATS_CONNECTION_DISCONNECTED || status == NATS_IO_ERROR) reason = "disconnected";
  Error error = std::move(unavailable(message, std::move(reason))).with("status", std::string(natsStatus_GetText(status)));
  if (code != 0) error.add("code", std::to_string(static_cast<int>(code)));
  return error;
}

Message to_message(natsMsg* msg) {
  Message out;
  out.subject = natsMsg_GetSubject(msg);
  out.payload.assign(natsMsg_GetData(msg), static_cast<std::size_t>(natsMsg_GetDataLength(msg)));
  const char** names = nullptr;
  int count = 0;
  if (natsMsgHeader_Keys(msg, &names, &count) != NATS_OK) return out;
  for (int i = 0; i < count; ++i) {
    const char* value = nullptr;
    if (natsMsgHeader_Get(msg, names[i], &value) == NATS_OK) out.headers.emplace_back(names[i], value);
  }
  std::free(names);  // NOLINT: libnats allocates the array with malloc and keeps the strings
  return out;
}

std::string new_inbox(const Connection::Impl& impl) {
  std::uint64_t nonce[2] = {};
  fill_random(nonce, sizeof nonce);
  return impl.inbox + "." + hex_encode({reinterpret_cast<const char*>(nonce), sizeof nonce});
}

Connection::Connection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Connection::~Connection() {
  jsCtx_Destroy(impl_->js);
  if (impl_->nc != nullptr) {
    natsConnection_Close(impl_->nc);
    // Callbacks run on a library thread, in order, this one last; after it nobody uses impl_ any more.
    const auto deadline = Deadline::after(std::chrono::seconds(10));
    const Lock lock(impl_->mutex);
    while (!impl_->closed && !deadline.passed()) impl_->wake.wait_until(impl_->mutex, deadline);
  }
  natsConnection_Destroy(impl_->nc);
}

Result<std::unique_ptr<Connection>> Connection::connect(const ConnectOptions& options) {
  auto connection = std::unique_ptr<Connection>(new Connection(std::make_unique<Impl>()));
  Impl& impl = *connection->impl_;
  impl.inbox = "_inbox." + (options.user.empty() ? std::string("anonymous") : options.user);
  natsOptions* raw = nullptr;
  natsStatus s = natsOptions_Create(&raw);
  const std::unique_ptr<natsOptions, void (*)(natsOptions*)> owned(raw, natsOptions_Destroy);
  if (s == NATS_OK) s = natsOptions_SetURL(raw, options.url.c_str());
  if (s == NATS_OK && !options.user.empty()) s = natsOptions_SetUserInfo(raw, options.user.c_str(), options.password.c_str());
  if (s == NATS_OK && !options.name.empty()) s = natsOptions_SetName(raw, options.name.c_str());
  if (s == NATS_OK) s = natsOptions_SetTimeout(raw, options.timeout.count());
  if (s == NATS_OK) s = natsOptions_SetMaxReconnect(raw, -1);
  if (s == NATS_OK) s = natsOptions_SetReconnectWait(raw, 200);
  if (s == NATS_OK) s = natsOptions_SetReconnectJitter(raw, 100, 100);
  if (s == NATS_OK) s = natsOptions_SetPingInterval(raw, 5000);
  if (s == NATS_OK) s = natsOptions_SetMaxPingsOut(raw, 2);
  if (s == NATS_OK) s = natsOptions_SetWriteDeadline(raw, 5000);
  if (s == NATS_OK) s = natsOptions_SetFailRequestsOnDisconnect(raw, true);
  if (s == NATS_OK) s = natsOptions_SetCustomInboxPrefix(raw, impl.inbox.c_str());
  if (s == NATS_OK) s = natsOptions_SetErrorHandler(raw, on_error, &impl);
  if (s == NATS_OK) s = natsOptions_SetClosedCB(raw, on_closed, &impl);
  if (s == NATS_OK) s = natsOptions_SetDisconnectedCB(raw, on_disconnected, nullptr);
  if (s == NATS_OK) s = natsOptions_SetReconnectedCB(raw, on_reconnected, nullptr);
  if (s == NATS_OK) s = natsConnection_Connect(&impl.nc, raw);
  jsOptions js;
  jsOptions_Init(&js);
  js.Wait = options.timeout.count();
  if (!options.api_prefix.empty()) js.Prefix = options.api_prefix.c_str();
  if (s == NATS_OK) s = natsConnection_JetStream(&impl.js, impl.nc, &js);
  if (s != NATS_OK) {
    count_error("connect");
    return from_status("cannot connect to the bus", s);
  }
  kConnected.set(1);
  return connection;
}

bool Connection::connected() const { return natsConnection_Status(impl_->nc) == NATS_CONN_STATUS_CONNECTED; }

Result<void> Connection::publish(std::string_view subject, std::string_view payload, const Headers& headers, std::string_view message_id,
                                 Deadline deadline) {
  Message message;
  message.subject = subject;
  message.payload = payload;
  message.headers = headers;
  if (!message_id.empty()) message.headers.emplace_back("Nats-Msg-Id", message_id);
  return publish_batch({std::move(message)}, deadline);
}

Result<void> Connection::publish_batch(const std::vector<Message>& messages, Deadline deadline) {
  if (messages.empty()) return {};
  const auto began = std::chrono::steady_clock::now();
  auto published = publish_all(messages, deadline);
  const auto took = std::chrono::steady_clock::now() - began;
  if (published) kLog.debug("published", {f::stream(stream_label(messages.front().subject)), f::count(static_cast<std::int64_t>(messages.size())), f::duration(took)});
  else kLog.debug("not published", {f::stream(stream_label(messages.front().subject)), f::count(static_cast<std::int64_t>(messages.size())), f::duration(took), f::error(published.error())});
  if (!published) count_error("publish");
  if (const auto stream = stream_label(messages.front().subject); published && !stream.empty()) kPublished.add(static_cast<double>(messages.size()), stream);
  return published;
}

Result<void> Connection::publish_all(const std::vector<Message>& messages, Deadline deadline) {
  if (!connected()) return unavailable("the bus is not connected", "disconnected");
  {
    const Lock lock(impl_->mutex);
    impl_->refused.clear();
  }
  const std::string inbox = new_inbox(*impl_);
  natsSubscription* raw = nullptr;
  if (const natsStatus s = natsConnection_SubscribeSync(&raw, impl_->nc, inbox.c_str()); s != NATS_OK) return from_status("cannot await acknowledgements", s);
  const SubPtr acks(raw);
  std::size_t sent = 0;
  std::size_t acked = 0;
  while (acked < messages.size()) {
    for (; sent < messages.size() && sent - acked < kOutstanding; ++sent) {
      const auto msg = STELLA_TRY(make_message(messages[sent].subject, inbox, messages[sent].payload, messages[sent].headers));
      if (const natsStatus s = natsConnection_PublishMsg(impl_->nc, msg.get()); s != NATS_OK) return from_status("cannot publish", s);
    }
    // Short waits: a refusal comes out of band, and there is no acknowledgement to wait for then.
    const auto left = std::min<std::int64_t>(deadline.left().count(), 50);
    natsMsg* ack = nullptr;
    const natsStatus s = natsSubscription_NextMsg(&ack, raw, std::max<std::int64_t>(left, 1));
    if (s == NATS_OK) {
      const MsgPtr owned(ack);
      STELLA_TRY_VOID(read_ack(ack));
      ++acked;
      continue;
    }
    for (std::size_t i = acked; i < sent; ++i) {
      if (was_refused(*impl_, messages[i].subject)) return not_permitted(messages[i].subject);
    }
    if (s != NATS_TIMEOUT) return from_status("cannot await acknowledgements", s);
    if (!connected()) return unavailable("the bus is not connected", "disconnected");
    if (deadline.passed()) return unavailable("the bus does not acknowledge", "timeout");
  }
  return {};
}

void Connection::tell(std::string_view subject, std::string_view payload) {
  natsConnection_Publish(impl_->nc, std::string(subject).c_str(), payload.data(), static_cast<int>(payload.size()));
}

Result<std::shared_ptr<void>> Connection::listen(std::string_view subject, std::function<void()> on_message) {
  auto* closure = new Closure;  // freed by the library's completion callback
  closure->on_message = std::move(on_message);
  natsSubscription* sub = nullptr;
  if (const natsStatus s = natsConnection_Subscribe(&sub, impl_->nc, std::string(subject).c_str(), on_hint, closure); s != NATS_OK) {
    delete closure;
    return from_status("cannot listen", s);
  }
  natsSubscription_SetOnCompleteCB(sub, [](void* c) { delete static_cast<Closure*>(c); }, closure);
  natsConnection_FlushTimeout(impl_->nc, 2000);  // the server knows the interest before anybody tells
  return std::shared_ptr<void>(sub, [closure](natsSubscription* s) {
    {
      const Lock lock(closure->mutex);
      closure->stopped = true;
    }
    natsSubscription_Destroy(s);
  });
}

Result<void> Connection::ensure_stream(const StreamSpec& spec) {
  if (!connected()) return unavailable("the bus is not connected", "disconnected");
  Streams streams;
  fill(streams, spec);
  jsErrCode code = static_cast<jsErrCode>(0);
  natsStatus s = js_AddStream(nullptr, impl_->js, &streams.config, nullptr, &code);
  if (s != NATS_OK && code == JSStreamNameExistErr) s = js_UpdateStream(nullptr, impl_->js, &streams.config, nullptr, &code);
  if (s != NATS_OK) return std::move(from_status("cannot create stream", s, code)).with("stream", spec.name);
  return {};
}

Result<void> Connection::ensure_consumer(const ConsumerSpec& spec) {
  if (!connected()) return unavailable("the bus is not connected", "disconnected");
  jsConsumerConfig config;
  jsConsumerConfig_Init(&config);
  config.Durable = spec.durable.c_str();
  config.AckPolicy = js_AckExplicit;
  config.AckWait = spec.ack_wait.count() * 1'000'000;
  config.MaxAckPending = spec.max_ack_pending;
  config.FilterSubject = spec.filter_subject.c_str();
  config.DeliverPolicy = js_DeliverAll;
  jsErrCode code = static_cast<jsErrCode>(0);
  natsStatus s = js_AddConsumer(nullptr, impl_->js, spec.stream.c_str(), &config, nullptr, &code);
  if (s != NATS_OK && code == JSConsumerNameExistErr) {
    // Something that cannot be updated differs (the filter): what was not acknowledged is delivered again by the new one.
    js_DeleteConsumer(impl_->js, spec.stream.c_str(), spec.durable.c_str(), nullptr, nullptr);
    s = js_AddConsumer(nullptr, impl_->js, spec.stream.c_str(), &config, nullptr, &code);
  }
  if (s != NATS_OK) return std::move(from_status("cannot create consumer", s, code)).with("consumer", spec.stream + "." + spec.durable);
  return {};
}

Result<Backlog> Connection::backlog(std::string_view stream, std::string_view durable) {
  if (!connected()) return unavailable("the bus is not connected", "disconnected");
  jsConsumerInfo* info = nullptr;
  jsErrCode code = static_cast<jsErrCode>(0);
  const natsStatus s = js_GetConsumerInfo(&info, impl_->js, std::string(stream).c_str(), std::string(durable).c_str(), nullptr, &code);
  if (s != NATS_OK) return std::move(from_status("cannot ask about a consumer", s, code)).with("stream", std::string(stream));
  Backlog out;
  out.waiting = info->NumPending;
  out.taken = static_cast<std::uint64_t>(std::max<int64_t>(info->NumAckPending, 0));
  jsConsumerInfo_Destroy(info);
  return out;
}

Result<void> Connection::rebuild(const StreamSpec& stream, const std::vector<ConsumerSpec>& consumers) {
  jsErrCode code = static_cast<jsErrCode>(0);
  const natsStatus deleted = js_DeleteStream(impl_->js, stream.name.c_str(), nullptr, &code);
  if (deleted != NATS_OK && code != JSStreamNotFoundErr) return std::move(from_status("cannot delete stream", deleted, code)).with("stream", stream.name);
  STELLA_TRY_VOID(ensure_stream(stream));
  for (const auto& consumer : consumers) STELLA_TRY_VOID(ensure_consumer(consumer));
  g_rebuilt.fetch_add(1, std::memory_order_relaxed);
  if (const auto label = stream_label_of(stream); !label.empty()) kRebuilt.add(1, label);
  return {};
}

namespace {

// An ephemeral pull consumer on the probe's subject, deleted at the end (the server would drop it after a while too).
class ProbeConsumer {
 public:
  static Result<std::unique_ptr<ProbeConsumer>> create(Connection::Impl& impl, const std::string& stream, const std::string& subject) {
    jsConsumerConfig config;
    jsConsumerConfig_Init(&config);
    config.AckPolicy = js_AckExplicit;
    config.FilterSubject = subject.c_str();
    config.DeliverPolicy = js_DeliverAll;  // the only one that a work queue allows
    config.InactiveThreshold = 10 * kNano;
    jsConsumerInfo* info = nullptr;
    jsErrCode code = static_cast<jsErrCode>(0);
    const natsStatus s = js_AddConsumer(&info, impl.js, stream.c_str(), &config, nullptr, &code);
    if (s != NATS_OK) return from_status("cannot create the probe's consumer", s, code);
    auto out = std::unique_ptr<ProbeConsumer>(new ProbeConsumer(impl, stream, info->Name));
    jsConsumerInfo_Destroy(info);
    return out;
  }
  ~ProbeConsumer() { js_DeleteConsumer(impl_.js, stream_.c_str(), name_.c_str(), nullptr, nullptr); }

  // True once `nonce` came; earlier probes' messages are acknowledged and passed over.
  Result<bool> sees(const std::string& nonce, Deadline deadline) {
    const std::string inbox = new_inbox(impl_);
    natsSubscription* raw = nullptr;
    if (const natsStatus s = natsConnection_SubscribeSync(&raw, impl_.nc, inbox.c_str()); s != NATS_OK) return from_status("cannot probe", s);
    const SubPtr owned(raw);
    const std::string next = "$JS.API.CONSUMER.MSG.NEXT." + stream_ + "." + name_;
    while (!deadline.passed()) {
      const std::string request = "{\"batch\":1,\"expires\":" + std::to_string(deadline.left().count() * 1'000'000 + 1'000'000) + "}";
      if (const natsStatus s = natsConnection_PublishRequestString(impl_.nc, next.c_str(), inbox.c_str(), request.c_str()); s != NATS_OK) return from_status("cannot probe", s);
      natsMsg* msg = nullptr;
      const natsStatus s = natsSubscription_NextMsg(&msg, raw, std::max<std::int64_t>(deadline.left().count(), 1));
      if (s == NATS_TIMEOUT) break;
      if (s != NATS_OK) return from_status("cannot probe", s);
      const MsgPtr message(msg);
      if (natsMsg_IsNoResponders(msg)) break;
      if (natsMsg_GetReply(msg) == nullptr) break;  // a status: no message came in time
      natsConnection_PublishString(impl_.nc, natsMsg_GetReply(msg), "+ACK");
      if (nonce == std::string_view(natsMsg_GetData(msg), static_cast<std::size_t>(natsMsg_GetDataLength(msg)))) return true;
    }
    return false;
  }

 private:
  ProbeConsumer(Connection::Impl& impl, std::string stream, std::string name) : impl_(impl), stream_(std::move(stream)), name_(std::move(name)) {}
  Connection::Impl& impl_;
  std::string stream_;
  std::string name_;
};

}  // namespace

Result<void> Connection::probe(const StreamSpec& stream, std::string_view probe_subject, Deadline deadline) {
  const std::string subject = probe_subject.empty() ? bus::probe_subject(stream.name) : std::string(probe_subject);
  const std::string nonce = Uuid::v7().str();
  STELLA_TRY_VOID(publish(subject, nonce, {}, nonce, deadline));
  const auto consumer = STELLA_TRY(ProbeConsumer::create(*impl_, stream.name, subject));
  const bool seen = STELLA_TRY(consumer->sees(nonce, deadline));
  if (!seen) return std::move(unavailable("a message that the bus acknowledged does not arrive", "timeout")).with("stream", stream.name);
  if (!stream.work_queue) {
    jsOptions options;
    jsOptions_Init(&options);
    options.Stream.Purge.Subject = subject.c_str();
    js_PurgeStream(impl_->js, stream.name.c_str(), &options, nullptr);
  }
  return {};
}

std::uint64_t rebuilt_total() { return g_rebuilt.load(std::memory_order_relaxed); }

}  // namespace stella::bus
