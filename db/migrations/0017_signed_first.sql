-- A seal is signed before its bundle is written, so that the log can take the signature in: a verifier has a limit for its time then.

ALTER TABLE evidence_snapshots ADD COLUMN seal_envelope text;   -- attest/seal.dsse.json; NULL: not signed yet, or no key history to name
ALTER TABLE evidence_snapshots ADD COLUMN signed_event uuid;    -- evidence.signed
