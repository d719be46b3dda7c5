-- A tenant is renamed, suspended and woken by the platform, which is not in it: so through the authority.
GRANT UPDATE (state, display_name) ON tenants TO stella_authority;
-- Who is disabled or loses a scope loses their tokens.
CREATE INDEX tokens_of_principal ON tokens (tenant_id, principal_id);
