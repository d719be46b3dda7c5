-- A document that a source's whole snapshot no longer holds gets a revision of its own and is not in force: it vanished. The row repeats what
-- the document last said.
ALTER TABLE advisory_observations ADD COLUMN vanished boolean NOT NULL DEFAULT false;
ALTER TABLE vex_observations ADD COLUMN vanished boolean NOT NULL DEFAULT false;
