// What the object store costs without a network: an object on a POSIX file system, a signature, a listing of S3.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "s3_xml.h"
#include "sigv4.h"
#include "stella/crypto/digest.h"
#include "stella/platform/objects.h"

namespace {

using namespace stella;
using namespace stella::objects;

void sign(benchmark::State& state) {
  sigv4::Request request;
  request.method = "PUT";
  request.path = "/evidence/tenants/acme/objects/" + std::string(64, 'a');
  request.headers = {{"Host", "s3.example.org"}, {"x-amz-checksum-sha256", std::string(44, 'b')}, {"If-None-Match", "*"}};
  request.payload_hash = std::string(64, 'c');
  const sigv4::Credentials credentials{"AKIDEXAMPLE", Secret<std::string>("secret"), {}};
  for (auto _ : state) benchmark::DoNotOptimize(sigv4::sign(request, credentials, {"eu-central-1", "s3"}, Timestamp::now()));
}
BENCHMARK(sign);

void listing(benchmark::State& state) {
  std::string text = "<ListBucketResult>";
  for (int i = 0; i < 1000; ++i) text += "<Contents><Key>tenants/acme/objects/" + std::string(64, 'a') + "</Key><LastModified>2026-11-30T00:00:00.000Z</LastModified><Size>1234</Size></Contents>";
  text += "</ListBucketResult>";
  for (auto _ : state) benchmark::DoNotOptimize(parse_xml(text));
}
BENCHMARK(listing);

void put_posix(benchmark::State& state) {
  std::string dir = (std::filesystem::temp_directory_path() / "stella-bench-XXXXXX").string();
  if (::mkdtemp(dir.data()) == nullptr) return state.SkipWithError("no directory");
  {
    const auto store = std::move(open_posix_store(dir).value());
    const std::string bytes(4096, 'x');
    const ObjectLock lock = state.range(0) != 0 ? ObjectLock{LockMode::kGovernance, Timestamp::now() + std::chrono::hours(1), false} : ObjectLock{};
    int n = 0;
    for (auto _ : state) benchmark::DoNotOptimize(store->put("objects/" + std::to_string(n++), bytes, lock));
  }
  std::filesystem::remove_all(dir);
}
BENCHMARK(put_posix)->ArgName("locked")->Arg(0)->Arg(1);

}  // namespace

BENCHMARK_MAIN();
