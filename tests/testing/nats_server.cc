// Runs nats-server for tests.
#include "stella/testing/nats_server.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/platform/bus_server_config.h"
#include "stella/platform/bus_topology.h"

namespace stella::testing {
namespace {

std::string program() {
  for (const char* path : {"/usr/sbin/nats-server", "/usr/local/bin/nats-server", "/usr/bin/nats-server"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return "nats-server";
}

}  // namespace

NatsServer::NatsServer() {
  char name[] = "/tmp/stella-nats-XXXXXX";
  directory_ = ::mkdtemp(name);
  start();
}

NatsServer::~NatsServer() {
  kill();
  [[maybe_unused]] const int status = std::system(("rm -rf " + directory_).c_str());
}

void NatsServer::start() {
  bus::ServerConfigOptions options;
  options.port = port_;
  options.store_dir = directory_ + "/js";
  options.log_file = directory_ + "/nats.log";
  options.ports_file_dir = directory_;
  options.max_store_bytes = 256u << 20;
  for (const auto user : bus::user::kAll) options.passwords[std::string(user)] = password_of(user);
  const std::string config = directory_ + "/nats.conf";
  ASSERT_TRUE(write_file_durable(config, bus::nats_server_config(options), 0600));
  const std::string path = program();
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  ASSERT_GE(pid_, 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::execlp(path.c_str(), "nats-server", "-c", config.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  const std::string ports = directory_ + "/nats-server_" + std::to_string(pid_) + ".ports";
  const auto deadline = Deadline::after(std::chrono::seconds(20));
  for (;;) {
    const auto text = read_file(ports, 4096);
    const auto value = text ? json::parse(*text) : Result<json::Value>(json::Value());
    if (value && !value->items("nats").empty()) {
      url_ = value->items("nats")[0].as_string();
      break;
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid_, &status, WNOHANG), 0) << "nats-server ended: " << read_file(options.log_file, 1 << 20).value_or("no log");
    ASSERT_FALSE(deadline.passed()) << "nats-server does not listen";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  port_ = std::stoi(url_.substr(url_.rfind(':') + 1));
}

void NatsServer::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void NatsServer::delete_store() const { [[maybe_unused]] const int status = std::system(("rm -rf " + directory_ + "/js").c_str()); }

bus::ConnectOptions NatsServer::login(std::string_view user) const {
  auto options = bus::login(url_, user, password_of(user));
  options.name = "test";
  return options;
}

std::unique_ptr<bus::Connection> NatsServer::connect(std::string_view user) const {
  auto connection = bus::Connection::connect(login(user));
  EXPECT_TRUE(connection) << (connection ? "" : connection.error().describe());
  return connection ? std::move(*connection) : nullptr;
}

}  // namespace stella::testing
