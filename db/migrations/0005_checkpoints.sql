-- Signed checkpoints of each tenant's log. Tiles and checkpoints are objects, too; these rows say which exist and what is due.

CREATE TABLE timeline_logs (              -- one row per tenant: the newest checkpoint, and what goes on from it
  tenant_id text PRIMARY KEY,
  origin text NOT NULL DEFAULT '',        -- opaque name of the log; '' until the first checkpoint
  size bigint NOT NULL DEFAULT 0,
  root bytea NOT NULL DEFAULT '',
  note text NOT NULL DEFAULT '',          -- the signed checkpoint, byte for byte
  edge bytea NOT NULL DEFAULT '',         -- the partial tiles at that size, lowest level first
  wanted bigint NOT NULL DEFAULT 0,       -- a checkpoint of at least this size is waited for
  signed_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE TABLE timeline_checkpoints (       -- every checkpoint ever signed
  tenant_id text NOT NULL,
  size bigint NOT NULL,
  root bytea NOT NULL,
  note text NOT NULL,
  signed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, size)
);
ALTER TABLE signing_keys DROP CONSTRAINT signing_keys_purpose_check;
ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_purpose_check CHECK (purpose IN ('evidence', 'token', 'log'));
SELECT stella_isolate('timeline_logs');
SELECT stella_isolate('timeline_checkpoints');
SELECT stella_allow('stella_indexer', ARRAY['timeline_logs', 'timeline_checkpoints']);
SELECT stella_allow('stella_locker', ARRAY['timeline_logs', 'timeline_heads']);
GRANT SELECT ON timeline_logs, timeline_checkpoints TO stella_web;
GRANT SELECT, INSERT, UPDATE ON timeline_logs TO stella_indexer;
GRANT SELECT, INSERT ON timeline_checkpoints TO stella_indexer;
-- locker: asks for a checkpoint at each seal, and encloses it.
GRANT SELECT, INSERT (tenant_id, wanted), UPDATE (wanted) ON timeline_logs TO stella_locker;
GRANT SELECT ON timeline_heads TO stella_locker;
