-- Old keys are found by their age.
CREATE INDEX idempotency_keys_age ON idempotency_keys (tenant_id, created_at);
