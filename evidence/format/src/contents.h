// A bundle as it lies on the wire, before anything is believed: digests of all files, and the bytes of the small ones that verification reads.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_verify.h"

namespace stella::evidence {

struct FileSeen {
  std::uint64_t size = 0;
  Sha256 sha256;
};

struct Contents {
  std::map<std::string, FileSeen, std::less<>> files;
  std::map<std::string, std::string, std::less<>> kept;  // bytes of everything that is no leaf

  // "" where absent.
  std::string_view bytes(std::string_view path) const {
    const auto found = kept.find(path);
    return found == kept.end() ? std::string_view() : std::string_view(found->second);
  }
};

// Calls each(entry, tar) for every file of an archive, until it says false; then the rest is not looked at.
Result<void> for_each_file(ByteSource& tgz, const TarLimits& limits, const std::function<Result<bool>(const TarEntry&, TarReader&)>& each);

// Reads the whole archive. kMalformed where it is none, or lacks one of the parts that make a bundle.
Result<Contents> read_contents(ByteSource& tgz, const VerifyOptions& options);

// The dimensions, each into its place of the verdict (src/check_*.cc).
void check_integrity(const Contents& contents, Verdict& verdict);
void check_authenticity(const Contents& contents, const VerifyOptions& options, Verdict& verdict);
void check_time(const Contents& contents, const VerifyOptions& options, Verdict& verdict);
// No later than when this signature was made, where as many trusted authorities as are demanded stamped it.
std::optional<Timestamp> stamped_at(const Contents& contents, const VerifyOptions& options, const std::string& signature);
// "" where the bundle encloses every event that the seal names, as it was; else which is gone, with the words around it. Needs no key.
std::string omitted_events(const Contents& contents, const SealFacts& facts);
// An event that is proved to be in a log, and where.
struct LoggedEvent {
  std::uint64_t index = 0;
  std::string_view entry;  // in Contents
};
// What INCLUSION found; empty unless it passes.
struct LogEvidence {
  bool proven = false;
  bool keys_proven = false;  // false: no key of the platform's log was given, so nobody can say what its events are
  std::string tenant_origin;
  std::vector<LoggedEvent> tenant, keys;  // of the tenant's log; of the platform's, about signing keys
};
// INCLUSION, CONSISTENCY, and CUSTODY, which rests on the former.
LogEvidence check_log(const Contents& contents, const VerifyOptions& options, Verdict& verdict);
// Rests on AUTHENTICITY (who signed), and on TIME or the log (when). The enclosed history of the keys, where a log proves it.
std::optional<crypto::KeyHistory> check_key_status(const Contents& contents, const VerifyOptions& options, const LogEvidence& log, Verdict& verdict);
// `enclosed`: what check_key_status found.
void check_completeness(const Contents& contents, const VerifyOptions& options, const LogEvidence& log, const std::optional<crypto::KeyHistory>& enclosed, Verdict& verdict);
void check_retention(const VerifyOptions& options, Verdict& verdict);

}  // namespace stella::evidence
