// What the two halves of the adapter share: the connection's state, owners for libnats objects, errors.
#pragma once

#include <nats/nats.h>

#include <string>

#include "stella/base/sync.h"
#include "stella/contracts/errors.h"
#include "stella/platform/bus.h"

namespace stella::bus {

struct Connection::Impl {
  natsConnection* nc = nullptr;
  jsCtx* js = nullptr;
  std::string inbox;  // `_inbox.<user>`
  Mutex mutex;
  CondVar wake;
  bool closed STELLA_GUARDED_BY(mutex) = false;  // the library's last callback about this connection has run
  std::string refused STELLA_GUARDED_BY(mutex);  // the server's last "Permissions Violation …"
};

struct MsgDelete {
  void operator()(natsMsg* msg) const { natsMsg_Destroy(msg); }
};
using MsgPtr = std::unique_ptr<natsMsg, MsgDelete>;

struct SubDelete {
  void operator()(natsSubscription* sub) const { natsSubscription_Destroy(sub); }
};
using SubPtr = std::unique_ptr<natsSubscription, SubDelete>;

// stella_bus_errors_total{operation}: "publish", "fetch", "ack", "connect".
void count_error(std::string_view operation);

Error unavailable(Literal message, std::string reason);
// From a status and, where not 0, JetStream's own code.
Error from_status(Literal message, natsStatus status, jsErrCode code = static_cast<jsErrCode>(0));
Message to_message(natsMsg* msg);
// `<inbox>.<random>`
std::string new_inbox(const Connection::Impl& impl);

}  // namespace stella::bus
