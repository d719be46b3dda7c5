// The outer layers of a request (resource.h).
#include "resource.h"

#include <algorithm>
#include <protozero/pbf_writer.hpp>


namespace stella::telemetry::otlp_detail {
namespace {

void attribute(protozero::pbf_writer& message, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  protozero::pbf_writer pair(message, 1);
  pair.add_string(1, key.data(), key.size());
  protozero::pbf_writer any(pair, 2);
  any.add_string(1, value.data(), value.size());
}

}  // namespace

void append_resource(std::string& out, const Resource& resource, ResourceAttributes extra, std::string_view tenant, std::span<const ScopeBytes> scopes) {
  const std::pair<std::string_view, std::string_view> ours[] = {
      {"service.name", resource.service},
      {"service.version", resource.version},
      {"service.instance.id", resource.instance_id},
      {"deployment.environment.name", resource.env},
      {"cloud.region", resource.region},
      {"telemetry.sdk.name", "stella-telemetry"},
      {"telemetry.sdk.language", "cpp"},
      {"telemetry.sdk.version", STELLA_VERSION},
      {"tenant_id", tenant.empty() ? kPlatformTenant : tenant},
  };
  protozero::pbf_writer request(out);
  protozero::pbf_writer layer(request, 1);
  {
    protozero::pbf_writer attributes(layer, 1);
    for (const auto& [key, value] : ours) attribute(attributes, key, value);
    for (const auto& [key, value] : extra)
      if (std::none_of(std::begin(ours), std::end(ours), [&](const auto& own) { return own.first == key; })) attribute(attributes, key, value);
  }
  for (const ScopeBytes& scope : scopes) {
    protozero::pbf_writer records(layer, 2);
    {
      protozero::pbf_writer name(records, 1);
      name.add_string(1, scope.name.data(), scope.name.size());
      name.add_string(2, STELLA_VERSION);
    }
    out.append(scope.records);
    records.add_string(3, kSchemaUrl.data(), kSchemaUrl.size());
  }
  layer.add_string(3, kSchemaUrl.data(), kSchemaUrl.size());
}

}  // namespace stella::telemetry::otlp_detail
