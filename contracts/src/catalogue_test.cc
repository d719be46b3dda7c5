// The generated catalogues agree with rank 0, with each other and with their own rules.
#include "stella/contracts/catalogue.h"

#include <gtest/gtest.h>

#include <set>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/contracts/metrics.h"
#include "stella/contracts/scopes.h"
#include "stella/contracts/settings.h"

namespace stella::contracts {
namespace {

TEST(Catalogue, BaseErrorsHaveTheSameNumbers) {
  EXPECT_EQ(errors::kInternal, base_errors::kInternal);
  EXPECT_EQ(errors::kMalformed, base_errors::kMalformed);
  EXPECT_EQ(errors::kLimit, base_errors::kLimit);
  EXPECT_EQ(errors::kIo, base_errors::kIo);
  EXPECT_EQ(errors::kInvalid, base_errors::kInvalid);
  EXPECT_EQ(errors::kNotFound, base_errors::kNotFound);
}

TEST(Catalogue, ErrorInfoIsTotal) {
  EXPECT_EQ(error_info(errors::kUnavailable).wire, "unavailable");
  EXPECT_EQ(error_info(errors::kUnavailable).http_status, 503);
  EXPECT_TRUE(error_info(errors::kUnavailable).retry);
  EXPECT_EQ(error_info(ErrorCode{60000}).wire, "internal");
  ASSERT_NE(find_error("conflict"), nullptr);
  EXPECT_EQ(find_error("conflict")->code, errors::kConflict);
  EXPECT_EQ(find_error("no_such_code"), nullptr);
}

TEST(Catalogue, EveryJobKindWritesKnownNames) {
  for (const JobKindRow& row : kJobKinds) {
    EXPECT_EQ(find_job_kind(row.kind), &row);
    EXPECT_FALSE(row.outputs.empty()) << row.kind;
    EXPECT_GT(row.wall_ms, row.cpu_ms / 2) << row.kind;
  }
  EXPECT_EQ(find_job_kind("sbom"), nullptr);
}

TEST(Catalogue, ScopesAreFoundByBothForms) {
  ASSERT_NE(find_scope("stella:sbom:read"), nullptr);
  EXPECT_EQ(find_scope("stella:sbom:read"), find_scope("sbom:read"));
  EXPECT_EQ(find_scope("stella:*:read"), nullptr);
  EXPECT_TRUE(find_scope(scopes::kKbWrite)->platform);
  EXPECT_FALSE(find_scope(scopes::kKbWrite)->tenant);
}

TEST(Catalogue, SettingEnvironmentNamesAreUnique) {
  std::set<std::string> names;
  for (const SettingRow& row : kSettings) {
    std::string name(row.name);
    std::replace(name.begin(), name.end(), '.', '_');
    EXPECT_TRUE(names.insert(name).second) << row.name;
  }
}

TEST(Catalogue, MetricConstantsPointAtTheirRows) {
  EXPECT_EQ(metrics::kBusRebuilt.spec->name, "stella_bus_rebuilt");
  const MetricSpec& duration = *metrics::kHttpRequestDurationSeconds.spec;
  EXPECT_EQ(metrics::kHttpRequestDurationSeconds.spec, &metric_specs()[1]);
  EXPECT_EQ(duration.type, MetricType::kHistogram);
  EXPECT_EQ(duration.labels.size(), 2u);
  EXPECT_EQ(duration.buckets.back(), 10.0);
}

json::Value job_started() {
  return json::Value::object({{"job_id", "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012"},
                              {"run_id", "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9013"},
                              {"job_kind", "sbom.compute"},
                              {"attempt", 1}});
}

std::string refused_field(const json::Value& details) {
  const auto checked = check_event_details(*find_event(events::kJobStarted), details);
  return checked ? "" : std::string(checked.error().field("field"));
}

TEST(EventDetails, AcceptsWhatTheCatalogueDeclares) {
  EXPECT_EQ(refused_field(job_started()), "");
  auto with_inputs = job_started();
  with_inputs.set("inputs", json::Value::array({json::Value::object({{"name", "sbom"}, {"sha256", std::string(64, 'a')}})}));
  EXPECT_EQ(refused_field(with_inputs), "");
}

TEST(EventDetails, NamesTheFieldThatDoesNotFit) {
  EXPECT_EQ(refused_field(job_started().set("surprise", 1)), "details.surprise");
  EXPECT_EQ(refused_field(job_started().set("attempt", "1")), "details.attempt");
  EXPECT_EQ(refused_field(job_started().set("job_id", "not an id")), "details.job_id");
  EXPECT_EQ(refused_field(job_started().set("inputs", json::Value::array({json::Value::object({{"name", "sbom"}})}))), "details.inputs");
  auto missing = job_started();
  missing.as_object().erase("run_id");
  EXPECT_EQ(refused_field(missing), "details.run_id");
  EXPECT_EQ(refused_field(json::Value("text")), "details");
}

TEST(EventDetails, ExternalKindsNeverCarryTheChainOfCustody) {
  for (const EventKind& kind : event_kinds()) {
    if (!kind.external) continue;
    EXPECT_FALSE(kind.kind.starts_with("evidence.") || kind.kind.starts_with("policy.") || kind.kind.starts_with("job.")) << kind.kind;
    EXPECT_NE(kind.kind, events::kAnnotationAdded) << "its own route looks at who and what";
  }
}

}  // namespace
}  // namespace stella::contracts
