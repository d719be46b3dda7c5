// The trials, each with the store's answer in the transcript. Nothing is believed that was not tried: what counts at the end is whether the
// locked version is still there, with its bytes and its lock, and not what the store answered.
#include "s3_worm.h"

#include <cstdio>

#include "driver.h"
#include "s3_versions.h"
#include "stella/crypto/digest.h"

namespace stella::objects {
namespace {

constexpr std::string_view kPrefix = ".canary/worm/";
constexpr std::chrono::minutes kReadyCanaryAge{10};
constexpr std::chrono::minutes kLife{10};  // longer than clocks of two machines differ

std::string answer(const S3Reply& reply) { return std::to_string(reply.status) + (reply.code.empty() ? "" : " " + reply.code); }

class Trial {
 public:
  Trial(S3Client& client, LockMode mode, Transcript& transcript) : client_(client), mode_(mode), transcript_(transcript), key_(std::string(kPrefix) + Uuid::v7().str()), bytes_("canary " + key_) {}

  // True where the lock held against everything that it should hold against.
  Result<bool> run() {
    lock_ = {mode_, whole_seconds(Timestamp::now() + kLife), false};
    if (!STELLA_TRY(create())) return false;
    bool held = STELLA_TRY(refused("delete of the version", delete_version(client_, key_, version_)));
    held = STELLA_TRY(refused("retention shortened", shorten(false))) && held;
    held = STELLA_TRY(bypass()) && held;
    held = STELLA_TRY(overwrite()) && held;
    held = STELLA_TRY(marker()) && held;
    return STELLA_TRY(survived()) && held;
  }

 private:
  void line(std::string_view what, std::string_view result) { transcript_.line(std::string(to_string(mode_)) + ", " + std::string(what), result); }

  Result<bool> create() {
    S3Call call;
    call.method = "PUT";
    call.key = key_;
    call.headers = lock_headers(lock_);
    call.body = bytes_;
    call.checksum = true;
    const auto reply = STELLA_TRY(client_.call(call));
    version_ = reply.header("x-amz-version-id");
    line("locked canary " + key_, answer(reply) + (reply.ok() && version_.empty() ? ", no version: the bucket is not versioned" : ""));
    if (reply.status >= 500) return client_.failure(reply, "");
    return reply.ok() && !version_.empty();
  }

  Result<bool> refused(std::string_view what, Result<S3Reply> tried) {
    if (!tried) return std::move(tried.error());
    line(what, answer(*tried) + (tried->ok() ? ", NOT refused" : ", refused"));
    if (tried->status >= 500) return client_.failure(*tried, "");
    return !tried->ok();
  }

  Result<S3Reply> shorten(bool over) {
    const ObjectLock shorter{mode_, lock_.retain_until - std::chrono::minutes(5), false};
    return put_retention(client_, key_, version_, shorter, over);
  }

  // Compliance must hold against those who may bypass governance. Governance need not: whether we may is only told.
  Result<bool> bypass() {
    if (mode_ == LockMode::kGovernance) {
      line("bypass of governance", "not tried: an administrator of the store with that permission may");
      return true;
    }
    const bool shortened = !STELLA_TRY(refused("retention shortened with bypass", shorten(true)));
    const ObjectLock weaker{LockMode::kGovernance, lock_.retain_until, false};
    const bool weakened = !STELLA_TRY(refused("mode changed to governance with bypass", put_retention(client_, key_, version_, weaker, true)));
    const bool deleted = !STELLA_TRY(refused("delete of the version with bypass", delete_version(client_, key_, version_, true)));
    return !shortened && !weakened && !deleted;
  }

  // A new version is allowed; the locked one must stay beside it.
  Result<bool> overwrite() {
    S3Call call;
    call.method = "PUT";
    call.key = key_;
    call.body = "overwritten";
    call.checksum = true;
    const auto reply = STELLA_TRY(client_.call(call));
    const std::string_view other = reply.header("x-amz-version-id");
    const bool replaced = reply.ok() && (other.empty() || other == version_);
    line("overwrite", answer(reply) + (replaced ? ", the version itself was REPLACED" : reply.ok() ? ", as another version" : ", refused"));
    if (reply.ok() && !replaced) (void)delete_version(client_, key_, std::string(other));
    return !replaced;
  }

  // Hides the object and may do no more.
  Result<bool> marker() {
    const auto reply = STELLA_TRY(delete_version(client_, key_, ""));
    const std::string_view marker = reply.header("x-amz-version-id");
    line("delete without a version", answer(reply));
    if (reply.ok() && !marker.empty() && marker != version_) (void)delete_version(client_, key_, std::string(marker));
    return true;
  }

  Result<bool> survived() {
    S3Call call;
    call.key = key_;
    call.query = {{"versionId", version_}};
    const auto reply = STELLA_TRY(client_.call(call));
    if (reply.status >= 500) return client_.failure(reply, "");
    const bool there = reply.ok() && reply.body == bytes_;
    line("the locked version afterwards", answer(reply) + (there ? ", its bytes" : reply.ok() ? ", OTHER bytes" : ", GONE"));
    if (!there) return false;
    const auto now = STELLA_TRY(lock_of(client_, key_, version_));
    const bool same = now.mode == lock_.mode && now.retain_until >= lock_.retain_until;
    line("its lock afterwards", std::string(to_string(now.mode)) + " until " + now.retain_until.rfc3339_seconds() + (same ? "" : ", WEAKER than set"));
    return same;
  }

  S3Client& client_;
  const LockMode mode_;
  Transcript& transcript_;
  const std::string key_;
  const std::string bytes_;
  std::string version_;
  ObjectLock lock_;
};

// Whether a version without a lock can be deleted at all. Where it cannot, our key may not delete, and that it was refused proves no lock.
Result<bool> refusals_count(S3Client& client, Transcript& transcript) {
  S3Call call;
  call.method = "PUT";
  call.key = std::string(kPrefix) + "unlocked-" + Uuid::v7().str();
  call.body = "canary without a lock";
  call.checksum = true;
  const auto put = STELLA_TRY(client.call(call));
  if (!put.ok()) return client.failure(put, "");
  const std::string version(put.header("x-amz-version-id"));
  if (version.empty()) return true;  // the trials say so
  const auto gone = STELLA_TRY(delete_version(client, call.key, version));
  if (gone.status >= 500) return client.failure(gone, "");
  const auto lock = gone.ok() ? Result<ObjectLock>(ObjectLock()) : lock_of(client, call.key, version);
  const bool by_default = lock && lock->mode != LockMode::kNone;
  transcript.line("delete of a version without a lock", answer(gone) + (gone.ok() ? "" : by_default ? ", refused: the bucket locks it by default" : ", refused: so refusals prove NOTHING about locks"));
  return gone.ok() || by_default;
}

// A UUID of version 7 begins with its time: what comes before this is older than `age`.
std::string uuids_before(std::chrono::milliseconds age) {
  const auto time = static_cast<unsigned long long>((Timestamp::now() - age).micros() / 1000);
  char text[32];
  std::snprintf(text, sizeof text, "%08llx-%04llx", time >> 16, time & 0xffff);
  return text;
}

// Canaries of earlier probes below `prefix`, whose name after it comes before `before` ("" for all). What a lock still holds is refused by the store and stays.
Result<void> sweep(S3Client& client, std::string_view prefix, const std::string& before) {
  S3Call call;
  call.query = {{"versions", ""}, {"prefix", std::string(prefix)}, {"max-keys", "100"}};
  const auto reply = STELLA_TRY(client.call(call));
  if (!reply.ok()) return client.failure(reply, "");
  const auto page = STELLA_TRY(parse_xml(reply.body));
  for (const auto& node : page.children) {
    if (node.name != "Version" && node.name != "DeleteMarker") continue;
    const std::string key(node.str("Key"));
    if (key.starts_with(prefix) && (before.empty() || key.substr(prefix.size()) < before)) STELLA_TRY_VOID(delete_version(client, key, std::string(node.str("VersionId"))));
  }
  return {};
}

}  // namespace

Result<WormReport> s3_worm_probe(S3Client& client, LockMode mode, bool create_only, const std::string& second_domain) {
  STELLA_TRY_VOID(sweep(client, kPrefix, ""));
  // Those of readiness, which a store in trouble did not delete; the young ones may be in use.
  STELLA_TRY_VOID(sweep(client, kReadyCanaries, uuids_before(kReadyCanaryAge)));
  Transcript transcript;
  transcript.line("probe of an S3 store", Timestamp::now().rfc3339_seconds());
  transcript.line("creating a key twice", create_only ? "412, refused" : "NOT refused: a look before each upload stands in");
  WormLevel level = WormLevel::kPlain;
  if (!STELLA_TRY(refusals_count(client, transcript))) return std::move(transcript).finish(level, create_only);
  if (mode != LockMode::kGovernance && STELLA_TRY(Trial(client, LockMode::kCompliance, transcript).run())) level = WormLevel::kCompliance;
  if (level == WormLevel::kPlain && mode != LockMode::kCompliance && STELLA_TRY(Trial(client, LockMode::kGovernance, transcript).run())) level = WormLevel::kGovernance;
  if (level == WormLevel::kCompliance && !second_domain.empty()) {
    level = WormLevel::kTwoDomains;
    transcript.line("second administrative domain, as configured", second_domain);
  }
  return std::move(transcript).finish(level, create_only);
}

}  // namespace stella::objects
