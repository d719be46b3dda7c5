// Key histories as JSON lines.
#include "stella/crypto/key_log.h"

#include <algorithm>

#include "stella/base/json.h"

namespace stella::crypto {
namespace {

constexpr std::size_t kLogBytes = 4u << 20;

bool signed_by(const DsseEnvelope& event, const KeyHistory& history, const KeyId& key) {
  const auto signers = dsse_signers(event, history.keys());
  return std::any_of(signers.begin(), signers.end(), [&](const PublicKey& signer) { return signer.id() == key; });
}

}  // namespace

std::string key_log_line(Timestamp at, const DsseEnvelope& event) { return "{\"at\":\"" + at.rfc3339() + "\",\"event\":" + event.json() + "}\n"; }

Result<std::vector<KeyLogEntry>> parse_key_log(std::string_view text) {
  if (text.size() > kLogBytes) return Error(base_errors::kLimit, "a key history is too long").with("limit", kLogBytes);
  std::vector<KeyLogEntry> out;
  for (std::uint64_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.empty()) continue;
    const auto not_one = [&] { return Error(base_errors::kMalformed, "not a line of a key history").with("line", line).with("expected", std::string("{\"at\": time, \"event\": DSSE envelope}")); };
    const auto doc = json::parse(one);
    const json::Value* event = doc && doc->is_object() ? doc->find("event") : nullptr;
    if (event == nullptr || !event->is_object()) return not_one();
    const auto at = Timestamp::parse(doc->str("at"));
    auto envelope = dsse_parse(json::dump(*event));
    if (!at || !envelope) return not_one();
    out.push_back({*at, std::move(*envelope)});
  }
  return out;
}

Result<KeyHistory> key_history_of(const std::vector<KeyLogEntry>& entries, std::set<KeyId> roots) {
  if (entries.empty()) return Error(base_errors::kNotFound, "the key history has no event");
  const KeyEvent first = STELLA_TRY(parse_key_event(entries.front().event.payload));
  roots.insert(first.key);
  KeyHistory history(roots);
  std::uint64_t line = 0;
  for (const KeyLogEntry& entry : entries) {
    ++line;
    auto done = history.append(entry.event, entry.at);
    if (done) continue;
    // Where trust would only be given, it is not given; what takes it away must hold.
    const auto event = parse_key_event(entry.event.payload);
    const std::string_view field = done.error().field("field");
    if (event && event->kind == KeyEventKind::kActivated && field == "signatures" && signed_by(entry.event, history, event->key)) continue;
    if (event && event->kind == KeyEventKind::kRotated && field == "key" && done.error().field("key") == event->key.str()) continue;
    done.error().add("line", std::to_string(line));
    return std::move(done.error());
  }
  return history;
}

}  // namespace stella::crypto
