// A bundle is read inside the transaction that decides about it, and a large one takes longer than the server lets a transaction wait.
#pragma once

#include "stella/platform/pg.h"

namespace stella::evidence {

// From here to the end of this transaction the server waits two hours for its next statement. A process that dies ends its connection all the same.
inline Result<void> expect_long_read(pg::Tx& tx) {
  STELLA_TRY_VOID(tx.query("SELECT set_config('idle_in_transaction_session_timeout', '2h', true)"));
  return {};
}

}  // namespace stella::evidence
