// The roles: which objects exist in this process. Roles only decide that; none behaves differently for being alone.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>

#include "row_sink.h"
#include "stella/base/file.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/kdf.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/evidence/locker/locker.h"
#include "stella/platform/bus_topology.h"
#include "stella/platform/exposure.h"
#include "stella/platform/process.h"
#include "stella/services/controls.h"
#include "stella/services/export.h"
#include "stella/services/ledger.h"
#include "stella/services/orchestrator.h"
#include "stella/services/parts_watch.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/work.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/cosigner.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/web/server.h"
#include "stellad.h"
#include "telemetry.h"

namespace stella::stellad {
namespace {

using std::chrono::milliseconds;
constexpr telemetry::Logger kLog{"stellad"};
constexpr telemetry::Gauge kUp{contracts::metrics::kServiceUp};

constexpr auto kSettle = milliseconds(500);
constexpr auto kWitnessPatience = std::chrono::seconds(10);  // twice what one of them may take to answer
constexpr auto kControlsEvery = milliseconds(2000);  // what an operator changes is in force everywhere within seconds
constexpr std::string_view kRoles[] = {"web", "orchestrator", "telemetry", "indexer", "locker"};

Result<std::set<std::string, std::less<>>> roles_of(const config::Settings& settings) {
  std::set<std::string, std::less<>> out;
  for (std::string_view rest = settings.text("roles"); !rest.empty();) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    std::string_view name = rest.substr(0, end);
    while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
    while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
    if (name == "all") out.insert(std::begin(kRoles), std::end(kRoles));
    else if (std::find(std::begin(kRoles), std::end(kRoles), name) != std::end(kRoles)) out.emplace(name);
    else return Error(base_errors::kInvalid, "no such role").with("field", "roles").with("expected", "all, or some of web, orchestrator, telemetry, indexer, locker");
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

// Until the bus is there or a stop was asked for (then null).
std::unique_ptr<bus::Connection> connect(const config::Settings& settings, std::string_view user) {
  auto password = read_secret(path_of(settings, "nats.password_dir", "secrets/nats") + "/" + std::string(user));
  bool told = false;
  for (;;) {
    Error problem(base_errors::kInternal, "not connected");
    if (password) {
      auto login = bus::login(settings.text("nats.url"), user, *password);
      login.name = "stellad-" + std::string(user);
      auto connection = bus::Connection::connect(login);
      if (connection) return std::move(*connection);
      problem = std::move(connection.error());
    } else {
      problem = password.error();
    }
    if (!told) kLog.warn("bus cannot be reached, trying again", {f::error(problem)});
    told = true;
    if (process::wait_for_stop(Deadline::after(milliseconds(500)))) return nullptr;
  }
}

// A bus that went away between connecting and the first request is waited for like one that was never there. False: a stop was asked for.
template <class Attempt>
Result<bool> patiently(Attempt attempt) {
  for (bool told = false;; told = true) {
    auto done = attempt();
    if (done) return true;
    if (done.error().code() != contracts::errors::kUnavailable) return std::move(done.error());
    if (!told) kLog.warn("bus does not answer, trying again", {f::error(done.error())});
    if (process::wait_for_stop(Deadline::after(milliseconds(500)))) return false;
  }
}

// What the wake hooks reach: set once before the first request, cleared before the objects go.
std::atomic<orchestrator::Orchestrator*> g_orchestrator{nullptr};
std::atomic<bus::Connection*> g_wake_bus{nullptr};
constexpr std::string_view kWakeJobs = "stellawake.jobs";

void wake_orchestrator() {
  if (auto* local = g_orchestrator.load()) local->wake();
  else if (auto* bus = g_wake_bus.load()) bus->tell(kWakeJobs, "");
}

// Nobody is woken from here on.
void let_go_of_hooks() {
  timeline::set_wake_hook({});
  jobs::set_wake_hook(nullptr);
  g_orchestrator = nullptr;
  g_wake_bus = nullptr;
}

// How the parts are, for /readyz and /obs/health. The API is up before the bus is, so what is asked changes while requests ask.
class Health {
 public:
  void set_store(objects::Store* store, pg::Pool* pool) {
    const Lock lock(mutex_);
    store_ = store;
    pool_ = pool;
  }
  void set_bus(bus::Connection* bus) {
    const Lock lock(mutex_);
    bus_ = bus;
    until_.reset();
  }
  void set_indexer(timeline::Indexer* indexer, timeline::Checkpointer* checkpointer, timeline::Cosigner* cosigner) {
    const Lock lock(mutex_);
    indexer_ = indexer;
    checkpointer_ = checkpointer;
    cosigner_ = cosigner;
    until_.reset();
  }
  bool bus_connected() {
    const Lock lock(mutex_);
    return bus_ != nullptr && bus_->connected();
  }
  // Name and problem ("" where there is none). Looked at anew once a second at most: anybody may ask, and looking costs a write.
  std::vector<std::pair<std::string, std::string>> parts() {
    const Lock lock(mutex_);
    if (until_ && !until_->passed()) return parts_;
    const auto text = [](const Result<void>& r) { return r ? std::string() : std::string(r.error().message()); };
    parts_.clear();
    parts_.emplace_back("postgresql", text(pool_->ping()));
    parts_.emplace_back("objects", text(store_->probe()));
    parts_.emplace_back("nats", bus_ != nullptr && bus_->connected() ? "" : "not connected");
    if (indexer_ != nullptr) {
      auto trouble = indexer_->trouble();
      if (!trouble) trouble = checkpointer_->trouble();
      // A witness that is away stops nothing; one that saw another history is for somebody to look at.
      if (!trouble && cosigner_ != nullptr) {
        trouble = cosigner_->trouble();
        if (trouble && trouble->code() != contracts::errors::kIntegrity) trouble.reset();
      }
      parts_.emplace_back("indexer", trouble ? std::string(trouble->message()) : std::string());
    }
    for (const auto& [name, problem] : parts_)
      if (name != "indexer") kUp.set(problem.empty() ? 1 : 0, name);
    until_ = Deadline::after(std::chrono::seconds(1));
    watch_.note(parts_, Timestamp::now());
    return parts_;
  }
  // Looks, and puts on the timeline what has gone or come back since.
  Result<void> tell(pg::SystemPool<pg::TelemetryRole>& pool) {
    (void)parts();
    return watch_.tell(pool);
  }

 private:
  Mutex mutex_;
  objects::Store* store_ STELLA_GUARDED_BY(mutex_) = nullptr;
  pg::Pool* pool_ STELLA_GUARDED_BY(mutex_) = nullptr;
  bus::Connection* bus_ STELLA_GUARDED_BY(mutex_) = nullptr;
  timeline::Indexer* indexer_ STELLA_GUARDED_BY(mutex_) = nullptr;
  timeline::Checkpointer* checkpointer_ STELLA_GUARDED_BY(mutex_) = nullptr;
  timeline::Cosigner* cosigner_ STELLA_GUARDED_BY(mutex_) = nullptr;
  std::vector<std::pair<std::string, std::string>> parts_ STELLA_GUARDED_BY(mutex_);
  std::optional<Deadline> until_ STELLA_GUARDED_BY(mutex_);
  controls::PartsWatch watch_;
};

// Everything that runs, in order of construction; destroyed in reverse.
struct Process {
  // Also after a start that failed halfway.
  ~Process() { let_go_of_hooks(); }

  Health health;
  std::unique_ptr<apps::Telemetry> telemetry;
  std::unique_ptr<objects::Store> store;
  std::shared_ptr<PgRowSink> row_sink;
  std::unique_ptr<controls::Watcher> controls;
  std::unique_ptr<bus::Connection> orchestrator_bus, indexer_bus, web_bus;
  std::unique_ptr<pg::SystemPool<pg::AuthorityRole>> authority_pool;
  std::shared_ptr<authority::KeyRing> key_ring;
  std::shared_ptr<const crypto::Signer> evidence_key;  // as the locker opened it at the start: each opening costs a tenth of a second
  std::unique_ptr<pg::SystemPool<pg::LockerRole>> locker_pool;
  std::unique_ptr<evidence::Locker> locker;
  std::unique_ptr<evidence::Keeper> keeper;
  std::unique_ptr<pg::SystemPool<pg::OrchestratorRole>> orchestrator_pool;
  std::unique_ptr<orchestrator::Orchestrator> orchestrator;
  std::shared_ptr<void> wake_listener;
  std::unique_ptr<pg::SystemPool<pg::IndexerRole>> indexer_pool;
  std::unique_ptr<timeline::Indexer> indexer;
  std::jthread indexer_thread;
  std::unique_ptr<timeline::Checkpointer> checkpointer;
  std::unique_ptr<timeline::Cosigner> cosigner;
  std::unique_ptr<pg::Pool> web_pool;
  std::unique_ptr<authority::Authority> authority;
  std::unique_ptr<authority::Provisioner> provisioner;
  std::unique_ptr<web::Services> services;
  std::unique_ptr<http::Server> server;
};

Result<void> start_telemetry(const config::Settings& settings, Process& p) {
  // Equal values get equal marks in all processes and nowhere else.
  const std::string secret = STELLA_TRY(read_secret(path_of(settings, "secrets.dir", "secrets") + "/salt_secret"));
  telemetry::set_fingerprint_secret(crypto::hkdf_sha256(secret, "stellad", "stella/telemetry-fingerprints/v1"));
  p.telemetry = STELLA_TRY(apps::Telemetry::start(settings, "stellad"));
  telemetry::Work::announce();
  for (const contracts::MetricSpec* spec : {contracts::metrics::kDispositions.spec, contracts::metrics::kEvidenceRenewals.spec, contracts::metrics::kTimelineCosignatures.spec}) telemetry::declare_series(*spec);
  const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_telemetry"));
  p.row_sink = std::make_shared<PgRowSink>(login);
  (*p.telemetry)->set_row_sink(p.row_sink);
  return {};
}

// Whoever seals holds the evidence key, and so is who may rotate it.
Result<void> open_key_ring(const config::Settings& settings, Process& p) {
  authority::KeyRingOptions options = STELLA_TRY(key_ring_options(settings));
  // Each of them from its next signature on.
  options.use = [&p](std::shared_ptr<const crypto::Signer> key) {
    p.locker->use(key);
    if (auto* orchestrator = g_orchestrator.load()) orchestrator->use(key);
    if (p.services) p.services->evidence_signer = key;
    kLog.info("the evidence key was rotated");
  };
  const auto kept_elsewhere = options.signer;
  p.key_ring = std::make_shared<authority::KeyRing>(*p.authority_pool, std::move(options));
  STELLA_TRY_VOID(p.key_ring->settle());
  if (!kept_elsewhere) return {};
  // What a key signs that nobody signed in counts for nobody.
  const auto history = STELLA_TRY(authority::key_history(*p.authority_pool));
  const KeyId id = kept_elsewhere->public_key().id();
  if (history && history->state_at(id, Timestamp::now()) != crypto::KeyState::kUnknown) return {};
  return Error(contracts::errors::kConflict, "the evidence key is not in the history of this deployment: run stellad --init").with("setting", std::string("keys.evidence")).with("key", id.str());
}

Result<void> start_locker(const config::Settings& settings, Process& p) {
  STELLA_TRY_VOID(open_key_ring(settings, p));
  const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_locker"));
  p.locker_pool = std::make_unique<pg::SystemPool<pg::LockerRole>>(login);
  p.evidence_key = STELLA_TRY(open_evidence_key(settings));
  evidence::LockerOptions options;
  options.temp_dir = settings.text("data_dir") + "/tmp";
  options.tenant_secret = STELLA_TRY(read_secret(path_of(settings, "secrets.dir", "secrets") + "/salt_secret"));
  options.keep = std::chrono::duration_cast<std::chrono::seconds>(milliseconds(settings.integer("evidence.keep")));
  options.keep_from = settings.text("evidence.keep_from");
  options.lock = STELLA_TRY(lock_default(settings));
  options.store_name = settings.text("objects.driver");
  options.stamper = STELLA_TRY(open_stamper(settings));
  if (!settings.text("timeline.witness_policy").empty()) options.witness_patience = kWitnessPatience;
  options.renew_before = std::chrono::duration_cast<std::chrono::seconds>(milliseconds(settings.integer("time.renew_before")));
  p.locker = std::make_unique<evidence::Locker>(*p.locker_pool, *p.store, p.evidence_key, std::move(options));
  p.locker->start();
  evidence::KeeperOptions keep;
  keep.keep = std::chrono::duration_cast<std::chrono::seconds>(milliseconds(settings.integer("evidence.keep")));
  keep.base_event = settings.text("evidence.keep_from");
  keep.dispose = settings.boolean("evidence.dispose");
  keep.timeline_keep = std::chrono::days(settings.integer("timeline.retention_days"));
  keep.clock_checked = settings.text("evidence.clock_checked");
  keep.tenant_keys = STELLA_TRY(open_tenant_keys(settings));
  STELLA_TRY_VOID(evidence::Keeper::check(keep));
  p.keeper = std::make_unique<evidence::Keeper>(*p.locker_pool, *p.store, std::move(keep));
  p.keeper->start();
  return {};
}

Result<void> start_orchestrator(const config::Settings& settings, Process& p) {
  p.orchestrator_bus = connect(settings, bus::user::kOrchestrator);
  if (!p.orchestrator_bus) return {};
  p.health.set_bus(p.orchestrator_bus.get());
  const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_orchestrator"));
  p.orchestrator_pool = std::make_unique<pg::SystemPool<pg::OrchestratorRole>>(login);
  auto key = STELLA_TRY(open_evidence_key(settings));
  orchestrator::Handlers handlers;
  for (auto& [kind, handler] : ledger::handlers(*p.store)) handlers.emplace(kind, handler);
  for (auto& [kind, handler] : exports::handlers()) handlers.emplace(kind, handler);
  for (auto& [kind, handler] : evidence::handlers([locker = p.locker.get()] { if (locker != nullptr) locker->wake(); })) handlers.emplace(kind, handler);
  orchestrator::Options options;
  options.jobs_dir = path_of(settings, "jobs.dir", "jobs");
  options.lease = milliseconds(settings.integer("jobs.lease"));
  options.dispatch_timeout = milliseconds(settings.integer("jobs.dispatch_after"));
  options.per_tenant = static_cast<int>(settings.integer("jobs.concurrency_per_tenant"));
  options.retry_base = milliseconds(settings.integer("jobs.backoff"));
  options.retry_max = milliseconds(settings.integer("jobs.backoff_max"));
  options.environment_key = STELLA_TRY(read_secret(path_of(settings, "secrets.dir", "secrets") + "/salt_secret"));
  p.orchestrator = std::make_unique<orchestrator::Orchestrator>(*p.orchestrator_pool, *p.orchestrator_bus, *p.store, std::move(key), std::move(handlers), std::move(options));
  const bool started = STELLA_TRY(patiently([&] { return p.orchestrator->start(); }));
  if (!started) return {};
  g_orchestrator = p.orchestrator.get();
  STELLA_TRY_VOID(patiently([&]() -> Result<void> {
    p.wake_listener = STELLA_TRY(p.orchestrator_bus->listen(kWakeJobs, [] { wake_orchestrator(); }));
    return {};
  }));
  return {};
}

Result<void> start_indexer(const config::Settings& settings, Process& p) {
  p.indexer_bus = connect(settings, bus::user::kIndexer);
  if (!p.indexer_bus) return {};
  const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_indexer"));
  p.indexer_pool = std::make_unique<pg::SystemPool<pg::IndexerRole>>(login);
  timeline::IndexerOptions options;
  options.batch = static_cast<int>(settings.integer("indexer.batch"));
  options.poll = milliseconds(settings.integer("indexer.poll"));
  options.lease = milliseconds(settings.integer("indexer.lease"));
  p.indexer = std::make_unique<timeline::Indexer>(*p.indexer_pool, p.indexer_bus.get(), std::move(options));
  auto key = STELLA_TRY(open_log_key(settings));
  timeline::CheckpointerOptions checkpoints;
  checkpoints.every = std::chrono::seconds(settings.integer("timeline.checkpoint_every") / 1000);
  checkpoints.events = settings.integer("timeline.checkpoint_events");
  checkpoints.former = STELLA_TRY(former_log_keys(settings));
  p.checkpointer = std::make_unique<timeline::Checkpointer>(*p.indexer_pool, *p.store, std::move(key), checkpoints);
  p.checkpointer->start();
  if (const std::string& file = settings.text("timeline.witness_policy"); !file.empty()) {
    const std::string policy = STELLA_TRY(read_file(file, timeline::kPolicyFileBytes));
    auto witnesses = STELLA_TRY(timeline::LogPolicy::parse(policy));
    p.cosigner = std::make_unique<timeline::Cosigner>(*p.indexer_pool, *p.store, std::move(witnesses));
    p.cosigner->start();
  }
  p.health.set_indexer(p.indexer.get(), p.checkpointer.get(), p.cosigner.get());
  p.indexer_thread = start_jthread("indexer", [indexer = p.indexer.get()](std::stop_token stop) { indexer->run(std::move(stop)); });
  return {};
}

Result<void> start_web(const config::Settings& settings, Process& p) {
  const pg::PoolOptions web_login = STELLA_TRY(pool_options(settings, "stella_web"));
  p.web_pool = std::make_unique<pg::Pool>(web_login);
  p.health.set_store(p.store.get(), p.web_pool.get());
  auto key = STELLA_TRY(load_key(settings, "token"));
  authority::Options options;
  options.issuer = issuer(settings);
  options.token_ttl = std::chrono::seconds(settings.integer("auth.token_ttl") / 1000);
  p.authority = std::make_unique<authority::Authority>(*p.authority_pool, std::move(key), std::move(options));
  p.provisioner = std::make_unique<authority::Provisioner>(*p.authority_pool);
  p.services = std::unique_ptr<web::Services>(new web::Services{*p.web_pool, *p.authority, *p.provisioner, *p.store, settings.text("data_dir") + "/tmp", [&p] { return p.health.parts(); }, [&p] { return p.health.bus_connected(); }});
  p.services->log_key = STELLA_TRY(log_public_key(settings));
  if (const auto stamper = STELLA_TRY(open_stamper(settings))) p.services->time_trust = stamper->trust();
  p.services->time_threshold = std::max<std::size_t>(1, static_cast<std::size_t>(settings.integer("time.required")));
  // Only where this process seals too, so that it has the key anyway.
  if (p.locker) p.services->evidence_signer = p.evidence_key;
  p.services->key_ring = p.key_ring;
  p.services->settle_telemetry = [&p] { (void)(*p.telemetry)->flush(Deadline::after(kSettle)); };
  p.services->behind_proxy = settings.boolean("http.behind_tls_proxy");
  p.services->dispose = settings.boolean("evidence.dispose");
  p.services->hold_releasers = static_cast<int>(settings.integer("hold.releasers"));
  http::ServerOptions http;
  http.address = settings.text("http.address");
  http.port = static_cast<std::uint16_t>(settings.integer("http.port"));
  http.workers = static_cast<int>(settings.integer("http.workers"));
  http.temp_dir = settings.text("data_dir") + "/tmp";
  http.limits.connections = static_cast<std::size_t>(settings.integer("http.max_connections"));
  http.limits.connections_per_peer = static_cast<std::size_t>(settings.integer("http.max_connections_per_peer"));
  http.limits.temp_bytes = static_cast<std::uint64_t>(settings.integer("http.temp_bytes"));
  http.limits.temp_free_bytes = static_cast<std::uint64_t>(settings.integer("http.temp_free"));
  http.limits.queue = static_cast<std::size_t>(settings.integer("http.queue"));
  http.limits.request_timeout = std::chrono::seconds(150);  // ?wait= is at most 120 s
  p.server = STELLA_TRY(web::start(http, *p.services));
  kLog.info("serving", {f::address(settings.text("http.address")), f::port(p.server->port())});
  return {};
}

// The token that our own processes send their telemetry with: renewed at half its life, so that whoever reads the file finds a good one.
class TelemetryToken {
 public:
  explicit TelemetryToken(const config::Settings& settings) : settings_(settings), path_(settings.text("telemetry.token_file")) {}
  void renew() {
    if (path_.empty() || !due_.passed()) return;
    const auto written = telemetry::in_work(contracts::work::kTelemetryToken, {}, [&](telemetry::Work&) { return write_telemetry_token(settings_, path_); });
    if (!written) kLog.warn("telemetry token could not be renewed, trying again", {f::error(written.error())});
    due_ = Deadline::after(written ? milliseconds(settings_.integer("auth.token_ttl") / 2) : milliseconds(5000));
  }

 private:
  const config::Settings& settings_;
  std::string path_;
  Deadline due_ = Deadline::after(milliseconds(0));
};

Result<void> start_all(const config::Settings& settings, Process& p) {
  const auto checked = roles_of(settings);
  if (!checked) return Error(checked.error());
  const auto& roles = *checked;
  STELLA_TRY_VOID(start_telemetry(settings, p));
  p.controls = std::make_unique<controls::Watcher>(p.row_sink->pool(), kControlsEvery, roles.contains("telemetry"));
  STELLA_TRY_VOID(make_dirs(settings.text("data_dir") + "/tmp", 0700));
  p.store = STELLA_TRY(open_store(settings));
  jobs::set_wake_hook(wake_orchestrator);
  jobs::set_max_attempts(static_cast<int>(settings.integer("jobs.max_attempts")));
  if (roles.contains("locker") || roles.contains("web")) {
    const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_authority"));
    p.authority_pool = std::make_unique<pg::SystemPool<pg::AuthorityRole>>(login);
  }
  if (roles.contains("locker")) STELLA_TRY_VOID(start_locker(settings, p));
  // First the API: while the bus is away it says so instead of refusing connections.
  if (roles.contains("web")) STELLA_TRY_VOID(start_web(settings, p));
  if (roles.contains("orchestrator")) STELLA_TRY_VOID(start_orchestrator(settings, p));
  if (roles.contains("indexer")) STELLA_TRY_VOID(start_indexer(settings, p));
  if (roles.contains("web") && !p.orchestrator_bus) {
    p.web_bus = connect(settings, bus::user::kWeb);
    g_wake_bus = p.web_bus.get();
    p.health.set_bus(p.web_bus.get());
  }
  timeline::set_wake_hook(timeline::wake_hook(p.indexer.get(), p.web_bus ? p.web_bus.get() : p.orchestrator_bus.get()));
  return {};
}

}  // namespace

Result<void> serve(const config::Settings& settings) {
  const auto roles = roles_of(settings);
  if (roles && roles->contains("web")) STELLA_TRY_VOID(config::check_listener(settings.text("http.address"), settings.boolean("http.behind_tls_proxy"), settings.text("http.public_url")));
  Process p;
  TelemetryToken token(settings);
  const bool signs = roles && roles->contains("web");  // the only role that has the key
  if (signs) token.renew();  // before the first record is sent
  STELLA_TRY_VOID(start_all(settings, p));
  if (signs && config::proxy_undeclared(settings.boolean("http.behind_tls_proxy"), settings.text("http.public_url")))
    kLog.warn("http.public_url is https and http.behind_tls_proxy is false: every client of the proxy counts as this machine; set it to true, and let the proxy set X-Forwarded-For");
  const bool keeps_telemetry = roles_of(settings)->contains("telemetry");
  Deadline retention = Deadline::after(std::chrono::minutes(1));
  bool told = true;  // whether what was seen of the parts is on the timeline
  while (!process::wait_for_stop(Deadline::after(std::chrono::seconds(1)))) {
    if (signs) {
      token.renew();
      const auto written = p.health.tell(p.row_sink->pool());
      if (!written && told) kLog.warn("what happened to a part of the platform cannot be written to the timeline yet, trying again", {f::error(written.error())});
      told = written.has_value();
    }
    if (!keeps_telemetry || !retention.passed()) continue;
    auto gone = p.row_sink->retain(settings.integer("telemetry.rows_retention_days"));
    if (!gone) kLog.warn("telemetry retention failed", {f::error(gone.error())});
    // Full steps mean that more is waiting.
    retention = Deadline::after(gone && *gone >= 10'000 ? std::chrono::seconds(5) : std::chrono::minutes(10));
  }
  kLog.info("stopping");
  if (p.server) p.server->drain(Deadline::after(milliseconds(settings.integer("http.drain_timeout"))));
  if (p.services) p.services->streams.stop();
  p.server.reset();
  let_go_of_hooks();
  p.wake_listener.reset();
  if (p.orchestrator) p.orchestrator->stop();
  if (p.keeper) p.keeper->stop();
  if (p.locker) p.locker->stop();
  p.indexer_thread = {};
  if (p.cosigner) p.cosigner->stop();
  if (p.checkpointer) p.checkpointer->stop();
  // A database that does not take the last rows by now is not waited for again.
  if (!(*p.telemetry)->flush(Deadline::after(std::chrono::seconds(3)))) (*p.telemetry)->set_row_sink(nullptr);
  return {};
}

}  // namespace stella::stellad
