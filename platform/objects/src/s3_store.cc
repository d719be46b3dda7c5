// The S3 driver: the Store's calls in terms of signed requests.
//
// Crash safety. An object is visible only after its whole PUT or CompleteMultipartUpload succeeded, and S3 is durable when it answers; a cut in
// between leaves nothing, or parts that the bucket's lifecycle rule removes. Where an answer was lost the request is repeated, and the writer's
// id beside the object says whether the first attempt had done it. A delete marker hides nothing: it is passed over in reading.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <set>
#include <thread>

#include "driver.h"
#include "s3_leftovers.h"
#include "s3_upload.h"
#include "s3_versions.h"
#include "s3_worm.h"
#include "spool.h"
#include "stella/base/thread.h"
#include "stella/crypto/digest.h"
#include "stella/telemetry/context.h"

namespace stella::objects {
namespace {

constexpr std::chrono::minutes kCanaryEvery{1};
constexpr std::chrono::seconds kFailedCanaryEvery{10};

class S3Store final : public Store {
 public:
  S3Store(std::unique_ptr<S3Client> client, S3Options options) : options_(std::move(options)), client_(std::move(client)), uploader_(*client_, options_) {}

  Result<Created> put(const std::string& key, std::string_view bytes, const ObjectLock& lock) override { return counted("put", do_put(key, bytes, lock)); }
  Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects, const ObjectLock& lock) override { return counted("put", do_put_many(objects, lock)); }
  Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const ObjectLock& lock) override {
    return counted("put", do_put_fd(fd, max_bytes, key_of, lock));
  }
  Result<std::string> get(const std::string& key, std::uint64_t max_bytes) override { return counted("get", do_get(key, max_bytes)); }
  Result<Fd> open(const std::string& key) override { return counted("get", do_open(key)); }
  Result<Info> stat(const std::string& key) override { return counted("get", do_stat(key)); }
  Result<std::vector<Entry>> list(const std::string& prefix, const std::string& after, std::size_t limit) override { return counted("list", do_list(prefix, after, limit)); }
  Result<void> extend_retention(const std::string& key, Timestamp until) override { return counted("put", do_extend(key, until)); }
  Result<void> set_legal_hold(const std::string& key, bool on) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("put", set_hold(*client_, key, on));
  }
  Result<ObjectLock> lock_state(const std::string& key) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("get", lock_of_all(*client_, key));
  }
  Result<void> remove(const std::string& key) override {
    STELLA_TRY_VOID(check_key(key));
    return counted("delete", remove_all(*client_, key));
  }
  Result<void> probe() override;
  Result<WormReport> worm_probe() override {
    const bool create_only = STELLA_TRY(uploader_.create_only());
    // The daily visit. What cannot be tidied up now is tidied up tomorrow.
    (void)counted("delete", abort_stale_uploads(*client_, Timestamp::now() - kUploadIsStale));
    return counted("put", s3_worm_probe(*client_, options_.lock.mode, create_only, options_.second_domain));
  }

 private:
  Result<Created> do_put(const std::string& key, std::string_view bytes, const ObjectLock& lock) {
    STELLA_TRY_VOID(check_key(key));
    Upload upload;
    upload.key = key;
    upload.bytes = bytes;
    upload.size = bytes.size();
    upload.sha256 = crypto::sha256(bytes);
    upload.lock = STELLA_TRY(lock_of_new(lock, options_.lock, Timestamp::now()));
    return create(upload, lock);
  }

  // `asked` is the caller's own lock: an object that existed before is raised to it, not to the default.
  Result<Created> create(const Upload& upload, const ObjectLock& asked) {
    const Created created = STELLA_TRY(uploader_.upload(upload));
    if (created == Created::kExisted && asked != ObjectLock{}) {
      const ObjectLock wanted = STELLA_TRY(lock_of_new(asked, {}, Timestamp::now()));
      STELLA_TRY_VOID(raise_lock(*client_, upload.key, wanted));
    }
    return created;
  }

  Result<void> do_put_many(std::span<const std::pair<std::string, std::string_view>> objects, const ObjectLock& lock) {
    std::set<std::string_view> seen;
    std::vector<const std::pair<std::string, std::string_view>*> work;
    for (const auto& object : objects) {
      STELLA_TRY_VOID(check_key(object.first));
      if (seen.insert(object.first).second) work.push_back(&object);
    }
    std::atomic<std::size_t> next{0};
    Mutex mutex;
    std::optional<Error> problem;
    const auto run = [&, context = telemetry::Context::current()] {
      const telemetry::ContextScope scope(context);
      for (std::size_t i = next++; i < work.size(); i = next++) {
        auto done = do_put(work[i]->first, work[i]->second, lock);
        if (done) continue;
        next = work.size();
        const Lock guard(mutex);
        if (!problem) problem = std::move(done.error());
      }
    };
    {
      std::vector<std::jthread> threads;
      const auto count = std::min<std::size_t>(static_cast<std::size_t>(options_.concurrency), work.size());
      for (std::size_t i = 1; i < count; ++i) threads.push_back(start_jthread("object-put", run));
      run();
    }
    if (problem) return std::move(*problem);
    return {};
  }

  Result<Copied> do_put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const ObjectLock& lock) {
    const Fd file = STELLA_TRY(spool_file(options_.spool_dir));
    auto copied = STELLA_TRY(copy_hashed(fd, max_bytes, [&](std::string_view chunk) { return spool(file.get(), chunk); }));
    const std::string key = key_of(copied.sha256);
    if (key.empty()) return unexpected_bytes(copied.sha256);
    STELLA_TRY_VOID(check_key(key));
    Upload upload;
    upload.key = key;
    upload.fd = file.get();
    upload.size = copied.size;
    upload.sha256 = copied.sha256;
    upload.lock = STELLA_TRY(lock_of_new(lock, options_.lock, Timestamp::now()));
    STELLA_TRY_VOID(create(upload, lock));
    return copied;
  }

  // The call on the newest bytes: where only a delete marker answers, on the version below it. Not every store says in an answer to HEAD that it
  // was a marker.
  Result<S3Reply> read(S3Call call) {
    auto reply = STELLA_TRY(client_->call(call));
    if (reply.status != 404 || (call.method != "HEAD" && reply.header("x-amz-delete-marker") != "true")) return reply;
    for (const auto& version : STELLA_TRY(versions_of(*client_, call.key))) {
      if (version.marker) continue;
      call.query.emplace_back("versionId", version.id);
      return client_->call(call);
    }
    return reply;
  }

  // Hands the object's bytes to `write` after `restart`; they are those that were stored, or it is an error.
  Result<void> download(const std::string& key, std::uint64_t max_bytes, std::function<Result<void>()> restart, std::function<Result<void>(std::string_view)> write) {
    STELLA_TRY_VOID(check_key(key));
    crypto::Hasher hasher;
    std::uint64_t size = 0;
    S3Call call;
    call.key = key;
    call.max_response_bytes = max_bytes;
    call.restart = [&]() -> Result<void> {
      (void)hasher.finish();
      size = 0;
      return restart();
    };
    call.sink = [&](std::string_view bytes) -> Result<void> {
      hasher.update(bytes);
      size += bytes.size();
      return write(bytes);
    };
    const auto reply = STELLA_TRY(read(std::move(call)));
    if (!reply.ok()) return client_->failure(reply, key);
    const auto stored = reply.header(kDigestHeader);
    if (const auto digest = hasher.finish().hex(); !stored.empty() && stored != digest) {
      return Error(base_errors::kMalformed, "the object store returned other bytes than were stored").with("path", key).with("expected", std::string(stored)).with("actual", digest);
    }
    kBytes.add(static_cast<double>(size), "read");
    return {};
  }

  Result<std::string> do_get(const std::string& key, std::uint64_t max_bytes) {
    std::string out;
    const auto restart = [&]() -> Result<void> {
      out.clear();
      return {};
    };
    const auto write = [&](std::string_view bytes) -> Result<void> {
      out += bytes;
      return {};
    };
    STELLA_TRY_VOID(download(key, max_bytes, restart, write));
    return out;
  }

  Result<Fd> do_open(const std::string& key) {
    STELLA_TRY_VOID(check_key(key));
    Fd file = STELLA_TRY(spool_file(options_.spool_dir));
    const auto restart = [&]() -> Result<void> {
      if (::ftruncate(file.get(), 0) != 0 || ::lseek(file.get(), 0, SEEK_SET) != 0) return io_error("cannot begin the spool file anew", "");
      return {};
    };
    STELLA_TRY_VOID(download(key, std::uint64_t{5} << 40, restart, [&](std::string_view bytes) { return spool(file.get(), bytes); }));
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return io_error("cannot read the spool file", "");
    return file;
  }

  Result<Info> do_stat(const std::string& key) {
    STELLA_TRY_VOID(check_key(key));
    S3Call call;
    call.method = "HEAD";
    call.key = key;
    const auto reply = STELLA_TRY(read(std::move(call)));
    if (!reply.ok()) return client_->failure(reply, key);
    return Info{std::strtoull(std::string(reply.header("content-length")).c_str(), nullptr, 10)};
  }

  Result<std::vector<Entry>> do_list(const std::string& prefix, const std::string& after, std::size_t limit) {
    STELLA_TRY_VOID(check_prefix(prefix));
    STELLA_TRY_VOID(check_prefix(after));
    limit = std::min(limit, kListLimit);
    std::vector<Entry> out;
    std::string from = after;
    while (out.size() < limit) {
      S3Call call;
      call.query = {{"list-type", "2"}, {"prefix", prefix}, {"max-keys", std::to_string(std::min(limit - out.size() + 1, kListLimit))}};
      if (!from.empty()) call.query.emplace_back("start-after", from);
      const auto reply = STELLA_TRY(client_->call(call));
      if (!reply.ok()) return client_->failure(reply, "");
      const auto page = STELLA_TRY(parse_xml(reply.body));
      const std::string begin = from;
      for (const auto& node : page.children) {
        if (node.name != "Contents") continue;
        from = node.str("Key");
        // Canaries, and what others put there, are no objects of ours.
        if (check_key(from) && out.size() < limit) out.push_back({from, std::strtoull(std::string(node.str("Size")).c_str(), nullptr, 10)});
      }
      if (page.str("IsTruncated") != "true" || from == begin) break;
    }
    return out;
  }

  Result<void> do_extend(const std::string& key, Timestamp until) {
    STELLA_TRY_VOID(check_key(key));
    STELLA_TRY_VOID(check_until(until, Timestamp::now()));
    const LockMode mode = options_.lock.mode == LockMode::kNone ? LockMode::kGovernance : options_.lock.mode;
    return raise_lock(*client_, key, {mode, whole_seconds(until), false});
  }

  Result<void> write_canary() STELLA_REQUIRES(probe_mutex_) {
    const std::string bytes = Uuid::v7().str();
    S3Call call;
    call.method = "PUT";
    call.key = std::string(kReadyCanaries) + bytes;
    call.body = bytes;
    call.checksum = true;
    const auto put = STELLA_TRY(client_->call(call));
    if (!put.ok()) return client_->failure(put, "");
    S3Call back;
    back.key = call.key;
    const auto got = STELLA_TRY(client_->call(back));
    if (!got.ok()) return client_->failure(got, "");
    if (got.body != bytes) return Error(contracts::errors::kUnavailable, "the object store does not return what was written").with("part", std::string("objects"));
    const auto gone = STELLA_TRY(delete_version(*client_, call.key, std::string(put.header("x-amz-version-id"))));
    // Refused where the bucket locks everything by itself: no new canary every minute then. A store that is busy only was not asked well.
    canary_stays_ = !gone.ok() && gone.status < 500 && gone.status != 429;
    return {};
  }

  const S3Options options_;
  const std::unique_ptr<S3Client> client_;
  S3Uploader uploader_;
  Mutex probe_mutex_;
  std::optional<Deadline> canary_until_ STELLA_GUARDED_BY(probe_mutex_);
  Result<void> canary_ STELLA_GUARDED_BY(probe_mutex_);  // how the last one fared
  bool canary_stays_ STELLA_GUARDED_BY(probe_mutex_) = false;
};

// The bucket answers each time; a canary is written once a minute, because each leaves traces in a versioned bucket. One that failed may lie there still:
// until the next one, the answer is what it met.
Result<void> S3Store::probe() {
  const Lock lock(probe_mutex_);
  S3Call call;
  call.method = "HEAD";
  const auto reply = STELLA_TRY(client_->call(call));
  if (reply.status == 404) {
    return Error(contracts::errors::kUnavailable, "the bucket of the object store does not exist").with("part", std::string("objects")).with("reason", std::string("no such bucket: create it with Object Lock, see objects.s3.bucket"));
  }
  if (!reply.ok()) return client_->failure(reply, "");
  if (canary_stays_) return {};
  if (!canary_until_ || canary_until_->passed()) {
    canary_ = write_canary();
    canary_until_ = canary_ ? Deadline::after(kCanaryEvery) : Deadline::after(kFailedCanaryEvery);
  }
  return canary_;
}

}  // namespace

Result<std::unique_ptr<Store>> open_s3_store(const S3Options& options) {
  auto client = STELLA_TRY(S3Client::create(options));
  return std::unique_ptr<Store>(std::make_unique<S3Store>(std::move(client), options));
}

}  // namespace stella::objects
