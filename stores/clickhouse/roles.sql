-- Users with the least rights that each part needs. Apply it as an administrator; it may be applied again. Then give each a
-- password: ALTER USER dnscribe_writer IDENTIFIED BY '…'.
--
--   clickhouse-client --multiquery < roles.sql
CREATE DATABASE IF NOT EXISTS dns;
CREATE USER IF NOT EXISTS dnscribe_migrator;
CREATE USER IF NOT EXISTS dnscribe_writer;
CREATE USER IF NOT EXISTS dnscribe_reader;
-- The migrator creates the database, tables and views, sets the retention, and remembers what it has applied.
GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, ALTER, SELECT, INSERT ON dns.* TO dnscribe_migrator;
-- The jobs insert rows. Materialized views read what is inserted.
GRANT INSERT, SELECT ON dns.* TO dnscribe_writer;
-- Grafana and people. A row that was written twice counts once also in a query without FINAL: its copies are in one partition.
GRANT SELECT ON dns.* TO dnscribe_reader;
ALTER USER dnscribe_reader SETTINGS final = 1, do_not_merge_across_partitions_select_final = 1;
