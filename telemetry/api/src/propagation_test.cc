// What comes in with a message and goes out with a call: digits, names, the rule of whose trace goes on, baggage.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "hex_block.h"
#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/sink.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

// The extractor keeps views: the headers must live as long as it.
void feed(Extractor& to, const Headers& headers) {
  for (const auto& [name, value] : headers) to.header(name, value);
}
void feed(Extractor& to, Headers&& headers) = delete;

Headers injected(const Context& context) {
  Headers out;
  inject(context, [&out](std::string_view name, std::string_view value) { out.emplace_back(name, value); });
  return out;
}

class Kept final : public Sink {
 public:
  void log(LogRecord&&) noexcept override {}
  void span(SpanRecord&& record) noexcept override { spans.push_back(std::move(record)); }
  std::vector<SpanRecord> spans;
};

// Keys are the process's: whatever a test allowed is gone after it.
class Propagation : public ::testing::Test {
 protected:
  void allow(std::vector<std::string> keys) { ASSERT_TRUE(allow_baggage(keys).has_value()); }
  void TearDown() override {
    allow({});
    set_propagators(true, true);
  }
};

// OTEL_PROPAGATORS: what is switched off neither comes in nor goes out.
TEST_F(Propagation, OnlyTheFormatsThatAreOn) {
  allow({"team"});
  const Headers headers{{"traceparent", std::string(kParent)}, {"tracestate", "a=b"}, {"baggage", "team=blue"}};
  for (const bool traces : {true, false}) {
    for (const bool baggage : {true, false}) {
      SCOPED_TRACE(std::to_string(traces) + std::to_string(baggage));
      set_propagators(true, true);
      Extractor whole;
      feed(whole, headers);
      const Context context = admit(whole, true).context;
      set_propagators(traces, baggage);
      Extractor caller;
      feed(caller, headers);
      EXPECT_EQ(caller.remote().has_value(), traces);
      EXPECT_EQ(caller.allowed_baggage(), baggage ? "team=blue" : "");
      EXPECT_EQ(admit(caller, false).linked.has_value(), traces);
      Headers wanted;
      if (traces) wanted = {headers[0], headers[1]};
      if (baggage) wanted.push_back(headers[2]);
      EXPECT_EQ(injected(context), wanted);
    }
  }
}

// The compiler's own digits against the plain loop and against base/encoding.
TEST(HexBlock, EveryByteAtEveryPlace) {
  std::mt19937_64 random(7);  // NOLINT: repeatable on purpose
  for (int place = 0; place < 48; ++place) {
    for (int c = 0; c < 256; ++c) {
      std::string text;
      for (int i = 0; i < 48; ++i) text += "0123456789abcdef"[random() % 16];
      text[static_cast<std::size_t>(place)] = static_cast<char>(c);
      const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
      std::uint8_t trace[16], span[8], plain[24];
      ASSERT_EQ(detail::read_ids(text.data(), text.data() + 32, trace, span), digit) << place << ' ' << c;
      bool good = true;
      for (int part = 0; part < 3; ++part) good = detail::hex_to_8_scalar(text.data() + 16 * part, plain + 8 * part) && good;
      ASSERT_EQ(good, digit) << place << ' ' << c;
      if (!digit) continue;
      const std::string expected = *hex_decode(text);
      ASSERT_EQ(std::string(reinterpret_cast<char*>(trace), 16) + std::string(reinterpret_cast<char*>(span), 8), expected);
      ASSERT_EQ(std::string(reinterpret_cast<char*>(plain), 24), expected);
      char written[48], loop[48];
      detail::write_ids(trace, span, written, written + 32);
      for (int part = 0; part < 3; ++part) detail::hex_of_8_scalar(plain + 8 * part, loop + 16 * part);
      ASSERT_EQ(std::string(written, 48), text);
      ASSERT_EQ(std::string(loop, 48), text);
    }
  }
  for (int b = 0; b < 256; ++b) {
    std::uint8_t bytes[16], span[8];
    std::fill(std::begin(bytes), std::end(bytes), static_cast<std::uint8_t>(b));
    std::fill(std::begin(span), std::end(span), static_cast<std::uint8_t>(255 - b));
    char text[48];
    detail::write_ids(bytes, span, text, text + 32);
    ASSERT_EQ(std::string(text, 48), hex_encode({reinterpret_cast<char*>(bytes), 16}) + hex_encode({reinterpret_cast<char*>(span), 8}));
  }
}

TEST_F(Propagation, NamesInAnyCaseAndNoOthers) {
  for (const char* name : {"traceparent", "TRACEPARENT", "TraceParent"}) {
    Extractor caller;
    caller.header(name, kParent);
    EXPECT_TRUE(caller.remote()) << name;
  }
  // Of the same length, and what becomes the name when the bit of lower case is set: nothing but letters may.
  std::string name = "traceparent";
  for (std::size_t at = 0; at < name.size(); ++at) {
    for (int c = 0; c < 256; ++c) {
      std::string other = name;
      other[at] = static_cast<char>(c);
      Extractor caller;
      caller.header(other, kParent);
      EXPECT_EQ(caller.remote().has_value(), c == name[at] || c == name[at] - 32) << other;
    }
  }
}

TEST_F(Propagation, WritesInPlaceWhatItFormats) {
  const TraceParent parent = *parse_traceparent(kParent);
  for (int flags = 0; flags < 256; ++flags) {
    std::array<char, kTraceparentBytes + 2> text;
    text.fill('#');
    TraceParent sent = parent;
    sent.flags = static_cast<std::uint8_t>(flags);
    write_traceparent(sent, std::span<char, kTraceparentBytes>(text.data() + 1, kTraceparentBytes));
    EXPECT_EQ(std::string(text.data() + 1, kTraceparentBytes), std::string(kParent.substr(0, 54)) + static_cast<char>('0' + (flags & 3)));
    EXPECT_EQ(text.front(), '#');
    EXPECT_EQ(text.back(), '#');
    EXPECT_EQ(format_traceparent(sent), std::string(text.data() + 1, kTraceparentBytes));
  }
}

TEST_F(Propagation, NothingGoesOutOutsideOfATrace) {
  EXPECT_TRUE(injected(Context()).empty());
  Context context = Context::continue_from(kParent, "vendor=1");
  EXPECT_EQ(injected(context), (Headers{{"traceparent", std::string(kParent)}, {"tracestate", "vendor=1"}}));
  context.baggage = "k=v";
  EXPECT_EQ(injected(context).back(), (std::pair<std::string, std::string>("baggage", "k=v")));
}

TEST_F(Propagation, AStoredStateIsReadAsStrictlyAsAHeader) {
  EXPECT_EQ(Context::continue_from(kParent, "a=1 , b=2").tracestate, "a=1,b=2");
  EXPECT_EQ(Context::continue_from(kParent, "no state").tracestate, "");
  EXPECT_TRUE(Context::continue_from("00-0-0-0", "a=1").trace_id.empty());
  EXPECT_EQ(Context::continue_from("00-0-0-0", "a=1").tracestate, "");
}

// --- the rule ---

TEST_F(Propagation, TheSameTenantsTraceGoesOn) {
  allow({"case"});
  const Headers headers{{"traceparent", std::string(kParent)}, {"tracestate", "vendor=1"}, {"baggage", "case=7,user=ann"}};
  Extractor caller;
  feed(caller, headers);
  const Admission admission = admit(caller, true);
  EXPECT_FALSE(admission.linked);
  EXPECT_EQ(admission.context.traceparent(), kParent);
  EXPECT_EQ(admission.context.tracestate, "vendor=1");
  EXPECT_EQ(admission.context.baggage, "case=7");
  EXPECT_TRUE(admission.context.remote);
}

TEST_F(Propagation, AStrangersTraceIsLinkedAndNothingElseOfItStays) {
  allow({"case"});
  const auto kept = std::make_shared<Kept>();
  const auto before = install_sink(kept);
  const Headers headers{{"traceparent", std::string(kParent.substr(0, 53)) + "00"}, {"tracestate", "ot=th:8"}, {"baggage", "case=7"}};
  Extractor caller;
  feed(caller, headers);
  Admission admission = admit(caller, false);
  ASSERT_TRUE(admission.linked);
  EXPECT_TRUE(admission.context.trace_id.empty());
  EXPECT_EQ(admission.context.tracestate, "");
  EXPECT_EQ(admission.context.baggage, "");
  {
    const ContextScope scope(std::move(admission.context));
    Span span("unit", SpanKind::kServer);
    admission.mark(span);
    // Its not being sampled is its own affair.
    EXPECT_EQ(Context::current().flags & TraceParent::kSampled, TraceParent::kSampled);
    EXPECT_NE(Context::current().trace_id, admission.linked->trace_id);
  }
  ManualSpan manual("unit", SpanKind::kServer, Context());
  admission.mark(manual);
  manual.end();
  install_sink(before);
  ASSERT_EQ(kept->spans.size(), 2u);
  for (const SpanRecord& span : kept->spans) {
    const json::Value links = *json::parse(span.links);
    ASSERT_EQ(links.as_array().size(), 1u);
    EXPECT_EQ(links.as_array()[0].str("trace_id"), admission.linked->trace_id.hex());
    EXPECT_EQ(links.as_array()[0].str("span_id"), admission.linked->span_id.hex());
    EXPECT_EQ(json::parse(span.attributes)->str("linked_trace_id"), admission.linked->trace_id.hex());
    EXPECT_EQ(span.parent_span_id, "");
  }
}

TEST_F(Propagation, WithoutAGoodTraceparentThereIsNothingToLink) {
  for (const Headers& headers : {Headers{}, Headers{{"tracestate", "a=1"}}, Headers{{"traceparent", "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
                                 Headers{{"traceparent", std::string(kParent)}, {"traceparent", std::string(kParent)}}}) {
    for (const bool same : {false, true}) {
      Extractor caller;
      feed(caller, headers);
      const Admission admission = admit(caller, same);
      EXPECT_FALSE(admission.linked);
      EXPECT_TRUE(admission.context.trace_id.empty());
      EXPECT_EQ(admission.context.tracestate, "");
    }
  }
}

TEST_F(Propagation, BaggageNeedsNoTrace) {
  allow({"case"});
  Extractor caller;
  const Headers headers{{"baggage", "case=7"}};
  feed(caller, headers);
  EXPECT_EQ(admit(caller, true).context.baggage, "case=7");
  EXPECT_EQ(admit(caller, false).context.baggage, "");
}

// --- the keys that are let through ---

std::string allowed(const std::vector<std::string>& values) {
  Extractor caller;
  for (const std::string& value : values) caller.header("Baggage", value);
  return caller.allowed_baggage();
}

TEST_F(Propagation, NothingIsLetThroughUnlessItWasAllowed) {
  EXPECT_EQ(allowed({"case=7,user=ann@example.com"}), "");
  allow({"case", "Wave"});
  EXPECT_EQ(allowed({"case=7,user=ann@example.com,wave=1,Wave=2"}), "case=7,Wave=2");  // keys are case-sensitive
  EXPECT_EQ(allowed({" case = 7 ; p1 = x ; p2 ,\t,broken"}), "case=7;p1=x;p2");
  EXPECT_EQ(allowed({"case=1", "other=2", "case=3"}), "case=1,case=3");  // the order of duplicates is kept
  EXPECT_EQ(allowed({"case=a b,case=%zz,case=%4,case=\"x\",case=a\\b,case=ok;bad key,case=ok;k=\"v\""}), "");
  EXPECT_EQ(allowed({"case=%20%41=b"}), "case=%20%41=b");
}

TEST_F(Propagation, KeysThatAreNoTokensAreRefusedAndChangeNothing) {
  allow({"case"});
  const std::vector<std::string> bad{"case", "a b"};
  const auto refused = allow_baggage(bad);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base_errors::kInvalid);
  EXPECT_EQ(refused.error().field("field"), "a b");
  EXPECT_FALSE(allow_baggage(std::vector<std::string>{""}).has_value());
  EXPECT_FALSE(allow_baggage(std::vector<std::string>(65, "k")).has_value());
  EXPECT_EQ(allowed({"case=7"}), "case=7");
}

TEST_F(Propagation, WhatIsSentOnKeepsTheLimits) {
  allow({"k"});
  std::string many;
  for (int i = 0; i < 100; ++i) many += (i == 0 ? "" : ",") + std::string("k=") + std::to_string(i);
  const std::string out = allowed({many});
  EXPECT_EQ(std::count(out.begin(), out.end(), ',') + 1, 64);
  EXPECT_TRUE(out.ends_with("k=63")) << out;
  // Others' members do not count.
  std::string strangers;
  for (int i = 0; i < 100; ++i) strangers += "x" + std::to_string(i) + "=1,";
  EXPECT_EQ(allowed({strangers + "k=1"}), "k=1");
  // A member that ends at the last byte is whole; one byte more and it is gone.
  const std::string full = "k=" + std::string(Baggage::kBytes - 2, 'v');
  EXPECT_EQ(allowed({full}), full);
  EXPECT_EQ(allowed({full + "v"}), "");
  EXPECT_EQ(allowed({full + ",k=1"}), full);
  EXPECT_EQ(allowed({full, "k=1"}), full);
  const std::string first = "k=" + std::string(Baggage::kBytes - 8, 'v');
  EXPECT_EQ(allowed({first, "k=123"}), first + ",k=123");
  EXPECT_EQ(allowed({first, "k=1234"}), first);
  EXPECT_EQ(allowed({"k=1", full + "v", "k=2"}), "k=1");
}

TEST_F(Propagation, KeysMayChangeWhileOthersRead) {
  allow({"a"});
  std::thread writer([this] {
    for (int i = 0; i < 200; ++i) allow({i % 2 == 0 ? "a" : "b"});
  });
  for (int i = 0; i < 2000; ++i) {
    const std::string out = allowed({"a=1,b=2"});
    EXPECT_TRUE(out == "a=1" || out == "b=2") << out;
  }
  writer.join();
}

// --- Baggage as a value ---

std::string parsed(std::initializer_list<std::string_view> values) { return Baggage::parse(std::span(values.begin(), values.size())).str(); }

// The examples of the recommendation.
TEST(Baggage, ReadsTheExamplesOfTheRecommendation) {
  const std::string_view example = "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue";
  const Baggage baggage = Baggage::parse(std::span(&example, 1));
  ASSERT_EQ(baggage.members().size(), 3u);
  EXPECT_EQ(baggage.find("key1")->value, "value1");
  EXPECT_EQ(baggage.find("key1")->properties, "property1;property2");
  EXPECT_EQ(baggage.find("key2")->value, "value2");
  EXPECT_EQ(baggage.find("key3")->properties, "propertyKey=propertyValue");
  EXPECT_EQ(baggage.str(), "key1=value1;property1;property2,key2=value2,key3=value3;propertyKey=propertyValue");
  const std::string_view two[] = {"userId =   alice", "serverNode = DF%2028, isProduction = false"};
  const Baggage split = Baggage::parse(two);
  EXPECT_EQ(split.find("userId")->value, "alice");
  EXPECT_EQ(split.find("serverNode")->value, "DF 28");
  EXPECT_EQ(split.str(), "userId=alice,serverNode=DF%2028,isProduction=false");
}

TEST(Baggage, LeavesMalformedMembersOutAndKeepsTheOthers) {
  const struct {
    std::string_view in, out;
  } table[] = {
      {"", ""},
      {",, ,", ""},
      {"a=1,b,c=3", "a=1,c=3"},
      {"=1,a=1", "a=1"},
      {"a=", "a="},  // an empty value is one
      {"a==b=c", "a==b=c"},
      {"a b=1,c=2", "c=2"},
      {"a=1 2,c=2", "c=2"},
      {"a=1\t,\tc\t=\t2", "a=1,c=2"},
      {"a=\"1\",c=2", "c=2"},
      {"a=1\\2,c=2", "c=2"},
      {"a=\x01,c=2", "c=2"},
      {"a=\xc3\xa9,c=2", "c=2"},  // UTF-8 must be encoded
      {"a=%,b=%1,c=%1g,d=%25", "d=%25"},
      {"a=%2C%3B%22%5C%20", "a=%2C%3B%22%5C%20"},
      {"a=%61%3d", "a=a="},  // what needs no escape gets none
      {"a=1;,c=2", "c=2"},
      {"a=1;p=%zz;q", "a=1;p=%zz;q"},  // properties are opaque
      {"a=1; p q,c=2", "c=2"},
      {"!#$%&'*+-.^_`|~=1", "!#$%&'*+-.^_`|~=1"},
      {"k(=1,k)=1,k/=1,k:=1,k@=1,k[=1,k{=1,ok=1", "ok=1"},
      {"a;p=1", ""},  // the equals sign belongs to the property
      {"a=1,a=2", "a=1,a=2"},
  };
  for (const auto& row : table) EXPECT_EQ(parsed({row.in}), row.out) << row.in;
  const std::string_view twice = "a=1,a=2";
  EXPECT_EQ(Baggage::parse(std::span(&twice, 1)).find("a")->value, "2");
}

// Unicode §3.9, the table of U+FFFD for ill-formed sequences.
TEST(Baggage, ReplacesWhatIsNotUtf8) {
  const auto value = [](std::string_view in) { return Baggage::parse(std::span(&in, 1)).find("k")->value; };
  const std::string fffd = "\xef\xbf\xbd";
  EXPECT_EQ(value("k=Am%C3%A9lie"), "Am\xc3\xa9lie");
  EXPECT_EQ(value("k=%C0%AF%E0%80%BF%F0%81%82A"), fffd + fffd + fffd + fffd + fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(value("k=%ED%A0%80%ED%BF%BF%ED%AFA"), fffd + fffd + fffd + fffd + fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(value("k=%F4%91%92%93%FFA%80%BFB"), fffd + fffd + fffd + fffd + fffd + "A" + fffd + fffd + "B");
  EXPECT_EQ(value("k=%E1%80%E2%F0%91%92%F1%BFA"), fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(value("k=%F0%9F%92%A9%E2%82"), "\xf0\x9f\x92\xa9" + fffd);
}

TEST(Baggage, SetsWithinTheLimitsOnly) {
  Baggage baggage;
  EXPECT_TRUE(baggage.set("node", "DF 28, \"left\";\\ 100%", " p1 ; p2 = x ").has_value());
  EXPECT_EQ(baggage.str(), "node=DF%2028%2C%20%22left%22%3B%5C%20100%25;p1;p2=x");
  const std::string text = baggage.str();
  const std::string_view view = text;
  EXPECT_EQ(Baggage::parse(std::span(&view, 1)).find("node")->value, "DF 28, \"left\";\\ 100%");
  EXPECT_TRUE(baggage.set("node", "1").has_value());
  EXPECT_EQ(baggage.str(), "node=1");
  for (const auto& refused : {baggage.set("a b", "1"), baggage.set("", "1"), baggage.set("k", "\xff"), baggage.set("k", "1", "no token"), baggage.set("k", std::string(Baggage::kBytes, 'v'))}) {
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), base_errors::kInvalid);
    EXPECT_EQ(refused.error().describe().find("vvvv"), std::string::npos);
  }
  EXPECT_EQ(baggage.str(), "node=1");
  for (std::size_t i = 1; i < Baggage::kMembers; ++i) ASSERT_TRUE(baggage.set("k" + std::to_string(i), "v").has_value());
  EXPECT_FALSE(baggage.set("one-too-many", "v").has_value());
  EXPECT_TRUE(baggage.set("node", "2").has_value());  // instead of the other
  baggage.remove("node");
  EXPECT_EQ(baggage.find("node"), nullptr);
  EXPECT_TRUE(baggage.set("last", std::string(Baggage::kBytes - baggage.str().size() - 6, 'v')).has_value());
  EXPECT_EQ(baggage.str().size(), Baggage::kBytes);
}

TEST(Baggage, ReadsAtMost64MembersAndWholeOnes) {
  std::string many;
  for (int i = 0; i < 70; ++i) many += "k" + std::to_string(i) + "=v,";
  const std::string_view view = many;
  EXPECT_EQ(Baggage::parse(std::span(&view, 1)).members().size(), Baggage::kMembers);
  const std::string large = "a=1,b=" + std::string(Baggage::kBytes, 'v') + ",c=3";
  const std::string_view large_view = large;
  const Baggage cut = Baggage::parse(std::span(&large_view, 1));
  EXPECT_EQ(cut.str(), "a=1");
}

}  // namespace
}  // namespace stella::telemetry
