-- Destruction of a tenant's encryption key: planned, covered by a checkpoint, done. What it encrypted is gone with it, in every copy.

CREATE TABLE key_dispositions (
  tenant_id text NOT NULL REFERENCES tenants,
  disposition_id uuid NOT NULL,
  key_id text NOT NULL,
  state text NOT NULL CHECK (state IN ('planned', 'destroying', 'executed', 'refused')),
  purpose text NOT NULL,                  -- why, in the words of whoever asked
  planned_at timestamptz NOT NULL,
  planned_event uuid NOT NULL,            -- a checkpoint must cover it before the key goes
  ended_at timestamptz,
  reason text NOT NULL DEFAULT '',        -- why it was refused
  PRIMARY KEY (tenant_id, disposition_id)
);
CREATE UNIQUE INDEX key_dispositions_pending ON key_dispositions (tenant_id) WHERE state IN ('planned', 'destroying');

SELECT stella_isolate('key_dispositions');
CREATE POLICY owner ON key_dispositions TO stella_owner USING (true) WITH CHECK (true);
SELECT stella_allow('stella_locker', ARRAY['key_dispositions']);
GRANT SELECT ON key_dispositions TO stella_web;
GRANT SELECT, INSERT, UPDATE ON key_dispositions TO stella_locker;
