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

// attest/provenance.sigstore.json (of the job that decided), attest/vsa…, attest/svr…, attest/vulns.sigstore.json of a finished evaluation, each the
// newest of its type; those that do not exist are not there. Every stored document is verified with `trust` first; a member of a batch is signed
// alone, by `signer`. kInvalid or kMalformed where a stored statement does not verify: then nothing may be sealed over it.
Result<std::vector<std::pair<std::string, std::string>>> evaluation_statements(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const crypto::Signer& signer,
                                                                               std::span<const crypto::PublicKey> trust, const TenantId& tenant, std::string_view evaluation_id);

}  // namespace stella::attest
