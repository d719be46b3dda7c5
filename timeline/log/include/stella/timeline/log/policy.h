// C2SP tlog-policy: which logs are known, which witnesses, and which of them must have cosigned a checkpoint. Pure; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/timeline/log/checkpoint.h"

namespace stella::timeline {

// The standard asks for 32 logs, witnesses and groups; this many of each are read.
inline constexpr std::size_t kPolicyItems = 1'000;
inline constexpr std::size_t kPolicyFileBytes = 1u << 20;

// A policy file. A value; const members are thread-safe.
class LogPolicy {
 public:
  struct Log {
    VerifierKey key;  // its name is the log's origin
    std::string url;  // "" where the file gives none
  };
  struct Witness {
    std::string name;  // within this file; opaque bytes
    VerifierKey key;
    std::string url;
  };

  // Lines `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> all|any|<k> <name>…`, `quorum <name>|none`; empty lines and lines
  // that begin with '#'. kMalformed and kInvalid with the line: undefined or doubled names, one key twice, a name that is a member twice,
  // k outside of 1…n, no quorum line or two, a witness key that cosigns nothing, a last line without an end (the file may have been cut off).
  // kInvalid too where no set of cosignatures that we can verify could reach the quorum.
  static Result<LogPolicy> parse(std::string_view file);

  const std::vector<Log>& logs() const { return logs_; }
  const std::vector<Witness>& witnesses() const { return witnesses_; }
  // Whether these witnesses (positions in witnesses()) are enough. Each counts once, however often it is given; others are ignored.
  bool satisfied(std::span<const std::size_t> cosigned) const;

  struct Cosigner {
    std::size_t witness = 0;  // position in witnesses()
    std::uint64_t time = 0;   // seconds since the epoch, as the witness states; its latest where it signed twice
  };
  struct Accepted {
    Checkpoint checkpoint;
    Note note;
    VerifierKey log;                  // the key that signed
    std::vector<Cosigner> cosigners;  // all that verified, in the file's order
  };
  // The checkpoint's origin must be the key name of a log that signed it: one of the file, or of `more_logs` (keys that the caller knows from
  // elsewhere). One false signature of a known key refuses all of it. kMalformed, kInvalid.
  Result<Accepted> open(std::string_view note, std::span<const VerifierKey> more_logs = {}) const;

 private:
  struct Member {
    bool group = false;
    std::size_t index = 0;
    bool listed = false;  // already a member of some group
  };
  struct Group {
    std::size_t threshold = 0;
    std::vector<Member> members;
  };
  class Reader;
  LogPolicy() = default;
  std::vector<Log> logs_;
  std::vector<Witness> witnesses_;
  std::vector<Group> groups_;
  std::optional<Member> quorum_;  // nullopt: none
};

}  // namespace stella::timeline
