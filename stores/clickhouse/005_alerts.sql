-- Every dns.alert/1, one row for each change of an alert's state, so that analysts join alerts with transactions. Columns are
-- named as the fields; an absent field is NULL where its type's default (0, '', []) means something else, the default
-- otherwise. Rows are kept until they are removed by hand: alerts are few.
--
-- Rows with equal keys replace each other, as in dns_transactions: SELECT … FROM dns_alerts FINAL.
CREATE TABLE IF NOT EXISTS dns_alerts
(
    `event_id` FixedString(32) CODEC(ZSTD(1)),
    `ts` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `node` LowCardinality(String),
    `region` LowCardinality(String),
    `labels` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `alert_id` FixedString(32) CODEC(ZSTD(1)),
    `scope` LowCardinality(String) DEFAULT 'node',
    `rule` LowCardinality(String),
    `entity` String CODEC(ZSTD(1)),
    `service` LowCardinality(String),
    `target` String CODEC(ZSTD(1)),
    `resolver` LowCardinality(String),
    `zone` String CODEC(ZSTD(1)),
    `qname` String CODEC(ZSTD(1)),
    `process` Tuple(comm LowCardinality(String)) CODEC(ZSTD(1)),
    `container` Tuple(id String) CODEC(ZSTD(1)),
    `k8s` Tuple(namespace LowCardinality(String), pod String) CODEC(ZSTD(1)),
    `client_ip` String CODEC(ZSTD(1)),
    `vantage` LowCardinality(String),
    `site` LowCardinality(String),
    `state` LowCardinality(String),
    `severity` LowCardinality(String),
    `previous_severity` LowCardinality(String),
    `started` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `ended` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `duration_seconds` Float64 CODEC(ZSTD(1)),
    `summary` String CODEC(ZSTD(1)),
    `evidence` Array(String) CODEC(ZSTD(1)),
    `figures` Array(Tuple(name String, value Float64, threshold Nullable(Float64), baseline_mean Nullable(Float64), baseline_deviation Nullable(Float64), z_score Nullable(Float64), baseline_samples Nullable(UInt64), seasonal Nullable(Bool))) CODEC(ZSTD(1)),
    `samples` Array(String) CODEC(ZSTD(1)),
    `qnames` Array(String) CODEC(ZSTD(1)),
    `processes` Array(String) CODEC(ZSTD(1)),
    `clients` Array(String) CODEC(ZSTD(1)),
    `resolvers` Array(String) CODEC(ZSTD(1)),
    `nodes` Array(String) CODEC(ZSTD(1)),
    `sites` Array(String) CODEC(ZSTD(1)),
    `zones` Array(String) CODEC(ZSTD(1)),
    `sources` Array(String) CODEC(ZSTD(1)),
    `answers` Array(String) CODEC(ZSTD(1)),
    `changes` Array(Tuple(event_id String, ts DateTime64(9, 'UTC'), kind LowCardinality(String), zone String, service String, summary String, actor String, url String)) CODEC(ZSTD(1)),
    `triggered_by` String CODEC(ZSTD(1)),
    `suppressed` UInt64 CODEC(ZSTD(1)),
    `suppressed_alerts` Array(String) CODEC(ZSTD(1)),
    `probes` Array(Tuple(alert_id String, rule LowCardinality(String), service String, summary String, started DateTime64(9, 'UTC'))) CODEC(ZSTD(1)),
    `runbook` LowCardinality(String),
    `evidence_file` String CODEC(ZSTD(1)),
    `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
