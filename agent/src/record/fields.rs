//! What several records have in common.

use crate::decode::dns::{
    Answer, Answers, Edns, Flags, Hex, OptionText, TypedOctets, TypedOctetsList, class_name,
    option_name, type_name,
};
use crate::enrich::{Container, Place, Runtime};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One record of an answer section.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AnswerFields<'a> {
    /// Owner, its case kept.
    pub name: &'a str,
    /// Mnemonic.
    #[serde(rename = "type")]
    pub rtype: Cow<'static, str>,
    /// Mnemonic, where it is another than `IN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Cow<'static, str>>,
    /// Seconds.
    pub ttl: u32,
    /// Presentation form.
    pub data: &'a str,
}

/// The records of an answer section, each written when the record is.
#[derive(Clone, Copy, Debug)]
pub struct AnswerList<'a>(pub &'a Answers);

impl Default for AnswerList<'_> {
    fn default() -> Self {
        Self(Answers::NONE)
    }
}

impl AnswerList<'_> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for AnswerList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(AnswerFields::of))
    }
}

impl<'a> AnswerFields<'a> {
    fn of(answer: Answer<'a>) -> Self {
        /// The class of the Internet (RFC 1035, 3.2.4).
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

/// The names of the flags that are set, each written when the record is.
#[derive(Clone, Copy, Debug)]
pub struct FlagNames(pub Flags);

impl FlagNames {
    /// Whether the message was cut to fit (RFC 2181, 9).
    #[must_use]
    pub const fn truncated(self) -> bool {
        self.0.truncated()
    }
}

impl Serialize for FlagNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.names())
    }
}

/// An OPT record.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EdnsFields<'a> {
    /// The sender's UDP payload size in octets.
    pub udp_size: u16,
    /// DNSSEC OK.
    #[serde(rename = "do")]
    pub dnssec_ok: bool,
    /// EDNS version.
    pub version: u8,
    /// Client subnet, `198.51.100.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs: Option<String>,
    /// Extended DNS error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ede: Option<EdeFields>,
    /// Name server identifier, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub nsid: Option<Hex<'a>>,
    /// Cookie, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub cookie: Option<Hex<'a>>,
    /// True where compact answers are welcome (RFC 9824).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub co: Option<bool>,
    /// The flags behind DO and CO, where one is set: nobody has given them a meaning yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z: Option<u16>,
    /// The OPT record's owner, where it is not the root that it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// OPT records in the message, where it is more than the one that is allowed: this is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_count: Option<u16>,
    /// Every option, in the message's order, those above too.
    #[serde(skip_serializing_if = "OptionList::is_empty")]
    #[schemars(default, with = "Vec<OptionFields<'a>>")]
    pub options: OptionList<'a>,
}

impl<'a> EdnsFields<'a> {
    /// Flags that have a meaning: DO and CO.
    const NAMED_FLAGS: u16 = 0xC000;

    pub(super) fn of(edns: &Edns<'a>) -> Self {
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
        }
    }
}

/// The options of an OPT record, each written when the record is.
#[derive(Clone, Debug)]
pub struct OptionList<'a>(pub TypedOctetsList<'a>);

impl Default for OptionList<'_> {
    fn default() -> Self {
        Self(TypedOctetsList::of(&[]))
    }
}

impl OptionList<'_> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.clone().next().is_none()
    }
}

impl Serialize for OptionList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone().map(|option| OptionFields::of(&option)))
    }
}

/// An EDNS option.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OptionFields<'a> {
    /// OPTION-CODE.
    pub code: u16,
    /// Mnemonic; `OPT65001` for a code without one.
    pub name: Cow<'static, str>,
    /// OPTION-LENGTH in octets.
    pub length: u16,
    /// Its data, as text where the option has a form of its own, else in hexadecimal; `\# 2 0a0b`
    /// where it makes no sense or is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub data: Option<OptionText<'a>>,
}

impl<'a> OptionFields<'a> {
    fn of(option: &TypedOctets<'a>) -> Self {
        Self {
            code: option.code,
            name: option_name(option.code),
            length: option.length,
            data: option.option_text(),
        }
    }
}

/// A TLV of a DSO message (RFC 8490).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DsoFields {
    /// DSO-TYPE.
    pub code: u16,
    /// Mnemonic; `DSO63488` for a code without one.
    pub name: Cow<'static, str>,
    /// DSO-LENGTH in octets.
    pub length: u16,
    /// Its data: milliseconds where it is timers, else hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A question behind the first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QuestionFields {
    /// As `qname`.
    pub name: String,
    /// Mnemonic.
    #[serde(rename = "type")]
    pub qtype: Cow<'static, str>,
    /// Mnemonic.
    pub class: Cow<'static, str>,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EdeFields {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT.
    pub text: String,
}

/// Why a query could not arrive (RFC 792, 1122, 1812; RFC 4443, 3.1).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IcmpFields {
    /// ICMP's type: 3 in IPv4, 1 in IPv6; absent where the kernel told an error that stands for
    /// several codes.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    /// ICMP's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// What they mean: `port_unreachable`, `host_unreachable`, `admin_prohibited` and so on.
    pub name: &'static str,
}

/// A process.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProcessFields<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// The process's name.
    pub comm: Cow<'a, str>,
    /// The executable's path; absent where the process was gone before it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<&'a str>,
}

/// A container.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ContainerFields<'a> {
    /// 64 hex digits.
    pub id: &'a str,
    /// `docker`, `containerd`, `cri-o` or `podman`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<&'static str>,
    /// The uid of the Kubernetes pod that its cgroup is in; of a pod from a static manifest, the hash of
    /// that. There without `k8s` where the pod's names were not known, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<&'a str>,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct K8sFields<'a> {
    /// Where the pod is.
    pub namespace: &'a str,
    /// Its name.
    pub pod: &'a str,
    /// The container's name in the pod; absent where the API had not told its id yet, and the pod has
    /// several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<&'a str>,
    /// What made the pod: `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob` and so on; for a
    /// pod from a static manifest, `Node`. Absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_kind: Option<&'a str>,
    /// The name of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<&'a str>,
    /// Those of the pod's labels that `kubernetes.labels` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl<'a> ContainerFields<'a> {
    /// A container, as far as its cgroup and its place tell.
    #[must_use]
    pub fn of(container: &'a Container, place: Option<&Place>) -> Self {
        let runtime = container.runtime.or_else(|| place?.runtime);
        Self {
            id: &container.id,
            runtime: runtime.map(Runtime::name),
            pod_uid: container.pod_uid.as_deref(),
        }
    }
}

impl<'a> From<&'a Place> for K8sFields<'a> {
    fn from(place: &'a Place) -> Self {
        let pod = &*place.pod;
        let workload = pod.workload.as_ref();
        Self {
            namespace: &pod.namespace,
            pod: &pod.name,
            container: place.container.as_deref(),
            workload_kind: workload.map(|workload| &*workload.kind),
            workload: workload.map(|workload| &*workload.name),
            labels: Some(&pod.labels).filter(|labels| !labels.is_empty()),
        }
    }
}
