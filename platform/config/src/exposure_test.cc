// Which addresses are this machine's own, and what is asked of the others.
#include "stella/platform/exposure.h"

#include <gtest/gtest.h>

namespace stella::config {
namespace {

TEST(Exposure, LoopbackIsWhatItsSpellingSays) {
  for (const char* host : {"127.0.0.1", "127.8.9.10", "::1", "0:0:0:0:0:0:0:1", "localhost"}) EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "::ffff:127.0.0.1", "127.0.0.1.example.org", "localhost.example.org", "fe80::1"}) EXPECT_FALSE(is_loopback(host)) << host;
}

TEST(Exposure, NobodyListensInTheClear) {
  EXPECT_TRUE(check_listener("127.0.0.1", false, ""));
  EXPECT_TRUE(check_listener("::1", false, "http://stella.test"));
  EXPECT_EQ(check_listener("0.0.0.0", false, "https://stella.test").error().field("field"), "http.address");
  EXPECT_EQ(check_listener("192.0.2.1", true, "").error().field("field"), "http.public_url");
  EXPECT_EQ(check_listener("192.0.2.1", true, "http://stella.test").error().field("field"), "http.public_url");
  EXPECT_TRUE(check_listener("0.0.0.0", true, "https://stella.test"));
  EXPECT_TRUE(proxy_undeclared(false, "https://stella.test"));
  EXPECT_FALSE(proxy_undeclared(true, "https://stella.test"));
  EXPECT_FALSE(proxy_undeclared(false, "http://127.0.0.1:18080"));
}

TEST(Exposure, ADatabaseElsewhereProvesWhoItIs) {
  for (const char* host : {"", "/run/postgresql", "127.0.0.1", "localhost,::1"}) EXPECT_EQ(database_tls(host, "").value(), "") << host;
  EXPECT_EQ(database_tls("db.example.org", "").error().field("field"), "pg.ca_file");
  EXPECT_EQ(database_tls("127.0.0.1,db.example.org", "").error().field("field"), "pg.ca_file");
  EXPECT_EQ(database_tls("db.example.org", "/etc/it's.pem").value(), " sslmode=verify-full sslrootcert='/etc/it\\'s.pem'");
}

}  // namespace
}  // namespace stella::config
