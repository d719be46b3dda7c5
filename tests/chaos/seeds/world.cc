// The setup goes through the product's own calls, without faults.
#include "world.h"

#include <filesystem>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/contracts/events.h"
#include "stella/evidence/locker/locker.h"
#include "stella/services/authority.h"
#include "stella/services/export.h"
#include "stella/services/key_ring.h"
#include "stella/services/ledger.h"
#include "stella/testing/job_runner.h"
#include "stella/timeline/emit.h"

namespace stella::chaos {
namespace {

namespace events = contracts::events;
constexpr int kKept = 17;  // every so many of the old entries one that stays for good

std::string sample(std::string_view name) { return read_file(std::string(STELLA_SOURCE_DIR) + "/samples/" + std::string(name), 1 << 24).value(); }

ledger::Trace trace() {
  const TraceId id = TraceId::generate();
  return {id, "00-" + id.hex() + "-b7ad6b7169203331-01"};
}

// Every table of ours, partitions with their parents.
constexpr std::string_view kTables = "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition";

// As superuser; CREATE DATABASE stands alone.
void admin(const std::string& sql) { testing::Postgres::shared().sql(sql, "postgres"); }

}  // namespace

Start::Start() : database(testing::Postgres::shared().create_database()) {
  auto& cluster = testing::Postgres::shared();
  cluster.sql("INSERT INTO tenants (tenant_id, display_name) VALUES ('acme', 'Test'), ('beta', 'Test') ON CONFLICT DO NOTHING;"
              "INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ('acme', '00000000-0000-7000-8000-0000000000aa', 'default', 'Default')",
              database);
  const auto key = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  evidence_key = key;
  for (int i = 0; i < kLogKeys; ++i) log_keys.push_back(std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value()));
  {
    pg::SystemPool<pg::AuthorityRole> authority(cluster.options("stella_authority", database));
    EXPECT_TRUE(authority::Provisioner(authority).introduce_key(key->public_key(), "evidence", TraceId::generate()).has_value());
    authority::KeyRingOptions ring;
    ring.directory = dir / "keys";
    ring.signer = key;
    const auto begun = authority::KeyRing(authority, ring).begin(TraceId::generate());
    EXPECT_TRUE(begun.has_value()) << begun.error().describe();
  }
  documents();
  old_entries("acme", 20, -2000);
  old_entries("beta", 300, -1000);
  cluster.sql("CREATE SCHEMA saved; DO $$ DECLARE t text; BEGIN FOR t IN " + std::string(kTables) + " LOOP EXECUTE format('CREATE TABLE saved.%I AS SELECT * FROM public.%I', t, t); END LOOP; END $$", database);
}

void Start::documents() {
  auto& cluster = testing::Postgres::shared();
  pg::Pool web(cluster.options("stella_web", database));
  pg::SystemPool<pg::OrchestratorRole> orchestrator(cluster.options("stella_orchestrator", database));
  const auto store = objects::open_posix_store(dir / "objects").value();
  auto all = ledger::handlers(*store);
  for (auto& handler : exports::handlers()) all.push_back(handler);
  testing::JobRunner runner(orchestrator, *store, all);
  const auto tx = [&] { return std::move(pg::TenantTx::open(web, testing::TestScope::make("acme")).value()); };
  auto t = tx();
  const auto policy = ledger::publish_policy(t, *store, sample("policy.yaml"), trace()).value();
  EXPECT_TRUE(ledger::activate_policy(t, policy.version, trace()).has_value());
  const auto sbom = ledger::receive_sbom(t, *store, ledger::find_project(t, "").value(), sample("sbom.cdx.json"), trace()).value();
  EXPECT_TRUE(ledger::receive_batch(t, *store, ledger::DocumentKind::kAdvisory, "test", sample("advisories/GHSA-35jh-r3h4-6jhm.json"), false, trace()).has_value());
  EXPECT_TRUE(t.commit().has_value());
  runner.drain();
  auto u = tx();
  evaluation = ledger::start_evaluation(u, *store, {sbom.id, "", Timestamp::parse("2026-11-25T00:00:00Z").value()}, trace()).value().str();
  EXPECT_TRUE(u.commit().has_value());
  runner.drain();
  job = cluster.sql("SELECT job_id FROM jobs WHERE tenant_id = 'acme' AND state = 'finished' ORDER BY created_at LIMIT 1", database);
}

void Start::old_entries(const std::string& tenant, int count, int first_seq) {
  const TenantId id = TenantId::parse(tenant).value();
  const Timestamp begin = Timestamp::now() - std::chrono::days(300);
  std::string rows;
  for (int i = 0; i < count; ++i) {
    timeline::Event event{.kind = events::kServiceDegraded, .actor = "system:test", .resource_type = "service", .resource_id = "scanner", .trace = TraceId::generate()};
    event.details = json::Value::object({{"service", "scanner"}, {"part", "queue"}, {"reason", "old " + std::to_string(i)}});
    if (i % kKept == kKept - 1) {
      event.kind = events::kDispositionFrozen;
      event.resource_type = "tenant";
      event.resource_id = tenant;
      event.details = json::Value::object({{"what", "every deletion"}, {"reason", "old " + std::to_string(i)}});
    }
    const EventId event_id = EventId::generate();
    const Timestamp ts = begin + std::chrono::seconds(i);
    const std::string entry = timeline::encode_entry(event_id, ts, id, event).value();
    old[tenant].push_back(entry);
    rows += std::string(i == 0 ? "" : ", ") + "(" + std::to_string(first_seq + i) + ", " + std::to_string(timeline::shard_of(id)) + ", '" + tenant + "', '" + event_id.str() + "', '" + ts.rfc3339() + "', '\\x" + hex_encode(entry) + "')";
  }
  testing::Postgres::shared().sql("INSERT INTO timeline_outbox (seq, shard, tenant_id, event_id, ts, entry) OVERRIDING SYSTEM VALUE VALUES " + rows, database);
}

Copy::Copy(const Start& start, std::string name) : name_(std::move(name)), superuser_(testing::Postgres::shared().options("stella_super", name_)) {
  admin("CREATE DATABASE " + name_ + " TEMPLATE " + start.database + " OWNER stella_owner");
  std::string grants = "REVOKE ALL ON DATABASE " + name_ + " FROM PUBLIC;";
  for (const auto login : pg::logins()) grants += "GRANT CONNECT ON DATABASE " + name_ + " TO " + std::string(login) + ";";
  admin(grants);
}

Copy::~Copy() { admin("DROP DATABASE " + name_ + " (FORCE)"); }

void Copy::run(std::string_view sql) {
  auto tx = pg::SystemTx<pg::IndexerRole>::open(superuser_);
  ASSERT_TRUE(tx.has_value()) << tx.error().describe();
  const auto done = tx->query(sql);
  ASSERT_TRUE(done.has_value()) << done.error().describe();
  ASSERT_TRUE(tx->commit().has_value());
}

// What the dead of the seed before have left running must not end in the next one.
void Copy::reset() {
  static const std::string kReset = "DO $$ DECLARE t text; BEGIN LOOP PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();"
                                    " EXIT WHEN NOT FOUND; PERFORM pg_stat_clear_snapshot(); END LOOP; PERFORM set_config('session_replication_role', 'replica', true); FOR t IN " + std::string(kTables) +
                                    " LOOP EXECUTE format('DELETE FROM public.%I', t); EXECUTE format('INSERT INTO public.%I OVERRIDING SYSTEM VALUE SELECT * FROM saved.%I', t, t); END LOOP; END $$";
  run(kReset);
}

void Copy::await_the_dead() {
  run("DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid())"
      " LOOP PERFORM pg_sleep(0.001); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$");
}

// A stalled process may be in the middle of a batch: that one is waited for by whoever takes over, as always.
void Copy::end_leases() { run("UPDATE leases SET until = '-infinity' WHERE name IN (SELECT name FROM leases FOR UPDATE SKIP LOCKED)"); }

World::World(const Start& begin, std::string name, Buckets* where, std::uint64_t seed)
    : start(begin), database(std::move(name)), buckets(where), bucket_("seed-" + std::to_string(seed)), objects_(where != nullptr ? where->make(bucket_) : dir.path() + "/files/objects") {
  EXPECT_TRUE(make_dirs(scratch()));
  std::error_code problem;
  const std::string from = start.dir / "objects";
  if (buckets == nullptr) {
    std::filesystem::copy(from, objects_, std::filesystem::copy_options::recursive, problem);
    EXPECT_FALSE(problem) << problem.message();
    return;
  }
  const auto store = open_store();
  for (const auto& file : std::filesystem::recursive_directory_iterator(from)) {
    const std::string key = file.path().string().substr(from.size() + 1);
    if (!file.is_regular_file() || key.starts_with('.')) continue;
    EXPECT_TRUE(store->put(key, read_file(file.path().string(), 1 << 28).value(), {}).has_value()) << key;
  }
}

World::~World() {
  std::error_code ignored;
  if (buckets != nullptr) std::filesystem::remove_all(objects_, ignored);
}

std::unique_ptr<objects::Store> World::open_store() const { return buckets != nullptr ? buckets->open(bucket_) : std::move(objects::open_posix_store(objects_).value()); }

}  // namespace stella::chaos
