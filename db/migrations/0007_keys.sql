-- The life of signing keys: signed events, in the order in which they count. Deployment-wide, no tenant data.

CREATE TABLE key_events (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key_id text NOT NULL,                   -- whom it is about; rotated: the old key
  kind text NOT NULL CHECK (kind IN ('introduced', 'activated', 'rotated', 'retired', 'compromised')),
  root boolean NOT NULL DEFAULT false,    -- an activation that no active key signed: this deployment's word alone
  at timestamptz NOT NULL,                -- never before that of the row above
  envelope text NOT NULL                  -- DSSE, byte for byte
);
CREATE FUNCTION stella_key_events_stand() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key events are only appended'; END $$;
CREATE TRIGGER only_appended BEFORE UPDATE OR DELETE ON key_events FOR EACH ROW EXECUTE FUNCTION stella_key_events_stand();

GRANT SELECT ON key_events TO stella_web, stella_locker, stella_orchestrator;
GRANT SELECT, INSERT ON key_events TO stella_authority;
GRANT UPDATE (state) ON signing_keys TO stella_authority;
