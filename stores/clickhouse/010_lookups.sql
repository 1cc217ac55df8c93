-- Lookups of names by applications, each with all the queries made for it: dns.lookup/1. Columns are named as the fields; an absent
-- field is NULL where its type's default (0, '', []) means something else, the default otherwise.
--
-- Rows with equal keys replace each other, as in dns_transactions: SELECT … FROM dns_lookups FINAL.
CREATE TABLE IF NOT EXISTS dns_lookups
(
    `event_id` FixedString(32) CODEC(ZSTD(1)),
    `ts` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `node` LowCardinality(String),
    `region` LowCardinality(String),
    `labels` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `vantage` LowCardinality(String),
    `client_ip` String CODEC(ZSTD(1)),
    `resolvers` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `qname` String CODEC(ZSTD(1)),
    `qtypes` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `qclass` LowCardinality(String),
    `outcome` LowCardinality(String),
    `partial` Bool CODEC(ZSTD(1)),
    `rcode` LowCardinality(String),
    `answered_name` String CODEC(ZSTD(1)),
    `cname_chain` Array(String) CODEC(ZSTD(1)),
    `addresses` Array(String) CODEC(ZSTD(1)),
    `address_count` UInt32 CODEC(ZSTD(1)),
    `duration_ms` Float64 CODEC(ZSTD(1)),
    `transactions` UInt32 CODEC(ZSTD(1)),
    `packets` UInt32 CODEC(ZSTD(1)),
    `packets_wasted` UInt32 CODEC(ZSTD(1)),
    `search_expansions` UInt32 CODEC(ZSTD(1)),
    `names_tried` Array(String) CODEC(ZSTD(1)),
    `retries` UInt32 CODEC(ZSTD(1)),
    `servers_tried` UInt32 CODEC(ZSTD(1)),
    `tcp_fallback` Bool CODEC(ZSTD(1)),
    `transaction_ids` Array(String) CODEC(ZSTD(1)),
    `evicted` Bool CODEC(ZSTD(1)),
    `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)) CODEC(ZSTD(1)),
    `container` Tuple(id String, runtime LowCardinality(String), pod_uid String) CODEC(ZSTD(1)),
    `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (ts, event_id)
TTL toDateTime(ts) + INTERVAL 7 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
