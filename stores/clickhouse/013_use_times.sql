-- Round-trip time of connections, and how long they waited for the first byte: fields of dns.use/1.
ALTER TABLE dns_uses
    ADD COLUMN IF NOT EXISTS `rtt_ms` Nullable(Float64) CODEC(ZSTD(1)) AFTER connect_ms,
    ADD COLUMN IF NOT EXISTS `first_byte_ms` Nullable(Float64) CODEC(ZSTD(1)) AFTER rtt_ms;
