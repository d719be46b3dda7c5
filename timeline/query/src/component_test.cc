// A component is found through what contains it: its SBOMs, their evaluations, exports and jobs; for its own tenant alone.
#include "component.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "statement.h"
#include "stella/base/json.h"
#include "stella/contracts/events.h"
#include "stella/testing/postgres.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"

namespace stella::timeline {
namespace {

using testing::TestScope;
namespace events = contracts::events;

std::string spelled(std::string id, bool prefix = false) {
  std::string out;
  for (const auto& part : component_parts({"component", std::move(id), prefix})) out += (out.empty() ? "" : " ") + part.id + (part.prefix ? "*" : "");
  return out;
}

TEST(ComponentParts, AVersionIsExactANameIsEveryVersionAPrefixIsAPrefix) {
  EXPECT_EQ(spelled("pkg:npm/left-pad@1.3.0"), "pkg:npm/left-pad@1.3.0");
  EXPECT_EQ(spelled("pkg:npm/left-pad"), "pkg:npm/left-pad pkg:npm/left-pad@* pkg:npm/left-pad?* pkg:npm/left-pad#*");
  EXPECT_EQ(spelled("pkg:npm/left", true), "pkg:npm/left*");
  EXPECT_EQ(spelled("pkg:npm/@angular/core@17.0.0"), "pkg:npm/%40angular/core@17.0.0");
  EXPECT_EQ(spelled("pkg:npm/@angular/core").substr(0, 49), "pkg:npm/%40angular/core pkg:npm/%40angular/core@*");
  EXPECT_EQ(spelled("some firmware"), "some firmware");
  EXPECT_FALSE(asks_for_component({"component", "", true}));
  EXPECT_FALSE(asks_for_component({"sbom", "x", false}));
}

struct Components : ::testing::Test {
  testing::TestDatabase db;
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::IndexerRole> indexer_pool{db.options("stella_indexer")};
  TenantScope acme = TestScope::make("acme");
  TenantScope rival = TestScope::make("rival");

  Components() {
    for (const char* tenant : {"acme", "rival"}) db.tenant(tenant);
  }
  static std::string uuid(int n) { return "01900000-0000-7000-8000-" + std::string(12 - std::to_string(n).size(), '0') + std::to_string(n); }
  // An SBOM with components, evaluated once, exported once; the numbers of SBOM, evaluation, export and their jobs are n, n+1, n+2, n+3….
  void product(std::string_view tenant, int n, const std::vector<std::string>& purls) {
    const std::string t = "'" + std::string(tenant) + "', '";
    db.sql("INSERT INTO sboms (tenant_id, sbom_id, project_id, sha256, size, state, received_by, trace_id) VALUES (" + t + uuid(n) + "', '" + uuid(n) + "', '\\x" + std::string(60, '0') + std::to_string(1000 + n) +
           "', 1, 'computed', 'user:x', '')");
    for (const auto& purl : purls) db.sql("INSERT INTO sbom_components VALUES (" + t + purl + "', '" + uuid(n) + "')");
    db.sql("INSERT INTO evaluations (tenant_id, evaluation_id, project_id, sbom_id, policy_version, as_of, state, sbom_sha256, components_sha256, policy_sha256, advisory_set_sha256, requested_by, traceparent, trace_id)"
           " VALUES (" + t + uuid(n + 1) + "', '" + uuid(n) + "', '" + uuid(n) + "', 'p@1', now(), 'finished', '', '', '', '', 'user:x', '', '')");
    db.sql("INSERT INTO exports (tenant_id, export_id, evaluation_id, format, state, requested_by, trace_id) VALUES (" + t + uuid(n + 2) + "', '" + uuid(n + 1) + "', 'json', 'requested', 'user:x', '')");
    const char* types[] = {"sbom", "evaluation", "export"};
    for (int i = 0; i < 3; ++i)
      db.sql("INSERT INTO jobs (tenant_id, job_id, kind, state, engine_version, params, inputs, idempotency_sha256, resource_type, resource_id, requested_by, traceparent, trace_id) VALUES (" + t +
             uuid(n + 3 + i) + "', 'k', 'failed', '1', '{}', '[]', '', '" + types[i] + "', '" + uuid(n + i) + "', 'user:x', '', '')");
  }
  void say(const TenantScope& scope, std::string_view kind, std::string type, std::string id, std::vector<std::pair<std::string, std::string>> others = {}) {
    Event e{.kind = kind, .resource_type = std::move(type), .resource_id = std::move(id)};
    e.resources = std::move(others);
    e.trace = *TraceId::parse("0af7651916cd43dd8448eb211c80319c");
    for (const auto& field : contracts::find_event(kind)->details) {
      if (!field.required) continue;
      using contracts::DetailType;
      e.details.set(std::string(field.name), field.type == DetailType::kInt       ? json::Value(1)
                                             : field.type == DetailType::kUuid    ? json::Value(uuid(1))
                                             : field.type == DetailType::kStrings ? json::Value(json::Array())
                                             : field.type == DetailType::kObject  ? json::Value::object()
                                                                                  : json::Value("x"));
    }
    auto tx = pg::TenantTx::open(web, scope);
    auto emitted = emit(*tx, std::move(e));
    ASSERT_TRUE(emitted.has_value()) << emitted.error().describe();
    ASSERT_TRUE(tx->commit().has_value());
  }
  // Failures of all jobs of a product, and an annotation of its evaluation that names the SBOM only as another resource.
  void life(const TenantScope& scope, int n) {
    for (int i = 0; i < 3; ++i) say(scope, events::kJobFailed, "job", uuid(n + 3 + i));
    say(scope, events::kJobStarted, "job", uuid(n + 3));
    say(scope, events::kAnnotationAdded, "case", "c" + std::to_string(n), {{"sbom", uuid(n)}});
  }
  void index() {
    Indexer indexer(indexer_pool, nullptr, {.poll = std::chrono::milliseconds(5)});
    std::jthread thread([&](std::stop_token stop) { indexer.run(stop); });
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    while (db.sql("SELECT count(*) FROM timeline_outbox") != "0") ASSERT_FALSE(deadline.passed());
  }
  Filter filter(std::string_view resource, std::string_view kind = "") {
    std::vector<std::pair<std::string, std::string>> parameters{{"resource", std::string(resource)}};
    if (!kind.empty()) parameters.emplace_back("kind", std::string(kind));
    return parse_filter(parameters).value();
  }
  // "kind resource" of all pages, in the order of the log; both orders must say the same, with pages of any size.
  std::vector<std::string> found(const TenantScope& scope, const Filter& f) {
    std::vector<std::string> small = found(scope, f, 2);
    EXPECT_EQ(small, found(scope, f, 10));
    return small;
  }
  std::vector<std::string> found(const TenantScope& scope, Filter f, int limit) {
    std::vector<std::string> by[2];
    for (const Order order : {Order::kTime, Order::kLog}) {
      f.order = order;
      f.limit = limit;
      f.cursor.clear();
      for (int guard = 0; guard < 100; ++guard) {
        auto page = list(web, scope, f);
        EXPECT_TRUE(page.has_value()) << page.error().describe();
        if (!page) return {};
        for (const auto& item : page->items) {
          const auto entry = json::parse(item.entry);
          by[order == Order::kLog].push_back(std::string(entry->str("kind")) + " " + std::string(entry->str("resource_id")));
        }
        if (!page->next_cursor) break;
        f.cursor = *page->next_cursor;
      }
    }
    std::reverse(by[0].begin(), by[0].end());
    EXPECT_EQ(by[0], by[1]);
    return by[1];
  }
  std::vector<std::string> failures(std::initializer_list<int> jobs) {
    std::vector<std::string> out;
    for (const int n : jobs) out.push_back("job.failed " + uuid(n));
    return out;
  }
};

TEST_F(Components, AllJobFailuresThatTouchedAComponentAreOneRequest) {
  product("acme", 100, {"pkg:npm/left-pad@1.3.0", "pkg:npm/lodash@4.17.20"});
  product("acme", 200, {"pkg:npm/left-pad@1.2.0"});
  product("acme", 300, {"pkg:npm/left-padding@1.0.0"});
  for (const int n : {100, 200, 300}) life(acme, n);
  say(acme, events::kFindingOpened, "finding", uuid(7), {{"component", "pkg:npm/left-pad@1.3.0"}});
  index();
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left-pad@1.3.0", "job.failed")), failures({103, 104, 105}));
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left-pad", "job.failed")), failures({103, 104, 105, 203, 204, 205}));
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left-pad*", "job.failed")), failures({103, 104, 105, 203, 204, 205, 303, 304, 305}));
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left", "job.failed")), failures({}));
  // Without a kind: what names the component itself, and what names its SBOM beside other things.
  auto expected = failures({103, 104, 105});
  expected.insert(expected.end(), {"job.started " + uuid(103), "annotation.added c100", "finding.opened " + uuid(7)});
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left-pad@1.3.0")), expected);
  EXPECT_EQ(found(acme, filter("component/pkg:npm/lodash,sbom/" + uuid(300), "annotation.added")), (std::vector<std::string>{"annotation.added c100", "annotation.added c300"}));
}

TEST_F(Components, AnEventThatNamesSeveralTouchedResourcesTakesOnePlaceOfAPage) {
  product("acme", 100, {"pkg:npm/left-pad@1.3.0", "pkg:npm/left-pad@1.2.0"});
  std::vector<std::string> expected;
  for (int n = 0; n < 14; ++n) {
    say(acme, events::kFindingOpened, "finding", uuid(700 + n), {{"sbom", uuid(100)}, {"evaluation", uuid(101)}, {"job", uuid(104)}});
    expected.push_back("finding.opened " + uuid(700 + n));
  }
  index();
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left-pad")), expected);
}

TEST_F(Components, TheSameComponentOfAnotherTenantShowsNothingOfThisOne) {
  product("acme", 100, {"pkg:npm/left-pad@1.3.0"});
  product("rival", 500, {"pkg:npm/left-pad@1.3.0"});
  life(acme, 100);
  index();
  EXPECT_EQ(found(rival, filter("component/pkg:npm/left-pad@1.3.0")), failures({}));
  life(rival, 500);
  index();
  EXPECT_EQ(found(rival, filter("component/pkg:npm/left-pad*", "job.failed")), failures({503, 504, 505}));
  EXPECT_EQ(found(acme, filter("component/pkg:npm/left-pad*", "job.failed")), failures({103, 104, 105}));
}

// Tables of a test are small, so the planner is told what large ones tell it: that reading all of a table is dear. Under row-level security
// an index can be used for leakproof comparisons only; a statement that has others is shown by a table that is read all the same.
TEST_F(Components, ThePlanReadsNoWholeTable) {
  product("acme", 100, {"pkg:npm/left-pad@1.3.0"});
  life(acme, 100);
  index();
  auto tx = pg::TenantTx::open(web, acme);
  ASSERT_TRUE(tx->query("SET LOCAL enable_seqscan = off", {}).has_value());
  for (const char* kind : {"", "job.failed", "job.failed,annotation.added"}) {
    pg::Query q = page_statement(filter("component/pkg:npm/left-pad", kind), {}, std::nullopt);
    const auto plan = tx->query("EXPLAIN " + std::string(q.sql), q.params);
    ASSERT_TRUE(plan.has_value()) << plan.error().describe();
    std::string text;
    for (int i = 0; i < plan->size(); ++i) text.append(plan->text(i, 0)).append("\n");
    EXPECT_EQ(text.find("Seq Scan"), text.npos) << text;
    EXPECT_NE(text.find("sbom_components_pkey"), text.npos) << text;
  }
}

}  // namespace
}  // namespace stella::timeline
