// Bundles whole or gone, holds obeyed by log and by store, nothing deleted before a checkpoint covered the plan.
#include "check_evidence.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>

#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_verify.h"

namespace stella::chaos {
namespace {

using Say = std::function<void(const std::string&)>;

// "<mode> <instant> hold|free": of a file as it lies there; of a bucket as its server says.
std::string lock_of(const World& world, const std::string& path) {
  if (world.buckets != nullptr) {
    const auto lock = world.open_store()->lock_state(path);
    if (!lock) return lock.error().describe();
    return std::string(objects::to_string(lock->mode)) + " " + lock->retain_until.rfc3339_seconds() + (lock->legal_hold ? " hold" : " free");
  }
  std::array<char, 128> buffer{};
  const ssize_t n = ::getxattr((world.objects() + "/" + path).c_str(), "user.stella.lock", buffer.data(), buffer.size());
  return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : "none - free";
}

class Evidence {
 public:
  Evidence(const World& world, const Reading& read, const Seen& seen, Tally& tally, const Say& say) : world_(world), read_(read), seen_(seen), tally_(tally), say_(say) {}

  void all() {
    for (const auto& row : read_.table("snapshots")) {
      const std::string state(row.str("state"));
      if (state == "sealed") sealed(row);
      else if (state == "disposed") disposed(row);
      else say_("the bundle " + std::string(row.str("bundle")) + " is " + state);
    }
    strays();
    for (const auto& row : read_.table("dispositions")) disposition(row);
    for (const auto& row : read_.table("expiries")) expiry(row);
    holds();
  }

 private:
  std::vector<const Entry*> of(const std::string& tenant, std::string_view kind, std::string_view resource) const;
  std::string directory(const json::Value& row) const { return "tenants/" + std::string(row.str("tenant")) + "/evidence/" + std::string(row.str("case")) + "/" + std::string(row.str("bundle")) + "/"; }
  bool in_use(std::string_view digest) const;
  bool held(const std::string& tenant, std::string_view case_id, std::int64_t at) const;
  void told_once(const json::Value& row);
  void sealed(const json::Value& row);
  void locks(const json::Value& row);
  void verdict(const json::Value& row);
  void disposed(const json::Value& row);
  void strays();
  std::int64_t covered(const std::string& tenant, const json::Value& row, std::string_view what);
  void disposition(const json::Value& row);
  void expiry(const json::Value& row);
  void holds();

  const World& world_;
  const Reading& read_;
  const Seen& seen_;
  Tally& tally_;
  const Say& say_;
};

std::vector<const Entry*> Evidence::of(const std::string& tenant, std::string_view kind, std::string_view resource) const {
  std::vector<const Entry*> out;
  for (const Entry& entry : read_.logs.at(tenant).entries)
    if (entry.kind() == kind && entry.json.str("resource_id") == resource) out.push_back(&entry);
  return out;
}

bool Evidence::in_use(std::string_view digest) const {
  return std::any_of(read_.table("snapshots").begin(), read_.table("snapshots").end(), [&](const auto& row) { return row.str("state") == "sealed" && (row.str("payload") == digest || row.str("items") == digest); });
}

// As the log tells it: placed and not released before entry `at`. An empty case: any.
bool Evidence::held(const std::string& tenant, std::string_view case_id, std::int64_t at) const {
  int open = 0;
  for (const Entry& entry : read_.logs.at(tenant).entries) {
    if (entry.index >= at) break;
    if (!case_id.empty() && entry.json.str("resource_id") != case_id) continue;
    if (entry.kind() == "hold.placed") ++open;
    if (entry.kind() == "hold.released") --open;
  }
  return open > 0;
}

// Asked for, signed and sealed once, in this order, over the same seal.
void Evidence::told_once(const json::Value& row) {
  const std::string tenant(row.str("tenant")), bundle(row.str("bundle"));
  const auto asked = of(tenant, "evidence.snapshot", bundle), signed_at = of(tenant, "evidence.signed", bundle), sealed_at = of(tenant, "evidence.sealed", bundle);
  if (asked.size() != 1 || signed_at.size() != 1 || sealed_at.size() != 1)
    return say_("the bundle " + bundle + " was asked for " + std::to_string(asked.size()) + " times, signed " + std::to_string(signed_at.size()) + ", sealed " + std::to_string(sealed_at.size()));
  if (asked[0]->index > signed_at[0]->index || signed_at[0]->index > sealed_at[0]->index) say_("the bundle " + bundle + " was not asked for, signed and sealed in this order");
  if (signed_at[0]->details().str("seal_sha256") != row.str("seal") || sealed_at[0]->details().str("seal_sha256") != row.str("seal")) say_("the log speaks of another seal of the bundle " + bundle);
  const auto& outputs = sealed_at[0]->details().items("outputs");
  if (outputs.size() != 1 || outputs[0].str("sha256") != row.str("sha256")) say_("the log speaks of other bytes of the bundle " + bundle);
  const auto& bundles = read_.table("bundles");
  if (std::count_if(bundles.begin(), bundles.end(), [&](const auto& b) { return b.str("bundle") == bundle && b.str("case") == row.str("case"); }) != 1) say_("the bundle " + bundle + " has no row, or several");
}

void Evidence::sealed(const json::Value& row) {
  ++tally_.sealed;
  told_once(row);
  const std::string bundle(row.str("bundle"));
  const std::pair<std::string, std::string> expected[] = {{directory(row) + "bundle.tgz", std::string(row.str("sha256"))}, {directory(row) + "manifest.json", std::string(row.str("seal"))}, {directory(row) + "root.merkle", ""}};
  for (const auto& [path, digest] : expected) {
    const auto object = read_.objects.find(path);
    if (object == read_.objects.end()) say_("the bundle " + bundle + " is sealed, and there is no " + path);
    else if (!digest.empty() && crypto::sha256(object->second).hex() != digest) say_(path + " is not what its row says");
  }
  for (const char* part : {"payload", "items"})
    if (!read_.objects.contains("tenants/" + std::string(row.str("tenant")) + "/objects/" + std::string(row.str(part)))) say_("the " + std::string(part) + " of the sealed bundle " + bundle + " is gone");
  locks(row);
  verdict(row);
}

// The store's lock follows the hold of the case, and its retention.
void Evidence::locks(const json::Value& row) {
  const std::string tenant(row.str("tenant")), path = directory(row) + "bundle.tgz", lock = lock_of(world_, path);
  const bool hold = held(tenant, row.str("case"), INT64_MAX);
  if (lock.ends_with(" hold") != hold) say_(path + (hold ? " is not held by the store: " : " is still held by the store: ") + lock);
  const std::string next_year = (Timestamp::now() + std::chrono::days(300)).rfc3339();
  const auto& log = read_.logs.at(tenant).entries;
  const bool kept = std::any_of(log.begin(), log.end(), [&](const Entry& e) { return e.kind() == "retention.extended" && e.json.str("resource_id") == row.str("case"); });
  if (kept && (lock.starts_with("none") || lock.substr(lock.find(' ') + 1) < next_year)) say_(path + " is not locked for a year: " + lock);
}

// What a reader says who has the public keys.
void Evidence::verdict(const json::Value& row) {
  const crypto::PublicKey trust[] = {world_.start.evidence_key->public_key()};
  std::vector<crypto::Ed25519PublicKey> logs;
  for (const auto& key : world_.start.log_keys) logs.push_back(key->public_key());
  evidence::VerifyOptions options;
  options.trust = trust;
  options.log_signers = logs;
  const auto verdict = evidence::verify_bundle_file(world_.objects() + "/" + directory(row) + "bundle.tgz", options);
  if (!verdict) return say_("the bundle " + std::string(row.str("bundle")) + " cannot be read: " + verdict.error().describe());
  if (evidence::exit_code(*verdict) != evidence::kExitPass || verdict->of(evidence::Dimension::kInclusion).outcome != evidence::Outcome::kPass)
    say_("the bundle " + std::string(row.str("bundle")) + " does not verify: " + verdict->of(evidence::Dimension::kInclusion).reason);
}

void Evidence::disposed(const json::Value& row) {
  ++tally_.disposed;
  told_once(row);
  const std::string tenant(row.str("tenant")), bundle(row.str("bundle"));
  if (read_.objects.contains(directory(row) + "bundle.tgz")) say_("the bundle " + bundle + " was deleted and lies in the store");
  for (const char* stays : {"manifest.json", "root.merkle"})
    if (!read_.objects.contains(directory(row) + stays)) say_("the bundle " + bundle + " was deleted and its " + stays + " as well");
  for (const char* part : {"payload", "items"})
    if (!in_use(row.str(part)) && read_.objects.contains("tenants/" + tenant + "/objects/" + std::string(row.str(part)))) say_("the bundle " + bundle + " was deleted and its " + part + " lies in the store");
  const auto executed = of(tenant, "disposition.executed", bundle);
  if (executed.size() != 1) return say_("the deletion of the bundle " + bundle + " is told " + std::to_string(executed.size()) + " times");
  if (held(tenant, row.str("case"), executed[0]->index)) say_("the bundle " + bundle + " was deleted under a hold");
  const auto& all = read_.table("dispositions");
  if (std::count_if(all.begin(), all.end(), [&](const auto& d) { return d.str("bundle") == bundle && d.str("state") == "executed"; }) != 1) say_("the deletion of the bundle " + bundle + " has no record, or several");
}

// What lies in the store belongs to a row, is what its name says, and nobody's to write.
void Evidence::strays() {
  std::set<std::string> expected;
  for (const auto& row : read_.table("snapshots"))
    for (const char* file : {"bundle.tgz", "manifest.json", "root.merkle"}) expected.insert(directory(row) + file);
  for (const auto& [path, bytes] : read_.objects) {
    if (path.find("/evidence/") != std::string::npos && !expected.contains(path)) say_(path + " belongs to no bundle");
    struct stat st {};
    if (world_.buckets == nullptr && (::stat((world_.objects() + "/" + path).c_str(), &st) != 0 || (st.st_mode & 07777) != 0440)) say_(path + " can be written to");
    const auto name = path.find("/objects/");
    if (name != std::string::npos && crypto::sha256(bytes).hex() != path.substr(name + 9)) say_(path + " has other bytes");
  }
}

// The index of the event that ended it, after a plan that a checkpoint covered before that.
std::int64_t Evidence::covered(const std::string& tenant, const json::Value& row, std::string_view what) {
  std::int64_t planned = -1, executed = -1;
  for (const Entry& entry : read_.logs.at(tenant).entries) {
    if (entry.event_id == row.str("planned") && entry.kind() == "disposition.planned") planned = entry.index;
    if (entry.kind() == "disposition.executed" && entry.details().str("disposition_id") == row.str("id")) executed = entry.index;
  }
  const std::string name = std::string(what) + " " + std::string(row.str("id"));
  if (planned < 0 || executed < 0 || planned > executed) return say_(name + " was not planned and then carried out: " + std::to_string(planned) + ", " + std::to_string(executed)), -1;
  const std::string prefix = "tenants/" + tenant + "/log/checkpoints/";
  const bool signed_between = std::any_of(seen_.begin(), seen_.end(), [&](const auto& note) {
    if (!note.first.starts_with(prefix)) return false;
    const std::int64_t size = std::stoll(note.first.substr(prefix.size()));
    return size > planned && size <= executed;
  });
  if (!signed_between) say_(name + " was carried out before a checkpoint covered its plan");
  return executed;
}

void Evidence::disposition(const json::Value& row) {
  const std::string state(row.str("state"));
  if (state == "planned" || state == "deleting") say_("the deletion of the bundle " + std::string(row.str("bundle")) + " is still " + state);
  if (state == "executed") (void)covered(std::string(row.str("tenant")), row, "the deletion of a bundle");
}

void Evidence::expiry(const json::Value& row) {
  const std::string tenant(row.str("tenant"));
  if (row.str("state") == "planned") say_(tenant + ": an expiry of entries is still planned");
  if (row.str("state") != "executed") return;
  ++tally_.expired;
  const std::int64_t at = covered(tenant, row, "the expiry of entries");
  if (at >= 0 && held(tenant, "", at)) say_(tenant + ": entries expired under a hold");
  for (const Entry& entry : read_.logs.at(tenant).entries) {
    if (entry.index != at) continue;
    std::set<std::int64_t> gone;
    for (std::int64_t i = entry.details().integer("from_index"); i < entry.details().integer("below_index"); ++i) gone.insert(i);
    for (const auto& kept : entry.details().items("kept")) {
      const std::string& run = kept.as_string();
      const auto dash = run.find('-');
      for (std::int64_t i = std::stoll(run); i <= std::stoll(dash == std::string::npos ? run : run.substr(dash + 1)); ++i) gone.erase(i);
    }
    if (gone != multirange(row.str("gone"))) say_(tenant + ": the log and the record name other entries that expired");
  }
}

void Evidence::holds() {
  for (const auto& row : read_.table("holds"))
    if (row.boolean("active") != held(std::string(row.str("tenant")), row.str("case"), INT64_MAX)) say_("the hold of the case " + std::string(row.str("case")) + " is not what the log says");
}

}  // namespace

void check_evidence(const World& world, const Reading& read, const Seen& seen, Tally& tally, const Say& say) { Evidence(world, read, seen, tally, say).all(); }

}  // namespace stella::chaos
