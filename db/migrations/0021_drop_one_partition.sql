-- One month a call: the exclusive lock of the timeline lasts for one table, and nothing else is looked at while it is held.
CREATE OR REPLACE FUNCTION stella_drop_timeline_partitions(before timestamptz) RETURNS int
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
