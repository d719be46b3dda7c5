// Whose contents an object holds, read from its key: what is encrypted under the tenant's key where encryption at rest is on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "stella/base/ids.h"

namespace stella::object_key {

struct Contents {
  TenantId tenant;
  std::optional<Sha256> content{};  // of objects that are named by their digest
};

// Inputs, outputs, transcripts, documents (`tenants/<t>/objects/<sha256>`) and sealed bundles (`…/evidence/…/bundle.tgz`).
// nullopt for what proves and outlives the contents (seals, roots, attestations, the log: digests and our own ids), for public knowledge, and
// for keys that are not ours.
std::optional<Contents> contents_of(std::string_view key);

// The id of the key that wraps a tenant's data keys: "tenant/<id>".
std::string wrapping_key_id(const TenantId& tenant);

}  // namespace stella::object_key
