-- Sign-in locks its principal's row (FOR SHARE) while it issues the token, so that a change is before or after it. PostgreSQL lets only those lock a
-- row who may change a column of it: this one decides nothing.
GRANT UPDATE (display_name) ON principals TO stella_authority;
