// Writes what the judges look at into a directory: keys, artifacts, every kind of statement alone (*.sigstore.json) and as a member of one
// signed batch (*.batch.json), as a plain DSSE envelope (*.dsse.json), and a sealed bundle. The statements are made by the functions that the platform makes them with.
#include <fcntl.h>

#include <cstdio>
#include <string>
#include <vector>

#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/provenance/decision.h"

namespace {

using namespace stella;
using namespace stella::evidence;

Timestamp at(std::string_view text) { return Timestamp::parse(text).value(); }

Result<std::string> provenance(const Subject& subject, const Subject& input) {
  Provenance p;
  p.external_parameters = json::Value::object({{"kind", "policy.evaluate"}, {"params", json::Value::object({{"as_of", "2026-11-25T00:00:00Z"}})}, {"subject_id", "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012"}});
  p.internal_parameters = json::Value::object({{"engine_version", "1.2.3"}, {"scheduler", "stella-orchestrator"}});
  Resource r;
  r.name = input.name;
  r.sha256 = input.sha256;
  p.resolved_dependencies.push_back(r);
  p.builder_versions.emplace_back("stella-runner", "1.2.3");
  p.invocation_id = "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9013";
  p.started_on = at("2026-11-25T00:00:00Z");
  p.finished_on = at("2026-11-25T00:00:05Z");
  return make_provenance(std::span(&subject, 1), p);
}

Result<std::vector<Stated>> decision(const Subject& sbom) {
  attest::DecisionFacts facts;
  facts.sbom = sbom;
  facts.sbom_id = "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9014";
  facts.policy = crypto::sha256("policy");
  facts.policy_version = "strict@0123456789ab";
  facts.advisory_set = crypto::sha256("advisories");
  facts.engine_version = "1.2.3";
  facts.advisories_as_of = at("2026-11-24T00:00:00Z");
  facts.started_at = at("2026-11-25T00:00:00Z");
  facts.finished_at = at("2026-11-25T00:00:05Z");
  contracts::Decision d;
  d.effect = contracts::Effect::kDeny;
  d.counts.affected = 1;
  contracts::Finding f;
  f.purl = "pkg:npm/lodash@4.17.20";
  f.advisory_id = "GHSA-35jh-r3h4-6jhm";
  f.verdict = contracts::Verdict::kAffected;
  f.severity = "high";
  f.score = 7.2;
  f.effect = contracts::Effect::kDeny;
  return attest::decision_statements(facts, d, std::span(&f, 1));
}

Result<void> seal(const std::string& dir, const crypto::Signer& signer) {
  StringSink payload;
  LeafFile leaf;
  leaf.path = "data/outputs/decision.json";
  leaf.media_type = "application/json";
  leaf.role = "output";
  leaf.bytes = R"({"decision":"deny"})";
  const auto items = STELLA_TRY(build_payload({leaf}, payload));
  STELLA_TRY_VOID(write_file_durable(dir + "/payload.tar", payload.text));
  const Fd fd(::open((dir + "/payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
  const std::string lines = items_ndjson(items);
  const std::vector<const crypto::Signer*> signers{&signer};
  SealInput input;
  input.payload_fd = fd.get();
  input.items_ndjson = lines;
  const std::string key(32, 'k');
  input.bundle_key = key;
  input.signers = signers;
  SealFacts& f = input.facts;
  f.bundle_id = BundleId::parse("0193f0a2-7d5c-7000-8000-00000000000a").value();
  f.tenant_id = TenantId::parse("acme").value();
  f.case_id = CaseId::parse("CASE-1").value();
  f.kind = "eval";
  f.resource_id = "0193f0a2-7d5c-7000-8000-00000000000b";
  f.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  f.sealed_at = at("2026-11-25T00:00:06Z");
  f.request_sha256 = crypto::sha256("{}");
  f.product_version = "0.1.0";
  f.engine_version = "1.2.3";
  f.retain_until = at("2027-11-25T00:00:00Z");
  StringSink out;
  STELLA_TRY_VOID(seal_bundle(input, out));
  return write_file_durable(dir + "/bundle.tgz", out.text);
}

Result<void> run(const std::string& dir) {
  const crypto::KeyPair key = STELLA_TRY(crypto::KeyPair::generate());
  const crypto::KeyPair other = STELLA_TRY(crypto::KeyPair::generate());
  STELLA_TRY_VOID(write_file_durable(dir + "/KEY.pub", key.public_key().pem()));
  STELLA_TRY_VOID(write_file_durable(dir + "/other.pub", other.public_key().pem()));
  const std::string sbom = R"({"bomFormat":"CycloneDX"})", output = R"({"effect":"deny"})";
  STELLA_TRY_VOID(write_file_durable(dir + "/sbom.json", sbom));
  STELLA_TRY_VOID(write_file_durable(dir + "/decision.json", output));
  const Subject sbom_subject{.name = "sbom.json", .sha256 = crypto::sha256(sbom)};
  const Subject output_subject{.name = "decision.json", .sha256 = crypto::sha256(output)};
  std::vector<std::string> statements{STELLA_TRY(provenance(output_subject, sbom_subject))};
  for (Stated& s : STELLA_TRY(decision(sbom_subject))) statements.push_back(std::move(s.bytes));
  const char* names[] = {"provenance", "vsa", "svr", "vulns"};
  std::vector<Sha256> digests;
  for (const std::string& s : statements) digests.push_back(crypto::sha256(s));
  const SignedBatch batch = STELLA_TRY(SignedBatch::sign(key, digests));
  for (std::size_t i = 0; i < statements.size(); ++i) {
    const std::string alone = STELLA_TRY(sign_statement(key, statements[i]));
    STELLA_TRY_VOID(write_file_durable(dir + "/" + names[i] + ".sigstore.json", alone));
    const std::string plain = STELLA_TRY(crypto::dsse_sign(kInTotoPayloadType, statements[i], key)).json();  // what ?form=dsse answers
    STELLA_TRY_VOID(write_file_durable(dir + "/" + names[i] + ".dsse.json", plain));
    const std::string member = STELLA_TRY(batch.document(i, statements[i]));
    STELLA_TRY_VOID(write_file_durable(dir + "/" + names[i] + ".batch.json", member));
  }
  return seal(dir, key);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: attest_tool DIR\n", stderr);
    return 64;
  }
  if (const auto done = run(argv[1]); !done) {
    std::fprintf(stderr, "error: %s\n", done.error().describe().c_str());
    return 1;
  }
  return 0;
}
