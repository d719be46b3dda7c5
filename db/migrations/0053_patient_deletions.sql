-- What cannot be carried out now is put off by itself, so that it holds up nobody: a deletion, the end of a tenant's key.
ALTER TABLE dispositions ADD COLUMN not_before timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE key_dispositions ADD COLUMN not_before timestamptz NOT NULL DEFAULT '-infinity';

-- A redacted copy is good as long as the key is that signed why files are missing. NULL: nobody wrote it down.
ALTER TABLE evidence_snapshots ADD COLUMN authorised_by text;
