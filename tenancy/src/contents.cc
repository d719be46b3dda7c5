// Object keys read backwards. The forward direction is in paths.cc, and the tests hold the two together.
#include "stella/tenancy/contents.h"

namespace stella::object_key {
namespace {

std::string_view take_segment(std::string_view& rest) {
  const std::string_view segment = rest.substr(0, rest.find('/'));
  rest.remove_prefix(segment.size() == rest.size() ? rest.size() : segment.size() + 1);
  return segment;
}

}  // namespace

std::optional<Contents> contents_of(std::string_view key) {
  if (take_segment(key) != "tenants") return std::nullopt;
  auto tenant = TenantId::parse(take_segment(key));
  if (!tenant) return std::nullopt;
  const std::string_view kind = take_segment(key);
  if (kind == "objects") {
    const auto digest = Sha256::parse(key);
    if (!digest) return std::nullopt;
    return Contents{std::move(*tenant), *digest};
  }
  if (kind != "evidence") return std::nullopt;
  take_segment(key);  // case
  take_segment(key);  // bundle
  if (key != "bundle.tgz") return std::nullopt;
  return Contents{std::move(*tenant)};
}

std::string wrapping_key_id(const TenantId& tenant) { return "tenant/" + tenant.str(); }

}  // namespace stella::object_key
