-- Merged windows (dns.fleet/1), their roll-ups by hour and day, alerts, probes and changes. Columns are named as in the
-- records; counters of statuses are columns of their own. Each table has a function that writes an array of records;
-- writing a record again changes nothing.

-- One row for each window, group and vantage. Sketches are in the roll-ups only: at ten seconds they would be most of
-- the volume, and dns.fleet has them.
CREATE TABLE IF NOT EXISTS dns_fleet (
    ts timestamptz NOT NULL,
    window_seconds integer NOT NULL,
    step_seconds integer NOT NULL,
    vantage text NOT NULL,
    group_key text NOT NULL,
    "grouping" text NOT NULL,
    region text,
    resolver text,
    zone text,
    qtype text,
    other boolean NOT NULL,
    event_id char(32) NOT NULL,
    nodes integer NOT NULL,
    revision integer NOT NULL,
    final boolean NOT NULL,
    partial boolean NOT NULL,
    undercounted boolean NOT NULL,
    transactions bigint NOT NULL,
    sample_ratio double precision,
    estimated_transactions jsonb,
    exact jsonb,
    answered bigint NOT NULL,
    timeout bigint NOT NULL,
    late bigint NOT NULL,
    icmp_error bigint NOT NULL,
    duplicate bigint NOT NULL,
    orphan bigint NOT NULL,
    evicted bigint NOT NULL,
    open bigint NOT NULL,
    queries bigint NOT NULL,
    query_rate double precision NOT NULL,
    responses bigint NOT NULL,
    noerror bigint NOT NULL,
    nxdomain bigint NOT NULL,
    servfail bigint NOT NULL,
    refused bigint NOT NULL,
    rcodes jsonb NOT NULL,
    qtypes jsonb NOT NULL,
    successes bigint NOT NULL,
    success_ratio double precision,
    truncated bigint NOT NULL,
    retries bigint NOT NULL,
    tcp_fallbacks bigint NOT NULL,
    cache_hits bigint NOT NULL,
    cache_misses bigint NOT NULL,
    dnssec_queries bigint NOT NULL,
    ecs_queries bigint NOT NULL,
    conflicts bigint NOT NULL,
    query_bytes bigint NOT NULL,
    response_bytes bigint NOT NULL,
    nxdomain_ratio double precision,
    servfail_ratio double precision,
    timeout_ratio double precision,
    truncation_ratio double precision,
    retry_ratio double precision,
    tcp_fallback_ratio double precision,
    cache_hit_ratio double precision,
    dnssec_ratio double precision,
    ecs_ratio double precision,
    amplification double precision,
    latency_ms_count bigint,
    latency_ms_p50 double precision,
    latency_ms_p90 double precision,
    latency_ms_p95 double precision,
    latency_ms_p99 double precision,
    latency_ms_max double precision,
    latency_ms_sketch text,
    -- NULL if nodes mask their sketches: how many values several of them have in common is unknown.
    unique_qnames double precision,
    unique_qnames_sketch text,
    unique_clients double precision,
    unique_clients_sketch text,
    unique_resolvers double precision,
    unique_resolvers_sketch text,
    top_qnames jsonb,
    top_zones jsonb,
    top_clients jsonb,
    top_processes jsonb,
    qname_entropy jsonb NOT NULL,
    label_lengths jsonb NOT NULL,
    min_ttls jsonb NOT NULL,
    PRIMARY KEY (ts, step_seconds, window_seconds, vantage, group_key)
);
CREATE TABLE IF NOT EXISTS dns_fleet_1h (LIKE dns_fleet INCLUDING ALL);
CREATE TABLE IF NOT EXISTS dns_fleet_1d (LIKE dns_fleet INCLUDING ALL);
SELECT create_hypertable('dns_fleet', 'ts', chunk_time_interval => INTERVAL '12 hours', if_not_exists => true,
    create_default_indexes => false);
-- A chunk holds the windows of one step, so that retention by step drops whole chunks.
SELECT add_dimension('dns_fleet', 'step_seconds', chunk_time_interval => 10, if_not_exists => true);
SELECT create_hypertable('dns_fleet_1h', 'ts', chunk_time_interval => INTERVAL '30 days', if_not_exists => true,
    create_default_indexes => false);
SELECT create_hypertable('dns_fleet_1d', 'ts', chunk_time_interval => INTERVAL '365 days', if_not_exists => true,
    create_default_indexes => false);
CREATE INDEX IF NOT EXISTS dns_fleet_zone ON dns_fleet (zone, ts DESC) WHERE zone IS NOT NULL;
CREATE INDEX IF NOT EXISTS dns_fleet_resolver ON dns_fleet (resolver, ts DESC) WHERE resolver IS NOT NULL;
CREATE INDEX IF NOT EXISTS dns_fleet_grouping ON dns_fleet ("grouping", ts DESC) WHERE "grouping" IN ('all', 'region');
CREATE INDEX IF NOT EXISTS dns_fleet_1h_group ON dns_fleet_1h (group_key, ts DESC);
CREATE INDEX IF NOT EXISTS dns_fleet_1d_group ON dns_fleet_1d (group_key, ts DESC);

-- dns.alert/1 of nodes, of the fleet and of probes: one row for each change of state.
CREATE TABLE IF NOT EXISTS dns_alerts (
    ts timestamptz NOT NULL,
    event_id char(32) NOT NULL,
    node text NOT NULL,
    region text,
    scope text NOT NULL,
    alert_id text NOT NULL,
    rule text NOT NULL,
    entity text NOT NULL,
    state text NOT NULL,
    severity text NOT NULL,
    started timestamptz NOT NULL,
    ended timestamptz,
    resolver text,
    zone text,
    qname text,
    vantage text,
    summary text NOT NULL,
    runbook text,
    body jsonb NOT NULL,
    PRIMARY KEY (ts, event_id)
);
SELECT create_hypertable('dns_alerts', 'ts', chunk_time_interval => INTERVAL '30 days', if_not_exists => true);
CREATE INDEX IF NOT EXISTS dns_alerts_entity ON dns_alerts (entity, ts DESC);
CREATE INDEX IF NOT EXISTS dns_alerts_id ON dns_alerts (alert_id, ts DESC);

-- dns.probe/1: one row for each measurement of a target.
CREATE TABLE IF NOT EXISTS dns_probes (
    ts timestamptz NOT NULL,
    event_id char(32) NOT NULL,
    site text,
    service text,
    target text NOT NULL,
    kind text NOT NULL,
    ok boolean NOT NULL,
    duration_ms double precision,
    error_stage text,
    error_reason text,
    attempt integer,
    resolver text,
    protocol text,
    qname text,
    qtype text,
    rcode text,
    latency_ms double precision,
    min_ttl_seconds bigint,
    dnssec text,
    changed boolean,
    nameserver text,
    soa_serial bigint,
    lame boolean,
    connect_ms double precision,
    handshake_ms double precision,
    cert_expiry_days double precision,
    http_status integer,
    ttfb_ms double precision,
    loss_ratio double precision,
    body jsonb NOT NULL,
    PRIMARY KEY (ts, event_id)
);
SELECT create_hypertable('dns_probes', 'ts', chunk_time_interval => INTERVAL '1 day', if_not_exists => true);
CREATE INDEX IF NOT EXISTS dns_probes_target ON dns_probes (target, ts DESC);

-- dns.change/1: what people and deploy pipelines did.
CREATE TABLE IF NOT EXISTS dns_changes (
    ts timestamptz NOT NULL,
    event_id char(32) NOT NULL,
    kind text NOT NULL,
    zone text,
    service text,
    summary text NOT NULL,
    actor text,
    url text,
    ends timestamptz,
    body jsonb NOT NULL,
    PRIMARY KEY (ts, event_id)
);
SELECT create_hypertable('dns_changes', 'ts', chunk_time_interval => INTERVAL '365 days', if_not_exists => true);
CREATE INDEX IF NOT EXISTS dns_changes_zone ON dns_changes (zone, ts DESC);

-- Writes rows given as objects with the columns' names. Of rows with the same primary key, the first in `ranking` stays;
-- a row that is there already is replaced if `replaces` holds for it (`old`) and the new one (`excluded`).
CREATE OR REPLACE FUNCTION dns_put(target regclass, records jsonb, ranking text, replaces text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    keys text;
    changes text;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE i.indrelid IS NOT NULL),
        string_agg(format('%1$I = excluded.%1$I', a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE i.indrelid IS NULL)
    INTO keys, changes
    FROM pg_attribute a
    LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)
    WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE format(
        'INSERT INTO %1$s AS old SELECT DISTINCT ON (%2$s) one.* FROM jsonb_populate_recordset(NULL::%1$s, $1) AS one'
        ' ORDER BY %2$s, %3$s ON CONFLICT (%2$s) DO UPDATE SET %4$s WHERE %5$s',
        target, keys, ranking, changes, replaces)
    USING records;
END $$;

-- Names and counts of a list of objects: [{"rcode": "NOERROR", "count": 3}] becomes {"NOERROR": 3}.
CREATE OR REPLACE FUNCTION dns_counts(list jsonb, name text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(one ->> name, one -> 'count'), '{}') FROM jsonb_array_elements(list) AS one
$$;

-- Writes dns.fleet/1 to dns_fleet or a roll-up. A final record replaces one that is not, a higher revision a lower one;
-- with `force` the newest written stays, which is what a backfill needs.
CREATE OR REPLACE FUNCTION dns_fleet_put(target regclass, records jsonb, force boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    flat jsonb;
BEGIN
    SELECT jsonb_agg(
        '{"other": false, "partial": false, "undercounted": false}'::jsonb || r || (r -> 'statuses') || counted.flat
        || jsonb_build_object(
            'group_key', (r ->> 'grouping')
                || CASE WHEN r -> 'other' = 'true' THEN '?other'
                   ELSE '=' || concat_ws(' ', r ->> 'region', r ->> 'resolver', r ->> 'zone', r ->> 'qtype') END,
            'latency_ms_count', r #> '{latency_ms,count}', 'latency_ms_p50', r #> '{latency_ms,p50}',
            'latency_ms_p90', r #> '{latency_ms,p90}', 'latency_ms_p95', r #> '{latency_ms,p95}',
            'latency_ms_p99', r #> '{latency_ms,p99}', 'latency_ms_max', r #> '{latency_ms,max}',
            'unique_qnames', r #> '{unique_qnames,estimate}', 'unique_clients', r #> '{unique_clients,estimate}',
            'unique_resolvers', r #> '{unique_resolvers,estimate}')
        || CASE WHEN target = 'dns_fleet'::regclass THEN '{}' ELSE jsonb_build_object(
            'latency_ms_sketch', r #> '{latency_ms,sketch}', 'unique_qnames_sketch', r #> '{unique_qnames,sketch}',
            'unique_clients_sketch', r #> '{unique_clients,sketch}',
            'unique_resolvers_sketch', r #> '{unique_resolvers,sketch}') END)
    INTO flat
    FROM jsonb_array_elements(records) AS r
    CROSS JOIN LATERAL (SELECT dns_counts(r -> 'rcodes', 'rcode') AS rcodes) AS codes
    CROSS JOIN LATERAL (SELECT jsonb_build_object(
        'rcodes', codes.rcodes, 'qtypes', dns_counts(r -> 'qtypes', 'qtype'),
        'responses', (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(codes.rcodes)),
        'noerror', coalesce(codes.rcodes -> 'NOERROR', '0'), 'nxdomain', coalesce(codes.rcodes -> 'NXDOMAIN', '0'),
        'servfail', coalesce(codes.rcodes -> 'SERVFAIL', '0'), 'refused', coalesce(codes.rcodes -> 'REFUSED', '0'))
        AS flat) AS counted;
    PERFORM dns_put(target, flat, 'final DESC, revision DESC',
        CASE WHEN force THEN 'true' ELSE '(excluded.final, excluded.revision) >= (old.final, old.revision)' END);
END $$;

CREATE OR REPLACE FUNCTION dns_alerts_put(records jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT dns_put('dns_alerts', jsonb_agg('{"scope": "node"}'::jsonb || r || jsonb_build_object('body', r)),
        'node', 'false') FROM jsonb_array_elements(records) AS r
$$;

CREATE OR REPLACE FUNCTION dns_probes_put(records jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT dns_put('dns_probes', jsonb_agg(r || jsonb_build_object('body', r, 'error_stage', r #> '{error,stage}',
        'error_reason', r #> '{error,reason}', 'cert_expiry_days', r #> '{cert,expiry_days}')),
        'target', 'false') FROM jsonb_array_elements(records) AS r
$$;

CREATE OR REPLACE FUNCTION dns_changes_put(records jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT dns_put('dns_changes', jsonb_agg(r || jsonb_build_object('body', r)), 'kind', 'false')
    FROM jsonb_array_elements(records) AS r
$$;

-- Drops the chunks of merged windows with this step that ended before `older_than`; returns their number.
CREATE OR REPLACE FUNCTION dns_fleet_expire(step integer, older_than interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    chunk regclass;
    found_step integer;
    dropped integer := 0;
BEGIN
    FOR chunk IN SELECT show_chunks('dns_fleet', older_than => older_than) LOOP
        -- A chunk holds the windows of one step.
        EXECUTE format('SELECT step_seconds FROM %s LIMIT 1', chunk) INTO found_step;
        IF found_step = step THEN
            EXECUTE format('DROP TABLE %s', chunk);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END $$;

-- Compression where the edition has it.
DO $$
BEGIN
    IF current_setting('timescaledb.license', true) = 'timescale' THEN
        ALTER TABLE dns_fleet SET (timescaledb.compress, timescaledb.compress_segmentby = 'group_key, vantage',
            timescaledb.compress_orderby = 'ts, step_seconds, window_seconds');
        PERFORM add_compression_policy('dns_fleet', INTERVAL '1 day', if_not_exists => true);
        ALTER TABLE dns_probes SET (timescaledb.compress, timescaledb.compress_segmentby = 'target',
            timescaledb.compress_orderby = 'ts, event_id');
        PERFORM add_compression_policy('dns_probes', INTERVAL '7 days', if_not_exists => true);
    END IF;
END $$;
