// Statements beside the seal, by the lives of their keys.
#include "statement_keys.h"

#include <algorithm>
#include <limits>

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

// Of a key that nobody calls compromised.
std::string retired_doubt(const StatementKeys& keys, const crypto::PublicKey& key, std::string_view attestation, const MadeBetween& made) {
  const auto retired_at = [&, id = key.id()](Timestamp at) { return any_says(keys.histories, id, at, crypto::KeyState::kRetired); };
  if (!retired_at(Timestamp::from_micros(std::numeric_limits<std::int64_t>::max()))) return {};
  if (retired_at(made.not_before)) return " was retired before there was anything to sign";
  if (const auto at = stamped(keys, key, attestation); at && !retired_at(*at)) return {};
  if (!made.claimed) return " was retired, and nobody says that it signed this before";
  if (retired_at(*made.claimed)) return " was retired by the time at which it says to have signed this";
  return {};
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

std::string doubt_about(const StatementKeys& keys, const VerifiedStatement& statement, std::string_view attestation, const std::optional<MadeBetween>& made) {
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
      else if (made && any_says(keys.histories, id, *at, crypto::KeyState::kRetired)) found = " was retired by the time at which it is known to have signed this";
    } else if (made) {
      found = retired_doubt(keys, key, attestation, *made);
    }
    if (found.empty()) return {};
    problem.append(problem.empty() ? "" : "; ").append(id.str()).append(found);
  }
  return problem;
}

}  // namespace stella::evidence
