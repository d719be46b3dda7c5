// Requests to an S3 server in a trace: each a client span of its caller, also from the threads of put_many.
#include <gtest/gtest.h>

#include <mutex>

#include "s3_test_support.h"
#include "stella/base/json.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/sink.h"
#include "stella/telemetry/span.h"

namespace stella::objects {
namespace {

using telemetry::SpanRecord;
using testing::Fault;

class Spans final : public telemetry::Sink {
 public:
  void log(telemetry::LogRecord&&) noexcept override {}
  void span(SpanRecord&& span) noexcept override {
    const std::lock_guard lock(mutex_);
    spans_.push_back(std::move(span));
  }
  std::vector<SpanRecord> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(spans_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<SpanRecord> spans_;
};

TEST(S3Trace, EachRequestIsASpanOfItsCaller) {
  std::string why;
  const std::string program = testing::versitygw(why);
  if (program.empty()) GTEST_SKIP() << "skipped: no S3 server could be built: " << why;
  testing::S3Server server(program, {});
  server.make_bucket("traced", true);
  // One creation is answered by 503 once.
  std::atomic<bool> busy{true};
  testing::FaultProxy proxy(server.port(), [&](std::string_view line, std::string_view) {
    return line.starts_with("PUT /traced/k/0 ") && busy.exchange(false) ? Fault::kSlowDown : Fault::kNone;
  });
  const auto spans = std::make_shared<Spans>();
  const auto before = telemetry::install_sink(spans);
  telemetry::set_sampling_rate(1);

  auto how = server.options("traced");
  how.endpoint = proxy.endpoint();
  const auto store = std::move(open_s3_store(how).value());
  ASSERT_TRUE(store->put("outside", "x")) << "and no span";
  std::vector<std::string> keys;
  for (int i = 0; i < 12; ++i) keys.push_back("k/" + std::to_string(i));
  std::vector<std::pair<std::string, std::string_view>> many;
  for (const auto& key : keys) many.emplace_back(key, "x");
  telemetry::Context caller;
  {
    const telemetry::Span span("caller");
    caller = telemetry::Context::current();
    ASSERT_TRUE(store->put_many(many));
    EXPECT_EQ(store->get("absent", 1).error().code(), base_errors::kNotFound);
  }
  int puts = 0, twice = 0, absent = 0;
  for (const SpanRecord& span : spans->take()) {
    if (span.name != "objects.request") continue;
    const auto attributes = json::parse(span.attributes).value();
    EXPECT_EQ(span.trace_id, caller.trace_id.hex());
    EXPECT_EQ(span.parent_span_id, caller.span_id.hex());
    EXPECT_EQ(attributes.str("url_host"), proxy.endpoint().substr(7));
    puts += attributes.str("operation") == "PUT" && attributes.integer("http.response.status_code") == 200 ? 1 : 0;
    twice += attributes.integer("attempt") == 2 ? 1 : 0;
    absent += attributes.integer("http.response.status_code") == 404 ? 1 : 0;
  }
  EXPECT_EQ(puts, 12);
  EXPECT_EQ(twice, 1);
  EXPECT_EQ(absent, 1);
  telemetry::install_sink(before);
  telemetry::set_sampling({});
}

}  // namespace
}  // namespace stella::objects
