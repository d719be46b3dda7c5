-- Month partitions of timeline_events are made ahead by the owner's function: partitions inherit neither RLS flags nor grants,
-- so each is isolated before it is attached, and no login can read one directly.
CREATE FUNCTION stella_ensure_timeline_partitions(months_ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
  first date := date_trunc('month', now() AT TIME ZONE 'UTC')::date - interval '1 month';
  made int := 0;
  month date;
  name text;
BEGIN
  IF months_ahead NOT BETWEEN 0 AND 24 THEN RAISE EXCEPTION 'months_ahead out of range'; END IF;
  PERFORM pg_advisory_xact_lock(7215001);
  FOR i IN 0 .. months_ahead + 1 LOOP
    month := (first + make_interval(months => i))::date;
    name := 'timeline_events_' || to_char(month, 'YYYY_MM');
    CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.timeline_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.timeline_events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name,
                   month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month')::timestamp AT TIME ZONE 'UTC');
    made := made + 1;
  END LOOP;
  RETURN made;
END $$;
REVOKE ALL ON FUNCTION stella_ensure_timeline_partitions(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stella_ensure_timeline_partitions(int) TO stella_indexer;
SELECT stella_ensure_timeline_partitions(3);
