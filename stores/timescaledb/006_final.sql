-- A final record of a merged window replaces any other, also one with more revisions: a job that begins without its state
-- makes a window anew, and what the topic has last counts. Else a higher revision replaces a lower one, as before.
DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('dns_fleet_put(regclass, jsonb, boolean)'::regprocedure),
        '(excluded.final, excluded.revision) >= (old.final, old.revision)',
        'excluded.final OR NOT old.final AND excluded.revision >= old.revision');
END $$;
