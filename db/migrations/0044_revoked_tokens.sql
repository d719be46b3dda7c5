-- The list of revoked tokens is read every five seconds; all tokens that were ever issued are many more.
CREATE INDEX tokens_revoked ON tokens (expires_at) WHERE revoked_at IS NOT NULL;
