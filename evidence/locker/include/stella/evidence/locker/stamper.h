// Timestamps of outside authorities over the signatures of a seal (RFC 3161 over HTTP, §3.4), as the files that a bundle encloses.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/crypto/timestamp.h"

namespace stella::evidence {

struct StamperOptions {
  std::vector<std::pair<std::string, std::string>> authorities{};  // name and http(s) URL, in the order in which they are asked
  std::string roots_pem{};                   // whom their certificates must lead to
  std::size_t required = 0;                  // so many different authorities or no seal; 0: as many as answer, also none
  std::chrono::milliseconds timeout{5000};   // for the answer of one
  std::chrono::milliseconds pause{30000};    // one that did not answer is left alone for so long
};

// "name=url, name=url": kInvalid with `field` time.authorities.
Result<std::vector<std::pair<std::string, std::string>>> parse_authorities(std::string_view text);

// PEM of certificates in DER, one after the other.
std::string chain_pem(std::span<const std::string> certificates);

// One thread at a time.
class Stamper {
 public:
  // kInvalid (no roots, more required than there are), kMalformed (roots).
  static Result<std::shared_ptr<Stamper>> make(StamperOptions options);

  // time/<n>.tsr, the responses as received, and time/chain.pem, the certificates that they were verified with; nothing where nobody answers and
  // nobody has to. kUnavailable with part, expected, actual and what each authority said where too few did.
  using Files = std::vector<std::pair<std::string, std::string>>;
  Result<Files> stamp(std::span<const std::string_view> signatures);

  // One stamp of the authority at that place of the list; nothing where it does not answer as it must (the log says why).
  std::optional<crypto::ObtainedTimestamp> ask(std::size_t authority, const Sha256& imprint) const;
  std::size_t authorities() const { return authorities_.size(); }
  std::size_t required() const { return options_.required; }
  const crypto::TimestampTrust& trust() const { return trust_; }

 private:
  Stamper(StamperOptions options, crypto::TimestampTrust trust);
  std::optional<crypto::ObtainedTimestamp> request(std::size_t which, const Sha256& imprint) const;
  Result<std::vector<crypto::ObtainedTimestamp>> as_many_as_answer(const Sha256& imprint) const;

  StamperOptions options_;
  crypto::TimestampTrust trust_;
  std::vector<crypto::TimestampAuthority> authorities_;
};

}  // namespace stella::evidence
