// Reading of policy files and the counting of witnesses.
#include "stella/timeline/log/policy.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "text.h"

namespace stella::timeline {
namespace {

constexpr std::string_view kBlank = " \t";
constexpr std::string_view kNone = "none";

std::vector<std::string_view> items_of(std::string_view line) {
  std::vector<std::string_view> out;
  for (;;) {
    const auto begin = line.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return out;
    line.remove_prefix(begin);
    out.push_back(line.substr(0, line.find_first_of(kBlank)));
    line.remove_prefix(out.back().size());
  }
}

// Octets 0x09, 0x0A, 0x20–0x7E and 0x80–0xFF: names and comments need no UTF-8.
bool allowed(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '\t' || c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); });
}

}  // namespace

class LogPolicy::Reader {
 public:
  Result<LogPolicy> read(std::string_view file) {
    if (file.size() > kPolicyFileBytes) return Error(base_errors::kLimit, "the policy is too large").with("limit", kPolicyFileBytes).with("actual", file.size());
    while (!file.empty()) {
      ++line_;
      const auto line = take_line(file);
      if (!line) return malformed("newline at the end: the file may have been cut off");
      if (!allowed(*line)) return malformed("no control characters but tab and newline");
      const auto items = items_of(*line);
      if (items.empty() || items[0].starts_with('#')) continue;
      STELLA_TRY_VOID(statement(items));
    }
    if (!quorum_seen_) return Error(base_errors::kInvalid, "the policy has no quorum").with("expected", "a line 'quorum <name>' or 'quorum none'");
    STELLA_TRY_VOID(check_reachable());
    return std::move(policy_);
  }

 private:
  using Items = std::vector<std::string_view>;

  Error malformed(std::string expected) const {
    return Error(base_errors::kMalformed, "not a log policy").with("line", line_).with("expected", std::move(expected));
  }
  Error invalid(Literal what, std::string_view name) const { return Error(base_errors::kInvalid, what).with("line", line_).with("name", std::string(name)); }

  Result<void> statement(const Items& items) {
    if (items[0] == "log") return log(items);
    if (items[0] == "witness") return witness(items);
    if (items[0] == "group") return group(items);
    if (items[0] == "quorum") return quorum(items);
    return malformed("log, witness, group or quorum");
  }

  Result<void> log(const Items& items) {
    if (items.size() < 2 || items.size() > 3) return malformed("log <vkey> [<url>]");
    VerifierKey key = STELLA_TRY(read_key(items[1]));
    if (!log_keys_.insert(key.key_bytes()).second) return invalid("two logs have the same key", key.name());
    if (policy_.logs_.size() == kPolicyItems) return limit();
    policy_.logs_.push_back({std::move(key), std::string(items.size() > 2 ? items[2] : "")});
    return {};
  }

  Result<void> witness(const Items& items) {
    if (items.size() < 3 || items.size() > 4) return malformed("witness <name> <vkey> [<url>]");
    VerifierKey key = STELLA_TRY(read_key(items[2]));
    // Types 0x01 and 0x02 sign no time; 0x06 cosigns too, but we only read it.
    if (key.type() == SignatureType::kEd25519 || key.type() == SignatureType::kEcdsa)
      return Error(base_errors::kInvalid, "the key of a witness must be one for cosignatures").with("line", line_).with("expected", "key type 0x04");
    if (!witness_keys_.insert(key.key_bytes()).second) return invalid("two witnesses have the same key", items[1]);
    if (policy_.witnesses_.size() == kPolicyItems) return limit();
    STELLA_TRY_VOID(define(items[1], {.group = false, .index = policy_.witnesses_.size()}));
    policy_.witnesses_.push_back({std::string(items[1]), std::move(key), std::string(items.size() > 3 ? items[3] : "")});
    return {};
  }

  Result<void> group(const Items& items) {
    if (items.size() < 4) return malformed("group <name> all|any|<k> <name>…, at least one member");
    Group group;
    for (const auto name : Items(items.begin() + 3, items.end())) {
      const auto found = names_.find(name);
      if (found == names_.end()) return invalid("a member that no line above defines", name);
      if (std::exchange(found->second.listed, true)) return invalid("a name is a member twice", name);
      group.members.push_back(found->second);
    }
    const auto count = group.members.size();
    const auto threshold = items[2] == "all" ? std::optional<std::uint64_t>(count) : items[2] == "any" ? 1 : decimal(items[2], count);
    if (!threshold || *threshold == 0) return malformed("all, any, or a number from 1 to " + std::to_string(count));
    group.threshold = *threshold;
    if (policy_.groups_.size() == kPolicyItems) return limit();
    STELLA_TRY_VOID(define(items[1], {.group = true, .index = policy_.groups_.size()}));
    policy_.groups_.push_back(std::move(group));
    return {};
  }

  Result<void> quorum(const Items& items) {
    if (items.size() != 2) return malformed("quorum <name>");
    if (std::exchange(quorum_seen_, true)) return invalid("a second quorum", items[1]);
    if (items[1] == kNone) return {};
    const auto found = names_.find(items[1]);
    if (found == names_.end()) return invalid("a quorum that no line above defines", items[1]);
    policy_.quorum_ = found->second;
    return {};
  }

  Result<void> define(std::string_view name, Member member) {
    if (name == kNone || !names_.emplace(name, member).second) return invalid("the name is already taken", name);
    return {};
  }

  Result<VerifierKey> read_key(std::string_view vkey) {
    auto key = VerifierKey::parse(vkey);
    if (!key) return std::move(key.error()).with("line", line_);
    // Verification tells keys apart by name and id.
    if (!ids_.emplace(key->name(), key->id()).second) return invalid("two keys have the same name and id", key->name());
    return key;
  }

  Result<void> check_reachable() const {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < policy_.witnesses_.size(); ++i) {
      if (policy_.witnesses_[i].key.can_verify()) all.push_back(i);
    }
    if (!policy_.satisfied(all))
      return Error(base_errors::kInvalid, "the quorum cannot be reached: too many of its keys are of a type that is not verified here").with("expected", "key type 0x04");
    return {};
  }

  Error limit() const { return Error(base_errors::kLimit, "too many lines of one kind in the policy").with("line", line_).with("limit", kPolicyItems); }

  LogPolicy policy_;
  std::uint64_t line_ = 0;
  bool quorum_seen_ = false;
  std::map<std::string, Member, std::less<>> names_;
  std::set<std::string, std::less<>> log_keys_, witness_keys_;
  std::set<std::pair<std::string, std::uint32_t>> ids_;
};

Result<LogPolicy> LogPolicy::parse(std::string_view file) { return Reader().read(file); }

// Members are defined before their groups, so one pass in the file's order is enough.
bool LogPolicy::satisfied(std::span<const std::size_t> cosigned) const {
  if (!quorum_) return true;
  std::vector<bool> witnesses(witnesses_.size()), groups(groups_.size());
  for (const auto i : cosigned) {
    if (i < witnesses.size()) witnesses[i] = true;
  }
  const auto holds = [&](const Member& member) { return member.group ? groups[member.index] : witnesses[member.index]; };
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const auto& group = groups_[i];
    groups[i] = static_cast<std::size_t>(std::count_if(group.members.begin(), group.members.end(), holds)) >= group.threshold;
  }
  return holds(*quorum_);
}

Result<LogPolicy::Accepted> LogPolicy::open(std::string_view bytes, std::span<const VerifierKey> more_logs) const {
  Note note = STELLA_TRY(parse_note(bytes));
  std::vector<VerifierKey> keys;
  for (const auto& log : logs_) keys.push_back(log.key);
  for (const auto& more : more_logs) {
    const bool listed = std::any_of(logs_.begin(), logs_.end(), [&](const Log& log) { return log.key.str() == more.str(); });
    if (!listed) keys.push_back(more);
  }
  const std::size_t logs = keys.size();
  for (const auto& witness : witnesses_) keys.push_back(witness.key);
  const std::vector<std::size_t> signers = STELLA_TRY(verify_note(note, keys));
  Checkpoint checkpoint = STELLA_TRY(parse_checkpoint_text(note.text));

  const auto log = std::find_if(signers.begin(), signers.end(), [&](std::size_t i) { return i < logs && keys[i].name() == checkpoint.origin; });
  if (log == signers.end()) return Error(base_errors::kInvalid, "no known log of this origin signed the checkpoint").with("origin", checkpoint.origin);
  std::vector<Cosigner> cosigners;
  std::vector<std::size_t> cosigned;
  for (const auto i : signers) {
    if (i < logs) continue;
    std::uint64_t latest = 0;
    for (const auto& signature : note.signatures) {
      if (signature.name == keys[i].name() && signature.key_id == keys[i].id()) latest = std::max(latest, cosignature_time(signature.bytes).value_or(0));
    }
    cosigners.push_back({i - logs, latest});
    cosigned.push_back(i - logs);
  }
  if (!satisfied(cosigned))
    return Error(base_errors::kInvalid, "the cosignatures do not reach the policy's quorum").with("cosigned", cosigned.size()).with("origin", checkpoint.origin);
  return Accepted{std::move(checkpoint), std::move(note), keys[*log], std::move(cosigners)};
}

}  // namespace stella::timeline
