-- Log levels of a tenant that hold for a time and fall back by themselves.

ALTER TABLE telemetry_settings ADD COLUMN temporary_levels jsonb NOT NULL DEFAULT '{}';  -- module → {"level", "until"}; before `levels`
GRANT UPDATE (temporary_levels) ON telemetry_settings TO stella_web, stella_telemetry;
