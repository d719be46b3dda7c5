// Job messages: what the orchestrator writes is read, anything else is refused.
#include "protocol.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

namespace stella::runner {
namespace {

constexpr std::string_view kMessage = R"({"job_id":"0190a3c4-0000-7000-8000-000000000001","attempt":2,"kind":"sbom.compute","tenant":"acme","params":{"a":1},
  "dir":"/var/lib/stella/jobs/x.2","inputs":[{"name":"sbom","file":"in/0","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}],
  "limits":{"cpu_s":60,"memory_mb":2048,"wall_s":120,"output_mb":1024},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","engine_version":"0.1.0"})";

std::string with(std::string_view from, std::string_view to) {
  std::string text(kMessage);
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Protocol, ReadsAJob) {
  const auto job = parse_job(kMessage);
  ASSERT_TRUE(job) << job.error().describe();
  EXPECT_EQ(job->attempt, 2);
  EXPECT_EQ(job->kind, "sbom.compute");
  EXPECT_EQ(job->inputs[0].file, "in/0");
  EXPECT_EQ(job->limits.memory_mb, 2048u);
  EXPECT_EQ(json::dump(job->params), R"({"a":1})");
}

TEST(Protocol, RefusesWhatItCannotTrust) {
  EXPECT_FALSE(parse_job("{}"));
  EXPECT_FALSE(parse_job("not json"));
  for (const std::string file : {"../in/0", "/etc/passwd", "in/../../x", "in//0", "", "in/.hidden", "in/0/"}) EXPECT_FALSE(parse_job(with("in/0", file))) << file;
  EXPECT_FALSE(parse_job(with("/var/lib/stella/jobs/x.2", "relative")));
  EXPECT_FALSE(parse_job(with("\"acme\"", "\"../acme\"")));
  EXPECT_FALSE(parse_job(with("\"size\":0", "\"size\":-1")));
  EXPECT_FALSE(parse_job(with("\"cpu_s\":60", "\"cpu_s\":0")));
  EXPECT_FALSE(parse_job(with("\"cpu_s\":60,", "")));
}

TEST(Protocol, ALongListOfInputsLiesInTheDirectory) {
  char name[] = "/tmp/stella-protocol-XXXXXX";
  const std::string dir = ::mkdtemp(name);
  const auto listed = [&](std::string_view file) {
    std::string text = with("/var/lib/stella/jobs/x.2", dir);
    const auto from = text.find("\"inputs\":[");
    return text.replace(from, text.find(']', from) + 1 - from, "\"inputs\":[],\"inputs_file\":\"" + std::string(file) + "\"");
  };
  EXPECT_FALSE(parse_job(listed("inputs.json")));  // taken away with its attempt
  EXPECT_TRUE(write_file_durable(dir + "/inputs.json", R"([{"name":"f1","file":"in/0","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}])"));
  const auto job = parse_job(listed("inputs.json"));
  ASSERT_TRUE(job) << job.error().describe();
  ASSERT_EQ(job->inputs.size(), 1u);
  EXPECT_EQ(job->inputs[0].name, "f1");
  EXPECT_FALSE(parse_job(listed("../inputs.json")));
  EXPECT_TRUE(write_file_durable(dir + "/wrong.json", "{}"));
  EXPECT_FALSE(parse_job(listed("wrong.json")));
  for (const char* file : {"/inputs.json", "/wrong.json", ""}) ::remove((dir + file).c_str());
}

TEST(Protocol, PacketsCarryADescriptor) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
  const Fd a(ends[0]);
  Fd b(ends[1]);
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const Fd read_end(pipe_ends[0]);
  ASSERT_TRUE(send_packet(a.get(), "take this", pipe_ends[1]));
  ::close(pipe_ends[1]);
  {
    const auto packet = receive_packet(b.get());
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->text, "take this");
    ASSERT_TRUE(packet->fd);
    ASSERT_TRUE(write_all(packet->fd.get(), "x"));
  }
  EXPECT_EQ(read_fd(read_end.get(), 10).value(), "x");
  // More than one: the first is taken, none stays behind.
  const auto send_two = [&] {
    int fds[2] = {0, 1};
    char text[] = "two";
    iovec part{text, 3};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fds);
    std::memcpy(CMSG_DATA(header), fds, sizeof fds);
    ASSERT_EQ(::sendmsg(a.get(), &message, 0), 3);
  };
  const auto lowest_free = [] { return Fd(::dup(0)).get(); };
  const int free = lowest_free();
  send_two();
  EXPECT_TRUE(receive_packet(b.get()));
  EXPECT_EQ(lowest_free(), free);
  send_two();
  EXPECT_EQ(receive_request(b.get()).error().code(), base_errors::kLimit);
  EXPECT_EQ(lowest_free(), free);
  ASSERT_TRUE(send_packet(a.get(), "{}"));
  EXPECT_EQ(receive_request(b.get()).value(), "{}");
  ASSERT_TRUE(send_packet(a.get(), std::string(kRequestBytes + 1, 'x')));
  EXPECT_EQ(receive_packet(b.get()).error().code(), base_errors::kLimit);
  b.reset();
  EXPECT_FALSE(send_packet(a.get(), "x"));
}

}  // namespace
}  // namespace stella::runner
