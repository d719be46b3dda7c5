// OTLP/gRPC by grpc++'s generic stub, which carries bytes: no generated code.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "client.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

constexpr std::string_view method_of(Signal signal) {
  switch (signal) {
    case Signal::kTraces: return "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    case Signal::kMetrics: return "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    case Signal::kLogs: return "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
  }
  return "";
}

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

std::string metadata_name(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return lower;
}
// grpc++ ends the process over metadata of another form.
bool is_metadata_name(std::string_view name) {
  const auto legal = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'; };
  return !name.empty() && std::all_of(name.begin(), name.end(), legal);
}

// What gRPC says about a handshake that failed, in our words: its own text may as well be the target's.
std::string_view tls_problem(std::string_view message) {
  constexpr std::pair<std::string_view, std::string_view> kProblems[]{
      {"certificate verify failed", ": the certificate of the target is not of the CA that is trusted"},
      {"CERTIFICATE_VERIFY_FAILED", ": the certificate of the target is not of the CA that is trusted"},  // as BoringSSL says it
      {"Peer name", ": the certificate of the target is for another host"},
      {"Hostname Verification Check failed", ": the certificate of the target is for another host"},
      {"Ssl handshake failed", ": the TLS handshake failed"},
      {"Socket closed", ": the target closed the connection; with TLS, it may want another client certificate"},
      {"failed to connect", ": cannot connect"},
  };
  for (const auto& [sign, words] : kProblems) {
    if (message.find(sign) != message.npos) return words;
  }
  return {};
}

class GrpcClient final : public Client {
 public:
  GrpcClient(const ExporterOptions& options, Signal signal, std::shared_ptr<grpc::Channel> channel)
      : target_(options.target(signal)), bearer_(options.bearer_token), method_(method_of(signal)), channel_(channel), stub_(std::move(channel)) {}

  Answer send(std::string_view payload, const std::atomic<bool>& stop) override {
    grpc::ClientContext context;
    if (target_.timeout.count() > 0) context.set_deadline(std::chrono::system_clock::now() + target_.timeout);
    bool token = false;
    if (bearer_) {
      const Secret<std::string> bearer = bearer_();
      if (bearer.expose().empty()) return {Answer::Kind::kRetry, 0, std::nullopt, "there is no token yet"};
      if (!is_header_value(bearer.expose())) return {Answer::Kind::kRetry, 0, std::nullopt, "the token holds bytes that no header carries"};
      context.AddMetadata("authorization", "Bearer " + bearer.expose());
      token = true;
    }
    for (const auto& [name, value] : target_.headers) {
      const std::string lower = metadata_name(name);
      if (!token || lower != "authorization") context.AddMetadata(lower, value.expose());
    }
    if (target_.gzip) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    const grpc::Slice slice(payload.data(), payload.size());
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    std::mutex mutex;
    std::condition_variable done;
    std::optional<grpc::Status> status;
    stub_.UnaryCall(&context, method_, grpc::StubOptions(), &request, &response, [&](grpc::Status answered) {
      const std::lock_guard lock(mutex);
      status = std::move(answered);
      done.notify_one();
    });
    std::unique_lock lock(mutex);
    while (!status) {
      done.wait_for(lock, std::chrono::milliseconds(100));
      if (!status && stop.load(std::memory_order_relaxed)) context.TryCancel();
    }
    Answer answer = judge_grpc(static_cast<int>(status->error_code()), bytes_of(response), status->error_details(), token);
    answer.why += tls_problem(status->error_message());
    // UNAVAILABLE and DEADLINE_EXCEEDED are what grpc++ says, too, where nobody is there.
    const bool cut = status->error_message() == "Socket closed" || status->error_message().find("reset by peer") != std::string::npos;
    if (channel_->GetState(false) != GRPC_CHANNEL_READY && !cut) answer.about_batch = false;
    return answer;
  }

 private:
  const TargetOptions target_;
  const std::function<Secret<std::string>()> bearer_;
  const std::string method_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
};

}  // namespace

Result<std::unique_ptr<Client>> make_grpc_client(const ExporterOptions& options, Signal signal) {
  const TargetOptions& target = options.target(signal);
  std::string address = target.endpoint;
  bool tls = !target.insecure;
  for (const auto& [scheme, secure] : {std::pair<std::string_view, bool>{"http://", false}, {"https://", true}}) {
    if (!address.starts_with(scheme)) continue;
    address = address.substr(scheme.size(), address.find('/', scheme.size()) - scheme.size());  // other names are gRPC's own: unix:/path, dns:///host:port
    tls = secure;
    break;
  }
  if (address.empty()) return Error(base_errors::kInvalid, "the OTLP endpoint names no host").with("signal", std::string(to_string(signal))).with("expected", "http://host:4317");
  for (const auto& [name, value] : target.headers) {
    const std::string lower = metadata_name(name);
    if (is_metadata_name(lower) && (lower.ends_with("-bin") || is_header_value(value.expose()))) continue;
    return Error(base_errors::kInvalid, "a header cannot be sent over OTLP/gRPC").with("signal", std::string(to_string(signal)))
        .with("expected", "names of a-z, 0-9, '_', '.' and '-', values of printable ASCII; others go over http/protobuf");
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (tls) {
    TlsFiles files = STELLA_TRY(read_tls_files(target));
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = std::move(files.ca);
    ssl.pem_cert_chain = std::move(files.cert);
    ssl.pem_private_key = std::move(files.key);
    credentials = grpc::SslCredentials(ssl);
  }
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix(options.user_agent);
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.response_bytes));
  // Ours is the backoff: a channel that waits longer than we do would only look like a target that is away.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  return std::unique_ptr<Client>(new GrpcClient(options, signal, grpc::CreateCustomChannel(address, credentials, arguments)));
}

}  // namespace stella::telemetry
