// A nats-server of the test's own: free port, temporary store, the users and permissions that `stella up` writes.
#pragma once

#include <string>
#include <string_view>

#include "stella/platform/bus.h"

namespace stella::testing {

// Starts in the constructor and ends in the destructor; failures fail the test.
class NatsServer {
 public:
  NatsServer();
  ~NatsServer();
  NatsServer(const NatsServer&) = delete;
  NatsServer& operator=(const NatsServer&) = delete;

  const std::string& url() const { return url_; }
  const std::string& directory() const { return directory_; }
  // Options that log in as one of bus::user's names; the password is `password_of(user)`.
  bus::ConnectOptions login(std::string_view user) const;
  static std::string password_of(std::string_view user) { return "test-password-" + std::string(user); }
  // Connects; fails the test where that does not work.
  std::unique_ptr<bus::Connection> connect(std::string_view user) const;

  // SIGKILL; start() again keeps the port and the store.
  void kill();
  void start();
  // Removes JetStream's directory, also under a running server.
  void delete_store() const;

 private:
  std::string directory_;
  std::string url_;
  int port_ = -1;
  int pid_ = -1;
};

}  // namespace stella::testing
