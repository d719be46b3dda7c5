// Statements beside the seal, by the lives of their keys.
#include "statement_keys.h"

#include <algorithm>

#include "stella/base/json.h"
#include "stella/base/limits.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"

namespace stella::evidence {
namespace {

bool any_says(const KeyHistories& histories, const KeyId& key, Timestamp at, crypto::KeyState state) {
  return std::any_of(histories.begin(), histories.end(), [&](const auto* history) { return history->state_at(key, at) == state; });
}

// The signature of this very key: beside it the envelope may have others, with stamps of their own.
std::optional<Timestamp> stamped(const StatementKeys& keys, const crypto::PublicKey& key, std::string_view attestation) {
  auto envelope = parse_attestation(attestation);
  if (!envelope) return std::nullopt;
  const auto signatures = std::move(envelope->signatures);
  for (const auto& signature : signatures) {
    envelope->signatures = {signature};
    if (crypto::dsse_signers(*envelope, std::span(&key, 1)).empty()) continue;
    if (const auto at = stamped_at(keys.contents, keys.options, signature.sig)) return at;
  }
  return std::nullopt;
}

// When the tenant's log took in what the statement says, whoever signed it: nobody can add to that later.
std::optional<Timestamp> logged(const StatementKeys& keys, const VerifiedStatement& statement) {
  const std::string payload = crypto::sha256(statement.bytes).hex();
  for (const LoggedEvent& event : keys.log.tenant) {
    if (event.entry.find(payload) == std::string_view::npos) continue;
    const auto doc = json::parse(event.entry, {.max_bytes = limits::kEventBytes, .max_depth = limits::kJsonDepth});
    const json::Value* details = doc ? doc->find("details") : nullptr;
    if (details == nullptr || doc->str("kind") != "attestation.created" || details->str("payload_sha256") != payload) continue;
    if (const auto at = Timestamp::parse(doc->str("ts"))) return *at;
  }
  return std::nullopt;
}

}  // namespace

std::vector<crypto::PublicKey> keys_of(const VerifyOptions& options) {
  std::vector<crypto::PublicKey> out(options.trust.begin(), options.trust.end());
  out.insert(out.end(), options.former.begin(), options.former.end());
  return out;
}

bool ever_compromised(const KeyHistories& histories, const KeyId& key) {
  return std::any_of(histories.begin(), histories.end(), [&](const auto* history) { return history->ever_compromised(key); });
}

std::string doubt_about(const StatementKeys& keys, const VerifiedStatement& statement, std::string_view attestation, std::optional<Timestamp> not_before) {
  std::string problem;
  for (const crypto::PublicKey& key : statement.signers) {
    const KeyId id = key.id();
    const bool dated = ever_compromised(keys.histories, id);  // else: former, and nobody says since when
    const bool former = std::any_of(keys.options.former.begin(), keys.options.former.end(), [&](const auto& f) { return f.id() == id; });
    std::string found;
    if (dated || former) {
      auto at = stamped(keys, key, attestation);
      if (!at) at = logged(keys, statement);
      if (!at || !dated) found = " was compromised, and nobody trusted says that it signed this before";
      else if (any_says(keys.histories, id, *at, crypto::KeyState::kCompromised)) found = " was compromised by the time at which it is known to have signed this";
    } else if (not_before && any_says(keys.histories, id, *not_before, crypto::KeyState::kRetired)) {
      found = " was retired before there was anything to sign";
    }
    if (found.empty()) return {};
    problem.append(problem.empty() ? "" : "; ").append(id.str()).append(found);
  }
  return problem;
}

}  // namespace stella::evidence
