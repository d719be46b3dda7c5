-- What a snapshot left in the store that failed is under retention as well, from the failure on, and goes as a bundle does.
ALTER TABLE evidence_snapshots ADD COLUMN failed_at timestamptz;  -- NULL in rows of before: then the request counts
CREATE INDEX evidence_snapshots_failed ON evidence_snapshots ((coalesce(failed_at, requested_at))) WHERE state = 'failed';
ALTER TABLE evidence_retention DROP CONSTRAINT evidence_retention_base_event_check;
ALTER TABLE evidence_retention ADD CONSTRAINT evidence_retention_base_event_check CHECK (base_event IN ('sealed', 'published', 'case_closed', 'failed'));
CREATE INDEX evidence_retention_failed ON evidence_retention (tenant_id, bundle_id) WHERE base_event = 'failed';
