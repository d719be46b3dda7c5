// The precedence rule stella.vex-precedence/2 (reconcile.h states it), and version 1 for what was sealed under it.
#include "stella/pipeline/excitator/reconcile.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "product_match.h"
#include "product_scope.h"

namespace stella::pipeline {
namespace {

using contracts::ConsideredStatement;
using contracts::Exposure;
using contracts::VexOutcome;
using contracts::VexStatus;
using vex::Containment;
using vex::Match;

struct StatementRef {
  std::uint32_t source;
  std::uint32_t statement;
  friend auto operator<=>(const StatementRef&, const StatementRef&) = default;
};

// A statement's purls, parsed when the statement is first looked at.
struct ParsedId {
  Purl purl;
  std::string key;
};
struct ParsedProduct {
  std::vector<ParsedId> ids;
  std::vector<std::vector<ParsedId>> parts;
};

// How a statement fits a component: the best of its products and subcomponents.
struct Fit {
  bool harms = false;  // the statement's status opens a finding rather than closing it
  bool considered = false;
  int rank = 0;
  std::string why;
  // A better rank wins; among those that do not apply the first reason stays.
  void offer(int new_rank, std::string reason) {
    if (considered && new_rank <= rank) return;
    considered = true;
    rank = new_rank;
    why = std::move(reason);
  }
};

std::string_view match_text(Match match) {
  switch (match) {
    case Match::kExact: return "names exactly this purl";
    case Match::kVersion: return "names this version";
    case Match::kNoVersion: return "names the package without a version";
    case Match::kOtherVersion: return "names another version";
    case Match::kOtherQualifiers: return "names other qualifiers";
    default: return "names another package";
  }
}

std::vector<ParsedId> parse_ids(const std::vector<std::string>& ids, bool first_rule) {
  std::vector<ParsedId> out;
  for (const auto& id : ids)
    if (auto purl = parse_purl(id)) {
      if (!first_rule) vex::spell_go_standard(*purl);
      std::string key = vex::package_key(*purl, first_rule);
      out.push_back({std::move(*purl), std::move(key)});
    }
  return out;
}

// A hub's document names hundreds of versions of one package. Statements of one document that do not apply for one and the same
// reason are shown by the first of them.
class Repetitions {
 public:
  explicit Repetitions(std::vector<ConsideredStatement>& considered) : considered_(considered) {}
  // True where the statement goes without saying; false: the caller appends it now.
  bool seen(std::uint32_t source, const std::string& why) {
    const auto [it, fresh] = groups_.try_emplace({source, why}, Group{considered_.size(), 0});
    if (!fresh) ++it->second.more;
    return !fresh;
  }
  void finish() {
    for (const auto& [key, group] : groups_)
      if (group.more != 0)
        considered_[group.first].why += " (and " + std::to_string(group.more) + (group.more == 1 ? " more statement" : " more statements") + " of this document likewise)";
  }

 private:
  struct Group {
    std::size_t first;
    std::size_t more;
  };
  std::vector<ConsideredStatement>& considered_;
  std::map<std::pair<std::uint32_t, std::string>, Group> groups_;
};

class Reconciler {
 public:
  Reconciler(const contracts::ComponentTable& table, std::span<const VexSource> sources, bool first_rule)
      : table_(table), first_rule_(first_rule), sources_(sources.begin(), sources.end()) {
    std::sort(sources_.begin(), sources_.end(), [](const VexSource& a, const VexSource& b) { return a.document->sha256 < b.document->sha256; });
    const auto same = [](const VexSource& a, const VexSource& b) { return a.document->sha256 == b.document->sha256; };
    sources_.erase(std::unique(sources_.begin(), sources_.end(), same), sources_.end());
    for (std::uint32_t s = 0; s < sources_.size(); ++s)
      for (std::uint32_t i = 0; i < sources_[s].document->statements.size(); ++i)
        for (const auto& id : sources_[s].document->statements[i].vulnerabilities) by_vulnerability_[id].push_back({s, i});
  }

  contracts::VexResultSet run(const contracts::ExposureSet& exposures) {
    contracts::VexResultSet set;
    set.rule = first_rule_ ? kVexPrecedenceRule1 : kVexPrecedenceRule;
    // Exposures of several revisions of one advisory are one pair: what names any of them names the pair.
    std::map<std::pair<std::uint32_t, std::string_view>, std::vector<const Exposure*>> pairs;
    for (const Exposure& e : exposures.exposures)
      if (!e.advisory.id.empty() && e.component < table_.components.size()) pairs[{e.component, e.advisory.id}].push_back(&e);
    for (const auto& [pair, members] : pairs) {
      const auto statements = statements_about(members);
      if (statements.empty()) continue;
      VexOutcome outcome;
      outcome.component = pair.first;
      outcome.purl = table_.components[pair.first].purl;
      outcome.advisory_id = pair.second;
      decide(statements, outcome);
      if (!outcome.considered.empty()) set.outcomes.push_back(std::move(outcome));
    }
    return set;
  }

 private:
  std::vector<StatementRef> statements_about(const std::vector<const Exposure*>& members) const {
    std::vector<StatementRef> out;
    const auto add = [&](const std::string& id) {
      if (const auto it = by_vulnerability_.find(id); it != by_vulnerability_.end()) out.insert(out.end(), it->second.begin(), it->second.end());
    };
    for (const Exposure* e : members) {
      add(e->advisory.id);
      for (const auto& alias : e->advisory.aliases) add(alias);
      // A distribution's record about one CVE; with several, a statement about one of them says nothing about the record.
      if (e->advisory.upstream.size() == 1) add(e->advisory.upstream.front());
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  void decide(const std::vector<StatementRef>& statements, VexOutcome& outcome) {
    struct Candidate {
      std::size_t considered;
      int tier;
      std::optional<Timestamp> time;
    };
    std::vector<Candidate> candidates;
    Repetitions repetitions(outcome.considered);
    for (const StatementRef ref : statements) {
      const VexSource& source = sources_[ref.source];
      const VexStatement& statement = source.document->statements[ref.statement];
      Fit fit = fit_of(ref, statement.status, outcome.component);
      if (!fit.considered) continue;
      const bool refused = fit.rank > 0 && (statement.status == VexStatus::kNone || !statement.complete);
      if (refused) {
        fit.rank = 0;
        fit.why = statement.status == VexStatus::kNone ? "its status is none that we know" : "not_affected with neither justification nor impact statement";
      }
      if (fit.rank == 0 && repetitions.seen(ref.source, fit.why)) continue;
      ConsideredStatement considered;
      considered.document = source.document->sha256;
      considered.pointer = statement.pointer;
      considered.status = statement.status;
      considered.source_label = statement.source_label;
      considered.justification = statement.justification;
      considered.timestamp = statement.timestamp;
      considered.rank = fit.rank;
      considered.applies = fit.rank > 0;
      considered.why = std::move(fit.why);
      if (considered.applies) candidates.push_back({outcome.considered.size(), source.tier, statement.time});
      outcome.considered.push_back(std::move(considered));
    }
    repetitions.finish();
    const auto best = [&](auto key) {
      if (candidates.empty()) return;
      const auto top = key(*std::max_element(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) { return key(a) < key(b); }));
      std::erase_if(candidates, [&](const Candidate& c) { return key(c) < top; });
    };
    best([&](const Candidate& c) { return outcome.considered[c.considered].rank; });
    best([](const Candidate& c) { return c.tier; });
    best([](const Candidate& c) { return c.time; });  // none is below any time
    for (const Candidate& c : candidates) settle(outcome.considered[c.considered], outcome);
  }

  // Least favourable of statements that nothing else tells apart.
  static void settle(const ConsideredStatement& statement, VexOutcome& outcome) {
    const auto harm = [](VexStatus status) {
      switch (status) {
        case VexStatus::kAffected: return 4;
        case VexStatus::kUnderInvestigation: return 3;
        case VexStatus::kFixed: return 2;
        case VexStatus::kNotAffected: return 1;
        default: return 0;
      }
    };
    if (outcome.status != VexStatus::kNone && outcome.status != statement.status) outcome.conflict = true;
    if (harm(statement.status) <= harm(outcome.status)) return;
    outcome.status = statement.status;
    outcome.justification = statement.justification;
  }

  const std::vector<ParsedProduct>& products_of(StatementRef ref) {
    auto& parsed = parsed_[{ref.source, ref.statement}];
    if (!parsed) {
      parsed = std::make_unique<std::vector<ParsedProduct>>();
      for (const VexProduct& product : sources_[ref.source].document->statements[ref.statement].products) {
        ParsedProduct out{parse_ids(product.ids, first_rule_), {}};
        for (const auto& part : product.subcomponents) out.parts.push_back(parse_ids(part, first_rule_));
        parsed->push_back(std::move(out));
      }
    }
    return *parsed;
  }

  // Every product of the statement is looked at; the best fit counts.
  Fit fit_of(StatementRef ref, VexStatus status, std::uint32_t component) {
    index_table();
    Fit fit;
    // A part of the component is in the product: that is enough to be harmed, not enough to be cleared.
    fit.harms = !first_rule_ && (status == VexStatus::kAffected || status == VexStatus::kUnderInvestigation);
    if (!purls_[component]) return fit;  // nothing names a component without a purl
    for (const ParsedProduct& product : products_of(ref)) {
      if (!product.parts.empty()) {
        fit_part(product, component, fit);
      } else {
        fit_whole(product, component, fit);
      }
    }
    return fit;
  }

  // The best match of any of the ids with the component.
  Match best_match(const std::vector<ParsedId>& ids, std::uint32_t component) const {
    Match best = Match::kOtherPackage;
    for (const auto& id : ids) best = std::max(best, match_of(id, component));
    return best;
  }

  Match match_of(const ParsedId& id, std::uint32_t component) const {
    Match best = id.key == keys_[component] ? vex::match(id.purl, *purls_[component]) : Match::kOtherPackage;
    // One who spells the subpath as the document does means this component; one who names the module around it does not.
    if (const auto spelled = spelled_.find(component); spelled != spelled_.end() && !id.purl.subpath.empty() && id.key == spelled->second.key)
      best = std::max(best, vex::match(id.purl, spelled->second.purl));
    return best;
  }

  bool is_named(const ParsedId& id) const {
    return by_package_.contains(id.key) || (!id.purl.subpath.empty() && std::any_of(spelled_.begin(), spelled_.end(), [&](const auto& s) { return s.second.key == id.key; }));
  }
  // Components that the id may name.
  std::vector<std::uint32_t> named_by(const ParsedId& id) const {
    std::vector<std::uint32_t> out;
    if (const auto it = by_package_.find(id.key); it != by_package_.end()) out = it->second;
    if (id.purl.subpath.empty()) return out;
    for (const auto& [component, spelled] : spelled_)
      if (spelled.key == id.key) out.push_back(component);
    return out;
  }

  // A statement about a subcomponent of a product.
  void fit_part(const ParsedProduct& product, std::uint32_t component, Fit& fit) {
    Match part = Match::kOtherPackage;
    for (const auto& ids : product.parts) part = std::max(part, best_match(ids, component));
    if (part == Match::kOtherPackage) return;
    if (static_cast<int>(part) < 0) return fit.offer(0, std::string(match_text(part)) + " of the subcomponent");
    place(product, component, static_cast<int>(part), std::string(match_text(part)) + " as a subcomponent", fit);
  }

  // A statement about a product as a whole: the component itself, or something that the component lies inside.
  void fit_whole(const ParsedProduct& product, std::uint32_t component, Fit& fit) {
    const Match own = best_match(product.ids, component);
    if (own != Match::kOtherPackage) return fit.offer(std::max(0, static_cast<int>(own)), std::string(match_text(own)));
    bool in_sbom = false;
    for (const auto& id : product.ids) in_sbom |= is_named(id);
    if (in_sbom) place(product, component, static_cast<int>(Match::kExact), "names a product as a whole", fit);
  }

  void place(const ParsedProduct& product, std::uint32_t component, int part_rank, std::string what, Fit& fit) {
    // Components that the product names, by how exactly it names them: the most exact ones are meant.
    Match best = Match::kOtherPackage;
    std::vector<std::uint32_t> members;
    for (const auto& id : product.ids) {
      for (const std::uint32_t member : named_by(id)) {
        const Match m = match_of(id, member);
        best = std::max(best, m);
        if (static_cast<int>(m) > 0) members.push_back(member);
      }
    }
    if (members.empty()) return fit.offer(0, best == Match::kOtherPackage ? "its product is not part of this SBOM" : "this SBOM has the product in another version");
    std::sort(members.begin(), members.end());
    members.erase(std::unique(members.begin(), members.end()), members.end());
    std::uint32_t elsewhere = 0;
    const std::string name = table_.components[members.front()].purl;
    const Containment where = scope_of(members).contains(component, &elsewhere);
    if (where == Containment::kOutside) return fit.offer(0, "component is not inside the product " + name);
    what += ", inside the product " + name;
    if (where == Containment::kAlsoOutside) {
      const auto& holder = table_.components[elsewhere];
      const std::string other = "in " + (holder.refs.empty() ? holder.label : holder.refs.front());
      if (!fit.harms) return fit.offer(0, "component also lies outside of the product, " + other);
      what += " and outside of it too, " + other;
    }
    fit.offer(std::min(part_rank, static_cast<int>(best)), std::move(what));
  }

  const vex::ProductScope& scope_of(const std::vector<std::uint32_t>& members) {
    auto& scope = scopes_[members];
    if (!scope) scope = std::make_unique<vex::ProductScope>(*edges_, members, first_rule_ ? vex::OutsideReach::kHolders : vex::OutsideReach::kPaths);
    return *scope;
  }

  // syft spells the module "…/consul/api" as "…/consul#api": where the table calls the component by the joined path, that is its package.
  void join_module(std::uint32_t component, Purl& purl) {
    if (purl.type != "golang" || purl.subpath.empty()) return;
    const std::string joined = (purl.namespace_.empty() ? "" : purl.namespace_ + "/") + purl.name + "/" + purl.subpath;
    if (table_.components[component].name != joined) return;
    spelled_.emplace(component, ParsedId{purl, vex::package_key(purl)});
    const std::size_t slash = joined.rfind('/');
    purl.namespace_ = joined.substr(0, slash);
    purl.name = joined.substr(slash + 1);
    purl.subpath.clear();
  }

  // Purls of the table, parsed once and only where any statement is looked at.
  void index_table() {
    if (edges_) return;
    edges_ = std::make_unique<vex::EdgeIndex>(table_);
    purls_.resize(table_.components.size());
    keys_.resize(table_.components.size());
    for (std::uint32_t i = 0; i < table_.components.size(); ++i) {
      if (table_.components[i].purl.empty()) continue;
      auto purl = parse_purl(table_.components[i].purl);
      if (!purl) continue;
      if (purl->version.empty()) purl->version = table_.components[i].version;
      if (!first_rule_) {
        vex::spell_go_standard(*purl);
        join_module(i, *purl);
      }
      keys_[i] = vex::package_key(*purl, first_rule_);
      purls_[i] = std::move(*purl);
      by_package_[keys_[i]].push_back(i);
    }
  }

  const contracts::ComponentTable& table_;
  const bool first_rule_;
  std::vector<VexSource> sources_;
  std::unordered_map<std::string, std::vector<StatementRef>> by_vulnerability_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::unique_ptr<std::vector<ParsedProduct>>> parsed_;
  std::unique_ptr<vex::EdgeIndex> edges_;
  std::vector<std::optional<Purl>> purls_;
  std::vector<std::string> keys_;
  std::unordered_map<std::string, std::vector<std::uint32_t>> by_package_;
  std::map<std::uint32_t, ParsedId> spelled_;  // purls of the document that join_module() wrote otherwise; few
  std::map<std::vector<std::uint32_t>, std::unique_ptr<vex::ProductScope>> scopes_;
};

}  // namespace

Result<contracts::VexResultSet> reconcile(const contracts::ComponentTable& components, const contracts::ExposureSet& exposures,
                                          std::span<const VexSource> sources, std::string_view rule) {
  if (rule != kVexPrecedenceRule && rule != kVexPrecedenceRule1)
    return Error(base_errors::kInvalid, "not a precedence rule of this engine").with("field", "rule").with("expected", std::string(kVexPrecedenceRule1) + " or " + std::string(kVexPrecedenceRule));
  return Reconciler(components, sources, rule == kVexPrecedenceRule1).run(exposures);
}

}  // namespace stella::pipeline
