-- Who made a principal, so that a legal hold is not released by one administrator and a login of their own making. NULL: the deployment itself (its
-- first operators), or nobody knows, as of those whose event is not kept any more.
ALTER TABLE principals ADD COLUMN created_by uuid;  -- a principal of the same tenant
UPDATE principals p SET created_by = split_part(e.actor, ':', 2)::uuid FROM timeline_events e
  WHERE e.tenant_id = p.tenant_id AND e.kind = 'principal.created' AND e.resource_type = 'principal' AND e.resource_id = p.principal_id::text
    AND e.actor ~ '^(user|service):[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';
GRANT SELECT (created_by) ON principals TO stella_web;
-- The holder's new secret, in place of the old one.
GRANT UPDATE (secret_hash) ON principals TO stella_authority;
