// Both wires over TLS, against real servers whose certificates openssl makes here: who is trusted, who is not, and what is said about it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "stella/telemetry/otlp_response.h"
#include "stella/testing/temp_dir.h"
#include "test_targets.h"

namespace stella::telemetry {
namespace {

// Two CAs; certificates of the first for the server, for another server and for a client, and a client's of the second.
class TlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new testing::TempDir;
    for (const char* ca : {"ca", "other-ca"}) {
      run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" + std::string(ca) + " -keyout " + ca + ".key -out " + ca + ".pem");
    }
    make("server", "ca", "IP:127.0.0.1");
    make("elsewhere", "ca", "DNS:collector.example");
    make("client", "ca", "DNS:client.example");
    make("stranger", "other-ca", "DNS:client.example");
  }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }
  static void run(const std::string& command) { ASSERT_EQ(std::system(("cd " + dir_->path() + " && { " + command + "; } >log 2>&1").c_str()), 0) << command; }
  static void make(const std::string& name, const std::string& ca, const std::string& san) {
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name + " -keyout " + name + ".key -out " + name + ".csr");
    run("printf 'subjectAltName=" + san + "\\n' > " + name + ".ext");
    run("openssl x509 -req -days 2 -in " + name + ".csr -CA " + ca + ".pem -CAkey " + ca + ".key -CAcreateserial -extfile " + name + ".ext -out " + name + ".pem");
  }
  static std::string file(std::string_view name) { return *dir_ / name; }
  static ServerTls tls(const std::string& name, const std::string& client_ca = "") { return {file(name + ".pem"), file(name + ".key"), client_ca.empty() ? "" : file(client_ca)}; }

  // Which CA the exporter trusts ("": the system's) and which certificate it has.
  static ExporterOptions options(OtlpProtocol protocol, const std::string& url, const std::string& ca, const std::string& cert = "") {
    ExporterOptions out = options_for(url);
    for (TargetOptions& target : out.targets) {
      target.protocol = protocol;
      if (!ca.empty()) target.ca_file = file(ca);
      if (cert.empty()) continue;
      target.cert_file = file(cert + ".pem");
      target.key_file = file(cert + ".key");
    }
    return out;
  }
  static std::shared_ptr<grpc::ServerCredentials> grpc_tls(const ServerTls& files) {
    grpc::SslServerCredentialsOptions out(files.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    out.pem_key_cert_pairs.push_back({*read_file(files.key, 1 << 20), *read_file(files.cert, 1 << 20)});
    if (!files.client_ca.empty()) out.pem_root_certs = *read_file(files.client_ca, 1 << 20);
    return grpc::SslServerCredentials(out);
  }

  static void expect_taken(ExporterOptions options) {
    auto exporter = *make_otlp_exporter(std::move(options));
    exporter->offer(batch("over TLS"));
    ASSERT_TRUE(exporter->flush(soon())) << exporter->stats().of(Signal::kLogs).away_because;
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).sent, 2u);
  }
  // The batch waits, and the reason says it.
  static void expect_refused(ExporterOptions options, const std::string& reason) {
    auto exporter = *make_otlp_exporter(std::move(options));
    exporter->offer(batch("over TLS"));
    SignalStats stats;
    const Deadline deadline = soon();
    while (stats = exporter->stats().of(Signal::kLogs), stats.away_because.find(reason) == stats.away_because.npos && !deadline.passed()) std::this_thread::yield();
    EXPECT_NE(stats.away_because.find(reason), stats.away_because.npos) << stats.away_because;
    EXPECT_EQ(stats.sent, 0u);
    EXPECT_EQ(stats.queued, 2u);
    expect_balanced(exporter->stats());
  }

  static inline testing::TempDir* dir_ = nullptr;
};

const auto kTaken = [](const auto&) { return reply(200); };

TEST_F(TlsTest, HttpWithOurOwnCa) {
  const ServerTls files = tls("server");
  HttpTarget target(kTaken, &files);
  expect_taken(options(OtlpProtocol::kHttpProtobuf, target.url(), "ca.pem"));
  ASSERT_EQ(target.requests().size(), 1u);
  EXPECT_EQ(target.requests()[0].body, "over TLS");
}

TEST_F(TlsTest, HttpDoesNotTrustWhoIsNotTrusted) {
  const ServerTls files = tls("server");
  HttpTarget target(kTaken, &files);
  expect_refused(options(OtlpProtocol::kHttpProtobuf, target.url(), "other-ca.pem"), "unable to get local issuer certificate");
  expect_refused(options(OtlpProtocol::kHttpProtobuf, target.url(), ""), "unable to get local issuer certificate");
  EXPECT_TRUE(target.requests().empty());
}

TEST_F(TlsTest, HttpRefusesTheCertificateOfAnotherHost) {
  const ServerTls files = tls("elsewhere");
  HttpTarget target(kTaken, &files);
  expect_refused(options(OtlpProtocol::kHttpProtobuf, target.url(), "ca.pem"), "no alternative certificate subject name matches target host name '127.0.0.1'");
  EXPECT_TRUE(target.requests().empty());
}

TEST_F(TlsTest, HttpShowsItsClientCertificate) {
  const ServerTls files = tls("server", "ca.pem");
  HttpTarget target(kTaken, &files);
  expect_taken(options(OtlpProtocol::kHttpProtobuf, target.url(), "ca.pem", "client"));
  expect_refused(options(OtlpProtocol::kHttpProtobuf, target.url(), "ca.pem"), "certificate required");
  expect_refused(options(OtlpProtocol::kHttpProtobuf, target.url(), "ca.pem", "stranger"), "alert unknown ca");
  EXPECT_EQ(target.requests().size(), 1u);
  EXPECT_GE(target.refused.load(), 2);
}

// With a token on board, a redirect would carry it to whoever is named there.
TEST_F(TlsTest, HttpFollowsNoRedirect) {
  const ServerTls files = tls("server");
  HttpTarget elsewhere(kTaken, &files);
  for (const int status : {301, 302, 307, 308}) {
    HttpTarget target([&](const auto&) { return reply(status, "", "location: " + elsewhere.url() + "\r\n"); }, &files);
    ExporterOptions with_token = options(OtlpProtocol::kHttpProtobuf, target.url(), "ca.pem");
    with_token.bearer_token = [] { return Secret<std::string>("token"); };
    auto exporter = *make_otlp_exporter(std::move(with_token));
    exporter->offer(batch("over TLS"));
    ASSERT_TRUE(exporter->flush(soon()));
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).dropped[static_cast<std::size_t>(DropReason::kRefused)], 2u) << status;
    EXPECT_EQ(target.requests().size(), 1u);
    expect_balanced(exporter->stats());
  }
  EXPECT_TRUE(elsewhere.requests().empty());
}

TEST_F(TlsTest, PlainTextToATlsPortIsNotTaken) {
  const ServerTls files = tls("server");
  HttpTarget target(kTaken, &files);
  std::string url = target.url();
  url.erase(4, 1);  // http://
  auto exporter = *make_otlp_exporter(options_for(url));
  exporter->offer(batch("in the clear"));
  const Deadline deadline = soon();
  while (!exporter->stats().of(Signal::kLogs).away && !deadline.passed()) std::this_thread::yield();
  EXPECT_TRUE(exporter->stats().of(Signal::kLogs).away);
  EXPECT_TRUE(target.requests().empty());
}

std::pair<grpc::Status, std::string> grpc_taken(int) { return {grpc::Status::OK, encode_response({0, ""})}; }

TEST_F(TlsTest, GrpcWithOurOwnCa) {
  GrpcTarget target(grpc_taken, grpc_tls(tls("server")));
  expect_taken(options(OtlpProtocol::kGrpc, "https://127.0.0.1:" + std::to_string(target.port), "ca.pem"));
  const std::lock_guard lock(target.mutex);
  ASSERT_EQ(target.calls.size(), 1u);
  EXPECT_EQ(target.calls[0].second, "over TLS");
}

TEST_F(TlsTest, GrpcDoesNotTrustWhoIsNotTrusted) {
  GrpcTarget target(grpc_taken, grpc_tls(tls("server")));
  const std::string url = "https://127.0.0.1:" + std::to_string(target.port);
  expect_refused(options(OtlpProtocol::kGrpc, url, "other-ca.pem"), "not of the CA that is trusted");
  expect_refused(options(OtlpProtocol::kGrpc, url, ""), "not of the CA that is trusted");
  const std::lock_guard lock(target.mutex);
  EXPECT_TRUE(target.calls.empty());
}

TEST_F(TlsTest, GrpcRefusesTheCertificateOfAnotherHost) {
  GrpcTarget target(grpc_taken, grpc_tls(tls("elsewhere")));
  expect_refused(options(OtlpProtocol::kGrpc, "https://127.0.0.1:" + std::to_string(target.port), "ca.pem"), "for another host");
  const std::lock_guard lock(target.mutex);
  EXPECT_TRUE(target.calls.empty());
}

TEST_F(TlsTest, GrpcShowsItsClientCertificate) {
  GrpcTarget target(grpc_taken, grpc_tls(tls("server", "ca.pem")));
  const std::string url = "https://127.0.0.1:" + std::to_string(target.port);
  expect_taken(options(OtlpProtocol::kGrpc, url, "ca.pem", "client"));
  expect_refused(options(OtlpProtocol::kGrpc, url, "ca.pem"), "may want another client certificate");
  expect_refused(options(OtlpProtocol::kGrpc, url, "ca.pem", "stranger"), "may want another client certificate");
  const std::lock_guard lock(target.mutex);
  EXPECT_EQ(target.calls.size(), 1u);
}

TEST_F(TlsTest, GrpcSaysWhatIsWrongWithATrailersOnlyAnswer) {
  GrpcTarget target([](int) { return std::pair(grpc::Status(grpc::StatusCode::UNAVAILABLE, "customer 4711 is over quota"), std::string()); }, grpc_tls(tls("server")));
  auto exporter = *make_otlp_exporter(options(OtlpProtocol::kGrpc, "https://127.0.0.1:" + std::to_string(target.port), "ca.pem"));
  exporter->offer(batch("over TLS"));
  const Deadline deadline = soon();
  while (!exporter->stats().of(Signal::kLogs).away && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(exporter->stats().of(Signal::kLogs).away_because, "gRPC status 14");  // and nothing of the target's own words
}

TEST_F(TlsTest, FilesThatAreNoneAreRefusedAtTheStart) {
  for (const OtlpProtocol protocol : {OtlpProtocol::kHttpProtobuf, OtlpProtocol::kGrpc}) {
    const auto start = [&](auto&& change) {
      ExporterOptions out = options(protocol, "https://127.0.0.1:1/", "ca.pem", "client");
      for (TargetOptions& target : out.targets) change(target);
      return make_otlp_exporter(std::move(out));
    };
    EXPECT_TRUE(start([](TargetOptions&) {}).has_value());
    const auto absent = start([](TargetOptions& t) { t.ca_file += ".not"; });
    ASSERT_FALSE(absent.has_value());
    EXPECT_EQ(absent.error().code(), base_errors::kInvalid);
    EXPECT_EQ(absent.error().field("file"), "ca_file");
    const auto swapped = start([](TargetOptions& t) { std::swap(t.cert_file, t.key_file); });
    ASSERT_FALSE(swapped.has_value());
    EXPECT_EQ(swapped.error().field("file"), "cert_file");
    EXPECT_EQ(swapped.error().field("expected"), "PEM with CERTIFICATE-----");
    EXPECT_FALSE(start([](TargetOptions& t) { t.key_file.clear(); }).has_value());
  }
}

// grpc++ ends the process over metadata that is none.
TEST(GrpcClient, HeadersThatNoMetadataIsAreRefusedAtTheStart) {
  const auto with = [](const std::string& name, const std::string& value) {
    ExporterOptions options = options_for("http://127.0.0.1:1");
    options.target(Signal::kLogs).protocol = OtlpProtocol::kGrpc;
    options.target(Signal::kLogs).headers.emplace_back(name, Secret<std::string>(value));
    return make_otlp_exporter(std::move(options));
  };
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{{"x-team", "caf\xc3\xa9"}, {"x-team", "a\tb"}, {"x!team", "QQ"}, {"", "QQ"}, {":path", "QQ"}}) {
    const auto exporter = with(name, value);
    ASSERT_FALSE(exporter) << name << ": " << value;
    EXPECT_EQ(exporter.error().code(), base_errors::kInvalid);
    EXPECT_EQ(exporter.error().describe().find(value), std::string::npos) << "it may be a secret";
  }
  EXPECT_TRUE(with("X-Team_1.a", "a b~"));
  EXPECT_TRUE(with("x-team-bin", "caf\xc3\xa9"));
}

TEST(GrpcClient, ATokenThatNoHeaderCarriesIsWaitedOutOverBothWires) {
  for (const OtlpProtocol protocol : {OtlpProtocol::kGrpc, OtlpProtocol::kHttpProtobuf}) {
    std::atomic<bool> renewed{false};
    GrpcTarget grpc_target([](int) { return std::pair(grpc::Status::OK, std::string()); });
    HttpTarget http_target([](const auto&) { return reply(200); });
    ExporterOptions options = options_for(protocol == OtlpProtocol::kGrpc ? "http://127.0.0.1:" + std::to_string(grpc_target.port) : http_target.url());
    options.target(Signal::kLogs).protocol = protocol;
    options.bearer_token = [&] { return Secret<std::string>(renewed ? "good" : "two\r\nx-lines: 1"); };
    auto exporter = *make_otlp_exporter(std::move(options));
    exporter->offer(batch("waits"));
    const Deadline deadline = soon();
    while (exporter->stats().of(Signal::kLogs).away_because.empty() && !deadline.passed()) std::this_thread::yield();
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).away_because, "the token holds bytes that no header carries");
    renewed = true;
    EXPECT_TRUE(exporter->flush(soon()));
    EXPECT_EQ(exporter->stats().of(Signal::kLogs).sent, 2u);
  }
}

}  // namespace
}  // namespace stella::telemetry
