// versitygw, with the helpers of platform/objects' own tests.
#include <cstdio>

#include "s3_test_support.h"
#include "stella/testing/shared_data.h"
#include "world.h"

namespace stella::chaos {
namespace {

class Versity final : public Buckets {
 public:
  explicit Versity(const std::string& program) : server_(program, {}) {}
  std::string make(const std::string& name) override {
    server_.make_bucket(name, true);
    return server_.data() + "/buckets/" + name;
  }
  std::unique_ptr<objects::Store> open(const std::string& name) const override { return std::move(objects::open_s3_store(server_.options(name)).value()); }
  void crash() override {
    server_.kill();
    server_.restart();
  }

 private:
  objects::testing::S3Server server_;
};

}  // namespace

std::unique_ptr<Buckets> Buckets::find() {
  FILE* pipe = ::popen((testing::source_path("tools/build-versitygw") + " --find 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return nullptr;
  char buffer[4096];
  std::string path(buffer, std::fread(buffer, 1, sizeof buffer, pipe));
  while (!path.empty() && path.back() == '\n') path.pop_back();
  if (::pclose(pipe) != 0 || path.empty()) return nullptr;
  return std::make_unique<Versity>(path);
}

}  // namespace stella::chaos
