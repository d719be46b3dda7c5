// One statement for all rows; a walk over the directory for all objects.
#include "reading.h"

#include <filesystem>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/platform/pg.h"

namespace stella::chaos {
namespace {

constexpr std::string_view kRows = R"(SELECT json_build_object(
 'log', (SELECT json_agg(json_build_object('tenant', tenant_id, 'index', log_index, 'event', event_id, 'entry', encode(entry, 'hex')) ORDER BY tenant_id, log_index) FROM timeline_log),
 'events', (SELECT json_agg(json_build_object('tenant', tenant_id, 'event', event_id, 'kind', kind, 'digest', encode(digest, 'hex'))) FROM timeline_events),
 'heads', (SELECT json_agg(json_build_object('tenant', tenant_id, 'size', size, 'root', encode(root, 'hex'), 'published', published)) FROM timeline_heads),
 'logs', (SELECT json_agg(json_build_object('tenant', tenant_id, 'origin', origin, 'size', size, 'root', encode(root, 'hex'), 'note', note)) FROM timeline_logs),
 'checkpoints', (SELECT json_agg(json_build_object('tenant', tenant_id, 'size', size, 'note', note, 'leaf', coalesce(deployment_index, -1)) ORDER BY deployment_index) FROM timeline_checkpoints),
 'deployment', (SELECT json_agg(json_build_object('origin', origin, 'size', size, 'placed', placed, 'root', encode(root, 'hex'))) FROM deployment_log),
 'deployment_checkpoints', (SELECT json_agg(json_build_object('size', size, 'note', note)) FROM deployment_checkpoints),
 'snapshots', (SELECT json_agg(json_build_object('tenant', tenant_id, 'bundle', bundle_id, 'case', case_id, 'state', state, 'seal', encode(seal_sha256, 'hex'), 'sha256', encode(bundle_sha256, 'hex'), 'size', bundle_size,
   'payload', encode(payload_sha256, 'hex'), 'items', encode(items_sha256, 'hex'))) FROM evidence_snapshots),
 'bundles', (SELECT json_agg(json_build_object('tenant', tenant_id, 'bundle', id, 'case', case_id, 'root', encode(root_hash, 'hex'), 'path', path)) FROM evidence_bundles),
 'dispositions', (SELECT json_agg(json_build_object('tenant', tenant_id, 'id', disposition_id, 'bundle', bundle_id, 'state', state, 'planned', planned_event)) FROM dispositions),
 'expiries', (SELECT json_agg(json_build_object('tenant', tenant_id, 'id', disposition_id, 'state', state, 'planned', planned_event, 'gone', gone::text)) FROM timeline_dispositions),
 'holds', (SELECT json_agg(json_build_object('tenant', tenant_id, 'case', case_id, 'active', released_at IS NULL)) FROM evidence_holds),
 'outbox', (SELECT json_agg(json_build_object('tenant', tenant_id, 'shard', shard)) FROM timeline_outbox))::text)";

}  // namespace

Sha256 Tree::add(std::string_view entry) {
  const Sha256 leaf = crypto::sha256(std::string(1, '\0') + std::string(entry));
  add_leaf(leaf);
  return leaf;
}

void Tree::add_leaf(const Sha256& leaf) {
  const auto node = [](const Sha256& left, const Sha256& right) { return crypto::sha256("\1" + std::string(left.view()) + std::string(right.view())); };
  Sha256 top = leaf;
  for (std::uint64_t size = leaves_.size(); (size & 1) != 0; size >>= 1) {
    top = node(stack_.back(), top);
    stack_.pop_back();
  }
  stack_.push_back(top);
  leaves_.push_back(leaf);
  for (auto left = stack_.rbegin() + 1; left != stack_.rend(); ++left) top = node(*left, top);
  roots_.push_back(top.hex());
}

std::set<std::int64_t> multirange(std::string_view text) {
  std::set<std::int64_t> out;
  for (std::size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at + 1)) {
    const std::int64_t first = std::stoll(std::string(text.substr(at + 1)));
    const std::int64_t end = std::stoll(std::string(text.substr(text.find(',', at) + 1)));
    for (std::int64_t i = first; i < end; ++i) out.insert(i);
  }
  return out;
}

std::map<std::string, std::string> files_below(const std::string& root, const std::string& path) {
  std::map<std::string, std::string> out;
  std::error_code none;
  for (const auto& file : std::filesystem::recursive_directory_iterator(root + "/" + path, none))
    if (file.is_regular_file()) out.emplace(file.path().string().substr(root.size() + 1), read_file(file.path().string(), 1 << 28).value_or(""));
  return out;
}

Reading::Reading(const World& world) {
  pg::Pool pool(world.login("stella_super"));
  const auto read = pg::detail::read(pool, nullptr, kRows, {});
  EXPECT_TRUE(read.has_value()) << read.error().describe();
  if (read) rows = json::parse(read->text(0, 0)).value();
  for (const auto& row : table("log")) {
    Entry entry;
    entry.index = row.integer("index");
    entry.event_id = std::string(row.str("event"));
    entry.bytes = hex_decode(row.str("entry")).value();
    entry.json = json::parse(entry.bytes).value();
    logs[std::string(row.str("tenant"))].entries.push_back(std::move(entry));
  }
  for (const auto& row : table("expiries")) {
    if (row.str("state") != "executed") continue;
    const auto gone = multirange(row.str("gone"));
    logs[std::string(row.str("tenant"))].gone.insert(gone.begin(), gone.end());
  }
  for (const char* part : {"tenants", "platform", "global"}) objects.merge(files_below(world.objects(), part));
}

}  // namespace stella::chaos
