// The list of what retention would delete next, beside what the keeper then does.
#include "stella/evidence/locker/upcoming.h"

#include <sys/xattr.h>

#include "test_holding.h"

namespace stella::evidence {
namespace {

class Looking : public Holding {
 protected:
  Upcoming look(bool dispose = true, std::string_view case_id = "", int limit = 100, const Upcoming* before = nullptr) {
    UpcomingQuery query;
    if (!case_id.empty()) query.case_id = CaseId::parse(case_id).value();
    query.limit = limit;
    query.dispose = dispose;
    query.now = now_;
    if (before != nullptr) {
      query.after = before->next->first;
      query.after_bundle = before->next->second;
    }
    auto t = tx();
    auto found = upcoming_dispositions(t, *store_, query);
    EXPECT_TRUE(found.has_value()) << found.error().describe();
    return found ? std::move(*found) : Upcoming{};
  }
  static std::string said(const json::Value& item) {
    std::string out(item.str("step"));
    for (const json::Value& rule : item.items("kept_by")) out.append(" ").append(rule.str("rule"));
    return out;
  }
  std::string of(const BundleId& id, bool dispose = true) {
    for (const json::Value& item : look(dispose).items)
      if (item.str("bundle_id") == id.str()) return said(item);
    return "not there";
  }
};

TEST_F(Looking, EveryRuleIsNamedAndTheListSaysWhatHappensNext) {
  const BundleId a = sealed("C-1");
  pass(hours(1));
  const BundleId b = sealed("C-2", "other");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(of(a), "kept retention");
  EXPECT_EQ(of(a, false), "kept retention switched_off");
  step(place_hold, "C-1", kAnn);
  EXPECT_EQ(of(a), "kept hold retention");
  EXPECT_EQ(look().items.at(0).items("kept_by")[0].str("reason"), "a legal hold is in force: court 7");
  {
    auto t = tx();
    ASSERT_TRUE(extend_retention(t, CaseId::parse("C-2").value(), Timestamp::now() + hours(24 * 3650), RetentionBy::kPerson, "audit", TraceId::generate(), "").has_value());
    ASSERT_TRUE(t.commit().has_value());
  }
  EXPECT_EQ(of(b), "kept retention case");
  // Pages: what goes first stands first.
  const Upcoming first = look(true, "", 1);
  ASSERT_EQ(first.items.size(), 1u);
  EXPECT_EQ(first.items[0].str("bundle_id"), a.str());
  ASSERT_TRUE(first.next.has_value());
  const Upcoming second = look(true, "", 1, &first);
  ASSERT_EQ(second.items.size(), 1u);
  EXPECT_EQ(second.items[0].str("bundle_id"), b.str());
  EXPECT_FALSE(second.next.has_value());
  EXPECT_EQ(look(true, "C-2").items.size(), 1u);
  // Nothing keeps it: due, planned, gone from the list when it is deleted.
  step(request_release, "C-1", kAnn);
  step(confirm_release, "C-1", kBob);
  pass(hours(25));
  ASSERT_TRUE(k->round().has_value());
  EXPECT_EQ(of(a), "due");
  ASSERT_EQ(k->plan(acme_, a)->state, Disposition::kPlanned);
  EXPECT_EQ(of(a), "planned");
  EXPECT_EQ(of(a, false), "planned");
  EXPECT_EQ(k->execute(acme_, a)->state, Disposition::kWaiting);
  sign_log();
  (void)k->execute(acme_, a);
  sign_log();
  (void)k->execute(acme_, a);
  EXPECT_EQ(of(a), "not there");
  EXPECT_EQ(state(a), "disposed");
}

TEST_F(Looking, TheStoresWordCountsAndWhatIsGoneIsSaid) {
  const BundleId id = sealed("C-1");
  auto k = keeper();
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  ASSERT_TRUE(store_->set_legal_hold(key(id, "C-1"), true).has_value());
  EXPECT_EQ(of(id), "kept store_hold");
  ASSERT_TRUE(store_->set_legal_hold(key(id, "C-1"), false).has_value());
  ASSERT_TRUE(store_->extend_retention(key(id, "C-1"), Timestamp::now() + hours(1)).has_value());
  EXPECT_EQ(of(id), "kept store_lock");
  db_.sql("UPDATE evidence_clock SET frozen_reason = 'the clock went back'");
  EXPECT_EQ(of(id), "kept store_lock clock");
  const BundleId lost = sealed("C-2", "x"), failed = sealed("C-3", "y");
  for (const auto& [bundle, case_id] : {std::pair{lost, "C-2"}, {failed, "C-3"}}) ASSERT_TRUE(store_->remove(key(bundle, case_id)).has_value());
  db_.sql("UPDATE evidence_clock SET frozen_reason = ''; UPDATE evidence_snapshots SET state = 'failed', failed_at = sealed_at WHERE bundle_id = '" + failed.str() + "'");
  ASSERT_TRUE(k->round().has_value());
  pass(hours(25));
  EXPECT_EQ(of(lost), "kept gone");
  EXPECT_EQ(of(failed), "due");
}

// One object whose lock cannot be read takes nobody the list.
TEST_F(Looking, WhatTheStoreDoesNotSayKeepsTheBundle) {
  const BundleId id = sealed("C-1"), other = sealed("C-2", "other");
  ASSERT_TRUE(keeper()->round().has_value());
  pass(hours(25));
  const std::string file = dir_.path() + "/objects/" + key(id, "C-1"), nonsense = "forever";
  ASSERT_EQ(::setxattr(file.c_str(), "user.stella.lock", nonsense.data(), nonsense.size(), 0), 0);
  ASSERT_FALSE(store_->lock_state(key(id, "C-1")).has_value());
  EXPECT_EQ(of(id), "kept store_unknown");
  EXPECT_EQ(of(other), "due");
}

}  // namespace
}  // namespace stella::evidence
