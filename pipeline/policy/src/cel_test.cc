// The expression language: positions in errors, types, cost bound, hostile expressions.
#include "stella/pipeline/policy/cel.h"

#include <gtest/gtest.h>

namespace stella::pipeline::cel {
namespace {

const List kAliases = {Value::string("CVE-2021-44228"), Value::string("CVE-2021-45046")};

const Environment kEnvironment = {{"severity", Type::of(Kind::kString)}, {"score", Type::of(Kind::kDouble)}, {"component.name", Type::of(Kind::kString)},
                                  {"component.version", Type::of(Kind::kString)}, {"advisory.aliases", Type::list_of(Type::of(Kind::kString))},
                                  {"age_days", Type::of(Kind::kInt)}};

class Values : public Activation {
 public:
  Value get(std::size_t variable) const override {
    switch (variable) {
      case 0: return Value::string("high");
      case 1: return Value::number(7.5);
      case 2: return Value::string("log4j-core");
      case 3: return Value::string("");
      case 4: return Value::list(&kAliases);
      default: return Value::integer(12);
    }
  }
};

std::string run(std::string_view expression, std::uint32_t steps = kSteps) {
  auto program = compile(expression, kEnvironment);
  if (!program) return program.error().describe();
  Scratch scratch(steps);
  const Value v = program->evaluate(Values(), scratch);
  if (v.is_error()) {
    const auto [line, column] = program->position(v.error_offset());
    return "error: " + std::string(v.as_text()) + " at " + std::to_string(line) + ":" + std::to_string(column);
  }
  std::string out;
  append_json(out, v);
  return out;
}

TEST(Cel, RulesOfAPolicy) {
  EXPECT_EQ(run("severity in ['critical', 'high'] && score >= 7"), "true");
  EXPECT_EQ(run("component.name.startsWith('log4j') && advisory.aliases.exists(a, a == 'CVE-2021-44228')"), "true");
  EXPECT_EQ(run("has(component.version)"), "false");
  EXPECT_EQ(run("has(component.name) && !has(component.version)"), "true");
  EXPECT_EQ(run("advisory.aliases.filter(a, a.endsWith('6')).map(a, size(a))"), "[14]");
  EXPECT_EQ(run("age_days > 10 ? 'old' : 'new'"), "\"old\"");
  EXPECT_EQ(run("component.name.matches('^log4j-(core|api)$')"), "true");
  EXPECT_EQ(run("{'a': 1, 'b': 2}.map(k, k)"), R"(["a","b"])");
}

TEST(Cel, ReadsSayWhichVariablesWereUsed) {
  auto program = compile("severity == 'low' && score > 1.0", kEnvironment);
  ASSERT_TRUE(program);
  Scratch scratch;
  EXPECT_TRUE(program->evaluate(Values(), scratch).is_false());
  EXPECT_EQ(scratch.reads(), 1u);  // score was never looked at
}

TEST(Cel, ErrorsOfEvaluationNameTheirPlace) {
  EXPECT_EQ(run("true &&\n  age_days / 0 > 1"), "error: division by zero at 2:12");
  EXPECT_EQ(run("{'a': 1}['b'] == 1"), "error: no such key at 1:9");
  EXPECT_EQ(run("9223372036854775807 + age_days == 0"), "error: arithmetic overflow at 1:21");
  EXPECT_EQ(run("age_days / 0 > 1 || true"), "true");
  EXPECT_EQ(run("age_days / 0 > 1 && false"), "false");
}

struct Bad {
  std::string_view expression, error;
};

TEST(Cel, ErrorsOfCompilationNamePlaceAndExpectation) {
  const Bad cases[] = {
      {"", "malformed expression (line=1, column=1, expected=a literal, a name or a bracket)"},
      {"severity = 'high'", "malformed expression (line=1, column=10, expected=an operator, a name or a literal)"},
      {"severity ==\n\n  )", "malformed expression (line=3, column=3, expected=a literal, a name or a bracket)"},
      {"'open", "unterminated string (line=1, column=1, expected=')"},
      {"(severity == 'a'", "malformed expression (line=1, column=17, expected=))"},
      {"component.nmae == 'x'", "unknown member (line=1, column=11, expected=one of component.name, component.version)"},
      {"severity == 7", "types do not fit (line=1, column=10, expected=string on both sides (dyn() compares different types), found int)"},
      {"score > 'x'", "types do not fit (line=1, column=7, expected=double on both sides, found string)"},
      {"severity && true", "types do not fit (line=1, column=1, expected=bool, found string)"},
      {"7 in advisory.aliases", "types do not fit (line=1, column=3, expected=string before 'in', found int)"},
      {"severity.matches('(')", "malformed regular expression (line=1, column=18, expected=RE2 syntax: missing ): ()"},
      {"severity.matches('(?=a)')", "malformed regular expression (line=1, column=18, expected=RE2 syntax: invalid perl operator: (?=)"},
      {"advisory.aliases.all(1, true)", "malformed macro (line=1, column=18, expected=all(name, expression))"},
      {"has(severity)", "malformed has() (line=1, column=1, expected=has(operand.member))"},
      {"severity.size(1) > 1", "wrong number of arguments (line=1, column=10, expected=0)"},
      {"99999999999999999999 > 1", "number out of range (line=1, column=1, expected=a signed 64-bit integer)"},
      {"'\\q' == ''", "malformed escape (line=1, column=2, expected=one of \\a \\b \\f \\n \\r \\t \\v \\\\ \\\" \\' \\` \\? \\xHH \\uHHHH \\UHHHHHHHH \\OOO)"},
      {"for == 1", "malformed expression (line=1, column=1, expected=a name that is not reserved)"},
      {"a.b.C{x: 1}", "messages are not part of this expression language (line=1, column=6, expected=an operator)"},
      {"\xff", "malformed expression (line=1, column=1, expected=UTF-8)"},
  };
  for (const auto& c : cases) EXPECT_EQ(run(c.expression), c.error) << c.expression;
  EXPECT_NE(run("wheel == 1").find("unknown name (line=1, column=1, expected=one of severity, score"), std::string::npos);
  EXPECT_NE(run("severity.lower() == 'x'").find("unknown function (line=1, column=10"), std::string::npos);
}

TEST(Cel, CostIsBounded) {
  EXPECT_EQ(run("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, a + b + c + d + e > 0)))))"),
            "error: evaluation is too expensive at 1:21");
  // Nothing absorbs it.
  EXPECT_EQ(run("[1,2,3,4,5].all(a, [1,2,3,4,5].all(b, a + b > 0)) || true", 20), "error: evaluation is too expensive at 1:1");
  // Doubling texts runs into it too, long before memory.
  std::string doubling = "['x'].map(a, a + a)";
  for (int i = 0; i < 40; ++i) doubling += ".map(a, a + a)";
  EXPECT_NE(run(doubling).find("too expensive"), std::string::npos);
}

TEST(Cel, DepthAndLengthAreLimited) {
  const auto nested = [](std::size_t n) { return std::string(n, '(') + "true" + std::string(n, ')'); };
  EXPECT_EQ(run(nested(100)), "true");
  EXPECT_NE(run(nested(200)).find("nested too deeply"), std::string::npos);
  EXPECT_NE(run(nested(8000)).find("nested too deeply"), std::string::npos);
  std::string sum = "1";
  for (int i = 0; i < 2000; ++i) sum += "+1";
  EXPECT_NE(run(sum).find("nested too deeply"), std::string::npos);
  std::string chain = "false";
  for (int i = 0; i < 1000; ++i) chain += "||false";
  EXPECT_EQ(run(chain), "false");
  EXPECT_NE(run(std::string(kExpressionBytes + 1, ' ')).find("too long"), std::string::npos);
  EXPECT_EQ(run(std::string(kExpressionBytes - 4, ' ') + "true"), "true");
  EXPECT_NE(run(std::string(5000, '[')).find("nested too deeply"), std::string::npos);
  EXPECT_NE(run(std::string(5000, '-') + "1").find("nested too deeply"), std::string::npos);
}

TEST(Cel, MutilatedExpressionsNeverCrash) {
  const std::string good = R"(severity in ['critical', "h\x41"] && score >= -7.5e0 ? advisory.aliases.map(a, a + r'\d')[0] : {1u: b"x", 'k': null}['k'])";
  for (std::size_t i = 0; i < good.size(); ++i) {
    (void)run(good.substr(0, i));
    (void)run(good.substr(i));
    for (const char c : {'\0', '\'', '(', '[', '{', '.', '-', '\\', '\xff', '0', 'b', '?'}) {
      std::string bad = good;
      bad[i] = c;
      (void)run(bad);
      bad.insert(i, 1, c);
      (void)run(bad);
    }
  }
}

}  // namespace
}  // namespace stella::pipeline::cel
