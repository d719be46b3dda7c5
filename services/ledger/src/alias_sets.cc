// Connected components, their names, and what differs between two states.
#include "alias_sets.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <tuple>

#include "common.h"
#include "stella/pipeline/versions/ecosystem.h"

namespace stella::ledger {
namespace {

// Disjoint sets of the numbers 0…n-1; the root is the smallest of its set.
class Components {
 public:
  explicit Components(std::size_t n) : parent_(n) { std::iota(parent_.begin(), parent_.end(), std::size_t{0}); }

  std::size_t root(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) {
    a = root(a);
    b = root(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<std::size_t> parent_;
};

std::vector<std::string_view> ids_of(const std::vector<AliasEdge>& edges) {
  std::vector<std::string_view> ids;
  ids.reserve(edges.size() * 2);
  for (const AliasEdge& e : edges) {
    ids.push_back(e.from);
    ids.push_back(e.to);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// Members are in order, so the first that is a CVE id is the smallest.
const std::string& name_of(const std::vector<std::string>& members) {
  const auto cve = std::find_if(members.begin(), members.end(), [](const std::string& id) { return id.starts_with("CVE-"); });
  return cve == members.end() ? members.front() : *cve;
}

std::vector<std::string> without(const std::vector<std::string>& all, const std::vector<std::string>& others) {
  std::vector<std::string> out;
  std::set_difference(all.begin(), all.end(), others.begin(), others.end(), std::back_inserter(out));
  return out;
}

bool is_distribution(const std::vector<std::string>& ecosystems) {
  return std::any_of(ecosystems.begin(), ecosystems.end(), [](const std::string& name) {
    const pipeline::Ecosystem* known = pipeline::find_ecosystem(name);
    return known != nullptr && known->distribution;
  });
}

}  // namespace

bool AliasEdge::operator<(const AliasEdge& o) const {
  return std::tie(from, to, source_id, source_doc) < std::tie(o.from, o.to, o.source_id, o.source_doc);
}

std::vector<AliasSet> alias_sets(std::vector<AliasEdge> edges) {
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  const std::vector<std::string_view> ids = ids_of(edges);
  const auto number = [&ids](std::string_view id) { return static_cast<std::size_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin()); };
  Components components(ids.size());
  for (const AliasEdge& e : edges) components.join(number(e.from), number(e.to));

  std::vector<std::size_t> set_of(ids.size());  // by root
  std::vector<AliasSet> sets;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::size_t root = components.root(i);
    if (root == i) {
      set_of[i] = sets.size();
      sets.emplace_back();
    }
    sets[set_of[root]].members.emplace_back(ids[i]);
  }
  std::vector<std::size_t> place;  // of each edge, before the ids' text moves
  place.reserve(edges.size());
  for (const AliasEdge& e : edges) place.push_back(set_of[components.root(number(e.from))]);
  for (std::size_t i = 0; i < edges.size(); ++i) sets[place[i]].edges.push_back(std::move(edges[i]));
  for (AliasSet& set : sets) set.name = name_of(set.members);
  std::sort(sets.begin(), sets.end(), [](const AliasSet& a, const AliasSet& b) { return a.name < b.name; });
  return sets;
}

std::vector<SetChange> changed_sets(const std::vector<AliasSet>& before, const std::vector<AliasSet>& after) {
  std::vector<SetChange> out;
  auto was = before.begin();
  auto now = after.begin();
  while (was != before.end() || now != after.end()) {
    if (now == after.end() || (was != before.end() && was->name < now->name)) {
      out.push_back({{was->name, {}, {}}, {}, was->members});
      ++was;
    } else if (was == before.end() || now->name < was->name) {
      out.push_back({*now, now->members, {}});
      ++now;
    } else {
      if (!(*was == *now)) out.push_back({*now, without(now->members, was->members), without(was->members, now->members)});
      ++was;
      ++now;
    }
  }
  return out;
}

std::vector<std::string> followed_aliases(std::string_view id, const std::vector<std::string>& aliases, const std::vector<std::string>& ecosystems) {
  std::vector<std::string> out;
  if (is_distribution(ecosystems)) return out;
  for (const std::string& alias : aliases)
    if (out.size() < kAliasesFollowed && alias != id && usable_id(alias)) out.push_back(alias);
  return out;
}

}  // namespace stella::ledger
