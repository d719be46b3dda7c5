-- A session's temporary objects come before every other relation and type unless the search path names pg_temp: a login that may call one of the
-- owner's functions could put its own view in the place of a table and have its code run as the owner. pg_temp stands last here, and no login but the
-- owner can make temporary objects (nothing of ours does; pg::bootstrap does not grant it any more).
ALTER FUNCTION stella_make_timeline_partition(date) SET search_path = pg_catalog, public, pg_temp;
ALTER FUNCTION stella_ensure_timeline_partitions(int) SET search_path = pg_catalog, public, pg_temp;
ALTER FUNCTION stella_ensure_timeline_partition_of(timestamptz) SET search_path = pg_catalog, public, pg_temp;
ALTER FUNCTION stella_drop_timeline_partitions(timestamptz) SET search_path = pg_catalog, public, pg_temp;

DO $$
BEGIN
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, stella_web, stella_authority, stella_orchestrator, stella_indexer, stella_locker, stella_telemetry',
                 current_database());
END $$;
