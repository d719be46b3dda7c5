// The deployment log's newest checkpoint to witnesses and back. No transaction is open while a witness is asked.
#include "stella/timeline/cosigner.h"

#include <charconv>
#include <vector>

#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/deployment.h"
#include "stella/timeline/witness_client.h"

namespace stella::timeline {
namespace {

namespace errors = contracts::errors;
constexpr telemetry::Logger kLog{"timeline.witness"};
constexpr telemetry::Counter kCosignatures{contracts::metrics::kTimelineCosignatures};

constexpr std::string_view kNewest = "SELECT origin, size, root, note FROM deployment_log WHERE size > 0";
// A quorum that was reached once stays as it is: what was given out with it is given out again.
constexpr std::string_view kKeep = "UPDATE deployment_checkpoints SET cosigned = $3, witnessed = $4 WHERE size = $1 AND note = $2 AND NOT witnessed";

}  // namespace

struct Cosigner::Head {
  Checkpoint checkpoint;
  std::string note;
};

Cosigner::Cosigner(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, LogPolicy policy, CosignerOptions options)
    : pool_(pool), store_(store), policy_(std::move(policy)), options_(options) {}

Cosigner::~Cosigner() { stop(); }

void Cosigner::start() {
  rounds_.start("cosigner", [this] {
    const auto done = round();
    return done || done.error().code() == errors::kIntegrity ? options_.poll : std::chrono::milliseconds(2000);
  });
}

void Cosigner::stop() { rounds_.stop(); }

std::optional<Error> Cosigner::trouble() const {
  const Lock lock(mutex_);
  return trouble_;
}

Result<int> Cosigner::round() {
  const auto rows = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::read(pool_, kNewest, {}));
  if (rows.empty()) return 0;
  const auto size = static_cast<std::uint64_t>(rows.integer(0, 1));
  if (asked_ == size) return 0;
  asked_ = size;  // whatever comes of it: the next checkpoint is the next chance
  const Head head{.checkpoint = {.origin = std::string(rows.text(0, 0)), .size = size, .root = STELLA_TRY(rows.sha256(0, 2)), .extensions = {}}, .note = std::string(rows.text(0, 3))};
  auto made = telemetry::in_work(contracts::work::kTimelineCosign, {}, [&](telemetry::Work&) { return cosign(head); });
  kCosignatures.add(1, made ? "cosigned" : made.error().code() == errors::kIntegrity ? "conflict" : "short");
  const Lock lock(mutex_);
  const bool grave = trouble_ && trouble_->code() == errors::kIntegrity;
  if (made) {
    if (!grave) trouble_.reset();
    return 1;
  }
  if (made.error().code() == errors::kIntegrity) kLog.error("a witness saw another history of the deployment log", {f::error(made.error())});
  else kLog.warn("a checkpoint is not witnessed", {f::error(made.error())});
  if (!grave) trouble_ = made.error();
  return std::move(made.error());
}

Result<void> Cosigner::keep(const Head& head, std::string text, bool quorum) {
  if (quorum) {
    // Create-only: of two that asked at once the first one's answer counts for both.
    const std::string key = object_key::deployment_cosigned(head.checkpoint.size);
    const auto created = STELLA_TRY(store_.put(key, text));
    if (created != objects::Created::kNew) {
      text = STELLA_TRY(store_.get(key, kNoteBytes));
      const Note there = STELLA_TRY(parse_note(text));
      if (there.text != STELLA_TRY(parse_note(head.note)).text) return Error(errors::kIntegrity, "witnesses cosigned another checkpoint of this size").with("actual", head.checkpoint.size);
    }
  }
  auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool_));
  STELLA_TRY_VOID(tx.query(kKeep, {head.checkpoint.size, head.note, text, quorum}));
  return tx.commit();
}

// Whether a witness knows more than we asked about because another process asked about it meanwhile: then the log has it, too.
Result<bool> Cosigner::overtaken(const Error& error, const Head& head) {
  std::uint64_t seen = 0;
  const std::string text(error.field("actual"));
  if (error.code() != errors::kIntegrity || std::from_chars(text.data(), text.data() + text.size(), seen).ec != std::errc() || seen <= head.checkpoint.size) return false;
  const auto rows = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::read(pool_, kNewest, {}));
  return !rows.empty() && static_cast<std::uint64_t>(rows.integer(0, 1)) >= seen;
}

Result<void> Cosigner::cosign(const Head& head) {
  Note note = STELLA_TRY(parse_note(head.note));
  WitnessQuestion question;
  question.checkpoint = head.checkpoint;
  question.note = note;
  question.timeout = options_.timeout;
  question.prove = [&](std::uint64_t from) -> Result<Proof> {
    auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool_));
    auto proof = deployment_consistency(tx, store_, from, head.checkpoint.size);
    if (!proof && proof.error().code() == base_errors::kNotFound) return Error(errors::kIntegrity, "a witness cosigned a size that the deployment log does not know").with("actual", from);
    return proof;
  };
  std::vector<std::size_t> reached;
  std::optional<Error> refusal, away;
  for (std::size_t i = 0; i < policy_.witnesses().size() && !rounds_.stopping(); ++i) {
    if (policy_.witnesses()[i].url.empty()) continue;
    std::uint64_t& known = cosigned_[i];
    question.known_size = known;
    auto lines = ask_witness(policy_.witnesses()[i], question);
    if (!lines && STELLA_TRY(overtaken(lines.error(), head))) {
      away = Error(errors::kUnavailable, "another process has a newer checkpoint cosigned").with("part", "witness");
      continue;
    }
    if (!lines) {
      (lines.error().code() == errors::kIntegrity ? refusal : away) = std::move(lines.error());
      continue;
    }
    known = head.checkpoint.size;
    reached.push_back(i);
    for (NoteSignature& line : *lines) note.signatures.push_back(std::move(line));
  }
  const bool quorum = policy_.satisfied(reached);
  if (!reached.empty()) STELLA_TRY_VOID(keep(head, note.str(), quorum));
  // One that saw another history outweighs any number that did not.
  if (refusal) return std::move(*refusal);
  if (quorum) return {};
  if (away) return std::move(*away);
  return Error(errors::kUnavailable, "the quorum of witnesses was not reached").with("part", "witness");
}

}  // namespace stella::timeline
