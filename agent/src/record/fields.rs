//! What several records have in common.

use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

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
    pub ecs: Option<&'a str>,
    /// Extended DNS error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ede: Option<EdeFields<'a>>,
    /// Name server identifier, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsid: Option<&'a str>,
    /// Cookie, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<&'a str>,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EdeFields<'a> {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT.
    pub text: &'a str,
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
}
