// The database compares the two sets and gives the rows that differ; why a finding is gone is read off the evaluation's inputs.
#include "finding_changes.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "stella/base/encoding.h"
#include "stella/contracts/components.h"
#include "stella/contracts/events.h"
#include "stella/contracts/exposures.h"
#include "stella/crypto/digest.h"

namespace stella::ledger {
namespace {

constexpr std::size_t kEventsPerBatch = 1000;
// Bounds of what an event says; the findings' rows have everything.
constexpr std::size_t kTextBytes = 2000;
constexpr std::size_t kFixedVersions = 20;

constexpr std::string_view kLockSubject =
    "SELECT pg_advisory_xact_lock(hashtextextended(tenant_id || '/' || project_id || '/' || coalesce(nullif(document_name, ''), sbom_id::text), 7216)),"
    " coalesce(document_name, ''), project_id FROM sboms WHERE tenant_id = $1 AND sbom_id = $2";
constexpr std::string_view kBeforeOfSbom =
    "SELECT evaluation_id FROM evaluations WHERE tenant_id = $1 AND sbom_id = $2 AND state = 'finished' AND evaluation_id <> $3"
    " ORDER BY finished_at DESC, evaluation_id DESC LIMIT 1";
constexpr std::string_view kBeforeOfSubject =
    "SELECT e.evaluation_id FROM sboms o CROSS JOIN LATERAL (SELECT evaluation_id FROM evaluations WHERE tenant_id = o.tenant_id AND sbom_id = o.sbom_id AND state = 'finished'"
    " ORDER BY finished_at DESC, evaluation_id DESC LIMIT 1) e"
    " WHERE o.tenant_id = $1 AND o.project_id = $2 AND md5(o.document_name) = md5($3) AND o.document_name = $3 AND o.sbom_id <> $4"
    " AND o.received_at <= (SELECT received_at FROM sboms WHERE tenant_id = $1 AND sbom_id = $4) ORDER BY o.received_at DESC, o.sbom_id DESC LIMIT 1";
// A newer document of the same name that was decided: it has taken the subject over.
constexpr std::string_view kReplaced =
    "SELECT EXISTS (SELECT FROM sboms o JOIN evaluations e USING (tenant_id, sbom_id) WHERE o.tenant_id = $1 AND o.project_id = $2 AND md5(o.document_name) = md5($3) AND o.document_name = $3"
    " AND o.sbom_id <> $4 AND o.received_at > (SELECT received_at FROM sboms WHERE tenant_id = $1 AND sbom_id = $4) AND e.state = 'finished')";
// Findings that share component and advisory (two sources with one id, components without purl) are paired by their order.
constexpr std::string_view kDifferences =
    "WITH numbered AS (SELECT evaluation_id, purl, advisory_id, row_number() OVER (PARTITION BY evaluation_id, purl, advisory_id ORDER BY finding_no) AS nth,"
    " verdict IN ('affected', 'unknown') AND vex_status NOT IN ('not_affected', 'fixed') AS open, verdict, severity, decision_effect, vex_status, fixed_versions, rule_id, reason"
    " FROM findings WHERE tenant_id = $1 AND evaluation_id IN ($2, $3))"
    " SELECT purl, advisory_id, nth, coalesce(was.open, false), coalesce(now.open, false), now.verdict IS NULL,"
    " coalesce(was.verdict, ''), coalesce(was.severity, ''), coalesce(was.decision_effect, ''), coalesce(was.vex_status, ''), coalesce(to_json(was.fixed_versions)::text, '[]'),"
    " coalesce(now.verdict, ''), coalesce(now.severity, ''), coalesce(now.decision_effect, ''), coalesce(now.vex_status, ''), coalesce(to_json(now.fixed_versions)::text, '[]'),"
    " coalesce(now.rule_id, ''), coalesce(now.reason, '')"
    " FROM (SELECT * FROM numbered WHERE evaluation_id = $2) was FULL JOIN (SELECT * FROM numbered WHERE evaluation_id = $3) now USING (purl, advisory_id, nth)"
    " WHERE (coalesce(was.open, false) OR coalesce(now.open, false))"
    " AND (was.open, was.verdict, was.severity, was.decision_effect, was.vex_status, was.fixed_versions)"
    " IS DISTINCT FROM (now.open, now.verdict, now.severity, now.decision_effect, now.vex_status, now.fixed_versions)"
    " ORDER BY purl, advisory_id, nth";
constexpr int kWas = 6, kNow = 11;
constexpr std::array<const char*, 5> kFields{"verdict", "severity", "effect", "vex_status", "fixed_versions"};

// The text as the findings' table has it.
std::string as_stored(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\0') out += "\xef\xbf\xbd";
    else out += c;
  }
  return out;
}

// Up to the version: "pkg:npm/left-pad@1.3.0?arch=x" → "pkg:npm/left-pad". A '@' of a scope is written %40.
std::string_view package_of(std::string_view purl) { return purl.substr(0, purl.find_first_of("@?#")); }

// The inputs of the evaluation, read when a finding is gone.
class Inputs {
 public:
  static Result<Inputs> read(objects::Store& store, const jobs::FinishedJob& job) {
    Inputs in;
    const auto object = [&](std::string_view name) -> Result<std::string> {
      for (const jobs::InputRef& input : job.inputs)
        if (input.name == name) return store.get(object_key::object(input.tenant, input.sha256), 1ull << 30);
      return Error(base_errors::kInternal, "an evaluation without one of its inputs").with("name", std::string(name));
    };
    const auto table = STELLA_TRY(contracts::decode_components(STELLA_TRY(object("components.ndjson"))));
    for (const contracts::Component& c : table.components) {
      std::string purl = as_stored(c.purl.empty() ? c.raw_purl : c.purl);
      std::string package(package_of(purl));
      in.purls_.insert(purl);
      in.versions_.emplace(std::move(package), std::move(purl));
    }
    const auto set = STELLA_TRY(contracts::decode_exposures(STELLA_TRY(object("exposures.ndjson"))));
    for (const contracts::Exposure& e : set.exposures) in.verdicts_.emplace(std::pair(as_stored(e.purl), as_stored(e.advisory.id)), e.verdict);
    return in;
  }

  // Why the evaluation does not have this finding, and which version stands where the component stood.
  std::pair<std::string_view, std::string> gone(const std::string& purl, const std::string& advisory) const {
    if (!purls_.contains(purl)) {
      const auto other = versions_.find(std::string(package_of(purl)));
      if (other == versions_.end()) return {"component_removed", {}};
      return {"version_changed", other->second};
    }
    const auto verdict = verdicts_.find({purl, advisory});
    if (verdict == verdicts_.end()) return {advisory.empty() ? "decided" : "advisory_gone", {}};
    return {verdict->second == contracts::Verdict::kWithdrawn ? "advisory_withdrawn" : "advisory_changed", {}};
  }

 private:
  std::unordered_set<std::string> purls_;
  std::unordered_map<std::string, std::string> versions_;  // package → the first of its purls in the document
  std::map<std::pair<std::string, std::string>, contracts::Verdict> verdicts_;
};

// The same finding of the same subject has the same id in every evaluation: its history is one query.
std::string finding_id(const TenantId& tenant, const Baseline& b, std::string_view purl, std::string_view advisory, std::int64_t nth) {
  std::string text = "stella.finding/1";
  for (const std::string_view part : {std::string_view(tenant.str()), std::string_view(b.project_id), std::string_view(b.subject), purl, advisory}) text.append(1, '\0').append(part);
  if (nth > 1) text.append(1, '\0').append(std::to_string(nth));
  const std::string digest(crypto::sha256(text).view());
  std::array<std::uint8_t, 16> bytes{};
  std::copy_n(digest.begin(), bytes.size(), bytes.begin());
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0f) | 0x80);  // RFC 9562 version 8
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3f) | 0x80);
  return Uuid(bytes).str();
}

Result<json::Value> field_value(const pg::Rows& rows, int row, int column, std::string_view field) {
  if (field != "fixed_versions") return json::Value(clip_utf8(rows.text(row, column), kTextBytes));
  const json::Value all = STELLA_TRY(json::parse(rows.text(row, column)));
  json::Array some;
  for (const json::Value& version : all.as_array())
    if (some.size() < kFixedVersions) some.push_back(clip_utf8(version.as_string(), kTextBytes / kFixedVersions));
  return json::Value(std::move(some));
}

// Makes the event of one differing row.
class Changes {
 public:
  Changes(objects::Store& store, const jobs::FinishedJob& job, const Baseline& baseline) : store_(store), job_(job), baseline_(baseline) {
    for (const jobs::OutputRef& out : job.outputs)
      if (out.name == "findings.ndjson") made_of_.push_back(digest_entry(out.name, out.sha256));
  }

  Result<timeline::Event> event(const pg::Rows& rows, int row) {
    const std::string purl(rows.text(row, 0)), advisory(rows.text(row, 1));
    json::Value details = json::Value::object({{"finding_id", finding_id(job_.tenant, baseline_, purl, advisory, rows.integer(row, 2))}, {"evaluation_id", job_.resource_id},
                                               {"sbom_id", baseline_.sbom_id}, {"purl", clip_utf8(purl, kTextBytes)}, {"inputs", made_of_}});
    if (!advisory.empty()) details.set("advisory_id", clip_utf8(advisory, kTextBytes));
    if (!baseline_.evaluation_id.empty()) details.set("previous_evaluation_id", baseline_.evaluation_id);
    const bool was_open = rows.boolean(row, 3), is_open = rows.boolean(row, 4);
    std::string_view kind = contracts::events::kFindingChanged;
    if (!was_open) {
      kind = contracts::events::kFindingOpened;
      STELLA_TRY_VOID(describe_opened(rows, row, details));
    } else if (is_open) {
      STELLA_TRY_VOID(describe_changed(rows, row, details));
    } else {
      kind = contracts::events::kFindingClosed;
      STELLA_TRY_VOID(describe_closed(rows, row, purl, advisory, details));
    }
    std::string id(details.str("finding_id"));
    timeline::Event event = make_event(kind, job_, "finding", std::move(id), std::move(details));
    event.resources.emplace_back("evaluation", job_.resource_id);
    event.resources.emplace_back("sbom", baseline_.sbom_id);
    // A longer name is found by its beginning.
    if (!purl.empty()) event.resources.emplace_back("component", clip_utf8(purl, timeline::kMaxResourceId));
    if (!advisory.empty()) event.resources.emplace_back("advisory", clip_utf8(advisory, timeline::kMaxResourceId));
    return event;
  }

 private:
  Result<void> describe_opened(const pg::Rows& rows, int row, json::Value& details) const {
    for (std::size_t i = 0; i < kFields.size(); ++i) details.set(kFields[i], STELLA_TRY(field_value(rows, row, kNow + static_cast<int>(i), kFields[i])));
    describe_ruling(rows, row, details);
    return {};
  }

  Result<void> describe_changed(const pg::Rows& rows, int row, json::Value& details) const {
    json::Array fields;
    json::Value before = json::Value::object(), after = json::Value::object();
    for (std::size_t i = 0; i < kFields.size(); ++i) {
      const int column = static_cast<int>(i);
      if (rows.text(row, kWas + column) == rows.text(row, kNow + column)) continue;
      fields.push_back(kFields[i]);
      before.set(kFields[i], STELLA_TRY(field_value(rows, row, kWas + column, kFields[i])));
      after.set(kFields[i], STELLA_TRY(field_value(rows, row, kNow + column, kFields[i])));
    }
    details.set("fields", std::move(fields));
    details.set("before", std::move(before));
    details.set("after", std::move(after));
    describe_ruling(rows, row, details);
    return {};
  }

  static void describe_ruling(const pg::Rows& rows, int row, json::Value& details) {
    details.set("rule_id", clip_utf8(rows.text(row, kNow + 5), kTextBytes));
    details.set("reason", clip_utf8(rows.text(row, kNow + 6), kTextBytes));
  }

  Result<void> describe_closed(const pg::Rows& rows, int row, const std::string& purl, const std::string& advisory, json::Value& details) {
    if (!rows.boolean(row, 5)) {
      details.set("reason", rows.text(row, kNow + 3) == "fixed" ? "vex_fixed" : "vex_not_affected");
      return {};
    }
    if (!inputs_) inputs_ = STELLA_TRY(Inputs::read(store_, job_));
    const auto [reason, other] = inputs_->gone(purl, advisory);
    details.set("reason", reason);
    if (!other.empty()) details.set("replaced_by", clip_utf8(other, kTextBytes));
    return {};
  }

  objects::Store& store_;
  const jobs::FinishedJob& job_;
  const Baseline& baseline_;
  json::Array made_of_;
  std::optional<Inputs> inputs_;
};

}  // namespace

Result<Baseline> take_baseline(OrchestratorTx& tx, const jobs::FinishedJob& job, std::string_view sbom_id) {
  const auto sbom = STELLA_TRY(tx.query(kLockSubject, {job.tenant, sbom_id}));
  if (sbom.empty()) return Error(base_errors::kInternal, "an evaluation of an SBOM that does not exist");
  const std::string_view name = sbom.text(0, 1);
  Baseline b;
  b.sbom_id = sbom_id;
  b.subject = name.empty() ? sbom_id : name;
  b.project_id = sbom.text(0, 2);
  if (!name.empty()) b.replaced = STELLA_TRY(tx.query(kReplaced, {job.tenant, b.project_id, name, sbom_id})).boolean(0, 0);
  auto before = STELLA_TRY(tx.query(kBeforeOfSbom, {job.tenant, sbom_id, job.resource_id}));
  if (before.empty() && !name.empty()) before = STELLA_TRY(tx.query(kBeforeOfSubject, {job.tenant, b.project_id, name, sbom_id}));
  if (!before.empty()) b.evaluation_id = before.text(0, 0);
  return b;
}

Result<void> emit_finding_changes(OrchestratorTx& tx, objects::Store& store, const jobs::FinishedJob& job, const Baseline& baseline) {
  if (baseline.replaced) return {};
  const std::string before = baseline.evaluation_id.empty() ? Uuid().str() : baseline.evaluation_id;
  const auto rows = STELLA_TRY(tx.query(kDifferences, {job.tenant, before, job.resource_id}));
  Changes changes(store, job, baseline);
  std::vector<timeline::Event> batch;
  for (int row = 0; row < rows.size(); ++row) {
    batch.push_back(STELLA_TRY(changes.event(rows, row)));
    if (batch.size() < kEventsPerBatch && row + 1 < rows.size()) continue;
    STELLA_TRY_VOID(timeline::emit_many(tx, job.tenant, std::exchange(batch, {})));
  }
  return {};
}

}  // namespace stella::ledger
