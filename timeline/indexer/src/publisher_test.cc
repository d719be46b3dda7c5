// Publication through a real nats-server: order, headers, position, and recovery when its whole store is deleted.
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/context.h"
#include "stella/testing/nats_server.h"
#include "stella/testing/work_seen.h"
#include "testkit.h"

namespace stella::timeline {
namespace {

IndexerOptions quick() {
  IndexerOptions o;
  o.instance = "publishing";
  o.poll = std::chrono::milliseconds(20);
  o.lease = std::chrono::milliseconds(1000);
  o.probe_active = std::chrono::milliseconds(200);
  o.probe_idle = std::chrono::milliseconds(500);
  o.publish_timeout = std::chrono::milliseconds(3000);
  return o;
}

struct Publication : ::testing::Test {
  Timeline t;
  testing::NatsServer nats;
  std::unique_ptr<bus::Connection> bus = nats.connect(bus::user::kIndexer);

  // What lies on `stream`, from its beginning.
  std::vector<bus::Message> all(std::string_view stream, std::string_view filter, std::size_t at_least, const std::string& durable) {
    std::vector<bus::Message> out;
    bus::ConsumerSpec spec;
    spec.stream = stream;
    spec.durable = durable;
    spec.filter_subject = filter;
    auto made = bus->ensure_consumer(spec);
    EXPECT_TRUE(made.has_value()) << made.error().describe();
    auto consumer = bus::PullConsumer::bind(*bus, std::string(stream), durable);
    EXPECT_TRUE(consumer.has_value()) << consumer.error().describe();
    if (!consumer) return out;
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    while (out.size() < at_least && !deadline.passed()) {
      auto fetched = (*consumer)->fetch(100, std::chrono::milliseconds(300));
      if (!fetched) break;
      for (auto& delivery : *fetched) {
        out.push_back(delivery.message());
        EXPECT_TRUE(delivery.ack().has_value());
      }
    }
    return out;
  }
  static std::string header(const bus::Message& m, std::string_view name) {
    for (const auto& [key, value] : m.headers)
      if (key == name) return value;
    return "";
  }
  std::string position(std::string_view column = "published") {
    return t.sql("SELECT coalesce(sum(" + std::string(column) + "), 0) FROM timeline_heads");
  }
};

TEST_F(Publication, InLogOrderWithIndexAndTraceAfterTheCommit) {
  const testing::WorkSeen seen;
  for (int i = 0; i < 30; ++i) t.emit_one(i % 3 == 0 ? "rival" : "acme", Timeline::event(i));
  Running running(t, bus.get(), quick());
  set_wake_hook(wake_hook(&running.indexer, nullptr));
  EXPECT_TRUE(eventually([&] { return position() == "30"; }));
  {
    // Emitted inside the trace: its state goes with the event.
    const telemetry::ContextScope scope(telemetry::Context::continue_from({*telemetry::parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), "vendor=1"}));
    for (int i = 30; i < 60; ++i) t.emit_one(i % 3 == 0 ? "rival" : "acme", Timeline::event(i));  // now from memory
  }
  EXPECT_TRUE(eventually([&] { return position() == "60"; }));
  set_wake_hook([](int) {});
  const auto messages = all(bus::kTimelineStream, "stella.acme.timeline.*", 40, "reader");
  ASSERT_EQ(messages.size(), 40u);
  const auto ids = t.check_log("acme");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    EXPECT_EQ(messages[i].subject, "stella.acme.timeline.service_degraded");
    EXPECT_EQ(header(messages[i], "Stella-Log-Index"), std::to_string(i));
    EXPECT_EQ(header(messages[i], "traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    EXPECT_EQ(header(messages[i], "tracestate"), i < 20 ? "" : "vendor=1");
    auto entry = json::parse(messages[i].payload);
    ASSERT_TRUE(entry.has_value());
    EXPECT_EQ(entry->str("event_id"), ids[i]);
  }
  EXPECT_TRUE(eventually([&] { return position("confirmed") == "60"; }));
  EXPECT_EQ(running.indexer.stats().rebuilt, 0u);
  EXPECT_TRUE(eventually([&] { return !seen.spans("timeline.publish").empty(); }));
  const auto index = seen.spans("timeline.index"), publish = seen.spans("timeline.publish");
  ASSERT_FALSE(index.empty());
  EXPECT_EQ(index[0].kind + " " + index[0].status, "consumer ok");
  EXPECT_EQ(publish[0].kind + " " + publish[0].status, "producer ok");
  EXPECT_NE(index[0].links, "[]") << "to the traces that the events come from";
  EXPECT_NE(publish[0].links, "[]");
  EXPECT_EQ(seen.spans("timeline.partitions").size(), 1u);
}

TEST_F(Publication, KnowledgeBaseNewsCarryNoTenantData) {
  Event e{.kind = contracts::events::kAdvisoryIngested, .resource_type = "source", .resource_id = "osv"};
  const auto* kind = contracts::find_event(e.kind);
  for (const auto& field : kind->details)
    if (field.required) e.details.set(std::string(field.name), field.type == contracts::DetailType::kInt ? json::Value(1) : json::Value("osv"));
  t.emit_one("global", e);
  t.emit_one("acme", e);
  Running running(t, bus.get(), quick());
  EXPECT_TRUE(eventually([&] { return position() == "2"; }));
  const auto news = all(bus::kKbStream, "stella.global.kb.*", 1, "news");
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].subject, "stella.global.kb.advisory_ingested");
  EXPECT_EQ(news[0].payload.find("user:"), std::string::npos);
  EXPECT_EQ(news[0].payload.find("tenant_id"), std::string::npos);
  EXPECT_EQ(all(bus::kTimelineStream, "stella.*.timeline.*", 2, "reader").size(), 2u);
}

TEST_F(Publication, ALogThatLostItsEndStopsNoOther) {
  for (int i = 0; i < 3; ++i) t.emit_one("acme", Timeline::event(i));
  {
    Running running(t, nullptr, quick());
    ASSERT_TRUE(eventually([&] { return t.drained(); }));
  }
  t.sql("DELETE FROM timeline_log WHERE tenant_id = 'acme'");
  t.emit_one("third", Timeline::event(3));
  Running running(t, bus.get(), quick());
  EXPECT_TRUE(eventually([&] { return t.sql("SELECT published || ' ' || confirmed FROM timeline_heads WHERE tenant_id = 'third'") == "1 1"; }));
  EXPECT_TRUE(eventually([&] { return running.indexer.trouble() && running.indexer.trouble()->field("tenant") == "acme"; })) << "and it is told";
  EXPECT_EQ(t.sql("SELECT published FROM timeline_heads WHERE tenant_id = 'acme'"), "0");
}

TEST_F(Publication, NatsAwayDelaysPublicationOnly) {
  Running running(t, bus.get(), quick());
  t.emit_one("acme", Timeline::event(0));
  EXPECT_TRUE(eventually([&] { return position() == "1"; }));
  nats.kill();
  for (int i = 1; i < 20; ++i) t.emit_one("acme", Timeline::event(i));
  EXPECT_TRUE(eventually([&] { return t.drained(); }));
  EXPECT_TRUE(eventually([&] { return running.indexer.trouble().has_value(); }));
  EXPECT_EQ(t.check_log("acme").size(), 20u);
  nats.start();
  EXPECT_TRUE(eventually([&] { return position() == "20"; }));
  std::set<std::string> indexes;
  for (const auto& m : all(bus::kTimelineStream, "stella.acme.timeline.*", 20, "reader")) indexes.insert(header(m, "Stella-Log-Index"));
  EXPECT_EQ(indexes.size(), 20u);
}

TEST_F(Publication, StoreDeletedWhileRunningIsRebuiltAndFilled) {
  const testing::WorkSeen seen;
  IndexerOptions options = quick();
  // While messages flow the server goes on from its open files; it loses itself once it has closed them for want of work.
  options.probe_idle = std::chrono::seconds(14);
  Running running(t, bus.get(), options);
  for (int i = 0; i < 10; ++i) t.emit_one("acme", Timeline::event(i));
  ASSERT_TRUE(eventually([&] { return position("confirmed") == "10"; }));
  nats.delete_store();
  EXPECT_TRUE(eventually([&] { return running.indexer.stats().rebuilt > 0; }));
  EXPECT_FALSE(seen.spans("timeline.rebuild").empty());
  int emitted = 10;
  while (emitted < 30) t.emit_one("acme", Timeline::event(emitted++));
  EXPECT_TRUE(eventually([&] { return position() == std::to_string(emitted) && position("confirmed") == std::to_string(emitted); }));
  // Everything that was not confirmed before the loss is on the new stream, in order, without a gap.
  std::int64_t next = -1;
  for (const auto& m : all(bus::kTimelineStream, "stella.acme.timeline.*", static_cast<std::size_t>(emitted - 10), "reader")) {
    const auto index = std::stoll(header(m, "Stella-Log-Index"));
    if (next < 0) {
      EXPECT_LE(index, 10);
      next = index;
    }
    if (index < next) continue;  // at least once
    EXPECT_EQ(index, next);
    ++next;
  }
  EXPECT_EQ(next, emitted);
  EXPECT_EQ(t.check_log("acme").size(), static_cast<std::size_t>(emitted));
}

TEST_F(Publication, StoreDeletedBeforeARestart) {
  {
    Running running(t, bus.get(), quick());
    for (int i = 0; i < 5; ++i) t.emit_one("acme", Timeline::event(i));
    ASSERT_TRUE(eventually([&] { return position("confirmed") == "5"; }));
  }
  nats.kill();
  nats.delete_store();
  for (int i = 5; i < 9; ++i) t.emit_one("acme", Timeline::event(i));
  nats.start();
  Running running(t, bus.get(), quick());
  EXPECT_TRUE(eventually([&] { return position() == "9" && position("confirmed") == "9"; }));
  const auto messages = all(bus::kTimelineStream, "stella.acme.timeline.*", 4, "reader");
  ASSERT_GE(messages.size(), 4u);
  EXPECT_EQ(header(messages.back(), "Stella-Log-Index"), "8");
}

}  // namespace
}  // namespace stella::timeline
