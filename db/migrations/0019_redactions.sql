-- Redacted copies: bundles of the locker that were made from another one.

ALTER TABLE evidence_snapshots ADD COLUMN derived_from uuid;  -- of a redacted copy: the bundle that it was made from; `request` says what was withheld
COMMENT ON COLUMN evidence_snapshots.derived_from IS 'A copy has no payload: role locker makes it from the stored bundle.';

-- The numbers of snapshots count requests for one thing, those of copies redactions of one bundle.
DO $$
DECLARE c text;
BEGIN
  SELECT conname INTO STRICT c FROM pg_constraint WHERE conrelid = 'evidence_snapshots'::regclass AND contype = 'u';
  EXECUTE format('ALTER TABLE evidence_snapshots DROP CONSTRAINT %I', c);
END $$;
CREATE UNIQUE INDEX evidence_snapshots_request ON evidence_snapshots (tenant_id, kind, resource_id, case_id, request_no) WHERE derived_from IS NULL;
CREATE UNIQUE INDEX evidence_snapshots_copy ON evidence_snapshots (tenant_id, derived_from, request_no) WHERE derived_from IS NOT NULL;
