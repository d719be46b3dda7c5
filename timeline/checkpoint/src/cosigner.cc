// Checkpoint rows to witnesses and back. No transaction is open while a witness is asked.
#include "stella/timeline/cosigner.h"

#include <vector>

#include "stella/contracts/errors.h"
#include "stella/telemetry/log.h"
#include "stella/timeline/log_reader.h"
#include "stella/timeline/witness_client.h"

namespace stella::timeline {
namespace {

namespace errors = contracts::errors;
constexpr telemetry::Logger kLog{"timeline.witness"};

constexpr std::string_view kNewest = "SELECT tenant_id, origin, size, root, note FROM timeline_logs WHERE size > 0 ORDER BY tenant_id";
// Only where the checkpoint is still the newest: a cosignature belongs to one text.
constexpr std::string_view kKeep = "UPDATE timeline_logs SET note = $4 WHERE tenant_id = $1 AND size = $2 AND note = $3";

}  // namespace

struct Cosigner::Log {
  TenantId tenant;
  Checkpoint checkpoint;
  std::string note;
};

Cosigner::Cosigner(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, LogPolicy policy, CosignerOptions options)
    : pool_(pool), store_(store), policy_(std::move(policy)), options_(options) {}

Cosigner::~Cosigner() { stop(); }

void Cosigner::start() { thread_ = std::thread([this] { loop(); }); }

void Cosigner::stop() {
  {
    const Lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

std::optional<Error> Cosigner::trouble() const {
  const Lock lock(mutex_);
  return trouble_;
}

void Cosigner::loop() {
  while (!stopping_) {
    const auto done = round();
    Lock lock(mutex_);
    const Deadline deadline = Deadline::after(done || done.error().code() == errors::kIntegrity ? options_.poll : std::chrono::milliseconds(2000));
    while (!stopping_ && changed_.wait_until(mutex_, deadline)) {
    }
  }
}

Result<int> Cosigner::round() {
  const auto rows = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::read(pool_, kNewest, {}));
  int done = 0;
  std::optional<Error> first;
  for (int i = 0; i < rows.size() && !stopping_; ++i) {
    const auto size = static_cast<std::uint64_t>(rows.integer(i, 2));
    std::uint64_t& asked = asked_[std::string(rows.text(i, 0))];
    if (asked == size) continue;
    asked = size;  // whatever comes of it: the next checkpoint is the next chance
    Log log{.tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0))), .checkpoint = {.origin = std::string(rows.text(i, 1)), .size = size, .root = STELLA_TRY(rows.sha256(i, 3)), .extensions = {}}, .note = std::string(rows.text(i, 4))};
    auto made = cosign(log);
    const Lock lock(mutex_);
    const bool grave = trouble_ && trouble_->code() == errors::kIntegrity;
    if (made) ++done;
    else if (made.error().code() == errors::kIntegrity) kLog.error("a witness saw another history of a log", {f::error(made.error())});
    else kLog.warn("a checkpoint is not witnessed", {f::error(made.error())});
    if (made && !grave) trouble_.reset();
    if (!made && !grave) trouble_ = made.error();
    if (!made && (!first || made.error().code() == errors::kIntegrity)) first = std::move(made.error());
  }
  if (first) return std::move(*first);
  return done;
}

Result<void> Cosigner::cosign(const Log& log) {
  Note note = STELLA_TRY(parse_note(log.note));
  WitnessQuestion question;
  question.checkpoint = log.checkpoint;
  question.note = {note.text, {note.signatures.front()}};  // the log's own: the first
  question.timeout = options_.timeout;
  question.prove = [&](std::uint64_t from) -> Result<Proof> {
    auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool_));
    auto proof = detail::consistency(tx, store_, log.tenant, from, log.checkpoint.size);
    if (!proof && proof.error().code() == base_errors::kNotFound)
      return Error(errors::kIntegrity, "a witness cosigned a size that this log does not know").with("actual", from).with("tenant", log.tenant.str());
    return proof;
  };
  std::vector<std::size_t> reached;
  std::optional<Error> refusal, away;
  for (std::size_t i = 0; i < policy_.witnesses().size() && !stopping_; ++i) {
    if (policy_.witnesses()[i].url.empty()) continue;
    std::uint64_t& known = cosigned_[log.tenant.str()][i];
    question.known_size = known;
    auto lines = ask_witness(policy_.witnesses()[i], question);
    if (!lines) {
      (lines.error().code() == errors::kIntegrity ? refusal : away) = std::move(lines.error());
      continue;
    }
    known = log.checkpoint.size;
    reached.push_back(i);
    for (NoteSignature& line : *lines) note.signatures.push_back(std::move(line));
  }
  if (!reached.empty()) {
    auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(pool_));
    STELLA_TRY_VOID(tx.query(kKeep, {log.tenant, log.checkpoint.size, log.note, note.str()}));
    STELLA_TRY_VOID(tx.commit());
  }
  // One that saw another history outweighs any number that did not.
  if (refusal) return std::move(*refusal);
  if (policy_.satisfied(reached)) return {};
  if (away) return std::move(*away);
  return Error(errors::kUnavailable, "the quorum of witnesses was not reached").with("part", "witness");
}

}  // namespace stella::timeline
