-- When an attempt's message was put on the bus: while it lies there the job waits, and is not told again.
ALTER TABLE jobs ADD COLUMN dispatched_at timestamptz;
