-- Roles with the least rights that each part needs. Apply it as the owner of the database, before the first migration; it
-- may be applied again. Then give each a password: ALTER ROLE dnscribe_writer PASSWORD '…'.
--
--   psql --dbname=dns --file=roles.sql
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['dnscribe_migrator', 'dnscribe_writer', 'dnscribe_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
    END LOOP;
END
$$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- The migrator owns the tables.
GRANT CREATE ON SCHEMA public TO dnscribe_migrator;
-- The jobs insert rows, and write them again.
ALTER DEFAULT PRIVILEGES FOR ROLE dnscribe_migrator IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE ON TABLES TO dnscribe_writer;
-- Retention; see 003_retention.sql.
ALTER DEFAULT PRIVILEGES FOR ROLE dnscribe_migrator IN SCHEMA public
    GRANT EXECUTE ON FUNCTIONS TO dnscribe_writer;
-- Grafana and people.
ALTER DEFAULT PRIVILEGES FOR ROLE dnscribe_migrator IN SCHEMA public
    GRANT SELECT ON TABLES TO dnscribe_reader;
ALTER ROLE dnscribe_reader SET default_transaction_read_only = on;
ALTER ROLE dnscribe_reader SET statement_timeout = '60s';
