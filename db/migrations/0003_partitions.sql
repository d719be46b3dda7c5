-- Month partitions of timeline_events are made ahead by the owner's functions: partitions inherit neither RLS flags nor grants,
-- so each is isolated before it is attached, and no login can read one directly.
CREATE FUNCTION stella_make_timeline_partition(month date) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
  name text := 'timeline_events_' || to_char(month, 'YYYY_MM');
BEGIN
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN false; END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.timeline_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE public.timeline_events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name,
                 month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month')::timestamp AT TIME ZONE 'UTC');
  RETURN true;
END $$;

-- From last month to `months_ahead` from now; how many were made.
CREATE FUNCTION stella_ensure_timeline_partitions(months_ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
  first date := date_trunc('month', now() AT TIME ZONE 'UTC')::date - interval '1 month';
  made int := 0;
BEGIN
  IF months_ahead NOT BETWEEN 0 AND 24 THEN RAISE EXCEPTION 'months_ahead out of range'; END IF;
  PERFORM pg_advisory_xact_lock(7215001);
  FOR i IN 0 .. months_ahead + 1 LOOP
    IF stella_make_timeline_partition((first + make_interval(months => i))::date) THEN made := made + 1; END IF;
  END LOOP;
  RETURN made;
END $$;

-- The month of one instant, for events whose clock was wrong; within ten years of now.
CREATE FUNCTION stella_ensure_timeline_partition_of(ts timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
  IF ts NOT BETWEEN now() - interval '10 years' AND now() + interval '10 years' THEN RAISE EXCEPTION 'instant out of range'; END IF;
  PERFORM pg_advisory_xact_lock(7215001);
  RETURN stella_make_timeline_partition(date_trunc('month', ts AT TIME ZONE 'UTC')::date);
END $$;

REVOKE ALL ON FUNCTION stella_make_timeline_partition(date), stella_ensure_timeline_partitions(int),
  stella_ensure_timeline_partition_of(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stella_ensure_timeline_partitions(int), stella_ensure_timeline_partition_of(timestamptz) TO stella_indexer;
SELECT stella_ensure_timeline_partitions(3);
-- Helpers of migrations, for the owner alone.
REVOKE ALL ON FUNCTION stella_isolate(regclass), stella_allow(name, text[]) FROM PUBLIC;
