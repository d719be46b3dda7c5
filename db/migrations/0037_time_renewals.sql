-- Renewals of the timestamps of sealed bundles, and until when what is there stands. Rows are only added.

CREATE TABLE evidence_time (
  tenant_id text NOT NULL REFERENCES tenants (tenant_id),
  bundle_id uuid NOT NULL,
  n int NOT NULL DEFAULT 0 CHECK (n >= 0),  -- 0: the stamps that the bundle encloses; else renewal n, the objects renewal-<n>.tsr and renewal-<n>.pem
  stands_until timestamptz,               -- of the bundle's time with all rows up to this one; null: no authority stamped it
  gen_time timestamptz,                   -- when the authority made it
  authority text,                         -- the name in its certificate
  token_sha256 bytea,
  chain_sha256 bytea,
  added_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, bundle_id, n),
  FOREIGN KEY (tenant_id, bundle_id) REFERENCES evidence_snapshots (tenant_id, bundle_id),
  CHECK ((n = 0) = (token_sha256 IS NULL) AND (token_sha256 IS NULL) = (chain_sha256 IS NULL) AND (token_sha256 IS NULL) = (gen_time IS NULL) AND (token_sha256 IS NULL) = (authority IS NULL))
);
CREATE INDEX evidence_time_ends ON evidence_time (stands_until) WHERE stands_until IS NOT NULL;

SELECT stella_isolate('evidence_time');
SELECT stella_allow('stella_locker', ARRAY['evidence_time']);
GRANT SELECT ON evidence_time TO stella_web;
GRANT SELECT, INSERT ON evidence_time TO stella_locker;
