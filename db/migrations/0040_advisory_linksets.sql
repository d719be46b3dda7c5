-- Which advisories speak about one vulnerability, as their aliases say: never written into a record, always beside it.

CREATE TABLE advisory_linksets (          -- append-only: every change of a set is a new revision; the newest is in force
  tenant_id text NOT NULL,
  vulnerability_id text NOT NULL,         -- the smallest CVE id of the members, else the smallest id
  revision int NOT NULL,
  members text[] NOT NULL,                -- none: the set is no more
  edges jsonb NOT NULL,                   -- [{"from","to","kind":"alias","source_id","source_doc"}]
  batch_id uuid NOT NULL,                 -- the upload that changed it
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, vulnerability_id, revision)
);
CREATE TABLE advisory_linkset_members (   -- the set that an id is in now
  tenant_id text NOT NULL,
  advisory_id text NOT NULL,
  vulnerability_id text NOT NULL,
  PRIMARY KEY (tenant_id, advisory_id)
);

SELECT stella_isolate('advisory_linksets');
SELECT stella_isolate('advisory_linkset_members');
CREATE POLICY owner ON advisory_linksets TO stella_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON advisory_linkset_members TO stella_owner USING (true) WITH CHECK (true);
CREATE POLICY knowledge_base ON advisory_linksets FOR SELECT TO stella_web USING (tenant_id = 'global');
CREATE POLICY knowledge_base ON advisory_linkset_members FOR SELECT TO stella_web USING (tenant_id = 'global');
GRANT SELECT ON advisory_linksets, advisory_linkset_members TO stella_web;
SELECT stella_allow('stella_orchestrator', ARRAY['advisory_linksets', 'advisory_linkset_members']);
GRANT SELECT, INSERT ON advisory_linksets TO stella_orchestrator;
GRANT SELECT, INSERT, UPDATE, DELETE ON advisory_linkset_members TO stella_orchestrator;
