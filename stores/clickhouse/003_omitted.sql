-- How many answers and EDNS options a transaction leaves out, because its record would be too large.
ALTER TABLE dns_transactions
    ADD COLUMN IF NOT EXISTS `answers_omitted` UInt16 CODEC(ZSTD(1)),
    MODIFY COLUMN `edns` Tuple(udp_size Nullable(UInt16), do Nullable(Bool), version Nullable(UInt8), ecs String, ede Tuple(code Nullable(UInt16), text String), nsid String, cookie String, co Bool, z UInt16, owner String, opt_count Nullable(UInt16), options Array(Tuple(code UInt16, name LowCardinality(String), length UInt16, data String)), options_omitted UInt16) CODEC(ZSTD(1));
