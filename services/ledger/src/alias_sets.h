// Alias sets: which advisories speak about one vulnerability. Pure.
//
// Records in force say under which other ids a vulnerability is known. An alias holds in both directions and from one to the next, so a set is a
// connected component. `upstream` (one direction only) and `related` (never from one to the next) make none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"

namespace stella::ledger {

// What one document says: `from` is known as `to`.
struct AliasEdge {
  std::string from;       // native id of the record
  std::string to;
  std::string source_id;  // where the document comes from
  Sha256 source_doc;      // the revision that is in force

  bool operator==(const AliasEdge&) const = default;
  bool operator<(const AliasEdge& o) const;
};

struct AliasSet {
  std::string name;                  // the smallest CVE id of its members, else the smallest id (byte order)
  std::vector<std::string> members;  // in byte order; none: the set is no more
  std::vector<AliasEdge> edges;      // in order

  bool operator==(const AliasSet&) const = default;
};

// The sets that these edges make, by name. An edge given twice counts once.
std::vector<AliasSet> alias_sets(std::vector<AliasEdge> edges);

struct SetChange {
  AliasSet now;
  std::vector<std::string> added, removed;  // members; both empty where only the documents behind the edges are others
};

// What is another set under its name than before, by name. A name that is gone keeps a set without members.
std::vector<SetChange> changed_sets(const std::vector<AliasSet>& before, const std::vector<AliasSet>& after);

// Which of a record's aliases make edges. None of a record of a distribution's packages: it names the vulnerabilities that a package release
// mends, several at once, and OSV wants them in `upstream`; following them would join what has nothing in common but that package.
// Ids that no advisory can have are left out, and what is over kAliasesFollowed.
inline constexpr std::size_t kAliasesFollowed = 64;
std::vector<std::string> followed_aliases(std::string_view id, const std::vector<std::string>& aliases, const std::vector<std::string>& ecosystems);

}  // namespace stella::ledger
