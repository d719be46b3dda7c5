// The route table against contracts/openapi.yaml, the matching of paths, problem+json of every error, cursors.
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "page.h"
#include "query_parameters.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/scopes.h"
#include "stella/web/router.h"
#include "stella/web/server.h"

namespace stella::web {
namespace {

using Rows = std::map<std::string, std::string>;  // "GET /sboms" → scope

// openapi.yaml is written in one layout: paths at two blanks, methods at four, x-scope at six (tools/generate_contracts.py reads it so too).
Rows documented() {
  std::ifstream in(STELLA_SOURCE_DIR "/contracts/openapi.yaml");
  Rows rows;
  std::string line, path, method;
  bool in_paths = false;
  const auto value = [&](std::size_t from) {
    std::string text = line.substr(from);
    if (text.size() > 1 && (text.front() == '\'' || text.front() == '"')) text = text.substr(1, text.size() - 2);
    return text;
  };
  while (std::getline(in, line)) {
    if (!line.empty() && line[0] != ' ') in_paths = line == "paths:";
    if (!in_paths || line.size() < 4) continue;
    if (line.starts_with("  /")) {
      path = line.substr(2, line.size() - 3);
      for (char& c : path) c = c == '{' ? ':' : c;
      std::erase(path, '}');
    } else if (line.starts_with("    ") && line[4] != ' ') {
      method = line.substr(4, line.size() - 5);
      std::transform(method.begin(), method.end(), method.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      rows[method + " " + path] = "";
    } else if (line.starts_with("      x-scope: ")) {
      rows[method + " " + path] = value(15);
    }
  }
  return rows;
}

std::string scope_text(const Route& route) {
  const std::string scope(route.scope);
  switch (route.access) {
    case Access::kPublic: return "none";
    case Access::kToken: return "any token";
    case Access::kTenant: return scope;
    case Access::kPlatform: return scope + "#platform";
    case Access::kTenantOrGlobal: return scope + " or kb:write#platform";
  }
  return "";
}

TEST(Routes, AreExactlyTheDocumentedOnes) {
  Rows table;
  for (const Route& route : routes()) {
    EXPECT_TRUE(table.emplace(std::string(route.method) + " " + std::string(route.path), scope_text(route)).second) << route.path << " stands twice";
    EXPECT_NE(route.handler, nullptr) << route.path;
  }
  const Rows described = documented();
  ASSERT_GT(described.size(), 40u) << "openapi.yaml was not understood";
  for (const auto& [route, scope] : table) {
    const auto it = described.find(route);
    ASSERT_NE(it, described.end()) << route << " is not in contracts/openapi.yaml";
    EXPECT_EQ(scope, it->second) << route;
  }
  for (const auto& [route, scope] : described) EXPECT_TRUE(table.contains(route)) << route << " is documented but does not exist";
}

// "GET /jobs" → "state kind …", of the query alone: `parameters` is one line of references, each component one line.
Rows documented_queries() {
  std::ifstream in(STELLA_SOURCE_DIR "/contracts/openapi.yaml");
  std::map<std::string, std::string> names;  // component → name, where it stands in the query
  std::map<std::string, std::vector<std::string>> used;
  std::string line, path, method;
  while (std::getline(in, line)) {
    if (line.starts_with("  /")) path = line.substr(2, line.size() - 3);
    else if (line.starts_with("    ") && line.size() > 5 && line[4] != ' ' && line.back() == ':') method = line.substr(4, line.size() - 5);
    if (const auto at = line.find(": {name: "); line.starts_with("    ") && at != line.npos && line.find(", in: query,") != line.npos) {
      const std::string rest = line.substr(at + 9);
      names[line.substr(4, at - 4)] = rest.substr(0, rest.find(','));
    }
    if (!line.starts_with("      parameters: ")) continue;
    constexpr std::string_view kReference = "#/components/parameters/";
    for (auto at = line.find(kReference); at != line.npos; at = line.find(kReference, at)) {
      at += kReference.size();
      used[method + " " + path].push_back(line.substr(at, line.find('\'', at) - at));
    }
  }
  Rows rows;
  for (auto& [route, components] : used) {
    std::string key = route, all;
    std::transform(key.begin(), key.begin() + static_cast<std::ptrdiff_t>(key.find(' ')), key.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    for (char& c : key) c = c == '{' ? ':' : c;
    std::erase(key, '}');
    for (const std::string& component : components)
      if (names.contains(component)) all.append(all.empty() ? "" : " ").append(names.at(component));
    if (!all.empty()) rows[key] = all;
  }
  return rows;
}

TEST(Routes, TakeExactlyTheDocumentedParameters) {
  const Rows described = documented_queries();
  ASSERT_GT(described.size(), 20u) << "openapi.yaml was not understood";
  for (const Route& route : routes()) {
    const auto it = described.find(std::string(route.method) + " " + std::string(route.path));
    EXPECT_EQ(known_parameters(route.method, route.path), it == described.end() ? std::string() : it->second) << route.method << ' ' << route.path;
  }
}

TEST(Routes, TakeNoOtherParameters) {
  for (const Route& route : routes()) {
    const std::string_view names = known_parameters(route.method, route.path);
    if (names.empty()) continue;
    const auto refused = no_other_parameters(route, "access_token=x");
    ASSERT_FALSE(refused.has_value()) << route.path;
    EXPECT_EQ(refused.error().code(), base_errors::kInvalid);
    EXPECT_NE(refused.error().field("expected").find(names), std::string_view::npos) << route.path;
    EXPECT_TRUE(no_other_parameters(route, std::string(names.substr(0, names.find(' '))) + "=1").has_value()) << route.path;
  }
}

TEST(Routes, ScopesAreOfTheCatalogue) {
  for (const Route& route : routes()) {
    if (route.access == Access::kPublic || route.access == Access::kToken) {
      EXPECT_EQ(route.scope, "") << route.path;
      continue;
    }
    const auto* scope = contracts::find_scope(route.scope);
    ASSERT_NE(scope, nullptr) << route.path << ": " << route.scope;
    EXPECT_TRUE(route.access == Access::kPlatform ? scope->platform : scope->tenant) << route.path;
  }
}

TEST(Routes, BodiesAreTakenByPostAndPatchAlone) {
  for (const Route& route : routes()) EXPECT_EQ(route.body_bytes > 0, route.method == "POST" || route.method == "PATCH") << route.method << " " << route.path;
}

std::string matched(std::string_view method, std::string_view path) {
  const Match found = match(method, path);
  if (found.route == nullptr) return found.allow.empty() ? "404" : "405 " + found.allow;
  std::string out(found.route->path);
  for (const auto& [name, value] : found.params) out.append(" ").append(name).append("=").append(value);
  return out;
}

TEST(Matching, LiteralBeatsParameter) {
  EXPECT_EQ(matched("POST", "/evidence/verify"), "/evidence/verify");
  EXPECT_EQ(matched("POST", "/evidence/snapshot"), "/evidence/snapshot");
  EXPECT_EQ(matched("GET", "/evidence/verify"), "/evidence/:bundle_id bundle_id=verify");
  EXPECT_EQ(matched("POST", "/attestations/verify"), "/attestations/verify");
  EXPECT_EQ(matched("GET", "/exports/7/files/manifest.json"), "/exports/:export_id/files/:name export_id=7 name=manifest.json");
}

TEST(Matching, EveryRouteMatchesItself) {
  for (const Route& route : routes()) {
    std::string path(route.path);
    for (std::size_t at = path.find(':'); at != std::string::npos; at = path.find(':', at)) path.replace(at, path.find('/', at) - at, "x1");
    const Match found = match(route.method, path);
    ASSERT_NE(found.route, nullptr) << path;
    EXPECT_EQ(found.route->path, route.path);
    EXPECT_EQ(found.route->method, route.method);
  }
}

TEST(Matching, HeadIsGet) {
  EXPECT_EQ(matched("HEAD", "/sboms"), "/sboms");
  EXPECT_EQ(matched("HEAD", "/tokens"), "405 POST");
}

TEST(Matching, WrongMethodNamesTheRightOnes) {
  EXPECT_EQ(matched("PUT", "/sboms"), "405 POST, GET, HEAD");
  EXPECT_EQ(matched("GET", "/jobs/1/cancel"), "405 POST");
  EXPECT_EQ(matched("POST", "/tokens/1"), "405 DELETE");
  EXPECT_EQ(matched("get", "/sboms"), "405 POST, GET, HEAD");  // methods are case-sensitive
}

TEST(Matching, NoGuessing) {
  for (const char* path : {"/sboms/", "//sboms", "/sboms//components", "/sboms/1/components/", "/SBOMS", "/sboms/1/2", "sboms/1/2/3", "/.well-known", "/evidence/a/export/"})
    EXPECT_EQ(matched("GET", path), "404") << path;
}

TEST(Problems, EveryErrorHasOne) {
  const TraceId trace = TraceId::generate();
  std::set<std::string> seen;
  for (const auto& info : contracts::kErrors) {
    const http::Response response = problem(Error(info.code, "something happened").with("field", "name").with("line", "7").with("part", "postgresql"), trace);
    EXPECT_EQ(response.status, info.http_status);
    EXPECT_EQ(response.content_type, "application/problem+json");
    const auto body = json::parse(response.body);
    ASSERT_TRUE(body.has_value()) << response.body;
    EXPECT_EQ(body->str("type"), "urn:stella:error:" + std::string(info.wire));
    EXPECT_EQ(body->str("code"), info.wire);
    EXPECT_EQ(body->str("title"), info.title);
    EXPECT_EQ(body->str("remedy"), info.remedy);
    EXPECT_EQ(body->str("detail"), "something happened");
    EXPECT_EQ(body->integer("status"), info.http_status);
    EXPECT_EQ(body->str("trace_id"), trace.hex());
    EXPECT_EQ(body->str("part"), "postgresql");
    // Where it happened is told to who can mend it; a fault of ours says no more than that.
    ASSERT_EQ(body->items("errors").size(), info.http_status < 500 ? 1u : 0u) << response.body;
    if (info.http_status < 500) {
      EXPECT_EQ(body->items("errors")[0].integer("line"), 7);
      EXPECT_EQ(body->items("errors")[0].str("field"), "name");
    }
    const auto has = [&](std::string_view name) { return std::any_of(response.headers.begin(), response.headers.end(), [&](const auto& h) { return h.first == name; }); };
    EXPECT_EQ(has("retry-after"), info.retry || info.http_status == 503) << info.wire;
    EXPECT_EQ(has("www-authenticate"), info.http_status == 401) << info.wire;
    seen.insert(std::string(info.wire));
  }
  EXPECT_TRUE(seen.contains("unavailable") && seen.contains("internal") && seen.size() >= 20u);
}

TEST(Problems, OurInsidesStayInside) {
  const http::Response response = problem(Error(contracts::errors::kConflict, "already there")
                                              .with("sqlstate", "23505").with("constraint", "a_pkey").with("table", "a").with("statement", "INSERT INTO a").with("server", "duplicate key"),
                                          TraceId::generate());
  for (const char* word : {"23505", "a_pkey", "INSERT", "duplicate", "errors"}) EXPECT_EQ(response.body.find(word), std::string::npos) << response.body;
}

TEST(Problems, TextStaysText) {
  const http::Response response = problem(Error(base_errors::kMalformed, "malformed").with("line", "7a").with("expected", "a \"b\"\n"), TraceId::generate());
  const auto body = json::parse(response.body);
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(body->items("errors")[0].str("line"), "7a");
  EXPECT_EQ(body->items("errors")[0].str("expected"), "a \"b\"\n");
}

TEST(Cursors, ComeBackAsTheyWere) {
  for (const std::string id : {"01a210e9-bd7c-7045-8b1c-596b602f2886", "osv:GHSA-1:2", "with|bar", ""})
    for (const std::int64_t micros : {std::int64_t{0}, std::int64_t{1795580083578757}, INT64_MAX}) {
      const auto cursor = parse_cursor(make_cursor(Timestamp::from_micros(micros), id));
      ASSERT_TRUE(cursor.has_value() && cursor->has_value());
      EXPECT_EQ((*cursor)->ts.micros(), micros);
      EXPECT_EQ((*cursor)->id, id);
    }
  EXPECT_FALSE(parse_cursor("")->has_value());
}

TEST(Cursors, AnythingElseIsRefusedByName) {
  const auto encoded = [](std::string_view text) { return base64url_encode(text); };
  for (const std::string& text : {std::string("zz"), std::string("%%%"), encoded("no bar"), encoded("|id"), encoded("12x|id"), encoded("99999999999999999999|id"), encoded(std::string("1|a\0b", 5)),
                                  encoded("1|\xff"), encoded(" 1|id"), std::string(513, 'A')}) {
    const auto cursor = parse_cursor(text);
    ASSERT_FALSE(cursor.has_value()) << text;
    EXPECT_EQ(cursor.error().code(), base_errors::kInvalid);
    EXPECT_EQ(cursor.error().field("field"), "cursor");
  }
}

}  // namespace
}  // namespace stella::web
