//! Sections `capture`, `sampling`, `pairing`, `encrypted`, and `windows`: the settings of the
//! stages from capture to windows.

use super::DnstapPlace;
use super::layer::Layer;
use crate::capture::dnstap::{DnstapAddress, DnstapTls};
use crate::capture::live::{HookChoice, ListenerPlace, LiveOptions};
use dnscribe_analysis::window::{GroupingSet, WindowKind, WindowKindSet, WindowOptions};
use dnscribe_common::flow::MAX_RINGS;
use dnscribe_config::value::{Count, PositiveSpan, Span, Switch, read_bytes, show_bytes};
use dnscribe_config::{ConfigError, section, value};
use dnscribe_record::named_enum;
use dnscribe_transaction::encrypted::ConnectionOptions;
use dnscribe_transaction::packet::encrypted::{ENCRYPTED_PORT, Encrypted, HTTPS_PORT, Prefix};
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::pair::PairOptions;
use std::path::PathBuf;
use std::time::Duration;

/// Capacity of the eBPF map of resolvers.
const MAX_RESOLVERS: usize = dnscribe_common::RESOLVERS as usize;

section! {
    /// Section `capture`.
    CaptureLayer {
        /// Where programs are attached: cgroup (every socket, with its process), socket (packets of
        /// interfaces), or auto, the first of them that works.
        text hook: Option<HookChoice> = default(HookChoice::Auto),
        /// Cgroup that is watched with hook cgroup, absolute or relative to the cgroup2 mount.
        /// Default: the root, which contains every process.
        text cgroup: Option<PathBuf> = example("kubepods.slice"),
        /// Interfaces that are watched with hook socket. Default: all.
        items interfaces: Option<Vec<InterfaceName>> = example("[eth0]"),
        /// Addresses at which servers send dnstap: unix:PATH, tcp:ADDRESS:PORT or tls:ADDRESS:PORT. It takes the place
        /// of programs that are attached, unless hook, cgroup or interfaces are given: then what both see
        /// becomes one. Default: none.
        items dnstap: Option<Vec<DnstapAddress>> = example("[\"unix:/run/dnscribe/dnstap.sock\"]"),
        /// Files of the addresses with tls.
        section dnstap_tls: DnstapTlsLayer,
        /// Whether connections are captured that processes open, beside DNS, and matched to the lookups
        /// that they use: the stream uses, which sinks then get by default. Needs hook cgroup.
        text connections: Option<Switch> = default(false),
        /// Whether the way of DNS messages over UDP through this host is captured: lost_at in transactions
        /// where the kernel discarded one, with its reason (Linux 5.17), and path, with the time until
        /// they were sent and read. Needs hook cgroup at the root of the hierarchy.
        text path: Option<Switch> = default(false),
        /// Ports of DNS: 1 to 65535.
        joined ports: Option<PortSet> = shown(format!("[{}]", PortSet::default())),
        /// Number of threads that read packets: 1 to 16. Default: one for every four CPUs, from 1 to
        /// 4.
        text threads: Option<Threads> = example("2"),
        /// Niceness of these threads while their rings have free space, so that servers get the CPU
        /// first: 0 to 19.
        text nice: Option<Nice> = default(10),
        /// Size of the ring buffers between kernel and agent, of all threads together: a power of two
        /// from 64KiB to 1GiB.
        text ring_bytes: Option<RingBytes> = default(LiveOptions::default().ring_bytes),
        /// Bytes that are captured of each packet: 128 to 131072.
        text snap_bytes: Option<SnapBytes> = default(LiveOptions::default().snap_bytes),
    }
}

section! {
    /// Section `capture.dnstap_tls`.
    DnstapTlsLayer {
        /// Certificate of this host with its chain, in PEM.
        text cert_file: Option<PathBuf> = example("/etc/dnscribe/dnstap.pem"),
        /// Key of the certificate, in PEM.
        text key_file: Option<PathBuf> = example("/etc/dnscribe/dnstap.key"),
        /// Authorities of the senders' certificates, in PEM. Where it is given, only senders with such a certificate are
        /// accepted. Default: none, and every sender is.
        text client_ca_file: Option<PathBuf> = example("/etc/dnscribe/dnstap-clients.pem"),
    }
}

section! {
    /// Section `sampling`.
    SamplingLayer {
        /// Behaviour under overload: auto samples UDP transactions and counts those that are left
        /// out; off lets the ring buffer fill, and packets are lost.
        text mode: Option<SamplingMode> = default(SamplingMode::Auto),
        /// Least share of transactions that is exported under overload: 0.0001 to 1.
        text floor: Option<SamplingFloor> = default(0.01),
    }
}

section! {
    /// Section `pairing`.
    PairingLayer {
        /// Time that a query waits for its response.
        text query_timeout: Option<PositiveSpan> = default(PairOptions::default().query_timeout),
        /// Number of queries that may wait at a time; each takes up to 1 KiB of memory.
        text max_transactions: Option<Count> = default(PairOptions::default().max_transactions),
    }
}

section! {
    /// Section `encrypted`.
    EncryptedLayer {
        /// Ports of DNS over TLS and QUIC, at any address: 1 to 65535.
        joined ports: Option<PortSet> = shown(format!("[{ENCRYPTED_PORT}]")),
        /// Ports of DNS over HTTPS, at the addresses of `resolvers` only: 1 to 65535.
        joined https_ports: Option<PortSet> = shown(format!("[{HTTPS_PORT}]")),
        /// Addresses and prefixes of resolvers that offer DNS over HTTPS, at most 1024. Default:
        /// none.
        items resolvers: Option<Vec<Prefix>> = example("[192.0.2.53, \"2001:db8:53::/48\"]"),
        /// Time without packets after which a TCP connection is over.
        text idle_timeout: Option<PositiveSpan> = default(ConnectionOptions::default().idle_timeout),
        /// Time without packets after which a QUIC connection is over; its end is encrypted.
        text quic_idle_timeout: Option<PositiveSpan> = default(ConnectionOptions::default().quic_idle_timeout),
        /// Interval at which an open connection is reported.
        text report_every: Option<PositiveSpan> = default(ConnectionOptions::default().report_every),
        /// Number of connections that are followed at a time; each takes about 700 bytes.
        text max_connections: Option<Count> = default(ConnectionOptions::default().max_connections),
    }
}

section! {
    /// Section `windows`.
    WindowsLayer {
        /// Kinds of window: 10s, 1m, 5m, and 1m/10s, which is a minute that slides by ten seconds.
        joined spans: Option<WindowKindSet> = shown(format!("[{}]", WindowKind::ALL.map(WindowKind::name).join(", "))),
        /// Groupings of the aggregates: these, and resolver+zone, which is off by default.
        joined groupings: Option<GroupingSet> = shown("[node, resolver, zone, qtype, process, pod]"),
        /// Time, beyond the query timeout, that a window waits for its transactions.
        text lateness: Option<Span> = default(Duration::from_secs(1)),
    }
}

named_enum! {
    /// Behaviour under overload.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SamplingMode: "a mode of sampling", "give one of" {
        /// UDP transactions are sampled.
        Auto = "auto",
        /// The ring buffer fills, and packets are lost.
        Off = "off",
    }
}

value! {
    /// Name of an interface, as the kernel accepts it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    InterfaceName(String): "the name of an interface", "1 to 15 bytes without spaces, / and :, such as eth0";
    |text| {
        let is_legal = |letter: char| !letter.is_control() && !letter.is_whitespace() && !"/:".contains(letter);
        ((1..=15).contains(&text.len()) && text.chars().all(is_legal)).then(|| text.to_owned())
    }
}

value! {
    /// Number of threads that read packets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Threads(u32): "a number of threads", &format!("1 to {MAX_RINGS}, such as 4");
    |text| text.parse().ok().filter(|threads| (1..=MAX_RINGS).contains(threads))
}

impl Threads {
    /// One thread for every four CPUs, from 1 to 4. One more thread makes records from what they
    /// read, and four are enough to keep it busy.
    #[must_use]
    pub fn of_this_host() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self::for_cpus(cpus)
    }

    fn for_cpus(cpus: usize) -> Self {
        Self(u32::try_from(cpus / 4).unwrap_or(u32::MAX).clamp(1, 4))
    }
}

value! {
    /// Niceness of a thread (`setpriority(2)`) that needs no privilege.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Nice(u8): "a niceness", "0 to 19, such as 10";
    |text| text.parse().ok().filter(|nice| (0..=19).contains(nice));
    ToString::to_string
}

value! {
    /// Size of the ring buffers in bytes: a power of two, as the kernel requires.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    RingBytes(u32): "a ring size", "a power of two from 64KiB to 1GiB, such as 16MiB";
    |text| {
        let size = u32::try_from(read_bytes(text)?).ok()?;
        (size.is_power_of_two() && (64 << 10..=1 << 30).contains(&size)).then_some(size)
    };
    |size| show_bytes((*size).into())
}

value! {
    /// Bytes that are captured of each packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    SnapBytes(u32): "a snap length", "from 128 to 131072 bytes, such as 4096";
    |text| u32::try_from(read_bytes(text)?).ok().filter(|size| (128..=131_072).contains(size));
    ToString::to_string
}

value! {
    /// Least share of transactions that is exported under overload.
    #[derive(Clone, Copy, Debug, PartialEq)]
    SamplingFloor(f64): "a share", "0.0001 to 1, such as 0.01";
    |text| text.parse().ok().filter(|share| (0.0001..=1.0).contains(share));
    ToString::to_string
}

impl EncryptedLayer {
    /// Whether it names ports or resolvers.
    pub(super) const fn has_targets(&self) -> bool {
        self.ports.is_some() || self.https_ports.is_some() || self.resolvers.is_some()
    }
}

/// Returns what dnstap is captured with: a hook that is given, or none.
pub(super) fn place(capture: &CaptureLayer) -> DnstapPlace {
    let has_hook =
        capture.hook.is_some() || capture.cgroup.is_some() || capture.interfaces.is_some();
    if has_hook && capture.dnstap.as_ref().is_some_and(|addresses| !addresses.is_empty()) {
        DnstapPlace::BesideHook
    } else {
        DnstapPlace::InsteadOfHook
    }
}

/// Returns the files of the addresses for dnstap with TLS, which need them.
pub(super) fn dnstap_tls(capture: &CaptureLayer) -> Result<Option<DnstapTls>, ConfigError> {
    let addresses = capture.dnstap.iter().flatten();
    let is_wanted = addresses.into_iter().any(|one| matches!(one, DnstapAddress::Tls(_)));
    let DnstapTlsLayer { cert_file, key_file, client_ca_file } = capture.dnstap_tls.clone();
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => {
            Ok(Some(DnstapTls { cert_file, key_file, client_ca_file }))
        }
        (None, None) if !is_wanted && client_ca_file.is_none() => Ok(None),
        (None, None) if is_wanted && client_ca_file.is_none() => ConfigError::in_section(
            "capture.dnstap",
            "tls: needs a certificate: give cert_file and key_file in capture.dnstap_tls",
        ),
        _ => ConfigError::in_section("capture.dnstap_tls", "give both cert_file and key_file"),
    }
}

/// Returns the options of live capture. `has_encrypted`: connections of encrypted DNS are followed; `connects`:
/// those that processes open.
pub(super) fn live_options(
    layer: &Layer,
    has_encrypted: bool,
    connects: bool,
) -> Result<LiveOptions, ConfigError> {
    let (capture, sampling) = (&layer.capture, &layer.sampling);
    let ports = capture.ports.clone().unwrap_or_default();
    let is_dnstap = capture.dnstap.as_ref().is_some_and(|addresses| !addresses.is_empty());
    let has_hook = !is_dnstap || place(capture) == DnstapPlace::BesideHook;
    if connects && !has_hook {
        return ConfigError::in_section(
            "capture.connections",
            "servers that send dnstap report no connections: give hook: cgroup beside it, or leave out connections and \
             the stream uses",
        );
    }
    if connects && capture.hook == Some(HookChoice::Socket) {
        return ConfigError::in_section(
            "capture.connections",
            "hook socket sees no connections: leave out hook, or connections and the stream uses",
        );
    }
    let path = capture.path().0;
    if path && is_dnstap {
        return ConfigError::in_section(
            "capture.path",
            "servers that send dnstap know nothing of lost packets, also beside a hook: leave out path, or dnstap",
        );
    }
    if path && (capture.hook == Some(HookChoice::Socket) || capture.cgroup.is_some()) {
        return ConfigError::in_section(
            "capture.path",
            "needs hook cgroup for the whole host: leave out hook and cgroup, or path",
        );
    }
    let interfaces = capture.interfaces.iter().flatten();
    let interfaces: Vec<String> = interfaces.map(|InterfaceName(name)| name.clone()).collect();
    if capture.cgroup.is_some()
        && (capture.hook == Some(HookChoice::Socket) || !interfaces.is_empty())
    {
        return ConfigError::in_section(
            "capture.cgroup",
            "hook socket, which sees interfaces, knows no cgroups: leave out cgroup, or hook and interfaces",
        );
    }
    if !interfaces.is_empty() && capture.hook == Some(HookChoice::Cgroup) {
        return ConfigError::in_section(
            "capture.interfaces",
            "hook cgroup sees every socket, whatever the interface: leave out interfaces, or hook",
        );
    }
    let encrypted = has_encrypted.then(|| encrypted(&layer.encrypted, &ports)).transpose()?;
    Ok(LiveOptions {
        hook: capture.hook(),
        cgroup: capture.cgroup.clone(),
        interfaces,
        ports,
        encrypted,
        // Each sender of dnstap has a thread of its own.
        rings: if has_hook { capture.threads.unwrap_or_else(Threads::of_this_host).0 } else { 1 },
        nice: capture.nice().0,
        ring_bytes: capture.ring_bytes().0,
        snap_bytes: capture.snap_bytes().0,
        sampling_floor: (sampling.mode() == SamplingMode::Auto).then(|| sampling.floor().0),
        connects,
        path,
        icmp: ListenerPlace::default(),
    })
}

/// Returns where connections of encrypted DNS are found.
fn encrypted(layer: &EncryptedLayer, dns: &PortSet) -> Result<Encrypted, ConfigError> {
    let ports = |given: &Option<PortSet>, default: u16| match given {
        Some(ports) => ports.iter().collect(),
        None => vec![default],
    };
    let resolvers = layer.resolvers.clone().unwrap_or_default();
    let given = resolvers.len();
    if given > MAX_RESOLVERS {
        return ConfigError::in_section(
            "encrypted.resolvers",
            format!(
                "{given} addresses and prefixes are too many: give {MAX_RESOLVERS} at most, such as one \
                 prefix for several addresses"
            ),
        );
    }
    let own = ports(&layer.ports, ENCRYPTED_PORT);
    Ok(Encrypted::new(dns, &own, &ports(&layer.https_ports, HTTPS_PORT), resolvers))
}

/// Returns the options of pairing.
pub(super) fn pairing(layer: &PairingLayer) -> PairOptions {
    PairOptions {
        query_timeout: layer.query_timeout().0,
        max_transactions: layer.max_transactions().0,
    }
}

/// Returns the options of connections. An attempt to connect waits as long as a query.
pub(super) fn connecting(layer: &EncryptedLayer, query_timeout: Duration) -> ConnectionOptions {
    ConnectionOptions {
        answer_timeout: query_timeout,
        idle_timeout: layer.idle_timeout().0,
        quic_idle_timeout: layer.quic_idle_timeout().0,
        report_every: layer.report_every().0,
        max_connections: layer.max_connections().0,
        ..ConnectionOptions::default()
    }
}

/// Returns the options of windows. The outcome of a query is known when its timeout is over and expiry
/// has found it.
pub(super) fn windows(layer: &WindowsLayer, query_timeout: Duration) -> WindowOptions {
    let default = WindowOptions::DEFAULT;
    WindowOptions {
        lateness: layer.lateness().0 + query_timeout,
        spans: layer.spans.unwrap_or(default.spans),
        groupings: layer.groupings.unwrap_or(default.groupings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_and_words() {
        assert_eq!("16MiB".parse(), Ok(RingBytes(16 << 20)));
        assert_eq!("65536".parse(), Ok(RingBytes(65_536)));
        assert!("100000".parse::<RingBytes>().is_err() && "2GiB".parse::<RingBytes>().is_err());
        assert_eq!("4096".parse(), Ok(SnapBytes(4096)));
        assert!("12".parse::<SnapBytes>().is_err() && "x".parse::<SnapBytes>().is_err());
        assert_eq!("socket".parse(), Ok(HookChoice::Socket));
        let why = "kprobe".parse::<HookChoice>().unwrap_err().to_string();
        assert_eq!(why, "\"kprobe\" is not a hook: give one of auto cgroup socket");
        assert_eq!([1, 8, 64].map(|cpus| Threads::for_cpus(cpus).0), [1, 2, 4]);
    }
}
