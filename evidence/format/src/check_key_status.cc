// KEY-STATUS: was the key good when it signed? Two things are needed: the life of the keys, and a time that the signer could not choose. The time is an
// interval of the logs: the seal signs the history of the keys as it was, so it came after the last event of that; and the tenant's log took the
// signature in, so it came before. What an authority says (TIME) is "no later than", too: the earlier of both ends the interval. Where no log says
// anything, the authority's time stands for the signature's.
#include <algorithm>
#include <optional>
#include <set>

#include "contents.h"
#include "stella/base/json.h"
#include "stella/base/limits.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/key_log.h"
#include "stella/evidence/format/custody.h"
#include "statement_keys.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kPlatformTenant = "platform";
constexpr std::chrono::microseconds kStampUnit = std::chrono::seconds(1);

// What an event of a log says, as far as keys go.
struct Said {
  std::string kind, tenant;
  Timestamp at;
  json::Value details;
};

std::optional<Said> said(std::string_view entry) {
  const auto doc = json::parse(entry, {.max_bytes = limits::kEventBytes, .max_depth = limits::kJsonDepth});
  if (!doc || !doc->is_object()) return std::nullopt;
  const auto at = Timestamp::parse(doc->str("ts"));
  const json::Value* details = doc->find("details");
  if (!at || details == nullptr) return std::nullopt;
  return Said{std::string(doc->str("kind")), std::string(doc->str("tenant_id")), *at, *details};
}

// When the seal was signed.
struct When {
  Timestamp earliest, latest;
  std::string text;   // "at …", "between … and …"
  std::string trust;  // who says so
};

// What the bundle and the logs say about keys; `problem` where they contradict each other.
struct Record {
  std::string problem;
  std::optional<crypto::KeyHistory> history;  // as the platform's log proves it
  Timestamp last;                             // of its last event: the seal came later
  std::uint64_t last_index = 0;
  std::optional<Said> signed_event;           // where the tenant's log took the signature in
  std::uint64_t signed_index = 0;
};

// The times of the enclosed lines are those of the log's events: nobody signs the ones in the lines. The key that begins the history has its first
// line before its first event.
std::string prove_lines(const LogEvidence& log, std::vector<crypto::KeyLogEntry>& lines, Record& out) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string digest = crypto::sha256(lines[i].event.json()).hex();
    const auto event = next < log.keys.size() ? said(log.keys[next].entry) : std::nullopt;
    if (event && event->details.str("envelope_sha256") == digest && event->tenant == kPlatformTenant && event->kind.starts_with("key.")) {
      out.last = std::max(out.last, event->at);
      out.last_index = log.keys[next].index;
      lines[i].at = out.last;
      ++next;
    } else if (i > 0) {
      return "line " + std::to_string(i + 1) + " of " + std::string(kKeyHistoryPath) + " is not the next event of the platform's log";
    }
  }
  if (next == 0) return "no event of the platform's log proves " + std::string(kKeyHistoryPath);
  if (next != log.keys.size()) return "the platform's log has a key event that " + std::string(kKeyHistoryPath) + " does not have";
  lines.front().at = std::min(lines.front().at, lines.size() > 1 ? lines[1].at : out.last);
  return {};
}

void read_history(std::string_view text, const VerifyOptions& options, const LogEvidence& log, Record& out) {
  auto lines = crypto::parse_key_log(text);
  if (!lines || lines->empty()) out.problem = std::string(kKeyHistoryPath) + " is malformed";
  else out.problem = prove_lines(log, *lines, out);
  if (!out.problem.empty()) return;
  std::set<KeyId> roots;
  for (const auto& key : keys_of(options)) roots.insert(key.id());
  auto history = crypto::key_history_of(*lines, std::move(roots));
  if (history) out.history = std::move(*history);
  else out.problem = std::string(kKeyHistoryPath) + ": " + history.error().describe();
}

void find_signature(const Contents& contents, const LogEvidence& log, const Seal& seal, Record& out) {
  const std::string sealed = crypto::sha256(contents.bytes("evidence/seal.json")).hex(), envelope = crypto::sha256(contents.bytes("attest/seal.dsse.json")).hex();
  for (const LoggedEvent& logged : log.tenant) {
    auto event = said(logged.entry);
    if (!event || event->kind != "evidence.signed" || event->tenant != seal.facts.tenant_id.str()) continue;
    if (event->details.str("seal_sha256") != sealed || event->details.str("envelope_sha256") != envelope) continue;
    out.signed_event = std::move(event);
    out.signed_index = logged.index;
    return;
  }
}

Record read_record(const Contents& contents, const VerifyOptions& options, const LogEvidence& log, const Verdict& verdict) {
  Record out;
  if (!verdict.seal || verdict.seal->facts.key_events == 0) return out;
  const SealFacts& facts = verdict.seal->facts;
  const std::string_view text = contents.bytes(kKeyHistoryPath);
  // The seal signs it, so this needs nobody's proof.
  if (crypto::sha256(text).hex() != facts.key_history_sha256) {
    out.problem = "the seal was signed when the keys had " + std::to_string(facts.key_events) + " events, and " + std::string(kKeyHistoryPath) + " is not those: some were withheld or exchanged";
    return out;
  }
  if (!log.proven) {
    if (verdict.of(Dimension::kInclusion).outcome == Outcome::kFail && verdict.proven_at.micros() == 0) out.problem = "the events that say when the key signed are not in the logs: INCLUSION fails";
    return out;
  }
  if (!log.keys_proven) return out;
  read_history(text, options, log, out);
  if (!out.problem.empty()) return out;
  find_signature(contents, log, *verdict.seal, out);
  if (!out.signed_event) out.problem = "the seal names the events of its keys, and the tenant's log did not take in its signature";
  else if (facts.log_size && out.signed_index < *facts.log_size)
    out.problem = "the log took in the signature at " + std::to_string(out.signed_index) + ", and the seal claims to be of when the log had " + std::to_string(*facts.log_size) + " entries";
  else if (out.signed_event->at < out.last) out.problem = "the log took in the signature before the last key event that the seal knows";
  return out;
}

std::string joined(std::initializer_list<std::string_view> texts) {
  std::string out;
  for (const auto& text : texts)
    if (!text.empty()) out.append(out.empty() ? "" : "; ").append(text);
  return out;
}

std::optional<When> when_signed(const VerifyOptions& options, const LogEvidence& log, const Record& record, const Verdict& verdict) {
  const Timestamp stamped = verdict.proven_at;
  // Authorities cut the fraction of a second off, and logs do not: a stamp of that little before the last key event says nothing against the log.
  const bool too_coarse = record.signed_event && stamped < record.last && record.last < stamped + kStampUnit + verdict.proven_within;
  const bool by_stamp = stamped.micros() != 0 && !too_coarse && (!record.signed_event || stamped < record.signed_event->at);
  // A stamp of before the last key event contradicts the log's clock: then it counts alone.
  if (by_stamp && (!record.signed_event || stamped < record.last)) return When{stamped, stamped, "at " + stamped.rfc3339_seconds(), std::string(options.time_source)};
  if (!record.signed_event) return std::nullopt;
  const std::string after = "between " + record.last.rfc3339() + " (entry " + std::to_string(record.last_index) + " of the platform's log) and ";
  if (by_stamp) return When{record.last, stamped, after + stamped.rfc3339_seconds() + ", as the authorities say,", joined({options.log_source, options.time_source})};
  return When{record.last, record.signed_event->at,
              after + record.signed_event->at.rfc3339() + " (entry " + std::to_string(record.signed_index) + " of " + log.tenant_origin + "), by the log's clock,", std::string(options.log_source)};
}

// Whether somebody's history calls a signer compromised at any time: then nothing counts that nobody can date.
std::string compromised_signer(const KeyHistories& histories, const Verdict& verdict) {
  for (const std::string& signer : verdict.signers)
    if (const auto id = KeyId::parse(signer); id && ever_compromised(histories, *id)) return signer;
  return {};
}

void judge(const KeyHistories& histories, const VerifyOptions& options, const When& when, const std::string& source, const Verdict& verdict, DimensionVerdict& out) {
  std::size_t good = 0;
  std::string problem;
  for (const std::string& signer : verdict.signers) {
    const auto id = KeyId::parse(signer);
    auto counting = crypto::Counting::kUnknownKey;
    for (const auto* history : histories) {
      counting = id ? history->counts(*id, when.earliest, when.latest) : crypto::Counting::kUnknownKey;
      if (counting != crypto::Counting::kCounts) break;
    }
    if (counting == crypto::Counting::kCounts) ++good;
    else problem.append(problem.empty() ? "" : "; ").append(signer).append(": ").append(crypto::name_of(counting));
  }
  if (good >= options.threshold) out = {.outcome = Outcome::kPass, .reason = std::to_string(good) + (good == 1 ? " signing key was active " : " signing keys were active ") + when.text, .trust_input = source};
  else out = {.outcome = Outcome::kFail, .reason = when.text + " the signature does not count: " + problem, .trust_input = source};
  if (out.reason.ends_with(",")) out.reason.pop_back();
}

// "" where every attestation counts by the lives of its keys; the seal's own time says nothing about them.
std::string doubtful_attestation(const StatementKeys& keys) {
  const auto trust = keys_of(keys.options);
  for (const auto& [path, bytes] : keys.contents.kept) {
    if (!path.starts_with("attest/") || path.starts_with("attest/seal.")) continue;
    const auto verified = verify_statement(bytes, {.trust = trust});
    if (!verified) continue;  // AUTHENTICITY says so
    if (const std::string doubt = doubt_about(keys, *verified, bytes, std::nullopt); !doubt.empty()) return path + ": " + doubt;
  }
  return {};
}

}  // namespace

std::optional<crypto::KeyHistory> check_key_status(const Contents& contents, const VerifyOptions& options, const LogEvidence& log, Verdict& verdict) {
  auto& out = verdict.of(Dimension::kKeyStatus);
  Record record = read_record(contents, options, log, verdict);
  KeyHistories histories;
  if (options.key_history != nullptr) histories.push_back(options.key_history);
  if (record.history) histories.push_back(&*record.history);
  const std::string keys = options.key_history != nullptr ? std::string(options.key_source) : "the keys' events in the platform's log";
  if (verdict.signers.empty()) {
    out.reason = "no trusted key signed";
  } else if (!record.problem.empty()) {
    out = {.outcome = Outcome::kFail, .reason = record.problem, .trust_input = std::string(log.proven ? options.log_source : options.trust_source)};
  } else if (histories.empty()) {
    out.reason = "no record of the keys' lives was given, and no log that is trusted proves the enclosed one: --keys FILE, --trust-log KEY, or stella login";
  } else if (const auto when = when_signed(options, log, record, verdict)) {
    judge(histories, options, *when, joined({keys, when->trust}), verdict, out);
  } else if (const std::string stolen = compromised_signer(histories, verdict); !stolen.empty()) {
    out = {.outcome = Outcome::kFail, .reason = stolen + " was compromised, and nobody trusted says that it signed this before", .trust_input = keys};
  } else {
    out.reason = "nobody trusted says when the seal was signed, so it cannot be said whether the key was good then";
  }
  if (!verdict.signers.empty() && out.outcome != Outcome::kFail)
    if (std::string doubt = doubtful_attestation({contents, options, log, histories}); !doubt.empty()) out = {.outcome = Outcome::kFail, .reason = std::move(doubt), .trust_input = keys};
  return std::move(record.history);
}

}  // namespace stella::evidence
