// What a witness remembers of each log, on disk, and the cosignatures that rest on it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/timeline/log/policy.h"
#include "stella/timeline/log/witness.h"

namespace stella::timeline {

// Thread-safe. One process per directory.
class WitnessStore {
 public:
  // The logs of a tlog-policy file. Makes the directory, and a state of size 0 for each log that has none: by hand, once per log. kConflict
  // while another process uses the directory.
  static Result<void> init(const std::string& directory, const LogPolicy& logs);
  // kNotFound where a log has no state: a lost disk must not make the witness forget. kMalformed for a state that is none, kConflict as above.
  static Result<std::unique_ptr<WitnessStore>> open(const std::string& directory, const LogPolicy& logs, std::string name, std::shared_ptr<const crypto::Ed25519Signer> signer);

  // The whole answer to add-checkpoint. With 200 the new state is on the disk before this returns. `now`: seconds since the epoch.
  // kIo where it cannot be written: then nothing was cosigned and the state is as before.
  Result<WitnessAnswer> add_checkpoint(std::string_view body, std::uint64_t now);

  // The key that others verify the cosignatures with.
  Result<VerifierKey> vkey() const { return VerifierKey::cosigner(name_, signer_->public_key()); }

 private:
  WitnessStore(std::string directory, std::string name, std::shared_ptr<const crypto::Ed25519Signer> signer) : directory_(std::move(directory)), name_(std::move(name)), signer_(std::move(signer)) {}

  const std::string directory_;
  const std::string name_;
  const std::shared_ptr<const crypto::Ed25519Signer> signer_;
  Fd held_;
  Mutex mutex_;
  std::map<std::string, WitnessState, std::less<>> logs_ STELLA_GUARDED_BY(mutex_);  // by origin
};

}  // namespace stella::timeline
