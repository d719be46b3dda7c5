// JetStream's directory is deleted while the server runs: publishes go on being acknowledged, nothing arrives. Only the probe notices,
// only a rebuild heals (nats-server 2.9).
#include <gtest/gtest.h>

#include "stella/platform/bus_topology.h"
#include "stella/testing/nats_server.h"

namespace stella::bus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(LostStore, ProbeFailsAndRebuildHeals) {
  testing::NatsServer server;
  const auto owner = server.connect(user::kOrchestrator);
  const auto topology = jobs_topology();
  ASSERT_TRUE(owner->ensure_stream(topology.stream));
  ASSERT_TRUE(owner->ensure_consumer(topology.consumers[0]));
  const auto runner = server.connect(user::kRunner);
  const auto jobs = PullConsumer::bind(*runner, topology.stream.name, topology.consumers[0].durable).value();
  ASSERT_TRUE(owner->probe(topology.stream, "", Deadline::after(seconds(5))));

  server.delete_store();
  const auto until = Deadline::after(seconds(60));
  bool failed = false;
  while (!failed && !until.passed()) failed = !owner->probe(topology.stream, "", Deadline::after(seconds(2)));
  ASSERT_TRUE(failed) << "the probe must notice";

  const auto before = rebuilt_total();
  const auto rebuilt = owner->rebuild(topology.stream, topology.consumers);
  ASSERT_TRUE(rebuilt) << rebuilt.error().describe();
  EXPECT_EQ(rebuilt_total(), before + 1);
  const auto probed = owner->probe(topology.stream, "", Deadline::after(seconds(5)));
  EXPECT_TRUE(probed) << probed.error().describe();
  ASSERT_TRUE(owner->publish("stellajobs.x.acme", "said again", {}, "j.1", Deadline::after(seconds(5))));
  ASSERT_TRUE(jobs->rebind());
  std::vector<Delivery> got;
  const auto deadline = Deadline::after(seconds(10));
  while (got.empty() && !deadline.passed()) got = jobs->fetch(1, milliseconds(500)).value();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].message().payload, "said again");
}

}  // namespace
}  // namespace stella::bus
