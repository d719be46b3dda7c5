-- An event with more documents than it has room for names one digest over their list. The locker makes that list again from the observations.

CREATE INDEX vex_observations_document ON vex_observations (tenant_id, doc_sha256);
CREATE INDEX vex_observations_batch ON vex_observations (batch_id);

SELECT stella_allow('stella_locker', ARRAY['vex_observations']);
GRANT SELECT (tenant_id, doc_sha256, batch_id) ON vex_observations TO stella_locker;
