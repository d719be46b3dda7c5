// in-toto Statements v1 and what we state: SLSA provenance v1, and the Sigstore bundle v0.3 around a signed statement. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/crypto/dsse.h"

namespace stella::evidence {

inline constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
inline constexpr std::string_view kInTotoPayloadType = "application/vnd.in-toto+json";
inline constexpr std::string_view kProvenancePredicate = "https://slsa.dev/provenance/v1";
inline constexpr std::string_view kJobBuildType = "https://stellaops.dev/job/v1";
inline constexpr std::string_view kRunnerBuilderId = "https://stellaops.dev/runner/v1";
inline constexpr std::string_view kSigstoreMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json";

struct Subject {
  std::string name;
  Sha256 sha256;
};

// RFC 8785 text of a statement. kInvalid without subjects.
Result<std::string> make_statement(std::span<const Subject> subjects, std::string_view predicate_type, json::Value predicate);

// An in-toto ResourceDescriptor; uri, media_type and annotations only where set.
struct Resource {
  std::string name;
  std::string uri;
  Sha256 sha256;
  std::string media_type;
  json::Value annotations;
};

// SLSA provenance v1 of a job or an export.
struct Provenance {
  std::string build_type = std::string(kJobBuildType);
  std::string builder_id = std::string(kRunnerBuilderId);
  json::Value external_parameters;  // the request; an object, required
  json::Value internal_parameters;  // engine version and configuration digest, scheduler
  std::vector<Resource> resolved_dependencies;
  std::vector<std::pair<std::string, std::string>> builder_versions;  // name → version
  std::string invocation_id;                                          // run id
  Timestamp started_on;
  Timestamp finished_on;
  std::vector<Resource> byproducts;  // trace, transcript
};
Result<std::string> make_provenance(std::span<const Subject> subjects, const Provenance& provenance);

// A statement as read: subjects with a well-formed sha256 (others are kept by name only), predicate type, predicate.
struct Statement {
  std::vector<Subject> subjects;
  std::string predicate_type;
  json::Value predicate;
};
// kMalformed: another _type, no subject, a subject without digest, no predicateType, no predicate.
Result<Statement> parse_statement(std::string_view bytes, std::size_t max_bytes = 16u << 20);
// The rules of SLSA v1 and of ResourceDescriptors (one of name, uri, digest; sha256 digests of 64 hex digits). kInvalid with field.
Result<void> check_provenance(const json::Value& predicate);
Result<void> check_resource_descriptor(const json::Value& descriptor);

// Sigstore bundle v0.3 with a public key hint equal to the key id. kInvalid unless there is exactly one signature.
Result<std::string> make_sigstore_bundle(const crypto::DsseEnvelope& envelope);
// The DSSE envelope of a Sigstore bundle (0.1 to 0.3), or a bare DSSE envelope. kMalformed; also where hint and key id differ.
Result<crypto::DsseEnvelope> parse_attestation(std::string_view json, std::size_t max_bytes = 32u << 20);

// Signs a statement: the Sigstore bundle text.
Result<std::string> sign_statement(const crypto::Signer& signer, std::string statement);

struct VerifiedStatement {
  Statement statement;
  std::string bytes;  // the verified payload
  std::vector<crypto::PublicKey> signers;
};
struct StatementExpectation {
  std::span<const crypto::PublicKey> trust;
  std::size_t threshold = 1;
  const Sha256* subject = nullptr;   // null = any subject
  std::string_view predicate_type;   // empty = any
};
// A Sigstore bundle, a DSSE envelope, or a document of a signed batch (batch.h).
// Signature, in-toto form, subject by digest (never by name), predicate type: kInvalid or kMalformed says which failed.
Result<VerifiedStatement> verify_statement(std::string_view attestation_json, const StatementExpectation& expected);

}  // namespace stella::evidence
