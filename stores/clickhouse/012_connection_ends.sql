-- Ends of connections, so that those that lasted within a time range are found without reading all that are kept.
ALTER TABLE dns_connections
    ADD INDEX IF NOT EXISTS `end` (toFloat64(ts) + duration_ms / 1000) TYPE minmax GRANULARITY 1;
