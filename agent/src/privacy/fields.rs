//! What every field of every record holds: the one place to say it of a new field. A field that is not
//! here is left out of masked records, and a test fails.

mod window;

use super::Class;
use crate::sink::Stream;
use Kind::{
    Address, AlertId, Container, Data, Entity, Found, Name, Object, ObjectOf, Octets, Peer,
    Process, ProcessWithId, Public, Receiver, Resolver, Sender, ServerName, Spelling, Subnet,
    Summary, Target, Whole,
};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// What tells of nobody: numbers, mnemonics, times, who writes.
    Public,
    /// A name asked for, or its zone.
    Name,
    /// Another form of such a name.
    Spelling,
    /// A name to which an answer leads.
    Target,
    /// The name of a server that a client gives; it may hold the client's account.
    ServerName,
    /// The address of one of a class.
    Address(Class),
    /// The address of a message's sender or receiver, whichever that is.
    Sender,
    Receiver,
    /// An address of a client or server, who knows.
    Peer,
    /// A resolver's configured name, else its address.
    Resolver,
    /// An address found.
    Found,
    /// What a record of an answer holds.
    Data,
    /// A client subnet.
    Subnet,
    /// Octets or text that can hold anything that a message holds.
    Octets,
    /// A process's name or path.
    Process,
    /// The same with its id behind.
    ProcessWithId,
    /// A container's id, or a pod.
    Container,
    /// What is told whole or not at all, by its class.
    Whole(Class),
    /// A sketch of values of a class, which whoever guesses one can ask for it.
    Sketch(Class),
    /// An alert's id, which whoever guesses whom it concerns can recompute.
    AlertId,
    /// Whom an alert concerns, in one string.
    Entity,
    /// An alert's sentence.
    Summary,
    /// An object, or a list of such.
    Object(&'static [Field]),
    /// The same, nothing of which is told where its class is dropped.
    ObjectOf(Class, &'static [Field]),
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether every record must have it: then it is empty where it cannot be told.
    pub(super) required: bool,
}

const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

/// The fields of a stream's records.
pub(super) const fn of(stream: Stream) -> &'static [Field] {
    match stream {
        Stream::Messages => MESSAGE,
        Stream::Transactions => TRANSACTION,
        Stream::Lookups => LOOKUP,
        Stream::Metrics => window::WINDOW,
        Stream::Alerts => ALERT,
        Stream::Dlq => DEAD_LETTER,
        Stream::Ledger => LEDGER,
        Stream::Connections => CONNECTION,
    }
}

const PROCESS: Kind = ObjectOf(
    Class::Process,
    &[must("pid", Public), must("uid", Public), must("comm", Process), may("exe", Process)],
);

const CONTAINER: Kind = ObjectOf(
    Class::Container,
    &[must("id", Container), may("runtime", Public), may("pod_uid", Container)],
);

const K8S: Kind = ObjectOf(
    Class::Container,
    &[
        must("namespace", Container),
        must("pod", Container),
        may("container", Container),
        may("workload_kind", Public),
        may("workload", Container),
        may("labels", Whole(Class::Container)),
    ],
);

const ANSWERS: Kind = ObjectOf(
    Class::Answers,
    &[
        must("name", Name),
        must("type", Public),
        may("class", Public),
        must("ttl", Public),
        must("data", Data),
    ],
);

const EDNS: Kind = Object(&[
    must("udp_size", Public),
    must("do", Public),
    must("version", Public),
    may("ecs", Subnet),
    may("ede", Object(&[must("code", Public), must("text", Octets)])),
    may("nsid", Octets),
    may("cookie", Octets),
    may("co", Public),
    may("z", Public),
    may("owner", Octets),
    may("opt_count", Public),
    may("options", OPTIONS),
]);

const OPTIONS: Kind = Object(&[
    must("code", Public),
    must("name", Public),
    must("length", Public),
    may("data", Octets),
]);

const QUESTIONS: Kind =
    ObjectOf(Class::Qname, &[must("name", Name), must("type", Public), must("class", Public)]);

const MESSAGE: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("seq", Public),
    must("cpu", Public),
    must("vantage", Public),
    may("direction", Public),
    must("transport", Public),
    must("src_ip", Sender),
    must("src_port", Public),
    must("dst_ip", Receiver),
    must("dst_port", Public),
    must("id", Public),
    must("qr", Public),
    must("opcode", Public),
    may("rcode", Public),
    must("flags", Public),
    may("qname", Name),
    may("qname_unicode", Spelling),
    may("qname_case", Spelling),
    may("qtype", Public),
    may("qclass", Public),
    may("further_questions", QUESTIONS),
    must("question_count", Public),
    must("answer_count", Public),
    must("authority_count", Public),
    must("additional_count", Public),
    may("answers", ANSWERS),
    may("edns", EDNS),
    may("dso", OPTIONS),
    may("trailing_bytes", Public),
    must("wire_bytes", Public),
    must("captured_bytes", Public),
    must("clipped", Public),
    may("wire", Octets),
    may("process", PROCESS),
    may("container", CONTAINER),
    may("k8s", K8S),
];

const TRANSACTION: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("vantage", Public),
    must("transport", Public),
    must("client_ip", Address(Class::Client)),
    must("client_port", Public),
    must("server_ip", Address(Class::Server)),
    must("server_port", Public),
    must("id", Public),
    must("opcode", Public),
    may("qname", Name),
    may("qname_unicode", Spelling),
    may("qtype", Public),
    may("qclass", Public),
    may("qname_case", Spelling),
    may("zone", Name),
    must("status", Public),
    may("rcode", Public),
    may("latency_ms", Public),
    must("retries", Public),
    may("conflict", Public),
    may("icmp", Object(&[may("type", Public), may("code", Public), must("name", Public)])),
    must("flags", Public),
    may("answers", ANSWERS),
    may("answer_count", Public),
    may("authority_count", Public),
    may("additional_count", Public),
    may("min_ttl_seconds", Public),
    may("edns", EDNS),
    may("query_ecs", Subnet),
    may("query_cookie", Octets),
    may("query_bytes", Public),
    may("response_bytes", Public),
    may("transfer_messages", Public),
    may("transfer_records", Public),
    may("transfer_ms", Public),
    may("transfer_complete", Public),
    may("responder_ip", Peer),
    may("orphan_reason", Public),
    may("resembles", Public),
    may("rejected_responses", Public),
    must("resolver", Resolver),
    may("sample_ratio", Public),
    may("tcp_fallback_of", Public),
    may("parent_event_id", Public),
    may("parent_match", Public),
    may("cache", Public),
    may("process", PROCESS),
    may("container", CONTAINER),
    may("k8s", K8S),
];

const LOOKUP: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("vantage", Public),
    must("client_ip", Address(Class::Client)),
    must("resolvers", Resolver),
    must("qname", Name),
    must("qtypes", Public),
    must("qclass", Public),
    must("outcome", Public),
    may("partial", Public),
    may("rcode", Public),
    may("answered_name", Name),
    may("cname_chain", Target),
    may("addresses", Found),
    must("address_count", Public),
    must("duration_ms", Public),
    must("transactions", Public),
    must("packets", Public),
    must("packets_wasted", Public),
    must("search_expansions", Public),
    may("names_tried", Name),
    must("retries", Public),
    must("servers_tried", Public),
    must("tcp_fallback", Public),
    must("transaction_ids", Public),
    may("evicted", Public),
    may("process", PROCESS),
    may("container", CONTAINER),
    may("k8s", K8S),
];

const CONNECTION: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("connection_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("vantage", Public),
    must("protocol", Public),
    must("transport", Public),
    must("client_ip", Address(Class::Client)),
    must("client_port", Public),
    must("server_ip", Address(Class::Server)),
    must("server_port", Public),
    must("resolver", Resolver),
    must("status", Public),
    must("final", Public),
    may("sni", ServerName),
    may("alpn", Public),
    may("alpn_selected", Public),
    may("tls_version", Public),
    may("ech", Public),
    may("resumed", Public),
    may("connect_ms", Public),
    may("handshake_ms", Public),
    must("duration_ms", Public),
    must("client_bytes", Public),
    must("server_bytes", Public),
    may("process", PROCESS),
    may("container", CONTAINER),
    may("k8s", K8S),
];

const DEAD_LETTER: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("stage", Public),
    must("reason", Public),
    may("stream", Public),
    may("record_event_id", Public),
    may("seq", Public),
    may("cpu", Public),
    may("direction", Public),
    may("transport", Public),
    may("src_ip", Peer),
    may("src_port", Public),
    may("dst_ip", Peer),
    may("dst_port", Public),
    must("bytes", Octets),
    must("captured_bytes", Public),
    may("record_bytes", Public),
    may("process", PROCESS),
    may("container", CONTAINER),
    may("k8s", K8S),
];

const FIGURES: Kind = Object(&[
    must("name", Public),
    must("value", Public),
    may("threshold", Public),
    may("baseline_mean", Public),
    may("baseline_deviation", Public),
    may("z_score", Public),
    may("baseline_samples", Public),
    may("seasonal", Public),
]);

const ALERT: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("alert_id", AlertId),
    must("rule", Public),
    must("entity", Entity),
    may("resolver", Resolver),
    may("zone", Name),
    may("qname", Name),
    may("process_name", Process),
    may("pod", Container),
    may("client_ip", Address(Class::Client)),
    may("vantage", Public),
    must("state", Public),
    must("severity", Public),
    may("previous_severity", Public),
    must("started", Public),
    may("ended", Public),
    must("duration_seconds", Public),
    must("summary", Summary),
    must("figures", FIGURES),
    may("samples", Public),
    may("qnames", Name),
    may("processes", ProcessWithId),
    may("clients", Address(Class::Client)),
    may("resolvers", Resolver),
    must("suppressed", Public),
    must("runbook", Public),
];

/// Numbers under names of the program's own, and of sinks and hooks.
const LEDGER: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("epoch", Public),
    must("uptime_seconds", Public),
    must("final", Public),
    must("balanced", Public),
    may("takeovers", Public),
    must("kernel", Public),
    must("ring", Public),
    must("decode", Public),
    must("pairing", Public),
    may("connections", Public),
    may("sampling", Public),
    must("delivery", Public),
];
