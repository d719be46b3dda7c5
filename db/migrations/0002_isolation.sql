-- Who may see and do what. Every table with a tenant_id has row-level security, forced; no login owns a table or bypasses it.
-- stella_web works for one tenant at a time (`stella.tenant`); each background role has policies and grants of its own.
-- The result is compared with tests/rls/expected_policies.txt: a change here is a change there.

CREATE FUNCTION stella_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  RETURN nullif(current_setting('stella.tenant', true), '');

-- Isolation of one table: forced RLS, the tenant's own rows for stella_web.
CREATE FUNCTION stella_isolate(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
  EXECUTE format('CREATE POLICY tenant ON %s TO stella_web USING (tenant_id = stella_tenant()) WITH CHECK (tenant_id = stella_tenant())', t);
END $$;

DO $$
DECLARE t text;
BEGIN
  FOR t IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
           WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY 1 LOOP
    PERFORM stella_isolate(t::regclass);
  END LOOP;
END $$;

-- The public knowledge base is readable by every tenant, writable only with a scope for the tenant `global`.
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['source_documents', 'advisory_observations', 'advisory_current', 'advisory_segments',
                           'vex_observations', 'vex_current', 'vex_statement_ids'] LOOP
    EXECUTE format('CREATE POLICY knowledge_base ON %I FOR SELECT TO stella_web USING (tenant_id = ''global'')', t);
  END LOOP;
END $$;
-- Events of the knowledge base belong to the tenant `platform`.
CREATE POLICY knowledge_base ON timeline_outbox FOR INSERT TO stella_web
  WITH CHECK (stella_tenant() = 'global' AND tenant_id = 'platform');

-- ── stella_web: requests ───────────────────────────────────────────────────────────────────────────────────────────
GRANT SELECT, INSERT ON tenants, projects, principals, principal_scopes, tokens, decisions, idempotency_keys, sboms, ingest_batches,
  source_documents, policies, policy_activations, evaluations, exports, jobs, evidence_snapshots TO stella_web;
GRANT SELECT ON runs, advisory_observations, advisory_current, advisory_segments, vex_observations, vex_current, vex_statement_ids,
  findings, timeline_log, timeline_events, timeline_event_resources, timeline_heads, evidence_bundles, attestations, attestation_facts,
  telemetry_spans, telemetry_logs, signing_keys TO stella_web;
GRANT INSERT ON timeline_outbox TO stella_web;
GRANT SELECT (tenant_id, event_id, ts, entry) ON timeline_outbox TO stella_web;  -- own rows: repeats of POST /timeline, events not indexed yet
GRANT UPDATE (state, display_name, secret_hash) ON principals TO stella_web;
GRANT DELETE ON principal_scopes TO stella_web;
GRANT UPDATE (revoked_at) ON tokens TO stella_web;
GRANT UPDATE (state, display_name) ON tenants TO stella_web;
GRANT UPDATE (job_id) ON sboms, ingest_batches, exports, evidence_snapshots TO stella_web;
GRANT UPDATE (link_job) ON evaluations TO stella_web;
GRANT UPDATE (cancel_requested, state, finished_at, attempt, max_attempts, not_before, lease_until, error_code, error_message, root_cause) ON jobs TO stella_web;
GRANT DELETE ON idempotency_keys TO stella_web;

-- ── Background roles ───────────────────────────────────────────────────────────────────────────────────────────────
-- One policy per (role, table); commands and columns by grants.
CREATE FUNCTION stella_allow(role name, tables text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY tables LOOP
    EXECUTE format('CREATE POLICY %I ON %I TO %I USING (true) WITH CHECK (true)', role, t, role);
  END LOOP;
END $$;

-- authority: sign-in before a tenant is known; creates tenants.
SELECT stella_allow('stella_authority', ARRAY['tenants', 'projects', 'principals', 'principal_scopes', 'tokens', 'decisions', 'timeline_outbox']);
GRANT SELECT, INSERT ON tenants, projects, principals, principal_scopes, tokens, signing_keys TO stella_authority;
GRANT UPDATE (revoked_at) ON tokens TO stella_authority;
GRANT INSERT ON decisions, timeline_outbox TO stella_authority;

-- orchestrator: jobs of all tenants and what follows from their results.
SELECT stella_allow('stella_orchestrator', ARRAY['jobs', 'runs', 'sboms', 'ingest_batches', 'source_documents', 'advisory_observations',
  'advisory_current', 'advisory_segments', 'vex_observations', 'vex_current', 'vex_statement_ids', 'policies', 'evaluations', 'findings',
  'exports', 'decisions', 'evidence_snapshots', 'attestations', 'attestation_facts', 'timeline_outbox', 'telemetry_spans', 'telemetry_logs']);
GRANT SELECT, INSERT, UPDATE ON jobs, runs TO stella_orchestrator;
GRANT SELECT, UPDATE ON sboms, ingest_batches, evaluations, exports, evidence_snapshots TO stella_orchestrator;
GRANT SELECT, INSERT ON source_documents, advisory_observations, advisory_segments, vex_observations, vex_statement_ids,
  findings, decisions, attestations, attestation_facts TO stella_orchestrator;
GRANT SELECT, INSERT, UPDATE, DELETE ON advisory_current, vex_current TO stella_orchestrator;
GRANT SELECT ON policies TO stella_orchestrator;
GRANT INSERT ON timeline_outbox, telemetry_spans, telemetry_logs TO stella_orchestrator;
GRANT SELECT ON signing_keys TO stella_orchestrator;

-- indexer: outbox to log.
SELECT stella_allow('stella_indexer', ARRAY['timeline_outbox', 'timeline_heads', 'timeline_log', 'timeline_events', 'timeline_event_resources']);
GRANT SELECT, DELETE, UPDATE (shard) ON timeline_outbox TO stella_indexer;
GRANT SELECT, INSERT, UPDATE ON timeline_heads TO stella_indexer;
GRANT SELECT, INSERT ON timeline_log, timeline_events, timeline_event_resources TO stella_indexer;
GRANT SELECT, INSERT, UPDATE, DELETE ON leases TO stella_indexer;

-- locker: seals what was built.
SELECT stella_allow('stella_locker', ARRAY['evidence_snapshots', 'evidence_bundles', 'attestations', 'attestation_facts', 'jobs', 'runs',
  'evaluations', 'exports', 'timeline_outbox', 'timeline_log', 'timeline_events', 'timeline_event_resources', 'telemetry_spans', 'telemetry_logs']);
GRANT SELECT, UPDATE ON evidence_snapshots TO stella_locker;
GRANT SELECT, INSERT ON evidence_bundles, attestations, attestation_facts TO stella_locker;
GRANT SELECT ON jobs, runs, evaluations, exports, timeline_log, timeline_events, timeline_event_resources, telemetry_spans, telemetry_logs TO stella_locker;
GRANT INSERT ON timeline_outbox TO stella_locker;
GRANT SELECT, INSERT ON signing_keys TO stella_locker;

-- telemetry: rows of spans and log lines, and their retention.
SELECT stella_allow('stella_telemetry', ARRAY['telemetry_spans', 'telemetry_logs']);
GRANT SELECT, INSERT, DELETE ON telemetry_spans, telemetry_logs TO stella_telemetry;

-- The owner (migrations, partitions) sees rows only where a migration says so: RLS is forced for it as well.
DO $$
DECLARE t text;
BEGIN
  FOR t IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
           WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY 1 LOOP
    EXECUTE format('CREATE POLICY owner ON %I TO stella_owner USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;

INSERT INTO tenants (tenant_id, display_name) VALUES ('global', 'Public knowledge base'), ('platform', 'The platform itself');
