//! What each field of each record contains: the only place to describe a new field. A field that is
//! not listed here is left out of masked records, and a test fails.

use super::Class;
use crate::Stream;
use Kind::{
    Address, AlertId, Answered, Container, Data, Entity, Found, Name, Object, ObjectOf, Octets,
    Opaque, Peer, ProbeTarget, Process, ProcessWithId, Public, Receiver, Resolver, Sender,
    ServerName, Sketch, Spelling, Subnet, Summary, Target, Whole,
};

/// What a field contains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Values that identify nobody: numbers, mnemonics, times, the node.
    Public,
    /// A query name or its zone.
    Name,
    /// Another spelling of the query name.
    Spelling,
    /// A name that an answer leads to.
    Target,
    /// The server name that a client sends; it may contain the client's account.
    ServerName,
    /// The address of a client or server.
    Address(Class),
    /// The address of a message's sender; a client in a query, a server in a response.
    Sender,
    Receiver,
    /// The address of a client or server, unknown which.
    Peer,
    /// The configured name of a resolver, else its address.
    Resolver,
    /// An address in an answer.
    Found,
    /// The data of an answer record.
    Data,
    /// The data of an answer to a question of type `qtype`.
    Answered,
    /// What a probe measures.
    ProbeTarget,
    /// A text without parts: a fingerprint, or the subject of a certificate.
    Opaque(Class),
    /// A client subnet (ECS).
    Subnet,
    /// Bytes or text that can contain any part of a message.
    Octets,
    /// The name of a process or the path of its executable.
    Process,
    /// The name of a process with its pid: `comm[pid]`.
    ProcessWithId,
    /// A container id, or a pod.
    Container,
    /// A value that is kept or left out as a whole, by its class.
    Whole(Class),
    /// A sketch of values of a class: whoever guesses a value can test it against the sketch.
    Sketch(Class),
    /// The id of an alert: whoever guesses the entity can recompute it.
    AlertId,
    /// The entity of an alert, in one string.
    Entity,
    /// The summary of an alert.
    Summary,
    /// An object, or a list of objects.
    Object(&'static [Field]),
    /// An object, or a list of objects, that is left out if its class is dropped.
    ObjectOf(Class, &'static [Field]),
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether the schema requires the field: then it is written empty if masking hides its value.
    pub(super) required: bool,
}

/// Makes a table of fields in the order of the record. `name` alone is public.
macro_rules! fields {
    ($($name:ident $(: $rule:expr)?),* $(,)?) => {
        &[$(Field { name: stringify!($name), ..rule!($($rule)?) }),*]
    };
}

macro_rules! rule {
    () => {
        may(Public)
    };
    ($rule:expr) => {
        $rule
    };
}

/// A field that every record must have. It is written empty if masking hides its value.
const fn must(kind: Kind) -> Field {
    Field { name: "", kind, required: true }
}

/// A field that is left out if masking hides its value.
const fn may(kind: Kind) -> Field {
    Field { name: "", kind, required: false }
}

const CLIENT: Kind = Address(Class::Client);
const SERVER: Kind = Address(Class::Server);

/// Returns the fields of a stream's records.
pub(super) const fn of_stream(stream: Stream) -> &'static [Field] {
    match stream {
        Stream::Messages => MESSAGE,
        Stream::Transactions => TRANSACTION,
        Stream::Lookups => LOOKUP,
        Stream::Metrics => WINDOW,
        Stream::Alerts => ALERT,
        Stream::Dlq => DEAD_LETTER,
        Stream::Ledger => LEDGER,
        Stream::Connections => CONNECTION,
        Stream::Uses => USE,
        Stream::Probes => PROBE,
    }
}

const PROCESS: Kind =
    ObjectOf(Class::Process, fields![pid, uid, comm: must(Process), exe: may(Process)]);

const CONTAINER: Kind =
    ObjectOf(Class::Container, fields![id: must(Container), runtime, pod_uid: may(Container)]);

const K8S: Kind = ObjectOf(
    Class::Container,
    fields![
        namespace: must(Container), pod: must(Container), container: may(Container),
        workload_kind, workload: may(Container), labels: may(Whole(Class::Container)),
    ],
);

/// Objects that name processes, containers and pods of a group or an entity.
const PROCESS_NAME: Kind = ObjectOf(Class::Process, fields![comm: must(Process)]);
const CONTAINER_ID: Kind = ObjectOf(Class::Container, fields![id: must(Container)]);
const POD_NAME: Kind =
    ObjectOf(Class::Container, fields![namespace: must(Container), pod: must(Container)]);

const ANSWERS: Kind =
    ObjectOf(Class::Answers, fields![name: must(Name), type, class, ttl, data: must(Data)]);

const EDE: Kind = Object(fields![code, text: must(Octets)]);

const EDNS: Kind = Object(fields![
    udp_size, do, version, ecs: may(Subnet), ede: may(EDE), nsid: may(Octets),
    cookie: may(Octets), co, z, owner: may(Octets), opt_count, options: may(OPTIONS),
    options_omitted,
]);

const OPTIONS: Kind = Object(fields![code, name, length, data: may(Octets)]);

const QUESTIONS: Kind = ObjectOf(Class::Qname, fields![name: must(Name), type, class]);

const DNSTAP: Kind = Object(fields![
    identity: may(Opaque(Class::Server)), version: may(Opaque(Class::Server)), zone: may(Name),
    policy: may(POLICY),
]);

const POLICY: Kind = Object(fields![type, rule: may(Octets), action, match, value: may(Octets)]);

const ICMP: Kind = Object(fields![type, code, name]);

const LOST_AT: Kind = Object(fields![message, stage, reason, hook, function, count]);

const PATH: Kind = Object(fields![send_ms, arrive_ms, read_ms]);

/// Which list matches says something of a name that is masked, as the name of the list does not.
const INDICATORS: Kind =
    Object(fields![indicator: must(Octets), kind, category, source, confidence]);

const MESSAGE: &[Field] = fields![
    schema, event_id, ts, node, region, labels, seq, cpu, vantage, direction, transport,
    src_ip: must(Sender), src_port, dst_ip: must(Receiver), dst_port, id, qr, opcode, rcode,
    flags, qname: may(Name), qname_unicode: may(Spelling), qname_case: may(Spelling), qtype,
    qclass, further_questions: may(QUESTIONS), questions_omitted, question_count, answer_count,
    authority_count, additional_count, answers: may(ANSWERS), answers_omitted, edns: may(EDNS),
    trailing_bytes, wire_bytes, captured_bytes, clipped, seen_by, dnstap: may(DNSTAP), wire: may(Octets), process: may(PROCESS),
    container: may(CONTAINER), k8s: may(K8S),
];

const TRANSACTION: &[Field] = fields![
    schema, event_id, ts, node, region, labels, vantage, transport, client_ip: must(CLIENT),
    client_port, server_ip: must(SERVER), server_port, id, opcode, qname: may(Name),
    qname_unicode: may(Spelling), qtype, qclass, qname_case: may(Spelling), zone: may(Name),
    status, rcode, latency_ms, retries, conflict, icmp: may(ICMP), flags, answers: may(ANSWERS),
    answers_omitted, answer_count, authority_count, additional_count, min_ttl_seconds, edns: may(EDNS),
    query_ecs: may(Subnet), query_cookie: may(Octets), traceparent: may(Octets), query_bytes, response_bytes,
    transfer_messages, transfer_records, transfer_ms, transfer_complete,
    responder_ip: may(Peer), orphan_reason, resembles, seen_by, dnstap: may(DNSTAP), rejected_responses,
    resolver: must(Resolver), sample_ratio, tcp_fallback_of, parent_event_id, parent_match,
    cache, lost_at: may(LOST_AT), path: may(PATH), indicators: may(INDICATORS), first_seen, process: may(PROCESS), container: may(CONTAINER), k8s: may(K8S),
];

const LOOKUP: &[Field] = fields![
    schema, event_id, ts, node, region, labels, vantage, client_ip: must(CLIENT),
    resolvers: must(Resolver), qname: must(Name), qtypes, qclass, outcome, partial, rcode,
    answered_name: may(Name), cname_chain: may(Target), addresses: may(Found), address_count,
    duration_ms, transactions, packets, packets_wasted, search_expansions,
    names_tried: may(Name), retries, servers_tried, tcp_fallback, transaction_ids, evicted,
    process: may(PROCESS), container: may(CONTAINER), k8s: may(K8S),
];

const PROBE_ERROR: Kind = Object(fields![stage, reason, detail: may(Octets)]);

const SIGNATURE: Kind =
    Object(fields![record: must(Octets), not_after, expiry_days, lifetime_days]);

const CERTIFICATE: Kind = Object(fields![
    subject: must(Opaque(Class::Qname)),
    // That of a certificate that signs itself is its subject.
    issuer: must(Opaque(Class::Qname)),
    not_after,
    expiry_days,
    earliest_not_after,
    san_match,
    chain_length,
    chain_ok,
    // Logs of certificates are public.
    sha256: must(Opaque(Class::Qname)),
    ocsp_stapled,
    ocsp_status,
    revocation,
    revocation_source,
    revocation_reason,
]);

const PROBE: &[Field] = fields![
    schema, event_id, ts, node, region, labels, kind, service, target: must(ProbeTarget), site, duration_ms, ok,
    error: may(PROBE_ERROR), attempt, resolver: may(Resolver), protocol, qname: may(Name), qtype, rcode, latency_ms,
    answers: may(Answered), answer_count, cname_chain: may(Target), answer_records, authority_records,
    additional_records, ede: may(EDE), answer_digest: may(Opaque(Class::Answers)), min_ttl_seconds, known_ttl_seconds, previous_ttl_seconds, dnssec,
    dnssec_reason: may(Octets), signature: may(SIGNATURE), changed, previous_digest: may(Opaque(Class::Answers)), differs_from: may(Resolver),
    nameserver: may(ProbeTarget), address: may(SERVER), soa_serial, lame,
    resolve_ms, connect_ms, handshake_ms, tls_version, cipher, alpn, cert: may(CERTIFICATE), issuer_changed,
    previous_issuer: may(Opaque(Class::Qname)),
    response_labels, http_status, http_version, redirects, ttfb_ms, transfer_ms, body_bytes, sent, received,
    loss_ratio, rtt_ms, rtt_min_ms, rtt_max_ms, triggered_by,
];

const CONNECTION: &[Field] = fields![
    schema, event_id, connection_id, ts, node, region, labels, vantage, protocol, transport,
    client_ip: must(CLIENT), client_port, server_ip: must(SERVER), server_port,
    resolver: must(Resolver), status, final, sni: may(ServerName), alpn, alpn_selected,
    tls_version, ech, resumed, connect_ms, handshake_ms, duration_ms, client_bytes,
    server_bytes, process: may(PROCESS), container: may(CONTAINER), k8s: may(K8S),
];

const USE: &[Field] = fields![
    schema, event_id, ts, node, region, labels, protocol, address: must(Found), port, match, name: may(Name),
    candidates: may(Name), lookup_event_id, lookup_scope, answer_age_ms, ttl_left_ms, lookup_ms, connect_ms, rtt_ms, first_byte_ms,
    outcome, count, first, last, process: may(PROCESS), container: may(CONTAINER), k8s: may(K8S),
];

const DEAD_LETTER: &[Field] = fields![
    schema, event_id, ts, node, region, labels, stage, reason, stream, record_event_id, seq, cpu,
    direction, transport, src_ip: may(Peer), src_port, dst_ip: may(Peer), dst_port,
    bytes: must(Octets), captured_bytes, record_bytes, detail, topic, partition, offset,
    source, line,
    process: may(PROCESS), container: may(CONTAINER), k8s: may(K8S),
];

const FIGURES: Kind = Object(fields![
    name,
    value,
    threshold,
    baseline_mean,
    baseline_deviation,
    z_score,
    baseline_samples,
    seasonal,
]);

/// Stream jobs write these after masking; an agent never has them.
const CHANGES: Kind = Object(
    fields![event_id, ts, kind, zone: may(Name), service, summary: must(Summary), actor, url],
);

/// Stream jobs write these after masking; an agent never has them.
const PROBES: Kind = Object(fields![alert_id, rule, service, summary: must(Summary), started]);

const ALERT: &[Field] = fields![
    schema, event_id, ts, node, region, labels, alert_id: must(AlertId), scope, rule, entity: must(Entity),
    service, target: may(Octets), resolver: may(Resolver), zone: may(Name), qname: may(Name),
    process: may(PROCESS_NAME), container: may(CONTAINER_ID), k8s: may(POD_NAME), client_ip: may(CLIENT), vantage, site, state, severity,
    previous_severity, started, ended, duration_seconds, summary: must(Summary),
    evidence: may(Octets), figures: must(FIGURES), samples, qnames: may(Name),
    processes: may(ProcessWithId), clients: may(CLIENT), resolvers: may(Resolver), nodes,
    sites, zones: may(Name), sources, answers: may(Whole(Class::Answers)), changes: may(CHANGES),
    triggered_by, suppressed, suppressed_alerts, probes: may(PROBES), runbook, evidence_file: may(Octets),
];

const DNSTAP_SENDER: Kind = Object(fields![
    name: must(Opaque(Class::Server)), received, decoded, malformed, in_ring, lost_ring_full, connections, closed, cut_off,
    refused, open,
]);

/// Counters, under names that come from the program, the sinks and the hooks.
const LEDGER: &[Field] = fields![
    schema,
    event_id,
    ts,
    node,
    region,
    labels,
    epoch,
    uptime_seconds,
    final,
    balanced,
    kernel,
    ring,
    decode,
    pairing,
    connections,
    uses,
    path,
    seen_by,
    senders: may(DNSTAP_SENDER),
    sampling,
    probing,
    delivery,
];

const fn ranked(value: Kind) -> [Field; 3] {
    *fields![value: must(value), lower, upper]
}

const TOP_NAMES: Kind = ObjectOf(Class::Qname, &ranked(Name));
const TOP_CLIENTS: Kind = ObjectOf(Class::Client, &ranked(Address(Class::Client)));
const TOP_PROCESSES: Kind = ObjectOf(Class::Process, &ranked(Process));

const fn distinct(class: Class) -> [Field; 4] {
    *fields![estimate, lower, upper, sketch: must(Sketch(class))]
}

const TOP_SKETCHES: Kind = Object(fields![
    qnames: must(Sketch(Class::Qname)), zones: must(Sketch(Class::Qname)),
    clients: must(Sketch(Class::Client)), processes: must(Sketch(Class::Process)),
]);

const ESTIMATE: Kind = Object(fields![value, low, high]);
const RCODES: Kind = Object(fields![rcode, count]);
const QTYPES: Kind = Object(fields![qtype, count]);
const BUCKETS: Kind = Object(fields![up_to, count]);

const EXACT: Kind = Object(fields![
    queries, responses, rcodes: must(RCODES), truncated, not_exported, lost, lost_segments,
]);

const STATUSES: Kind =
    Object(fields![answered, timeout, late, icmp_error, duplicate, orphan, evicted, open,]);

const LATENCY: Kind = Object(fields![count, p50, p90, p95, p99, max, sketch]);

const WINDOW: &[Field] = fields![
    schema, event_id, ts, node, region, labels, window_seconds, step_seconds, partial, late_total,
    sketch_encoding, grouping, vantage, transport, resolver: may(Resolver), zone: may(Name),
    qtype, process: may(PROCESS_NAME), container: may(CONTAINER_ID), k8s: may(POD_NAME), other, undercounted, transactions,
    sample_ratio, estimated_transactions: may(ESTIMATE), exact: may(EXACT),
    statuses: must(STATUSES), queries, query_rate, rcodes: must(RCODES), qtypes: must(QTYPES),
    successes, success_ratio, truncated, retries, tcp_fallbacks, cache_hits, cache_misses,
    dnssec_queries, ecs_queries, nxdomain_ratio, servfail_ratio, timeout_ratio,
    truncation_ratio, retry_ratio, tcp_fallback_ratio, cache_hit_ratio, dnssec_ratio, ecs_ratio,
    conflicts, query_bytes, response_bytes, amplification, latency_ms: may(LATENCY),
    unique_qnames: must(Object(&distinct(Class::Qname))),
    unique_clients: must(Object(&distinct(Class::Client))),
    unique_resolvers: must(Object(&distinct(Class::Server))), top_qnames: may(TOP_NAMES),
    top_zones: may(TOP_NAMES), top_clients: may(TOP_CLIENTS), top_processes: may(TOP_PROCESSES),
    top_sketches: may(TOP_SKETCHES), qname_entropy: must(BUCKETS), label_lengths: must(BUCKETS),
    min_ttls: must(BUCKETS),
];
