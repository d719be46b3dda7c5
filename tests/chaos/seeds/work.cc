// Wishes and services take turns as the dice say; on a real database and store, with the real classes of the platform.
#include "work.h"

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <sstream>
#include <thread>

#include "faulty_calls.h"
#include "faulty_store.h"
#include "stella/base/file.h"
#include "stella/contracts/events.h"
#include "stella/evidence/locker/holds.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/evidence/locker/locker.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/crypto/digest.h"
#include "stella/services/jobs.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/job_runner.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"

namespace stella::chaos {
namespace {

namespace events = contracts::events;
using std::chrono::milliseconds;

constexpr int kTries = 12;  // of one wish
constexpr int kStill = 3;  // rounds of all services after which nothing was different: what is left needs a new process, or a later day

// How much is left to do.
constexpr std::string_view kLeft =
    "SELECT (SELECT count(*) FROM timeline_outbox), (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')), (SELECT count(*) FROM evidence_snapshots WHERE state NOT IN ('sealed', 'failed', 'disposed')),"
    " (SELECT count(*) FROM dispositions WHERE state IN ('planned', 'deleting')) + (SELECT count(*) FROM timeline_dispositions WHERE state = 'planned'),"
    " (SELECT count(*) FROM timeline_heads h LEFT JOIN timeline_logs l USING (tenant_id) WHERE h.size > coalesce(l.size, 0) OR h.confirmed < h.size),"
    " (SELECT count(*) FROM deployment_log WHERE placed <> size) + (SELECT count(*) FROM timeline_checkpoints WHERE deployment_index IS NULL),"
    " (SELECT count(*) FROM evidence_retention WHERE applied < wanted AND done_at IS NULL) + (SELECT count(*) FROM evidence_snapshots s LEFT JOIN evidence_retention r USING (tenant_id, bundle_id) WHERE s.state = 'sealed' AND r.bundle_id IS NULL),"
    // What nothing keeps any more.
    " (SELECT count(*) FROM evidence_snapshots s LEFT JOIN evidence_cases c USING (tenant_id, case_id) WHERE s.state = 'sealed' AND c.retain_until IS NULL AND NOT EXISTS (SELECT FROM evidence_holds h WHERE h.tenant_id = s.tenant_id AND h.case_id = s.case_id AND h.released_at IS NULL)),"
    " (SELECT count(*) FROM timeline_events e WHERE e.kind = 'service.degraded' AND e.ts < now() - interval '200 days' AND NOT EXISTS (SELECT FROM evidence_holds h WHERE h.tenant_id = e.tenant_id AND h.released_at IS NULL))";
constexpr int kLeftColumns = 9;

class Told {
 public:
  explicit Told(const std::string& path) : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    std::istringstream lines(read_file(path, 1 << 24).value_or(""));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string word;
      std::size_t wish = 0;
      if (words >> word >> wish && word == "told") done_.insert(wish);
    }
  }
  bool done(std::size_t wish) const { return done_.contains(wish); }
  // In one write: a line is there or not.
  void say(const std::string& line) const {
    const Quietly quietly;
    (void)write_all(fd_.get(), line + "\n");
  }

 private:
  Fd fd_;
  std::set<std::size_t> done_;
};

class Platform {
 public:
  Platform(const World& world, const Process& process);
  int live();
  void complain() const {
    for (const std::string& text : trouble_) told_.say("trouble " + text);
  }

 private:
  Result<std::string> grant(std::size_t n, const Wish& wish, const std::string& attempt);
  Result<std::string> emit(const Wish& wish, const std::string& attempt);
  Result<std::string> submit(std::size_t n, const Wish& wish);
  Result<std::string> decide(const Wish& wish);
  Result<std::string> snapshot(const Wish& wish);
  bool clients();  // false: there are more wishes
  void services(int how_many);
  std::string left();

  Result<void> index();
  Result<void> publish();
  Result<void> sign() { return forget(checkpointer_.round()); }
  Result<void> seal() { return forget(locker_.round()); }
  Result<void> keep() { return forget(keeper_.round()); }
  Result<void> run_jobs();
  Result<bool> run_job();
  Result<std::vector<jobs::OutputRef>> outputs_of(const jobs::FinishedJob& job, const pg::Rows& row);
  template <class T>
  static Result<void> forget(Result<T> done) {
    if (!done) return std::move(done.error());
    return {};
  }
  void note(std::string_view what, const Result<void>& done) {
    if (!done && process_.fault.where == Where::kNowhere && !process_.helper) trouble_.push_back(std::string(what) + ": " + done.error().describe());
  }
  pg::PoolOptions login(std::string_view role) const {
    auto out = world_.login(role);
    if (process_.helper) out.lock_timeout = milliseconds(60);
    return out;
  }
  timeline::CheckpointerOptions signing() const;
  evidence::KeeperOptions keeping() const;
  pg::TenantTx tx(const Wish& wish);

  const World& world_;
  const Process process_;
  Dice dice_;
  Told told_;
  std::vector<std::string> trouble_;
  pg::Pool web_{login("stella_web")};
  pg::Pool watch_{world_.login("stella_super")};
  pg::SystemPool<pg::IndexerRole> indexer_{login("stella_indexer")};
  pg::SystemPool<pg::LockerRole> locker_pool_{login("stella_locker")};
  pg::SystemPool<pg::OrchestratorRole> orchestrator_{login("stella_orchestrator")};
  FaultyStore store_;
  timeline::Checkpointer checkpointer_;
  evidence::Locker locker_;
  evidence::Keeper keeper_;
  std::shared_ptr<jobs::KindHandler> handler_ = evidence::handlers([] {}).front().second;
};

std::unique_ptr<objects::Store> open_store(const World& world) {
  const Quietly quietly;
  return world.open_store();
}

evidence::LockerOptions sealing(const World& world) {
  evidence::LockerOptions out;
  out.temp_dir = world.scratch();
  out.tenant_secret = "secret";
  out.keep = std::chrono::seconds(0);
  out.retry = std::chrono::seconds(0);
  return out;
}

Platform::Platform(const World& world, const Process& process)
    : world_(world), process_(process), dice_(process.seed * 1000 + static_cast<std::uint64_t>(process.number)), told_(world.told()), store_(open_store(world)),
      checkpointer_(indexer_, store_, world.start.log_keys[static_cast<std::size_t>(process.log_key)], signing()), locker_(locker_pool_, store_, world.start.evidence_key, sealing(world)),
      keeper_(locker_pool_, store_, keeping()) {}

timeline::CheckpointerOptions Platform::signing() const {
  timeline::CheckpointerOptions out;
  out.every = std::chrono::seconds(0);
  out.events = 1;
  for (int i = 0; i < process_.log_key; ++i) out.former.push_back(world_.start.log_keys[static_cast<std::size_t>(i)]->public_key());
  return out;
}

evidence::KeeperOptions Platform::keeping() const {
  evidence::KeeperOptions out;
  out.keep = std::chrono::seconds(0);
  out.dispose = true;
  out.timeline_keep = std::chrono::days(180);
  out.look_again = std::chrono::seconds(0);
  out.now = [later = process_.later] { return Timestamp::now() + later; };
  return out;
}

// ── Services ───────────────────────────────────────────────────────────────────────────────────────────────────────

Result<void> Platform::index() {
  timeline::IndexerOptions options;
  options.batch = 20 + dice_.roll(300);
  options.poll = milliseconds(1);
  options.lease = milliseconds(60'000);
  timeline::Indexer indexer(indexer_, nullptr, options);
  std::jthread thread([&](std::stop_token stop) { indexer.run(stop); });
  const Deadline deadline = Deadline::after(process_.helper ? milliseconds(100) : process_.fault.where == Where::kNowhere ? milliseconds(60'000) : milliseconds(1'000));
  const Quietly quietly;
  bool empty = false;
  while (!empty && !deadline.passed()) {
    const auto rows = pg::detail::read(watch_, nullptr, "SELECT count(*) FROM timeline_outbox WHERE shard >= 0", {});
    empty = rows && rows->integer(0, 0) == 0;
    if (!empty) std::this_thread::sleep_for(milliseconds(1));
  }
  thread.request_stop();
  thread.join();
  if (empty) return {};
  if (auto trouble = indexer.trouble()) return std::move(*trouble);
  return Error(base_errors::kInternal, "the outbox is still not empty after a minute");
}

// As if the topics had all of it for good.
Result<void> Platform::publish() {
  auto tx = STELLA_TRY(pg::SystemTx<pg::IndexerRole>::open(indexer_));
  STELLA_TRY_VOID(tx.query("UPDATE timeline_heads SET published = size, confirmed = size WHERE confirmed < size"));
  return tx.commit();
}

Result<void> Platform::run_jobs() {
  while (STELLA_TRY(run_job())) {
  }
  return {};
}

// The sandbox and its orchestrator in a few lines.
Result<bool> Platform::run_job() {
  auto tx = STELLA_TRY(pg::SystemTx<pg::OrchestratorRole>::open(orchestrator_));
  const auto rows = STELLA_TRY(tx.query(
      "SELECT tenant_id, job_id, kind, params, inputs, resource_id, (SELECT c.outputs FROM jobs c WHERE c.tenant_id = j.tenant_id AND c.job_id = j.cached_from), "
      "resource_type, trace_id FROM jobs j WHERE state = 'queued' ORDER BY created_at, job_id LIMIT 1 FOR UPDATE OF j SKIP LOCKED"));
  if (rows.empty()) return false;
  jobs::FinishedJob job;
  job.tenant = STELLA_TRY(TenantId::parse(rows.text(0, 0)));
  job.job_id = STELLA_TRY(JobId::parse(rows.text(0, 1)));
  job.kind = std::string(rows.text(0, 2));
  job.params = STELLA_TRY(json::parse(rows.text(0, 3)));
  job.inputs = STELLA_TRY(jobs::inputs_from_json(rows.text(0, 4)));
  job.resource_id = std::string(rows.text(0, 5));
  job.resource_type = std::string(rows.text(0, 7));
  job.trace = STELLA_TRY(TraceId::parse(rows.text(0, 8)));
  job.cached = !rows.is_null(0, 6);
  job.outputs = STELLA_TRY(outputs_of(job, rows));
  job.attempt = 1;
  // A seal waits for the log to have the end of its payload's job.
  if (!job.cached) STELLA_TRY_VOID(testing::tell_of_job(tx, job, events::kJobStarted, json::Value::object({{"run_id", RunId::generate().str()}})));
  STELLA_TRY_VOID(testing::tell_of_job(tx, job, events::kJobFinished, json::Value::object({{"cached", job.cached}, {"outputs", jobs::digest_list(job.outputs)}})));
  STELLA_TRY_VOID(tx.query("UPDATE jobs SET state = 'finished', attempt = 1, outputs = $3 WHERE tenant_id = $1 AND job_id = $2", {job.tenant, job.job_id, json::dump(jobs::to_json(job.outputs))}));
  STELLA_TRY_VOID(handler_->on_finished(tx, job));
  STELLA_TRY_VOID(tx.commit());
  return true;
}

Result<std::vector<jobs::OutputRef>> Platform::outputs_of(const jobs::FinishedJob& job, const pg::Rows& row) {
  if (!row.is_null(0, 6)) return jobs::outputs_from_json(row.text(0, 6));
  std::vector<std::string> bytes;
  for (const jobs::InputRef& input : job.inputs) bytes.push_back(STELLA_TRY(store_.get(object_key::object(input.tenant, input.sha256), 1 << 28)));
  std::vector<pipeline::MemoryInput> inputs;
  for (std::size_t i = 0; i < bytes.size(); ++i) inputs.push_back({job.inputs[i].name, bytes[i]});
  std::vector<jobs::OutputRef> out;
  for (const auto& made : STELLA_TRY(pipeline::run_job(job.kind, json::dump(job.params), inputs))) {
    const Sha256 digest = crypto::sha256(made.bytes);
    STELLA_TRY_VOID(store_.put(object_key::object(job.tenant, digest), made.bytes, {}));
    out.push_back({made.name, digest, made.bytes.size(), made.media_type});
  }
  return out;
}

// ── Clients ────────────────────────────────────────────────────────────────────────────────────────────────────────

Result<std::string> Platform::emit(const Wish& wish, const std::string& attempt) {
  auto t = STELLA_TRY(pg::TenantTx::open(web_, testing::TestScope::make(wish.tenant)));
  std::vector<timeline::Event> batch;
  for (int i = 0; i < wish.count; ++i)
    batch.push_back({.kind = events::kServiceDegraded, .resource_type = "service", .resource_id = "s", .details = json::Value::object({{"service", "s"}, {"part", std::to_string(i)}, {"reason", "wish " + attempt}}), .resources = {{"sbom", "x" + std::to_string(i % 3)}}});
  STELLA_TRY_VOID(timeline::emit_many(t, std::move(batch)));
  STELLA_TRY_VOID(t.commit());
  return std::string("done");
}

Result<std::string> Platform::submit(std::size_t n, const Wish& wish) {
  auto t = STELLA_TRY(pg::TenantTx::open(web_, testing::TestScope::make(wish.tenant)));
  timeline::Event event{.kind = events::kServiceRestored, .resource_type = "service", .resource_id = "outside", .trace = STELLA_TRY(TraceId::parse("0af7651916cd43dd8448eb211c80319c"))};
  event.details = json::Value::object({{"service", "outside"}, {"part", std::to_string(n)}});
  const EventId id = STELLA_TRY(EventId::parse(submitted_id(n)));
  STELLA_TRY_VOID(timeline::submit(t, {id, std::move(event)}));
  STELLA_TRY_VOID(t.commit());
  return std::string("done");
}

Result<std::string> Platform::decide(const Wish& wish) {
  auto t = STELLA_TRY(pg::TenantTx::open(web_, testing::TestScope::make(wish.tenant)));
  const CaseId case_id = STELLA_TRY(CaseId::parse(wish.case_id));
  const evidence::HoldRequest request{case_id, "court", "order", TraceId::generate(), "", 1};
  if (wish.kind == Wish::kKeep) {
    STELLA_TRY_VOID(evidence::extend_retention(t, case_id, Timestamp::now() + std::chrono::days(365), evidence::RetentionBy::kPerson, "asked for", TraceId::generate(), ""));
  } else if (wish.kind == Wish::kClose) {
    STELLA_TRY_VOID(evidence::close_case(t, case_id, "over", TraceId::generate(), ""));
  } else if (wish.kind == Wish::kHold) {
    STELLA_TRY_VOID(evidence::place_hold(t, request));
  } else {
    const auto released = evidence::request_release(t, request);
    // Released by an attempt that was never answered.
    if (!released && released.error().code() == base_errors::kNotFound) return std::string("before");
    if (!released) return Error(released.error());
  }
  STELLA_TRY_VOID(t.commit());
  return std::string("done");
}

Result<std::string> Platform::snapshot(const Wish& wish) {
  auto t = STELLA_TRY(pg::TenantTx::open(web_, testing::TestScope::make(wish.tenant)));
  const TraceId trace = TraceId::generate();
  const CaseId case_id = STELLA_TRY(CaseId::parse(wish.case_id));
  const auto made = STELLA_TRY(evidence::request_snapshot(t, store_, {wish.what, wish.what == "eval" ? world_.start.evaluation : world_.start.job, case_id, false, false, trace, "00-" + trace.hex() + "-b7ad6b7169203331-01"}));
  STELLA_TRY_VOID(t.commit());
  return made.bundle_id.str();
}

Result<std::string> Platform::grant(std::size_t n, const Wish& wish, const std::string& attempt) {
  switch (wish.kind) {
    case Wish::kEmit: return emit(wish, attempt);
    case Wish::kSubmit: return submit(n, wish);
    case Wish::kBundle: return snapshot(wish);
    case Wish::kHold:
    case Wish::kRelease:
    case Wish::kKeep:
    case Wish::kClose: return decide(wish);
  }
  return Error(base_errors::kInternal, "no such wish");
}

bool Platform::clients() {
  const auto wishes = wishes_of(process_.seed);
  int left = process_.wishes;
  for (std::size_t n = 0; n < wishes.size(); ++n) {
    if (told_.done(n)) continue;
    if (left-- == 0) return false;
    bool granted = false;
    for (int i = 0; i < kTries && !granted; ++i) {
      const std::string attempt = std::to_string(n) + " " + std::to_string(process_.number * 100 + i);
      told_.say("try " + attempt);
      const auto answer = grant(n, wishes[n], attempt);
      granted = answer.has_value();
      if (granted) told_.say("told " + attempt + " " + *answer);
      else note("wish " + attempt, Error(answer.error()));
    }
    if (!granted) return false;  // in their order: the next process begins with this one
    services(dice_.roll(4));
  }
  return true;
}

void Platform::services(int how_many) {
  using Step = Result<void> (Platform::*)();
  constexpr std::pair<const char*, Step> kSteps[] = {{"indexer", &Platform::index}, {"publisher", &Platform::publish}, {"checkpointer", &Platform::sign}, {"runner", &Platform::run_jobs}, {"locker", &Platform::seal}, {"keeper", &Platform::keep}};
  for (int i = 0; i < how_many; ++i) {
    const auto& [name, step] = kSteps[how_many >= 6 ? i % 6 : dice_.roll(6)];
    note(name, (this->*step)());
  }
}

std::string Platform::left() {
  const Quietly quietly;
  const auto rows = pg::detail::read(watch_, nullptr, kLeft, {});
  if (!rows) return "unknown";
  std::string out;
  bool any = false;
  for (int i = 0; i < kLeftColumns; ++i) {
    out += (i == 0 ? "" : " ") + std::to_string(rows->integer(0, i));
    any = any || rows->integer(0, i) > 0;
  }
  return any ? out : std::string();
}

int Platform::live() {
  if (process_.helper) {
    services(6);
    return kUnsettled;
  }
  if (!clients()) {
    services(6);
    return trouble_.empty() ? kUnsettled : kTroubled;
  }
  std::string rest = left();
  for (int still = 0; still < kStill && !rest.empty() && trouble_.empty();) {
    services(6);
    std::string now = left();
    still = now == rest ? still + 1 : 0;
    rest = std::move(now);
  }
  if (!trouble_.empty()) return kTroubled;
  if (rest.empty()) return kSettled;
  told_.say("left " + rest);
  return kUnsettled;
}

}  // namespace

std::string submitted_id(std::size_t n) { return "0198f000-0000-7000-8000-" + std::to_string(100'000'000'000u + n); }

std::vector<Wish> wishes_of(std::uint64_t seed) {
  Dice dice(seed);
  std::vector<Wish> out;
  const auto add = [&](Wish wish) { out.insert(out.begin() + dice.roll(static_cast<int>(out.size()) + 1), std::move(wish)); };
  // "held" for good, "freed" some time later, "kept" for a year, "free" never.
  const char* const cases[] = {"held", "freed", "kept", "free"};
  const int bundles = 2 + dice.roll(3);
  for (int i = 0; i < bundles; ++i) add({.kind = Wish::kBundle, .case_id = cases[dice.roll(4)], .what = dice.one_in(2) ? "eval" : "job"});
  if (!dice.one_in(4)) add({.kind = Wish::kHold, .case_id = "held"});
  if (!dice.one_in(3)) add({.kind = Wish::kKeep, .case_id = "kept"});
  if (dice.one_in(3)) add({.kind = Wish::kClose, .case_id = "free"});
  const int emissions = 3 + dice.roll(5);
  for (int i = 0; i < emissions; ++i) add({.kind = Wish::kEmit, .tenant = dice.one_in(3) ? "beta" : "acme", .count = 1 + dice.roll(dice.one_in(4) ? 300 : 12)});
  for (int i = 0; i < 2; ++i) add({.kind = Wish::kSubmit, .tenant = dice.one_in(2) ? "beta" : "acme"});
  for (const auto* tenant : {"acme", "beta"}) {
    if (dice.one_in(4)) continue;
    const int at = dice.roll(static_cast<int>(out.size()) + 1);
    out.insert(out.begin() + at, {.kind = Wish::kHold, .tenant = tenant, .case_id = "freed"});
    const int rest = static_cast<int>(out.size()) - at - 1;
    out.insert(out.begin() + at + 1 + dice.roll(rest + 1), {.kind = Wish::kRelease, .tenant = tenant, .case_id = "freed"});
  }
  return out;
}

int run_process(const World& world, const Process& process) {
  watch_files_below(world.files());
  Platform platform(world, process);
  arm(process.fault);
  const int out = platform.live();
  platform.complain();
  std::string line = "counted";
  for (const int count : counted()) line += " " + std::to_string(count);
  Told(world.told()).say(line + (struck() ? " struck" : ""));
  return out;
}

}  // namespace stella::chaos
