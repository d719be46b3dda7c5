// Listing versions, reading and setting locks, removing.
#include "s3_versions.h"

#include "driver.h"

namespace stella::objects {
namespace {

constexpr int kPages = 1000;  // of a thousand versions each: more is a server that does not end

bool has_no_lock(const S3Reply& reply) {
  return reply.code == "NoSuchObjectLockConfiguration" || reply.code == "ObjectLockConfigurationNotFoundError" || reply.code == "InvalidRequest" || reply.code == "NotImplemented" || reply.status == 501;
}

std::string_view mode_name(LockMode mode) { return mode == LockMode::kCompliance ? "COMPLIANCE" : "GOVERNANCE"; }

S3Call on_version(std::string method, const std::string& key, const std::string& version) {
  S3Call call;
  call.method = std::move(method);
  call.key = key;
  if (!version.empty()) call.query.emplace_back("versionId", version);
  return call;
}

Result<void> read_retention(S3Client& client, const std::string& key, const std::string& version, ObjectLock& lock) {
  auto call = on_version("GET", key, version);
  call.query.emplace_back("retention", "");
  const auto reply = STELLA_TRY(client.call(call));
  if (has_no_lock(reply)) return {};
  if (!reply.ok()) return client.failure(reply, key);
  const auto document = STELLA_TRY(parse_xml(reply.body));
  const auto mode = document.str("Mode");
  if (mode.empty()) return {};
  if (mode != "COMPLIANCE" && mode != "GOVERNANCE") return Error(base_errors::kMalformed, "the object store names an unknown lock").with("path", key);
  auto until = Timestamp::parse(document.str("RetainUntilDate"));
  if (!until) return std::move(until.error());
  lock.mode = mode == "COMPLIANCE" ? LockMode::kCompliance : LockMode::kGovernance;
  lock.retain_until = *until;
  return {};
}

Result<void> read_hold(S3Client& client, const std::string& key, const std::string& version, ObjectLock& lock) {
  auto call = on_version("GET", key, version);
  call.query.emplace_back("legal-hold", "");
  const auto reply = STELLA_TRY(client.call(call));
  if (has_no_lock(reply)) return {};
  if (!reply.ok()) return client.failure(reply, key);
  lock.legal_hold = STELLA_TRY(parse_xml(reply.body)).str("Status") == "ON";
  return {};
}

// Takes the versions of one page; true where the key's own are all there.
bool take_page(const XmlNode& page, const std::string& key, std::vector<S3Version>& out) {
  for (const auto& node : page.children) {
    if (node.name != "Version" && node.name != "DeleteMarker") continue;
    if (node.str("Key") == key) out.push_back({std::string(node.str("VersionId")), node.name == "DeleteMarker"});
  }
  return page.str("IsTruncated") != "true" || page.str("NextKeyMarker") > key;
}

}  // namespace

Result<std::vector<S3Version>> versions_of(S3Client& client, const std::string& key) {
  std::vector<S3Version> out;
  S3Call call;
  call.query = {{"versions", ""}, {"prefix", key}};
  for (int page = 0; page < kPages; ++page) {
    const auto reply = STELLA_TRY(client.call(call));
    if (!reply.ok()) return client.failure(reply, key);
    const auto document = STELLA_TRY(parse_xml(reply.body));
    if (take_page(document, key, out)) return out;
    call.query = {{"versions", ""}, {"prefix", key}, {"key-marker", std::string(document.str("NextKeyMarker"))}, {"version-id-marker", std::string(document.str("NextVersionIdMarker"))}};
  }
  return Error(base_errors::kLimit, "an object has too many versions").with("path", key);
}

Result<ObjectLock> lock_of(S3Client& client, const std::string& key, const std::string& version) {
  ObjectLock lock;
  STELLA_TRY_VOID(read_retention(client, key, version, lock));
  STELLA_TRY_VOID(read_hold(client, key, version, lock));
  return lock;
}

Result<ObjectLock> lock_of_all(S3Client& client, const std::string& key) {
  ObjectLock lock;
  bool any = false;
  for (const auto& version : STELLA_TRY(versions_of(client, key))) {
    if (version.marker) continue;
    any = true;
    lock = stronger(lock, STELLA_TRY(lock_of(client, key, version.id)));
  }
  if (!any) return not_found(key);
  return lock;
}

sigv4::Pairs lock_headers(const ObjectLock& lock) {
  sigv4::Pairs out;
  if (lock.mode != LockMode::kNone) {
    out.emplace_back("x-amz-object-lock-mode", mode_name(lock.mode));
    out.emplace_back("x-amz-object-lock-retain-until-date", lock.retain_until.rfc3339_seconds());
  }
  if (lock.legal_hold) out.emplace_back("x-amz-object-lock-legal-hold", "ON");
  return out;
}

Result<S3Reply> put_retention(S3Client& client, const std::string& key, const std::string& version, const ObjectLock& lock, bool bypass) {
  const std::string body = "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>" + std::string(mode_name(lock.mode)) + "</Mode><RetainUntilDate>" +
                           lock.retain_until.rfc3339_seconds() + "</RetainUntilDate></Retention>";
  auto call = on_version("PUT", key, version);
  call.query.emplace_back("retention", "");
  call.body = body;
  call.checksum = true;
  if (bypass) call.headers.emplace_back("x-amz-bypass-governance-retention", "true");
  return client.call(call);
}

Result<S3Reply> put_hold(S3Client& client, const std::string& key, const std::string& version, bool on) {
  const std::string body = std::string("<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>") + (on ? "ON" : "OFF") + "</Status></LegalHold>";
  auto call = on_version("PUT", key, version);
  call.query.emplace_back("legal-hold", "");
  call.body = body;
  call.checksum = true;
  return client.call(call);
}

Result<S3Reply> delete_version(S3Client& client, const std::string& key, const std::string& version, bool bypass) {
  auto call = on_version("DELETE", key, version);
  if (bypass) call.headers.emplace_back("x-amz-bypass-governance-retention", "true");
  return client.call(call);
}

Result<void> raise_lock(S3Client& client, const std::string& key, const ObjectLock& lock) {
  bool any = false;
  for (const auto& version : STELLA_TRY(versions_of(client, key))) {
    if (version.marker) continue;
    any = true;
    const auto now = STELLA_TRY(lock_of(client, key, version.id));
    const auto want = stronger(now, lock);
    if (want.mode != now.mode || want.retain_until != now.retain_until) {
      auto reply = STELLA_TRY(put_retention(client, key, version.id, want));
      // From governance to compliance: some stores ask for the permission to bypass governance, though the lock becomes stronger.
      if (!reply.ok() && now.mode == LockMode::kGovernance && want.mode != now.mode) reply = STELLA_TRY(put_retention(client, key, version.id, want, true));
      if (!reply.ok()) return client.failure(reply, key);
    }
    if (want.legal_hold != now.legal_hold) {
      const auto reply = STELLA_TRY(put_hold(client, key, version.id, true));
      if (!reply.ok()) return client.failure(reply, key);
    }
  }
  if (!any) return not_found(key);
  return {};
}

Result<void> set_hold(S3Client& client, const std::string& key, bool on) {
  bool any = false;
  for (const auto& version : STELLA_TRY(versions_of(client, key))) {
    if (version.marker) continue;
    any = true;
    const auto reply = STELLA_TRY(put_hold(client, key, version.id, on));
    if (!reply.ok()) return client.failure(reply, key);
  }
  if (!any) return not_found(key);
  return {};
}

Result<void> remove_all(S3Client& client, const std::string& key) {
  const auto versions = STELLA_TRY(versions_of(client, key));
  if (versions.empty()) return not_found(key);
  ObjectLock lock;
  for (const auto& version : versions) {
    if (!version.marker) lock = stronger(lock, STELLA_TRY(lock_of(client, key, version.id)));
  }
  if (lock.holds(Timestamp::now())) return locked(key, lock);
  // Markers last: whoever is interrupted leaves the object hidden or whole, and a repetition finishes it.
  for (const bool markers : {false, true}) {
    for (const auto& version : versions) {
      if (version.marker != markers) continue;
      const auto reply = STELLA_TRY(delete_version(client, key, version.id));
      if (!reply.ok() && reply.status != 404) return client.failure(reply, key);
    }
  }
  return {};
}

}  // namespace stella::objects
