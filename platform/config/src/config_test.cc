// Layers, spellings, types, ranges and what a typing error says.
#include "stella/platform/config.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "stella/base/file.h"
#include "stella/contracts/settings.h"

namespace stella::config {
namespace {

constexpr SettingSpec kTable[] = {
    {"data_dir", "path", "/var/lib/x", "", 0, 0, true, "/x"},   {"http.port", "int", "18080", "", 0, 65535, true, "1"},
    {"http.max_body", "bytes", "1MiB", "", 1024, 1 << 30, true, "1MiB"}, {"http.idle_timeout", "duration", "60s", "", 100, 3'600'000, true, "1s"},
    {"pg.pool.size", "int", "8", "", 1, 256, true, "8"},        {"roles", "string", "all", "", 0, 0, true, "web"},
    {"runner.open", "bool", "false", "", 0, 0, true, "true"},   {"offset", "int", "0", "", -5, 5, true, "0"},
};

std::string file(std::string_view text) {
  char name[] = "/tmp/stella-config-test-XXXXXX";
  const std::string path = std::string(::mkdtemp(name)) + "/stella.yaml";
  EXPECT_TRUE(write_file_durable(path, text));
  return path;
}

Result<Settings> load(std::string_view text, const Environment& environment = {}) { return Settings::load(file(text), environment, kTable); }

TEST(Settings, DefaultsThenFileThenEnvironment) {
  const auto defaults = Settings::load("", {}, kTable).value();
  EXPECT_EQ(defaults.integer("http.port"), 18080);
  EXPECT_EQ(defaults.text("data_dir"), "/var/lib/x");
  EXPECT_EQ(defaults.integer("http.max_body"), 1 << 20);
  EXPECT_EQ(defaults.integer("http.idle_timeout"), 60'000);
  EXPECT_EQ(defaults.source("http.port"), "default");
  const auto path = file("http:\n  port: 1\n  max_body: 2MiB\n");
  const auto both = Settings::load(path, {{"STELLA_HTTP_PORT", "2"}, {"HOME", "/root"}}, kTable).value();
  EXPECT_EQ(both.integer("http.port"), 2);
  EXPECT_EQ(both.source("http.port"), "STELLA_HTTP_PORT");
  EXPECT_EQ(both.integer("http.max_body"), 2 << 20);
  EXPECT_EQ(both.source("http.max_body"), path + ":3");
}

TEST(Settings, NestedDottedAndMixedSpellingsAreTheSame) {
  for (const char* text : {"pg:\n  pool:\n    size: 3\n", "pg.pool.size: 3\n", "pg:\n  pool.size: 3\n", "pg.pool: {size: 3}\n", "{\"pg\": {\"pool\": {\"size\": 3}}}"}) {
    EXPECT_EQ(load(text).value().integer("pg.pool.size"), 3) << text;
  }
}

TEST(Settings, EmptyFilesAndListsAndQuotes) {
  EXPECT_TRUE(load(""));
  EXPECT_TRUE(load("# nothing\n"));
  EXPECT_EQ(load("roles: [web, indexer]\n").value().text("roles"), "web,indexer");
  EXPECT_EQ(load("roles: \"\"\n").value().text("roles"), "");
  EXPECT_TRUE(load("runner.open: yes\n").value().boolean("runner.open"));
}

TEST(Settings, UnknownNamesSayWhereAndWhatIsClose) {
  const auto typo = load("http:\n  max_body: 1MiB\n  prot: 3\n");
  ASSERT_FALSE(typo);
  EXPECT_EQ(typo.error().code(), base_errors::kInvalid);
  EXPECT_TRUE(typo.error().field("file").ends_with("/stella.yaml"));
  EXPECT_EQ(typo.error().field("line"), "3");
  EXPECT_EQ(typo.error().field("field"), "http.prot");
  EXPECT_EQ(typo.error().field("nearest"), "http.port");
  EXPECT_EQ(load("port: 3\n").error().field("nearest"), "http.port");
  EXPECT_EQ(load("something_else_entirely: 3\n").error().field("nearest"), "");
}

TEST(Settings, UnknownVariablesOfOursAreRefusedOthersAreNot) {
  const auto typo = Settings::load("", {{"STELLA_HTTP_PROT", "1"}}, kTable);
  ASSERT_FALSE(typo);
  EXPECT_EQ(typo.error().field("field"), "STELLA_HTTP_PROT");
  EXPECT_EQ(typo.error().field("nearest"), "STELLA_HTTP_PORT");
  EXPECT_FALSE(Settings::load("", {{"STELLA_ROLE", "web"}}, kTable));
  EXPECT_TRUE(Settings::load("", {{"STELLA_TOKEN_FILE", "x"}, {"OTHER", "y"}}, kTable));
}

TEST(Settings, RangesHoldAtTheirEnds) {
  for (const char* good : {"http.port: 0", "http.port: 65535", "http.max_body: 1024", "http.max_body: 1GiB", "http.idle_timeout: 100ms",
                           "http.idle_timeout: 1h", "offset: -5"}) {
    EXPECT_TRUE(load(good)) << good;
  }
  for (const char* bad : {"http.port: -1", "http.port: 65536", "http.max_body: 1023", "http.max_body: 1073741825", "http.idle_timeout: 99ms",
                          "http.idle_timeout: 3601s", "offset: -6"}) {
    EXPECT_FALSE(load(bad)) << bad;
  }
  const auto error = load("\nhttp.port: 65536").error();
  EXPECT_EQ(error.field("line"), "2");
  EXPECT_EQ(error.field("field"), "http.port");
  EXPECT_EQ(error.field("expected"), "0 to 65535");
  EXPECT_EQ(error.describe().find("65536"), std::string::npos) << "values may be secret";
  EXPECT_EQ(Settings::load("", {{"STELLA_HTTP_PORT", "99999"}}, kTable).error().field("source"), "STELLA_HTTP_PORT");
}

TEST(Settings, WrongTypesAndShapesAreInvalid) {
  for (const char* bad : {"http.port: many", "http.port: 1.5", "http.port: ''", "http.port: [1, 2]", "http.port:", "http.port: {a: 1}", "http: 3",
                          "runner.open: maybe", "http.idle_timeout: 60", "http.max_body: 1XB", "- a\n- b", "just text", "? [a, b]\n: c",
                          "http.port: 1\n---\nhttp.port: 2", "roles: [a, [b]]", "http.port: 1\nhttp:\n  port: 1"}) {
    const auto settings = load(bad);
    ASSERT_FALSE(settings) << bad;
    EXPECT_EQ(settings.error().code(), base_errors::kInvalid) << bad << ": " << settings.error().describe();
    EXPECT_NE(settings.error().field("expected"), "") << bad;
    EXPECT_NE(settings.error().field("line"), "") << bad;
    EXPECT_NE(settings.error().field("file"), "") << bad;
  }
  const auto twice = load("http.port: 1\nhttp:\n  port: 2\n").error();
  EXPECT_EQ(twice.field("line"), "3");
  EXPECT_EQ(twice.field("expected"), "once; first in line 1");
}

TEST(Settings, BrokenYamlIsMalformedWithItsLine) {
  for (const char* bad : {"a: [1, 2", "a: b: c", "\tx: 1", "a: 'open", "%YAML 9\n@", "a: *nowhere"}) {
    const auto settings = load(bad);
    ASSERT_FALSE(settings) << bad;
    EXPECT_EQ(settings.error().code(), base_errors::kMalformed) << bad << ": " << settings.error().describe();
    EXPECT_NE(settings.error().field("line"), "") << bad;
  }
  EXPECT_EQ(Settings::load("/nonexistent/stella.yaml", {}, kTable).error().code(), base_errors::kNotFound);
}

TEST(Settings, HostileNestingAndAliasesEnd) {
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_FALSE(load(deep + std::string(40, ' ') + "b: 1\n"));
  std::string laughs = "a0: &a0 {x: 1, y: 2, z: 3, w: 4}\n";
  for (int i = 1; i < 12; ++i) {
    const auto before = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {x: " + before + ", y: " + before + ", z: " + before + ", w: " + before + "}\n";
  }
  EXPECT_EQ(load(laughs).error().code(), base_errors::kLimit);
  EXPECT_EQ(load(std::string((1 << 20) + 1, '#')).error().code(), base_errors::kLimit);
}

TEST(Settings, EveryDeclaredDefaultAndExampleIsAcceptable) {
  const auto defaults = Settings::load("", {});
  ASSERT_TRUE(defaults) << defaults.error().describe();
  EXPECT_GT(std::size(contracts::kSettings), 30u);
  for (const auto& spec : contracts::kSettings) {
    EXPECT_EQ(defaults->text(spec.name), spec.default_text);
    const auto example = Settings::load("", {{environment_name(spec.name), std::string(spec.example)}});
    EXPECT_TRUE(example) << spec.name << ": " << (example ? "" : example.error().describe());
  }
}

TEST(Units, DurationsAndSizes) {
  EXPECT_EQ(parse_duration_ms("250ms").value(), 250);
  EXPECT_EQ(parse_duration_ms("1h30m").value(), 5'400'000);
  EXPECT_EQ(parse_duration_ms("7d").value(), 604'800'000);
  EXPECT_EQ(parse_duration_ms("0").value(), 0);
  for (const char* bad : {"", "5", "-5s", "5 s", "s", "5x", "9223372036854775807d", "99999999999999999999s"}) EXPECT_FALSE(parse_duration_ms(bad)) << bad;
  EXPECT_EQ(parse_bytes("64KiB").value(), 65536);
  EXPECT_EQ(parse_bytes("1kB").value(), 1000);
  EXPECT_EQ(parse_bytes("7").value(), 7);
  for (const char* bad : {"", "KiB", "-1", "1 KiB", "1KiB2", "9223372036854775807KiB"}) EXPECT_FALSE(parse_bytes(bad)) << bad;
}

TEST(SettingsDeathTest, UndeclaredNamesAreBugs) {
  const auto settings = Settings::load("", {}, kTable).value();
  EXPECT_DEATH(settings.text("http.prot"), "http.prot.*not declared");
  EXPECT_DEATH(settings.integer("roles"), "no number");
}

}  // namespace
}  // namespace stella::config
