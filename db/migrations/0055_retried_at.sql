-- When a person put the job back into the queue: a journey that waited for that measures nothing of ours.
ALTER TABLE jobs ADD COLUMN retried_at timestamptz;
GRANT UPDATE (retried_at) ON jobs TO stella_web;
