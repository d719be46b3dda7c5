-- Whether an event of one's own that is in no log yet still waits or was set aside (a negative shard): GET /timeline/{event_id} says it.
GRANT SELECT (shard) ON timeline_outbox TO stella_web;
