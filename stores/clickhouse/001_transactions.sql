-- Every dns.enriched/1, one row each. Columns are named as the fields; an absent field is NULL where its type's
-- default (0, '', []) means something else, the default otherwise.
--
-- The first columns of the key serve "one hour, one zone"; the index on client_ip serves "one hour, one client". Rows with
-- equal keys replace each other, and the key is a function of the record: writing a record again changes nothing.
-- A row whose time a wrong clock put far ahead is kept like one of 2050: ClickHouse's DateTime ends in 2106.
-- Until a merge has removed them, FINAL leaves out the copies: SELECT count() FROM dns_transactions FINAL.
CREATE TABLE IF NOT EXISTS dns_transactions
(
    `event_id` FixedString(32) CODEC(ZSTD(1)),
    `ts` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `node` LowCardinality(String),
    `region` LowCardinality(String),
    `vantage` LowCardinality(String),
    `transport` LowCardinality(String),
    `client_ip` String CODEC(ZSTD(1)),
    `client_port` UInt16 CODEC(ZSTD(1)),
    `server_ip` LowCardinality(String),
    `server_port` UInt16 CODEC(ZSTD(1)),
    `resolver` LowCardinality(String),
    `id` UInt16 CODEC(ZSTD(1)),
    `opcode` LowCardinality(String),
    `qname` String CODEC(ZSTD(1)),
    `qname_unicode` String CODEC(ZSTD(1)),
    `qname_case` String CODEC(ZSTD(1)),
    `qtype` LowCardinality(String),
    `qclass` LowCardinality(String),
    `zone` String CODEC(ZSTD(1)),
    `status` LowCardinality(String),
    `rcode` LowCardinality(String),
    `latency_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `retries` UInt32 CODEC(ZSTD(1)),
    `conflict` Bool CODEC(ZSTD(1)),
    `icmp` Tuple(type Nullable(UInt8), code Nullable(UInt8), name LowCardinality(String)) CODEC(ZSTD(1)),
    `flags` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `answers` Array(Tuple(name String, type LowCardinality(String), class LowCardinality(String), ttl UInt32, data String)) CODEC(ZSTD(1)),
    `answer_count` Nullable(UInt16) CODEC(ZSTD(1)),
    `authority_count` Nullable(UInt16) CODEC(ZSTD(1)),
    `additional_count` Nullable(UInt16) CODEC(ZSTD(1)),
    `min_ttl_seconds` Nullable(UInt32) CODEC(ZSTD(1)),
    `edns` Tuple(udp_size Nullable(UInt16), do Nullable(Bool), version Nullable(UInt8), ecs String, ede Tuple(code Nullable(UInt16), text String), nsid String, cookie String, co Bool, z UInt16, owner String, opt_count Nullable(UInt16), options Array(Tuple(code UInt16, name LowCardinality(String), length UInt16, data String))) CODEC(ZSTD(1)),
    `query_ecs` String CODEC(ZSTD(1)),
    `query_cookie` String CODEC(ZSTD(1)),
    `traceparent` String CODEC(ZSTD(1)),
    `query_bytes` Nullable(UInt32) CODEC(ZSTD(1)),
    `response_bytes` Nullable(UInt64) CODEC(ZSTD(1)),
    `transfer_messages` Nullable(UInt64) CODEC(ZSTD(1)),
    `transfer_records` Nullable(UInt64) CODEC(ZSTD(1)),
    `transfer_ms` Nullable(Float64) CODEC(ZSTD(1)),
    `transfer_complete` Nullable(Bool) CODEC(ZSTD(1)),
    `responder_ip` String CODEC(ZSTD(1)),
    `orphan_reason` LowCardinality(String),
    `resembles` String CODEC(ZSTD(1)),
    `seen_by` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `dnstap` Tuple(identity LowCardinality(String), version LowCardinality(String), zone String, policy Tuple(type LowCardinality(String), rule String, action LowCardinality(String), match LowCardinality(String), value String)) CODEC(ZSTD(1)),
    `rejected_responses` Nullable(UInt64) CODEC(ZSTD(1)),
    `sample_ratio` Nullable(Float64) CODEC(ZSTD(1)),
    `tcp_fallback_of` String CODEC(ZSTD(1)),
    `parent_event_id` String CODEC(ZSTD(1)),
    `parent_match` LowCardinality(String),
    `cache` LowCardinality(String),
    `lost_at` Tuple(message LowCardinality(String), stage LowCardinality(String), reason LowCardinality(String), hook LowCardinality(String), function LowCardinality(String), count Nullable(UInt32)) CODEC(ZSTD(1)),
    `path` Tuple(send_ms Nullable(Float64), arrive_ms Nullable(Float64), read_ms Nullable(Float64)) CODEC(ZSTD(1)),
    `indicators` Array(Tuple(indicator String, kind LowCardinality(String), category LowCardinality(String), source LowCardinality(String), confidence Nullable(UInt8))) CODEC(ZSTD(1)),
    `first_seen` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)) CODEC(ZSTD(1)),
    `container` Tuple(id String, runtime LowCardinality(String), pod_uid String) CODEC(ZSTD(1)),
    `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)) CODEC(ZSTD(1)),
    `name` Tuple(label_count UInt8, longest_label UInt8, entropy_bits Nullable(Float32)) CODEC(ZSTD(1)),
    INDEX client_ip client_ip TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX qname qname TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (toStartOfHour(ts), zone, ts)
ORDER BY (toStartOfHour(ts), zone, ts, event_id)
TTL toDateTime(least(ts, toDateTime64('2050-01-01 00:00:00', 9, 'UTC'))) + INTERVAL 7 DAY DELETE
SETTINGS ttl_only_drop_parts = 1;
