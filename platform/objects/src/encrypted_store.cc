// The store that encrypts: envelopes on the way in and out, everything else as the driver does it.
#include "stella/platform/encrypted_objects.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "driver.h"
#include "spool.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/envelope.h"
#include "stella/telemetry/log.h"

namespace stella::objects {
namespace {

constexpr telemetry::Logger kLog{"objects.encryption"};
constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::size_t kHeadBytes = 256;  // holds the key id of every envelope
// What an envelope may take beside its plain bytes: the longest header, and a tag for each of the smallest chunks.
std::uint64_t envelope_limit(std::uint64_t plain) { return std::min(plain, std::uint64_t{1} << 60) + 2048 + 16 * (std::min(plain, std::uint64_t{1} << 60) / 4096 + 1); }

Error not_authentic(const std::string& key, Error why) {
  return Error(base_errors::kInvalid, "the stored object is not what was stored: altered, moved, cut off, or replaced").with("reason", std::string("not_authentic")).with("path", key).with("cause", std::string(why.message()));
}

// The words of the envelope as those of a store: what does not open is not what was stored.
Error as_store(const std::string& key, Error error) {
  if (error.code() == base_errors::kInvalid || error.code() == base_errors::kMalformed) return not_authentic(key, std::move(error));
  return error;
}

// The words of the key store as those of a store. Whatever is wrong with it says nothing about the object.
Error keys_as_store(const std::string& key, const Error& error) {
  if (error.code() == base_errors::kNotFound && error.field("reason") == "destroyed")
    return Error(contracts::errors::kConflict, "the key of this object was destroyed: its contents are gone for good").with("reason", std::string("key_destroyed")).with("path", key);
  const std::string_view cause = error.field("cause").empty() ? error.message() : error.field("cause");
  return Error(contracts::errors::kUnavailable, "the key of this object cannot be used now").with("part", std::string("keys")).with("path", key).with("cause", std::string(cause));
}

// The key store as an envelope of one object asks it. Its errors leave here as a store's, so that none is taken for one of the bytes.
class KeysOf final : public crypto::Kms {
 public:
  KeysOf(const crypto::Kms& keys, const std::string& key) : keys_(keys), key_(key) {}
  Result<void> add_key(std::string_view) override { return Error(base_errors::kInternal, "an open envelope adds no key"); }
  Result<void> destroy_key(std::string_view) override { return Error(base_errors::kInternal, "an open envelope destroys no key"); }
  Result<std::string> wrap(std::string_view, std::string_view, std::string_view) const override { return Error(base_errors::kInternal, "an open envelope wraps nothing"); }
  Result<crypto::SecretBytes> unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const override {
    auto out = keys_.unwrap(key_id, wrapped, context);
    if (out || out.error().message() == crypto::kDoesNotOpen.view()) return out;
    return keys_as_store(key_, out.error());
  }

 private:
  const crypto::Kms& keys_;
  const std::string& key_;
};

// Reads `fd` from its position to its end in pieces.
Result<void> each_piece(int fd, const std::function<Result<void>(std::string_view)>& take) {
  std::string buffer(kPieceBytes, '\0');
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", "");
    if (n == 0) return {};
    STELLA_TRY_VOID(take(std::string_view(buffer.data(), static_cast<std::size_t>(n))));
  }
}

Result<void> rewind(int fd, off_t to) {
  if (::lseek(fd, to, SEEK_SET) != to) return io_error("cannot read again", "");
  return {};
}

class EncryptedStore final : public Store {
 public:
  EncryptedStore(std::unique_ptr<Store> store, EncryptionOptions options) : store_(std::move(store)), options_(std::move(options)) {}

  Result<Created> put(const std::string& key, std::string_view bytes, const ObjectLock& lock) override {
    const auto rule = options_.rule(key);
    if (!rule || !options_.encrypt) {
      STELLA_TRY_VOID(check_clear(key, rule, bytes));
      return store_->put(key, bytes, lock);
    }
    const std::string sealed = STELLA_TRY(seal(key, *rule, bytes));
    return store_->put(key, sealed, lock);
  }

  Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects, const ObjectLock& lock) override {
    std::vector<std::string> sealed;
    sealed.reserve(objects.size());  // the views below point into it
    std::vector<std::pair<std::string, std::string_view>> stored;
    stored.reserve(objects.size());
    for (const auto& [key, bytes] : objects) {
      const auto rule = options_.rule(key);
      if (rule && options_.encrypt) {
        sealed.push_back(STELLA_TRY(seal(key, *rule, bytes)));
        stored.emplace_back(key, sealed.back());
      } else {
        STELLA_TRY_VOID(check_clear(key, rule, bytes));
        stored.emplace_back(key, bytes);
      }
    }
    return store_->put_many(stored, lock);
  }

  // Twice over the source: an envelope is bound to the object's key, and that may be known only after the last byte. Whoever changes the source
  // in between is found out by its digest.
  Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const ObjectLock& lock) override {
    Fd copy;
    off_t from = ::lseek(fd, 0, SEEK_CUR);
    if (from < 0) {  // a pipe
      copy = STELLA_TRY(spool_file(options_.spool_dir));
      STELLA_TRY_VOID(copy_hashed(fd, max_bytes, [&](std::string_view piece) { return spool(copy.get(), piece); }));
      from = 0;
      STELLA_TRY_VOID(rewind(copy.get(), 0));
    }
    const int source = copy ? copy.get() : fd;
    std::string head;
    const Copied plain = STELLA_TRY(copy_hashed(source, max_bytes, [&](std::string_view piece) -> Result<void> {
      head.append(piece.substr(0, kHeadBytes - std::min(kHeadBytes, head.size())));
      return {};
    }));
    STELLA_TRY_VOID(rewind(source, from));
    const std::string key = key_of(plain.sha256);
    const auto rule = key.empty() ? std::nullopt : options_.rule(key);
    if (!rule || !options_.encrypt) {
      STELLA_TRY_VOID(check_clear(key, rule, head));
      return store_->put_fd(source, max_bytes, key_of, lock);
    }
    STELLA_TRY_VOID(check_key(key));
    const Fd sealed = STELLA_TRY(spool_file(options_.spool_dir));
    STELLA_TRY_VOID(seal_file(key, *rule, source, plain, sealed.get()));
    STELLA_TRY_VOID(rewind(sealed.get(), 0));
    STELLA_TRY_VOID(store_->put_fd(sealed.get(), envelope_limit(plain.size), [&](const Sha256&) { return key; }, lock));
    return plain;
  }

  Result<std::string> get(const std::string& key, std::uint64_t max_bytes) override {
    const auto rule = options_.rule(key);
    if (!rule) return store_->get(key, max_bytes);
    auto stored = STELLA_TRY(store_->get(key, envelope_limit(max_bytes)));
    const bool clear = STELLA_TRY(is_clear(key, *rule, stored, [&] { return Result<Sha256>(crypto::sha256(stored)); }));
    if (!clear) {
      auto plain = crypto::envelope_open(KeysOf(*options_.kms, key), key, stored);
      if (!plain) return as_store(key, std::move(plain.error()));
      stored = std::move(*plain);
    }
    if (stored.size() > max_bytes) return Error(base_errors::kLimit, "object is too large").with("limit", max_bytes);
    return stored;
  }

  Result<Fd> open(const std::string& key) override {
    const auto rule = options_.rule(key);
    Fd stored = STELLA_TRY(store_->open(key));
    if (!rule) return stored;
    std::string head(kHeadBytes, '\0');
    const ssize_t n = ::pread(stored.get(), head.data(), head.size(), 0);
    if (n < 0) return io_error("cannot read", key);
    head.resize(static_cast<std::size_t>(n));
    const bool clear = STELLA_TRY(is_clear(key, *rule, head, [&]() -> Result<Sha256> {
      crypto::Hasher hasher;
      STELLA_TRY_VOID(each_piece(stored.get(), [&](std::string_view piece) -> Result<void> {
        hasher.update(piece);
        return {};
      }));
      STELLA_TRY_VOID(rewind(stored.get(), 0));
      return hasher.finish();
    }));
    if (clear) return stored;
    Fd plain = STELLA_TRY(spool_file(options_.spool_dir));
    const KeysOf keys(*options_.kms, key);
    crypto::EnvelopeDecryptor decryptor(keys, key, [&](std::string_view piece) { return spool(plain.get(), piece); });
    auto done = each_piece(stored.get(), [&](std::string_view piece) { return decryptor.update(piece); });
    if (done) done = decryptor.finish();
    if (!done) return as_store(key, std::move(done.error()));
    STELLA_TRY_VOID(rewind(plain.get(), 0));
    return plain;
  }

  Result<Info> stat(const std::string& key) override { return store_->stat(key); }
  Result<std::vector<Entry>> list(const std::string& prefix, const std::string& after, std::size_t limit) override { return store_->list(prefix, after, limit); }
  Result<void> extend_retention(const std::string& key, Timestamp until) override { return store_->extend_retention(key, until); }
  Result<void> set_legal_hold(const std::string& key, bool on) override { return store_->set_legal_hold(key, on); }
  Result<ObjectLock> lock_state(const std::string& key) override { return store_->lock_state(key); }
  Result<void> remove(const std::string& key) override { return store_->remove(key); }
  Result<void> probe() override { return store_->probe(); }
  Result<WormReport> worm_probe() override { return store_->worm_probe(); }

 private:
  // `wrap` under the newest version of a key that is made where it is missing; whoever makes it at the same moment in another process is as good.
  template <class T>
  Result<T> with_key(const std::string& key, const std::string& base, const std::function<Result<T>(const std::string& key_id)>& work) {
    const auto newest = options_.kms->newest(base);
    if (!newest) return keys_as_store(key, newest.error());
    auto done = work(*newest);
    if (!done && done.error().code() == base_errors::kNotFound && done.error().field("reason") != "destroyed") {
      const auto added = options_.kms->add_key(*newest);
      if (added) kLog.info("a key for encryption at rest was made", {f::detail(*newest)});
      done = work(*newest);
    }
    if (!done) return keys_as_store(key, done.error());
    return done;
  }

  Result<std::string> seal(const std::string& key, const Encryption& rule, std::string_view bytes) {
    STELLA_TRY_VOID(check_key(key));
    return with_key<std::string>(key, rule.key_id, [&](const std::string& id) { return crypto::envelope_seal(*options_.kms, id, key, bytes); });
  }

  Result<void> seal_file(const std::string& key, const Encryption& rule, int from, const Copied& expected, int to) {
    auto encryptor = STELLA_TRY(with_key<crypto::EnvelopeEncryptor>(key, rule.key_id, [&](const std::string& id) {
      return crypto::EnvelopeEncryptor::start(*options_.kms, id, key, [to](std::string_view piece) { return spool(to, piece); });
    }));
    const Copied again = STELLA_TRY(copy_hashed(from, expected.size, [&](std::string_view piece) { return encryptor.update(piece); }));
    if (again.sha256 != expected.sha256) return unexpected_bytes(again.sha256);
    return encryptor.finish();
  }

  // Bytes in the clear that read like an envelope would be taken for one later.
  static Result<void> check_clear(const std::string& key, const std::optional<Encryption>& rule, std::string_view head) {
    if (!rule || !crypto::is_envelope(head)) return {};
    return Error(base_errors::kInvalid, "an object in the clear cannot begin like an encrypted one").with("path", key);
  }

  // Whether the stored bytes stand in the clear; kInvalid where they may not. `digest` is of all of them, and asked only where it decides.
  Result<bool> is_clear(const std::string& key, const Encryption& rule, std::string_view head, const std::function<Result<Sha256>()>& digest) const {
    const bool envelope = crypto::is_envelope(head);
    if (envelope) {
      const auto id = crypto::envelope_key_id(head);
      if (id && crypto::version_of_wrapping_key(rule.key_id, *id)) return false;
    } else if (!rule.content || !options_.encrypt) {
      return true;
    }
    const bool as_named = rule.content && STELLA_TRY(digest()) == *rule.content;
    if (as_named) return true;
    return not_authentic(key, Error(base_errors::kInvalid, envelope ? Literal("under the key of somebody else") : Literal("other bytes, in the clear")));
  }

  const std::unique_ptr<Store> store_;
  const EncryptionOptions options_;
};

}  // namespace

std::unique_ptr<Store> open_encrypted_store(std::unique_ptr<Store> store, EncryptionOptions options) { return std::make_unique<EncryptedStore>(std::move(store), std::move(options)); }

}  // namespace stella::objects
