-- Trace state beside every traceparent, and what telemetry records for a tenant, changeable at run time.

ALTER TABLE jobs ADD COLUMN tracestate text NOT NULL DEFAULT '';
ALTER TABLE evidence_snapshots ADD COLUMN tracestate text NOT NULL DEFAULT '';
ALTER TABLE timeline_outbox ADD COLUMN tracestate text NOT NULL DEFAULT '';
ALTER TABLE timeline_log ADD COLUMN tracestate text NOT NULL DEFAULT '';

CREATE TABLE telemetry_settings (         -- at most one row per tenant; without one the deployment's settings hold
  tenant_id text PRIMARY KEY REFERENCES tenants,
  levels jsonb NOT NULL DEFAULT '{}',     -- module → level; "*" is every module
  sampling double precision CHECK (sampling BETWEEN 0 AND 1),
  deep_debug text[] NOT NULL DEFAULT '{}',  -- PII classes that pass the scrubber until …
  deep_debug_until timestamptz,
  updated_at timestamptz NOT NULL DEFAULT now(),
  updated_by text NOT NULL,
  CHECK (cardinality(deep_debug) = 0 OR deep_debug_until IS NOT NULL)
);
SELECT stella_isolate('telemetry_settings');
SELECT stella_allow('stella_telemetry', ARRAY['telemetry_settings', 'timeline_outbox']);
SELECT stella_allow('stella_orchestrator', ARRAY['telemetry_settings']);
CREATE POLICY owner ON telemetry_settings TO stella_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON telemetry_settings TO stella_web;
GRANT UPDATE (levels, sampling, deep_debug, deep_debug_until, updated_at, updated_by) ON telemetry_settings TO stella_web;
GRANT SELECT ON telemetry_settings TO stella_orchestrator;
-- telemetry: every process reads the settings through it; it ends what has expired, with its event.
GRANT SELECT, UPDATE (deep_debug, deep_debug_until) ON telemetry_settings TO stella_telemetry;
GRANT INSERT ON timeline_outbox TO stella_telemetry;
