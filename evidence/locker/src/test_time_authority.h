// A real time authority for tests: the openssl program signs, an HTTP server carries.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "stella/base/file.h"
#include "stella/platform/http_server.h"

namespace stella::evidence {

class TimeAuthority {
 public:
  // `days`: how long its certificate lasts.
  explicit TimeAuthority(int days = 30) {
    char dir[] = "/tmp/stella-tsa-XXXXXX";
    dir_ = ::mkdtemp(dir);
    put("conf",
        "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = unused\n[root]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\n"
        "[tsa]\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = critical,timeStamping\n"
        "[tsa_config]\nserial = tsa.serial\ndefault_policy = 1.2.3.4.1\ndigests = sha256\nsigner_digest = sha256\naccuracy = secs:1\ness_cert_id_alg = sha256\n");
    shell("echo 01 > tsa.serial; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 3650 -subj '/CN=Root' -config conf -extensions root");
    shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tsa.key -out tsa.csr -subj '/CN=Authority' -config conf");
    shell("openssl x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -days " + std::to_string(days) + " -extfile conf -extensions tsa -out tsa.pem");
    http::ServerOptions options;
    options.workers = 1;
    server_ = std::move(http::Server::start(options, [this](http::Request& request) { return answer(request); }, nullptr, [](int status, Literal, const http::Request*) { return http::Response::json(status, "{}"); }).value());
  }
  ~TimeAuthority() {
    server_.reset();
    (void)!std::system(("rm -rf '" + dir_ + "'").c_str());
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_->port()) + "/tsr"; }
  std::string roots() const { return read_file(dir_ + "/root.pem", 1 << 16).value(); }
  // Output of a shell command in the authority's directory.
  std::string shell(const std::string& command) const {
    FILE* pipe = ::popen(("cd '" + dir_ + "' && { " + command + "; } 2>&1").c_str(), "r");
    std::string out;
    std::array<char, 4096> buffer;
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) out.append(buffer.data(), n);
    ::pclose(pipe);
    return out;
  }
  void put(const std::string& name, std::string_view bytes) const { EXPECT_TRUE(write_file_durable(dir_ + "/" + name, bytes).has_value()); }

  std::atomic<bool> away{false};
  std::atomic<int> asked{0};

 private:
  http::Response answer(const http::Request& request) {
    ++asked;
    if (away) return http::Response::json(503, "{}");
    EXPECT_EQ(request.header("content-type"), "application/timestamp-query");
    put("q", request.body);
    shell("rm -f r; openssl ts -reply -config conf -section tsa_config -queryfile q -signer tsa.pem -inkey tsa.key -out r");
    http::Response response;
    response.content_type = "application/timestamp-reply";
    response.body = read_file(dir_ + "/r", 1 << 16).value();
    return response;
  }

  std::string dir_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace stella::evidence
