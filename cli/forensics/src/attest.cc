// stella forensic attest: show (what is stated about an artifact), verify (offline).
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "key_trust.h"
#include "register.h"
#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/forensics/attestation_view.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/predicates.h"
#include "stella/evidence/format/verdict.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kStatementBytes = 32u << 20;

struct Args {
  std::string artifact;
  std::string file;
  std::string subject;
  std::string trust;
  std::string type;
  std::string out;
  std::string form;  // of `out`; empty = sigstore
};

// What users type for the predicate types that this product states; anything else is a type itself.
std::string predicate_type(const std::string& text) {
  if (text == "provenance") return std::string(evidence::kProvenancePredicate);
  if (text == "vsa") return std::string(evidence::kVsaPredicate);
  if (text == "svr") return std::string(evidence::kSvrPredicate);
  if (text == "vulns") return std::string(evidence::kVulnsPredicate);
  return text;
}
constexpr const char* kTypes = "provenance, vsa, svr, vulns, or the URI of another predicate type";

bool is_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// What the user names: a file (by its digest), a digest, an attestation, or what an attestation is about.
Result<std::vector<std::string>> attestation_ids(Api& api, const std::string& artifact, const std::string& type) {
  Query query;
  if (is_file(artifact)) {
    const auto digest = STELLA_TRY(crypto::sha256_file(artifact));
    query.emplace_back("digest", digest.sha256.hex());
  } else if (const auto digest = Sha256::parse(artifact.starts_with("sha256:") ? std::string_view(artifact).substr(7) : std::string_view(artifact)); digest) {
    query.emplace_back("digest", digest->hex());
  } else {
    if (AttestationId::parse(artifact)) {
      const auto direct = api.get("/attestations/" + path_segment(artifact));
      if (direct) return std::vector<std::string>{artifact};
      if (direct.error().code() != base_errors::kNotFound) return Error(direct.error());
    }
    query.emplace_back("subject_id", artifact);
  }
  const json::Value list = STELLA_TRY(api.list("/attestations", std::move(query), 50));
  std::vector<std::string> out;
  for (const json::Value& a : list.items("items"))
    if (type.empty() || a.str("predicate_type") == type) out.emplace_back(a.str("attestation_id"));
  std::reverse(out.begin(), out.end());  // oldest first
  if (out.empty() && !list.items("items").empty()) return Error(base_errors::kNotFound, "nothing of this type is attested about it").with("field", type).with("expected", kTypes);
  if (out.empty())
    return Error(base_errors::kNotFound, "nothing is attested about this").with("field", artifact).with("expected", "a file, a sha256 digest, an attestation id, or the id of an evaluation, job, export or SBOM");
  return out;
}

Result<int> show(Session& session, const Args& args) {
  if (!args.form.empty() && args.out.empty()) return Error(base_errors::kInvalid, "--form is the form of the file that --out writes").with("field", "--out").with("expected", "a file name");
  Api* api = STELLA_TRY(session.api());
  const auto ids = STELLA_TRY(attestation_ids(*api, args.artifact, predicate_type(args.type)));
  json::Array all;
  for (const std::string& id : ids) all.push_back(STELLA_TRY(api->get("/attestations/" + path_segment(id))));
  if (!args.out.empty()) {
    // Other tools know one form: the control plane signs a statement that is stored in another again, alone.
    const json::Value newest = STELLA_TRY(api->get("/attestations/" + path_segment(ids.back()) + "?form=" + (args.form.empty() ? "sigstore" : args.form)));
    const json::Value* bundle = newest.find("bundle");
    if (bundle == nullptr) return Error(base_errors::kInternal, "the answer holds no statement");
    STELLA_TRY_VOID(write_file_durable(args.out, json::dump(*bundle)));
    session.console().note(args.out + "  the newest of them, as a " + (args.form == "dsse" ? "DSSE envelope" : "Sigstore bundle") + (newest.str("signed") == "on_demand" ? ", signed for this request" : "") + "\n");
  }
  session.show_list(json::Value::object({{"items", all}, {"next_cursor", nullptr}}), [&] {
    const Palette& paint = session.console().out_palette();
    std::string out;
    for (const json::Value& a : all) {
      const json::Value* statement = a.find("statement");
      const json::Value* verdict = a.find("verdict");
      out += std::string(out.empty() ? "" : "\n") + paint(Style::kDim, "attestation " + std::string(a.str("attestation_id"))) + "\n" +
             attestation_text(statement == nullptr ? json::Value() : *statement, verdict == nullptr ? json::Value() : *verdict, paint, session.console().width());
    }
    return out;
  });
  const bool bad = std::any_of(all.begin(), all.end(), [](const json::Value& a) { return a.find("verdict") != nullptr && a.find("verdict")->str("result") == "fail"; });
  return bad ? kExitFailed : kExitDone;
}

// Why this is none of the three documents that hold a statement; nothing where it is one. A batch whose proof does not hold is readable, and fails.
std::optional<Error> unreadable(const std::string& text) {
  if (const auto batch = evidence::parse_batch_member(text); batch || batch.error().code() == base_errors::kInvalid) return std::nullopt;
  const auto doc = json::parse(text, {.max_bytes = kStatementBytes, .max_depth = 32});
  if (doc && evidence::is_batch_member(doc->str("mediaType"))) return evidence::parse_batch_member(text).error();
  const auto plain = evidence::parse_attestation(text);
  return plain ? std::nullopt : std::optional<Error>(plain.error());
}

// In the words of whoever gave two files: which of them is not what.
Error refusal(const Error& error, const Sha256& subject, const Args& args) {
  const std::string_view field = error.field("field");
  if (field == "subject")
    return Error(base_errors::kInvalid, "the statement is about other files").with("actual", args.subject + " sha256 " + subject.hex()).with("remedy", "Give --subject the very file that it is about, unchanged: the statement names it by its digest.");
  if (field == "predicateType") return Error(base_errors::kInvalid, "the statement is of another type").with("field", "--type").with("expected", std::string(error.field("expected")));
  return Error(error);
}

Result<int> verify(Session& session, const Args& args) {
  const auto not_checked = [&](const Error& error) -> int {
    session.console().err(render_error(error, session.console().err_palette()));
    return kExitNotChecked;
  };
  const auto text = read_file(args.file, kStatementBytes);
  if (!text) return not_checked(text.error());
  const auto subject = crypto::sha256_file(args.subject);
  if (!subject) return not_checked(subject.error());
  const auto loaded = trusted_keys(session.store(), args.trust);
  if (!loaded) return not_checked(loaded.error());
  const TrustedKeys& trusted = *loaded;
  if (trusted.keys.empty()) {
    return not_checked(Error(contracts::errors::kUntrusted, "no key is trusted, so nobody vouches for the statement").with("remedy", "Give --trust KEY.pub, or `stella login`, which keeps the server's keys."));
  }
  if (const auto why = unreadable(*text)) {
    session.console().err(render_error(about_document(Error(*why), args.file), session.console().err_palette()));
    return evidence::kExitMalformed;
  }
  evidence::StatementExpectation expected;
  expected.trust = trusted.keys;
  expected.subject = &subject->sha256;
  const std::string type = predicate_type(args.type);
  expected.predicate_type = type;
  const auto verified = evidence::verify_statement(*text, expected);
  if (!verified) return about_document(refusal(verified.error(), subject->sha256, args), args.file);
  if (const auto rules = evidence::check_predicate(verified->statement.predicate_type, verified->statement.predicate); !rules) return about_document(Error(rules.error()), args.file);
  const json::Value statement = STELLA_TRY(json::parse(verified->bytes));
  const auto history = known_history(session.store(), "", trusted.keys);
  if (!history) return not_checked(history.error());
  json::Array signers;
  for (const crypto::PublicKey& key : verified->signers)
    if (!*history || !(*history)->history.ever_compromised(key.id())) signers.push_back(key.id().str());
  if (signers.empty()) {
    return about_document(Error(contracts::errors::kUntrusted, "the key that signed this was compromised, and nothing here says that it signed before")
                              .with("key_id", verified->signers.front().id().str()).with("source", (*history)->source).with("remedy", "A bundle shows when a statement was made: stella forensic verify. Or get the statement anew, signed by a key that counts."), args.file);
  }
  const json::Value verdict = json::Value::object({{"result", "pass"}, {"signers", std::move(signers)}, {"trust", trusted.source}, {"subject_sha256", subject->sha256.hex()}, {"predicate_type", verified->statement.predicate_type}, {"verified_at", Timestamp::now().rfc3339()},
                                                   {"not_checked", json::Value::array({"TIME: local clock only", *history ? "KEY-STATUS: not compromised by " + (*history)->source + ", else no trusted time" : std::string("KEY-STATUS: no trusted time")})}});
  session.show(verdict, [&] { return attestation_text(statement, verdict, session.console().out_palette(), session.console().width()); });
  return kExitDone;
}

}  // namespace

void register_attest(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic attest", "Signed statements about artifacts.");
  app.command("forensic attest show", "What is attested about an artifact: who made it, when, from what. The server verifies each statement.")
      .argument("ARTIFACT", &args->artifact, "A file, a sha256 digest, an attestation id, or the id of an evaluation, job, export or SBOM.", {.required = true, .value = "FILE"})
      .option("--type", &args->type, "Only statements of this type: provenance, vsa, svr, vulns, or a URI.", {.value = "TYPE"})
      .option("--out", &args->out, "Also write the newest statement as a Sigstore bundle, or in the form that --form names.", {.value = "FILE"})
      .option("--form", &args->form, "Form of the file that --out writes (default: sigstore); dsse: a DSSE envelope, for tools that know only that.", {.choices = {"sigstore", "dsse"}})
      .run([args](Session& s) { return show(s, *args); });
  app.command("forensic attest verify", "Verify a statement about a file, offline.")
      .argument("FILE", &args->file, "The statement: a Sigstore bundle, a DSSE envelope, or a document of a signed batch.", {.required = true, .value = "FILE"})
      .option("--subject", &args->subject, "The file that it is about.", {.required = true, .value = "FILE"})
      .option("--type", &args->type, "The predicate type that it must have: provenance, vsa, svr, vulns, or a URI.", {.value = "TYPE"})
      .option("--trust", &args->trust, "A PEM public key or a directory of *.pub (default: the keys that `stella login` kept).", {.value = "PATH"})
      .note("Exit codes\n  0  signed by a trusted key, about this very file (what it says of the file is not judged: a policy may have failed it)\n  1  it is not\n  2  no trusted key, or a file cannot be read\n  3  this is no statement")
      .run([args](Session& s) { return verify(s, *args); });
}

}  // namespace stella::cli
