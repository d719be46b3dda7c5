// Publication: from memory where the position fits, from the log else. JetStream's acknowledgement is no memory: a probe that saw
// a message arrive confirms what was published before it, and a rebuilt stream is filled from the confirmed position.
#include "publisher.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "entry.h"
#include "queries.h"
#include "stella/base/json.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/tenancy/scope.h"

namespace stella::timeline {
namespace {

constexpr telemetry::Logger kLog{"timeline.indexer"};
constexpr telemetry::Counter kPublishedEvents{contracts::metrics::kTimelinePublished};

constexpr std::size_t kMaxOffered = 32u << 20;  // bytes of entries in memory; beyond it the log is read again
constexpr int kCatchUp = 1000;
constexpr int kRefusals = 3;  // rounds in a row that the stream refuses before it is made again

using Tx = pg::SystemTx<pg::IndexerRole>;

pg::Param shard_array(std::span<const int> shards) {
  std::string out = "{";
  for (const int shard : shards) {
    if (out.size() > 1) out += ',';
    out += std::to_string(shard);
  }
  return pg::Param(out + "}");
}

// Kinds that are news about the public knowledge base.
bool is_knowledge(std::string_view kind) {
  static constexpr std::array<std::string_view, 5> kKinds = {"advisory.ingested", "advisory.revised", "advisory.withdrawn",
                                                             "linkset.changed", "vex.ingested"};
  return std::find(kKinds.begin(), kKinds.end(), kind) != kKinds.end();
}

// Without actor and tenant: the topic is public to all tenants.
std::string public_news(const Logged& event) {
  auto entry = json::parse(event.entry);
  if (!entry || !entry->is_object()) return {};
  json::Object& members = entry->as_object();
  members.erase("actor");
  members.erase("tenant_id");
  members.erase("project_id");
  return json::dump(*entry);
}

void append_messages(const Logged& event, std::vector<bus::Message>& out) {
  auto tenant = TenantId::parse(event.tenant);
  const std::string_view kind = entry_member(event.entry, "kind");
  if (!tenant || kind.empty()) return;  // emit wrote neither such a tenant nor such an entry
  bus::Message message;
  message.subject = subject::timeline(*tenant, kind);
  message.headers = {{"Nats-Msg-Id", event.tenant + "/" + std::to_string(event.log_index)},
                     {"Stella-Log-Index", std::to_string(event.log_index)},
                     {"Stella-Event-Id", std::string(entry_member(event.entry, "event_id"))}};
  if (!event.traceparent.empty()) message.headers.emplace_back("traceparent", event.traceparent);
  if (!event.traceparent.empty() && !event.tracestate.empty()) message.headers.emplace_back("tracestate", event.tracestate);
  message.payload = event.entry;
  if (event.tenant == kPlatformTenant && is_knowledge(kind)) {
    bus::Message news = message;
    news.subject = subject::kb(kind);
    news.headers[0].second = "kb/" + std::to_string(event.log_index);
    news.payload = public_news(event);
    std::erase_if(news.headers, [](const auto& h) { return h.first == "tracestate"; });  // a tenant's caller may have said anything there
    out.push_back(std::move(news));
  }
  out.push_back(std::move(message));
}

std::size_t bytes_of(std::span<const Logged> events) {
  std::size_t total = 0;
  for (const Logged& event : events) total += event.entry.size();
  return total;
}

bool stream_is_gone(const Error& error) { return error.field("reason") == "no_stream"; }

}  // namespace

void Publisher::offer(std::vector<Logged> logged) {
  if (logged.empty()) return;
  Lock lock(mutex_);
  nudged_ = true;
  offered_cv_.notify_one();
  const std::size_t bytes = bytes_of(logged);
  if (offered_bytes_ + bytes > kMaxOffered) return;  // the rows are there
  offered_bytes_ += bytes;
  offered_.push_back(std::move(logged));
}

void Publisher::nudge() {
  Lock lock(mutex_);
  nudged_ = true;
  offered_cv_.notify_one();
}

Result<void> Publisher::round(std::span<const int> shards, std::chrono::milliseconds wait) {
  {
    const Deadline deadline = Deadline::after(wait);
    Lock lock(mutex_);
    while (!nudged_ && !deadline.passed()) offered_cv_.wait_until(mutex_, deadline);
    nudged_ = false;
  }
  if (shards.empty()) {
    prepared_for_.clear();
    position_.clear();
    Lock lock(mutex_);
    offered_.clear();
    offered_bytes_ = 0;
    return {};
  }
  std::optional<Error> of_one_tenant;
  auto done = [&]() -> Result<void> {
    STELLA_TRY_VOID(prepare(shards));
    STELLA_TRY_VOID(publish_offered());
    of_one_tenant = STELLA_TRY(catch_up(shards));
    return probe(shards);
  }();
  if (!done && stream_is_gone(done.error())) return rebuild(shards);
  // A store that was deleted under the server refuses every message, and publishing comes before the probe that would find out.
  if (done) refusals_ = 0;
  else if (done.error().field("reason") == "refused" && bus_.connected() && ++refusals_ >= kRefusals) return rebuild(shards);
  if (!done) position_.clear();
  if (done && of_one_tenant) return std::move(*of_one_tenant);
  return done;
}

// Once per set of shards: what was published but never seen by a probe goes out again (the server drops what it still has).
Result<void> Publisher::prepare(std::span<const int> shards) {
  if (!stream_ready_) {
    STELLA_TRY_VOID(bus_.ensure_stream(bus::timeline_topology().stream));
    STELLA_TRY_VOID(bus_.ensure_stream(bus::kb_topology().stream));
    stream_ready_ = true;
  }
  if (std::equal(shards.begin(), shards.end(), prepared_for_.begin(), prepared_for_.end())) return {};
  STELLA_TRY_VOID(rewind(shards));
  prepared_for_.assign(shards.begin(), shards.end());
  return {};
}

Result<void> Publisher::rewind(std::span<const int> shards) {
  Tx tx = STELLA_TRY(Tx::open(pool_));
  tx.defer(sql::kRewind, {shard_array(shards)});
  STELLA_TRY_VOID(tx.commit());
  position_.clear();
  return {};
}

Result<void> Publisher::publish_offered() {
  for (;;) {
    std::vector<Logged> batch;
    {
      Lock lock(mutex_);
      if (offered_.empty()) return {};
      batch = std::move(offered_.front());
      offered_.pop_front();
      offered_bytes_ -= bytes_of(batch);
    }
    // Only what continues a position we know; the rest is found by catch_up().
    std::vector<Logged> fits;
    std::map<std::string, std::int64_t> next;
    for (auto& event : batch) {
      auto it = next.find(event.tenant);
      if (it == next.end()) {
        const auto known = position_.find(event.tenant);
        if (known == position_.end()) continue;
        it = next.emplace(event.tenant, known->second).first;
      }
      if (it->second != event.log_index) continue;
      ++it->second;
      fits.push_back(std::move(event));
    }
    STELLA_TRY_VOID(send(fits));
  }
}

// A log that lost its end is its tenant's trouble: the others go on behind it.
Result<std::optional<Error>> Publisher::catch_up(std::span<const int> shards) {
  std::optional<Error> trouble;
  std::set<std::string, std::less<>> broken;
  for (bool sent = true; std::exchange(sent, false);) {
    const pg::Rows behind = STELLA_TRY(Tx::read(pool_, sql::kBehind, {shard_array(shards)}));
    for (int i = 0; i < behind.size(); ++i) {
      const std::string tenant(behind.text(i, 0));
      if (broken.contains(tenant)) continue;
      const pg::Rows rows = STELLA_TRY(Tx::read(pool_, sql::kEntries, {tenant, behind.integer(i, 1), kCatchUp}));
      std::vector<Logged> events;
      for (int r = 0; r < rows.size(); ++r) events.push_back({tenant, rows.integer(r, 0), rows.bytes(r, 1), std::string(rows.text(r, 2)), std::string(rows.text(r, 3))});
      if (events.empty()) {
        broken.insert(tenant);
        trouble = Error(base_errors::kInternal, "log rows are missing below the head").with("tenant", tenant);
        continue;
      }
      STELLA_TRY_VOID(send(events));
      sent = true;
    }
  }
  return trouble;
}

// Publishes and then moves the positions; a crash in between repeats, never skips.
Result<void> Publisher::send(std::span<const Logged> events) {
  if (events.empty()) return {};
  return telemetry::in_work(
      contracts::work::kTimelinePublish, {},
      [&](telemetry::Work& work) -> Result<void> {
        link_origins(work, events);
        std::vector<bus::Message> messages;
        messages.reserve(events.size());
        std::map<std::string, std::int64_t> next;
        for (const auto& event : events) {
          append_messages(event, messages);
          next[event.tenant] = event.log_index + 1;
        }
        STELLA_TRY_VOID(bus_.publish_batch(messages, Deadline::after(options_.publish_timeout)));
        unconfirmed_ = true;
        published_ += events.size();
        kPublishedEvents.add(static_cast<double>(events.size()));
        std::vector<std::string> tenants;
        std::string positions = "{";
        for (const auto& [tenant, position] : next) {
          tenants.push_back(tenant);
          if (positions.size() > 1) positions += ',';
          positions += std::to_string(position);
        }
        Tx tx = STELLA_TRY(Tx::open(pool_));
        tx.defer(sql::kPublished, {pg::Param::text_array(tenants), positions + "}"});
        STELLA_TRY_VOID(tx.commit());
        for (const auto& [tenant, position] : next) position_[tenant] = position;
        work.did(static_cast<std::int64_t>(events.size()));
        return {};
      },
      telemetry::SpanKind::kProducer);
}

Result<void> Publisher::probe(std::span<const int> shards) {
  const auto now = std::chrono::steady_clock::now();
  const auto every = unconfirmed_ ? options_.probe_active : options_.probe_idle;
  if (failed_probes_ == 0 && now - last_probe_ < every) return {};
  last_probe_ = now;
  auto seen = bus_.probe(bus::timeline_topology().stream, "", Deadline::after(std::chrono::seconds(2)));
  if (!seen) {
    if (!bus_.connected()) {
      failed_probes_ = 0;  // the server is away: that is no fault of its store
      return seen;
    }
    if (++failed_probes_ < 2 && !stream_is_gone(seen.error())) return seen;
    return rebuild(shards);
  }
  failed_probes_ = 0;
  if (!unconfirmed_) return {};
  Tx tx = STELLA_TRY(Tx::open(pool_));
  tx.defer(sql::kConfirm, {shard_array(shards)});
  STELLA_TRY_VOID(tx.commit());
  unconfirmed_ = false;
  return {};
}

Result<void> Publisher::rebuild(std::span<const int> shards) {
  STELLA_TRY_VOID(telemetry::in_work(contracts::work::kTimelineRebuild, {}, [&](telemetry::Work&) -> Result<void> {
    STELLA_TRY_VOID(bus_.rebuild(bus::timeline_topology().stream, {}));
    return bus_.rebuild(bus::kb_topology().stream, {});
  }));
  failed_probes_ = 0;
  refusals_ = 0;
  ++rebuilt_;
  kLog.warn("the timeline stream was rebuilt and is filled from the confirmed position");
  STELLA_TRY_VOID(rewind(shards));
  nudge();
  return {};
}

}  // namespace stella::timeline
