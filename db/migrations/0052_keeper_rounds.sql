-- The keeper comes to what is new and to what is not over, and to nothing else: its rounds are not longer where more bundles were made and deleted before.
ALTER TABLE evidence_snapshots ADD COLUMN adopted boolean NOT NULL DEFAULT false;  -- role locker has given it its row in evidence_retention
CREATE INDEX evidence_snapshots_unadopted ON evidence_snapshots (requested_at) WHERE NOT adopted AND state IN ('sealed', 'failed');
DROP INDEX evidence_snapshots_failed;

ALTER TABLE evidence_retention ADD COLUMN done_at timestamptz;  -- deleted, and the bits that it had put into the store are lifted: no round comes to it again
DROP INDEX evidence_retention_checked, evidence_retention_wanted, evidence_retention_until;
CREATE INDEX evidence_retention_checked ON evidence_retention (checked_at) WHERE done_at IS NULL;
CREATE INDEX evidence_retention_wanted ON evidence_retention (tenant_id, bundle_id) WHERE applied < wanted AND done_at IS NULL;
CREATE INDEX evidence_retention_until ON evidence_retention (retain_until) WHERE done_at IS NULL;

-- What came into a case after it was closed: its clock started with the case's end instead of its own seal.
UPDATE evidence_retention r SET base_at = s.sealed_at, retain_until = greatest(r.retain_until, s.sealed_at + make_interval(secs => r.keep_seconds)), wanted = r.wanted + 1
FROM evidence_snapshots s WHERE r.base_event = 'case_closed' AND r.base_at < s.sealed_at AND s.state = 'sealed' AND s.tenant_id = r.tenant_id AND s.bundle_id = r.bundle_id;
