// Rows and files of a run as they are, without the code under test.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/ids.h"
#include "world.h"

namespace stella::chaos {

// RFC 6962, by the book: the root of every prefix from a stack of perfect subtrees.
class Tree {
 public:
  Sha256 add(std::string_view entry);  // its leaf hash
  void add_leaf(const Sha256& leaf);
  std::uint64_t size() const { return leaves_.size(); }
  const std::vector<Sha256>& leaves() const { return leaves_; }
  // Of the first `size` leaves; "" where there are fewer.
  std::string root_hex(std::uint64_t size) const { return size < roots_.size() ? roots_[size] : std::string(); }

 private:
  std::vector<Sha256> stack_, leaves_;
  std::vector<std::string> roots_{""};
};

struct Entry {
  std::int64_t index = 0;
  std::string event_id, bytes;
  json::Value json;
  std::string_view kind() const { return json.str("kind"); }
  const json::Value& details() const { return *json.find("details"); }
};

struct Log {
  std::vector<Entry> entries;
  std::set<std::int64_t> gone;  // that expired, as the record has it
  Tree tree;
};

struct Reading {
  explicit Reading(const World& world);
  json::Value rows;  // table → [row]
  const json::Array& table(std::string_view name) const { return rows.items(name); }
  std::map<std::string, Log> logs;
  std::map<std::string, std::string> objects;  // path below the store → bytes
};

// "{[0,3),[5,6)}"
std::set<std::int64_t> multirange(std::string_view text);
std::map<std::string, std::string> files_below(const std::string& root, const std::string& path);

}  // namespace stella::chaos
