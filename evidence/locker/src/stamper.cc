// Asking the time authorities. One that is away must not hold up every seal for its timeout: it is left alone for a while.
#include "stella/evidence/locker/stamper.h"

#include <algorithm>
#include <set>

#include "stella/base/encoding.h"
#include "stella/base/time.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/metrics.h"
#include "stella/crypto/digest.h"
#include "stella/platform/http_client.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.locker"};
constexpr telemetry::Counter kStamps{contracts::metrics::kEvidenceTimestamps};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Result<std::string> post(const std::string& url, std::string_view query, std::chrono::milliseconds timeout) {
  http::ClientRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = {{"Content-Type", std::string(crypto::kTimestampQueryType)}, {"Accept", std::string(crypto::kTimestampReplyType)}};
  request.body = std::string(query);
  request.max_response_bytes = crypto::kTimestampBytes;
  request.connect_timeout = timeout;
  request.timeout = timeout;
  request.foreign = true;
  http::ClientResponse response = STELLA_TRY(http::fetch(request));
  if (response.status != 200) return Error(contracts::errors::kUnavailable, "the authority refused").with("status", std::to_string(response.status));
  const std::string_view type = response.header("content-type");
  if (trimmed(type.substr(0, type.find(';'))) != crypto::kTimestampReplyType) return Error(contracts::errors::kUnavailable, "the authority answered with something else").with("expected", std::string(crypto::kTimestampReplyType));
  return std::move(response.body);
}

std::string certificate_pem(std::string_view der) {
  const std::string text = base64_encode(der);
  std::string out = "-----BEGIN CERTIFICATE-----\n";
  for (std::size_t i = 0; i < text.size(); i += 64) out.append(text, i, 64).append("\n");
  return out.append("-----END CERTIFICATE-----\n");
}

}  // namespace

std::string chain_pem(std::span<const std::string> certificates) {
  std::string out;
  for (const std::string& der : certificates) out += certificate_pem(der);
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_authorities(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view entry = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (entry.empty()) continue;
    const std::size_t equals = entry.find('=');
    const std::string name(trimmed(entry.substr(0, std::min(equals, entry.size()))));
    const std::string url(equals == std::string_view::npos ? std::string_view() : trimmed(entry.substr(equals + 1)));
    const bool again = std::any_of(out.begin(), out.end(), [&](const auto& other) { return other.first == name; });
    if (name.empty() || again || !(url.starts_with("http://") || url.starts_with("https://")))
      return Error(base_errors::kInvalid, "not a list of time authorities").with("field", std::string("time.authorities")).with("expected", std::string("name=http(s)://…, each name once"));
    out.emplace_back(name, url);
  }
  return out;
}

Result<std::shared_ptr<Stamper>> Stamper::make(StamperOptions options) {
  if (options.authorities.empty()) return Error(base_errors::kInvalid, "no time authority is named").with("field", std::string("time.authorities"));
  if (options.required > options.authorities.size())
    return Error(base_errors::kInvalid, "more time authorities are required than there are").with("field", std::string("time.required")).with("expected", "at most " + std::to_string(options.authorities.size()));
  auto trust = crypto::TimestampTrust::from_pem(options.roots_pem);
  if (!trust) return Error(trust.error()).with("setting", std::string("time.roots"));
  return std::shared_ptr<Stamper>(new Stamper(std::move(options), std::move(*trust)));
}

Stamper::Stamper(StamperOptions options, crypto::TimestampTrust trust) : options_(std::move(options)), trust_(std::move(trust)) {
  for (const auto& [name, url] : options_.authorities) {
    const auto away = std::make_shared<std::optional<Deadline>>();
    authorities_.push_back({.name = name, .post = [url, away, timeout = options_.timeout, pause = options_.pause](std::string_view query) -> Result<std::string> {
                              if (*away && !(*away)->passed()) return Error(contracts::errors::kUnavailable, "it did not answer a moment ago");
                              auto reply = post(url, query, timeout);
                              if (reply) away->reset();
                              else *away = Deadline::after(pause);
                              return reply;
                            }, .trust = trust_});
  }
}

std::optional<crypto::ObtainedTimestamp> Stamper::request(std::size_t which, const Sha256& imprint) const {
  const auto& authority = authorities_[which];
  auto obtained = crypto::obtain_timestamp(imprint, authority);
  if (obtained) return std::move(*obtained);
  kStamps.add(1, "failed");
  kLog.warn("a time authority did not stamp a seal", {f::error(Error(obtained.error()).with("authority", authority.name))});
  return std::nullopt;
}

std::optional<crypto::ObtainedTimestamp> Stamper::ask(std::size_t which, const Sha256& imprint) const {
  auto obtained = request(which, imprint);
  if (obtained) kStamps.add(1, "obtained");
  return obtained;
}

Result<std::vector<crypto::ObtainedTimestamp>> Stamper::as_many_as_answer(const Sha256& imprint) const {
  std::vector<crypto::ObtainedTimestamp> out;
  for (std::size_t i = 0; i < authorities_.size(); ++i) {
    auto obtained = request(i, imprint);
    if (!obtained) continue;
    const bool twin = std::any_of(out.begin(), out.end(), [&](const auto& o) { return o.verified.signer == obtained->verified.signer; });
    if (!twin) out.push_back(std::move(*obtained));
  }
  return out;
}

Result<Stamper::Files> Stamper::stamp(std::span<const std::string_view> signatures) {
  Files files;
  std::string chain;
  std::set<std::string> known;
  for (const std::string_view signature : signatures) {
    const Sha256 imprint = crypto::sha256(signature);
    auto stamps = options_.required == 0 ? as_many_as_answer(imprint) : crypto::timestamp_quorum(options_.required, imprint, authorities_);
    if (!stamps) {
      kStamps.add(1, "failed");
      // Authorities come back: this must not look like a fault of what is sealed.
      Error error(contracts::errors::kUnavailable, "too few time authorities stamped the seal");
      error.add("part", "time.authorities");
      error.add("expected", std::to_string(options_.required));
      error.add("cause", std::string(stamps.error().field("authorities")));
      return error;
    }
    for (auto& stamp : *stamps) {
      kStamps.add(1, "obtained");
      files.emplace_back(std::to_string(files.size() + 1) + ".tsr", std::move(stamp.response));
      for (const std::string& der : stamp.verified.chain)
        if (known.insert(der).second) chain += certificate_pem(der);
    }
  }
  if (files.empty()) kLog.warn("a bundle is sealed without a timestamp: no authority answered, its verdict says `local clock only`");
  else files.emplace_back("chain.pem", std::move(chain));
  return files;
}

}  // namespace stella::evidence
