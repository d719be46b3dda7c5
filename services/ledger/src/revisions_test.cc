// Which revision comes into force: by time, by the order of receipt, and whatever the order in which batches end.
#include "revisions.h"

#include <filesystem>

#include "ledger_fixture.h"
#include "stella/base/tar.h"
#include "stella/crypto/digest.h"
#include "stella/testing/shared_data.h"

namespace stella::ledger {
namespace {

class RevisionsTest : public LedgerFixture {
 protected:
  std::string in_force(std::string_view table = "advisory_current") { return db_.sql("SELECT coalesce(string_agg(encode(doc_sha256, 'hex'), ' ' ORDER BY native_id), '') FROM " + std::string(table)); }
  std::string observed(std::string_view table = "advisory_observations") { return db_.sql("SELECT count(*) FROM " + std::string(table)); }
  std::string stale(const std::string& batch) { return db_.sql("SELECT counts->>'stale' FROM ingest_batches WHERE batch_id = '" + batch + "'"); }
  static std::string tar_of(const std::vector<std::string>& documents) {
    std::string tar;
    for (std::size_t i = 0; i < documents.size(); ++i) append_tar(tar, std::to_string(i) + ".json", documents[i]);
    append_tar_end(tar);
    return tar;
  }
  static std::string vex(std::string_view id, std::string_view time, std::string_view status) {
    return R"({"@context":"https://openvex.dev/ns/v0.2.0",)" + (id.empty() ? std::string() : "\"@id\":\"" + std::string(id) + "\",") + R"("author":"a","timestamp":")" + std::string(time) +
           R"(","statements":[{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"pkg:npm/lodash@1"}],"status":")" + std::string(status) + R"("}]})";
  }
};

TEST_F(RevisionsTest, AnOldFileSentAgainIsObservedAndNothingElse) {
  const std::string older = advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.0.0", R"(,"aliases":["CVE-OLD"])"), newer = advisory("GHSA-1", "2026-02-01T00:00:00Z", "4.0.1", R"(,"aliases":["CVE-NEW"])");
  batch(DocumentKind::kAdvisory, newer, false);
  const std::string late = batch(DocumentKind::kAdvisory, older, false);
  EXPECT_EQ(in_force(), crypto::sha256(newer).hex());
  EXPECT_EQ(observed(), "2");
  EXPECT_EQ(counts(late), "00000");
  EXPECT_EQ(stale(late), "1");
  EXPECT_EQ(events("advisory.revised"), "0");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM advisory_linksets WHERE 'CVE-OLD' = ANY(members)"), "0");
  // Once more: it was observed. And the next one goes on counting.
  EXPECT_EQ(stale(batch(DocumentKind::kAdvisory, older, false)), "1");
  EXPECT_EQ(observed(), "2");
  batch(DocumentKind::kAdvisory, advisory("GHSA-1", "2026-03-01T01:00:00+02:00", "4.0.2"), false);
  EXPECT_EQ(db_.sql("SELECT revision_no FROM advisory_current"), "3");
}

TEST_F(RevisionsTest, BatchesThatEndInTheWrongOrderGiveTheSame) {
  // By time.
  const std::string older = advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.0.0"), newer = advisory("GHSA-1", "2026-02-01T00:00:00Z", "4.0.1");
  // Of one time: the one received last.
  const std::string first = advisory("GHSA-2", "2026-01-01T00:00:00Z", "4.0.0"), second = advisory("GHSA-2", "2026-01-01T02:00:00+02:00", "4.0.1");
  batch(DocumentKind::kAdvisory, tar_of({older, first}), true, "acme", false);
  batch(DocumentKind::kAdvisory, tar_of({newer, second}), true, "acme", false);
  db_.sql("UPDATE jobs SET created_at = now() - interval '1 hour' WHERE job_id = (SELECT job_id FROM jobs ORDER BY created_at DESC, job_id DESC LIMIT 1)");
  runner_->drain();
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(in_force(), crypto::sha256(newer).hex() + " " + crypto::sha256(second).hex());
  EXPECT_EQ(observed(), "4");
}

TEST_F(RevisionsTest, RevisionsOfOneTarAreEachObserved) {
  const std::string a = advisory("GHSA-1", "2026-03-01T00:00:00Z", "4.0.2"), b = advisory("GHSA-1", "2026-01-01T00:00:00Z", "4.0.0"), c = advisory("GHSA-1", "2026-02-01T00:00:00Z", "4.0.1");
  EXPECT_EQ(counts(batch(DocumentKind::kAdvisory, tar_of({a, b, c, b}), true)), "12100");
  EXPECT_EQ(in_force(), crypto::sha256(a).hex());
  EXPECT_EQ(db_.sql("SELECT string_agg(left(modified, 7), ' ' ORDER BY revision_no) FROM advisory_observations"), "2026-01 2026-02 2026-03");
  EXPECT_EQ(db_.sql("SELECT revision_no FROM advisory_current"), "3");
}

TEST_F(RevisionsTest, ATimeInTheFutureKeepsNothingOut) {
  batch(DocumentKind::kAdvisory, advisory("GHSA-1", "2999-01-01T00:00:00Z", "4.0.0"), false);
  const std::string corrected = advisory("GHSA-1", "2026-02-01T00:00:00Z", "4.0.1");
  batch(DocumentKind::kAdvisory, corrected, false);
  EXPECT_EQ(in_force(), crypto::sha256(corrected).hex());
}

// The Go database's own files: all four say "modified": "0001-01-01T00:00:00Z", so the order of receipt decides, in whatever order they end.
TEST_F(RevisionsTest, RealRevisionsEndInReverse) {
  const auto files = testing::files_below(STELLA_SHARED_OR_SKIP("data/advisories/revisions/GO-2021-0113"), ".json");
  ASSERT_EQ(files.size(), 4u);
  for (const auto& file : files) batch(DocumentKind::kAdvisory, testing::slurp(file), false, "acme", false);
  db_.sql("UPDATE jobs j SET created_at = now() - n * interval '1 hour' FROM (SELECT job_id, row_number() OVER (ORDER BY created_at, job_id) AS n FROM jobs) o WHERE o.job_id = j.job_id");
  runner_->drain();
  EXPECT_EQ(in_force(), crypto::sha256(testing::slurp(files[3])).hex());
  EXPECT_EQ(observed(), "4");
  EXPECT_EQ(db_.sql("SELECT sum((counts->>'stale')::int) FROM ingest_batches"), "3");
}

TEST_F(RevisionsTest, VexDocumentsLikewise) {
  const std::string older = vex("https://v/1", "2026-01-01T00:00:00Z", "under_investigation"), newer = vex("https://v/1", "2026-02-01T00:00:00Z", "fixed");
  batch(DocumentKind::kVex, newer, false);
  EXPECT_EQ(stale(batch(DocumentKind::kVex, older, false)), "1");
  EXPECT_EQ(in_force("vex_current"), crypto::sha256(newer).hex());
  EXPECT_EQ(observed("vex_observations"), "2");
}

TEST_F(RevisionsTest, VexDocumentsWithoutAnIdDoNotReplaceEachOther) {
  const std::string one = vex("", "2026-01-01T00:00:00Z", "under_investigation"), two = vex("", "2026-02-01T00:00:00Z", "fixed");
  const std::string both = batch(DocumentKind::kVex, tar_of({one, two}), true);
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(counts(both), "20000");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM vex_current"), "2");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM vex_current WHERE native_id = 'sha256:" + crypto::sha256(one).hex() + "'"), "1");
  EXPECT_EQ(counts(batch(DocumentKind::kVex, one, false)), "00100");
}

TEST_F(RevisionsTest, WhatACompleteBatchLeavesOutVanished) {
  const auto whole = [&](const std::vector<std::string>& documents, bool drain = true) { return batch(DocumentKind::kAdvisory, tar_of(documents), true, "acme", drain, true); };
  const std::string a = advisory("GHSA-a", "2026-01-01T00:00:00Z", "4.0.0", R"(,"aliases":["CVE-A"])"), b = advisory("GHSA-b", "2026-01-01T00:00:00Z", "4.0.0", R"(,"aliases":["CVE-B"])");
  const auto vanished = [&](const std::string& id) { return db_.sql("SELECT counts->>'vanished' FROM ingest_batches WHERE batch_id = '" + id + "'"); };
  whole({a, b});
  {
    auto t = tx();  // another source has one of that name
    ASSERT_TRUE(receive_batch(t, *store_, DocumentKind::kAdvisory, "other", tar_of({b}), true, trace()));
    ASSERT_TRUE(t.commit());
    runner_->drain();
  }
  batch(DocumentKind::kAdvisory, a, false);  // not complete: says nothing of others
  EXPECT_EQ(db_.sql("SELECT count(*) FROM advisory_current"), "3");
  // One that may be anybody's was rejected: nothing vanished for certain.
  EXPECT_EQ(vanished(whole({a, "{"})), "0");
  EXPECT_EQ(vanished(whole({a})), "1");
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(db_.sql("SELECT string_agg(source_id || ' ' || native_id, ',' ORDER BY source_id, native_id) FROM advisory_current"), "other GHSA-b,test GHSA-a");
  EXPECT_EQ(db_.sql("SELECT string_agg(revision_no || ' ' || vanished || ' ' || array_to_string(aliases, ''), ',' ORDER BY revision_no) FROM advisory_observations WHERE source_id = 'test' AND native_id = 'GHSA-b'"), "1 false CVE-B,2 true CVE-B");
  EXPECT_EQ(events("advisory.withdrawn"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"vanished\":true%' AND convert_from(entry, 'UTF8') LIKE '%GHSA-b%'"), "1");
  // It comes back.
  whole({a, b});
  EXPECT_EQ(db_.sql("SELECT revision_no FROM advisory_current WHERE source_id = 'test' AND native_id = 'GHSA-b'"), "3");
}

TEST_F(RevisionsTest, ASnapshotThatANewerBatchOvertookTakesNothing) {
  const std::string a = advisory("GHSA-a", "2026-01-01T00:00:00Z", "4.0.0"), b = advisory("GHSA-b", "2026-01-01T00:00:00Z", "4.0.0");
  batch(DocumentKind::kAdvisory, tar_of({a}), true, "acme", false, true);
  batch(DocumentKind::kAdvisory, tar_of({b}), true, "acme", false);
  const auto last_first = [&] { db_.sql("UPDATE jobs SET created_at = now() - interval '1 hour' WHERE job_id = (SELECT job_id FROM jobs WHERE state = 'queued' ORDER BY created_at DESC, job_id DESC LIMIT 1)"); };
  last_first();
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT count(*) FROM advisory_current"), "2");
  // And what was received before a snapshot without it does not come back after it.
  batch(DocumentKind::kAdvisory, advisory("GHSA-b", "2026-02-01T00:00:00Z", "4.0.1"), false, "acme", false);
  batch(DocumentKind::kAdvisory, tar_of({a}), true, "acme", false, true);
  last_first();
  runner_->drain();
  EXPECT_EQ(db_.sql("SELECT string_agg(native_id, ',') FROM advisory_current"), "GHSA-a");
}

// The snapshot that did not hold it ended first: no row says that it vanished.
TEST_F(RevisionsTest, WhatIsOlderThanASnapshotWithoutItDoesNotComeIntoForce) {
  const std::string a = advisory("GHSA-a", "2026-01-01T00:00:00Z", "4.0.0"), b = advisory("GHSA-b", "2026-02-01T00:00:00Z", "4.0.0");
  const auto last_first = [&] {
    db_.sql("UPDATE jobs SET created_at = now() - interval '1 hour' WHERE job_id = (SELECT job_id FROM jobs WHERE state = 'queued' ORDER BY created_at DESC, job_id DESC LIMIT 1)");
    runner_->drain();
  };
  const std::string older = batch(DocumentKind::kAdvisory, b, false, "acme", false);
  batch(DocumentKind::kAdvisory, tar_of({a}), true, "acme", false, true);
  last_first();
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(db_.sql("SELECT string_agg(native_id, ',') FROM advisory_current"), "GHSA-a");
  EXPECT_EQ(stale(older), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM advisory_observations WHERE native_id = 'GHSA-b'"), "1");
  batch(DocumentKind::kAdvisory, b, false);  // it comes later: the source has it again
  EXPECT_EQ(db_.sql("SELECT count(*) FROM advisory_current"), "2");
  // A snapshot of which something was rejected says nothing of the rest.
  const std::string c = advisory("GHSA-c", "2026-02-01T00:00:00Z", "4.0.0");
  batch(DocumentKind::kAdvisory, c, false, "acme", false);
  batch(DocumentKind::kAdvisory, tar_of({a, b, "{"}), true, "acme", false, true);
  last_first();
  EXPECT_EQ(db_.sql("SELECT count(*) FROM advisory_current"), "3");
}

TEST_F(RevisionsTest, VexOfACompleteBatchLikewise) {
  const std::string one = vex("https://v/1", "2026-01-01T00:00:00Z", "fixed"), two = vex("https://v/2", "2026-01-01T00:00:00Z", "fixed");
  batch(DocumentKind::kVex, tar_of({one, two}), true, "acme", true, true);
  batch(DocumentKind::kVex, tar_of({two}), true, "acme", true, true);
  ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  EXPECT_EQ(db_.sql("SELECT string_agg(native_id, ',') FROM vex_current"), "https://v/2");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"vanished_count\":1%'"), "1");
  auto t = tx();
  EXPECT_EQ(receive_batch(t, *store_, DocumentKind::kVex, "test", one, false, trace(), true).error().code(), base_errors::kInvalid);
}

}  // namespace
}  // namespace stella::ledger
