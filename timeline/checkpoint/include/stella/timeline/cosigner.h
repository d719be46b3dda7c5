// Has the newest checkpoint of the deployment log cosigned by witnesses, so that heads which are taken back are seen by others than their operator.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/timeline/log/policy.h"

namespace stella::timeline {

struct CosignerOptions {
  std::chrono::milliseconds poll{500};
  std::chrono::milliseconds timeout{5000};  // of one exchange with one witness
};

// Signing never waits for it. A witness that is away is asked again with the next checkpoint. Any number may run: asking twice is harmless.
class Cosigner {
 public:
  // The policy's witnesses are asked (its log lines are for readers); a quorum that no answer reached is trouble(). `pool` and `store` outlive the
  // object.
  Cosigner(pg::SystemPool<pg::IndexerRole>& pool, objects::Store& store, LogPolicy policy, CosignerOptions options = CosignerOptions());
  ~Cosigner();
  void start();
  void stop();
  // Asks for the newest checkpoint where it was not asked for yet; how many were cosigned by a quorum. kIntegrity where a witness has seen another
  // history, kUnavailable where the quorum was not reached.
  Result<int> round();
  // What was wrong last, for /readyz; nullopt while all is well. kIntegrity stays until the process ends: somebody has to look.
  std::optional<Error> trouble() const;

 private:
  struct Head;
  Result<bool> overtaken(const Error& error, const Head& head);
  Result<void> cosign(const Head& head);
  Result<void> keep(const Head& head, std::string text, bool quorum);

  pg::SystemPool<pg::IndexerRole>& pool_;
  objects::Store& store_;
  const LogPolicy policy_;
  const CosignerOptions options_;
  std::uint64_t asked_ = 0;                           // size asked for last; the loop's thread alone
  std::map<std::size_t, std::uint64_t> cosigned_;     // size that a witness cosigned last, by witness
  mutable Mutex mutex_;
  std::optional<Error> trouble_ STELLA_GUARDED_BY(mutex_);
  Rounds rounds_;
};

}  // namespace stella::timeline
