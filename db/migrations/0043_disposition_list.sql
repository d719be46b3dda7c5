-- People see what retention would delete next, and why not yet: also whether the clock keeps it. The one row of the clock has no tenant's data.
GRANT SELECT ON evidence_clock TO stella_web;
