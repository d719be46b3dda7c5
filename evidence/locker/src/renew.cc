// Renewal of timestamps: what authorities stamped is stamped again before their certificates end. The bundle's own bytes never change.
#include <algorithm>
#include <functional>
#include <set>

#include "case_lock.h"
#include "locker_event.h"
#include "long_read.h"
#include "renewals.h"
#include "sealing.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/stream.h"
#include "stella/evidence/locker/locker.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.locker"};
constexpr telemetry::Counter kRenewals{contracts::metrics::kEvidenceRenewals};

using Tx = pg::SystemTx<pg::LockerRole>;

// A page of a pass: sealed ones that were not looked at yet, and those whose time ends soon, or would but for a renewal: as long as what it renewed still
// stands, a lost one can be made good. What has ended already nobody can renew, nor read what
// was encrypted under a key that was destroyed.
constexpr std::string_view kUnseen =
    "SELECT s.tenant_id, s.bundle_id, s.sealed_at FROM evidence_snapshots s WHERE s.state = 'sealed' AND (s.sealed_at, s.bundle_id) > ($1, $2) "
    "AND NOT EXISTS (SELECT FROM evidence_time e WHERE e.tenant_id = s.tenant_id AND e.bundle_id = s.bundle_id) "
    "AND NOT EXISTS (SELECT FROM key_dispositions k WHERE k.tenant_id = s.tenant_id AND k.state = 'executed') ORDER BY s.sealed_at, s.bundle_id LIMIT 4";
constexpr std::string_view kDue =
    "SELECT e.tenant_id, e.bundle_id, e.stands_until, EXISTS (SELECT FROM evidence_time l WHERE l.tenant_id = e.tenant_id AND l.bundle_id = e.bundle_id AND l.n > e.n AND l.lost_at IS NULL) "
    "FROM evidence_time e JOIN evidence_snapshots s ON s.tenant_id = e.tenant_id AND s.bundle_id = e.bundle_id AND s.state = 'sealed' "
    "WHERE e.lost_at IS NULL AND e.stands_until > $3 AND e.stands_until <= $4 AND (e.stands_until, e.bundle_id) > ($1, $2) "
    "AND NOT EXISTS (SELECT FROM key_dispositions k WHERE k.tenant_id = e.tenant_id AND k.state = 'executed') ORDER BY e.stands_until, e.bundle_id LIMIT 4";
constexpr std::string_view kLost = "UPDATE evidence_time SET lost_at = $4 WHERE tenant_id = $1 AND bundle_id = $2 AND n >= $3 AND lost_at IS NULL RETURNING n";
// Nobody who only refers to the bundle waits for an authority's answer.
constexpr std::string_view kBundle =
    "SELECT s.case_id, s.project_id, s.trace_id, s.traceparent, s.bundle_sha256, s.derived_from, s.sealed_at, r.retain_until, EXISTS (SELECT FROM evidence_time e WHERE e.tenant_id = s.tenant_id AND e.bundle_id = s.bundle_id) "
    "FROM evidence_snapshots s LEFT JOIN evidence_retention r USING (tenant_id, bundle_id) WHERE s.tenant_id = $1 AND s.bundle_id = $2 AND s.state = 'sealed' FOR NO KEY UPDATE OF s SKIP LOCKED";
constexpr std::string_view kAdd =
    "INSERT INTO evidence_time (tenant_id, bundle_id, n, stands_until, gen_time, authority, token_sha256, chain_sha256, added_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

struct Target {
  TenantId tenant;
  BundleId bundle;
  Timestamp at;  // where it stands in the order of its pass
  bool renewed = false;  // only to be looked after
};

Result<std::vector<Target>> targets(const pg::Rows& rows) {
  std::vector<Target> out;
  for (int i = 0; i < rows.size(); ++i) {
    TenantId tenant = STELLA_TRY(TenantId::parse(rows.text(i, 0)));
    const BundleId bundle = STELLA_TRY(BundleId::parse(rows.text(i, 1)));
    out.push_back({std::move(tenant), bundle, rows.timestamp(i, 2), rows.columns() > 3 && rows.boolean(i, 3)});
  }
  return out;
}

// One bundle, as its row and the store have it.
struct Bundle {
  TenantId tenant;
  BundleId id;
  CaseId case_id;
  std::optional<ProjectId> project;
  TraceId trace;
  std::string traceparent;
  Sha256 sha256;
  std::optional<BundleId> derived_from;
  Timestamp sealed_at, retain_until;
  bool seen = false;  // a row says until when its time stands
  TimeEvidence evidence;

  std::string key(std::string_view file) const { return object_key::evidence(tenant, case_id, id, file); }
};

Result<std::optional<Bundle>> find_target(Tx& tx, const TenantId& tenant, const BundleId& id) {
  STELLA_TRY_VOID(tx.query(kLockBundleShared, {tenant, id.str()}));
  const auto rows = STELLA_TRY(tx.query(kBundle, {tenant, id}));
  if (rows.empty()) return std::optional<Bundle>();
  Bundle b;
  b.tenant = tenant;
  b.id = id;
  b.case_id = STELLA_TRY(CaseId::parse(rows.text(0, 0)));
  if (!rows.is_null(0, 1)) b.project = STELLA_TRY(ProjectId::parse(rows.text(0, 1)));
  b.trace = STELLA_TRY(TraceId::parse(rows.text(0, 2)));
  b.traceparent = std::string(rows.text(0, 3));
  b.sha256 = STELLA_TRY(rows.sha256(0, 4));
  if (!rows.is_null(0, 5)) b.derived_from = STELLA_TRY(BundleId::parse(rows.text(0, 5)));
  b.sealed_at = rows.timestamp(0, 6);
  if (!rows.is_null(0, 7)) b.retain_until = rows.timestamp(0, 7);
  b.seen = rows.boolean(0, 8);
  return std::optional<Bundle>(std::move(b));
}

// What the stored bundle encloses about its time; of no other bytes than those that were sealed.
Result<void> read_evidence(objects::Store& store, Bundle& b) {
  const Fd file = STELLA_TRY(store.open(b.key("bundle.tgz")));
  if (STELLA_TRY(digest_of(file.get())).sha256 != b.sha256) return Error(contracts::errors::kIntegrity, "the stored bundle is not the one that was sealed: its digest is not the one of its row");
  FileSource source(file.get());
  b.evidence = STELLA_TRY(read_time_evidence(source));
  return {};
}

timeline::Event renewed_event(const Bundle& b, std::int64_t n, const TimeRenewal& renewal, const Stamp& stamp, Timestamp before, Timestamp until) {
  const Sha256 token = crypto::sha256(renewal.token);
  timeline::Event event = locker_event(contracts::events::kEvidenceRenewed, "bundle", b.id.str(),
                                       json::Value::object({{"bundle_id", b.id.str()}, {"case_id", b.case_id.str()}, {"renewal", n}, {"authority", stamp.verified.signer_name},
                                                            {"stamped_at", stamp.verified.gen_time.rfc3339()}, {"stood_until", before.rfc3339()}, {"stands_until", until.rfc3339()},
                                                            {"outputs", json::Value::array({json::Value::object({{"name", renewal_file(n, ".tsr")}, {"sha256", token.hex()}})})}}));
  event.project = b.project;
  event.trace = b.trace;
  event.traceparent = b.traceparent;
  event.resources.emplace_back("case", b.case_id.str());
  return event;
}

// The renewals that stand, and behind them those that are made now, each with its number.
struct NewRenewals {
  std::vector<TimeRenewal> all;
  std::size_t from = 0;       // the first one that has no row yet
  std::int64_t first = 1;     // its number
  bool some_lost = false;     // what lies where the next belongs may rest on one that is lost: then the number is passed over
  std::int64_t next() const { return first + static_cast<std::int64_t>(all.size() - from); }
  std::int64_t number(std::size_t i) const { return first + static_cast<std::int64_t>(i - from); }
  bool skip(std::int64_t n) {
    if (!some_lost || all.size() != from) return false;
    first = n + 1;
    return true;
  }
};

// What a crash left in the store before its row: create-only objects, so it is taken over and not asked for again.
Result<void> adopt_renewals(const Stamper& stamper, objects::Store& store, const Bundle& b, NewRenewals& made, std::set<Sha256>& signers) {
  std::vector<TimeRenewal>& renewals = made.all;
  for (;;) {
    const std::int64_t n = made.next();
    auto token = store.get(b.key(renewal_file(n, ".tsr")), crypto::kTimestampBytes);
    if (!token && token.error().code() == base_errors::kNotFound) return {};
    if (!token) return Error(token.error());
    const std::string covered = renewed_bytes(b.evidence, renewals);
    const auto verified = crypto::verify_timestamp(*token, crypto::TimestampSubject::message(covered), stamper.trust());
    if (!verified && made.skip(n)) continue;
    if (!verified)
      return Error(contracts::errors::kIntegrity, "an object lies where the next renewal belongs, and is none").with("part", renewal_file(n, ".tsr")).with("cause", verified.error().describe());
    auto chain = store.get(b.key(renewal_file(n, ".pem")), kRenewalChainBytes);
    if (!chain && chain.error().code() != base_errors::kNotFound) return Error(chain.error());
    signers.insert(verified->signer);
    renewals.push_back({std::move(*token), chain ? std::move(*chain) : chain_pem(verified->chain)});
  }
}

// A stamp of each authority that answers and whose certificates last longer by as much as is worth a stamp; each covers those before it. Half of
// what is left: an authority with a new certificate every day is not asked every day.
Result<void> take_renewals(const Stamper& stamper, objects::Store& store, const Bundle& b, Timestamp until, Timestamp now, NewRenewals& made) {
  std::set<Sha256> signers;
  std::vector<TimeRenewal>& renewals = made.all;
  STELLA_TRY_VOID(adopt_renewals(stamper, store, b, made, signers));
  if (signers.size() >= std::max<std::size_t>(1, stamper.required())) return {};
  for (std::size_t i = 0; i < stamper.authorities(); ++i) {
    auto obtained = stamper.ask(i, crypto::sha256(renewed_bytes(b.evidence, renewals)));
    if (!obtained || obtained->verified.ends() < until + (until - now) / 2 || !signers.insert(obtained->verified.signer).second) continue;
    renewals.push_back({std::move(obtained->response), chain_pem(obtained->verified.chain)});
  }
  return {};
}

struct Kept {
  Timestamp before, until;
  objects::ObjectLock lock;
  Timestamp now;
};
Result<void> keep_renewals(Tx& tx, objects::Store& store, const Bundle& b, const NewRenewals& made, const TimeChain& chain, const Kept& kept) {
  const std::vector<TimeRenewal>& renewals = made.all;
  for (std::size_t i = made.from; i < renewals.size(); ++i) {
    const TimeRenewal& renewal = renewals[i];
    const Stamp& stamp = chain.renewals[chain.renewals.size() - renewals.size() + i];  // the new ones are good, each of them
    const std::int64_t n = made.number(i);
    STELLA_TRY_VOID(store.put(b.key(renewal_file(n, ".tsr")), renewal.token, kept.lock));
    STELLA_TRY_VOID(store.put(b.key(renewal_file(n, ".pem")), renewal.chain, kept.lock));
    STELLA_TRY_VOID(tx.query(kAdd, {b.tenant, b.id, n, kept.until, stamp.verified.gen_time, stamp.verified.signer_name, crypto::sha256(renewal.token), crypto::sha256(renewal.chain), kept.now}));
    STELLA_TRY_VOID(timeline::emit(tx, b.tenant, renewed_event(b, n, renewal, stamp, kept.before, kept.until)));
  }
  return {};
}

// The first look at a bundle of before there were renewals, or at a redacted copy: until when its time stands. What renewed the original of a redacted copy renews the copy.
Result<void> first_look(Tx& tx, objects::Store& store, const Bundle& b, const Stamper& stamper, const objects::ObjectLock& lock, Timestamp now) {
  const std::size_t threshold = std::max<std::size_t>(1, stamper.required());
  const auto until = STELLA_TRY(note_time(tx, b.tenant, b.id, b.evidence, stamper));
  if (!until || !b.derived_from) return {};
  const auto renewals = STELLA_TRY(stored_renewals(tx, store, b.tenant, b.case_id, *b.derived_from)).files();
  const TimeChain chain = read_time_chain(b.evidence, renewals, stamper.trust());
  const auto later = time_stands_until(chain, threshold);
  if (chain.renewals.size() != renewals.size() || !later || *later <= *until) return {};
  return keep_renewals(tx, store, b, {.all = renewals}, chain, {.before = *until, .until = *later, .lock = lock, .now = now});
}

// Written down before anything is done about it, and told whether or not anything can be: the row, the timeline, the log.
Result<void> tell_lost(Tx& tx, const Bundle& b, const StoredRenewals& stored, const std::optional<Timestamp>& until, Timestamp now) {
  const auto rows = STELLA_TRY(tx.query(kLost, {b.tenant, b.id, stored.first_lost, now}));
  std::int64_t last = stored.first_lost;
  for (int i = 0; i < rows.size(); ++i) last = std::max(last, rows.integer(i, 0));
  json::Value details = json::Value::object({{"bundle_id", b.id.str()}, {"case_id", b.case_id.str()}, {"renewal", stored.first_lost}, {"last_renewal", last}, {"reason", stored.problem}});
  if (until) details.set("stands_until", until->rfc3339());
  timeline::Event event = locker_event(contracts::events::kEvidenceRenewalLost, "bundle", b.id.str(), std::move(details));
  event.project = b.project;
  event.trace = b.trace;
  event.traceparent = b.traceparent;
  event.resources.emplace_back("case", b.case_id.str());
  STELLA_TRY_VOID(timeline::emit(tx, b.tenant, std::move(event)));
  STELLA_TRY_VOID(tx.commit());
  const Error why = Error(contracts::errors::kIntegrity, "a renewal does not verify").with("problem", stored.problem);
  const auto fields = {f::bundle_id(b.id), f::reason(stored.problem), f::error(why)};
  if (until && *until > now) kLog.error("a renewal of a bundle's timestamps is lost, renewals go on from what is left", fields);
  else kLog.error("a renewal of a bundle's timestamps is lost, and what it renewed has ended: nothing proves the time of the bundle any more", fields);
  return {};
}

}  // namespace

Result<std::optional<Timestamp>> note_time(Tx& tx, const TenantId& tenant, const BundleId& bundle, const TimeEvidence& evidence, const Stamper& stamper) {
  const auto until = time_stands_until(read_time_chain(evidence, {}, stamper.trust()), std::max<std::size_t>(1, stamper.required()));
  STELLA_TRY_VOID(tx.query("INSERT INTO evidence_time (tenant_id, bundle_id, n, stands_until, added_at) VALUES ($1, $2, 0, $3, $4) ON CONFLICT DO NOTHING", {tenant, bundle, until, Timestamp::now()}));
  return until;
}

Result<int> Locker::renew_round() {
  if (!options_.stamper) return 0;
  std::vector<Target> unseen, due;
  const Timestamp now = Timestamp::now();
  {
    auto tx = STELLA_TRY(Tx::open(pool_));
    unseen = STELLA_TRY(targets(STELLA_TRY(tx.query(kUnseen, {renewal_.unseen_at, renewal_.unseen}))));
    if (!renewal_.nobody_offers) due = STELLA_TRY(targets(STELLA_TRY(tx.query(kDue, {renewal_.due_at, renewal_.due, now, now + options_.renew_before}))));
    STELLA_TRY_VOID(tx.commit());
  }
  telemetry::Work::waiting(contracts::work::kEvidenceRenew, static_cast<std::int64_t>(unseen.size() + due.size()));
  if (unseen.empty() && due.empty()) {
    renewal_ = {};
    return 0;
  }
  int looked = 0;
  const auto failed = [](const Target& target, const Error& error) {
    kRenewals.add(1, "failed");
    kLog.warn("timestamps were not renewed, it will be tried again", {f::bundle_id(target.bundle), f::error(error)});
  };
  const auto look = [&](const Target& target) {
    ++looked;
    const auto renewed = telemetry::in_work(contracts::work::kEvidenceRenew, telemetry::of_tenant(target.tenant), [&](telemetry::Work& work) { return renew_one(target.tenant, target.bundle, now, work); });
    if (!renewed) failed(target, renewed.error());
    return !renewed || *renewed;
  };
  for (const Target& target : unseen) {
    if (rounds_.stopping()) return looked;
    (void)look(target);
    renewal_.unseen_at = target.at;
    renewal_.unseen = target.bundle;
  }
  for (const Target& target : due) {
    if (rounds_.stopping()) return looked;
    // What cannot be read now is looked at again in the next pass, and those behind it in this one.
    const auto there = target.renewed ? renewals_are_there(target.tenant, target.bundle) : Result<bool>(false);
    if (!there) failed(target, there.error());
    if (!there || *there) {
      ++looked;
      renewal_.due_at = target.at;
      renewal_.due = target.bundle;
      continue;
    }
    // It has the least time left: where nobody offers more than that, nobody offers more to those behind it.
    if (!look(target)) {
      renewal_.nobody_offers = true;
      break;
    }
    renewal_.due_at = target.at;
    renewal_.due = target.bundle;
  }
  return looked;
}

// Without reading the bundle, which may be large.
Result<bool> Locker::renewals_are_there(const TenantId& tenant, const BundleId& bundle) {
  auto tx = STELLA_TRY(Tx::open(pool_));
  const auto rows = STELLA_TRY(tx.query("SELECT case_id FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2 AND state = 'sealed'", {tenant, bundle}));
  if (rows.empty()) return true;
  const StoredRenewals stored = STELLA_TRY(stored_renewals(tx, store_, tenant, STELLA_TRY(CaseId::parse(rows.text(0, 0))), bundle));
  STELLA_TRY_VOID(tx.commit());
  return stored.problem.empty();
}

Result<bool> Locker::renew_one(const TenantId& tenant, const BundleId& bundle, Timestamp now, telemetry::Work& work) {
  work.did(0);  // until something was
  auto tx = STELLA_TRY(Tx::open(pool_));
  STELLA_TRY_VOID(expect_long_read(tx));
  auto found = STELLA_TRY(find_target(tx, tenant, bundle));
  if (!found) return true;
  Bundle& b = *found;
  work.set(f::bundle_id(bundle));
  work.link(b.traceparent);
  work.tried();
  STELLA_TRY_VOID(read_evidence(store_, b));
  const auto lock = [&]() -> Result<objects::ObjectLock> {
    STELLA_TRY_VOID(tx.query(kLockStoreLocks, {tenant, bundle.str()}));
    Terms terms = STELLA_TRY(terms_of(tx, tenant, b.case_id, options_, b.sealed_at));
    terms.retain_until = std::max(terms.retain_until, b.retain_until);
    return lock_for(terms, options_, worm_->seen(), now);
  };
  if (!b.seen) {
    const objects::ObjectLock held = STELLA_TRY(lock());
    STELLA_TRY_VOID(first_look(tx, store_, b, *options_.stamper, held, now));
    STELLA_TRY_VOID(tx.commit());
    work.did();
    return true;  // where it is due, this pass or the next one finds it in its order
  }
  const StoredRenewals stored = STELLA_TRY(stored_renewals(tx, store_, tenant, b.case_id, bundle));
  NewRenewals made{.all = stored.files(), .from = stored.list.size(), .first = stored.next, .some_lost = !stored.lost.empty()};
  const std::size_t threshold = std::max<std::size_t>(1, options_.stamper->required());
  const auto& trust = options_.stamper->trust();
  const auto until = time_stands_until(read_time_chain(b.evidence, made.all, trust), threshold);
  if (!stored.problem.empty()) {
    STELLA_TRY_VOID(tell_lost(tx, b, stored, until, now));
    return renew_one(tenant, bundle, now, work);
  }
  // The roots are others than when its row was written: nothing to do for it now.
  if (!until || *until <= now || *until > now + options_.renew_before) return true;
  STELLA_TRY_VOID(take_renewals(*options_.stamper, store_, b, *until, now, made));
  const TimeChain chain = read_time_chain(b.evidence, made.all, trust);
  const auto later = time_stands_until(chain, threshold);
  if (!later || *later <= *until) {
    kRenewals.add(1, "no_offer");
    kLog.warn("no time authority offers a stamp that lasts longer than those of a bundle, it will be tried again", {f::bundle_id(bundle)});
    return false;
  }
  const objects::ObjectLock held = STELLA_TRY(lock());
  STELLA_TRY_VOID(keep_renewals(tx, store_, b, made, chain, {.before = *until, .until = *later, .lock = held, .now = now}));
  STELLA_TRY_VOID(tx.commit());
  work.did();
  kRenewals.add(1, "renewed");
  kLog.info("timestamps of a bundle renewed", {f::bundle_id(bundle), f::case_id(b.case_id)});
  return true;
}

}  // namespace stella::evidence
