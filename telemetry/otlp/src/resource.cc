// The outer layers of a request (resource.h).
#include "resource.h"

#include <algorithm>
#include <protozero/pbf_writer.hpp>
#include <string>

#include "stella/telemetry/otlp_scrub.h"
#include "stella/telemetry/scrub.h"
#include "wire.h"

namespace stella::telemetry::otlp_detail {
namespace {

void attribute(protozero::pbf_writer& message, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  protozero::pbf_writer pair(message, 1);
  pair.add_string(1, key.data(), key.size());
  protozero::pbf_writer any(pair, 2);
  any.add_string(1, value.data(), value.size());
}

// A length-delimited field of `size` bytes with a tag of one byte.
std::size_t field_size(std::size_t size) { return 1 + wire::varint_size(size) + size; }
void begin_field(std::string& out, int field, std::size_t size) {
  char head[16];
  head[0] = wire::tag_bytes(field);
  out.append(head, static_cast<std::size_t>(wire::put_varint(head + 1, size) - head));
}
void text_field(std::string& out, int field, std::string_view text) {
  begin_field(out, field, text.size());
  out.append(text);
}
std::size_t name_size(const ScopeBytes& scope) { return field_size(scope.name.size()) + field_size(std::string_view(STELLA_VERSION).size()); }
std::size_t size_of(const ScopeBytes& scope) { return field_size(name_size(scope)) + scope.records.size() + field_size(kSchemaUrl.size()); }

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
  std::string attributes;
  {
    protozero::pbf_writer message(attributes);
    for (const auto& [key, value] : ours) attribute(message, key, value);
    for (const auto& [key, value] : extra)
      if (std::none_of(std::begin(ours), std::end(ours), [&](const auto& own) { return own.first == key; }))
        attribute(message, scrub(key), is_secret_key(key) ? mask("secret", value) : scrub(value));
  }
  // All sizes first: a writer that learns them afterwards moves the whole request to make room for each.
  std::size_t size = field_size(attributes.size()) + field_size(kSchemaUrl.size());
  for (const ScopeBytes& scope : scopes) size += field_size(size_of(scope));
  begin_field(out, 1, size);
  text_field(out, 1, attributes);
  for (const ScopeBytes& scope : scopes) {
    begin_field(out, 2, size_of(scope));
    begin_field(out, 1, name_size(scope));
    text_field(out, 1, scope.name);
    text_field(out, 2, STELLA_VERSION);
    out.append(scope.records);
    text_field(out, 3, kSchemaUrl);
  }
  text_field(out, 3, kSchemaUrl);
}

}  // namespace stella::telemetry::otlp_detail
