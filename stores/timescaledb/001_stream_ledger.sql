-- Every dns.stream.ledger/1, one row for each completed checkpoint of a job. A row's key is a function of job and
-- checkpoint: writing it again changes nothing.
CREATE TABLE IF NOT EXISTS stream_ledger (
    ts timestamptz NOT NULL,
    event_id char(32) NOT NULL,
    job text NOT NULL,
    checkpoint bigint NOT NULL,
    balanced boolean NOT NULL,
    late bigint NOT NULL,
    input jsonb NOT NULL,
    output jsonb NOT NULL,
    PRIMARY KEY (ts, event_id)
);
SELECT create_hypertable('stream_ledger', 'ts', chunk_time_interval => INTERVAL '7 days', if_not_exists => true);
CREATE INDEX IF NOT EXISTS stream_ledger_job ON stream_ledger (job, ts DESC);
