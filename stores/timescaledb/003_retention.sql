-- Retention by jobs that do not own the tables: these functions run with the rights of their owner, and drop nothing but
-- old chunks. roles.sql lets the writer call them.
CREATE OR REPLACE FUNCTION dns_drop_chunks(relation text, older_than interval) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*) FROM drop_chunks(relation::regclass, older_than => older_than) AS chunk
$$;
REVOKE ALL ON FUNCTION dns_drop_chunks(text, interval) FROM PUBLIC;
ALTER FUNCTION dns_fleet_expire(integer, interval) SECURITY DEFINER SET search_path = public, pg_temp;
REVOKE ALL ON FUNCTION dns_fleet_expire(integer, interval) FROM PUBLIC;
