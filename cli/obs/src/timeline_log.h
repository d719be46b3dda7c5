// What the commands about a whole log share: its signed checkpoint, and the walk over its entries.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/cli/api.h"
#include "stella/cli/session.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/note.h"
#include "stella/timeline/log/proofs.h"
#include "timeline_expiry.h"

namespace stella::cli {

struct Signed {
  timeline::Checkpoint checkpoint;
  std::string note;
};
// Verified under `trust` (a file), else under the keys that the user trusts.
Result<Signed> open_note(Session& session, const std::string& trust, const std::string& note);

// The keys that may sign the log of this name. kUntrusted where there is none.
Result<std::vector<timeline::VerifierKey>> log_keys(Session& session, const std::string& trust, const std::string& origin);

// A checkpoint of the tenant's log as a leaf of the deployment log (timeline_deployment.cc).
struct Covered {
  timeline::Checkpoint deployment;
  std::string note;  // of the deployment log
  std::uint64_t index = 0;
  timeline::Checkpoint covers;
  std::vector<std::string> witnesses;  // names under which they cosigned, where a policy was given
  json::Value answer;                  // of the server
};
// Asks for the proof of the checkpoint of `size` (0: the newest) and verifies it: the deployment log's signature, the leaf, and with a policy (a file)
// the quorum of its witnesses, for which it waits some seconds.
Result<Covered> fetch_covered(Session& session, Api& api, std::uint64_t size, const std::string& trust, const std::string& policy);
// "" where the server proves that the deployment log which covers the checkpoint continues the one that was kept; else what is wrong.
std::string not_continued(Api& api, const Signed& kept, const Covered& covered);
// stella timeline checkpoint --deployment.
Result<int> show_covered(Session& session, const Covered& covered, const std::string& out, const std::string& vkey_out);

// That the tenant's log, or the deployment log, of one size continues that of another, as the server says; `answer` gets what it said. Not verified.
Result<timeline::Proof> fetch_proof(Api& api, bool deployment, std::uint64_t from, std::uint64_t to, json::Value* answer = nullptr);

struct Walk {
  std::string tenant;  // whose log it has to be
  timeline::CompactTree tree;
  std::vector<std::pair<std::int64_t, std::string>> bad;  // index, what is wrong
  std::optional<Sha256> root_at_kept;
  Expiry expiry;  // which entries were shown as hashes alone, and what the log says about that
};
// Gets every entry in order; an expired one has no bytes.
using EachEntry = std::function<Result<void>(std::uint64_t index, std::string_view entry, const Sha256& leaf)>;
// Every entry below `head`, hashed again from its own bytes; of an expired one the hash is taken as it is. Where the record of a deletion is younger
// than `head`, a newer checkpoint is waited for, and `head` becomes that one.
Result<Walk> walk(Session& session, Api& api, const std::string& trust, Signed& head, std::uint64_t kept, const EachEntry& each = {});

struct Verdict {
  const Signed& head;
  const std::optional<Signed>& kept;
  const Walk& walked;
  std::vector<std::pair<std::string, std::string>> problems;  // where, what
  std::optional<Covered> covered = std::nullopt;              // where the deployment log was asked
  std::string uncovered = "the deployment log";               // why it was not
  std::optional<Signed> kept_deployment = std::nullopt;       // a checkpoint of that one
};
// Shows it; the exit code.
int show_verdict(Session& session, const Verdict& verdict);

// What the walk and the older checkpoint say, without asking anybody: problems of entries, of the root, of origin, size and history.
std::vector<std::pair<std::string, std::string>> problems_of(const Signed& head, const std::optional<Signed>& kept, const Walk& walked);

// stella timeline verify --file (timeline_export.cc).
Result<int> verify_export(Session& session, const std::string& file, const std::string& trust, const std::string& since);

}  // namespace stella::cli
