// Logs and checkpoints; what clients were told. Evidence is in check_evidence.cc.
#include "checks.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "check_evidence.h"
#include "reading.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"

namespace stella::chaos {
namespace {

constexpr std::uint64_t kTile = 256;

class Judge {
 public:
  Judge(const World& world, std::uint64_t seed, const Seen& seen, Tally& tally, std::vector<std::string>& problems)
      : world_(world), seed_(seed), seen_(seen), tally_(tally), problems_(problems), read_(world) {}

  void all() {
    for (auto& [tenant, log] : read_.logs) entries(tenant, log);
    heads();
    events();
    for (const auto& [path, note] : seen_) checkpoint(path, note);
    rows_of_checkpoints();
    deployment();
    for (const auto& [tenant, log] : read_.logs) tiles("tenants/" + tenant + "/log/tile/0/", log.tree);
    told();
    check_evidence(world_, read_, seen_, tally_, [this](const std::string& text) { say(text); });
  }

 private:
  void say(const std::string& text) {
    if (problems_.size() < 20) problems_.push_back(text);
  }
  void entries(const std::string& tenant, Log& log);
  void add_gone(const std::string& tenant, Log& log, std::int64_t index);
  void heads();
  void events();
  void checkpoint(const std::string& path, const std::string& note);
  bool signed_by_us(const std::string& origin, const std::string& body, const std::string& line) const;
  void rows_of_checkpoints();
  void deployment();
  void tiles(const std::string& prefix, const Tree& tree);
  void told();
  void granted(std::size_t n, const Wish& wish, const std::string& attempt);
  void emitted(std::size_t n, const Wish& wish, const std::string& attempt, bool must);
  std::size_t count(const std::string& tenant, std::string_view kind, std::string_view resource) const;
  void in_order(const Wish& wish, std::size_t n, std::int64_t first, std::int64_t last);

  const World& world_;
  const std::uint64_t seed_;
  const Seen& seen_;
  Tally& tally_;
  std::vector<std::string>& problems_;
  Reading read_;
  Tree deployment_;
  std::map<std::string, std::int64_t> reached_;  // tenant → index of the last entry that a client was told of
};

// ── Logs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// An entry that expired must be one of the old ones, and not one of those that stay.
void Judge::add_gone(const std::string& tenant, Log& log, std::int64_t index) {
  const auto old = world_.start.old.find(tenant);
  if (old == world_.start.old.end() || index >= static_cast<std::int64_t>(old->second.size())) return say(tenant + ": entry " + std::to_string(index) + " is gone and was not old");
  const std::string& entry = old->second[static_cast<std::size_t>(index)];
  if (entry.find("disposition.frozen") != std::string::npos) say(tenant + ": entry " + std::to_string(index) + " is gone and had to stay");
  log.tree.add(entry);
}

void Judge::entries(const std::string& tenant, Log& log) {
  std::set<std::string> ids;
  const auto next = [&] { return static_cast<std::int64_t>(log.tree.size()); };
  for (const Entry& entry : log.entries) {
    while (next() < entry.index && log.gone.contains(next())) {
      const auto before = next();
      add_gone(tenant, log, before);
      if (next() == before) return;
    }
    if (entry.index != next()) return say(tenant + ": entry " + std::to_string(entry.index) + " stands at place " + std::to_string(next()));
    if (log.gone.contains(entry.index)) say(tenant + ": entry " + std::to_string(entry.index) + " expired and is still there");
    if (!ids.insert(entry.event_id).second) say(tenant + ": the event " + entry.event_id + " is there twice");
    if (entry.json.str("event_id") != entry.event_id || entry.json.str("tenant_id") != tenant) say(tenant + ": entry " + std::to_string(entry.index) + " speaks of another event or tenant");
    const auto old = world_.start.old.find(tenant);
    if (old != world_.start.old.end() && entry.index < static_cast<std::int64_t>(old->second.size()) && entry.bytes != old->second[static_cast<std::size_t>(entry.index)]) say(tenant + ": entry " + std::to_string(entry.index) + " is not the old one");
    log.tree.add(entry.bytes);
  }
  tally_.entries += static_cast<int>(log.entries.size());
}

void Judge::heads() {
  for (const auto& head : read_.table("heads")) {
    const std::string tenant(head.str("tenant"));
    const Tree& tree = read_.logs[tenant].tree;
    const auto size = static_cast<std::uint64_t>(head.integer("size"));
    if (size != tree.size() || head.str("root") != tree.root_hex(size)) say(tenant + ": the head says " + std::to_string(size) + " " + std::string(head.str("root")) + ", the entries are " + std::to_string(tree.size()) + " " + tree.root_hex(tree.size()));
  }
  for (const auto& log : read_.table("logs")) {
    const std::string tenant(log.str("tenant"));
    const Tree& tree = read_.logs[tenant].tree;
    if (static_cast<std::uint64_t>(log.integer("size")) != tree.size() || log.str("root") != tree.root_hex(tree.size())) say(tenant + ": the newest checkpoint is of " + std::to_string(log.integer("size")) + " entries, there are " + std::to_string(tree.size()));
  }
  if (!read_.table("outbox").empty()) say("the outbox is not empty");
}

void Judge::events() {
  std::map<std::pair<std::string, std::string>, const json::Value*> rows;
  for (const auto& row : read_.table("events")) rows[{std::string(row.str("tenant")), std::string(row.str("event"))}] = &row;
  for (const auto& [tenant, log] : read_.logs) {
    for (const Entry& entry : log.entries) {
      const auto row = rows.find({tenant, entry.event_id});
      if (row == rows.end()) {
        say(tenant + ": entry " + std::to_string(entry.index) + " has no event row");
        continue;
      }
      const auto place = static_cast<std::size_t>(entry.index);
      if (place >= log.tree.size() || row->second->str("digest") != log.tree.leaves()[place].hex() || row->second->str("kind") != entry.kind()) say(tenant + ": the event row of entry " + std::to_string(entry.index) + " is another's");
      rows.erase(row);
    }
  }
  for (const auto& [key, row] : rows) say(key.first + ": the event row " + key.second + " has no entry");
}

// ── Checkpoints ────────────────────────────────────────────────────────────────────────────────────────────────────

bool Judge::signed_by_us(const std::string& origin, const std::string& body, const std::string& line) const {
  const std::string start = "\xe2\x80\x94 " + origin + " ";
  if (!line.starts_with(start)) return false;
  const std::string raw = base64_decode(line.substr(start.size())).value_or("");
  if (raw.size() != 4 + 64) return false;
  return std::any_of(world_.start.log_keys.begin(), world_.start.log_keys.end(), [&](const auto& key) { return key->public_key().verify(body, raw.substr(4)); });
}

// Whatever became of its row: once it could be read, it binds.
void Judge::checkpoint(const std::string& path, const std::string& note) {
  ++tally_.checkpoints;
  const auto there = read_.objects.find(path);
  if (there == read_.objects.end()) say("the checkpoint " + path + " is gone");
  else if (there->second != note) say("the checkpoint " + path + " has other bytes now");
  std::istringstream lines(note);
  std::string origin, size, root, empty, signature;
  std::getline(lines, origin);
  std::getline(lines, size);
  std::getline(lines, root);
  std::getline(lines, empty);
  std::getline(lines, signature);
  if (!signed_by_us(origin, origin + "\n" + size + "\n" + root + "\n", signature)) say("the checkpoint " + path + " is not signed by a key of ours");
  if (!path.ends_with("/" + size)) say("the checkpoint " + path + " says " + size);
  const bool platform = path.starts_with("platform/");
  const std::string tenant = platform ? "" : path.substr(8, path.find('/', 8) - 8);
  const auto& of = platform ? read_.table("deployment") : read_.table("logs");
  const auto log = std::find_if(of.begin(), of.end(), [&](const auto& row) { return platform || row.str("tenant") == tenant; });
  if (log == of.end() || log->str("origin") != origin) say("the checkpoint " + path + " was signed for another log");
  if (platform) return;  // its root is judged when the leaves are known
  const std::string expected = read_.logs[tenant].tree.root_hex(std::stoull(size));
  if (expected.empty() || base64_decode(root).value_or("") != hex_decode(expected).value_or("-")) say("the checkpoint " + path + " is not the root of the first " + size + " entries");
}

// Every row is an object. An object without a row is a checkpoint whose transaction was lost.
void Judge::rows_of_checkpoints() {
  std::set<std::string> rows;
  for (const auto& row : read_.table("checkpoints")) rows.insert("tenants/" + std::string(row.str("tenant")) + "/log/checkpoints/" + std::to_string(row.integer("size")) + "\n" + std::string(row.str("note")));
  for (const auto& row : read_.table("deployment_checkpoints")) rows.insert("platform/log/checkpoints/" + std::to_string(row.integer("size")) + "\n" + std::string(row.str("note")));
  for (const auto& row : rows) {
    const std::string path = row.substr(0, row.find('\n'));
    const auto object = read_.objects.find(path);
    if (object == read_.objects.end() || object->second != row.substr(path.size() + 1)) say("the row of the checkpoint " + path + " is not what lies in the store");
  }
  for (const auto& [path, note] : seen_) tally_.orphans += rows.contains(path + "\n" + note) ? 0 : 1;
}

void Judge::deployment() {
  for (const auto& row : read_.table("checkpoints")) {
    if (row.integer("leaf") != static_cast<std::int64_t>(deployment_.size())) say("deployment log: leaf " + std::to_string(row.integer("leaf")) + " stands at place " + std::to_string(deployment_.size()));
    deployment_.add(row.str("note"));
  }
  const auto& row = read_.table("deployment").front();
  if (static_cast<std::uint64_t>(row.integer("size")) != deployment_.size() || row.integer("placed") != row.integer("size") || row.str("root") != deployment_.root_hex(deployment_.size())) say("deployment log: its row is not the root over its " + std::to_string(deployment_.size()) + " leaves");
  for (const auto& [path, note] : seen_) {
    if (!path.starts_with("platform/log/checkpoints/")) continue;
    const auto first = note.find('\n'), second = note.find('\n', first + 1), third = note.find('\n', second + 1);
    const std::string expected = deployment_.root_hex(std::stoull(note.substr(first + 1, second)));
    if (expected.empty() || base64_decode(note.substr(second + 1, third - second - 1)).value_or("") != hex_decode(expected).value_or("-")) say("the checkpoint " + path + " is not the root of its first leaves");
  }
  tiles("platform/log/tile/0/", deployment_);
}

void Judge::tiles(const std::string& prefix, const Tree& tree) {
  for (std::uint64_t n = 0; n < tree.size() / kTile; ++n) {
    std::string expected;
    for (std::uint64_t i = n * kTile; i < (n + 1) * kTile; ++i) expected += tree.leaves()[i].view();
    const std::string name = std::to_string(n), path = prefix + std::string(3 - name.size(), '0') + name;
    const auto object = read_.objects.find(path);
    if (object == read_.objects.end()) say("the full tile " + path + " is not there");
    else if (object->second != expected) say("the tile " + path + " is not the hashes of its entries");
  }
}

// ── What clients were told ─────────────────────────────────────────────────────────────────────────────────────────

std::size_t Judge::count(const std::string& tenant, std::string_view kind, std::string_view resource) const {
  const auto log = read_.logs.find(tenant);
  if (log == read_.logs.end()) return 0;
  return static_cast<std::size_t>(std::count_if(log->second.entries.begin(), log->second.entries.end(), [&](const Entry& e) { return e.kind() == kind && e.json.str("resource_id") == resource; }));
}

// A client wished the next thing when it had the answer about this one: the log has the same order.
void Judge::in_order(const Wish& wish, std::size_t n, std::int64_t first, std::int64_t last) {
  auto [reached, fresh] = reached_.emplace(wish.tenant, -1);
  if (first <= reached->second) say(wish.tenant + ": wish " + std::to_string(n) + " is at entry " + std::to_string(first) + ", an earlier one at " + std::to_string(reached->second));
  reached->second = std::max(reached->second, last);
}

// All of a batch or nothing of it, in its order.
void Judge::emitted(std::size_t n, const Wish& wish, const std::string& attempt, bool must) {
  std::vector<const Entry*> found;
  for (const Entry& entry : read_.logs[wish.tenant].entries)
    if (entry.kind() == "service.degraded" && entry.details().str("reason") == "wish " + attempt) found.push_back(&entry);
  if (found.empty() && !must) return;
  if (found.size() != static_cast<std::size_t>(wish.count)) return say(wish.tenant + ": wish " + attempt + (must ? ", which was granted," : "") + " has " + std::to_string(found.size()) + " of " + std::to_string(wish.count) + " events in the log");
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i]->details().str("part") != std::to_string(i)) return say(wish.tenant + ": wish " + attempt + " is not in order");
  if (must) in_order(wish, n, found.front()->index, found.back()->index);
}

void Judge::granted(std::size_t n, const Wish& wish, const std::string& answer) {
  switch (wish.kind) {
    case Wish::kEmit: return;
    case Wish::kSubmit: {
      std::vector<std::int64_t> at;
      for (const Entry& entry : read_.logs[wish.tenant].entries)
        if (entry.event_id == submitted_id(n)) at.push_back(entry.index);
      if (at.size() != 1) return say(wish.tenant + ": the event of wish " + std::to_string(n) + " is there " + std::to_string(at.size()) + " times");
      return in_order(wish, n, at.front(), at.front());
    }
    case Wish::kHold:
    case Wish::kRelease: {
      const std::string_view kind = wish.kind == Wish::kHold ? "hold.placed" : "hold.released";
      if (count(wish.tenant, kind, wish.case_id) != 1) say(wish.tenant + ": the case " + wish.case_id + " has " + std::to_string(count(wish.tenant, kind, wish.case_id)) + " events " + std::string(kind));
      return;
    }
    case Wish::kClose:
      if (count(wish.tenant, "case.closed", wish.case_id) != 1) say(wish.tenant + ": the case " + wish.case_id + " was not closed once");
      return;
    case Wish::kKeep:
      if (count(wish.tenant, "retention.extended", wish.case_id) < 1) say(wish.tenant + ": nothing says that the case " + wish.case_id + " is kept longer");
      return;
    case Wish::kBundle:
      if (std::none_of(read_.table("snapshots").begin(), read_.table("snapshots").end(), [&](const auto& row) { return row.str("bundle") == answer; })) say("the bundle " + answer + " that was promised is not there");
  }
}

void Judge::told() {
  const auto wishes = wishes_of(seed_);
  std::istringstream lines(read_file(world_.told(), 1 << 24).value_or(""));
  std::map<std::string, std::string> answers;  // attempt → answer
  std::vector<std::pair<std::size_t, std::string>> attempts;
  std::set<std::size_t> done;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word, number, attempt, answer;
    words >> word >> number >> attempt >> answer;
    if (word == "trouble") say(line);
    if (word == "try") attempts.emplace_back(std::stoull(number), number + " " + attempt);
    if (word != "told") continue;
    answers[number + " " + attempt] = answer;
    done.insert(std::stoull(number));
  }
  for (const auto& [n, attempt] : attempts) {
    if (wishes[n].kind == Wish::kEmit) emitted(n, wishes[n], attempt, answers.contains(attempt));
    else if (answers.contains(attempt)) granted(n, wishes[n], answers[attempt]);
  }
  for (std::size_t n = 0; n < wishes.size(); ++n)
    if (!done.contains(n)) say("wish " + std::to_string(n) + " was never granted");
}

}  // namespace

Seen checkpoint_objects(const World& world) {
  Seen out;
  std::error_code none;
  for (const auto& tenant : std::filesystem::directory_iterator(world.objects() + "/tenants", none)) out.merge(files_below(world.objects(), "tenants/" + tenant.path().filename().string() + "/log/checkpoints"));
  out.merge(files_below(world.objects(), "platform/log/checkpoints"));
  return out;
}

bool struck_line(const World& world) {
  const std::string text = read_file(world.told(), 1 << 24).value_or("");
  return text.ends_with(" struck\n");
}

void judge(const World& world, std::uint64_t seed, const Seen& seen, Tally& tally, std::vector<std::string>& problems) { Judge(world, seed, seen, tally, problems).all(); }

}  // namespace stella::chaos
