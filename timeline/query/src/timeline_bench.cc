// G15 (insert), G16 (outbox to log and topic) and G17 (page) against servers that this program starts.
//
//   stella_timeline_query_bench [rows of G17, default 5000000] [G15|G16|G17: only that one]
//
// Peers work as a role that bypasses row-level security, in the same run, on the same tables. Ratios count; absolute times are noise.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/contracts/events.h"
#include "stella/platform/bus_topology.h"
#include "stella/testing/nats_server.h"
#include "stella/testing/postgres.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/timeline/query.h"

namespace stella::timeline {
namespace {

using Clock = std::chrono::steady_clock;
using testing::TestScope;

double seconds(const std::function<void()>& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <class T>
T must(Result<T> r) {
  if (r) {
    if constexpr (std::is_void_v<T>) return;
    else return std::move(*r);
  }
  std::fprintf(stderr, "%s\n", r.error().describe().c_str());
  std::abort();
}

void line(const char* id, const char* what, double peer, double ours, const char* unit, double ratio, double goal, bool at_least) {
  const bool good = at_least ? ratio >= goal : ratio <= goal;
  std::printf("%-5s %-58s peer %10.2f  ours %10.2f %-7s ratio %6.2f (must %s %.2f) %s\n", id, what, peer, ours, unit, ratio, at_least ? ">=" : "<=", goal,
              good ? "PASS" : "FAIL");
  std::fflush(stdout);
}

Event event(int n) {
  Event e{.kind = contracts::events::kServiceDegraded, .resource_type = "service", .resource_id = "s" + std::to_string(n % 1000)};
  e.details = json::Value::object({{"service", e.resource_id}, {"part", "postgresql"}, {"reason", "no answer within the deadline"}});
  e.resources = {{"trace", std::to_string(n % 5000)}};
  e.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  return e;
}

constexpr std::string_view kInsert =
    "INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry, resources, traceparent) VALUES ($1, $2, $3, $4, $5, $6, $7)";

// ── G15 ──
struct Insert {
  testing::TestDatabase db;
  TenantId tenant = db.tenant("acme");
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::IndexerRole> bypass{db.options("stella_super")};
  static constexpr int kBatch = 1000;

  // Rows with their bytes made beforehand: the peers pay for no encoding.
  std::vector<std::vector<pg::Param>> rows() {
    std::vector<std::vector<pg::Param>> out;
    for (int i = 0; i < kBatch; ++i) {
      const EventId id = EventId::generate();
      const Timestamp ts = Timestamp::now();
      std::vector<pg::Param> row = {shard_of(tenant), tenant, id, ts};
      row.push_back(pg::Param::bytes(must(encode_entry(id, ts, tenant, event(i)))));
      row.emplace_back("[[\"trace\", \"1\"]]");
      row.emplace_back("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
      out.push_back(std::move(row));
    }
    return out;
  }
  std::string copy_data(const std::vector<std::vector<pg::Param>>& rows) {
    std::string out;
    for (const auto& row : rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (i > 0) out += '\t';
        out += row[i].binary() ? "\\\\x" + hex_encode(row[i].value()) : row[i].value();
      }
      out += '\n';
    }
    return out;
  }
  void pipelined(const std::vector<std::vector<pg::Param>>& rows) {
    auto tx = must(pg::SystemTx<pg::IndexerRole>::open(bypass));
    must(tx.query_many(kInsert, rows));
    must(tx.commit());
  }
  // A round trip each, as a service without a pipeline writes: in one transaction, or with a commit each.
  void prepared(const std::vector<std::vector<pg::Param>>& rows) {
    auto tx = must(pg::SystemTx<pg::IndexerRole>::open(bypass));
    for (const auto& row : rows) must(tx.query(kInsert, row));
    must(tx.commit());
  }
  void committed(const std::vector<std::vector<pg::Param>>& rows) {
    for (const auto& row : rows) {
      auto tx = must(pg::SystemTx<pg::IndexerRole>::open(bypass));
      must(tx.query(kInsert, row));
      must(tx.commit());
    }
  }
  void copy(const std::string& data) {
    auto tx = must(pg::SystemTx<pg::IndexerRole>::open(bypass));
    must(tx.copy_in("COPY timeline_outbox (shard, tenant_id, event_id, ts, entry, resources, traceparent) FROM STDIN", data));
    must(tx.commit());
  }
  // Ours is the real call: catalogue check, canonical encoding, one statement, row-level security.
  void ours(std::vector<Event> events) {
    auto tx = must(pg::TenantTx::open(web, TestScope::make("acme")));
    must(emit_many(tx, std::move(events)));
    must(tx.commit());
  }
  // The same work with one event per call: what a single transition pays.
  void ours_deferred(std::vector<Event> events) {
    auto tx = must(pg::TenantTx::open(web, TestScope::make("acme")));
    for (auto& e : events) must(emit(tx, std::move(e)));
    must(tx.commit());
  }

  void run() {
    const auto data = rows();
    const auto text = copy_data(data);
    std::vector<Event> events;
    for (int i = 0; i < kBatch; ++i) events.push_back(event(i));
    std::map<std::string, std::vector<double>> best;
    for (int round = 0; round < 15; ++round) {
      best["pipelined"].push_back(seconds([&] { pipelined(data); }));
      best["prepared"].push_back(seconds([&] { prepared(data); }));
      best["committed"].push_back(seconds([&] { committed(data); }));
      best["copy"].push_back(seconds([&] { copy(text); }));
      auto a = events, b = events;
      best["ours"].push_back(seconds([&] { ours(std::move(a)); }));
      best["deferred"].push_back(seconds([&] { ours_deferred(std::move(b)); }));
      db.sql("TRUNCATE timeline_outbox");
    }
    auto rate = [&](const char* name) {
      auto& times = best[name];
      std::sort(times.begin(), times.end());
      return kBatch / times[times.size() / 2] / 1000;
    };
    line("G15", "insert under RLS vs pipelined INSERT, bypassing", rate("pipelined"), rate("ours"), "k/s", rate("ours") / rate("pipelined"), 1.4, true);
    line("G15", "insert under RLS vs prepared INSERT + COMMIT each", rate("committed"), rate("ours"), "k/s", rate("ours") / rate("committed"), 8, true);
    std::printf("G15   prepared INSERT, a round trip each in one transaction, bypassing: %.1f k/s\n", rate("prepared"));
    line("G15", "insert under RLS vs COPY, bypassing", rate("copy"), rate("ours"), "k/s", rate("ours") / rate("copy"), 0.9, true);
    std::printf("G15   single emit() calls of one transaction, one round trip: %.1f k/s\n", rate("deferred"));
  }
};

// ── G16 ──
// Rates in thousands per second: what is in the log, and what has been acknowledged on the topic as well.
void outbox_to_log(bool publish) {
  testing::TestDatabase db;
  pg::Pool web(db.options("stella_web"));
  for (auto t : {"acme", "rival", "third", "fourth"}) db.tenant(t);
  constexpr int kEvents = 100'000;
  for (int i = 0; i < kEvents / 1000; ++i) {
    std::vector<Event> events;
    for (int k = 0; k < 1000; ++k) events.push_back(event(i * 1000 + k));
    auto tx = must(pg::TenantTx::open(web, TestScope::make(std::array{"acme", "rival", "third", "fourth"}[static_cast<std::size_t>(i) % 4])));
    must(emit_many(tx, std::move(events)));
    must(tx.commit());
  }
  db.sql("ANALYZE");
  pg::SystemPool<pg::IndexerRole> pool(db.options("stella_indexer"));
  std::optional<testing::NatsServer> nats;
  std::unique_ptr<bus::Connection> bus;
  if (publish) {
    nats.emplace();
    bus = nats->connect(bus::user::kIndexer);
  }
  Indexer indexer(pool, bus.get(), {});
  const double took = seconds([&] {
    std::jthread thread([&](std::stop_token stop) { indexer.run(stop); });
    const auto done = [&] { return publish ? indexer.stats().published : indexer.stats().indexed; };
    while (done() < kEvents) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  line("G16", publish ? "outbox -> index, leaf, all rows, row gone, published" : "the same, not published", 25, kEvents / took / 1000, "k/s", kEvents / took / 25000, 1, true);
}

// ── G17 ──
void page(long rows) {
  testing::TestDatabase db;
  db.tenant("acme");
  db.tenant("rival");
  std::printf("G17   filling %ld rows …\n", rows);
  std::fflush(stdout);
  // One in ten belongs to the other tenant; 60 days, kinds and resources spread; ids in order of time,
  // as EventId makes them.
  db.sql("SELECT stella_ensure_timeline_partition_of(now() - interval '40 days'); SELECT stella_ensure_timeline_partition_of(now() - interval '70 days');"
         "SET statement_timeout = 0; SET synchronous_commit = off; SET maintenance_work_mem = '1GB';"
         "CREATE TEMP TABLE g AS SELECT i, CASE WHEN i % 10 = 0 THEN 'rival' ELSE 'acme' END AS t,"
         " (lpad(to_hex(floor(extract(epoch FROM ts) * 1000)::bigint), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid AS id, ts"
         " FROM (SELECT i, now() - interval '60 days' + i * (interval '60 days' / " + std::to_string(rows) + ") AS ts FROM generate_series(1, " + std::to_string(rows) + ") i) s;"
         "INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) SELECT t, i, id, convert_to(format('{\"actor\":\"user:x\",\"details\":{\"n\":%s,\"reason\":\"no answer within the deadline\"},\"event_id\":\"%s\",\"kind\":\"service.degraded\",\"project_id\":null,\"resource_id\":\"s1\",\"resource_type\":\"service\",\"tenant_id\":\"%s\",\"trace_id\":\"\",\"ts\":\"x\"}', i, id, t), 'UTF8') FROM g ORDER BY i;"
         "INSERT INTO timeline_events SELECT g.id, g.ts, g.t, NULL, 'k.' || i % 50, 'user:x', 'service', 's' || i % 100000, md5((i / 20)::text), sha256('\\x00'::bytea || l.entry), '{\"n\":1}' FROM g JOIN timeline_log l ON l.tenant_id = g.t AND l.log_index = g.i ORDER BY i;"
         "ANALYZE timeline_events; ANALYZE timeline_log;");
  pg::Pool web(db.options("stella_web"));
  pg::Pool bypass(db.options("stella_super"));
  const TenantScope scope = TestScope::make("acme");
  if (must(list(web, scope, {})).items.size() != 100) std::abort();  // an empty table would be fast
  const std::map<const char*, Filter> filters = {
      {"page of 100, newest first", {}},
      {"page of 100, one kind", {.kinds = {"k.7"}}},
      {"page of 100, order=log", {.order = Order::kLog}},
      {"page of 100, one resource", {.resources = {{"service", "s77", false}}}},
  };
  for (const auto& [name, base] : filters) {
    std::vector<double> ours, peer;
    Filter f = base, g = base;
    for (int i = 0; i < 600; ++i) {
      // Alternating, each at its own cursor, so that both walk the same pages.
      const auto one = [&](pg::Pool& pool, Filter& filter, std::vector<double>& times) {
        Page found;
        const double took = seconds([&] { found = must(list(pool, scope, filter)); });
        if (i >= 50) times.push_back(took * 1000);
        filter.cursor = found.next_cursor.value_or("");
      };
      if (i % 2 == 0) one(bypass, g, peer);  // who comes second finds the pages warm
      one(web, f, ours);
      if (i % 2 == 1) one(bypass, g, peer);
    }
    std::sort(ours.begin(), ours.end());
    std::sort(peer.begin(), peer.end());
    line("G17", name, peer[peer.size() / 2], ours[ours.size() / 2], "ms", ours[ours.size() / 2] / peer[peer.size() / 2], 1.15, false);
    std::printf("G17   … p99 %.2f ms (must <= 1.00) %s; bypassing p99 %.2f ms\n", ours[ours.size() * 99 / 100], ours[ours.size() * 99 / 100] <= 1 ? "PASS" : "FAIL",
                peer[peer.size() * 99 / 100]);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace stella::timeline

// What the insert of G15 costs without the database.
namespace stella::timeline {
static void encoding() {
  const TenantId tenant = *TenantId::parse("acme");
  std::vector<Event> events;
  for (int i = 0; i < 1000; ++i) events.push_back(event(i));
  const double took = seconds([&] {
    for (const auto& e : events) must(encode_entry(EventId::generate(), Timestamp::now(), tenant, e));
  });
  std::printf("G15   of which encoding an entry: %.2f us\n", took * 1000);
}
}  // namespace stella::timeline

int main(int argc, char** argv) {
  const long rows = argc > 1 ? std::atol(argv[1]) : 5'000'000;
  const std::string only = argc > 2 ? argv[2] : "";
  if (only.empty() || only == "G15") {
    stella::timeline::encoding();
    stella::timeline::Insert().run();
  }
  if (only.empty() || only == "G16") {
    stella::timeline::outbox_to_log(true);
    stella::timeline::outbox_to_log(false);
  }
  if (only.empty() || only == "G17") stella::timeline::page(rows);
}
