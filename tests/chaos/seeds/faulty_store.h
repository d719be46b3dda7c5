// A real object store behind which the network and the disk may fail.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "faults.h"
#include "stella/contracts/errors.h"
#include "stella/platform/objects.h"

namespace stella::chaos {

class FaultyStore final : public objects::Store {
 public:
  explicit FaultyStore(std::unique_ptr<objects::Store> inner) : inner_(std::move(inner)) {}

  Result<objects::Created> put(const std::string& key, std::string_view bytes, const objects::ObjectLock& lock) override {
    return done(Where::kChange, [&] { return inner_->put(key, bytes, lock); });
  }
  // Broken off in the middle, some of them are there.
  Result<void> put_many(std::span<const std::pair<std::string, std::string_view>> objects, const objects::ObjectLock& lock) override {
    return done(Where::kChange, [&] { return inner_->put_many(objects, lock); }, [&] { (void)inner_->put_many(objects.subspan(0, objects.size() / 2), lock); });
  }
  Result<Copied> put_fd(int fd, std::uint64_t max_bytes, const std::function<std::string(const Sha256&)>& key_of, const objects::ObjectLock& lock) override {
    return done(Where::kChange, [&] { return inner_->put_fd(fd, max_bytes, key_of, lock); });
  }
  Result<std::string> get(const std::string& key, std::uint64_t max_bytes) override {
    return done(Where::kRead, [&] { return inner_->get(key, max_bytes); });
  }
  Result<Fd> open(const std::string& key) override {
    return done(Where::kRead, [&] { return inner_->open(key); });
  }
  Result<objects::Info> stat(const std::string& key) override {
    return done(Where::kRead, [&] { return inner_->stat(key); });
  }
  Result<std::vector<objects::Entry>> list(const std::string& prefix, const std::string& after, std::size_t limit) override {
    return done(Where::kRead, [&] { return inner_->list(prefix, after, limit); });
  }
  Result<void> extend_retention(const std::string& key, Timestamp until) override {
    return done(Where::kChange, [&] { return inner_->extend_retention(key, until); });
  }
  Result<void> set_legal_hold(const std::string& key, bool on) override {
    return done(Where::kChange, [&] { return inner_->set_legal_hold(key, on); });
  }
  Result<objects::ObjectLock> lock_state(const std::string& key) override {
    return done(Where::kRead, [&] { return inner_->lock_state(key); });
  }
  Result<void> remove(const std::string& key) override {
    return done(Where::kChange, [&] { return inner_->remove(key); });
  }
  Result<void> probe() override {
    return done(Where::kRead, [&] { return inner_->probe(); });
  }
  Result<objects::WormReport> worm_probe() override {
    return done(Where::kChange, [&] { return inner_->worm_probe(); });
  }

 private:
  static Error away() { return Error(contracts::errors::kUnavailable, "the object store answers 503").with("part", std::string("objects")); }
  static Error full() { return Error(contracts::errors::kUnavailable, "the object store is full").with("part", std::string("objects")).with("reason", std::string("disk_full")); }

  template <class Call>
  auto done(Where where, Call call) -> decltype(call()) {
    return done(where, call, [] {});
  }
  template <class Call, class Half>
  auto done(Where where, Call call, Half half) -> decltype(call()) {
    switch (before(where)) {
      case Verdict::kGo: break;
      case Verdict::kFail: return away();
      case Verdict::kFull: return full();
      case Verdict::kHalf: return half(), full();
      case Verdict::kHalfAndDie: half(), die();
    }
    auto out = call();
    if (after(where) == Verdict::kFail) return away();
    return out;
  }

  std::unique_ptr<objects::Store> inner_;
};

}  // namespace stella::chaos
