// Object keys and bus subjects. The parts are validated again: a wrong path must not exist even where an edge forgot its check.
#include "stella/tenancy/paths.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "stella/tenancy/scope.h"

namespace stella {
namespace {

// A broken precondition is a bug of ours. No message carries the text: it may be anything.
void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "tenancy: %s is not acceptable in a path\n", what);
  std::abort();
}

bool all_of(std::string_view text, std::string_view allowed) { return text.find_first_not_of(allowed) == std::string_view::npos; }

constexpr std::string_view kLower = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-";
constexpr std::string_view kFile = "abcdefghijklmnopqrstuvwxyz0123456789._-";
constexpr std::string_view kKind = "abcdefghijklmnopqrstuvwxyz._";

const std::string& checked(const TenantId& tenant) {
  require(TenantIdTag::valid(tenant.str()), "tenant id");
  return tenant.str();
}

std::string tile(std::string_view path) {
  require(path.starts_with("tile/") && path.size() <= 100 && all_of(path, "0123456789x/tile") && path.find("//") == path.npos && path.back() != '/', "tile path");
  return std::string(path);
}

// One token of a subject: dots would be further tokens.
std::string token(std::string_view kind) {
  require(!kind.empty() && kind.size() <= 64 && all_of(kind, kKind), "kind");
  std::string text(kind);
  std::replace(text.begin(), text.end(), '.', '_');
  return text;
}

}  // namespace

namespace object_key {

std::string object(const TenantId& tenant, const Sha256& digest) {
  if (checked(tenant) == kGlobalTenant) return "global/kb/objects/" + digest.hex();
  return "tenants/" + tenant.str() + "/objects/" + digest.hex();
}

std::string evidence(const TenantId& tenant, const CaseId& case_id, const BundleId& bundle, std::string_view file) {
  require(checked(tenant) != kGlobalTenant, "tenant global");
  require(CaseIdTag::valid(case_id.str()), "case id");
  require(!file.empty() && file.size() <= 100 && kLower.find(file.front()) != kLower.npos && all_of(file, kFile) &&
              file.find("..") == file.npos,
          "file name");
  return "tenants/" + tenant.str() + "/evidence/" + case_id.str() + "/" + bundle.str() + "/" + std::string(file);
}

std::string log_tile(const TenantId& tenant, std::string_view path) {
  require(checked(tenant) != kGlobalTenant, "tenant global");
  return "tenants/" + tenant.str() + "/log/" + tile(path);
}

std::string deployment_tile(std::string_view path) { return "platform/log/" + tile(path); }

std::string deployment_checkpoint(std::uint64_t size) { return "platform/log/checkpoints/" + std::to_string(size); }

std::string deployment_cosigned(std::uint64_t size) { return "platform/log/cosigned/" + std::to_string(size); }

std::string checkpoint(const TenantId& tenant, std::uint64_t size) {
  require(checked(tenant) != kGlobalTenant, "tenant global");
  return "tenants/" + tenant.str() + "/log/checkpoints/" + std::to_string(size);
}

std::string attestation(const TenantId& tenant, std::string_view subject_id, const Sha256& statement) {
  const std::string root = checked(tenant) == kGlobalTenant ? "global/kb" : "tenants/" + tenant.str();
  require(!subject_id.empty() && subject_id.size() <= 128 && subject_id.front() != '-' && all_of(subject_id, kName), "subject id");
  return root + "/attestations/" + std::string(subject_id) + "/" + statement.hex() + ".json";
}

}  // namespace object_key

namespace subject {

std::string timeline(const TenantId& tenant, std::string_view kind) { return "stella." + checked(tenant) + ".timeline." + token(kind); }

std::string kb(std::string_view kind) { return "stella.global.kb." + token(kind); }

std::string job(std::string_view kind, const TenantId& tenant) { return "stellajobs." + token(kind) + "." + checked(tenant); }

std::string result(std::string_view what, const TenantId& tenant) {
  require(what == "started" || what == "heartbeat" || what == "result", "kind of result");
  return "stellaresults." + std::string(what) + "." + checked(tenant);
}

std::string wake(int shard) {
  require(shard >= 0 && shard < 65536, "shard");
  return "stellawake." + std::to_string(shard);
}

}  // namespace subject
}  // namespace stella
