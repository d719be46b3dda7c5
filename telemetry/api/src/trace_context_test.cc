// W3C Trace Context against the table of the public conformance tests, restated.
#include <gtest/gtest.h>

#include <random>
#include <sstream>

#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/sink.h"
#include "stella/telemetry/span.h"
#include "stella/testing/shared_data.h"

namespace stella::telemetry {
namespace {

using Header = std::pair<std::string_view, std::string_view>;

TEST(TraceParent, FormatsWhatItParses) {
  const std::string text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
  const auto parent = parse_traceparent(text);
  ASSERT_TRUE(parent);
  EXPECT_EQ(format_traceparent(*parent), text);
  EXPECT_EQ(parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff")->flags, 3);
  EXPECT_FALSE(parse_traceparent("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"));
  EXPECT_FALSE(parse_traceparent(""));
}

// The members of a state, in order.
std::vector<std::pair<std::string, std::string>> members_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string_view member = text.substr(at, end - at);
    const std::size_t equals = std::min(member.find('='), member.size() - 1);
    out.emplace_back(member.substr(0, equals), member.substr(equals + 1));
    at = end + 1;
  }
  return out;
}

// The state of a message with these values; "" where it is dropped.
std::string state_of(std::initializer_list<std::string_view> values) {
  TraceStateReader reader;
  std::array<char, TraceStateReader::kTextBytes> buffer;
  for (const std::string_view value : values) reader.add(value);
  return std::string(reader.text(buffer));
}

TEST(TraceState, SendsAtMost512CharactersAndNeverHalfAMember) {
  std::string value = "long=" + std::string(200, 'v');
  for (int i = 7; i >= 0; --i) value += ",k" + std::to_string(i) + "=" + std::string(60, 'v');
  const std::string text = state_of({value});
  EXPECT_LE(text.size(), 512u);
  EXPECT_EQ(text.find("long="), std::string::npos);  // the long one goes first
  EXPECT_EQ(state_of({text}), text);
  EXPECT_EQ(members_of(text).front().first, "k7");
  EXPECT_EQ(members_of(text).size(), 8u);
  // No long ones: from the right.
  std::string many;
  for (int i = 0; i < 10; ++i) many += (i == 0 ? "" : ",") + std::string("m") + std::to_string(i) + "=" + std::string(60, 'v');
  EXPECT_EQ(state_of({many}), many.substr(0, 8 * 64 - 1));
  // Exactly as much as fits stays as it is.
  const std::string full = many.substr(0, 8 * 64 - 1) + "v";
  EXPECT_EQ(full.size(), 512u);
  EXPECT_EQ(state_of({full}), full);
}

// Whatever arrives: no crash, and what is accepted is written in the one form that is accepted again.
TEST(TraceContext, SurvivesMutatedHeaders) {
  std::mt19937 random(20261125);  // NOLINT: repeatable on purpose
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const std::string state = "foo=1,bar@x= 2,long=" + std::string(120, 'v') + ",t@v=3";
  const auto mutate = [&](std::string text) {
    for (std::size_t n = random() % 4; n > 0 && !text.empty(); --n) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, 1 + random() % 3); break;
        case 2: text.insert(at, 1, static_cast<char>(random() % 128)); break;
        default: text.insert(at, text.substr(0, random() % 40)); break;
      }
    }
    return text;
  };
  int accepted = 0;
  for (int round = 0; round < 50'000; ++round) {
    const std::string p = mutate(parent), s = mutate(state);
    const Header headers[] = {{"traceparent", p}, {"tracestate", s}};
    const Extractor caller(headers);
    const auto remote = caller.remote();
    if (!remote) continue;
    ++accepted;
    const std::string text = format_traceparent(remote->parent);
    const auto again = parse_traceparent(text);
    ASSERT_TRUE(again) << p;
    ASSERT_EQ(again->trace_id, remote->parent.trace_id);
    ASSERT_EQ(text.size(), 55u);
    ASSERT_EQ(state_of({remote->tracestate}), remote->tracestate) << s;
  }
  EXPECT_GT(accepted, 10'000);
}

// One row of the table: incoming headers and what the outgoing request must look like.
class Cases : public ::testing::Test {
 protected:
  static std::vector<std::map<std::string, std::string>> rows(const std::string& path) {
    std::vector<std::map<std::string, std::string>> out;
    std::istringstream lines(*read_file(path, 1 << 20));
    std::vector<std::string> names;
    for (std::string line; std::getline(lines, line);) {
      std::vector<std::string> cells;
      std::istringstream cell_stream(line + "\t");
      for (std::string cell; std::getline(cell_stream, cell, '\t');) cells.push_back(cell);
      if (names.empty()) {
        names = cells;
        continue;
      }
      auto& row = out.emplace_back();
      for (std::size_t i = 0; i < names.size() && i < cells.size(); ++i) row[names[i]] = cells[i];
    }
    return out;
  }
};

TEST_F(Cases, EveryRowOfThePublicSuite) {
  const auto table = rows(STELLA_SHARED_OR_SKIP("vectors/trace-context/cases.tsv"));
  ASSERT_EQ(table.size(), 83u);
  class Quiet final : public Sink {
    void log(LogRecord&&) noexcept override {}
    void span(SpanRecord&&) noexcept override {}
  };
  const auto previous = install_sink(std::make_shared<Quiet>());
  for (auto row : table) {
    SCOPED_TRACE(row["id"]);
    const json::Value headers_json = *json::parse(row["headers"]);
    std::vector<Header> headers;
    for (const json::Value& pair : headers_json.as_array()) {
      headers.emplace_back(pair.as_array()[0].as_string(), pair.as_array()[1].as_string());
    }
    const Extractor caller(headers);
    const auto remote = caller.remote();
    ContextScope scope(remote ? Context::continue_from(*remote) : Context());
    Span span("unit", SpanKind::kServer);
    // What we would send on.
    const auto out = parse_traceparent(Context::current().traceparent());
    ASSERT_TRUE(out);
    EXPECT_EQ(out->trace_id, Context::current().trace_id);
    if (row["trace"] == "same") {
      EXPECT_EQ(out->trace_id.hex(), row["same_trace_id"]);
      ASSERT_TRUE(remote);
      EXPECT_NE(out->span_id, remote->parent.span_id);
    }
    if (row["trace"] == "new") {
      EXPECT_FALSE(remote);
    }
    const json::Value forbidden = *json::parse(row["forbidden_trace_ids"]);
    for (const json::Value& id : forbidden.as_array()) EXPECT_NE(out->trace_id.hex(), id.as_string());

    const std::string_view text = Context::current().tracestate;
    const auto state = members_of(text);
    std::map<std::string, std::string> members(state.begin(), state.end());
    std::vector<std::string> order;
    for (const auto& m : state) order.push_back(m.first);
    const json::Value has = *json::parse(row["tracestate_has"]);
    for (const auto& [key, value] : has.as_object()) EXPECT_EQ(members[key], value.as_string()) << key;
    const json::Value lacks = *json::parse(row["tracestate_lacks"]);
    for (const json::Value& key : lacks.as_array()) EXPECT_FALSE(members.contains(key.as_string())) << key.as_string();
    std::vector<std::string> expected_order;
    const json::Value order_json = *json::parse(row["tracestate_order"]);
    for (const json::Value& key : order_json.as_array()) expected_order.push_back(key.as_string());
    if (!expected_order.empty()) {
      EXPECT_EQ(order, expected_order);
    }
    if (!row["tracestate_count"].empty()) {
      EXPECT_EQ(state.size(), std::stoul(row["tracestate_count"]));
    }
    const json::Value any_of = *json::parse(row["tracestate_any_of"]);
    if (!any_of.as_array().empty()) {
      bool any = false;
      for (const json::Value& one : any_of.as_array()) any = any || text.find(one.as_string()) != text.npos;
      EXPECT_TRUE(any) << text;
    }
    if (!row["flags"].empty()) {
      const int mask = std::stoi(row["flags"].substr(1, 2), nullptr, 16), want = std::stoi(row["flags"].substr(4, 2), nullptr, 16);
      EXPECT_EQ(out->flags & mask, want);
    }
  }
  install_sink(previous);
}

}  // namespace
}  // namespace stella::telemetry
