// An entry read from its bytes, against what a JSON parser finds.
#include "entry.h"

#include <gtest/gtest.h>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/contracts/events.h"
#include "stella/timeline/emit.h"

namespace stella::timeline {
namespace {

Event event() {
  Event e{.kind = contracts::events::kServiceDegraded, .resource_type = "service", .resource_id = "scanner"};
  e.actor = "user:u1";
  e.details = json::Value::object({{"service", "scanner"}, {"reason", "test"}});
  return e;
}

std::string encoded(const Event& e, const EventId& id = EventId::generate()) {
  auto out = encode_entry(id, Timestamp::now(), *TenantId::parse("acme"), e);
  EXPECT_TRUE(out.has_value()) << out.error().describe();
  return out.value_or("");
}

// What comes out is what a JSON parser finds, whatever the strings hold.
void expect_as_parsed(const std::string& entry) {
  const auto got = read_entry(entry);
  ASSERT_TRUE(got.has_value()) << entry;
  const auto value = json::parse(entry);
  ASSERT_TRUE(value.has_value()) << entry;
  EXPECT_EQ(got->actor, value->str("actor"));
  EXPECT_EQ(got->kind, value->str("kind"));
  EXPECT_EQ(got->project_id, value->str("project_id"));
  EXPECT_EQ(got->resource_id, value->str("resource_id"));
  EXPECT_EQ(got->resource_type, value->str("resource_type"));
  EXPECT_EQ(got->trace_id, value->str("trace_id"));
  EXPECT_EQ(got->details, *json::canonical(*value->find("details")));
}

TEST(ReadEntry, FindsWhatAParserFinds) {
  Event e = event();
  expect_as_parsed(encoded(e));
  e.project = ProjectId::generate();
  e.trace = *TraceId::parse("0af7651916cd43dd8448eb211c80319c");
  expect_as_parsed(encoded(e));
  for (const char* evil : {"", "\"", "\\", "\\\\\"", "a\\", "\x01\n\t", "\",\"event_id\":\"x", ",\"details\":{}", "}", "\xc3\xa9\xe2\x82\xac", "\\u0000"}) {
    for (std::string* field : {&e.actor, &e.resource_id, &e.resource_type}) {
      const std::string before = *field;
      *field = evil;
      expect_as_parsed(encoded(e));
      *field = before;
    }
    e.details.set("reason", evil);
    e.details.set(evil, json::Value::array({evil, json::Value::object({{"event_id", evil}})}));
    expect_as_parsed(encoded(e));
  }
}

TEST(ReadEntry, RefusesOtherBytes) {
  const std::string good = encoded(event());
  for (std::size_t cut = 0; cut < good.size(); ++cut) EXPECT_FALSE(read_entry(std::string_view(good).substr(0, cut)).has_value()) << cut;
  EXPECT_FALSE(read_entry(good + " ").has_value());
  EXPECT_FALSE(read_entry("{}").has_value());
  EXPECT_FALSE(read_entry("not JSON").has_value());
}

TEST(EntryMember, IsNotMisledByDetails) {
  Event e = event();
  e.details.set("reason", "x\",\"kind\":\"evil.kind\",\"event_id\":\"evil\"");
  e.resource_id = ",\"kind\":\"worse.kind\"";
  const EventId id = EventId::generate();
  const std::string entry = encoded(e, id);
  EXPECT_EQ(entry_member(entry, "kind"), "service.degraded");
  EXPECT_EQ(entry_member(entry, "event_id"), id.str());
  EXPECT_EQ(entry_member(entry, "tenant_id"), "acme");
  EXPECT_EQ(entry_member(entry, "nothing"), "");
}

}  // namespace
}  // namespace stella::timeline
