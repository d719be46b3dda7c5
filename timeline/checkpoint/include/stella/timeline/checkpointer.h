// Signs the tenants' logs: a checkpoint at the latest some seconds or events after the last one, and at once where one is waited for.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/crypto/ed25519.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::timeline {

struct CheckpointerOptions {
  std::chrono::seconds every{60};           // the oldest event that no checkpoint covers is at most so old
  std::int64_t events = 1000;               // or so many are uncovered
  std::chrono::milliseconds poll{250};
  std::vector<crypto::Ed25519PublicKey> former{};  // that signed before this key: a log goes on from a checkpoint of one of them
};

// Any number may run: a row lock per log makes them take turns. Survives the loss of database and store.
class Checkpointer {
 public:
  // `pool` and `store` outlive the object.
  Checkpointer(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, std::shared_ptr<const crypto::Ed25519Signer> signer, CheckpointerOptions options);
  ~Checkpointer();
  void start();
  void stop();
  // Signs what is due; how many checkpoints. The first log that cannot be signed does not hold up the others: its error comes at the end.
  Result<int> round();
  // What the last round failed with, for /readyz; nullopt while all is well. kIntegrity: rows or tiles are not what was signed.
  std::optional<Error> trouble() const;

 private:
  Result<bool> sign_one(const TenantId& tenant);

  pg::SystemPool<pg::IndexerRole>& pool_;
  objects::Store& store_;
  std::shared_ptr<const crypto::Ed25519Signer> signer_;
  CheckpointerOptions options_;
  mutable Mutex mutex_;
  std::optional<Error> trouble_ STELLA_GUARDED_BY(mutex_);
  Rounds rounds_;
};

}  // namespace stella::timeline
