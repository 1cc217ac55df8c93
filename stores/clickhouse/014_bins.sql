-- Latencies and sizes as counts by bin. A digest counts a row that is inserted again after a restart of the job twice, so that the
-- quantiles of a minute changed; these states count event ids, as all others do.
--
-- Bin i has the values up to (1.01 / 0.99)^(4 i) and above that of bin i - 1, in milliseconds or bytes: a quantile is
-- (1.01 / 0.99)^(4 i - 2), within 4 %. The columns fill from the first insert after the migration on; those of digests no longer do.
ALTER TABLE dns_resolvers_1m
    ADD COLUMN IF NOT EXISTS `latency_bins` AggregateFunction(uniqCombined64Map(12), Map(Int16, FixedString(32)));

ALTER TABLE dns_resolvers_1m_view MODIFY QUERY
SELECT
    toDateTime(toStartOfMinute(ts), 'UTC') AS minute,
    resolver,
    vantage,
    status,
    rcode,
    uniqCombined64State(12)(event_id) AS transactions,
    uniqCombined64State(12)(client_ip) AS clients,
    uniqCombined64MapStateIf(12)(map(toInt16(ceil(log(greatest(assumeNotNull(latency_ms), 0.001)) / log(1.01 / 0.99) / 4)), event_id), latency_ms IS NOT NULL) AS latency_bins
FROM dns_transactions
GROUP BY minute, resolver, vantage, status, rcode;

ALTER TABLE dns_resolvers_1m COMMENT COLUMN `latency_ms` 'not filled since latency_bins';

ALTER TABLE dns_traffic_1m
    ADD COLUMN IF NOT EXISTS `size_bins` AggregateFunction(uniqCombined64Map(12), Map(Int16, FixedString(32)));

ALTER TABLE dns_traffic_1m_view MODIFY QUERY
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
    uniqCombined64MapStateIf(12)(map(toInt16(ceil(log(greatest(assumeNotNull(response_bytes), 1)) / log(1.01 / 0.99) / 4)), event_id), response_bytes IS NOT NULL) AS size_bins
FROM dns_transactions
GROUP BY minute, region, resolver, vantage, transport, latency_bin;

ALTER TABLE dns_traffic_1m COMMENT COLUMN `response_bytes` 'not filled since size_bins';
