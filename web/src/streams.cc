// A slot is taken when the answer is made and given back when its writer ends, or when the answer is dropped before it was sent.
#include "stella/web/streams.h"

#include "stella/base/thread.h"
#include "stella/contracts/errors.h"

namespace stella::web {

struct Streams::Slot {
  Streams& owner;
  std::string tenant;
  Slot(Streams& o, std::string t) : owner(o), tenant(std::move(t)) {}
  ~Slot() { owner.release(tenant); }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
};

Result<http::Response> Streams::open(const TenantId& tenant, Writer writer) {
  std::shared_ptr<Slot> slot;
  {
    const Lock lock(mutex_);
    int& mine = of_tenant_[tenant.str()];
    if (stopping_ || mine >= limits_.per_tenant || open_ >= limits_.in_all)
      return Error(contracts::errors::kRateLimited, "too many streams are open").with("limit", limits_.per_tenant).with("remedy", "Close one of them, or read GET /timeline?order=log&from_index= page by page.");
    ++mine;
    ++open_;
  }
  slot = std::make_shared<Slot>(*this, tenant.str());
  http::Response response;
  response.content_type = "text/event-stream";
  response.on_stream = [this, slot, writer = std::move(writer)](std::shared_ptr<http::Stream> stream) { begin(slot, std::move(stream), writer); };
  return response;
}

void Streams::begin(std::shared_ptr<Slot> slot, std::shared_ptr<http::Stream> stream, const Writer& writer) {
  std::list<Running> done;  // joined without the lock: they have ended but for their last line
  {
    const Lock lock(mutex_);
    if (stopping_) return;
    done = take_done();
    Running& self = running_.emplace_back();
    self.thread = start_thread("event-stream", [this, &self, slot = std::move(slot), stream = std::move(stream), writer]() mutable {
      writer(*stream);
      stream->close();
      stream.reset();
      slot.reset();
      const Lock ended(mutex_);
      self.done = true;
    });
  }
  for (Running& one : done) one.thread.join();
}

std::list<Streams::Running> Streams::take_done() {
  std::list<Running> out;
  for (auto it = running_.begin(); it != running_.end();) {
    const auto next = std::next(it);
    if (it->done) out.splice(out.end(), running_, it);
    it = next;
  }
  return out;
}

void Streams::release(const std::string& tenant) {
  const Lock lock(mutex_);
  --open_;
  const auto it = of_tenant_.find(tenant);
  if (--it->second == 0) of_tenant_.erase(it);
}

bool Streams::pause(std::chrono::milliseconds time) {
  const Lock lock(mutex_);
  const Deadline deadline = Deadline::after(time);
  while (!stopping_ && changed_.wait_until(mutex_, deadline)) {
  }
  return !stopping_;
}

void Streams::stop() {
  std::list<Running> all;
  {
    const Lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    all.splice(all.end(), running_);
  }
  for (Running& one : all) one.thread.join();
}

int Streams::open_now() {
  const Lock lock(mutex_);
  return open_;
}

}  // namespace stella::web
