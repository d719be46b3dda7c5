-- Legal holds, retention and dispositions of evidence. The rows decide; the store's locks follow them.

CREATE TABLE evidence_cases (             -- a case without a row is open and adds no retention of its own
  tenant_id text NOT NULL REFERENCES tenants,
  case_id text NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
  closed_at timestamptz,                  -- the first time: a clock that runs is not set again
  closed_by text,
  retain_until timestamptz,               -- of everything in the case; only grows
  incident_until timestamptz,             -- likewise, from incident mode
  PRIMARY KEY (tenant_id, case_id)
);
CREATE TABLE evidence_holds (             -- a set: a case is held while one of its rows is not released
  tenant_id text NOT NULL REFERENCES tenants,
  hold_id uuid NOT NULL,
  case_id text NOT NULL,
  authority text NOT NULL,                -- who demands it: a court, a regulator, an order's number
  reason text NOT NULL,
  placed_by text NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT now(),
  release_requested_by text,
  release_requested_at timestamptz,
  release_reason text,
  released_by text,
  released_at timestamptz,
  PRIMARY KEY (tenant_id, hold_id)
);
CREATE UNIQUE INDEX evidence_holds_active ON evidence_holds (tenant_id, case_id, authority) WHERE released_at IS NULL;
CREATE TABLE evidence_retention (         -- one row per sealed bundle
  tenant_id text NOT NULL REFERENCES tenants,
  bundle_id uuid NOT NULL,
  case_id text NOT NULL,
  base_event text NOT NULL CHECK (base_event IN ('sealed', 'published', 'case_closed')),
  keep_seconds bigint NOT NULL,           -- from that event on
  base_at timestamptz,                    -- NULL: the event has not happened, the bundle is kept
  retain_until timestamptz,               -- that much later, or what it was extended to; only grows
  lock_held boolean NOT NULL DEFAULT false,  -- the store's bit may be on because of us: one that others set is not ours to lift
  wanted bigint NOT NULL DEFAULT 1,       -- counts what changed; the store has it where applied is the same
  applied bigint NOT NULL DEFAULT 0,
  not_before timestamptz NOT NULL DEFAULT '-infinity',  -- the store refused a lock: tried again from here on
  dispose_after timestamptz NOT NULL DEFAULT '-infinity',  -- something that is not a row keeps it at least until then
  checked_at timestamptz NOT NULL DEFAULT '-infinity',  -- when the store's locks were last looked at
  PRIMARY KEY (tenant_id, bundle_id)
);
CREATE INDEX evidence_retention_case ON evidence_retention (tenant_id, case_id);
CREATE INDEX evidence_retention_checked ON evidence_retention (checked_at);
CREATE INDEX evidence_retention_wanted ON evidence_retention (tenant_id, bundle_id) WHERE applied < wanted;
CREATE INDEX evidence_retention_waiting ON evidence_retention (tenant_id, case_id) WHERE base_at IS NULL;
CREATE INDEX evidence_retention_until ON evidence_retention (retain_until);
CREATE TABLE dispositions (
  tenant_id text NOT NULL REFERENCES tenants,
  disposition_id uuid NOT NULL,
  bundle_id uuid NOT NULL,
  case_id text NOT NULL,
  state text NOT NULL CHECK (state IN ('planned', 'deleting', 'executed', 'refused')),
  planned_at timestamptz NOT NULL DEFAULT now(),
  planned_event uuid NOT NULL,            -- a checkpoint must cover it before anything is deleted
  ended_at timestamptz,
  reason text NOT NULL DEFAULT '',        -- why it was refused
  PRIMARY KEY (tenant_id, disposition_id)
);
CREATE INDEX dispositions_ended ON dispositions (tenant_id, bundle_id, ended_at);
CREATE UNIQUE INDEX dispositions_pending ON dispositions (tenant_id, bundle_id) WHERE state IN ('planned', 'deleting');
CREATE TABLE evidence_clock (             -- one row: the clock that deletions go by; no tenant data
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  seen timestamptz NOT NULL,              -- the latest instant that was believed
  frozen_reason text NOT NULL DEFAULT '', -- why deletions stand still
  checked timestamptz                     -- the last `evidence.clock_checked` that was taken into account
);

-- A snapshot whose bundle was lawfully deleted keeps its row, its digests and its events.
ALTER TABLE evidence_snapshots DROP CONSTRAINT evidence_snapshots_state_check;
ALTER TABLE evidence_snapshots ADD CONSTRAINT evidence_snapshots_state_check CHECK (state IN ('building', 'built', 'sealed', 'failed', 'disposed'));
CREATE INDEX evidence_snapshots_sealed ON evidence_snapshots (sealed_at) WHERE state = 'sealed';
CREATE INDEX evidence_snapshots_payload ON evidence_snapshots (tenant_id, payload_sha256);
CREATE INDEX evidence_snapshots_items ON evidence_snapshots (tenant_id, items_sha256);

DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['evidence_cases', 'evidence_holds', 'evidence_retention', 'dispositions'] LOOP
    PERFORM stella_isolate(t::regclass);
    EXECUTE format('CREATE POLICY owner ON %I TO stella_owner USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;

-- web: people place and release holds, close cases, extend retention. Nobody deletes a row.
GRANT SELECT ON evidence_cases, evidence_holds, evidence_retention, dispositions TO stella_web;
GRANT INSERT ON evidence_cases, evidence_holds TO stella_web;
GRANT UPDATE (state, closed_at, closed_by, retain_until, incident_until) ON evidence_cases TO stella_web;
GRANT UPDATE (release_requested_by, release_requested_at, release_reason, released_by, released_at) ON evidence_holds TO stella_web;
GRANT UPDATE (retain_until, wanted) ON evidence_retention TO stella_web;

-- locker: carries it to the store, and deletes what nothing keeps.
SELECT stella_allow('stella_locker', ARRAY['evidence_cases', 'evidence_holds', 'evidence_retention', 'dispositions']);
GRANT SELECT ON evidence_cases, evidence_holds TO stella_locker;
GRANT SELECT, INSERT, UPDATE ON evidence_retention, dispositions, evidence_clock TO stella_locker;
GRANT UPDATE (idempotency_sha256) ON jobs TO stella_locker;  -- a deleted payload is not taken for a result again
