// What earlier timestamps a renewal covers, and how long a stamp stands because of it.
#include "stella/evidence/format/time_renewal.h"

#include <algorithm>
#include <set>

#include "contents.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/tar.h"

namespace stella::evidence {
namespace {

constexpr std::uint64_t kTimeBytes = 16u << 20;  // of time/ and the envelope together, or of a sidecar
constexpr std::size_t kMaxRenewals = 1000;       // one in a few years is usual

bool is_token(std::string_view path) { return path.starts_with("time/") && path.ends_with(".tsr"); }

void add(std::vector<Stamp>& stamps, Stamp stamp) {
  const auto same = std::find_if(stamps.begin(), stamps.end(), [&](const Stamp& s) { return s.verified.signer == stamp.verified.signer; });
  if (same == stamps.end()) stamps.push_back(std::move(stamp));
  else if (stamp.verified.gen_time < same->verified.gen_time) *same = std::move(stamp);
}

// The digests that the next renewal stamps.
class Covered {
 public:
  explicit Covered(const TimeEvidence& evidence) {
    for (const auto& signature : evidence.signatures) add(signature);
    for (const auto& [path, bytes] : evidence.files) add(bytes);
  }
  void add(const TimeRenewal& renewal) {
    add(renewal.token);
    add(renewal.chain);
  }
  std::string bytes() const {
    std::string out;
    for (const auto& digest : digests_) out += digest;
    return out;
  }

 private:
  void add(std::string_view bytes) { digests_.emplace(crypto::sha256(bytes).view()); }

  std::set<std::string> digests_;
};

std::string name_of(std::size_t n, std::string_view ending) { return "time/renewal-" + std::to_string(n) + std::string(ending); }

}  // namespace

Result<TimeEvidence> read_time_evidence(ByteSource& tgz) {
  TimeEvidence out;
  std::string envelope;
  std::uint64_t total = 0;
  STELLA_TRY_VOID(for_each_file(tgz, {}, [&](const TarEntry& entry, TarReader& tar) -> Result<bool> {
    const bool is_envelope = entry.path == "attest/seal.dsse.json";
    if (!is_envelope && (!entry.path.starts_with("time/") || is_leaf_path(entry.path))) return true;
    total += entry.size;
    if (total > kTimeBytes) return Error(base_errors::kLimit, "too many bytes about the time of a bundle").with("limit", kTimeBytes);
    std::string& keep = is_envelope ? envelope : out.files[entry.path];
    for (;;) {
      const auto piece = STELLA_TRY(tar.read());
      if (piece.empty()) return true;
      keep.append(piece);
    }
  }));
  if (envelope.empty()) return Error(base_errors::kNotFound, "no such file in the bundle").with("path", std::string("attest/seal.dsse.json"));
  const auto parsed = STELLA_TRY(crypto::dsse_parse(envelope));
  for (const auto& signature : parsed.signatures) out.signatures.push_back(signature.sig);
  return out;
}

std::string renewed_bytes(const TimeEvidence& evidence, std::span<const TimeRenewal> earlier) {
  Covered covered(evidence);
  for (const auto& renewal : earlier) covered.add(renewal);
  return covered.bytes();
}

TimeChain read_time_chain(const TimeEvidence& evidence, std::span<const std::string> messages, std::span<const TimeRenewal> renewals, const crypto::TimestampTrust& trust) {
  TimeChain out;
  // Each token against each message: names of files are hints.
  for (const auto& [path, bytes] : evidence.files) {
    if (!is_token(path)) continue;
    std::string problem;
    bool good = false;
    for (const auto& message : messages) {
      auto stamp = crypto::verify_timestamp(bytes, crypto::TimestampSubject::message(message), trust);
      if (stamp) {
        add(out.stamps, {path, std::move(*stamp)});
        good = true;
        break;
      }
      if (problem.empty()) problem = path + ": " + stamp.error().describe();
    }
    if (!good && out.stamp_problem.empty()) out.stamp_problem = std::move(problem);
  }
  std::sort(out.stamps.begin(), out.stamps.end(), [](const Stamp& a, const Stamp& b) { return a.verified.gen_time < b.verified.gen_time; });
  Covered covered(evidence);
  for (std::size_t i = 0; i < renewals.size(); ++i) {
    const std::string message = covered.bytes(), name = name_of(i + 1, ".tsr");
    auto stamp = crypto::verify_timestamp(renewals[i].token, crypto::TimestampSubject::message(message), trust);
    if (stamp) out.renewals.push_back({name, std::move(*stamp)});
    else if (out.renewal_problem.empty()) out.renewal_problem = name + ": " + stamp.error().describe();
    covered.add(renewals[i]);
  }
  return out;
}

Timestamp stands_until(const TimeChain& chain, const Stamp& stamp, std::size_t threshold) {
  const std::size_t needed = std::max<std::size_t>(1, threshold);
  std::vector<Timestamp> until(chain.renewals.size());
  // By what renewals from `first` on do for it; one authority that renewed it twice is one.
  const auto carried = [&](const Stamp& s, std::size_t first) {
    std::map<Sha256, Timestamp> by_signer;
    for (std::size_t i = first; i < chain.renewals.size(); ++i) {
      const auto& renewal = chain.renewals[i].verified;
      if (renewal.gen_time > s.verified.ends()) continue;
      Timestamp& best = by_signer[renewal.signer];
      best = std::max(best, until[i]);
    }
    if (by_signer.size() < needed) return s.verified.ends();
    std::vector<Timestamp> ends;
    for (const auto& [signer, end] : by_signer) ends.push_back(end);
    std::sort(ends.begin(), ends.end(), std::greater<>());
    return std::max(s.verified.ends(), ends[needed - 1]);
  };
  // From the last one backwards: each is judged at the time of those that renewed it, the last by its own certificates alone.
  for (std::size_t i = chain.renewals.size(); i-- > 0;) until[i] = carried(chain.renewals[i], i + 1);
  return carried(stamp, 0);
}

std::optional<Timestamp> time_stands_until(const TimeChain& chain, std::size_t threshold) {
  if (threshold == 0 || chain.stamps.size() < threshold) return std::nullopt;
  std::vector<Timestamp> ends;
  for (const Stamp& stamp : chain.stamps) ends.push_back(stands_until(chain, stamp, threshold));
  std::sort(ends.begin(), ends.end(), std::greater<>());
  return ends[threshold - 1];
}

Result<std::string> renewals_to_tar(std::span<const TimeRenewal> renewals) {
  std::map<std::string, std::string_view> files;
  for (std::size_t i = 0; i < renewals.size(); ++i) {
    files[name_of(i + 1, ".tsr")] = renewals[i].token;
    files[name_of(i + 1, ".pem")] = renewals[i].chain;
  }
  StringSink sink;
  TarWriter tar(sink);
  for (const auto& [path, bytes] : files) STELLA_TRY_VOID(tar.add(path, bytes));
  STELLA_TRY_VOID(tar.finish());
  return std::move(sink.text);
}

Result<std::vector<TimeRenewal>> renewals_from_tar(std::string_view bytes) {
  StringSource source(bytes);
  TarReader tar(source, {.max_total_bytes = kTimeBytes, .max_entry_bytes = kTimeBytes, .max_entries = 2 * kMaxRenewals});
  std::map<std::string, std::string, std::less<>> files;
  for (;;) {
    const auto entry = tar.next();
    if (!entry) return entry.error();
    if (!*entry) break;
    std::string& keep = files[(*entry)->path];
    for (;;) {
      const auto piece = STELLA_TRY(tar.read());
      if (piece.empty()) break;
      keep.append(piece);
    }
  }
  std::vector<TimeRenewal> out;
  for (std::size_t n = 1; 2 * n <= files.size(); ++n) {
    const auto token = files.find(name_of(n, ".tsr"));
    const auto chain = files.find(name_of(n, ".pem"));
    if (token == files.end() || chain == files.end()) break;
    out.push_back({token->second, chain->second});
  }
  if (2 * out.size() != files.size() || out.empty())
    return Error(base_errors::kMalformed, "not the renewals of a bundle's timestamps").with("expected", std::string("time/renewal-<n>.tsr and time/renewal-<n>.pem for each n from 1"));
  return out;
}

}  // namespace stella::evidence
