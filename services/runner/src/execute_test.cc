// The sandbox against hostile children: each attack is tried for real by a child of the product's own code (test_child.cc).
#include "execute.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <thread>

#include "sandbox.h"
#include "stella/base/encoding.h"
#include "stella/base/tar.h"
#include "stella/base/time.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/active_set.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/testing/shared_data.h"

namespace stella::runner {
namespace {

class Execute : public ::testing::Test {
 protected:
  void SetUp() override {
    if (landlock_abi() == 0) GTEST_SKIP() << "skipped: this kernel has no Landlock";
    char name[] = "/tmp/stella-runner-XXXXXX";
    job_.dir = ::mkdtemp(name);
    ASSERT_EQ(::mkdir((job_.dir + "/in").c_str(), 0700), 0);
    ASSERT_EQ(::mkdir((job_.dir + "/out").c_str(), 0700), 0);
    job_.job_id = JobId::generate();
    job_.attempt = 1;
    job_.tenant = TenantId::parse("acme").value();
    job_.params = json::Value::object();
    job_.limits = {.cpu_s = 20, .memory_mb = 256, .wall_s = 20, .output_mb = 16};
    program_ = Fd(::open(STELLA_TEST_CHILD, O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(program_) << STELLA_TEST_CHILD;
  }
  void TearDown() override {
    if (!job_.dir.empty()) [[maybe_unused]] const int status = std::system(("rm -rf " + job_.dir).c_str());
  }
  void add_input(const std::string& name, const std::string& bytes) {
    const std::string file = "in/" + std::to_string(job_.inputs.size());
    ASSERT_TRUE(write_file_durable(job_.dir + "/" + file, bytes, 0600));
    job_.inputs.push_back({name, file, crypto::sha256(bytes), bytes.size()});
  }
  Outcome run(const std::string& kind, json::Value params = json::Value::object()) {
    job_.kind = kind;
    job_.params = std::move(params);
    ExecuteOptions options;
    options.program = program_.get();
    if (::geteuid() == 0) options.user = ChildUser{65534, 65534};
    options.context.context.trace_id = TraceId::generate();
    options.context.context.span_id = SpanId::generate();
    options.abort = &abort_;
    return execute(job_, options);
  }
  std::string output(const Outcome& outcome, const std::string& name) {
    for (const auto& o : outcome.outputs) {
      if (o.name == name) return testing::slurp(job_.dir + "/" + o.file);
    }
    ADD_FAILURE() << "no output " << name << ": " << outcome.status << " " << outcome.cause;
    return "";
  }
  void expect_failed(const Outcome& outcome, const std::string& cause) {
    EXPECT_EQ(outcome.status, "failed") << outcome.cause;
    EXPECT_EQ(outcome.cause, cause) << json::dump(outcome.error) << json::dump(outcome.transcript);
    EXPECT_TRUE(outcome.outputs.empty());
    EXPECT_FALSE(outcome.error.str("code").empty());
  }

  JobMessage job_;
  Fd program_;
  std::atomic<bool> abort_{false};
};

// A running child of this process; 0 where there is none.
pid_t child_of(pid_t parent) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    const auto stat = read_file("/proc/" + name + "/stat", 4096);
    if (!stat) continue;
    const auto after = stat->rfind(") ");  // "<pid> (<name>) <state> <parent> …"
    if (after == stat->npos || after + 4 > stat->size() || (*stat)[after + 2] == 'Z') continue;
    if (std::atoi(stat->c_str() + after + 4) == parent) return static_cast<pid_t>(std::stoi(name));
  }
  return 0;
}

TEST_F(Execute, InputsArriveAndOutputsReturn) {
  std::string big;
  while (big.size() < (3u << 20)) big += "0123456789abcdef\n";
  add_input("small", "hello");
  add_input("empty", "");
  add_input("big", big);
  const auto outcome = run("selftest.copy", json::Value::object({{"as_of", "2026-01-01T00:00:00Z"}}));
  ASSERT_EQ(outcome.status, "finished") << outcome.cause << json::dump(outcome.error);
  ASSERT_EQ(outcome.outputs.size(), 4u);
  EXPECT_EQ(output(outcome, "copy-small"), "hello");
  EXPECT_EQ(output(outcome, "copy-empty"), "");
  EXPECT_EQ(output(outcome, "copy-big"), big);
  EXPECT_EQ(output(outcome, "params"), R"({"as_of":"2026-01-01T00:00:00Z"})");
  EXPECT_EQ(outcome.outputs[2].sha256, crypto::sha256(big));
  EXPECT_EQ(outcome.outputs[2].size, big.size());
  EXPECT_EQ(outcome.outputs[2].media_type, "application/octet-stream");
  EXPECT_GT(outcome.max_rss_kb, 0u);
  EXPECT_EQ(json::dump(outcome.environment), R"({"LC_ALL":"C","TZ":"UTC"})");
  std::vector<std::string> steps;
  for (const auto& step : outcome.transcript.as_array()) steps.emplace_back(step.str("step"));
  EXPECT_EQ(steps, (std::vector<std::string>{"verify_inputs", "exec", "exit"}));
}

TEST_F(Execute, AProductJobRunsInTheSandbox) {
  add_input("sbom", R"({"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1"}]})");
  const auto outcome = run("sbom.compute");
  ASSERT_EQ(outcome.status, "finished") << outcome.cause << json::dump(outcome.error) << json::dump(outcome.transcript);
  EXPECT_NE(output(outcome, "components.ndjson").find("pkg:npm/a@1"), std::string::npos);
}

// Every kind of the product under the real filter: a library that needs one more system call fails here, not at the customer's.
TEST_F(Execute, EveryProductKindRunsInTheSandbox) {
  const auto sample = [](const std::string& name) { return testing::slurp(testing::source_path("samples/" + name)); };
  std::string batch, vex_batch;
  std::vector<Sha256> digests;
  for (const auto& path : testing::files_below(testing::source_path("samples/advisories"), ".json")) {
    const auto bytes = testing::slurp(path);
    append_tar(batch, path.substr(path.rfind('/') + 1), bytes);
    digests.push_back(crypto::sha256(bytes));
  }
  append_tar_end(batch);
  append_tar(vex_batch, "vex.json", sample("vex.openvex.json"));
  append_tar_end(vex_batch);
  std::map<std::string, std::string> made;  // every output so far, by name
  const auto stage = [&](const std::string& kind, json::Value params, const std::vector<std::pair<std::string, std::string>>& inputs) {
    job_.inputs.clear();
    for (const auto& [name, bytes] : inputs) add_input(name, bytes);
    const auto outcome = run(kind, std::move(params));
    ASSERT_EQ(outcome.status, "finished") << kind << ": " << outcome.cause << json::dump(outcome.error) << json::dump(outcome.transcript);
    for (const auto& o : outcome.outputs) made[o.name] = testing::slurp(job_.dir + "/" + o.file);
  };
  const auto with_made = [&](std::initializer_list<std::string> names) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const auto& name : names) out.emplace_back(name, made[name]);
    return out;
  };
  const auto none = json::Value::object();
  stage("sbom.compute", none, {{"sbom", sample("sbom.cdx.json")}});
  stage("vex.ingest", json::Value::object({{"source_id", "s"}}), {{"batch.tar", vex_batch}});
  stage("advisory.ingest", json::Value::object({{"source_id", "s"}}), {{"batch.tar", batch}});
  auto link = with_made({"components.ndjson"});
  link.emplace_back("active.bin", pipeline::ActiveSet::encode(digests));
  for (const auto& [name, bytes] : made) {
    if (name.ends_with(".idx")) link.emplace_back(name, bytes);
  }
  stage("advisory.link", none, link);
  auto reconcile = with_made({"components.ndjson", "exposures.ndjson"});
  reconcile.emplace_back("vex-0000.json", sample("vex.openvex.json"));
  stage("vex.reconcile", none, reconcile);
  auto evaluate = with_made({"components.ndjson", "exposures.ndjson", "vex.ndjson"});
  evaluate.emplace_back("policy", sample("policy.yaml"));
  stage("policy.evaluate", json::Value::object({{"as_of", "2026-06-01T00:00:00Z"}}), evaluate);
  stage("export.bundle", json::Value::object({{"format", "json"}}), with_made({"components.ndjson", "exposures.ndjson", "vex.ndjson", "decision.json", "findings.ndjson"}));
  auto snapshot = with_made({"decision.json"});
  snapshot.emplace_back("snapshot.json", R"({"format":"stella.snapshot/v1","files":[{"input":"decision.json","path":"data/outputs/decision.json","media_type":"application/json","role":"output"}],
    "report":{"title":"t","outcome":"deny","tone":"bad","summary":"s","facts":[],"tables":[],"chain":[]}})");
  stage("evidence.snapshot", none, snapshot);
  EXPECT_FALSE(made["findings.ndjson"].empty());
  EXPECT_FALSE(made["payload.tar"].empty());
  for (const auto& kind : pipeline::job_kinds()) {
    job_.inputs.clear();
    const auto outcome = run(std::string(kind.kind));  // without inputs: an error, never a crash
    EXPECT_EQ(outcome.status, "failed") << kind.kind;
    EXPECT_EQ(outcome.error.str("code"), kind.kind == "export.bundle" ? "unsupported" : "invalid") << kind.kind << json::dump(outcome.error);
  }
}

TEST_F(Execute, ErrorsOfTheInputAreFinalThoseOfTheMachineAreNot) {
  const auto final = run("selftest.refuse");
  EXPECT_EQ(final.status, "failed");
  EXPECT_EQ(final.error.str("code"), "malformed");
  EXPECT_EQ(final.error.find("fields")->str("line"), "7");
  EXPECT_EQ(final.cause, "input is not what it claims (line=7)");
  const auto transient = run("selftest.refuse", json::Value::object({{"transient", true}}));
  EXPECT_EQ(transient.status, "errored");
  EXPECT_EQ(transient.error.str("code"), "unavailable");
  EXPECT_EQ(run("selftest.none").status, "errored");
}

TEST_F(Execute, ChangedInputsAreNotUsed) {
  add_input("sbom", "as received");
  ASSERT_TRUE(write_file_durable(job_.dir + "/in/0", "as changed!", 0600));
  const auto outcome = run("selftest.copy");
  EXPECT_EQ(outcome.status, "errored");
  EXPECT_EQ(outcome.error.str("code"), "integrity");
  ASSERT_EQ(::unlink((job_.dir + "/in/0").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (job_.dir + "/in/0").c_str()), 0);
  EXPECT_EQ(run("selftest.copy").status, "errored");
}

// Wherever the cut falls: what is reported stays text.
TEST_F(Execute, LongErrorsAreNotCutInsideACharacter) {
  const auto report = [&](std::size_t bytes) { return run("selftest.long_report", json::Value::object({{"bytes", static_cast<std::int64_t>(bytes)}, {"last", "é"}})); };
  const std::size_t before = report(1).cause.size() - std::string("yé)").size();
  const auto outcome = report(499 - before);
  EXPECT_EQ(outcome.error.str("code"), "malformed") << outcome.cause;
  EXPECT_EQ(outcome.cause.size(), 499u) << outcome.cause;
}

TEST_F(Execute, EndlessLoopsMeetTheCpuLimit) {
  job_.limits.cpu_s = 1;
  const auto outcome = run("selftest.spin");
  expect_failed(outcome, "cpu limit");
  EXPECT_EQ(outcome.error.str("code"), "limit");
  EXPECT_GE(outcome.cpu_ms, 500u);  // the kernel enforces by ticks and reports by the nanosecond: on a busy machine the two differ
}

TEST_F(Execute, SleepersMeetTheWallClock) {
  job_.limits.wall_s = 1;
  const auto outcome = run("selftest.sleep");
  expect_failed(outcome, "wall clock limit");
  EXPECT_GE(outcome.wall_ms, 1000u);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST_F(Execute, HugeAllocationsMeetTheMemoryLimit) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the whole address space, so the child has no limit";
  const auto outcome = run("selftest.allocate");
  expect_failed(outcome, "memory limit");
  EXPECT_LT(outcome.max_rss_kb, (256u + 300u) * 1024u);
}

TEST_F(Execute, OutputsMeetTheirLimit) {
  expect_failed(run("selftest.write"), "output limit");
  // Each file is small enough, all together are not.
  expect_failed(run("selftest.write", json::Value::object({{"files", 10}, {"megabytes", 4}})), "output limit");
}

TEST_F(Execute, CrashesAreNamed) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer reports the crash itself and ends otherwise";
  expect_failed(run("selftest.crash"), "crashed (signal 11)");
  expect_failed(run("selftest.crash", json::Value::object({{"abort", true}})), "crashed (signal 6)");
  expect_failed(run("selftest.crash", json::Value::object({{"exit", true}})), "crashed (exit 3)");
}

TEST_F(Execute, NoFileCanBeOpenedOrMade) {
  const std::string escape = "/tmp/stella-escape-" + std::to_string(::getpid());
  for (const std::string& path : {std::string("/etc/passwd"), std::string("/proc/self/environ"), job_.dir + "/in/0", std::string("/dev/null"), std::string(".")}) {
    const auto outcome = run("selftest.open", json::Value::object({{"path", path}}));
    EXPECT_EQ(output(outcome, "result"), "refused 13") << path;
  }
  const auto outcome = run("selftest.open", json::Value::object({{"path", escape}, {"write", true}}));
  EXPECT_EQ(output(outcome, "result"), "refused 13");
  EXPECT_NE(::access(escape.c_str(), F_OK), 0);
}

// Each layer by itself: what the filter would refuse first hides whether Landlock does.
TEST_F(Execute, LandlockAloneDeniesFiles) {
  const std::string made = job_.dir + "/made";
  add_input("kept", "x");
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !deny_files()) ::_exit(100);
    int failures = 0;
    for (const int flags : {O_RDONLY, O_WRONLY | O_CREAT}) failures += ::open(flags == O_RDONLY ? "/etc/passwd" : made.c_str(), flags, 0600) < 0 && errno == EACCES ? 0 : 1;
    failures += ::mkdir((job_.dir + "/d").c_str(), 0700) != 0 && errno == EACCES ? 0 : 1;
    failures += ::unlink((job_.dir + "/in/0").c_str()) != 0 && errno == EACCES ? 0 : 1;
    failures += ::execl("/bin/true", "true", nullptr) != 0 && errno == EACCES ? 0 : 1;
    ::_exit(failures);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_NE(::access(made.c_str(), F_OK), 0);
}

TEST_F(Execute, ForbiddenSystemCallsEndTheChild) {
  const pid_t victim = ::fork();
  if (victim == 0) {
    ::pause();
    ::_exit(0);
  }
  for (const std::string name : {"fork", "vfork", "socket", "socketpair", "connect", "execve", "ptrace", "kill", "tgkill", "mmap_exec", "memfd_create", "openat2", "unlink", "mkdir", "chroot", "mount",
                                 "bpf", "io_uring_setup", "setrlimit", "prlimit_set", "clone3"}) {
    const auto outcome = run("selftest.call", json::Value::object({{"name", name}, {"pid", static_cast<std::int64_t>(victim)}}));
    EXPECT_EQ(outcome.status, "failed") << name;
    EXPECT_EQ(outcome.cause, "forbidden system call") << name << json::dump(outcome.transcript);
  }
  EXPECT_EQ(::kill(victim, 0), 0) << "the victim lives";
  int status = 0;
  EXPECT_EQ(::waitpid(victim, &status, WNOHANG), 0);
  ::kill(victim, SIGKILL);
  ::waitpid(victim, &status, 0);
}

TEST_F(Execute, FloodsAreBounded) {
  expect_failed(run("selftest.flood"), "report limit");
  const auto outcome = run("selftest.flood", json::Value::object({{"stderr", true}}));
  EXPECT_EQ(outcome.status, "finished") << outcome.cause;
  EXPECT_EQ(outcome.transcript.as_array().back().str("stderr").size(), 4096u);
}

TEST_F(Execute, AChildThatReadsNoAnswersIsEnded) {
  add_input("sbom", "x");
  const auto outcome = run("selftest.unread_requests");
  expect_failed(outcome, "request limit");
  EXPECT_LT(outcome.wall_ms, 15'000u);  // before its wall clock, which is 20 s
}

TEST_F(Execute, DescriptorsOfTheChildAreNotTaken) {
  add_input("sbom", "x");
  const auto open = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()); };
  (void)run("selftest.names").status.empty();  // whatever opens once is open
  const auto before = open();
  (void)run("selftest.give_descriptors").status.empty();
  EXPECT_EQ(open(), before);
}

TEST_F(Execute, OutputNamesAreCheckedOnBothSides) {
  EXPECT_EQ(run("selftest.names").status, "finished");
  const auto outcome = run("selftest.requests");
  EXPECT_EQ(outcome.status, "finished") << outcome.cause << json::dump(outcome.error);
  ASSERT_EQ(outcome.outputs.size(), 1u);
}

TEST_F(Execute, InputsStayAsTheyAre) {
  add_input("sbom", "as received");
  EXPECT_EQ(run("selftest.write_input").status, "finished");
  EXPECT_EQ(testing::slurp(job_.dir + "/in/0"), "as received");
}

TEST_F(Execute, TheChildSeesNothingOfItsParent) {
  ::setenv("STELLA_SECRET", "canary", 1);
  const Fd open(::open("/etc/passwd", O_RDONLY));  // without close-on-exec
  const auto outcome = run("selftest.look");
  ::unsetenv("STELLA_SECRET");
  const auto seen = json::parse(output(outcome, "result")).value();
  EXPECT_EQ(json::dump(*seen.find("environment")), R"(["LC_ALL=C","TZ=UTC"])");
  EXPECT_EQ(json::dump(*seen.find("fds")), "[0,1,2,3,4]");
}

TEST_F(Execute, AnAttemptCanBeRepeatedInItsDirectory) {
  add_input("a", "1");
  for (int i = 0; i < 2; ++i) {
    const auto outcome = run("selftest.copy");
    ASSERT_EQ(outcome.status, "finished") << outcome.cause;
    EXPECT_EQ(output(outcome, "copy-a"), "1");
  }
}

TEST_F(Execute, AShutdownEndsTheChildAsErrored) {
  std::thread stopper([&] {
    ::usleep(100'000);
    abort_ = true;
  });
  const auto outcome = run("selftest.sleep");
  stopper.join();
  EXPECT_EQ(outcome.status, "errored");
  EXPECT_EQ(outcome.error.str("code"), "cancelled");
}

// The kernel's answer to a machine without memory, which may meet a child that took little of it.
TEST_F(Execute, AChildThatIsKilledFromOutsideIsErrored) {
  std::thread killer([] {
    for (const auto deadline = Deadline::after(std::chrono::seconds(15)); !deadline.passed(); ::usleep(20'000))
      if (const auto child = child_of(::getpid()); child > 0 && ::kill(child, SIGKILL) == 0) return;
  });
  const auto outcome = run("selftest.sleep");
  killer.join();
  EXPECT_EQ(outcome.status, "errored");
  EXPECT_EQ(outcome.cause, "killed (out of memory on the machine)");
  EXPECT_EQ(outcome.error.str("code"), "unavailable");
}

// A cancelled job, or one whose lease ended: the orchestrator takes the directory, the work ends.
TEST_F(Execute, TheWorkEndsWithItsDirectory) {
  std::thread remover([&] {
    while (child_of(::getpid()) <= 0) ::usleep(20'000);
    std::filesystem::remove_all(job_.dir);
  });
  const auto outcome = run("selftest.sleep");
  remover.join();
  EXPECT_EQ(outcome.status, "errored");
  EXPECT_EQ(outcome.cause, "the attempt is over");
  EXPECT_LT(outcome.wall_ms, 10'000u);  // before its wall clock, which is 20 s
}

TEST_F(Execute, MissingDirectoriesAndProgramsAreErrored) {
  auto outcome = run("selftest.copy");
  program_ = Fd(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  outcome = run("selftest.copy");
  EXPECT_EQ(outcome.status, "errored");
  EXPECT_EQ(outcome.error.find("fields")->str("step"), "program");
  ASSERT_EQ(::rmdir((job_.dir + "/out").c_str()), 0);
  EXPECT_EQ(run("selftest.copy").status, "errored");
}

}  // namespace
}  // namespace stella::runner
