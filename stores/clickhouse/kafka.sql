-- Reads the agents' topics into dns_transactions, dns_alerts, dns_uses, dns_lookups and dns_connections, for fleets without Flink:
-- docs/clickhouse-without-flink.md. Not a migration, and not for a database that the job `store` writes. Apply it after the migrations, with your brokers in
-- place of kafka:9092. It may be applied again, and must be after a migration that adds columns: offsets are in Kafka.
--
-- What is no such record goes to dns_kafka_errors and stops nothing. Offsets are committed after rows are inserted, so a
-- restart inserts some again: they replace themselves as those of the job do, and views count distinct event ids.
--
-- Views read a block of messages as texts: reading each message as a row of so many columns takes twenty times the CPU time.
--
-- A Kafka table reads as soon as it has one view, and commits what it has read. So it has only one, which passes messages on to a
-- table that keeps nothing, comes after the views of that table, and goes before them.
DROP TABLE IF EXISTS dns_transactions_kafka;
DROP TABLE IF EXISTS dns_alerts_kafka;
DROP TABLE IF EXISTS dns_uses_kafka;
DROP TABLE IF EXISTS dns_lookups_kafka;
DROP TABLE IF EXISTS dns_connections_kafka;
DROP TABLE IF EXISTS dns_ledger_kafka;
DROP VIEW IF EXISTS dns_transactions_kafka_read;
DROP VIEW IF EXISTS dns_transactions_kafka_view;
DROP VIEW IF EXISTS dns_transactions_kafka_errors;
DROP VIEW IF EXISTS dns_alerts_kafka_read;
DROP VIEW IF EXISTS dns_alerts_kafka_view;
DROP VIEW IF EXISTS dns_alerts_kafka_errors;
DROP VIEW IF EXISTS dns_uses_kafka_read;
DROP VIEW IF EXISTS dns_uses_kafka_view;
DROP VIEW IF EXISTS dns_uses_kafka_errors;
DROP VIEW IF EXISTS dns_lookups_kafka_read;
DROP VIEW IF EXISTS dns_lookups_kafka_view;
DROP VIEW IF EXISTS dns_lookups_kafka_errors;
DROP VIEW IF EXISTS dns_connections_kafka_read;
DROP VIEW IF EXISTS dns_connections_kafka_view;
DROP VIEW IF EXISTS dns_connections_kafka_errors;
DROP VIEW IF EXISTS dns_ledger_kafka_view;
DROP TABLE IF EXISTS dns_transactions_kafka_messages;
DROP TABLE IF EXISTS dns_alerts_kafka_messages;
DROP TABLE IF EXISTS dns_uses_kafka_messages;
DROP TABLE IF EXISTS dns_lookups_kafka_messages;
DROP TABLE IF EXISTS dns_connections_kafka_messages;

-- Records that did not become rows, one row each: where they are in Kafka, why, and what they are.
CREATE TABLE IF NOT EXISTS dns_kafka_errors
(
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    `received` DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    `stream` LowCardinality(String),
    `node` LowCardinality(String),
    `event_id` String CODEC(ZSTD(1)),
    `error` String CODEC(ZSTD(1)),
    `record` String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
TTL received + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Messages of a topic on their way to the views.
CREATE TABLE dns_transactions_kafka_messages
(
    `topic` LowCardinality(String),
    `partition` UInt64,
    `offset` UInt64,
    `header_names` Array(String),
    `header_values` Array(String),
    `record` String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW dns_transactions_kafka_view TO dns_transactions AS
WITH JSONExtract(record, 'Tuple(
        `schema` String,
        `event_id` FixedString(32),
        `ts` DateTime64(9, \'UTC\'),
        `node` LowCardinality(String),
        `region` LowCardinality(String),
        `vantage` LowCardinality(String),
        `transport` LowCardinality(String),
        `client_ip` String,
        `client_port` UInt16,
        `server_ip` LowCardinality(String),
        `server_port` UInt16,
        `resolver` LowCardinality(String),
        `id` UInt16,
        `opcode` LowCardinality(String),
        `qname` String,
        `qname_unicode` String,
        `qname_case` String,
        `qtype` LowCardinality(String),
        `qclass` LowCardinality(String),
        `zone` String,
        `status` LowCardinality(String),
        `rcode` LowCardinality(String),
        `latency_ms` Nullable(Float64),
        `retries` UInt32,
        `conflict` Bool,
        `icmp` Tuple(type Nullable(UInt8), code Nullable(UInt8), name LowCardinality(String)),
        `flags` Array(LowCardinality(String)),
        `answers` Array(Tuple(name String, type LowCardinality(String), class LowCardinality(String), ttl UInt32, data String)),
        `answer_count` Nullable(UInt16),
        `authority_count` Nullable(UInt16),
        `additional_count` Nullable(UInt16),
        `min_ttl_seconds` Nullable(UInt32),
        `edns` Tuple(udp_size Nullable(UInt16), do Nullable(Bool), version Nullable(UInt8), ecs String, ede Tuple(code Nullable(UInt16), text String), nsid String, cookie String, co Bool, z UInt16, owner String, opt_count Nullable(UInt16), options Array(Tuple(code UInt16, name LowCardinality(String), length UInt16, data String)), options_omitted UInt16),
        `query_ecs` String,
        `query_cookie` String,
        `traceparent` String,
        `query_bytes` Nullable(UInt32),
        `response_bytes` Nullable(UInt64),
        `transfer_messages` Nullable(UInt64),
        `transfer_records` Nullable(UInt64),
        `transfer_ms` Nullable(Float64),
        `transfer_complete` Nullable(Bool),
        `responder_ip` String,
        `orphan_reason` LowCardinality(String),
        `resembles` String,
        `seen_by` Array(LowCardinality(String)),
        `dnstap` Tuple(identity LowCardinality(String), version LowCardinality(String), zone String, policy Tuple(type LowCardinality(String), rule String, action LowCardinality(String), match LowCardinality(String), value String)),
        `rejected_responses` Nullable(UInt64),
        `sample_ratio` Nullable(Float64),
        `tcp_fallback_of` String,
        `parent_event_id` String,
        `parent_match` LowCardinality(String),
        `cache` LowCardinality(String),
        `lost_at` Tuple(message LowCardinality(String), stage LowCardinality(String), reason LowCardinality(String), hook LowCardinality(String), function LowCardinality(String), count Nullable(UInt32)),
        `path` Tuple(send_ms Nullable(Float64), arrive_ms Nullable(Float64), read_ms Nullable(Float64)),
        `indicators` Array(Tuple(indicator String, kind LowCardinality(String), category LowCardinality(String), source LowCardinality(String), confidence Nullable(UInt8))),
        `first_seen` Nullable(DateTime64(9, \'UTC\')),
        `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)),
        `container` Tuple(id String, runtime LowCardinality(String), pod_uid String),
        `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)),
        `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)),
        `name` Tuple(label_count UInt8, longest_label UInt8, entropy_bits Nullable(Float32), class LowCardinality(String)),
        `labels` Map(LowCardinality(String), String),
        `client_geo` Tuple(country LowCardinality(String), city LowCardinality(String), asn Nullable(UInt32), as_org LowCardinality(String)),
        `server_geo` Tuple(country LowCardinality(String), city LowCardinality(String), asn Nullable(UInt32), as_org LowCardinality(String)),
        `answers_geo` Array(Tuple(country LowCardinality(String), city LowCardinality(String), asn Nullable(UInt32), as_org LowCardinality(String))),
        `zone_meta` Tuple(owner LowCardinality(String), tier LowCardinality(String), environment LowCardinality(String), unit LowCardinality(String)),
        `intel` Array(Tuple(indicator String, kind LowCardinality(String), category LowCardinality(String), source LowCardinality(String), confidence Nullable(UInt8))),
        `answers_omitted` UInt16)') AS r
SELECT
    r.event_id AS event_id,
    r.ts AS ts,
    r.node AS node,
    r.region AS region,
    r.vantage AS vantage,
    r.transport AS transport,
    r.client_ip AS client_ip,
    r.client_port AS client_port,
    r.server_ip AS server_ip,
    r.server_port AS server_port,
    r.resolver AS resolver,
    r.id AS id,
    r.opcode AS opcode,
    r.qname AS qname,
    r.qname_unicode AS qname_unicode,
    r.qname_case AS qname_case,
    r.qtype AS qtype,
    r.qclass AS qclass,
    r.zone AS zone,
    r.status AS status,
    r.rcode AS rcode,
    r.latency_ms AS latency_ms,
    r.retries AS retries,
    r.conflict AS conflict,
    r.icmp AS icmp,
    r.flags AS flags,
    r.answers AS answers,
    r.answer_count AS answer_count,
    r.authority_count AS authority_count,
    r.additional_count AS additional_count,
    r.min_ttl_seconds AS min_ttl_seconds,
    r.edns AS edns,
    r.query_ecs AS query_ecs,
    r.query_cookie AS query_cookie,
    r.traceparent AS traceparent,
    r.query_bytes AS query_bytes,
    r.response_bytes AS response_bytes,
    r.transfer_messages AS transfer_messages,
    r.transfer_records AS transfer_records,
    r.transfer_ms AS transfer_ms,
    r.transfer_complete AS transfer_complete,
    r.responder_ip AS responder_ip,
    r.orphan_reason AS orphan_reason,
    r.resembles AS resembles,
    r.seen_by AS seen_by,
    r.dnstap AS dnstap,
    r.rejected_responses AS rejected_responses,
    r.sample_ratio AS sample_ratio,
    r.tcp_fallback_of AS tcp_fallback_of,
    r.parent_event_id AS parent_event_id,
    r.parent_match AS parent_match,
    r.cache AS cache,
    r.lost_at AS lost_at,
    r.path AS path,
    r.indicators AS indicators,
    r.first_seen AS first_seen,
    r.process AS process,
    r.container AS container,
    r.k8s AS k8s,
    r.masking AS masking,
    r.name AS name,
    r.labels AS labels,
    r.client_geo AS client_geo,
    r.server_geo AS server_geo,
    r.answers_geo AS answers_geo,
    r.zone_meta AS zone_meta,
    r.intel AS intel,
    r.answers_omitted AS answers_omitted
FROM dns_transactions_kafka_messages
WHERE r.schema = 'dns.transaction/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC');

CREATE MATERIALIZED VIEW dns_transactions_kafka_errors TO dns_kafka_errors AS
WITH JSONExtract(record, 'Tuple(`schema` String, `event_id` FixedString(32), `ts` DateTime64(9, \'UTC\'))') AS r
SELECT
    topic,
    partition,
    offset,
    now('UTC') AS received,
    'transactions' AS stream,
    header_values[indexOf(header_names, 'node')] AS node,
    header_values[indexOf(header_names, 'event_id')] AS event_id,
    if(isValidJSON(record), concat('no dns.transaction/1 with event_id and ts: ', r.schema), 'no JSON') AS error,
    record
FROM dns_transactions_kafka_messages
WHERE NOT (r.schema = 'dns.transaction/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC'));

CREATE TABLE dns_transactions_kafka (`record` String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'dns.normalized',
    kafka_group_name = 'dnscribe-clickhouse',
    kafka_format = 'RawBLOB',
    date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW dns_transactions_kafka_read TO dns_transactions_kafka_messages AS
SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    _headers.name AS header_names,
    _headers.value AS header_values,
    record
FROM dns_transactions_kafka;

CREATE TABLE dns_alerts_kafka_messages AS dns_transactions_kafka_messages;

CREATE MATERIALIZED VIEW dns_alerts_kafka_view TO dns_alerts AS
WITH JSONExtract(record, 'Tuple(
        `schema` String,
        `event_id` FixedString(32),
        `ts` DateTime64(9, \'UTC\'),
        `node` LowCardinality(String),
        `region` LowCardinality(String),
        `labels` Map(LowCardinality(String), String),
        `alert_id` FixedString(32),
        `scope` LowCardinality(String),
        `rule` LowCardinality(String),
        `entity` String,
        `service` LowCardinality(String),
        `target` String,
        `resolver` LowCardinality(String),
        `zone` String,
        `qname` String,
        `process` Tuple(comm LowCardinality(String)),
        `container` Tuple(id String),
        `k8s` Tuple(namespace LowCardinality(String), pod String),
        `client_ip` String,
        `vantage` LowCardinality(String),
        `site` LowCardinality(String),
        `state` LowCardinality(String),
        `severity` LowCardinality(String),
        `previous_severity` LowCardinality(String),
        `started` DateTime64(9, \'UTC\'),
        `ended` Nullable(DateTime64(9, \'UTC\')),
        `duration_seconds` Float64,
        `summary` String,
        `evidence` Array(String),
        `figures` Array(Tuple(name String, value Float64, threshold Nullable(Float64), baseline_mean Nullable(Float64), baseline_deviation Nullable(Float64), z_score Nullable(Float64), baseline_samples Nullable(UInt64), seasonal Nullable(Bool))),
        `samples` Array(String),
        `qnames` Array(String),
        `processes` Array(String),
        `clients` Array(String),
        `resolvers` Array(String),
        `nodes` Array(String),
        `sites` Array(String),
        `zones` Array(String),
        `sources` Array(String),
        `answers` Array(String),
        `changes` Array(Tuple(event_id String, ts DateTime64(9, \'UTC\'), kind LowCardinality(String), zone String, service String, summary String, actor String, url String)),
        `triggered_by` String,
        `suppressed` UInt64,
        `suppressed_alerts` Array(String),
        `probes` Array(Tuple(alert_id String, rule LowCardinality(String), service String, summary String, started DateTime64(9, \'UTC\'))),
        `runbook` LowCardinality(String),
        `evidence_file` String,
        `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)))') AS r
SELECT
    r.event_id AS event_id,
    r.ts AS ts,
    r.node AS node,
    r.region AS region,
    r.labels AS labels,
    r.alert_id AS alert_id,
    if(r.scope = '', 'node', r.scope) AS scope,
    r.rule AS rule,
    r.entity AS entity,
    r.service AS service,
    r.target AS target,
    r.resolver AS resolver,
    r.zone AS zone,
    r.qname AS qname,
    r.process AS process,
    r.container AS container,
    r.k8s AS k8s,
    r.client_ip AS client_ip,
    r.vantage AS vantage,
    r.site AS site,
    r.state AS state,
    r.severity AS severity,
    r.previous_severity AS previous_severity,
    r.started AS started,
    r.ended AS ended,
    r.duration_seconds AS duration_seconds,
    r.summary AS summary,
    r.evidence AS evidence,
    r.figures AS figures,
    r.samples AS samples,
    r.qnames AS qnames,
    r.processes AS processes,
    r.clients AS clients,
    r.resolvers AS resolvers,
    r.nodes AS nodes,
    r.sites AS sites,
    r.zones AS zones,
    r.sources AS sources,
    r.answers AS answers,
    r.changes AS changes,
    r.triggered_by AS triggered_by,
    r.suppressed AS suppressed,
    r.suppressed_alerts AS suppressed_alerts,
    r.probes AS probes,
    r.runbook AS runbook,
    r.evidence_file AS evidence_file,
    r.masking AS masking
FROM dns_alerts_kafka_messages
WHERE r.schema = 'dns.alert/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC');

CREATE MATERIALIZED VIEW dns_alerts_kafka_errors TO dns_kafka_errors AS
WITH JSONExtract(record, 'Tuple(`schema` String, `event_id` FixedString(32), `ts` DateTime64(9, \'UTC\'))') AS r
SELECT
    topic,
    partition,
    offset,
    now('UTC') AS received,
    'alerts' AS stream,
    header_values[indexOf(header_names, 'node')] AS node,
    header_values[indexOf(header_names, 'event_id')] AS event_id,
    if(isValidJSON(record), concat('no dns.alert/1 with event_id and ts: ', r.schema), 'no JSON') AS error,
    record
FROM dns_alerts_kafka_messages
WHERE NOT (r.schema = 'dns.alert/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC'));

CREATE TABLE dns_alerts_kafka (`record` String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'dns.alerts',
    kafka_group_name = 'dnscribe-clickhouse',
    kafka_format = 'RawBLOB',
    date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW dns_alerts_kafka_read TO dns_alerts_kafka_messages AS
SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    _headers.name AS header_names,
    _headers.value AS header_values,
    record
FROM dns_alerts_kafka;

CREATE TABLE dns_uses_kafka_messages AS dns_transactions_kafka_messages;

CREATE MATERIALIZED VIEW dns_uses_kafka_view TO dns_uses AS
WITH JSONExtract(record, 'Tuple(
        `schema` String,
        `event_id` FixedString(32),
        `ts` DateTime64(9, \'UTC\'),
        `node` LowCardinality(String),
        `region` LowCardinality(String),
        `labels` Map(LowCardinality(String), String),
        `protocol` LowCardinality(String),
        `address` String,
        `port` UInt16,
        `match` LowCardinality(String),
        `name` String,
        `candidates` Array(String),
        `lookup_event_id` String,
        `lookup_scope` LowCardinality(String),
        `answer_age_ms` Nullable(Float64),
        `ttl_left_ms` Nullable(Float64),
        `lookup_ms` Nullable(Float64),
        `connect_ms` Nullable(Float64),
        `rtt_ms` Nullable(Float64),
        `first_byte_ms` Nullable(Float64),
        `outcome` LowCardinality(String),
        `count` UInt64,
        `first` DateTime64(9, \'UTC\'),
        `last` DateTime64(9, \'UTC\'),
        `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)),
        `container` Tuple(id String, runtime LowCardinality(String), pod_uid String),
        `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)),
        `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)))') AS r
SELECT
    r.event_id AS event_id,
    r.ts AS ts,
    r.node AS node,
    r.region AS region,
    r.labels AS labels,
    r.protocol AS protocol,
    r.address AS address,
    r.port AS port,
    r.match AS match,
    r.name AS name,
    r.candidates AS candidates,
    r.lookup_event_id AS lookup_event_id,
    r.lookup_scope AS lookup_scope,
    r.answer_age_ms AS answer_age_ms,
    r.ttl_left_ms AS ttl_left_ms,
    r.lookup_ms AS lookup_ms,
    r.connect_ms AS connect_ms,
    r.rtt_ms AS rtt_ms,
    r.first_byte_ms AS first_byte_ms,
    r.outcome AS outcome,
    r.count AS count,
    r.first AS first,
    r.last AS last,
    r.process AS process,
    r.container AS container,
    r.k8s AS k8s,
    r.masking AS masking
FROM dns_uses_kafka_messages
WHERE r.schema = 'dns.use/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC');

CREATE MATERIALIZED VIEW dns_uses_kafka_errors TO dns_kafka_errors AS
WITH JSONExtract(record, 'Tuple(`schema` String, `event_id` FixedString(32), `ts` DateTime64(9, \'UTC\'))') AS r
SELECT
    topic,
    partition,
    offset,
    now('UTC') AS received,
    'uses' AS stream,
    header_values[indexOf(header_names, 'node')] AS node,
    header_values[indexOf(header_names, 'event_id')] AS event_id,
    if(isValidJSON(record), concat('no dns.use/1 with event_id and ts: ', r.schema), 'no JSON') AS error,
    record
FROM dns_uses_kafka_messages
WHERE NOT (r.schema = 'dns.use/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC'));

CREATE TABLE dns_uses_kafka (`record` String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'dns.uses',
    kafka_group_name = 'dnscribe-clickhouse',
    kafka_format = 'RawBLOB',
    date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW dns_uses_kafka_read TO dns_uses_kafka_messages AS
SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    _headers.name AS header_names,
    _headers.value AS header_values,
    record
FROM dns_uses_kafka;

CREATE TABLE dns_lookups_kafka_messages AS dns_transactions_kafka_messages;

CREATE MATERIALIZED VIEW dns_lookups_kafka_view TO dns_lookups AS
WITH JSONExtract(record, 'Tuple(
        `schema` String,
        `event_id` FixedString(32),
        `ts` DateTime64(9, \'UTC\'),
        `node` LowCardinality(String),
        `region` LowCardinality(String),
        `labels` Map(LowCardinality(String), String),
        `vantage` LowCardinality(String),
        `client_ip` String,
        `resolvers` Array(LowCardinality(String)),
        `qname` String,
        `qtypes` Array(LowCardinality(String)),
        `qclass` LowCardinality(String),
        `outcome` LowCardinality(String),
        `partial` Bool,
        `rcode` LowCardinality(String),
        `answered_name` String,
        `cname_chain` Array(String),
        `addresses` Array(String),
        `address_count` UInt32,
        `duration_ms` Float64,
        `transactions` UInt32,
        `packets` UInt32,
        `packets_wasted` UInt32,
        `search_expansions` UInt32,
        `names_tried` Array(String),
        `retries` UInt32,
        `servers_tried` UInt32,
        `tcp_fallback` Bool,
        `transaction_ids` Array(String),
        `evicted` Bool,
        `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)),
        `container` Tuple(id String, runtime LowCardinality(String), pod_uid String),
        `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)),
        `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)))') AS r
SELECT
    r.event_id AS event_id,
    r.ts AS ts,
    r.node AS node,
    r.region AS region,
    r.labels AS labels,
    r.vantage AS vantage,
    r.client_ip AS client_ip,
    r.resolvers AS resolvers,
    r.qname AS qname,
    r.qtypes AS qtypes,
    r.qclass AS qclass,
    r.outcome AS outcome,
    r.partial AS partial,
    r.rcode AS rcode,
    r.answered_name AS answered_name,
    r.cname_chain AS cname_chain,
    r.addresses AS addresses,
    r.address_count AS address_count,
    r.duration_ms AS duration_ms,
    r.transactions AS transactions,
    r.packets AS packets,
    r.packets_wasted AS packets_wasted,
    r.search_expansions AS search_expansions,
    r.names_tried AS names_tried,
    r.retries AS retries,
    r.servers_tried AS servers_tried,
    r.tcp_fallback AS tcp_fallback,
    r.transaction_ids AS transaction_ids,
    r.evicted AS evicted,
    r.process AS process,
    r.container AS container,
    r.k8s AS k8s,
    r.masking AS masking
FROM dns_lookups_kafka_messages
WHERE r.schema = 'dns.lookup/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC');

CREATE MATERIALIZED VIEW dns_lookups_kafka_errors TO dns_kafka_errors AS
WITH JSONExtract(record, 'Tuple(`schema` String, `event_id` FixedString(32), `ts` DateTime64(9, \'UTC\'))') AS r
SELECT
    topic,
    partition,
    offset,
    now('UTC') AS received,
    'lookups' AS stream,
    header_values[indexOf(header_names, 'node')] AS node,
    header_values[indexOf(header_names, 'event_id')] AS event_id,
    if(isValidJSON(record), concat('no dns.lookup/1 with event_id and ts: ', r.schema), 'no JSON') AS error,
    record
FROM dns_lookups_kafka_messages
WHERE NOT (r.schema = 'dns.lookup/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC'));

CREATE TABLE dns_lookups_kafka (`record` String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'dns.lookups',
    kafka_group_name = 'dnscribe-clickhouse',
    kafka_format = 'RawBLOB',
    date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW dns_lookups_kafka_read TO dns_lookups_kafka_messages AS
SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    _headers.name AS header_names,
    _headers.value AS header_values,
    record
FROM dns_lookups_kafka;

CREATE TABLE dns_connections_kafka_messages AS dns_transactions_kafka_messages;

CREATE MATERIALIZED VIEW dns_connections_kafka_view TO dns_connections AS
WITH JSONExtract(record, 'Tuple(
        `schema` String,
        `event_id` FixedString(32),
        `connection_id` FixedString(32),
        `ts` DateTime64(9, \'UTC\'),
        `node` LowCardinality(String),
        `region` LowCardinality(String),
        `labels` Map(LowCardinality(String), String),
        `vantage` LowCardinality(String),
        `protocol` LowCardinality(String),
        `transport` LowCardinality(String),
        `client_ip` String,
        `client_port` UInt16,
        `server_ip` LowCardinality(String),
        `server_port` UInt16,
        `resolver` LowCardinality(String),
        `status` LowCardinality(String),
        `final` Bool,
        `sni` String,
        `alpn` Array(LowCardinality(String)),
        `alpn_selected` LowCardinality(String),
        `tls_version` LowCardinality(String),
        `ech` Nullable(Bool),
        `resumed` Nullable(Bool),
        `connect_ms` Nullable(Float64),
        `handshake_ms` Nullable(Float64),
        `duration_ms` Float64,
        `client_bytes` UInt64,
        `server_bytes` UInt64,
        `process` Tuple(pid Nullable(UInt32), uid Nullable(UInt32), comm LowCardinality(String), exe LowCardinality(String)),
        `container` Tuple(id String, runtime LowCardinality(String), pod_uid String),
        `k8s` Tuple(namespace LowCardinality(String), pod String, container LowCardinality(String), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(LowCardinality(String), String)),
        `masking` Tuple(key_id String, qname LowCardinality(String), client LowCardinality(String), server LowCardinality(String), answers LowCardinality(String), ecs LowCardinality(String), process LowCardinality(String), container LowCardinality(String)))') AS r
SELECT
    r.event_id AS event_id,
    r.connection_id AS connection_id,
    r.ts AS ts,
    r.node AS node,
    r.region AS region,
    r.labels AS labels,
    r.vantage AS vantage,
    r.protocol AS protocol,
    r.transport AS transport,
    r.client_ip AS client_ip,
    r.client_port AS client_port,
    r.server_ip AS server_ip,
    r.server_port AS server_port,
    r.resolver AS resolver,
    r.status AS status,
    r.final AS final,
    r.sni AS sni,
    r.alpn AS alpn,
    r.alpn_selected AS alpn_selected,
    r.tls_version AS tls_version,
    r.ech AS ech,
    r.resumed AS resumed,
    r.connect_ms AS connect_ms,
    r.handshake_ms AS handshake_ms,
    r.duration_ms AS duration_ms,
    r.client_bytes AS client_bytes,
    r.server_bytes AS server_bytes,
    r.process AS process,
    r.container AS container,
    r.k8s AS k8s,
    r.masking AS masking
FROM dns_connections_kafka_messages
WHERE r.schema = 'dns.connection/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC');

CREATE MATERIALIZED VIEW dns_connections_kafka_errors TO dns_kafka_errors AS
WITH JSONExtract(record, 'Tuple(`schema` String, `event_id` FixedString(32), `ts` DateTime64(9, \'UTC\'))') AS r
SELECT
    topic,
    partition,
    offset,
    now('UTC') AS received,
    'connections' AS stream,
    header_values[indexOf(header_names, 'node')] AS node,
    header_values[indexOf(header_names, 'event_id')] AS event_id,
    if(isValidJSON(record), concat('no dns.connection/1 with event_id and ts: ', r.schema), 'no JSON') AS error,
    record
FROM dns_connections_kafka_messages
WHERE NOT (r.schema = 'dns.connection/1' AND match(toString(r.event_id), '^[0-9a-f]{32}$') AND r.ts != toDateTime64(0, 9, 'UTC'));

CREATE TABLE dns_connections_kafka (`record` String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'dns.connections',
    kafka_group_name = 'dnscribe-clickhouse',
    kafka_format = 'RawBLOB',
    date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW dns_connections_kafka_read TO dns_connections_kafka_messages AS
SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    _headers.name AS header_names,
    _headers.value AS header_values,
    record
FROM dns_connections_kafka;

-- Newest ledger record of each capture of an agent: what Kafka has acknowledged, and what it may still get from the spool.
CREATE TABLE IF NOT EXISTS dns_ledger
(
    `capture` FixedString(8),
    `node` LowCardinality(String),
    `epoch` DateTime64(9, 'UTC'),
    `ts` DateTime64(9, 'UTC'),
    `final` Bool,
    `stream` LowCardinality(String),
    `delivered` UInt64,
    `undecided` UInt64
)
ENGINE = ReplacingMergeTree(ts)
ORDER BY (node, epoch, capture, stream)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE dns_ledger_kafka (`record` String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'dns.ledger',
    kafka_group_name = 'dnscribe-clickhouse',
    kafka_format = 'RawBLOB',
    date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW dns_ledger_kafka_view TO dns_ledger AS
WITH
    JSONExtract(record, 'Tuple(`schema` String, `event_id` String, `node` String, `epoch` DateTime64(9, \'UTC\'), `ts` DateTime64(9, \'UTC\'), `final` Bool)') AS r,
    JSONExtract(record, 'delivery', 'kafka', 'Map(String, Tuple(`delivered` UInt64, `spooled` UInt64, `in_flight` UInt64))') AS delivery
SELECT
    left(r.event_id, 8) AS capture,
    r.node AS node,
    r.epoch AS epoch,
    r.ts AS ts,
    r.final AS final,
    stream,
    counts.delivered AS delivered,
    counts.spooled + counts.in_flight AS undecided
FROM dns_ledger_kafka
ARRAY JOIN mapKeys(delivery) AS stream, mapValues(delivery) AS counts
WHERE r.schema = 'dns.ledger/1' AND stream IN ('transactions', 'alerts', 'uses', 'lookups', 'connections');

-- What each capture has delivered beside the rows that came of it. The first eight digits of an event id name the capture.
DROP VIEW IF EXISTS dns_balance;
CREATE VIEW dns_balance AS
SELECT
    node,
    epoch,
    ts,
    final,
    stream,
    delivered,
    undecided,
    rows.count AS `rows`,
    errors.count AS errors,
    toInt64(delivered) - toInt64(rows.count) - toInt64(errors.count) AS missing
FROM (SELECT * FROM dns_ledger FINAL) AS ledger
LEFT JOIN
(
    SELECT 'transactions' AS stream, left(event_id, 8) AS capture, count() AS count FROM dns_transactions FINAL GROUP BY capture
    UNION ALL
    SELECT 'alerts' AS stream, left(event_id, 8) AS capture, count() AS count FROM dns_alerts FINAL GROUP BY capture
    UNION ALL
    SELECT 'uses' AS stream, left(event_id, 8) AS capture, count() AS count FROM dns_uses FINAL GROUP BY capture
    UNION ALL
    SELECT 'lookups' AS stream, left(event_id, 8) AS capture, count() AS count FROM dns_lookups FINAL GROUP BY capture
    UNION ALL
    SELECT 'connections' AS stream, left(event_id, 8) AS capture, count() AS count FROM dns_connections FINAL GROUP BY capture
) AS rows USING (stream, capture)
LEFT JOIN
(
    SELECT stream, left(event_id, 8) AS capture, count() AS count
    FROM dns_kafka_errors FINAL
    GROUP BY stream, capture
) AS errors USING (stream, capture);
