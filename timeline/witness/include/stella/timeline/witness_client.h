// The log's side: asks one witness to cosign a checkpoint.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "stella/base/result.h"
#include "stella/timeline/log/policy.h"
#include "stella/timeline/log/proofs.h"

namespace stella::timeline {

struct WitnessQuestion {
  Checkpoint checkpoint = {};
  Note note = {};                   // the log's own signature over it
  std::uint64_t known_size = 0;     // what the witness cosigned last, as far as we know; it says so itself where that is wrong
  // From that size to the checkpoint's; not asked for equal sizes and for size 0.
  std::function<Result<Proof>(std::uint64_t from)> prove = {};
  std::chrono::milliseconds timeout{5000};  // of each exchange; there are two at most
};

// The cosignatures of this witness, verified. kUnavailable where it does not answer or is busy; kIntegrity where it refuses the history: it has
// seen another one, or a longer one (status and its size are in the error); kInvalid for any other refusal or an answer that does not verify.
Result<std::vector<NoteSignature>> ask_witness(const LogPolicy::Witness& witness, const WitnessQuestion& question);

}  // namespace stella::timeline
