-- A renewal whose object the store lost is marked, and those behind it that cover it: renewals go on without them. Nothing else of a row ever changes.
ALTER TABLE evidence_time ADD COLUMN lost_at timestamptz;  -- when that was seen
ALTER TABLE evidence_time ADD CONSTRAINT evidence_time_lost CHECK (lost_at IS NULL OR n > 0);
GRANT UPDATE (lost_at) ON evidence_time TO stella_locker;
