-- What an evaluation is compared with: the one before it of the same SBOM, or of the SBOM that this one replaces (same project and name).

-- The name by its digest: it may be longer than an index entry.
CREATE INDEX sboms_subject ON sboms (tenant_id, project_id, md5(document_name), received_at);
CREATE INDEX evaluations_finished ON evaluations (tenant_id, sbom_id, finished_at) WHERE state = 'finished';
