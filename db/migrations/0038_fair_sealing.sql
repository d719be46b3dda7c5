-- One tenant's snapshots that cannot be sealed now must not keep everybody else's from being sealed, and what a closure wrote must go with its bundle.
ALTER TABLE evidence_snapshots ADD COLUMN attempts int NOT NULL DEFAULT 0;                          -- to seal it, that an error ended which may pass
ALTER TABLE evidence_snapshots ADD COLUMN not_before timestamptz NOT NULL DEFAULT '-infinity';      -- of the next attempt
ALTER TABLE evidence_snapshots ADD COLUMN made_objects bytea[] NOT NULL DEFAULT '{}';               -- digests of the objects that exist because of this snapshot: logs, spans, transcripts …
CREATE INDEX evidence_snapshots_built ON evidence_snapshots (tenant_id, requested_at, bundle_id) WHERE state = 'built';
CREATE INDEX evidence_snapshots_made ON evidence_snapshots USING gin (made_objects);
