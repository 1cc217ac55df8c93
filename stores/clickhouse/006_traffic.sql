-- What boards show of all transactions, so that none of them reads single rows for it: transports, sizes and latency by
-- minute, and nodes by hour. Each fills from the first insert after the migration on.
--
-- latency_bin is a bin of the agents' sketches, sixteen of them together: bin i has the transactions that took at most
-- (1.01 / 0.99)^(16 i) ms and more than bin i - 1; -1000 has those without an answer.
CREATE TABLE IF NOT EXISTS dns_traffic_1m
(
    `minute` DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    `region` LowCardinality(String),
    `resolver` LowCardinality(String),
    `vantage` LowCardinality(String),
    `transport` LowCardinality(String),
    `latency_bin` Int16,
    `transactions` AggregateFunction(uniqCombined64(12), FixedString(32)),
    `failures` AggregateFunction(uniqCombined64(12), FixedString(32)),
    `truncated` AggregateFunction(uniqCombined64(12), FixedString(32)),
    `response_bytes` AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(minute)
ORDER BY (minute, region, resolver, vantage, transport, latency_bin)
TTL minute + INTERVAL 30 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS dns_traffic_1m_view TO dns_traffic_1m AS
SELECT
    toDateTime(toStartOfMinute(ts), 'UTC') AS minute,
    region,
    resolver,
    vantage,
    transport,
    if(latency_ms IS NULL, -1000, toInt16(ceil(log(greatest(assumeNotNull(latency_ms), 0.001)) / log(1.01 / 0.99) / 16))) AS latency_bin,
    uniqCombined64State(12)(event_id) AS transactions,
    uniqCombined64StateIf(12)(event_id, status IN ('timeout', 'icmp_error') OR rcode = 'SERVFAIL') AS failures,
    uniqCombined64StateIf(12)(event_id, has(flags, 'tc')) AS truncated,
    quantilesTDigestStateIf(0.5, 0.95, 0.99)(assumeNotNull(response_bytes), response_bytes IS NOT NULL) AS response_bytes
FROM dns_transactions
GROUP BY minute, region, resolver, vantage, transport, latency_bin;

-- Per hour and node: whether it still sends.
CREATE TABLE IF NOT EXISTS dns_nodes_1h
(
    `hour` DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    `node` LowCardinality(String),
    `region` LowCardinality(String),
    `last` SimpleAggregateFunction(max, DateTime64(9, 'UTC')),
    `transactions` AggregateFunction(uniqCombined64(12), FixedString(32))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(hour)
ORDER BY (hour, node, region)
TTL hour + INTERVAL 30 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS dns_nodes_1h_view TO dns_nodes_1h AS
SELECT
    toDateTime(toStartOfHour(ts), 'UTC') AS hour,
    node,
    region,
    max(ts) AS last,
    uniqCombined64State(12)(event_id) AS transactions
FROM dns_transactions
GROUP BY hour, node, region;
