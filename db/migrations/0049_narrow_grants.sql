-- Tenants, projects, principals, tokens and signing keys come into being through stella_authority alone, and nobody else reads what a secret is checked
-- against: whoever takes over a request's connection can neither make a login, nor change or try out a secret, nor introduce a key.
REVOKE INSERT ON tenants, projects, principals, tokens FROM stella_web;
REVOKE UPDATE (state, display_name) ON tenants FROM stella_web;
REVOKE UPDATE (secret_hash) ON principals FROM stella_web;
REVOKE SELECT ON principals FROM stella_web;
GRANT SELECT (tenant_id, principal_id, kind, login, display_name, state, created_at) ON principals TO stella_web;
REVOKE INSERT ON signing_keys FROM stella_locker;
