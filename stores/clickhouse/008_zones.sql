-- Per zone: when the fleet first and last saw a response that says that it exists, and on how many nodes. What was never seen
-- before is newest here. Rows are kept until they are removed by hand: a zone takes some 60 bytes.
CREATE TABLE IF NOT EXISTS dns_zones_seen
(
    `zone` String CODEC(ZSTD(1)),
    `first_seen` SimpleAggregateFunction(min, DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `last_seen` SimpleAggregateFunction(max, DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `nodes` AggregateFunction(uniqCombined64(12), String) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY zone
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS dns_zones_seen_view TO dns_zones_seen AS
SELECT
    zone,
    min(ts) AS first_seen,
    max(ts) AS last_seen,
    uniqCombined64State(12)(toString(node)) AS nodes
FROM dns_transactions
WHERE zone != '' AND rcode = 'NOERROR'
GROUP BY zone;
