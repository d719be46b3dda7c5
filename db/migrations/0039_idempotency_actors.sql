-- An Idempotency-Key belongs to whoever sent it: the same key and body of another person is their own deed, not the first one's answer.
ALTER TABLE idempotency_keys ADD COLUMN actor text NOT NULL DEFAULT '';
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey;
ALTER TABLE idempotency_keys ADD PRIMARY KEY (tenant_id, actor, route, key);
