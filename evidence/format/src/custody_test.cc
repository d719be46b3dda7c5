// The walk over digests: whole chains, and every way in which one can be broken.
#include "stella/evidence/format/custody.h"

#include <gtest/gtest.h>

#include "stella/crypto/digest.h"

namespace stella::evidence {
namespace {

CustodyEvent event(std::string id, std::string kind, std::vector<std::string> inputs, std::vector<std::string> outputs) {
  CustodyEvent e;
  e.event_id = std::move(id);
  e.kind = std::move(kind);
  for (const auto& name : inputs) e.inputs.emplace_back(name, crypto::sha256(name));
  for (const auto& name : outputs) e.outputs.emplace_back(name, crypto::sha256(name));
  return e;
}

std::vector<CustodyEvent> chain() {
  return {event("e0", "sbom.received", {}, {"sbom"}),
          event("e1", "job.started", {}, {}),
          event("e2", "sbom.computed", {"sbom"}, {"components"}),
          event("e3", "policy.published", {"policy.yaml"}, {"policy"}),
          event("e4", "policy.evaluated", {"components", "policy"}, {"decision", "findings"}),
          event("e5", "export.created", {"decision"}, {"report"})};
}

TEST(Custody, AWholeChainIsWhole) {
  const auto events = chain();
  const Custody custody = walk_custody(events);
  EXPECT_TRUE(custody.broken.empty());
  EXPECT_EQ(custody.steps, (std::vector<std::size_t>{0, 2, 3, 4, 5}));
  ASSERT_EQ(custody.links.size(), 4u);  // policy.yaml is the author's
  EXPECT_EQ(custody.links[2].producer, std::optional<std::size_t>(3));
  const json::Value shown = custody.json(events);
  EXPECT_TRUE(shown.find("complete")->as_bool());
  EXPECT_EQ(shown.items("steps")[3].items("inputs")[0].str("from"), "e2");
}

TEST(Custody, ABrokenLinkIsNamedExactly) {
  auto events = chain();
  events.erase(events.begin() + 2);  // who computed the components?
  const Custody custody = walk_custody(events);
  ASSERT_EQ(custody.broken.size(), 1u);
  EXPECT_EQ(custody.broken[0].name, "components");
  EXPECT_EQ(events[custody.broken[0].consumer].event_id, "e4");
  EXPECT_EQ(custody.json(events).items("broken")[0].str("sha256"), crypto::sha256("components").hex());
  // Vouched for from elsewhere, it ends the chain.
  const Sha256 known[] = {crypto::sha256("components")};
  EXPECT_TRUE(walk_custody(events, known).broken.empty());
}

TEST(Custody, NamesProveNothingAndEffectsFollowCauses) {
  auto events = chain();
  events[2].outputs[0].second = crypto::sha256("other components");  // the same name, another object
  EXPECT_EQ(walk_custody(events).broken.size(), 1u);
  events = chain();
  std::swap(events[2], events[4]);  // components and policy consumed before they were made
  EXPECT_EQ(walk_custody(events).broken.size(), 2u);
  // The latest producer counts.
  events = chain();
  events.insert(events.begin() + 3, event("again", "sbom.computed", {"sbom"}, {"components"}));
  const Custody twice = walk_custody(events);
  for (const auto& link : twice.links) {
    if (link.name != "components") continue;
    EXPECT_EQ(link.producer, std::optional<std::size_t>(3));
  }
}

// 300 inputs in one digest: followed one by one where the list is there, refused where it is another.
TEST(Custody, ListsAreFollowedEntryByEntry) {
  std::vector<std::string> documents;
  for (int i = 0; i < 300; ++i) documents.push_back("vex-" + std::to_string(i));
  json::Array entries;
  for (const auto& name : documents) entries.push_back(json::Value::object({{"name", name}, {"sha256", crypto::sha256(name).hex()}}));
  const std::string list = json::dump(json::Value(entries));
  const auto events_with = [&](const std::string& name, std::string_view text) {
    std::vector<CustodyEvent> events{event("e0", "source.fetched", {}, documents), event("e1", "vex.reconciled", {}, {"vex"})};
    events[1].inputs = {{name, crypto::sha256(text)}, {"vex-7", crypto::sha256("vex-7")}};
    return events;
  };
  const auto give = [&](const Sha256&) { return std::string_view(list); };
  auto events = events_with("list:300", list);
  EXPECT_EQ(custody_lists(events), std::vector<Sha256>{crypto::sha256(list)});
  EXPECT_EQ(walk_custody(events).broken.size(), 1u);
  ASSERT_TRUE(expand_custody_lists(events, give).has_value());
  const Custody custody = walk_custody(events);
  EXPECT_EQ(custody.links.size(), 301u);
  EXPECT_TRUE(custody.broken.empty());
  // Without the list its link stays broken; one entry that nobody put out is found.
  events = events_with("list:300", list);
  ASSERT_TRUE(expand_custody_lists(events, [](const Sha256&) { return std::string_view(); }).has_value());
  EXPECT_EQ(walk_custody(events).broken.at(0).name, "list:300");
  events[0].outputs.erase(events[0].outputs.begin() + 200);
  ASSERT_TRUE(expand_custody_lists(events, give).has_value());
  ASSERT_EQ(walk_custody(events).broken.size(), 1u);
  EXPECT_EQ(walk_custody(events).broken[0].name, "vex-200");
  // Other bytes, another length, no list.
  events = events_with("list:300", list + " ");
  EXPECT_EQ(expand_custody_lists(events, give).error().code(), base_errors::kInvalid);
  events = events_with("list:299", list);
  EXPECT_EQ(expand_custody_lists(events, give).error().code(), base_errors::kMalformed);
  for (const std::string text : {"{}", "no json", R"([{"name":"x"}])"}) {
    events = events_with("list:1", text);
    EXPECT_EQ(expand_custody_lists(events, [&](const Sha256&) { return std::string_view(text); }).error().code(), base_errors::kMalformed) << text;
  }
  // An object that is called so is no list, and announcements name none.
  events = events_with("list:of things", list);
  EXPECT_TRUE(custody_lists(events).empty());
  events = events_with("list:300", list);
  events[1].outputs.clear();
  EXPECT_TRUE(custody_lists(events).empty());
}

TEST(Custody, ListsHaveTheirPlace) {
  const std::string path = custody_list_path(crypto::sha256("x"));
  EXPECT_EQ(path, "custody/list-" + crypto::sha256("x").hex() + ".json");
  EXPECT_TRUE(is_custody_list_path(path));
  for (const std::string bad : {"custody/list-.json", "custody/list-12.json", "custody/x.json"}) EXPECT_FALSE(is_custody_list_path(bad));
  EXPECT_FALSE(is_custody_list_path("custody/list-" + std::string(64, 'g') + ".json"));
}

// What a job went through, each time without one of its events: exactly that one is named.
TEST(Custody, AMissingTransitionIsNamedExactly) {
  const auto about = [](std::string id, std::string kind, std::string job, std::vector<std::string> outputs = {}) {
    CustodyEvent e = event(std::move(id), std::move(kind), {}, std::move(outputs));
    e.job_id = std::move(job);
    e.resource_id = "bundle";
    return e;
  };
  const std::vector<CustodyEvent> whole = {event("e0", "sbom.received", {}, {"sbom"}), about("e1", "job.scheduled", "j1"), about("e2", "job.started", "j1"), about("e3", "job.finished", "j1", {"x"}),
                                           about("e4", "sbom.computed", "j1", {"x"}), about("e5", "evidence.snapshot", "j2", {"list"}), about("e6", "job.scheduled", "j2"), about("e7", "job.started", "j2"),
                                           about("e8", "job.finished", "j2", {"payload"})};
  EXPECT_TRUE(missing_transitions(whole, "bundle", "").empty());
  const auto without = [&](std::vector<std::size_t> gone) {
    std::vector<CustodyEvent> events;
    for (std::size_t i = 0; i < whole.size(); ++i)
      if (std::find(gone.begin(), gone.end(), i) == gone.end()) events.push_back(whole[i]);
    return events;
  };
  for (const auto& [gone, text] : {std::pair<std::size_t, std::string>{3, "job.finished of job j1, which sbom.computed (event e4) names"}, {2, "job.started of job j1, which sbom.computed (event e4) names"},
                                   {6, "job.scheduled of job j2, which evidence.snapshot (event e5) names"}, {7, "job.started of job j2, which evidence.snapshot (event e5) names"},
                                   {8, "job.finished of job j2, which evidence.snapshot (event e5) names"}}) {
    const auto events = without({gone});
    const auto missing = missing_transitions(events, "bundle", "");
    ASSERT_EQ(missing.size(), 1u) << text;
    EXPECT_EQ(missing[0].text(events), text);
    EXPECT_FALSE(missing[0].may_have_expired) << text;
    Custody custody = walk_custody(events);
    custody.missing = missing;
    EXPECT_FALSE(custody.complete());
    EXPECT_EQ(custody.json(events).items("missing")[0].str("transition"), missing[0].transition);
  }
  // The log begins behind it: it may have expired, and that is said. All of a later job's cannot have.
  auto missing = missing_transitions(without({1}), "bundle", "");
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_TRUE(missing[0].may_have_expired);
  EXPECT_EQ(missing_transitions(without({1, 2, 3}), "bundle", "").size(), 3u);
  missing = missing_transitions(without({6, 7, 8}), "bundle", "");
  ASSERT_EQ(missing.size(), 3u);
  for (const auto& m : missing) EXPECT_FALSE(m.may_have_expired) << m.transition;
  // The snapshot of another bundle may still be under way.
  EXPECT_TRUE(missing_transitions(without({8}), "another", "").empty());
  // A stored result needs no runner; the end says whether it was one.
  auto cached = without({2});
  cached[2].cached = true;
  EXPECT_TRUE(missing_transitions(cached, "bundle", "").empty());
  // What others brought in comes without its trace.
  const std::vector<CustodyEvent> brought = {about("a", "vex.ingested", "j0", {"doc"})};
  EXPECT_TRUE(missing_transitions(brought, "bundle", "").empty());
  // A capsule of a job that failed, and one of which nothing is told.
  const std::vector<CustodyEvent> failed = {about("a", "job.scheduled", "j9"), about("b", "job.failed", "j9")};
  EXPECT_TRUE(missing_transitions(failed, "bundle", "j9").empty());
  missing = missing_transitions(std::span(failed).first(1), "bundle", "j9");
  ASSERT_EQ(missing.size(), 2u);
  EXPECT_EQ(missing[1].text(failed), "job.finished of job j9, which the seal names");
}

TEST(Custody, ReadsEntries) {
  const std::string digest = crypto::sha256("x").hex();
  const auto good = parse_custody_event(R"({"event_id":"a","kind":"k","tenant_id":"acme","details":{"inputs":[{"name":"n","sha256":")" + digest + R"("}]}})");
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(good->inputs.front().second.hex(), digest);
  for (const char* bad : {"", "{}", R"({"event_id":"a"})", R"({"event_id":"a","kind":"k","details":{"outputs":[{"name":"n"}]}})", R"({"event_id":"a","kind":"k","details":{"inputs":[{"sha256":"12"}]}})"})
    EXPECT_FALSE(parse_custody_event(bad).has_value()) << bad;
}

}  // namespace
}  // namespace stella::evidence
