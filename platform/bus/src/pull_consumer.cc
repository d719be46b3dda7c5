// Pull consumers and what they deliver.
#include "impl.h"
#include "stella/telemetry/log.h"

namespace stella::bus {
namespace {

constexpr telemetry::Logger kLog{"bus"};

}  // namespace

struct Delivery::Impl {
  natsConnection* nc = nullptr;
  std::string reply;  // `$JS.ACK.…`: acknowledging is a message to it, whatever became of the subscription
  Message message;
  bool done = false;

  Result<void> answer(const std::string& text, bool last) {
    if (done) return Error(base_errors::kInvalid, "message was answered already").with("field", std::string("ack"));
    if (natsConnection_Status(nc) != NATS_CONN_STATUS_CONNECTED) return unavailable("the bus is not connected", "disconnected");
    if (const natsStatus s = natsConnection_PublishString(nc, reply.c_str(), text.c_str()); s != NATS_OK) {
      count_error("ack");
      return from_status("cannot acknowledge", s);
    }
    done = last;
    return {};
  }
};

Delivery::Delivery(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Delivery::Delivery(Delivery&&) noexcept = default;
Delivery& Delivery::operator=(Delivery&&) noexcept = default;
Delivery::~Delivery() = default;
const Message& Delivery::message() const { return impl_->message; }
Result<void> Delivery::ack() { return impl_->answer("+ACK", true); }
Result<void> Delivery::nak(std::chrono::milliseconds delay) { return impl_->answer("-NAK {\"delay\":" + std::to_string(delay.count() * 1'000'000) + "}", true); }
Result<void> Delivery::in_progress() { return impl_->answer("+WPI", false); }

struct PullConsumer::Impl {
  Connection::Impl* connection = nullptr;
  std::string stream;
  std::string durable;
  Mutex mutex;
  SubPtr sub STELLA_GUARDED_BY(mutex);

  Result<void> subscribe() STELLA_REQUIRES(mutex) {
    sub.reset();
    if (natsConnection_Status(connection->nc) != NATS_CONN_STATUS_CONNECTED) return unavailable("the bus is not connected", "disconnected");
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Stream = stream.c_str();
    options.Consumer = durable.c_str();
    natsSubscription* raw = nullptr;
    jsErrCode code = static_cast<jsErrCode>(0);
    const natsStatus s = js_PullSubscribe(&raw, connection->js, nullptr, durable.c_str(), nullptr, &options, &code);
    if (s != NATS_OK) return std::move(from_status("cannot bind consumer", s, code)).with("consumer", stream + "." + durable);
    sub.reset(raw);
    return {};
  }
};

PullConsumer::PullConsumer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PullConsumer::~PullConsumer() = default;

Result<std::unique_ptr<PullConsumer>> PullConsumer::bind(Connection& connection, std::string stream, std::string durable) {
  auto impl = std::make_unique<Impl>();
  impl->connection = &connection.impl();
  impl->stream = std::move(stream);
  impl->durable = std::move(durable);
  auto consumer = std::unique_ptr<PullConsumer>(new PullConsumer(std::move(impl)));
  STELLA_TRY_VOID(consumer->rebind());
  return consumer;
}

Result<void> PullConsumer::rebind() {
  const Lock lock(impl_->mutex);
  return impl_->subscribe();
}

Result<std::vector<Delivery>> PullConsumer::fetch(int max, std::chrono::milliseconds wait) {
  const Lock lock(impl_->mutex);
  if (!impl_->sub) STELLA_TRY_VOID(impl_->subscribe());
  natsMsgList list{nullptr, 0};
  jsErrCode code = static_cast<jsErrCode>(0);
  const natsStatus s = natsSubscription_Fetch(&list, impl_->sub.get(), max, std::max<std::int64_t>(wait.count(), 1), &code);
  std::vector<Delivery> out;
  if (s == NATS_TIMEOUT) return out;
  if (s != NATS_OK) {
    count_error("fetch");
    return from_status("cannot fetch", s, code);
  }
  for (int i = 0; i < list.Count; ++i) {
    natsMsg* msg = list.Msgs[i];
    auto impl = std::make_unique<Delivery::Impl>();
    impl->nc = impl_->connection->nc;
    if (const char* reply = natsMsg_GetReply(msg)) impl->reply = reply;
    impl->message = to_message(msg);
    jsMsgMetaData* meta = nullptr;
    if (natsMsg_GetMetaData(&meta, msg) == NATS_OK) {
      impl->message.deliveries = meta->NumDelivered;
      jsMsgMetaData_Destroy(meta);
    }
    out.emplace_back(std::move(impl));
  }
  natsMsgList_Destroy(&list);
  if (!out.empty()) kLog.debug("taken", {f::stream(impl_->stream), f::count(static_cast<std::int64_t>(out.size())), f::attempt(static_cast<std::int64_t>(out.front().message().deliveries))});
  return out;
}

}  // namespace stella::bus
