-- Tables of the platform. Every table with tenant_id is isolated by 0002_isolation.sql; the others hold no tenant data.
-- Kinds, states and ids are text, uuid or timestamptz: under row-level security only leakproof operators use an index.

-- ── Authority ──────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE tenants (
  tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  display_name text NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE projects (
  tenant_id text NOT NULL REFERENCES tenants,
  project_id uuid NOT NULL,
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, project_id),
  UNIQUE (tenant_id, slug)
);
CREATE TABLE principals (
  tenant_id text NOT NULL REFERENCES tenants,
  principal_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('user', 'service')),
  login text NOT NULL,                    -- user name or client id; unique in the deployment, so that login needs no tenant
  display_name text NOT NULL DEFAULT '',
  secret_hash text NOT NULL,              -- scrypt, parameters inside
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, principal_id),
  UNIQUE (login)
);
CREATE TABLE principal_scopes (
  tenant_id text NOT NULL,
  principal_id uuid NOT NULL,
  scope text NOT NULL,                    -- "stella:sbom:read#tenant/acme" or "stella:kb:write#platform"
  granted_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, principal_id, scope),
  FOREIGN KEY (tenant_id, principal_id) REFERENCES principals
);
CREATE TABLE tokens (
  tenant_id text NOT NULL REFERENCES tenants,
  token_id uuid NOT NULL,                 -- jti
  principal_id uuid NOT NULL,
  issued_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, token_id)
);
CREATE TABLE decisions (                  -- authorisations and evaluations: never sampled, never dropped
  tenant_id text NOT NULL,
  decision_id uuid NOT NULL,
  ts timestamptz NOT NULL,
  kind text NOT NULL CHECK (kind IN ('authz', 'evaluation')),
  decision_effect text NOT NULL,
  decision_reason text NOT NULL,
  actor text NOT NULL,
  route text NOT NULL DEFAULT '',
  scope text NOT NULL DEFAULT '',
  evaluation_id uuid,
  policy_version text,
  trace_id text NOT NULL,
  record jsonb NOT NULL,
  PRIMARY KEY (tenant_id, decision_id)
);
CREATE INDEX decisions_ts ON decisions (tenant_id, ts);
CREATE INDEX decisions_trace ON decisions (tenant_id, trace_id);
CREATE TABLE idempotency_keys (
  tenant_id text NOT NULL,
  key text NOT NULL,
  route text NOT NULL,
  request_sha256 bytea NOT NULL,
  status int NOT NULL,
  response text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, route, key)
);
CREATE TABLE signing_keys (               -- public halves; deployment-wide, no tenant data
  key_id text PRIMARY KEY,                -- SHA256:… (OpenSSH fingerprint)
  purpose text NOT NULL CHECK (purpose IN ('evidence', 'token')),
  algorithm text NOT NULL,
  public_pem text NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'retired', 'compromised')),
  introduced_at timestamptz NOT NULL DEFAULT now()
);

-- ── Jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE jobs (
  tenant_id text NOT NULL,
  job_id uuid NOT NULL,
  project_id uuid,
  kind text NOT NULL,
  state text NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'failed', 'cancelled', 'dead')),
  priority int NOT NULL DEFAULT 0,
  engine_version text NOT NULL,
  params text NOT NULL,                   -- canonical JSON
  inputs jsonb NOT NULL,                  -- [{"name","sha256","tenant"}]: objects by digest, of this tenant or of `global`
  idempotency_sha256 bytea NOT NULL,      -- over (kind, engine version, params, inputs)
  resource_type text NOT NULL DEFAULT '', -- what it works for: sbom, evaluation, export, bundle, batch
  resource_id text NOT NULL DEFAULT '',
  attempt int NOT NULL DEFAULT 0,         -- fencing token: results of an older attempt are dropped
  max_attempts int NOT NULL DEFAULT 5,
  dispatches int NOT NULL DEFAULT 0,      -- how often the bus was told
  not_before timestamptz NOT NULL DEFAULT now(),
  lease_until timestamptz,
  runner_id text,
  cancel_requested boolean NOT NULL DEFAULT false,
  cached_from uuid,                       -- an earlier job with the same idempotency digest whose outputs were reused
  outputs jsonb,                          -- [{"name","sha256","size","media_type"}]
  error_code text,
  error_message text,
  error_fields jsonb,
  root_cause text,                        -- "failed: …" (the work) or "errored: …" (the system)
  requested_by text NOT NULL,
  traceparent text NOT NULL,
  trace_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, job_id)
);
CREATE INDEX jobs_idempotency ON jobs (tenant_id, idempotency_sha256) WHERE state = 'finished' AND cached_from IS NULL;
CREATE INDEX jobs_dispatch ON jobs (not_before) WHERE state = 'queued';
CREATE INDEX jobs_lease ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_created ON jobs (tenant_id, created_at);
CREATE INDEX jobs_resource ON jobs (tenant_id, resource_type, resource_id);
CREATE INDEX jobs_trace ON jobs (tenant_id, trace_id);
CREATE TABLE runs (                       -- one per attempt that a runner began
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  job_id uuid NOT NULL,
  attempt int NOT NULL,
  runner_id text NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'finished', 'failed', 'errored', 'lost', 'cancelled')),
  image_sha256 bytea NOT NULL,
  sandbox jsonb NOT NULL,
  environment jsonb,
  usage jsonb,
  transcript_sha256 bytea,                -- object: the command transcript (NDJSON)
  root_cause text,
  started_at timestamptz NOT NULL,
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, run_id),
  UNIQUE (tenant_id, job_id, attempt),
  FOREIGN KEY (tenant_id, job_id) REFERENCES jobs
);
CREATE TABLE leases (                     -- who does what alone: indexer shards; no tenant data
  name text PRIMARY KEY,
  owner text NOT NULL,
  fence bigint NOT NULL DEFAULT 1,
  until timestamptz NOT NULL
);

-- ── Pipeline ───────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE sboms (
  tenant_id text NOT NULL REFERENCES tenants,
  sbom_id uuid NOT NULL,
  project_id uuid NOT NULL,
  sha256 bytea NOT NULL,
  size bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('received', 'computed', 'rejected')),
  source_format text,
  document_name text,
  document_version text,
  document_id text,
  counts jsonb,                           -- {"components","edges","problems","by_ecosystem":{…}}
  components_sha256 bytea,
  error jsonb,                            -- problem of a rejected document: code, message, line, column, expected
  job_id uuid,
  received_by text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  computed_at timestamptz,
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, sbom_id),
  UNIQUE (tenant_id, project_id, sha256)
);
CREATE INDEX sboms_received ON sboms (tenant_id, received_at);
CREATE TABLE ingest_batches (             -- one upload of advisories or VEX documents
  tenant_id text NOT NULL REFERENCES tenants,
  batch_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('advisory', 'vex')),
  source_id text NOT NULL,
  sha256 bytea NOT NULL,                  -- the tar as received
  size bigint NOT NULL,
  documents int NOT NULL,
  state text NOT NULL CHECK (state IN ('received', 'ingested', 'rejected')),
  counts jsonb,                           -- {"new","revised","unchanged","withdrawn","rejected"}
  rejected jsonb,                         -- [{"path","sha256","error":{…}}], bounded
  error jsonb,
  job_id uuid,
  received_by text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, batch_id)
);
CREATE TABLE source_documents (           -- bytes as received, by digest
  tenant_id text NOT NULL,
  sha256 bytea NOT NULL,
  kind text NOT NULL CHECK (kind IN ('advisory', 'vex', 'sbom', 'policy')),
  source_id text NOT NULL,
  media_type text NOT NULL,
  size bigint NOT NULL,
  first_batch uuid,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, sha256, source_id)
);
CREATE TABLE advisory_observations (      -- append-only (AOC): a changed document is a new revision
  tenant_id text NOT NULL,
  source_id text NOT NULL,
  native_id text NOT NULL,
  revision_no int NOT NULL,
  doc_sha256 bytea NOT NULL,
  modified text NOT NULL,
  withdrawn text NOT NULL DEFAULT '',
  aliases text[] NOT NULL DEFAULT '{}',
  ecosystems text[] NOT NULL DEFAULT '{}',
  path text NOT NULL,
  batch_id uuid NOT NULL,
  observed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, source_id, native_id, revision_no)
);
CREATE INDEX advisory_observations_document ON advisory_observations (tenant_id, doc_sha256);
CREATE TABLE advisory_current (           -- which revision of each document is in force
  tenant_id text NOT NULL,
  source_id text NOT NULL,
  native_id text NOT NULL,
  revision_no int NOT NULL,
  doc_sha256 bytea NOT NULL,
  PRIMARY KEY (tenant_id, source_id, native_id)
);
CREATE TABLE advisory_segments (          -- immutable index segments
  tenant_id text NOT NULL,
  sha256 bytea NOT NULL,
  ecosystem text NOT NULL,
  batch_id uuid NOT NULL,
  size bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, sha256, ecosystem)
);
CREATE TABLE vex_observations (
  tenant_id text NOT NULL,
  source_id text NOT NULL,
  native_id text NOT NULL,
  revision_no int NOT NULL,
  doc_sha256 bytea NOT NULL,
  format text NOT NULL,
  document_time text NOT NULL DEFAULT '',
  statements int NOT NULL,
  deviations jsonb NOT NULL DEFAULT '[]',
  path text NOT NULL,
  batch_id uuid NOT NULL,
  observed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, source_id, native_id, revision_no)
);
CREATE TABLE vex_current (
  tenant_id text NOT NULL,
  source_id text NOT NULL,
  native_id text NOT NULL,
  revision_no int NOT NULL,
  doc_sha256 bytea NOT NULL,
  PRIMARY KEY (tenant_id, source_id, native_id)
);
CREATE TABLE vex_statement_ids (          -- which documents speak about a vulnerability id or alias
  tenant_id text NOT NULL,
  vulnerability text NOT NULL,
  doc_sha256 bytea NOT NULL,
  PRIMARY KEY (tenant_id, vulnerability, doc_sha256)
);
CREATE TABLE policies (
  tenant_id text NOT NULL REFERENCES tenants,
  policy_version text NOT NULL,           -- "<label>@<first 12 hex>"
  label text NOT NULL,
  sha256 bytea NOT NULL,                  -- of the canonical set; the object
  source_sha256 bytea NOT NULL,           -- of the document as received; the object
  description text NOT NULL,
  rules int NOT NULL,
  published_by text NOT NULL,
  published_at timestamptz NOT NULL DEFAULT now(),
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, policy_version)
);
CREATE TABLE policy_activations (         -- append-only; the newest is in force
  tenant_id text NOT NULL REFERENCES tenants,
  activation_id uuid NOT NULL,
  policy_version text NOT NULL,
  activated_by text NOT NULL,
  activated_at timestamptz NOT NULL DEFAULT now(),
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, activation_id),
  FOREIGN KEY (tenant_id, policy_version) REFERENCES policies
);
CREATE TABLE evaluations (
  tenant_id text NOT NULL REFERENCES tenants,
  evaluation_id uuid NOT NULL,
  project_id uuid NOT NULL,
  sbom_id uuid NOT NULL,
  policy_version text NOT NULL,
  as_of timestamptz NOT NULL,
  state text NOT NULL CHECK (state IN ('linking', 'reconciling', 'evaluating', 'finished', 'failed', 'cancelled')),
  decision_id uuid,
  decision_effect text,
  decision_reason text,
  counts jsonb,
  -- digests of the inputs and outputs, as objects of this tenant (advisory and VEX documents: of their own tenant)
  sbom_sha256 bytea NOT NULL,
  components_sha256 bytea NOT NULL,
  policy_sha256 bytea NOT NULL,
  advisory_set_sha256 bytea NOT NULL,     -- object `active.bin`
  vex_set_sha256 bytea,
  exposures_sha256 bytea,
  vex_sha256 bytea,
  decision_sha256 bytea,
  findings_sha256 bytea,
  trace_sha256 bytea,
  link_job uuid,
  reconcile_job uuid,
  evaluate_job uuid,
  error jsonb,
  requested_by text NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  traceparent text NOT NULL,
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, evaluation_id),
  FOREIGN KEY (tenant_id, sbom_id) REFERENCES sboms
);
CREATE INDEX evaluations_requested ON evaluations (tenant_id, requested_at);
CREATE INDEX evaluations_sbom ON evaluations (tenant_id, sbom_id);
CREATE TABLE findings (
  tenant_id text NOT NULL,
  evaluation_id uuid NOT NULL,
  finding_no int NOT NULL,                -- line in findings.ndjson, from 0
  purl text NOT NULL,
  advisory_id text NOT NULL,
  verdict text NOT NULL,
  severity text NOT NULL,
  score double precision NOT NULL,
  vex_status text NOT NULL,
  decision_effect text NOT NULL,
  rule_id text NOT NULL,
  reason text NOT NULL,
  fixed_versions text[] NOT NULL,
  clause jsonb NOT NULL,
  PRIMARY KEY (tenant_id, evaluation_id, finding_no)
);
CREATE TABLE exports (
  tenant_id text NOT NULL REFERENCES tenants,
  export_id uuid NOT NULL,
  evaluation_id uuid NOT NULL,
  format text NOT NULL,
  state text NOT NULL CHECK (state IN ('requested', 'created', 'failed')),
  job_id uuid,
  report_sha256 bytea,
  manifest_sha256 bytea,
  attestation_id uuid,
  error jsonb,
  requested_by text NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, export_id),
  FOREIGN KEY (tenant_id, evaluation_id) REFERENCES evaluations
);

-- ── Timeline ───────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE timeline_outbox (
  seq bigint GENERATED ALWAYS AS IDENTITY,
  shard int NOT NULL,                     -- negative: set aside by the indexer because the database refused it
  tenant_id text NOT NULL,
  event_id uuid NOT NULL,
  ts timestamptz NOT NULL,
  entry bytea NOT NULL,                   -- RFC 8785 JSON, at most 65 535 bytes
  resources jsonb NOT NULL DEFAULT '[]',  -- [["sbom","<id>"],…]: other resources of the event
  traceparent text NOT NULL DEFAULT '',
  PRIMARY KEY (shard, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE timeline_heads (             -- state of each tenant's log
  tenant_id text PRIMARY KEY,
  shard int NOT NULL,
  size bigint NOT NULL DEFAULT 0,
  tree bytea NOT NULL DEFAULT '',         -- compact range of the RFC 6962 tree
  root bytea NOT NULL,
  published bigint NOT NULL DEFAULT 0,    -- log indexes below this were acknowledged by the bus
  confirmed bigint NOT NULL DEFAULT 0,    -- and below this a later probe of the stream succeeded: a rebuilt stream is filled from here
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX timeline_heads_shard ON timeline_heads (shard);
CREATE TABLE timeline_log (
  tenant_id text NOT NULL,
  log_index bigint NOT NULL,
  event_id uuid NOT NULL,
  entry bytea NOT NULL,
  traceparent text NOT NULL DEFAULT '',
  PRIMARY KEY (tenant_id, log_index),
  UNIQUE (tenant_id, event_id)
) PARTITION BY HASH (tenant_id);
CREATE TABLE timeline_log_0 PARTITION OF timeline_log FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE timeline_log_1 PARTITION OF timeline_log FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE timeline_log_2 PARTITION OF timeline_log FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE timeline_log_3 PARTITION OF timeline_log FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE TABLE timeline_events (
  event_id uuid NOT NULL,
  ts timestamptz NOT NULL,
  tenant_id text NOT NULL,
  project_id uuid,
  kind text NOT NULL,
  actor text NOT NULL,
  resource_type text NOT NULL,
  resource_id text NOT NULL,
  trace_id text NOT NULL,
  digest bytea NOT NULL,                  -- RFC 6962 leaf hash of the entry
  details_jsonb jsonb NOT NULL,           -- search copy; the entry's bytes are in timeline_log
  PRIMARY KEY (tenant_id, ts, event_id)
) PARTITION BY RANGE (ts);
CREATE INDEX timeline_events_resource ON timeline_events (tenant_id, resource_type, resource_id, ts);
CREATE INDEX timeline_events_trace ON timeline_events (tenant_id, trace_id);
CREATE INDEX timeline_events_kind ON timeline_events (tenant_id, kind, ts);
CREATE INDEX timeline_events_id ON timeline_events (tenant_id, event_id);
CREATE TABLE timeline_event_resources (
  tenant_id text NOT NULL,
  resource_type text NOT NULL,
  resource_id text NOT NULL,
  ts timestamptz NOT NULL,
  event_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, resource_type, resource_id, ts, event_id)
);

-- ── Evidence ───────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE evidence_bundles (           -- exactly the columns of the epic
  id uuid NOT NULL,
  tenant_id text NOT NULL REFERENCES tenants,
  case_id text NOT NULL,
  kind text NOT NULL,
  root_hash bytea NOT NULL,
  path text NOT NULL,
  signer_key_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  labels jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX evidence_bundles_case ON evidence_bundles (tenant_id, case_id);
CREATE INDEX evidence_bundles_root ON evidence_bundles (tenant_id, root_hash);
CREATE INDEX evidence_bundles_ts ON evidence_bundles (tenant_id, created_at);
CREATE TABLE evidence_snapshots (         -- how a bundle comes to be: requested → building → built → sealed
  tenant_id text NOT NULL REFERENCES tenants,
  bundle_id uuid NOT NULL,
  case_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('eval', 'job', 'export')),
  resource_id text NOT NULL,
  request_no int NOT NULL DEFAULT 1,      -- {"again": true} makes the next number
  state text NOT NULL CHECK (state IN ('building', 'built', 'sealed', 'failed')),
  job_id uuid,
  custody_traces text[] NOT NULL DEFAULT '{}',  -- traces whose events belong to the chain of custody
  request text NOT NULL DEFAULT '{}',   -- canonical request: with the tenant's secret it gives the salts
  project_id uuid,
  payload_sha256 bytea,
  items_sha256 bytea,
  seal_sha256 bytea,
  bundle_sha256 bytea,
  bundle_size bigint,
  error jsonb,
  requested_by text NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  sealed_at timestamptz,
  traceparent text NOT NULL,
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, bundle_id),
  UNIQUE (tenant_id, kind, resource_id, case_id, request_no)
);
CREATE TABLE attestations (               -- exactly the columns of the epic
  id uuid NOT NULL,
  tenant_id text NOT NULL REFERENCES tenants,
  subject_id text NOT NULL,
  subject_digest bytea NOT NULL,
  statement_path text NOT NULL,
  signer_key_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX attestations_subject ON attestations (tenant_id, subject_id);
CREATE INDEX attestations_digest ON attestations (tenant_id, subject_digest);
CREATE INDEX attestations_ts ON attestations (tenant_id, created_at);
CREATE TABLE attestation_facts (
  tenant_id text NOT NULL,
  attestation_id uuid NOT NULL,
  predicate_type text NOT NULL,
  subject_name text NOT NULL,
  statement_sha256 bytea NOT NULL,
  job_id uuid,
  trace_id text NOT NULL,
  PRIMARY KEY (tenant_id, attestation_id)
);

-- ── Telemetry, until the lake stands ───────────────────────────────────────────────────────────────────────────────
CREATE TABLE telemetry_spans (
  tenant_id text NOT NULL,
  trace_id text NOT NULL,
  span_id text NOT NULL,
  parent_span_id text NOT NULL DEFAULT '',
  name text NOT NULL,
  kind text NOT NULL,
  service text NOT NULL,
  start_ts timestamptz NOT NULL,
  end_ts timestamptz NOT NULL,
  status text NOT NULL,
  attributes jsonb NOT NULL,
  links jsonb NOT NULL DEFAULT '[]',
  PRIMARY KEY (tenant_id, trace_id, span_id)
);
CREATE INDEX telemetry_spans_ts ON telemetry_spans (start_ts);
CREATE TABLE telemetry_logs (
  tenant_id text NOT NULL,
  trace_id text NOT NULL,
  line_id bigint GENERATED ALWAYS AS IDENTITY,
  ts timestamptz NOT NULL,
  level text NOT NULL,
  service text NOT NULL,
  span_id text NOT NULL DEFAULT '',
  line text NOT NULL,                     -- the NDJSON line as it left the process, scrubbed
  PRIMARY KEY (tenant_id, trace_id, line_id)
);
CREATE INDEX telemetry_logs_ts ON telemetry_logs (ts);
