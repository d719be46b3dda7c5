// Role `locker`: turns built payloads into sealed, stored bundles. Create-only objects make every step repeatable after a crash.
#include "stella/evidence/locker/locker.h"

#include <unistd.h>

#include "embedded.h"
#include "locker_event.h"
#include "long_read.h"
#include "renewals.h"
#include "sealing.h"
#include "sign_first.h"
#include "stella/base/limits.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/metrics.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/kdf.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/provenance/enclose.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"
#include "worm_watch.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.locker"};
constexpr telemetry::Counter kSealed{contracts::metrics::kEvidenceSealed};
constexpr std::uint64_t kItemsBytes = 512u << 20;

struct Row {
  TenantId tenant;
  BundleId bundle;
  CaseId case_id;
  std::string kind, resource_id, request, trace, traceparent, tracestate, requested_by;
  std::optional<ProjectId> project;
  std::vector<std::string> traces;
  Sha256 payload, items;
  std::int64_t attempts = 0;
  std::string job;  // that made the payload
};

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

Result<Row> read_row(const pg::Rows& rows) {
  Row r;
  r.tenant = STELLA_TRY(TenantId::parse(rows.text(0, 0)));
  r.bundle = STELLA_TRY(BundleId::parse(rows.text(0, 1)));
  r.case_id = STELLA_TRY(CaseId::parse(rows.text(0, 2)));
  r.kind = std::string(rows.text(0, 3));
  r.resource_id = std::string(rows.text(0, 4));
  r.request = std::string(rows.text(0, 5));
  r.trace = std::string(rows.text(0, 6));
  r.traceparent = std::string(rows.text(0, 7));
  r.requested_by = std::string(rows.text(0, 8));
  if (!rows.is_null(0, 9)) r.project = STELLA_TRY(ProjectId::parse(rows.text(0, 9)));
  r.traces = split(rows.text(0, 10));
  r.payload = STELLA_TRY(rows.sha256(0, 11));
  r.items = STELLA_TRY(rows.sha256(0, 12));
  r.tracestate = std::string(rows.text(0, 13));
  r.attempts = rows.integer(0, 14);
  r.job = std::string(rows.text(0, 15));
  return r;
}

// Objects that are not there now may lie in a store that is not mounted; some minutes later they are lost.
constexpr std::int64_t kLostAfter = 12;

// A payload that is not what its items say, or a bundle that is not ours, will not get better.
bool permanent(const Error& error, std::int64_t attempts) {
  const ErrorCode code = error.code();
  return code == base_errors::kInvalid || code == base_errors::kMalformed || code == base_errors::kLimit || code == contracts::errors::kIntegrity || (code == base_errors::kNotFound && attempts + 1 >= kLostAfter);
}

// The snapshot has failed and says why, where trying again is of no use. Any other error may pass.
Result<bool> give_up(pg::SystemTx<pg::LockerRole>& tx, const Row& row, const Error& error) {
  if (!permanent(error, row.attempts)) return Error(error);
  STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET state = 'failed', error = $3, failed_at = now() WHERE tenant_id = $1 AND bundle_id = $2",
                           {row.tenant, row.bundle, json::dump(json::Value::object({{"code", "integrity"}, {"message", error.message()}}))}));
  STELLA_TRY_VOID(tx.query(kForgetResult, {row.tenant, row.bundle}));
  STELLA_TRY_VOID(tx.commit());
  kLog.error("a snapshot has failed, its bundle cannot be sealed", {f::bundle_id(row.bundle), f::error(error)});
  return true;
}

// The oldest of each tenant, then the second of each, and so on: whoever has many of them waits for his own alone.
constexpr std::string_view kDue =
    "SELECT tenant_id, bundle_id, copy FROM (SELECT tenant_id, bundle_id, derived_from IS NOT NULL AS copy, requested_at, row_number() OVER (PARTITION BY tenant_id ORDER BY requested_at, bundle_id) AS turn "
    "FROM evidence_snapshots WHERE state = 'built' AND not_before <= now()) due ORDER BY turn, requested_at, bundle_id LIMIT 64";
constexpr std::string_view kPostpone =
    "UPDATE evidence_snapshots SET not_before = now() + make_interval(secs => least($3::bigint * 60, $3::bigint << least(attempts, 6))), attempts = attempts + 1 WHERE tenant_id = $1 AND bundle_id = $2 AND state = 'built'";

// What a bundle of before a crash says of it.
Result<std::vector<std::string>> left_out_of(objects::Store& store, const std::string& key) {
  const Fd file = STELLA_TRY(store.open(key));
  FileSource source(file.get());
  const auto statement = read_bundle_member(source, attest::kLeftOutFile, kSmallFile);
  if (!statement && statement.error().code() == base_errors::kNotFound) return std::vector<std::string>();
  if (!statement) return Error(statement.error());
  return attest::files_left_out(*statement);
}

json::Array names_in(const std::vector<std::string>& names) {
  json::Array out;
  for (const std::string& name : names) out.emplace_back(name);
  return out;
}

SealFacts facts_of(const Row& row, Timestamp sealed_at) {
  SealFacts f;
  f.bundle_id = row.bundle;
  f.tenant_id = row.tenant;
  if (row.project) f.project_id = row.project->str();
  f.case_id = row.case_id;
  f.kind = row.kind;
  f.resource_id = row.resource_id;
  f.trace_id = row.trace;
  f.sealed_at = sealed_at;
  f.request_sha256 = crypto::sha256(row.request);
  f.product_version = STELLA_VERSION;
  f.engine_version = STELLA_VERSION;
  return f;
}

// Asks the authorities; what they said goes into `time`, too.
Result<Stamper::Files> stamped(Stamper& stamper, std::span<const std::string_view> signatures, std::optional<TimeEvidence>& time) {
  auto files = STELLA_TRY(stamper.stamp(signatures));
  time.emplace();
  time->signatures.assign(signatures.begin(), signatures.end());
  for (const auto& [name, bytes] : files) time->files.emplace("time/" + name, bytes);
  return files;
}

}  // namespace

Locker::Locker(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store, std::shared_ptr<const crypto::Signer> signer, LockerOptions options)
    : pool_(pool), store_(store), options_(std::move(options)), worm_(std::make_unique<WormWatch>(options_.store_name, options_.probe_every)), signer_(std::move(signer)) {}

Locker::~Locker() { stop(); }

void Locker::start() {
  rounds_.start("locker", [this] { return turn(); });
}

void Locker::stop() { rounds_.stop(); }

void Locker::wake() { rounds_.wake(); }

void Locker::use(std::shared_ptr<const crypto::Signer> signer) {
  const Lock lock(mutex_);
  signer_ = std::move(signer);
}

std::chrono::milliseconds Locker::turn() {
  const auto sealed = round();
  if (renewal_due_.passed()) {
    // A few at a time, between the seals that people wait for.
    const auto looked = renew_round();
    if (!looked) kLog.warn("timestamps were not renewed, it will be tried again", {f::error(looked.error())});
    if (!looked || *looked == 0) renewal_due_ = Deadline::after(options_.renew_every);
  }
  if (!sealed) kLog.warn("sealing made no progress", {f::error(sealed.error())});
  if (!sealed) return std::chrono::milliseconds(1000);
  return *sealed > 0 ? std::chrono::milliseconds(0) : options_.poll;
}

Result<int> Locker::round() {
  // Without an answer bundles are sealed as well: their seals say W0, and no probe.
  if (const auto looked = worm_->look(pool_, store_); !looked) kLog.warn("the store could not be probed, it will be tried again", {f::error(looked.error())});
  struct Built {
    TenantId tenant;
    BundleId bundle;
    bool derived = false;  // a redacted copy, to be made here; else a payload, to be sealed
  };
  std::vector<Built> built;
  {
    auto tx = STELLA_TRY(pg::SystemTx<pg::LockerRole>::open(pool_));
    const auto rows = STELLA_TRY(tx.query(kDue));
    for (int i = 0; i < rows.size(); ++i) {
      TenantId tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
      const BundleId bundle = STELLA_TRY(BundleId::parse(rows.text(i, 1)));
      built.push_back({std::move(tenant), bundle, rows.boolean(i, 2)});
    }
    STELLA_TRY_VOID(tx.commit());
  }
  telemetry::Work::waiting(contracts::work::kEvidenceSeal, static_cast<std::int64_t>(built.size()));
  int sealed = 0;
  std::optional<Error> trouble;
  for (const auto& [tenant, bundle, derived] : built) {
    if (rounds_.stopping()) break;
    auto done = derived ? redact_one(tenant, bundle) : seal_one(tenant, bundle);
    if (done) {
      sealed += *done ? 1 : 0;
      continue;
    }
    // One bundle that cannot be sealed now must not hold up those behind it, in this round and in the next ones.
    if (const auto later = postpone(tenant, bundle); !later) kLog.warn("a snapshot could not be put off", {f::bundle_id(bundle), f::error(later.error())});
    kLog.warn("sealing failed, it will be tried again", {f::bundle_id(bundle), f::error(done.error())});
    trouble = std::move(done.error());
  }
  if (sealed == 0 && trouble) return std::move(*trouble);
  return sealed;
}

Result<void> Locker::postpone(const TenantId& tenant, const BundleId& bundle) {
  auto tx = STELLA_TRY(pg::SystemTx<pg::LockerRole>::open(pool_));
  STELLA_TRY_VOID(tx.query(kPostpone, {tenant, bundle, options_.retry.count()}));
  return tx.commit();
}

Result<bool> Locker::seal_one(const TenantId& tenant, const BundleId& bundle) {
  auto tx = STELLA_TRY(pg::SystemTx<pg::LockerRole>::open(pool_));
  const auto rows = STELLA_TRY(tx.query(
      "SELECT tenant_id, bundle_id, case_id, kind, resource_id, request, trace_id, traceparent, requested_by, project_id, array_to_string(custody_traces, ','), payload_sha256, items_sha256, tracestate, attempts, coalesce(job_id::text, '') "
      "FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2 AND state = 'built' FOR UPDATE SKIP LOCKED",
      {tenant, bundle}));
  if (rows.empty()) return false;
  const Row row = STELLA_TRY(read_row(rows));
  auto context = telemetry::Context::continue_from(row.traceparent, row.tracestate);
  context.tenant_id = row.tenant;
  context.actor = row.requested_by;
  return telemetry::in_work(contracts::work::kEvidenceSeal, std::move(context), [&](telemetry::Work& work) -> Result<bool> {
    work.set(f::bundle_id(row.bundle));
    work.set(f::case_id(row.case_id));
    kLog.debug("a snapshot's turn", {f::bundle_id(row.bundle), f::attempt(row.attempts)});
    STELLA_TRY_VOID(expect_long_read(tx));
    const Timestamp sealed_at = Timestamp::now();
    const Terms terms = STELLA_TRY(terms_of(tx, row.tenant, row.case_id, options_, sealed_at));
    const objects::ObjectLock lock = lock_for(terms, options_, worm_->seen(), sealed_at);
    const std::string bundle_key_path = object_key::evidence(row.tenant, row.case_id, row.bundle, "bundle.tgz");
    std::optional<TimeEvidence> time;  // of a bundle that is made now
    std::vector<std::string> left_out, reasons;
    Result<void> before_crash;
    if (store_.stat(bundle_key_path)) {
      before_crash = expect_whole(store_, bundle_key_path, STELLA_TRY(evidence_keys(tx)));
      if (before_crash) left_out = STELLA_TRY(left_out_of(store_, bundle_key_path));
    } else {
      work.tried();
      const auto payload = store_.open(object_key::object(row.tenant, row.payload));
      const auto items = store_.get(object_key::object(row.tenant, row.items), kItemsBytes);
      if (!payload || !items) {
        const Error& lost = payload ? items.error() : payload.error();
        work.fail(lost);
        return give_up(tx, row, lost);
      }
      auto before = STELLA_TRY(first_signature(tx, row.tenant, row.bundle));
      const std::string secret = crypto::hkdf_sha256(options_.tenant_secret, row.tenant.str(), "stella/evidence-salts/v1");
      // The items count: another snapshot of the same request (`again`) has other files, and a salt that one copy discloses must not help to guess
      // what another one withholds at that place. The same inputs still give the same root.
      const std::string key = bundle_key(secret, row.request + "\n" + crypto::sha256(*items).hex());
      const auto signer = [&] {
        const Lock hold(mutex_);
        return signer_;
      }();
      const crypto::Signer* signers[] = {signer.get()};
      SealInput input;
      input.payload_fd = payload->get();
      input.items_ndjson = *items;
      input.bundle_key = key;
      input.signers = signers;
      const auto trusted = STELLA_TRY(evidence_keys(tx));
      auto enclosed = STELLA_TRY(row.kind == "eval" ? attest::evaluation_statements(tx, store_, *signer, trusted, row.tenant, row.resource_id)
                                                    : attest::provenance_statement(tx, store_, *signer, trusted, row.tenant, row.kind, row.resource_id));
      input.extra_files = std::move(enclosed.files);
      for (auto& statement : enclosed.left_out) {
        left_out.push_back(std::move(statement.file));
        reasons.push_back(std::move(statement.reason));
      }
      const auto attested = STELLA_TRY(attested_in(input.extra_files));
      // Where something was stated since, the seal that was signed names other statements: then it is signed anew.
      if (before && before->facts.attestations && *before->facts.attestations != attested) before.reset();
      std::optional<CustodyRecord> custody = STELLA_TRY(collect_custody(tx, row.tenant, row.traces, before ? std::optional(before->logged) : std::nullopt, options_.witness_patience));
      // Nor does it name events that expired since.
      if (before && !custody->begins_with(before->facts.custody)) {
        before.reset();
        custody = STELLA_TRY(collect_custody(tx, row.tenant, row.traces, std::nullopt, options_.witness_patience));
      }
      if (before) {
        input.facts = before->facts;
        input.signed_seal = before->envelope;
        input.signed_by = before->signed_by;
      } else {
        input.facts = facts_of(row, sealed_at);
        input.facts.retain_until = terms.retain_until;
        input.facts.parents = STELLA_TRY(parents_in(row.request));
        input.facts.attestations = attested;
        if (const auto& worm = worm_->seen()) {
          input.facts.worm_level = objects::to_string(worm->level);
          input.facts.worm_probe_sha256 = worm->digest.hex();
        }
        if (STELLA_TRY(keeps_key_history(tx))) {
          // The log takes the signature in first; the bundle that encloses the proof is written in one of the next rounds.
          if (!STELLA_TRY(custody->is_told_of(row.bundle, row.job))) {  // the seal names what the log has
            kLog.debug("waiting for the log to take in the end of the payload's job", {f::bundle_id(row.bundle)});
            STELLA_TRY_VOID(tx.commit());
            return false;
          }
          input.facts.custody = STELLA_TRY(custody->sealed());
          const TraceId trace = STELLA_TRY(TraceId::parse(row.trace));
          const auto signed_now = sign_first(tx, {row.tenant, row.bundle, trace, row.traceparent, row.project}, input);
          if (!signed_now) {
            work.fail(signed_now.error());
            return give_up(tx, row, signed_now.error());
          }
          STELLA_TRY_VOID(tx.commit());
          kLog.debug("the seal is signed, the log has to take it in", {f::bundle_id(row.bundle)});
          work.did(*signed_now ? 1 : 0);
          if (*signed_now) wake();
          return false;
        }
      }
      if (!custody->covered()) {
        kLog.debug("waiting for checkpoints that cover the custody events", {f::bundle_id(row.bundle)});
        // The proofs need checkpoints that cover the events: they are asked for.
        STELLA_TRY_VOID(custody->want_checkpoints(tx));
        STELLA_TRY_VOID(tx.commit());
        return false;
      }
      STELLA_TRY_VOID(custody->enclose(tx, store_, input));
      const crypto::PublicKey& hint = before ? before->signed_by.front() : signer->public_key();
      input.extra_files.emplace_back("trust-hints/" + hint.keyid8() + ".pub", hint.pem());
      if (options_.stamper) input.stamp = [&](std::span<const std::string_view> signatures) { return stamped(*options_.stamper, signatures, time); };
      const TempFile temp = STELLA_TRY(TempFile::make(options_.temp_dir));
      FdSink sink(temp.fd());
      auto made = seal_bundle(input, sink);
      if (!made) {
        work.fail(made.error());
        return give_up(tx, row, made.error());
      }
      if (::lseek(temp.fd(), 0, SEEK_SET) != 0) return io_error("cannot read the sealed bundle", options_.temp_dir);
      STELLA_TRY_VOID(store_.put_fd(temp.fd(), limits::kBundleBytes, [&](const Sha256&) { return bundle_key_path; }, lock));
      kLog.debug("the bundle is in the store", {f::bundle_id(row.bundle)});
    }
    const Publication what{row.tenant, row.bundle, row.case_id, row.kind, json::Value::object({{"resource_id", row.resource_id}}), lock, std::nullopt};
    const auto published = before_crash ? publish_bundle(tx, store_, what) : Result<Published>(before_crash.error());
    if (!published) {
      work.fail(published.error());
      if (published.error().code() == contracts::errors::kIntegrity) STELLA_TRY_VOID(tell_refused(tx, row.tenant, row.bundle, row.case_id, published.error()));
      return give_up(tx, row, published.error());
    }
    const Published& done = *published;
    if (time) STELLA_TRY_VOID(note_time(tx, row.tenant, row.bundle, *time, *options_.stamper));
    json::Value details = json::Value::object({{"bundle_id", row.bundle.str()}, {"case_id", row.case_id.str()}, {"kind", row.kind}, {"resource_id", row.resource_id}, {"root_hash", done.seal.head.root.hex()},
                                               {"seal_sha256", done.seal_sha256.hex()}, {"payload_sha256", row.payload.hex()}, {"item_count", done.seal.head.size}, {"bytes", done.size}, {"signer_key_id", done.signer},
                                               {"inputs", json::Value::array({json::Value::object({{"name", "payload.tar"}, {"sha256", row.payload.hex()}})})},
                                               {"outputs", json::Value::array({json::Value::object({{"name", "bundle.tgz"}, {"sha256", done.sha256.hex()}})})}});
    if (!left_out.empty()) details.set("left_out", names_in(left_out));
    timeline::Event event = locker_event(contracts::events::kEvidenceSealed, "bundle", row.bundle.str(), std::move(details));
    event.project = row.project;
    event.trace = STELLA_TRY(TraceId::parse(row.trace));
    event.traceparent = row.traceparent;
    event.resources.emplace_back(row.kind == "eval" ? "evaluation" : row.kind, row.resource_id);
    event.resources.emplace_back("case", row.case_id.str());
    STELLA_TRY_VOID(timeline::emit(tx, row.tenant, std::move(event)));
    STELLA_TRY_VOID(tx.commit());
    kSealed.add(1, row.kind);
    // Once, when it is done: the bundle is begun again each time that it waits for something.
    for (std::size_t i = 0; i < left_out.size(); ++i)
      kLog.warn("a statement did not come into the bundle, which names it", {f::bundle_id(row.bundle), f::path(left_out[i]), f::reason(i < reasons.size() ? reasons[i] : "it is in the bundle: attest/left-out.sigstore.json")});
    kLog.info("bundle sealed", {f::bundle_id(row.bundle), f::case_id(row.case_id), f::bytes(done.size)});
    return true;
  });
}

}  // namespace stella::evidence
