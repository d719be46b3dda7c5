// The tests' bundle.
#include "bundle_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>

#include "bag.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/report.h"
#include "stella/evidence/format/statement.h"
#include "stella/evidence/format/verify_script.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kDecision = R"({"decision":"deny","engine":"1"})";

}  // namespace

void BundleTest::SetUp() {
  char dir[] = "/tmp/stella_bundle_XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  dir_ = dir;
  write("KEY.pub", key_.public_key().pem());
  write("verify.sh", verify_sh());
}

void BundleTest::TearDown() { (void)!std::system(("rm -rf '" + dir_ + "'").c_str()); }

void BundleTest::write(std::string_view name, std::string_view bytes) const { ASSERT_TRUE(write_file_durable(path(name), bytes).has_value()) << name; }

ShellResult BundleTest::shell(const std::string& command) const {
  FILE* pipe = ::popen(("cd '" + dir_ + "' && { " + command + "; } 2>&1").c_str(), "r");
  ShellResult out;
  std::array<char, 4096> buf;
  while (const std::size_t n = std::fread(buf.data(), 1, buf.size(), pipe)) out.output.append(buf.data(), n);
  const int status = ::pclose(pipe);
  out.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return out;
}

std::vector<LeafFile> BundleTest::evaluation_files() {
  const auto leaf = [](std::string path, std::string role, std::string bytes) {
    const std::string type = path.ends_with(".html") ? "text/html" : path.ends_with(".ndjson") ? "application/x-ndjson" : "application/json";
    return LeafFile{.path = std::move(path), .media_type = type, .role = std::move(role), .source_path = {}, .source_fd = -1,
                    .bytes = std::move(bytes)};
  };
  const Report report{.title = "Evaluation of <app>", .outcome = "deny", .tone = ReportTone::kBad, .summary = "One finding.", .facts = {},
                      .tables = {}, .chain = {}};
  return {leaf("data/outputs/decision.json", "output", std::string(kDecision)),
          leaf("data/inputs/sbom/app.cdx.json", "input", R"({"bomFormat":"CycloneDX","specVersion":"1.5","components":[]})"),
          leaf("data/inputs/advisories/GHSA-35jh-r3h4-6jhm.json", "input", R"({"id":"GHSA-35jh-r3h4-6jhm","affected":[]})"),
          leaf("data/inputs/vex/vex-0000.json", "input", R"({"@context":"https://openvex.dev/ns/v0.2.0","statements":[]})"),
          leaf("data/inputs/policy/policy.yaml", "input", "version: 1\nrules: []\n"),
          leaf("data/outputs/findings.ndjson", "output", "{\"vuln\":\"CVE-2021-23337\"}\n"),
          leaf("data/trace.ndjson", "trace", "{\"rule\":\"r1\",\"result\":true}\n"),
          leaf("data/empty.ndjson", "log", ""),
          leaf("report.html", "report", build_report(report))};
}

SealFacts BundleTest::facts() {
  SealFacts f;
  f.bundle_id = BundleId::parse("0193f0a2-7d5c-7000-8000-00000000000a").value();
  f.tenant_id = TenantId::parse("acme").value();
  f.case_id = CaseId::parse("CASE-1").value();
  f.kind = "eval";
  f.resource_id = "0193f0a2-7d5c-7000-8000-00000000000b";
  f.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  f.sealed_at = Timestamp::from_micros(1'764'000'000'000'000);
  f.request_sha256 = crypto::sha256(R"({"case_id":"CASE-1"})");
  f.product_version = "0.1.0";
  f.engine_version = "1";
  f.retain_until = Timestamp::from_micros(1'864'000'000'000'000);
  return f;
}

SealedBundle BundleTest::seal(std::vector<LeafFile> files, const crypto::Signer* second) {
  StringSink payload;
  const auto items = build_payload(std::move(files), payload);
  EXPECT_TRUE(items.has_value()) << items.error().describe();
  write("payload.tar", payload.text);
  const Fd fd(::open(path("payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
  const std::string lines = items_ndjson(*items);
  std::vector<const crypto::Signer*> signers = {&key_};
  if (second != nullptr) signers.push_back(second);
  const Subject subject{.name = "decision.json", .sha256 = crypto::sha256(kDecision)};
  const std::string statement = make_statement(std::span(&subject, 1), kProvenancePredicate, json::Value::object({{"a", 1}})).value();
  SealInput input{.payload_fd = fd.get(), .items_ndjson = lines, .bundle_key = bundle_key_, .signers = signers, .facts = facts(),
                  .custody_events = custody_events_,
                  .extra_files = {{"trust-hints/key.pub", key_.public_key().pem()},
                                  {"attest/provenance.sigstore.json", sign_statement(key_, statement).value()}},
                  .on_progress = {}};
  if (seal_names_attestations_) input.facts.attestations = attested_in(input.extra_files).value();
  if (!sealed_entries_.empty()) input.facts.custody = SealedCustody{sealed_events(custody_events_, sealed_entries_, sealed_entries_.size()).value(), {}};
  StringSink out;
  auto sealed = seal_bundle(input, out);
  EXPECT_TRUE(sealed.has_value()) << (sealed ? "" : sealed.error().describe());
  write("bundle.tgz", out.text);
  return sealed ? std::move(*sealed) : SealedBundle{};
}

BundleTest::Members BundleTest::members(const std::string& tgz) const {
  Members out;
  StringSource source(tgz);
  GunzipSource gunzip(source, 1u << 30);
  TarReader tar(gunzip);
  for (;;) {
    const auto entry = tar.next();
    EXPECT_TRUE(entry.has_value());
    if (!entry || !*entry) return out;
    std::string& bytes = out[(*entry)->path];
    for (;;) {
      const auto piece = tar.read();
      if (!piece || piece->empty()) break;
      bytes.append(*piece);
    }
  }
}

std::string BundleTest::pack(const Members& members) const {
  StringSink out;
  GzipSink gzip(out);
  TarWriter tar(gzip);
  for (const auto& [name, bytes] : members) EXPECT_TRUE(tar.add(name, bytes).has_value()) << name;
  EXPECT_TRUE(tar.finish().has_value());
  EXPECT_TRUE(gzip.finish().has_value());
  return std::move(out.text);
}

void BundleTest::fix_manifests(Members& members) {
  members.erase(std::string(kManifest));
  members.erase(std::string(kTagManifest));
  DigestByPath payload, tags;
  for (const auto& [name, bytes] : members) (is_bag_payload(name) ? payload : tags).emplace(name, crypto::sha256(bytes));
  const std::string text = manifest_text(payload);
  tags.emplace(kManifest, crypto::sha256(text));
  members[std::string(kManifest)] = text;
  members[std::string(kTagManifest)] = manifest_text(tags);
}

Result<Verdict> BundleTest::try_verify(const std::string& tgz) const {
  StringSource source(tgz);
  return verify_bundle(source, {.trust = trust_, .trust_source = "KEY.pub", .threshold = 1, .limits = {}, .on_progress = {}});
}

Verdict BundleTest::verify(const std::string& tgz) const {
  auto verdict = try_verify(tgz);
  EXPECT_TRUE(verdict.has_value()) << (verdict ? "" : verdict.error().describe());
  return verdict ? std::move(*verdict) : Verdict{};
}

ShellResult BundleTest::verify_with_shell(const std::string& tgz_name) const { return shell("sh verify.sh KEY.pub " + tgz_name); }

}  // namespace stella::evidence
