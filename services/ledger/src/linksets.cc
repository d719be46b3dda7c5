// Reads the sets that a batch touches, makes them anew, writes revisions and events of those that differ.
#include "linksets.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "alias_sets.h"
#include "stella/contracts/events.h"

namespace stella::ledger {
namespace {

constexpr std::size_t kRowsPerStatement = 1000;
constexpr std::size_t kNamedBytes = 20'000;   // of ids in each list of an event; the row has all
constexpr std::size_t kNamedResources = 32;   // members under which an event is found

constexpr std::string_view kLock = "SELECT pg_advisory_xact_lock(hashtextextended('advisory_linksets/' || $1, 0))";
constexpr std::string_view kAnyKept = "SELECT EXISTS (SELECT FROM advisory_linksets WHERE tenant_id = $1)";
constexpr std::string_view kAllRecords =
    "SELECT c.source_id, c.native_id, c.doc_sha256, array_to_json(o.aliases), array_to_json(o.ecosystems) FROM advisory_current c "
    "JOIN advisory_observations o USING (tenant_id, source_id, native_id, revision_no) WHERE c.tenant_id = $1 AND o.withdrawn = '' AND o.aliases <> '{}'";
// The sets that hold these ids, as they are in force.
constexpr std::string_view kSetsOf =
    "SELECT s.vulnerability_id, l.revision, l.edges FROM (SELECT DISTINCT vulnerability_id FROM advisory_linkset_members WHERE tenant_id = $1 AND advisory_id = ANY($2::text[])) s, "
    "LATERAL (SELECT revision, edges FROM advisory_linksets WHERE tenant_id = $1 AND vulnerability_id = s.vulnerability_id ORDER BY revision DESC LIMIT 1) l";
constexpr std::string_view kRevisionsOf =
    "SELECT vulnerability_id, max(revision) FROM advisory_linksets WHERE tenant_id = $1 AND vulnerability_id = ANY($2::text[]) GROUP BY 1";
constexpr std::string_view kInsertSets =
    "INSERT INTO advisory_linksets (tenant_id, vulnerability_id, revision, members, edges, batch_id) "
    "SELECT $1, n.id, n.revision::int, ARRAY(SELECT jsonb_array_elements_text(n.members::jsonb)), n.edges::jsonb, $6 "
    "FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS n(id, revision, members, edges)";
constexpr std::string_view kPlaceMembers =
    "INSERT INTO advisory_linkset_members (tenant_id, advisory_id, vulnerability_id) SELECT $1, n.id, n.name FROM unnest($2::text[], $3::text[]) AS n(id, name) "
    "ON CONFLICT (tenant_id, advisory_id) DO UPDATE SET vulnerability_id = excluded.vulnerability_id";
constexpr std::string_view kDropMembers = "DELETE FROM advisory_linkset_members WHERE tenant_id = $1 AND advisory_id = ANY($2::text[])";

// Written at once: a batch has thousands of sets.
std::string edges_text(const std::vector<AliasEdge>& edges) {
  std::string out = "[";
  for (const AliasEdge& e : edges) {
    out += out.size() > 1 ? ",{\"from\":" : "{\"from\":";
    json::append_quoted(out, e.from);
    out += ",\"to\":";
    json::append_quoted(out, e.to);
    out += ",\"kind\":\"alias\",\"source_id\":";
    json::append_quoted(out, e.source_id);
    out += ",\"source_doc\":\"" + e.source_doc.hex() + "\"}";
  }
  return out + "]";
}

Result<void> append_edges(std::string_view text, std::vector<AliasEdge>& out) {
  const json::Value all = STELLA_TRY(json::parse(text));
  for (const json::Value& e : all.as_array())
    out.push_back({std::string(e.str("from")), std::string(e.str("to")), std::string(e.str("source_id")), STELLA_TRY(Sha256::parse(e.str("source_doc")))});
  return {};
}

std::string ids_text(const std::vector<std::string>& ids) {
  std::string out = "[";
  for (const std::string& id : ids) {
    if (out.size() > 1) out += ',';
    json::append_quoted(out, id);
  }
  return out + "]";
}

// As many ids as an event has room for; what they are worth in it is their escaped form.
json::Value named(const std::vector<std::string>& ids, std::size_t& left_out) {
  json::Array out;
  std::string written;
  for (const std::string& id : ids) {
    json::append_quoted(written, id);
    if (written.size() > kNamedBytes) break;
    out.emplace_back(id);
  }
  left_out += ids.size() - out.size();
  return json::Value(std::move(out));
}

timeline::Event changed_event(const jobs::FinishedJob& job, const SetChange& change, std::int64_t revision) {
  std::size_t left_out = 0;
  json::Value details = json::Value::object({{"vulnerability_id", change.now.name}, {"revision", revision}, {"member_count", change.now.members.size()}, {"edge_count", change.now.edges.size()}});
  details.set("added", named(change.added, left_out));
  details.set("removed", named(change.removed, left_out));
  if (left_out > 0) details.set("unnamed_count", left_out);
  timeline::Event event = make_event(contracts::events::kLinksetChanged, job, "advisory", change.now.name, std::move(details));
  for (const auto* ids : {&change.added, &change.removed})
    for (const std::string& id : *ids)
      if (id != change.now.name && event.resources.size() < kNamedResources) event.resources.emplace_back("advisory", id);
  return event;
}

class Update {
 public:
  Update(OrchestratorTx& tx, const jobs::FinishedJob& job) : tx_(tx), job_(job) {}

  // The edges of the records that changed, and of all others that share a set with them.
  Result<void> read(std::string_view source_id, const std::vector<ChangedRecord>& changed) {
    STELLA_TRY_VOID(tx_.query(kLock, {job_.tenant}));
    if (!STELLA_TRY(tx_.query(kAnyKept, {job_.tenant})).boolean(0, 0)) return read_all();
    std::set<std::string_view> anew;
    std::vector<std::string> touched;
    for (const ChangedRecord& r : changed) {
      anew.insert(r.id);
      touched.push_back(r.id);
      touched.insert(touched.end(), r.aliases.begin(), r.aliases.end());
    }
    const auto rows = STELLA_TRY(tx_.query(kSetsOf, {job_.tenant, pg::Param::text_array(touched)}));
    std::vector<AliasEdge> edges;
    for (int i = 0; i < rows.size(); ++i) {
      revisions_.emplace(rows.text(i, 0), rows.integer(i, 1));
      STELLA_TRY_VOID(append_edges(rows.text(i, 2), edges));
    }
    before_ = alias_sets(edges);
    std::erase_if(edges, [&](const AliasEdge& e) { return e.source_id == source_id && anew.contains(e.from); });
    for (const ChangedRecord& r : changed)
      for (const std::string& alias : r.aliases) edges.push_back({r.id, alias, std::string(source_id), r.document});
    after_ = alias_sets(std::move(edges));
    return {};
  }

  Result<std::vector<timeline::Event>> write() {
    const std::vector<SetChange> changes = changed_sets(before_, after_);
    STELLA_TRY_VOID(read_revisions(changes));
    std::vector<timeline::Event> events;
    for (std::span<const SetChange> rest(changes); !rest.empty(); rest = rest.subspan(std::min(rest.size(), kRowsPerStatement)))
      write_sets(rest.first(std::min(rest.size(), kRowsPerStatement)), events);
    write_members(changes);
    return events;
  }

 private:
  Result<void> read_all() {
    const auto rows = STELLA_TRY(tx_.query(kAllRecords, {job_.tenant}));
    std::vector<AliasEdge> edges;
    for (int i = 0; i < rows.size(); ++i) {
      const std::string id(rows.text(i, 1));
      const Sha256 document = STELLA_TRY(rows.sha256(i, 2));
      const json::Value aliases = STELLA_TRY(json::parse(rows.text(i, 3)));
      const json::Value ecosystems = STELLA_TRY(json::parse(rows.text(i, 4)));
      for (std::string& alias : followed_aliases(id, texts(aliases), texts(ecosystems))) edges.push_back({id, std::move(alias), std::string(rows.text(i, 0)), document});
    }
    after_ = alias_sets(std::move(edges));
    return {};
  }

  static std::vector<std::string> texts(const json::Value& array) {
    std::vector<std::string> out;
    for (const json::Value& v : array.as_array()) out.emplace_back(v.as_string());
    return out;
  }

  // A name that comes back goes on counting where it ended.
  Result<void> read_revisions(const std::vector<SetChange>& changes) {
    std::vector<std::string> unknown;
    for (const SetChange& c : changes)
      if (!revisions_.contains(c.now.name)) unknown.push_back(c.now.name);
    if (unknown.empty()) return {};
    const auto rows = STELLA_TRY(tx_.query(kRevisionsOf, {job_.tenant, pg::Param::text_array(unknown)}));
    for (int i = 0; i < rows.size(); ++i) revisions_.emplace(rows.text(i, 0), rows.integer(i, 1));
    return {};
  }

  void write_sets(std::span<const SetChange> changes, std::vector<timeline::Event>& events) {
    std::vector<std::string> names, revisions, members, edges;
    for (const SetChange& c : changes) {
      const std::int64_t revision = revisions_[c.now.name] + 1;
      names.push_back(c.now.name);
      revisions.push_back(std::to_string(revision));
      members.push_back(ids_text(c.now.members));
      edges.push_back(edges_text(c.now.edges));
      events.push_back(changed_event(job_, c, revision));
    }
    tx_.defer(kInsertSets, std::vector<pg::Param>{job_.tenant, pg::Param::text_array(names), pg::Param::text_array(revisions), pg::Param::text_array(members),
                                                  pg::Param::text_array(edges), job_.resource_id});
  }

  void write_members(const std::vector<SetChange>& changes) {
    std::vector<std::string> ids, names, gone;
    std::set<std::string_view> placed;
    for (const SetChange& c : changes)
      for (const std::string& id : c.added) {
        placed.insert(id);
        ids.push_back(id);
        names.push_back(c.now.name);
      }
    for (const SetChange& c : changes)
      for (const std::string& id : c.removed)
        if (!placed.contains(id)) gone.push_back(id);
    if (!ids.empty()) tx_.defer(kPlaceMembers, std::vector<pg::Param>{job_.tenant, pg::Param::text_array(ids), pg::Param::text_array(names)});
    if (!gone.empty()) tx_.defer(kDropMembers, std::vector<pg::Param>{job_.tenant, pg::Param::text_array(gone)});
  }

  OrchestratorTx& tx_;
  const jobs::FinishedJob& job_;
  std::map<std::string, std::int64_t, std::less<>> revisions_;
  std::vector<AliasSet> before_, after_;
};

}  // namespace

Result<std::vector<timeline::Event>> update_linksets(OrchestratorTx& tx, const jobs::FinishedJob& job, std::string_view source_id, const std::vector<ChangedRecord>& changed) {
  if (changed.empty()) return std::vector<timeline::Event>();
  Update update(tx, job);
  STELLA_TRY_VOID(update.read(source_id, changed));
  return update.write();
}

}  // namespace stella::ledger
