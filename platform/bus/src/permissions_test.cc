// Who may say and hear what, tried against a real server: above all what a runner that was taken over cannot do.
#include <gtest/gtest.h>

#include <atomic>

#include "impl.h"
#include "stella/contracts/errors.h"
#include "stella/platform/bus_server_config.h"
#include "stella/platform/bus_topology.h"
#include "stella/testing/nats_server.h"

namespace stella::bus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Permissions : public ::testing::Test {
 protected:
  void SetUp() override {
    orchestrator_ = server_.connect(user::kOrchestrator);
    indexer_ = server_.connect(user::kIndexer);
    runner_ = server_.connect(user::kRunner);
    web_ = server_.connect(user::kWeb);
    for (const auto& topology : {jobs_topology(), results_topology()}) {
      ASSERT_TRUE(orchestrator_->ensure_stream(topology.stream));
      for (const auto& consumer : topology.consumers) ASSERT_TRUE(orchestrator_->ensure_consumer(consumer));
    }
    for (const auto& topology : {timeline_topology(), kb_topology()}) {
      const auto made = indexer_->ensure_stream(topology.stream);
      ASSERT_TRUE(made) << made.error().describe();
    }
  }
  static Result<void> say(Connection& connection, std::string_view subject) {
    return connection.publish(subject, "{}", {}, "", Deadline::after(seconds(5)));
  }
  static void expect_refused(Connection& connection, std::string_view subject) {
    const auto said = say(connection, subject);
    ASSERT_FALSE(said) << subject;
    EXPECT_EQ(said.error().code(), contracts::errors::kForbidden) << said.error().describe();
  }

  testing::NatsServer server_;
  std::unique_ptr<Connection> orchestrator_, indexer_, runner_, web_;
};

TEST_F(Permissions, EachSaysItsOwn) {
  EXPECT_TRUE(say(*orchestrator_, "stellajobs.sbom_compute.acme"));
  EXPECT_TRUE(say(*indexer_, "stella.acme.timeline.sbom_received"));
  EXPECT_TRUE(say(*indexer_, "stella.global.kb.advisory_received"));
  EXPECT_TRUE(say(*runner_, "stellaresults.result.acme"));
}

TEST_F(Permissions, NobodyButTheIndexerSaysTimelineEvents) {
  for (auto* connection : {orchestrator_.get(), runner_.get(), web_.get()}) {
    expect_refused(*connection, "stella.acme.timeline.sbom_received");
    expect_refused(*connection, "stella.global.kb.advisory_received");
  }
}

TEST_F(Permissions, TheRunnerSaysOnlyResults) {
  expect_refused(*runner_, "stellajobs.sbom_compute.acme");
  expect_refused(*runner_, "stellawake.0");
  expect_refused(*runner_, "$JS.API.STREAM.DELETE.STELLA_JOBS");
  expect_refused(*runner_, "$JS.API.CONSUMER.CREATE.STELLA_TIMELINE");
  expect_refused(*runner_, "$JS.API.CONSUMER.DURABLE.CREATE.STELLA_JOBS.mine");
  expect_refused(*runner_, "$JS.API.STREAM.MSG.GET.STELLA_JOBS");
  expect_refused(*runner_, "_inbox.indexer.x");
}

TEST_F(Permissions, WebSaysOnlyHints) {
  for (const auto* subject : {"stellajobs.sbom_compute.acme", "stellaresults.result.acme", "$JS.API.STREAM.PURGE.STELLA_JOBS"}) expect_refused(*web_, subject);
}

TEST_F(Permissions, TheRunnerTakesJobsAndNothingElse) {
  ASSERT_TRUE(say(*orchestrator_, "stellajobs.sbom_compute.acme"));
  const auto jobs = PullConsumer::bind(*runner_, std::string(kJobsStream), std::string(kRunnerConsumer));
  ASSERT_TRUE(jobs) << jobs.error().describe();
  auto got = (*jobs)->fetch(1, seconds(5)).value();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0].ack());
  ASSERT_TRUE(say(*runner_, "stellaresults.result.acme"));
  const auto results = PullConsumer::bind(*runner_, std::string(kResultsStream), std::string(kOrchestratorConsumer));
  EXPECT_TRUE(!results || (*results)->fetch(1, milliseconds(500)).value_or(std::vector<Delivery>()).empty());
  EXPECT_FALSE(runner_->ensure_stream(jobs_topology().stream));
}

// Subscriptions are refused out of band, so this asks what arrives: nothing, although the messages pass by.
TEST_F(Permissions, TheRunnerHearsNeitherTenantsNorReplies) {
  std::atomic<int> heard{0};
  std::vector<std::shared_ptr<void>> handles;
  for (const auto* subject : {">", "stella.>", "stella.acme.timeline.*", "stellajobs.>", "stellawake.>", "_inbox.>", "_inbox.indexer.>", "_INBOX.>", "$JS.>"}) {
    auto handle = runner_->listen(subject, [&] { ++heard; });
    if (handle) handles.push_back(*handle);
  }
  ASSERT_TRUE(say(*indexer_, "stella.acme.timeline.sbom_received"));
  ASSERT_TRUE(say(*orchestrator_, "stellajobs.sbom_compute.acme"));
  web_->tell("stellawake.0", "");
  ASSERT_TRUE(say(*indexer_, "stella.acme.timeline.sbom_received"));
  // The runner's own round trip ends after whatever the server would have sent it before.
  ASSERT_TRUE(say(*runner_, "stellaresults.result.acme"));
  EXPECT_EQ(heard, 0);
}

// A server sends replies to whatever subject the request names. The runner must not be able to make it say timeline events.
TEST_F(Permissions, ReplySubjectsOfTheRunnerReachNothing) {
  std::atomic<int> forged{0};
  const auto handle = indexer_->listen("stellawake.*", [&] { ++forged; });
  ASSERT_TRUE(handle);
  ASSERT_TRUE(say(*orchestrator_, "stellajobs.sbom_compute.acme"));
  for (const auto* subject : {"$JS.API.CONSUMER.MSG.NEXT.STELLA_JOBS.runner", "stellajs.CONSUMER.MSG.NEXT.STELLA_JOBS.runner", "stellaresults.result.acme"}) {
    natsConnection_PublishRequestString(runner_->impl().nc, subject, "stellawake.7", "1");
  }
  ASSERT_TRUE(say(*runner_, "stellaresults.result.acme"));
  ASSERT_TRUE(say(*indexer_, "stella.acme.timeline.sbom_received"));
  EXPECT_EQ(forged, 0);
}

TEST(ServerConfig, QuotesAndLeavesOutUsersWithoutPassword) {
  ServerConfigOptions options;
  options.passwords = {{"runner", "a\"b\\c"}};
  const auto text = nats_server_config(options);
  EXPECT_NE(text.find("password: \"a\\\"b\\\\c\""), std::string::npos);
  EXPECT_EQ(text.find("user: \"web\""), std::string::npos);
}

}  // namespace
}  // namespace stella::bus
