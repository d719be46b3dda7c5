// Stored statements as files of a bundle: what was stated about a decision travels with the evidence of it, readable by tools that know only Sigstore.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/crypto/keys.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::attest {

// A statement of evidence::kLeftOutPredicate.
inline constexpr std::string_view kLeftOutFile = "attest/left-out.sigstore.json";

struct Enclosed {
  std::vector<std::pair<std::string, std::string>> files;  // (path in the bundle, bytes)
  struct LeftOut {
    std::string file;  // that would have been there
    Sha256 sha256;     // of the stored document, as it was recorded
    std::string reason;
  };
  std::vector<LeftOut> left_out;  // where there are any, `files` has kLeftOutFile as well
};

// attest/provenance.sigstore.json (of the job that decided), attest/vsa…, attest/svr…, attest/vulns.sigstore.json of a finished evaluation, each the
// newest of its type; those that do not exist are not there. Every stored document is verified with `trust` first; a member of a batch is signed
// alone, by `signer`. One that does not verify now (its key was compromised since), that was changed in the store or is gone from it, is left out,
// and a statement signed by `signer` names it: evidence without it is better than none. Errors: of database, store and signer.
Result<Enclosed> evaluation_statements(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const crypto::Signer& signer, std::span<const crypto::PublicKey> trust,
                                       const TenantId& tenant, std::string_view evaluation_id);

// The provenance of what a job or an export (`kind`) made, attest/provenance.sigstore.json, likewise; nothing where nothing was made.
Result<Enclosed> provenance_statement(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const crypto::Signer& signer, std::span<const crypto::PublicKey> trust,
                                      const TenantId& tenant, std::string_view kind, std::string_view resource_id);

// The files that such a statement names.
Result<std::vector<std::string>> files_left_out(std::string_view left_out_statement);

}  // namespace stella::attest
