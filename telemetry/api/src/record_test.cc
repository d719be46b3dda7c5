// Binary records: what is built is read back; what is broken is refused.
#include "stella/telemetry/record.h"

#include <gtest/gtest.h>

#include <map>

#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

RecordBuilder sample() {
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = 1'000;
  b.head.end_ns = 2'000;
  b.tenant = "acme";
  b.route = "/sboms/:id";
  b.message = "api./sboms/:id";
  b.add(f::operation("read"));
  b.add(f::count(42));
  b.add(f::error(Error(contracts::errors::kMalformed, "not an SBOM").with("line", 7)));
  b.link({TraceId::generate(), SpanId::generate(), 1});
  b.event(1'500, "retry", {f::attempt(2)});
  b.event(1'600, "done", {});
  return b;
}

TEST(Record, IsReadAsItWasBuilt) {
  const std::string bytes = sample().build() + "the next one";
  const auto view = RecordView::parse(bytes);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->bytes().size() % 8, 0u);
  EXPECT_EQ(view->tenant(), "acme");
  EXPECT_EQ(view->actor(), "");
  EXPECT_EQ(view->name(), "api./sboms/:id");
  std::map<std::string, std::string> fields;
  view->each_field([&](const FieldView& field) {
    if (const auto error = error_view(field)) {
      std::string_view rest = error->rest, name, value;
      ASSERT_TRUE(next_error_field(rest, name, value));
      fields[std::string(field.key)] = std::string(error->code) + "/" + std::string(error->message) + "/" + std::string(name) + "=" + std::string(value);
      EXPECT_FALSE(next_error_field(rest, name, value));
    } else {
      fields[std::string(field.key)] = field.kind == Field::Kind::kInt ? std::to_string(field.integer()) : std::string(field.value);
    }
  });
  EXPECT_EQ(fields, (std::map<std::string, std::string>{{"operation", "read"}, {"count", "42"}, {"error_code", "malformed/not an SBOM/line=7"}}));
  int links = 0;
  view->each_link([&](auto, auto) { ++links; });
  EXPECT_EQ(links, 1);
  std::string events;
  view->each_event([&](std::int64_t ns, std::string_view name, auto&& each) {
    events += std::to_string(ns) + std::string(name);
    each([&](const FieldView& field) { events += "," + std::string(field.key) + "=" + std::to_string(field.integer()); });
    events += ";";
  });
  EXPECT_EQ(events, "1500retry,attempt=2;1600done;");
}

TEST(Record, EveryCutAndEveryFlippedByteIsRefusedOrHarmless) {
  const std::string bytes = sample().build();
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(RecordView::parse(std::string_view(bytes).substr(0, n))) << n;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string broken = bytes;
    broken[i] = static_cast<char>(broken[i] ^ 0xff);
    if (const auto view = RecordView::parse(broken)) {
      std::size_t total = 0;
      view->each_field([&](const FieldView& field) { total += field.value.size(); });
      view->each_event([&](std::int64_t, std::string_view name, auto&& each) { total += name.size(); each([&](const FieldView& field) { total += field.value.size(); }); });
      EXPECT_LE(total, broken.size());
    }
  }
}

}  // namespace
}  // namespace stella::telemetry
