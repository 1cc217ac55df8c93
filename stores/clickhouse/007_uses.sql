-- Connections of processes and the names that they used: dns.use/1 of agents that capture connections. Columns are named as the
-- fields; an absent field is NULL where its type's default (0, '', []) means something else, the default otherwise.
--
-- Rows with equal keys replace each other, as in dns_transactions: SELECT … FROM dns_uses FINAL. A row stands for `count` connections.
CREATE TABLE IF NOT EXISTS dns_uses
(
    `event_id` FixedString(32) CODEC(ZSTD(1)),
    `ts` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `node` LowCardinality(String),
    `region` LowCardinality(String),
    `labels` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `protocol` LowCardinality(String),
    `address` String CODEC(ZSTD(1)),
    `port` UInt16 CODEC(ZSTD(1)),
    `match` LowCardinality(String),
    `name` String CODEC(ZSTD(1)),
    `candidates` Array(String) CODEC(ZSTD(1)),
    `lookup_event_id` String CODEC(ZSTD(1)),
    `lookup_scope` LowCardinality(String),
    `answer_age_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `ttl_left_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `lookup_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `connect_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `outcome` LowCardinality(String),
    `count` UInt64 CODEC(ZSTD(1)),
    `first` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `last` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
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
