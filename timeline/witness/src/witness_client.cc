// Asks, and asks once more from the size that the witness names.
#include "stella/timeline/witness_client.h"

#include "stella/contracts/errors.h"
#include "stella/platform/http_client.h"
#include "stella/timeline/log/witness.h"

namespace stella::timeline {
namespace {

namespace errors = contracts::errors;

Error refused(ErrorCode code, Literal what, const LogPolicy::Witness& witness, int status) {
  return Error(code, what).with("witness", witness.name).with("status", status);
}

Result<http::ClientResponse> post(const LogPolicy::Witness& witness, const WitnessQuestion& q, std::uint64_t from) {
  AddCheckpoint request{.old_size = from, .proof = {}, .checkpoint = q.note.str()};
  if (from != 0 && from != q.checkpoint.size) request.proof = STELLA_TRY(q.prove(from));
  http::ClientRequest http;
  http.method = "POST";
  http.url = witness.url + (witness.url.ends_with('/') ? "add-checkpoint" : "/add-checkpoint");
  http.headers = {{"content-type", "text/plain; charset=utf-8"}};
  http.body = request.str();
  http.connect_timeout = std::min(q.timeout, http.connect_timeout);
  http.timeout = q.timeout;
  http.max_response_bytes = kNoteBytes;
  http.foreign = true;
  return http::fetch(http);
}

}  // namespace

Result<std::vector<NoteSignature>> ask_witness(const LogPolicy::Witness& witness, const WitnessQuestion& q) {
  auto response = STELLA_TRY(post(witness, q, std::min(q.known_size, q.checkpoint.size)));
  if (response.status == 409 && response.header("content-type").starts_with(kWitnessSizeType)) {
    const std::uint64_t size = STELLA_TRY(read_witness_size(response.body));
    if (size > q.checkpoint.size) return refused(errors::kIntegrity, "the witness has seen a longer log", witness, response.status).with("actual", size);
    if (size != q.known_size) response = STELLA_TRY(post(witness, q, size));
  }
  if (response.status == 200) {
    const VerifierKey keys[] = {witness.key};
    return read_cosignatures(response.body, q.note.text, keys);
  }
  if (response.status == 409 || response.status == 422) return refused(errors::kIntegrity, "the witness has seen another history of this log", witness, response.status);
  if (response.status >= 500 || response.status == 429) return refused(errors::kUnavailable, "the witness does not answer", witness, response.status);
  return refused(base_errors::kInvalid, "the witness refuses the checkpoint", witness, response.status);
}

}  // namespace stella::timeline
