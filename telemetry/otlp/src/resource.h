// The outer layers of a request: resource and scopes around records that are encoded already.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "stella/telemetry/otlp.h"

namespace stella::telemetry::otlp_detail {

inline constexpr std::string_view kPlatformTenant = "platform";
inline constexpr std::string_view kSchemaUrl = "https://opentelemetry.io/schemas/1.44.0";

struct ScopeBytes {
  std::string_view name;
  std::string_view records;  // repeated field 2, with tags and lengths
};
// Appends field 1 of an Export…ServiceRequest: ResourceSpans, ResourceLogs or ResourceMetrics, which are laid out alike.
void append_resource(std::string& out, const Resource& resource, ResourceAttributes extra, std::string_view tenant, std::span<const ScopeBytes> scopes);

}  // namespace stella::telemetry::otlp_detail
