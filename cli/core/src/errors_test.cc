// What, why, where, what to do; and the exit code.
#include "stella/cli/errors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"
#include "stella/pipeline/policy/policy_set.h"
#include "stella/testing/shared_data.h"

namespace stella::cli {
namespace {

const Palette kPlainText(false);

TEST(Position, CaretStandsBelowTheByte) {
  EXPECT_EQ(render_position_in("a: 1\nbb: x y\n", "p.yaml", 2, 5, kPlainText),
            "p.yaml:2:5\n"
            "  2 | bb: x y\n"
            "          ^\n");
  // Columns count bytes; the caret counts what is seen.
  EXPECT_EQ(render_position_in("ü: ?", "p.yaml", 1, 5, kPlainText),
            "p.yaml:1:5\n"
            "  1 | ü: ?\n"
            "         ^\n");
}

TEST(Position, LongLinesAreCutAroundIt) {
  const std::string line = std::string(500, 'a') + "X" + std::string(500, 'b');
  const std::string text = render_position_in(line, "s.json", 1, 501, kPlainText);
  const std::size_t shown = text.find('\n') + 1;
  const std::size_t caret = text.rfind('\n', text.size() - 2) + 1;
  EXPECT_LT(caret - shown, 120u);
  const std::string second = text.substr(shown, caret - shown);
  EXPECT_NE(second.find("aX"), std::string::npos);
  // "…" is one column but three bytes.
  EXPECT_EQ(text.find('^', caret) - caret, second.find('X') - 2);
}

TEST(Position, OutsideOfTheDocument) {
  EXPECT_EQ(render_position_in("one\n", "x", 9, 1, kPlainText), "x:9:1\n");
  EXPECT_EQ(render_position("/nonexistent", 3, 2, kPlainText), "/nonexistent:3:2\n");
  EXPECT_EQ(render_position_in("", "x", 1, 1, kPlainText).substr(0, 6), "x:1:1\n");
  EXPECT_NE(render_position_in("ab", "x", 1, 99, kPlainText).find("ab"), std::string::npos);
}

TEST(Errors, AFaultyPolicyPointsIntoTheFile) {
  std::string text = testing::slurp(testing::source_path("samples/policy.yaml"));
  const std::size_t at = text.find("!vex.conflict");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 13, "!vex.conflct");
  char path[] = "/tmp/stella-policy-XXXXXX";
  ::close(::mkstemp(path));
  ASSERT_TRUE(write_file_durable(path, text));
  const auto set = pipeline::parse_policy_set(text);
  ASSERT_FALSE(set);
  const std::string shown = render_error(about_document(Error(set.error()), path), kPlainText);
  EXPECT_NE(shown.find(std::string(path) + ":17:59\n  17 |     when: "), std::string::npos) << shown;
  EXPECT_NE(shown.find("rules[0].when"), std::string::npos);
  EXPECT_NE(shown.find("to do"), std::string::npos);
  ::unlink(path);
}

TEST(Errors, ProblemDocuments) {
  const Error denied = problem_error(403, R"({"type":"urn:stella:error:forbidden","title":"not allowed","status":403,"detail":"the token does not allow this","code":"forbidden",
    "remedy":"Ask an administrator.","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","missing_scope":"stella:kb:write#platform","decision_id":"0193"})");
  EXPECT_EQ(exit_code(denied), kExitNotAllowed);
  const std::string shown = render_error(denied, kPlainText);
  for (const char* part : {"the token does not allow this", "stella:kb:write#platform", "Ask an administrator.", "0193"}) EXPECT_NE(shown.find(part), std::string::npos) << part << "\n" << shown;

  const Error away = problem_error(503, R"({"status":503,"detail":"a part is not available","code":"unavailable","part":"postgresql","remedy":"Send again.","trace_id":"x"})");
  EXPECT_EQ(exit_code(away), kExitUnavailable);
  EXPECT_NE(render_error(away, kPlainText).find("postgresql"), std::string::npos);

  const Error where = problem_error(400, R"({"status":400,"detail":"not JSON","code":"malformed","errors":[{"line":"3","column":"7","expected":"a value","oddity":"42"}]})");
  EXPECT_EQ(where.field("line"), "3");
  EXPECT_EQ(where.field("expected"), "a value");
  EXPECT_NE(render_error(where, kPlainText).find("oddity 42"), std::string::npos);  // nothing said is lost
  EXPECT_EQ(exit_code(where), kExitFailed);
}

TEST(Errors, AnswersThatAreNoProblemDocuments) {
  const Error proxy = problem_error(502, "<html>\x1b[31mBad Gateway</html>");
  EXPECT_EQ(exit_code(proxy), kExitUnavailable);
  const std::string shown = render_error(proxy, kPlainText);
  EXPECT_NE(shown.find("HTTP 502"), std::string::npos);
  EXPECT_EQ(shown.find('\x1b'), std::string::npos);
  EXPECT_EQ(problem_error(404, "").code(), base_errors::kNotFound);
  EXPECT_EQ(problem_error(500, "[]").code(), base_errors::kInternal);
}

TEST(Errors, RecordedErrorsOfRows) {
  const auto row = json::parse(R"({"code":"malformed","message":"not an SBOM","root_cause":"the child was killed","fields":{"line":"2","column":"5","expected":"bomFormat"}})");
  const Error error = recorded_error(*row);
  EXPECT_EQ(error.code(), base_errors::kMalformed);
  EXPECT_EQ(error.field("detail"), "not an SBOM");
  EXPECT_EQ(error.field("line"), "2");
  EXPECT_EQ(error.field("root_cause"), "the child was killed");
  // A rejected document of a batch has its position beside the message, as numbers.
  const auto rejected = json::parse(R"({"code":"malformed","message":"no id","line":1,"column":40,"expected":"id"})");
  EXPECT_EQ(recorded_error(*rejected).field("column"), "40");
}

}  // namespace
}  // namespace stella::cli
