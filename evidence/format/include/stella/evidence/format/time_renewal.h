// Timestamps that carry earlier ones on before the certificates of their authorities expire, in the spirit of RFC 4998 §5.2 (timestamp renewal).
//
// Renewal n of a bundle is one RFC 3161 response whose message imprint is the SHA-256 of these bytes:
//
//   the SHA-256 digests (32 bytes each, raw) of
//     the bytes of each signature in attest/seal.dsse.json,
//     each file time/*.tsr of the bundle, and its time/chain.pem where there is one,
//     renewal-1.tsr, renewal-1.pem, …, renewal-<n-1>.tsr, renewal-<n-1>.pem,
//   each once, in ascending order of their bytes, one after the other (the data group of RFC 4998 §4.2.2).
//
// Renewals lie beside a bundle: its bytes, and so its digest, never change. A redacted copy has the signatures and stamps of its original: what renews
// the one renews the other.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/crypto/timestamp.h"
#include "stella/evidence/format/stream.h"

namespace stella::evidence {

// One renewal, as it lies beside the bundle.
struct TimeRenewal {
  std::string token;  // renewal-<n>.tsr: the response as received
  std::string chain;  // renewal-<n>.pem: the certificates that it was verified with
};

// What a bundle encloses about the time of its signatures.
struct TimeEvidence {
  std::vector<std::string> signatures;                    // of the seal: bytes, in the order of the envelope
  std::map<std::string, std::string, std::less<>> files;  // time/…
};
// Of a bundle, in one pass; nothing in it is believed. kMalformed, kNotFound (no envelope), kLimit.
Result<TimeEvidence> read_time_evidence(ByteSource& tgz);

// The bytes that the renewal after `earlier` stamps.
std::string renewed_bytes(const TimeEvidence& evidence, std::span<const TimeRenewal> earlier);

// A stamp that is good: its imprint is right and its chain reached a trusted root at genTime. `file` names it for people.
struct Stamp {
  std::string file;
  crypto::VerifiedTimestamp verified;
};
struct TimeChain {
  std::vector<Stamp> stamps;    // over one of the messages: one for each certificate, its earliest; the earliest first
  std::vector<Stamp> renewals;  // those that are good, in their order
  std::string stamp_problem, renewal_problem;  // of the first that is not; empty = none
};
// `messages`: whose stamps are looked for among the enclosed ones. A renewal covers all of them, whatever they stamped.
TimeChain read_time_chain(const TimeEvidence& evidence, std::span<const std::string> messages, std::span<const TimeRenewal> renewals, const crypto::TimestampTrust& trust);
// The stamps over the seal's signatures.
inline TimeChain read_time_chain(const TimeEvidence& evidence, std::span<const TimeRenewal> renewals, const crypto::TimestampTrust& trust) {
  return read_time_chain(evidence, evidence.signatures, renewals, trust);
}

// Until when a stamp stands: as long as its own certificates, or longer where `threshold` authorities (0 counts as 1) renewed it before their end and
// stand themselves. A renewal of after that end proves nothing: by then whoever had the authority's key could make a stamp of any time.
Timestamp stands_until(const TimeChain& chain, const Stamp& stamp, std::size_t threshold);

// Until when the time of a bundle stands before `threshold` authorities: nullopt where so many never stamped it.
std::optional<Timestamp> time_stands_until(const TimeChain& chain, std::size_t threshold);

// The sidecar of a bundle, a tar of time/renewal-<n>.{pem,tsr}, at most 1000 of them and 16 MiB. kMalformed (also where one between is missing), kLimit.
Result<std::string> renewals_to_tar(std::span<const TimeRenewal> renewals);
Result<std::vector<TimeRenewal>> renewals_from_tar(std::string_view tar);

}  // namespace stella::evidence
