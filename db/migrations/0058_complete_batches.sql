-- The batches that are all that their source has: what is of before the newest of them and not in force does not come into force any more.
ALTER TABLE ingest_batches ADD COLUMN complete boolean NOT NULL DEFAULT false;
UPDATE ingest_batches b SET complete = true FROM jobs j WHERE j.tenant_id = b.tenant_id AND j.job_id = b.job_id AND j.params::jsonb @> '{"complete": true}';
CREATE INDEX ingest_batches_complete ON ingest_batches (tenant_id, kind, source_id, batch_id) WHERE complete;
