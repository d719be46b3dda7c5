// Alias sets on a real database: random histories of two sources, each step compared with what a plain walk over the documents in force finds.
#include <map>
#include <random>
#include <set>

#include "ledger_fixture.h"
#include "stella/base/tar.h"
#include "stella/crypto/digest.h"

namespace stella::ledger {
namespace {

struct Document {
  std::set<std::string> aliases;
  std::string withdrawn, more;
  int modified = 1;

  std::string text(const std::string& id) const {
    std::string out = R"({"id":")" + id + R"(","modified":"2026-01-01T00:00:00.)" + std::to_string(1'000'000 + modified).substr(1) + R"(Z","aliases":[)";
    for (const std::string& a : aliases) out += (out.back() == '[' ? "\"" : ",\"") + a + "\"";
    return out + "]" + (withdrawn.empty() ? "" : R"(,"withdrawn":"2026-02-01T00:00:00Z")") + more + "}";
  }
};

class Linksets : public LedgerFixture {
 protected:
  using Documents = std::map<std::pair<std::string, std::string>, Document>;  // (source, id)

  std::string send(const std::string& source, const std::map<std::string, std::string>& documents, std::string_view tenant = "acme") {
    std::string tar;
    for (const auto& [id, text] : documents) append_tar(tar, id + ".json", text);
    append_tar_end(tar);
    auto t = tx(tenant);
    auto received = receive_batch(t, *store_, DocumentKind::kAdvisory, source, tar, true, trace());
    EXPECT_TRUE(received.has_value()) << received.error().describe();
    EXPECT_TRUE(t.commit().has_value());
    runner_->drain();
    EXPECT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
    return received->id.str();
  }
  std::string one(const std::string& id, std::set<std::string> aliases, std::string_view more = "", std::string_view tenant = "acme", const std::string& source = "s") {
    Document d;
    d.aliases = std::move(aliases);
    d.more = more;
    d.modified = ++modified_;
    return send(source, {{id, d.text(id)}}, tenant);
  }

  // "name: member member | from>to@source/digest …" per set that has members, as the table says.
  std::string stored(std::string_view tenant = "acme") {
    return db_.sql("SELECT coalesce(string_agg(vulnerability_id || ': ' || array_to_string(members, ' ') || ' | ' || "
                   "(SELECT string_agg((e->>'from') || '>' || (e->>'to') || '@' || (e->>'source_id') || '/' || left(e->>'source_doc', 8), ' ' ORDER BY n) FROM jsonb_array_elements(edges) WITH ORDINALITY AS x(e, n)), E'\\n' ORDER BY vulnerability_id COLLATE \"C\"), '') "
                   "FROM (SELECT DISTINCT ON (vulnerability_id) * FROM advisory_linksets WHERE tenant_id = '" + std::string(tenant) + "' ORDER BY vulnerability_id, revision DESC) l WHERE members <> '{}'");
  }
  // The same from the documents in force.
  static std::string expected(const Documents& documents) {
    std::map<std::string, std::set<std::string>> near;
    for (const auto& [key, d] : documents) {
      if (!d.withdrawn.empty()) continue;
      for (const std::string& alias : d.aliases) {
        if (alias == key.second) continue;
        near[key.second].insert(alias);
        near[alias].insert(key.second);
      }
    }
    std::map<std::string, std::string> lines;
    std::set<std::string> seen;
    for (const auto& [start, unused] : near) {
      if (seen.contains(start)) continue;
      std::set<std::string> set;
      std::vector<std::string> todo{start};
      while (!todo.empty()) {
        const std::string id = todo.back();
        todo.pop_back();
        if (set.insert(id).second) todo.insert(todo.end(), near[id].begin(), near[id].end());
      }
      seen.insert(set.begin(), set.end());
      std::string name = *set.begin();
      if (const auto cve = set.lower_bound("CVE-"); cve != set.end() && cve->starts_with("CVE-")) name = *cve;
      std::string line = name + ":";
      for (const std::string& id : set) line += " " + id;
      std::map<std::tuple<std::string, std::string, std::string>, std::string> edges;
      for (const auto& [key, d] : documents)
        if (d.withdrawn.empty() && set.contains(key.second))
          for (const std::string& alias : d.aliases)
            if (alias != key.second) edges[{key.second, alias, key.first}] = crypto::sha256(d.text(key.second)).hex().substr(0, 8);
      line += " |";
      for (const auto& [e, doc] : edges) line += " " + std::get<0>(e) + ">" + std::get<1>(e) + "@" + std::get<2>(e) + "/" + doc;
      lines[name] = line;
    }
    std::string out;
    for (const auto& [name, line] : lines) out += (out.empty() ? "" : "\n") + line;
    return out;
  }
  // "set id,set id …": who is where, and the same from the sets' revisions in force.
  std::string members() { return db_.sql("SELECT " + std::string(kMembers)); }
  std::string members_of_sets() { return db_.sql("SELECT " + std::string(kMembersOfSets)); }
  // Whether a number is missing, or a revision says what the one before it said.
  std::string sound() {
    return db_.sql("SELECT (" + std::string(kMembers) + ") = (" + std::string(kMembersOfSets) + ") AND NOT EXISTS (SELECT FROM advisory_linksets GROUP BY vulnerability_id HAVING max(revision) <> count(*)) AND NOT EXISTS "
                   "(SELECT FROM (SELECT members, edges, lag(members) OVER w AS m, lag(edges) OVER w AS e FROM advisory_linksets WINDOW w AS (PARTITION BY vulnerability_id ORDER BY revision)) x WHERE members = m AND edges = e)");
  }
  std::string rows() { return db_.sql("SELECT count(*) FROM advisory_linksets"); }
  // The details of the last event about a set.
  json::Value last_event(const std::string& set) {
    return json::parse(db_.sql("SELECT coalesce((SELECT (convert_from(entry, 'UTF8')::jsonb->'details')::text FROM timeline_outbox WHERE convert_from(entry, 'UTF8')::jsonb->>'kind' = 'linkset.changed' "
                               "AND convert_from(entry, 'UTF8')::jsonb->>'resource_id' = '" + set + "' ORDER BY seq DESC LIMIT 1), '{}')")).value();
  }
  static std::string ids(const json::Value& event, std::string_view list) {
    std::string out;
    for (const json::Value& id : event.items(list)) out += (out.empty() ? "" : " ") + std::string(id.as_string());
    return out;
  }

  static constexpr std::string_view kMembers =
      "(SELECT coalesce(string_agg(vulnerability_id || ' ' || advisory_id, ',' ORDER BY vulnerability_id COLLATE \"C\", advisory_id COLLATE \"C\"), '') FROM advisory_linkset_members WHERE tenant_id = 'acme')";
  static constexpr std::string_view kMembersOfSets =
      "(SELECT coalesce(string_agg(vulnerability_id || ' ' || m, ',' ORDER BY vulnerability_id COLLATE \"C\", m COLLATE \"C\"), '') FROM (SELECT DISTINCT ON (vulnerability_id) * FROM advisory_linksets WHERE tenant_id = 'acme' "
      "ORDER BY vulnerability_id, revision DESC) l, unnest(members) m)";

  int modified_ = 0;
};

TEST_F(Linksets, ASetGrowsMergesAndSplitsAndEveryStepIsToldOnce) {
  one("GHSA-1", {"CVE-1"});
  EXPECT_EQ(ids(last_event("CVE-1"), "added"), "CVE-1 GHSA-1");
  EXPECT_EQ(last_event("CVE-1").integer("revision"), 1);
  one("GHSA-2", {"CVE-2"});
  one("ALONE-1", {});
  EXPECT_EQ(rows(), "2");
  EXPECT_EQ(events("linkset.changed"), "2");

  one("PYSEC-1", {"GHSA-1", "GHSA-2"});  // both named sets change
  EXPECT_EQ(rows(), "4");
  EXPECT_EQ(events("linkset.changed"), "4");
  json::Value grown = last_event("CVE-1"), gone = last_event("CVE-2");
  EXPECT_EQ(ids(grown, "added"), "CVE-2 GHSA-2 PYSEC-1");
  EXPECT_EQ(grown.integer("member_count"), 5);
  EXPECT_EQ(ids(gone, "removed"), "CVE-2 GHSA-2");
  EXPECT_EQ(gone.integer("revision"), 2);
  EXPECT_EQ(gone.integer("member_count"), 0);

  one("PYSEC-1", {"GHSA-2"});  // and again; the name goes on counting
  EXPECT_EQ(ids(last_event("CVE-1"), "removed"), "CVE-2 GHSA-2 PYSEC-1");
  EXPECT_EQ(ids(last_event("CVE-2"), "added"), "CVE-2 GHSA-2 PYSEC-1");
  EXPECT_EQ(last_event("CVE-2").integer("revision"), 3);

  one("PYSEC-1", {"GHSA-2"}, R"(,"withdrawn":"2026-02-01T00:00:00Z")");
  EXPECT_EQ(ids(last_event("CVE-2"), "removed"), "PYSEC-1");
  one("GHSA-1", {});
  EXPECT_EQ(last_event("CVE-1").integer("member_count"), 0);
  EXPECT_EQ(members(), "CVE-2 CVE-2,CVE-2 GHSA-2");
  EXPECT_EQ(events("linkset.changed"), rows());
}

TEST_F(Linksets, UpstreamRelatedAndDistributionsJoinNothing) {
  one("GHSA-1", {"CVE-1"}, R"(,"upstream":["CVE-7"],"related":["CVE-8","GHSA-8"])");
  one("DSA-1", {"CVE-1", "CVE-2"}, R"(,"affected":[{"package":{"ecosystem":"Debian:7","name":"x"},"versions":["1"]}])");
  one("USN-1", {}, R"(,"upstream":["CVE-1"],"related":["CVE-2"])");
  EXPECT_EQ(members(), "CVE-1 CVE-1,CVE-1 GHSA-1");
}

TEST_F(Linksets, TheKnowledgeBaseAndATenantKeepSetsOfTheirOwn) {
  one("GHSA-1", {"CVE-1"}, "", "global");
  one("ACME-1", {"CVE-1"});
  EXPECT_EQ(db_.sql("SELECT string_agg(tenant_id || ' ' || array_to_string(members, ','), ';' ORDER BY tenant_id) FROM advisory_linksets"), "acme ACME-1,CVE-1;global CVE-1,GHSA-1");
  EXPECT_EQ(db_.sql("SELECT string_agg(tenant_id, ',' ORDER BY tenant_id) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%linkset.changed%'"), "acme,platform");
}

TEST_F(Linksets, WhatWasThereBeforeSetsWereKeptIsTakenIn) {
  one("GHSA-1", {"CVE-1"});
  one("GHSA-2", {"CVE-2"});
  const std::string before = stored();
  db_.sql("DELETE FROM advisory_linksets");
  db_.sql("DELETE FROM advisory_linkset_members");
  one("ALONE-1", {});
  EXPECT_EQ(stored(), before);
  EXPECT_EQ(members(), members_of_sets());
}

TEST_F(Linksets, AHostileRecordFitsAnEvent) {
  std::set<std::string> aliases;
  for (int i = 0; i < 300; ++i) aliases.insert(std::string(450, 'x') + std::to_string(1000 + i));
  aliases.insert("nul\\u0000");
  one("GHSA-1", aliases);
  const json::Value event = last_event("GHSA-1");
  EXPECT_EQ(event.integer("member_count"), 65);
  EXPECT_GT(event.integer("unnamed_count"), 0);
  EXPECT_EQ(event.integer("unnamed_count") + static_cast<std::int64_t>(event.items("added").size()), 65);
}

TEST_F(Linksets, EveryHistoryHasTheSetsOfItsDocuments) {
  std::mt19937 random(4711);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const std::vector<std::string> pool = {"CVE-2026-1", "CVE-2026-2", "CVE-2026-3", "CVE-2026-10", "GHSA-a", "GHSA-b", "GHSA-c", "PYSEC-1", "PYSEC-2", "BIT-1", "A-1", "Z-1"};
  Documents documents;
  std::string seen_rows = "0", was;
  for (int step = 0; step < 60; ++step) {
    SCOPED_TRACE(step);
    const std::string source = pick(3) == 0 ? "other" : "first";
    if (pick(8) == 0) {  // the last result once more, as after a lost acknowledgement
      db_.sql("UPDATE jobs SET state = 'queued' WHERE job_id = (SELECT job_id FROM jobs ORDER BY created_at DESC LIMIT 1)");
      runner_->drain();
      ASSERT_TRUE(runner_->last.has_value());
      ASSERT_EQ(rows(), seen_rows);
    } else {
      std::map<std::string, std::string> sent;
      for (int n = 1 + pick(3); n > 0; --n) {
        const std::string& id = pool[static_cast<std::size_t>(pick(12))];
        if (sent.contains(id)) continue;
        Document& d = documents[{source, id}];
        const bool again = pick(5) == 0 && d.modified > 1;  // the same bytes
        if (!again) {
          d.modified = 2 + step;
          d.withdrawn = pick(6) == 0 ? "yes" : "";
          if (pick(4) != 0) {
            d.aliases.clear();
            for (int a = pick(3); a > 0; --a) d.aliases.insert(pool[static_cast<std::size_t>(pick(12))]);
          }
        }
        sent[id] = d.text(id);
      }
      send(source, sent);
    }
    const std::string now = stored();
    ASSERT_EQ(now, expected(documents));
    // A row where something changed and nowhere else, an event per row.
    ASSERT_EQ(now == was, rows() == seen_rows);
    seen_rows = rows();
    was = now;
    ASSERT_EQ(events("linkset.changed"), seen_rows);
    ASSERT_EQ(sound(), "t");
  }
  EXPECT_GT(std::stoi(seen_rows), 40);
}

}  // namespace
}  // namespace stella::ledger
