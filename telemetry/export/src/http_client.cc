// OTLP/HTTP with protobuf bodies, by libcurl.
#include <curl/curl.h>
#include <zlib.h>

#include <array>
#include <functional>
#include <mutex>

#include "client.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

struct CurlDelete {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct SlistDelete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// RFC 1952, one member; "" where zlib refuses.
std::string gzip(std::string_view bytes) {
  z_stream z{};
  if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string out(deflateBound(&z, bytes.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int done = deflate(&z, Z_FINISH);
  out.resize(done == Z_STREAM_END ? z.total_out : 0);
  deflateEnd(&z);
  return out;
}

class HttpClient final : public Client {
 public:
  HttpClient(const ExporterOptions& options, const TargetOptions& target, std::function<std::int64_t()> unix_seconds)
      : target_(target), unix_seconds_(std::move(unix_seconds)), bearer_(options.bearer_token), most_(options.response_bytes), curl_(curl_easy_init()) {
    CURL* c = curl_.get();
    curl_easy_setopt(c, CURLOPT_URL, target_.endpoint.c_str());
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);  // a redirect would carry the credentials elsewhere
    curl_easy_setopt(c, CURLOPT_USERAGENT, options.user_agent.c_str());
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(target_.timeout.count()));
    curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, problem_.data());
    if (!target_.ca_file.empty()) curl_easy_setopt(c, CURLOPT_CAINFO, target_.ca_file.c_str());
    if (!target_.cert_file.empty()) curl_easy_setopt(c, CURLOPT_SSLCERT, target_.cert_file.c_str());
    if (!target_.key_file.empty()) curl_easy_setopt(c, CURLOPT_SSLKEY, target_.key_file.c_str());
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, &HttpClient::on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, &HttpClient::on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, &HttpClient::on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, this);
  }

  Answer send(std::string_view payload, const std::atomic<bool>& stop) override {
    std::unique_ptr<curl_slist, SlistDelete> headers;
    const auto add = [&headers](const std::string& line) { headers.reset(curl_slist_append(headers.release(), line.c_str())); };
    add("content-type: application/x-protobuf");
    add("expect:");
    std::string packed;
    if (target_.gzip) packed = gzip(payload);
    if (!packed.empty()) {
      add("content-encoding: gzip");
      payload = packed;
    }
    bool token = false;
    if (bearer_) {
      const Secret<std::string> bearer = bearer_();
      if (bearer.expose().empty()) return {Answer::Kind::kRetry, 0, std::nullopt, "there is no token yet"};
      if (!is_header_value(bearer.expose())) return {Answer::Kind::kRetry, 0, std::nullopt, "the token holds bytes that no header carries"};
      add("authorization: Bearer " + bearer.expose());
      token = true;
    }
    for (const auto& [name, value] : target_.headers) {
      if (token && curl_strequal(name.c_str(), "authorization")) continue;
      add(name + ": " + value.expose());
    }
    CURL* c = curl_.get();
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(payload.size()));
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, payload.data());
    stop_ = &stop;
    body_.clear();
    retry_after_.clear();
    type_.clear();
    too_large_ = false;
    problem_[0] = '\0';
    const CURLcode code = curl_easy_perform(c);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, nullptr);
    if (too_large_) return {Answer::Kind::kRetry, 0, std::nullopt, "an answer over its limit", true};
    if (code != CURLE_OK) {
      curl_off_t sent = 0;
      curl_easy_getinfo(c, CURLINFO_PRETRANSFER_TIME_T, &sent);
      return {Answer::Kind::kRetry, 0, std::nullopt, describe(code), sent > 0};
    }
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    return judge_http(status, retry_after_, type_, body_, token, unix_seconds_());
  }

 private:
  // libcurl's words say which part of TLS failed ("unable to get local issuer certificate"); those of other failures may quote what was sent.
  std::string describe(CURLcode code) const {
    std::string text = curl_easy_strerror(code);
    const std::string_view detail(problem_.data());
    const bool tls = code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
                     detail.find("SSL") != detail.npos;
    if (tls && !detail.empty()) text.append(": ").append(detail);
    return text;
  }
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self) {
    auto& client = *static_cast<HttpClient*>(self);
    if (client.body_.size() + size > client.most_) {
      client.too_large_ = true;
      return 0;
    }
    client.body_.append(data, size);
    return size;
  }
  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self) {
    auto& client = *static_cast<HttpClient*>(self);
    std::string_view line(data, size);
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    const std::size_t colon = line.find(':');
    if (colon == line.npos) return size;
    const std::string name(line.substr(0, colon));
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    if (curl_strequal(name.c_str(), "retry-after")) client.retry_after_ = value.substr(0, 128);
    if (curl_strequal(name.c_str(), "content-type")) client.type_ = value.substr(0, 128);
    return size;
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<HttpClient*>(self)->stop_->load(std::memory_order_relaxed) ? 1 : 0;
  }

  const TargetOptions target_;
  const std::function<std::int64_t()> unix_seconds_;
  const std::function<Secret<std::string>()> bearer_;
  const std::size_t most_;
  std::unique_ptr<CURL, CurlDelete> curl_;
  const std::atomic<bool>* stop_ = nullptr;
  std::string body_, retry_after_, type_;
  bool too_large_ = false;
  std::array<char, CURL_ERROR_SIZE> problem_{};
};

}  // namespace

Result<std::unique_ptr<Client>> make_http_client(const ExporterOptions& options, Signal signal, std::function<std::int64_t()> unix_seconds) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const TargetOptions& target = options.target(signal);
  if (!target.endpoint.starts_with("http://") && !target.endpoint.starts_with("https://")) {
    return Error(base_errors::kInvalid, "the OTLP endpoint is no http or https URL").with("signal", std::string(to_string(signal))).with("expected", "http://host:4318/v1/<signal>");
  }
  [[maybe_unused]] const TlsFiles files = STELLA_TRY(read_tls_files(target));  // libcurl reads them itself, and again when they are renewed
  return std::unique_ptr<Client>(new HttpClient(options, target, std::move(unix_seconds)));
}

}  // namespace stella::telemetry
