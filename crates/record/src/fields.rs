//! Objects and lists that several records contain.

use super::{EventId, JsonBuffer, JsonValue, MaskingFields};
use crate::record_struct;
use crate::time::Timestamp;
use dnscribe_dns::{
    Answer, Answers, Edns, Flags, Hex, OptionText, Tlv, Tlvs, class_name, ede_name, option_name,
    type_name,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_with::skip_serializing_none;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

record_struct! {
    /// Fields that begin every record.
    #[skip_serializing_none]
    #[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
    pub struct RecordHead<'a> {
        /// Name of the record's schema, such as `dns.message/1`.
        pub schema: &'static str,
        /// Identifies the record within its stream, for all time.
        #[schemars(extend("x-ecs" = ["event.id"]))]
        pub event_id: EventId,
        /// Time of the event; the schema of each record says which event.
        #[schemars(extend("x-ecs" = ["@timestamp"]))]
        pub ts: Timestamp,
        /// Name of the node that made the record.
        #[schemars(extend("x-ecs" = ["host.name"]))]
        pub node: &'a str,
        /// Region of the node, if configured.
        #[schemars(extend("x-ecs" = ["host.geo.name"]))]
        pub region: Option<&'a str>,
        /// Labels that the operator gave the node, if any.
        #[schemars(extend("x-ecs" = ["labels"]))]
        pub labels: Option<&'a Labels>,
    }
}

/// [`RecordHead`] of a record that is read back.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OwnedRecordHead {
    /// Name of the record's schema, such as `dns.fleet/1`.
    pub schema: String,
    /// Identifies the record within its stream, for all time.
    pub event_id: EventId,
    /// Time of the event; the schema of each record says which event.
    pub ts: Timestamp,
    /// Name of the node or job that made the record.
    pub node: String,
    /// Region of the node, if configured.
    pub region: Option<String>,
    /// Labels that the operator gave the node, if any.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Static labels of a node, from the configuration: `environment`, `cluster` and so on.
pub type Labels = BTreeMap<String, String>;

record_struct! {
    /// Fields that end the records that belong to a process.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Default, Serialize, JsonSchema)]
    pub struct RecordTail<'a> {
        /// Process that sent or received the message; the schema of each record says which one.
        pub process: Option<ProcessFields<'a>>,
        /// Container of the process.
        pub container: Option<ContainerFields<'a>>,
        /// Kubernetes pod of the container.
        pub k8s: Option<K8sFields<'a>>,
        /// How the record was masked, if the configuration asks for masking.
        pub masking: Option<MaskingFields>,
    }
}

/// Serializes an optional value as the text that it displays.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(super) fn optional_text<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

record_struct! {
    /// One record of an answer section.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct AnswerFields<'a> {
        /// Owner name, case preserved.
        pub name: &'a str,
        /// Mnemonic.
        #[serde(rename = "type")]
        pub rtype: Cow<'static, str>,
        /// Mnemonic of the class, if not `IN`.
        pub class: Option<Cow<'static, str>>,
        /// Time to live in seconds.
        pub ttl: u32,
        /// Data in presentation form.
        pub data: &'a str,
    }
}

/// Records of an answer section, serialized one by one without a copy.
#[derive(Clone, Copy, Debug)]
pub struct AnswerList<'a>(pub &'a Answers);

impl Default for AnswerList<'_> {
    fn default() -> Self {
        Self(Answers::NONE)
    }
}

impl AnswerList<'_> {
    /// Returns true if the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl JsonValue for AnswerList<'_> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.list(self.0.iter().map(AnswerFields::of));
    }
}

impl Serialize for AnswerList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(AnswerFields::of))
    }
}

impl<'a> AnswerFields<'a> {
    fn of(answer: Answer<'a>) -> Self {
        /// Class IN (RFC 1035, 3.2.4).
        const IN: u16 = 1;
        Self {
            name: answer.name,
            rtype: type_name(answer.rtype),
            class: (answer.class != IN).then(|| class_name(answer.class)),
            ttl: answer.ttl_seconds,
            data: answer.data,
        }
    }
}

/// Names of the flags that are set, serialized one by one without a copy.
#[derive(Clone, Copy, Debug)]
pub struct FlagNames(pub Flags);

impl JsonValue for FlagNames {
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.list(self.0.names());
    }
}

impl Serialize for FlagNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.names())
    }
}

record_struct! {
    /// An OPT record.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct EdnsFields<'a> {
        /// UDP payload size of the sender in bytes.
        pub udp_size: u16,
        /// Flag DO: DNSSEC OK.
        #[serde(rename = "do")]
        pub dnssec_ok: bool,
        /// EDNS version.
        pub version: u8,
        /// Client subnet, `198.51.100.0/24`.
        pub ecs: Option<String>,
        /// Extended DNS error.
        pub ede: Option<EdeFields>,
        /// Name server identifier, hexadecimal.
        #[serde(serialize_with = "optional_text")]
        #[schemars(with = "Option<String>")]
        pub nsid: Option<Hex<'a>>,
        /// Cookie, hexadecimal.
        #[serde(serialize_with = "optional_text")]
        #[schemars(with = "Option<String>")]
        pub cookie: Option<Hex<'a>>,
        /// True if the flag CO is set: compact answers are accepted (RFC 9824).
        pub co: Option<bool>,
        /// Flags after DO and CO, if one is set: none has a meaning yet.
        pub z: Option<u16>,
        /// Owner of the OPT record, if it is not the root as required.
        pub owner: Option<String>,
        /// Number of OPT records in the message, if more than the one allowed; this is the first.
        pub opt_count: Option<u16>,
        /// All options in the message's order, those above included.
        #[serde(skip_serializing_if = "OptionList::is_empty")]
        #[schemars(default, with = "Vec<OptionFields<'a>>")]
        pub options: OptionList<'a>,
        /// Number of options that are left out, behind those in `options`, if the record would exceed
        /// `records.max_bytes`. The fields above have nothing of them.
        pub options_omitted: Option<u16>,
    }
}

impl<'a> EdnsFields<'a> {
    /// Flags with a name: DO and CO.
    const NAMED_FLAGS: u16 = 0xC000;

    /// Returns the fields of an OPT record, with the first options that fit into `max_bytes` as
    /// JSON.
    #[must_use]
    pub fn of(mut edns: Edns<'a>, max_bytes: usize) -> Self {
        let omitted = edns.limit_options(max_bytes);
        let unnamed = edns.flags & !Self::NAMED_FLAGS;
        Self {
            udp_size: edns.udp_size,
            dnssec_ok: edns.dnssec_ok(),
            version: edns.version,
            ecs: edns.ecs(),
            ede: edns.ede().map(|ede| EdeFields { code: ede.code, text: ede.text }),
            nsid: edns.nsid(),
            cookie: edns.cookie(),
            co: (edns.flags & 0x4000 != 0).then_some(true),
            z: (unnamed != 0).then_some(unnamed),
            owner: edns.owner.map(|owner| owner.text()),
            opt_count: (edns.records > 1).then_some(edns.records),
            options: OptionList(edns.options()),
            options_omitted: (omitted > 0).then_some(omitted),
        }
    }
}

/// Options of an OPT record, serialized one by one without a copy.
#[derive(Clone, Debug)]
pub struct OptionList<'a>(pub Tlvs<'a>);

impl Default for OptionList<'_> {
    fn default() -> Self {
        Self(Tlvs::new(&[]))
    }
}

impl OptionList<'_> {
    /// Returns true if the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.clone().next().is_none()
    }
}

impl JsonValue for OptionList<'_> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.list(self.0.clone().map(|option| OptionFields::of(&option)));
    }
}

impl Serialize for OptionList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone().map(|option| OptionFields::of(&option)))
    }
}

record_struct! {
    /// An EDNS option.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct OptionFields<'a> {
        /// OPTION-CODE.
        pub code: u16,
        /// Mnemonic; `OPT65001` for a code without one.
        pub name: Cow<'static, str>,
        /// OPTION-LENGTH: length of the data in bytes.
        pub length: u16,
        /// Data: client subnets and extended errors as text, others in hexadecimal; `\# 2 0a0b` if malformed or cut off.
        #[serde(serialize_with = "optional_text")]
        #[schemars(with = "Option<String>")]
        pub data: Option<OptionText<'a>>,
    }
}

impl<'a> OptionFields<'a> {
    fn of(option: &Tlv<'a>) -> Self {
        Self {
            code: option.code,
            name: option_name(option.code),
            length: option.length,
            data: option.option_text(),
        }
    }
}

record_struct! {
    /// A question after the first one.
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct QuestionFields {
        /// Name, in the form of `qname`.
        pub name: String,
        /// Mnemonic.
        #[serde(rename = "type")]
        pub qtype: Cow<'static, str>,
        /// Mnemonic.
        pub class: Cow<'static, str>,
    }
}

record_struct! {
    /// An extended DNS error (RFC 8914).
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct EdeFields {
        /// INFO-CODE.
        pub code: u16,
        /// EXTRA-TEXT.
        pub text: String,
    }
}

/// Writes `EDE 22 (No Reachable Authority): TEXT`.
impl Display for EdeFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EDE {}", self.code)?;
        if let Some(name) = ede_name(self.code) {
            write!(f, " ({name})")?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

record_struct! {
    /// Why a query could not be delivered (RFC 792, 1122, 1812; RFC 4443, 3.1).
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct IcmpFields {
        /// ICMP type: 3 in IPv4, 1 in IPv6; absent if the kernel reported an error that stands for
        /// several codes.
        #[serde(rename = "type")]
        pub kind: Option<u8>,
        /// ICMP code.
        pub code: Option<u8>,
        /// Meaning of type and code: `port_unreachable`, `host_unreachable`, `admin_prohibited` and so
        /// on.
        pub name: &'static str,
    }
}

record_struct! {
    /// Where the kernel discarded a message.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct LostAtFields<'a> {
        /// `query` or `response`: what was lost, of several the first.
        #[schemars(extend("enum" = ["query", "response"]))]
        pub message: &'static str,
        /// Part of the kernel: `socket`, `netfilter`, `policy` (XDP, traffic control, a cgroup's program, a security
        /// module, `IPsec`), `routing`, `neighbour`, `queue` (of traffic control), `device`, `checksum`, `other`.
        #[schemars(extend("enum" = [
            "socket", "netfilter", "policy", "routing", "neighbour", "queue", "device", "checksum",
            "other"
        ]))]
        pub stage: &'static str,
        /// The kernel's name of the reason (`enum skb_drop_reason`), such as `SOCKET_RCVBUFF`; a number for those of
        /// modules.
        pub reason: &'a str,
        /// The hook of netfilter, if that discarded it: `ingress`, `prerouting`, `input`, `forward`, `output`,
        /// `postrouting`, `egress`.
        #[schemars(extend("enum" = [
            "ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"
        ]))]
        pub hook: Option<&'static str>,
        /// The kernel's function that discarded it, if its symbols could be read.
        pub function: Option<&'a str>,
        /// Number of messages of the transaction that were lost, if more than one.
        pub count: Option<u32>,
    }
}

/// Where the kernel discarded a message, as read back from a record.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LostAt {
    /// `query` or `response`: what was lost, of several the first.
    pub message: String,
    /// Part of the kernel, as in `dns.transaction/1`.
    pub stage: String,
    /// The kernel's name of the reason, such as `SOCKET_RCVBUFF`.
    pub reason: String,
    /// The hook of netfilter, if that discarded it.
    pub hook: Option<String>,
    /// The kernel's function that discarded it, if known.
    pub function: Option<String>,
}

impl Display for LostAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { message, stage, reason, hook, function } = self;
        // A kernel that gives no reason still has its function.
        let reason = function.as_ref().filter(|_| reason == "NOT_SPECIFIED").unwrap_or(reason);
        let (slash, hook) = hook.as_deref().map_or(("", ""), |hook| ("/", hook));
        write!(f, "{message} lost at {stage}{slash}{hook}: {reason}")
    }
}

record_struct! {
    /// What a server that reports a message by dnstap says of itself and of it.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct DnstapFields<'a> {
        /// Name of the server.
        pub identity: Option<&'a str>,
        /// Version of the server.
        pub version: Option<&'a str>,
        /// The zone that the server looked in, or whose servers it asks.
        pub zone: Option<&'a str>,
        /// The policy that the server applied.
        pub policy: Option<PolicyFields<'a>>,
    }
}

record_struct! {
    /// A policy that a server applied to a message, such as a response policy zone.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct PolicyFields<'a> {
        /// Type of the policy: `RPZ`.
        #[serde(rename = "type")]
        pub kind: Option<&'a str>,
        /// The rule that matched; of an RPZ, its owner name.
        pub rule: Option<&'a str>,
        /// `NXDOMAIN`, `NODATA`, `PASS`, `DROP`, `TRUNCATE` or `LOCAL_DATA`.
        #[schemars(extend("enum" = ["NXDOMAIN", "NODATA", "PASS", "DROP", "TRUNCATE", "LOCAL_DATA"]))]
        pub action: Option<&'a str>,
        /// What the rule was compared with: `QNAME`, `CLIENT_IP`, `RESPONSE_IP`, `NS_NAME` or `NS_IP`.
        #[serde(rename = "match")]
        #[schemars(extend("enum" = ["QNAME", "CLIENT_IP", "RESPONSE_IP", "NS_NAME", "NS_IP"]))]
        pub matched: Option<&'a str>,
        /// The name or address that matched.
        pub value: Option<&'a str>,
    }
}

record_struct! {
    /// Times that messages spent on this host outside of what `latency_ms` has.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    pub struct PathFields {
        /// Client: time from its socket until the last device that took the query before it was routed on; of one that
        /// was sent again, the first.
        pub send_ms: Option<f64>,
        /// Time from the device to the socket: of the response at a client, of the query at a server.
        pub arrive_ms: Option<f64>,
        /// Time in the socket's queue until the process read it: of the response at a client, of the query at a
        /// server, where `latency_ms` includes it. At a client absent, too, if that took more than a second.
        pub read_ms: Option<f64>,
    }
}

record_struct! {
    /// A process.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct ProcessFields<'a> {
        /// Process id in the initial pid namespace.
        #[schemars(extend("x-ecs" = ["process.pid"]))]
        pub pid: u32,
        /// User id.
        #[schemars(extend("x-ecs" = ["process.user.id"]))]
        pub uid: u32,
        /// Name of the process.
        #[schemars(extend("x-ecs" = ["process.name"]))]
        pub comm: Cow<'a, str>,
        /// Path of the executable; absent if the process ended before it could be read.
        #[schemars(extend("x-ecs" = ["process.executable"]))]
        pub exe: Option<&'a str>,
    }
}

/// The processes of one name: a `process` without pid and user.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ProcessName<'a> {
    /// Name of the process.
    #[schemars(extend("x-ecs" = ["process.name"]))]
    pub comm: &'a str,
}

/// A `container` by its id alone.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ContainerId<'a> {
    /// Container id, 64 hex digits.
    #[schemars(extend("x-ecs" = ["container.id"]))]
    pub id: &'a str,
}

/// A `k8s` by the names of the pod alone.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct PodName<'a> {
    /// Namespace of the pod.
    #[schemars(extend("x-ecs" = ["orchestrator.namespace"]))]
    pub namespace: &'a str,
    /// Name of the pod.
    #[schemars(extend("x-ecs" = ["orchestrator.resource.name"]))]
    pub pod: &'a str,
}

impl<'a> PodName<'a> {
    /// Reads `namespace/pod`; any other text is the id of a container.
    #[must_use]
    pub fn or_container(path: Option<&'a str>) -> (Option<Self>, Option<ContainerId<'a>>) {
        match path.map(|path| (path, path.split_once('/'))) {
            Some((_, Some((namespace, pod)))) => (Some(Self { namespace, pod }), None),
            Some((id, None)) => (None, Some(ContainerId { id })),
            None => (None, None),
        }
    }
}

record_struct! {
    /// A container.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct ContainerFields<'a> {
        /// Container id, 64 hex digits.
        #[schemars(extend("x-ecs" = ["container.id"]))]
        pub id: &'a str,
        /// `docker`, `containerd`, `cri-o` or `podman`.
        #[schemars(extend("x-ecs" = ["container.runtime"]))]
        pub runtime: Option<&'static str>,
        /// Uid of the Kubernetes pod that contains the cgroup; for a static pod, the hash of its
        /// manifest. Present without `k8s` if the names of the pod were unknown, or not known yet.
        #[schemars(extend("x-ecs" = ["orchestrator.resource.id"]))]
        pub pod_uid: Option<&'a str>,
    }
}

record_struct! {
    /// A Kubernetes pod.
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct K8sFields<'a> {
        /// Namespace of the pod.
        #[schemars(extend("x-ecs" = ["orchestrator.namespace"]))]
        pub namespace: &'a str,
        /// Name of the pod.
        #[schemars(extend("x-ecs" = ["orchestrator.resource.name"]))]
        pub pod: &'a str,
        /// Name of the container in the pod; absent if the API had not reported the container's id yet
        /// and the pod has several containers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(extend("x-ecs" = ["container.name"]))]
        pub container: Option<&'a str>,
        /// Kind of the workload that created the pod: `Deployment`, `StatefulSet`, `DaemonSet`, `Job`,
        /// `CronJob` and so on; for a static pod, `Node`. Absent if nothing created it.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(extend("x-ecs" = ["orchestrator.resource.parent.type"]))]
        pub workload_kind: Option<&'a str>,
        /// Name of that workload.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub workload: Option<&'a str>,
        /// Labels of the pod that `kubernetes.labels` selects.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub labels: Option<&'a BTreeMap<String, String>>,
    }
}
