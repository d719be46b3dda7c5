-- Keys: seals that a log knows before their bundles, and the versions of the tenants' keys for encryption at rest.

-- A seal is signed before its bundle is written, so that the log can take the signature in: a verifier has a limit for its time then.

ALTER TABLE evidence_snapshots ADD COLUMN seal_envelope text;   -- attest/seal.dsse.json; NULL: not signed yet, or no key history to name
ALTER TABLE evidence_snapshots ADD COLUMN signed_event uuid;    -- evidence.signed

-- What exists of the keys that wrap a tenant's data keys: never key material, which stays with its provider.
CREATE TABLE tenant_keys (
  tenant_id text NOT NULL REFERENCES tenants,
  key_id text NOT NULL,
  version int NOT NULL CHECK (version > 0),
  provider text NOT NULL,                 -- file, pkcs11
  state text NOT NULL CHECK (state IN ('active', 'retired', 'destroyed')),  -- retired: reads only
  created_at timestamptz NOT NULL,        -- when it was seen first
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, key_id)
);
SELECT stella_isolate('tenant_keys');
CREATE POLICY owner ON tenant_keys TO stella_owner USING (true) WITH CHECK (true);
SELECT stella_allow('stella_locker', ARRAY['tenant_keys', 'tenants']);
GRANT SELECT ON tenants TO stella_locker;
SELECT stella_allow('stella_authority', ARRAY['tenant_keys']);
GRANT SELECT ON tenant_keys TO stella_web, stella_authority;
GRANT SELECT, INSERT, UPDATE ON tenant_keys TO stella_locker;
