-- Retention of the timeline: which entries of a log went, by which disposition, and who may delete. Tiles and checkpoints stay.

CREATE TABLE timeline_dispositions (
  tenant_id text NOT NULL REFERENCES tenants,
  disposition_id uuid NOT NULL,
  from_index bigint NOT NULL CHECK (from_index >= 0),
  below_index bigint NOT NULL,            -- it decides about the entries [from_index, below_index), and only about them
  state text NOT NULL CHECK (state IN ('planned', 'executed', 'refused')),
  gone int8multirange NOT NULL DEFAULT '{}',  -- executed: what was deleted of them; the rest stays for good
  planned_at timestamptz NOT NULL,
  planned_event uuid NOT NULL,            -- a checkpoint must cover it before anything is deleted
  ended_at timestamptz,
  reason text NOT NULL DEFAULT '',        -- why it was refused
  PRIMARY KEY (tenant_id, disposition_id),
  CHECK (below_index >= from_index)
);
CREATE UNIQUE INDEX timeline_dispositions_pending ON timeline_dispositions (tenant_id) WHERE state = 'planned';
CREATE UNIQUE INDEX timeline_dispositions_executed ON timeline_dispositions (tenant_id, below_index) WHERE state = 'executed';
CREATE INDEX timeline_dispositions_refused ON timeline_dispositions (tenant_id, ended_at) WHERE state = 'refused';
-- Rows come in the order of time: a few pages of summary find those of one deletion, where a tree would slow down every insert.
CREATE INDEX timeline_event_resources_ts ON timeline_event_resources USING brin (ts);

SELECT stella_isolate('timeline_dispositions');
CREATE POLICY owner ON timeline_dispositions TO stella_owner USING (true) WITH CHECK (true);
SELECT stella_allow('stella_locker', ARRAY['timeline_dispositions']);
GRANT SELECT ON timeline_dispositions TO stella_web;
GRANT SELECT, INSERT, UPDATE ON timeline_dispositions TO stella_locker;
GRANT DELETE ON timeline_log, timeline_events, timeline_event_resources TO stella_locker;

-- Drops one month partition that is empty and ends before `before`; 0 where none is. One a call, so that the exclusive lock of the timeline lasts for one
-- table. The keeper asks; the owner alone can. Where the lock does not come at once (everybody who reads or writes the timeline waits behind it) it is
-- left for another time.
CREATE FUNCTION stella_drop_timeline_partitions(before timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET lock_timeout = '250ms' AS $$
DECLARE
  -- The database's own clock bounds the caller's: last month, this one and those that were made ahead are never dropped.
  newest date := date_trunc('month', least(before, now() - interval '1 month') AT TIME ZONE 'UTC')::date;
  part record;
BEGIN
  PERFORM pg_advisory_xact_lock(7215001);
  FOR part IN SELECT name, lower, lower + interval '1 month' AS upper FROM
                (SELECT c.relname AS name, to_date(substr(c.relname, 17), 'YYYY_MM')::timestamp AS lower FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'public.timeline_events'::regclass AND c.relname ~ '^timeline_events_[0-9]{4}_[0-9]{2}$') months
              WHERE lower < newest ORDER BY 1 LOOP
    -- Through the parent: a partition has forced row-level security and no policy, so it looks empty to everybody.
    CONTINUE WHEN EXISTS (SELECT FROM timeline_events WHERE ts >= part.lower AT TIME ZONE 'UTC' AND ts < part.upper AT TIME ZONE 'UTC');
    LOCK TABLE public.timeline_events IN ACCESS EXCLUSIVE MODE;
    -- Once more, for what came in between. Where something did, the others wait for the next call.
    IF EXISTS (SELECT FROM timeline_events WHERE ts >= part.lower AT TIME ZONE 'UTC' AND ts < part.upper AT TIME ZONE 'UTC') THEN
      RETURN 0;
    END IF;
    EXECUTE format('DROP TABLE public.%I', part.name);
    RETURN 1;
  END LOOP;
  RETURN 0;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0;
END $$;
REVOKE ALL ON FUNCTION stella_drop_timeline_partitions(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stella_drop_timeline_partitions(timestamptz) TO stella_locker;
