-- One log over the heads of all tenants' logs: its leaves are the signed checkpoints of timeline_checkpoints in the order of deployment_index.

-- Set once, after the checkpoint was signed and before the deployment log is: the order of the leaves is decided, without gaps, before anybody signs it.
ALTER TABLE timeline_checkpoints ADD COLUMN deployment_index bigint UNIQUE;
CREATE INDEX timeline_checkpoints_unplaced ON timeline_checkpoints (signed_at, tenant_id, size) WHERE deployment_index IS NULL;

CREATE TABLE deployment_log (             -- one row; no tenant data but hashes
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  origin text NOT NULL DEFAULT '',        -- opaque name of the log; '' until its first checkpoint
  placed bigint NOT NULL DEFAULT 0,       -- leaves that have an index
  size bigint NOT NULL DEFAULT 0,         -- leaves that are signed
  root bytea NOT NULL DEFAULT '',
  note text NOT NULL DEFAULT '',          -- the signed checkpoint, byte for byte
  edge bytea NOT NULL DEFAULT ''          -- the partial tiles at that size, lowest level first
);
INSERT INTO deployment_log DEFAULT VALUES;
CREATE TABLE deployment_checkpoints (     -- every checkpoint of it ever signed
  size bigint PRIMARY KEY,
  root bytea NOT NULL,
  note text NOT NULL,
  cosigned text NOT NULL DEFAULT '',      -- the note with the cosignatures of witnesses; '' while there are none
  witnessed boolean NOT NULL DEFAULT false,  -- whether those are a quorum
  signed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deployment_checkpoints_witnessed ON deployment_checkpoints (size) WHERE witnessed;

GRANT UPDATE (deployment_index) ON timeline_checkpoints TO stella_indexer;
GRANT SELECT, UPDATE ON deployment_log TO stella_indexer;
GRANT SELECT, INSERT, UPDATE (cosigned, witnessed) ON deployment_checkpoints TO stella_indexer;
GRANT SELECT ON deployment_log, deployment_checkpoints TO stella_web, stella_locker;
-- locker: encloses a checkpoint of the tenant with the proof that it is a leaf.
SELECT stella_allow('stella_locker', ARRAY['timeline_checkpoints']);
GRANT SELECT ON timeline_checkpoints TO stella_locker;
