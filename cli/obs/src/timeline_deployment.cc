// From the tenant's checkpoint to the deployment log's, and from there to witnesses.
#include <algorithm>

#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"
#include "stella/timeline/log/tlog_proof.h"
#include "timeline_log.h"

namespace stella::cli {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);  // a checkpoint is in the deployment log at once, and cosigned a second later

Error untrue(std::string_view what) { return Error(base_errors::kInvalid, "the deployment log does not cover the checkpoint").with("reason", std::string(what)); }

Result<std::optional<timeline::LogPolicy>> read_policy(const std::string& file) {
  if (file.empty()) return std::optional<timeline::LogPolicy>();
  auto text = read_file(file, timeline::kPolicyFileBytes);
  if (!text) return about_document(std::move(text.error()), file);
  auto policy = timeline::LogPolicy::parse(*text);
  if (!policy) return about_document(std::move(policy.error()), file);
  return std::optional(std::move(*policy));
}

Result<Covered> verify_answer(Session& session, const json::Value& answer, const std::string& trust, const std::optional<timeline::LogPolicy>& policy) {
  const json::Value* covers = answer.find("covers");
  if (covers == nullptr) return untrue("the answer names no checkpoint");
  const Signed head = STELLA_TRY(open_note(session, trust, std::string(covers->str("checkpoint"))));
  const auto proof = STELLA_TRY(timeline::parse_tlog_proof(answer.str("proof")));
  const std::string origin = proof.checkpoint.substr(0, proof.checkpoint.find('\n'));
  // Else a log could prove itself.
  if (origin == head.checkpoint.origin) return untrue("it is the tenant's own log");
  const Sha256 leaf = timeline::leaf_hash(head.note);
  auto keys = log_keys(session, trust, origin);
  if (!keys) keys = std::vector<timeline::VerifierKey>();
  const bool known = std::any_of(keys->begin(), keys->end(), [&](const timeline::VerifierKey& key) { return key.name() == origin; });
  // With a policy: that may have its key.
  if (!known && !policy) return Error(contracts::errors::kUntrusted, "no key of the deployment log is trusted").with("remedy", "Give the installation's key: --trust log.pub, or stella login.");
  Covered out{.deployment = {}, .note = proof.checkpoint, .index = proof.index, .covers = head.checkpoint, .witnesses = {}, .answer = answer};
  if (!policy) {
    out.deployment = STELLA_TRY(timeline::verify_tlog_proof(proof, leaf, origin, *keys));
    return out;
  }
  auto accepted = STELLA_TRY(timeline::verify_tlog_proof(proof, leaf, *policy, *keys));
  for (const auto& cosigner : accepted.cosigners) out.witnesses.push_back(policy->witnesses()[cosigner.witness].key.name());
  out.deployment = std::move(accepted.checkpoint);
  return out;
}

}  // namespace

Result<Covered> fetch_covered(Session& session, Api& api, std::uint64_t size, const std::string& trust, const std::string& policy_file) {
  const auto policy = STELLA_TRY(read_policy(policy_file));
  Query query;
  if (size != 0) query.emplace_back("size", std::to_string(size));
  const auto enough = [&](const json::Value& answer) { return !policy || verify_answer(session, answer, trust, policy).has_value(); };
  const auto pending = [](const Error& e) { return e.code() == contracts::errors::kNotReady; };
  const json::Value answer = STELLA_TRY(api.poll("/timeline/checkpoint/deployment", query, kPatience, enough, pending));
  Covered out = STELLA_TRY(verify_answer(session, answer, trust, policy));
  if (size != 0 && out.covers.size != size) return untrue("the answer is about another checkpoint");
  return out;
}

std::string not_continued(Api& api, const Signed& kept, const Covered& covered) {
  const auto& then = kept.checkpoint;
  const auto& now = covered.deployment;
  if (then.origin != now.origin) return "a checkpoint of another log: " + then.origin;
  if (then.size > now.size)
    return "the deployment log became shorter than what you kept, of " + std::to_string(then.size) + " leaves; if that was not given to you but to somebody else, verify again after your next checkpoint";
  const auto proof = fetch_proof(api, true, then.size, now.size);
  if (!proof) return "the server cannot prove that the deployment log continues the one you kept: " + proof.error().describe();
  if (!timeline::verify_growth(then, now, *proof)) return "the deployment log has two histories: its first " + std::to_string(then.size) + " leaves are not those that you kept";
  return {};
}

Result<int> show_covered(Session& session, const Covered& covered, const std::string& out, const std::string& vkey_out) {
  if (!out.empty()) STELLA_TRY_VOID(write_file_durable(out, covered.note));
  if (!vkey_out.empty()) STELLA_TRY_VOID(write_file_durable(vkey_out, std::string(covered.answer.str("vkey")) + "\n"));
  session.show(covered.answer, [&] {
    const auto number = [](std::uint64_t n) { return with_commas(static_cast<std::int64_t>(n)); };
    Facts facts;
    facts.add("log", covered.deployment.origin).add("size", number(covered.deployment.size)).add("root", covered.deployment.root.hex()).add("signature", "verified");
    facts.add("covers", "your log of size " + number(covered.covers.size) + ", as leaf " + number(covered.index));
    std::string names;
    for (const std::string& name : covered.witnesses) names += (names.empty() ? "" : ", ") + name;
    if (!names.empty()) facts.add("witnesses", names);
    return facts.render(session.console().out_palette(), 0);
  });
  return kExitDone;
}

}  // namespace stella::cli
