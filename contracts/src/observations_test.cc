// Lines of observations.ndjson, byte by byte.
#include "stella/contracts/observations.h"

#include <gtest/gtest.h>

#include <string>

namespace stella::contracts {
namespace {

std::string line(std::string_view path, const Error& error) {
  std::string out;
  json::Writer writer(out);
  writer.begin_object();
  write_document(writer, path, Sha256{}, 7);
  write_rejected(writer, error);
  writer.end_object();
  return out;
}

TEST(Observations, ARejectedDocumentSaysWhereItIsWrong) {
  const std::string zeros(64, '0');
  EXPECT_EQ(line("a/b.json", Error(base_errors::kInvalid, "not JSON").with("line", std::uint64_t{12}).with("expected", "a comma").with("version", "12a")),
            R"({"path":"a/b.json","sha256":")" + zeros + R"(","size":7,"status":"rejected","error":{"code":"invalid","message":"not JSON","line":12,"expected":"a comma","version":"12a"}})");
}

TEST(Observations, APathThatIsNotUtf8IsPercentEncoded) {
  const std::string text = line("a\xff.json", Error(base_errors::kInvalid, "x"));
  EXPECT_TRUE(text.starts_with(R"({"path":"a%FF.json")")) << text;
}

}  // namespace
}  // namespace stella::contracts
