// The program as a whole, without a server: exit codes, help, completion.
#include "stella/cli/app.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "stella/base/file.h"
#include "stella/cli/commands.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/testing/shared_data.h"

namespace stella::cli {
namespace {

struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};

// Runs the real program in this process, with its two streams in files.
Ran run(std::vector<std::string> words) {
  App app;
  register_access(app);
  register_documents(app);
  register_evaluations(app);
  register_general(app);
  words.insert(words.begin(), "stella");
  std::vector<const char*> argv;
  for (const std::string& w : words) argv.push_back(w.c_str());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Ran ran;
  ran.code = app.main(static_cast<int>(argv.size()), argv.data());
  ran.out = ::testing::internal::GetCapturedStdout();
  ran.err = ::testing::internal::GetCapturedStderr();
  return ran;
}

class AppTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-app-XXXXXX";
    directory_ = ::mkdtemp(name);
    ::setenv("STELLA_CONFIG_DIR", directory_.c_str(), 1);
    for (const char* variable : {"STELLA_URL", "STELLA_TOKEN", "STELLA_TENANT", "STELLA_PASSWORD"}) ::unsetenv(variable);
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -rf " + directory_).c_str()), 0); }
  std::string directory_;
};

TEST_F(AppTest, HelpFitsEightyColumnsEverywhere) {
  App app;
  register_access(app);
  register_documents(app);
  register_evaluations(app);
  register_general(app);
  int commands = 0;
  const std::function<void(const Command&)> visit = [&](const Command& c) {
    ++commands;
    EXPECT_FALSE(c.help.empty()) << c.path;
    EXPECT_TRUE(c.action || !c.children.empty()) << c.path;
    const std::string text = app.help_text(c);
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      EXPECT_LE(display_width(line), 80u) << c.path << ": " << line;
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    }
    for (const auto& child : c.children) visit(*child);
  };
  visit(app.root());
  EXPECT_GT(commands, 30);
}

TEST_F(AppTest, HelpIsNoError) {
  EXPECT_EQ(run({}).code, kExitDone);
  const Ran help = run({"evaluate", "--help"});
  EXPECT_EQ(help.code, kExitDone);
  EXPECT_NE(help.out.find("--fail-on deny|warn|defer"), std::string::npos);
  EXPECT_EQ(run({"sbom", "-h"}).code, kExitDone);
}

TEST_F(AppTest, WrongUsageSaysWhatToType) {
  const Ran typo = run({"sbom", "ingst", "x"});
  EXPECT_EQ(typo.code, kExitUsage);
  EXPECT_NE(typo.err.find("stella sbom ingest"), std::string::npos) << typo.err;
  EXPECT_EQ(run({"evaluate"}).code, kExitUsage);
  EXPECT_EQ(run({"sbom"}).code, kExitUsage);
  EXPECT_EQ(run({"sbom", "list", "extra"}).code, kExitUsage);
  EXPECT_EQ(run({"version", "-o", "xml"}).code, kExitUsage);
  EXPECT_EQ(run({"version", "--nonsense"}).code, kExitUsage);
  EXPECT_NE(run({"-o", "json", "sbm"}).err.find("stella sbom"), std::string::npos);
}

TEST_F(AppTest, GlobalOptionsStandAnywhere) {
  EXPECT_EQ(run({"-o", "json", "version"}).out, run({"version", "-o", "json"}).out);
  EXPECT_EQ(run({"version", "-o", "ndjson"}).out, "{\"name\":\"stella\",\"version\":\"" STELLA_VERSION "\"}\n");
}

TEST_F(AppTest, NobodyLoggedInIsFour) {
  const Ran nobody = run({"--url", "http://127.0.0.1:9", "sbom", "list"});
  EXPECT_EQ(nobody.code, kExitNotAllowed);
  EXPECT_NE(nobody.err.find("stella login"), std::string::npos);
  EXPECT_EQ(run({"sbom", "list"}).code, kExitFailed);  // no server is known
  EXPECT_EQ(run({"--url", "http://example.org", "me"}).code, kExitFailed);  // a token would travel in the open
}

TEST_F(AppTest, PolicyCheckNeedsNoServer) {
  const Ran good = run({"policy", "check", testing::source_path("samples/policy.yaml")});
  EXPECT_EQ(good.code, kExitDone) << good.err;
  EXPECT_NE(good.out.find("serious-with-fix"), std::string::npos);
  EXPECT_EQ(good.out.find("trace_id"), std::string::npos);  // no server was asked
  const std::string path = directory_ + "/bad.yaml";
  ASSERT_TRUE(write_file_durable(path, "format: stella.policy/v1\nlabel: x\nrules: 7\n"));
  const Ran bad = run({"policy", "check", path});
  EXPECT_EQ(bad.code, kExitFailed);
  EXPECT_NE(bad.err.find(path + ":3:"), std::string::npos) << bad.err;
}

TEST_F(AppTest, IngestOfNothingIsSaidBeforeAnythingIsSent) {
  EXPECT_EQ(run({"advisory", "ingest", directory_ + "/none"}).code, kExitFailed);
  EXPECT_EQ(run({"vex", "ingest"}).code, kExitUsage);
}

TEST_F(AppTest, BashCompletes) {
  const Ran script = run({"completion", "bash"});
  ASSERT_EQ(script.code, kExitDone);
  const std::string path = directory_ + "/completion.bash";
  const auto complete = [&](const std::string& line, int word) {
    const std::string program = script.out + "\nCOMP_WORDS=(" + line + ")\nCOMP_CWORD=" + std::to_string(word) + "\n_stella\nprintf '%s\\n' \"${COMPREPLY[@]}\" > " + directory_ + "/out\n";
    EXPECT_TRUE(write_file_durable(path, program));
    EXPECT_EQ(std::system(("bash " + path).c_str()), 0);
    return *read_file(directory_ + "/out", 1u << 20);
  };
  EXPECT_EQ(complete("stella sb", 1), "sbom\n");
  EXPECT_NE(complete("stella sbom ''", 2).find("ingest\n"), std::string::npos);
  EXPECT_EQ(complete("stella evaluate --fail-on w", 3), "warn\n");
  EXPECT_EQ(complete("stella sbom list -o js", 4), "json\n");
  EXPECT_EQ(complete("stella -o json policy act", 4), "activate\n");
  EXPECT_EQ(complete("stella completion z", 2), "zsh\n");
}

TEST_F(AppTest, EveryShellGetsAScript) {
  EXPECT_NE(run({"completion", "zsh"}).out.find("#compdef stella"), std::string::npos);
  const Ran fish = run({"completion", "fish"});
  EXPECT_NE(fish.out.find("complete -c stella -n \"__stella_path 'sbom'\" -a ingest"), std::string::npos);
  EXPECT_EQ(run({"completion", "csh"}).code, kExitUsage);
}

}  // namespace
}  // namespace stella::cli
