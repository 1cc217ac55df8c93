-- Connections of encrypted DNS: dns.connection/1. Columns are named as the fields; an absent field is NULL where its type's default
-- (0, '', []) means something else, the default otherwise.
--
-- Rows with equal keys replace each other, as in dns_transactions. A connection that lasts has several rows, each with its totals so
-- far. Its newest: SELECT … FROM dns_connections FINAL ORDER BY final DESC, duration_ms DESC LIMIT 1 BY connection_id.
CREATE TABLE IF NOT EXISTS dns_connections
(
    `event_id` FixedString(32) CODEC(ZSTD(1)),
    `connection_id` FixedString(32) CODEC(ZSTD(1)),
    `ts` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `node` LowCardinality(String),
    `region` LowCardinality(String),
    `labels` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `vantage` LowCardinality(String),
    `protocol` LowCardinality(String),
    `transport` LowCardinality(String),
    `client_ip` String CODEC(ZSTD(1)),
    `client_port` UInt16 CODEC(ZSTD(1)),
    `server_ip` LowCardinality(String),
    `server_port` UInt16 CODEC(ZSTD(1)),
    `resolver` LowCardinality(String),
    `status` LowCardinality(String),
    `final` Bool CODEC(ZSTD(1)),
    `sni` String CODEC(ZSTD(1)),
    `alpn` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `alpn_selected` LowCardinality(String),
    `tls_version` LowCardinality(String),
    `ech` Nullable(Bool) CODEC(ZSTD(1)),
    `resumed` Nullable(Bool) CODEC(ZSTD(1)),
    `connect_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `handshake_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `duration_ms` Float64 CODEC(ZSTD(1)),
    `client_bytes` UInt64 CODEC(ZSTD(1)),
    `server_bytes` UInt64 CODEC(ZSTD(1)),
    `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)) CODEC(ZSTD(1)),
    `container` Tuple(id String, runtime LowCardinality(String), pod_uid String) CODEC(ZSTD(1)),
    `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (ts, event_id)
TTL toDateTime(ts) + INTERVAL 30 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
