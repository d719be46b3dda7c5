-- Which SBOMs have a component in them: the timeline resolves a component to its SBOMs.

CREATE TABLE sbom_components (
  tenant_id text NOT NULL,
  purl text NOT NULL,                     -- at most 512 bytes of it, as resources of events
  sbom_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, purl, sbom_id)
);
SELECT stella_isolate('sbom_components');
CREATE POLICY owner ON sbom_components TO stella_owner USING (true) WITH CHECK (true);
SELECT stella_allow('stella_orchestrator', ARRAY['sbom_components']);
GRANT SELECT ON sbom_components TO stella_web;
GRANT SELECT, INSERT ON sbom_components TO stella_orchestrator;

CREATE INDEX exports_evaluation ON exports (tenant_id, evaluation_id);
