// Values survive the way to the server and back; run against a real server.
#include <gtest/gtest.h>

#include "stella/testing/postgres.h"

namespace stella::pg {
namespace {

struct Values : ::testing::Test {
  Pool pool{testing::Postgres::shared().options("stella_web")};
  TenantScope scope = testing::TestScope::make("acme");
  Rows read(std::string_view sql, std::initializer_list<Param> params) {
    auto rows = TenantTx::read(pool, scope, sql, params);
    EXPECT_TRUE(rows.has_value()) << rows.error().describe();
    return rows ? std::move(*rows) : Rows();
  }
};

TEST_F(Values, RoundTrip) {
  const std::string raw("\0\x01\xff'\\", 5);
  const auto digest = Sha256::parse(std::string(64, 'a'));
  const auto id = EventId::generate();
  const auto now = Timestamp::now();
  const Rows rows = read("SELECT $1::text, $2::bigint, $3::float8, $4::bool, $5::bytea, $6::bytea, $7::uuid, $8::timestamptz, $9::text, $10::text",
                         {"ä'\"", std::int64_t{-9'007'199'254'740'993}, 0.1, true, Param::bytes(raw), *digest, id, now, nullptr,
                          std::optional<std::string>()});
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows.text(0, 0), "ä'\"");
  EXPECT_EQ(rows.integer(0, 1), -9'007'199'254'740'993);
  EXPECT_EQ(rows.number(0, 2), 0.1);
  EXPECT_TRUE(rows.boolean(0, 3));
  EXPECT_EQ(rows.bytes(0, 4), raw);
  EXPECT_EQ(rows.sha256(0, 5)->hex(), digest->hex());
  EXPECT_EQ(rows.text(0, 6), id.str());
  EXPECT_EQ(rows.timestamp(0, 7), now);
  EXPECT_TRUE(rows.is_null(0, 8));
  EXPECT_TRUE(rows.is_null(0, 9));
}

TEST_F(Values, Arrays) {
  const std::vector<std::string> texts = {"a,b", "c\"d\\e", "", "NULL", "{}"};
  const std::vector<std::string> raws = {std::string("\0\\\"", 3), "x"};
  const Rows rows = read("SELECT cardinality($1::text[]), ($1::text[])[2], ($1::text[])[4], ($2::bytea[])[1], cardinality($3::text[])",
                         {Param::text_array(texts), Param::bytes_array(raws), Param::text_array({})});
  EXPECT_EQ(rows.integer(0, 0), 5);
  EXPECT_EQ(rows.text(0, 1), texts[1]);
  EXPECT_EQ(rows.text(0, 2), "NULL");
  EXPECT_EQ(rows.bytes(0, 3), raws[0]);
  EXPECT_EQ(rows.integer(0, 4), 0);
  EXPECT_EQ(read("SELECT cardinality($1::bytea[]), $1::bytea[] IS NULL", {Param::bytes_array({})}).integer(0, 0), 0);
  EXPECT_EQ(read("SELECT ($1::bytea[])[2]", {Param::bytes_array(raws)}).bytes(0, 0), "x");
}

TEST_F(Values, ArraysOfIdsAndTimes) {
  const std::vector<Uuid> ids = {Uuid::v7(), Uuid::v7()};
  const std::vector<std::string> id_texts = {EventId(ids[0]).str(), EventId(ids[1]).str()};
  const std::vector<Timestamp> times = {Timestamp::from_micros(0), Timestamp::from_micros(1'796'000'000'123'456)};
  const Rows rows = read("SELECT ($1::uuid[])[2], $2::uuid[] = $1::uuid[], ($3::timestamptz[])[1], ($3::timestamptz[])[2]",
                         {Param::uuid_array(ids), Param::uuid_array(id_texts), Param::timestamp_array(times)});
  EXPECT_EQ(rows.text(0, 0), id_texts[1]);
  EXPECT_TRUE(rows.boolean(0, 1));
  EXPECT_EQ(rows.timestamp(0, 2), times[0]);
  EXPECT_EQ(rows.timestamp(0, 3), times[1]);
  const std::vector<std::string> wrong = {"not-a-uuid"};
  EXPECT_FALSE(TenantTx::read(pool, scope, "SELECT $1::uuid[]", {Param::uuid_array(wrong)}).has_value());
}

TEST_F(Values, NulBecomesTheReplacementCharacter) {
  const std::string name("a\0b\0", 4);
  const std::vector<std::string> names = {name};
  const std::string document = R"({"k":"x\u0000y\\u0000z\\\u0000\"\n"})";
  const Rows rows = read("SELECT $1::text, ($2::text[])[1], $3::jsonb->>'k', ($4::jsonb[])[2]->>'k', cardinality($5::jsonb[])",
                         {name, Param::text_array(names), Param::json(document), Param::json_array(std::vector<std::string>{"[]", document}), Param::json_array({})});
  EXPECT_EQ(rows.text(0, 0), "a\xef\xbf\xbd" "b\xef\xbf\xbd");
  EXPECT_EQ(rows.text(0, 1), "a\xef\xbf\xbd" "b\xef\xbf\xbd");
  EXPECT_EQ(rows.text(0, 2), "x\xef\xbf\xbdy\\u0000z\\\xef\xbf\xbd\"\n");
  EXPECT_EQ(rows.text(0, 3), rows.text(0, 2));
  EXPECT_EQ(rows.integer(0, 4), 0);
}

TEST_F(Values, TimestampsWithoutFractionAndNull) {
  const Rows rows = read("SELECT '2026-11-24 17:07:00+00'::timestamptz, NULL::timestamptz, 'infinity'::timestamptz", {});
  EXPECT_EQ(rows.timestamp(0, 0).rfc3339_seconds(), "2026-11-24T17:07:00Z");
  EXPECT_EQ(rows.timestamp(0, 1), Timestamp());
  EXPECT_EQ(rows.timestamp(0, 2), Timestamp());
}

}  // namespace
}  // namespace stella::pg
