//! Settings of the programs before loading. Starts with the best features, and disables one at a time that the
//! kernel refuses.

use super::btf::Btf;
use super::drops;
use dnscribe_common::globals::{
    NETNS_BTF, NETNS_HELPER, NETNS_NONE, SETTINGS, Setting, TASK_BTF, TASK_HELPERS, TASK_NONE,
    TASK_TYPED,
};
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED, PORT_HTTPS, PORT_WORDS};
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::ports::PortSet;

/// Values of the global `SETTINGS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Words of the programs' global `SETTINGS`.
    pub words: [u32; SETTINGS],
    task_by_btf: bool,
    netns_by_btf: bool,
    /// Whether the fields that the tracepoint program reads are known.
    pub socket_errors: bool,
}

/// What the programs can read if they know all fields of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feature {
    /// The lock of a socket.
    Lock,
    /// The network namespace of a socket.
    Netns,
    /// The current task.
    Task,
    /// The parent of the current task.
    Parent,
    /// A socket's error.
    SocketError,
    /// A packet of the kernel.
    Packet,
    /// A socket's cookie.
    Cookie,
    /// What a TCP socket has received, and which calls it asks for.
    Tcp,
    /// IPv6: without it in the kernel these fields are missing, and never read.
    Ipv6,
}

/// Kernel fields that the programs read by offset.
const FIELDS: [(Feature, Setting, &str, &[&str]); 35] = [
    (Feature::Lock, Setting::SockOwned, "sock", &["sk_lock", "owned"]),
    (Feature::Netns, Setting::SockNet, "sock", &["__sk_common", "skc_net"]),
    (Feature::Netns, Setting::NetCookie, "net", &["net_cookie"]),
    (Feature::Task, Setting::TaskTgid, "task_struct", &["tgid"]),
    (Feature::Task, Setting::TaskLeader, "task_struct", &["group_leader"]),
    (Feature::Task, Setting::TaskComm, "task_struct", &["comm"]),
    (Feature::Parent, Setting::TaskStart, "task_struct", &["start_boottime"]),
    (Feature::Task, Setting::TaskCred, "task_struct", &["cred"]),
    (Feature::Parent, Setting::TaskParent, "task_struct", &["real_parent"]),
    (Feature::Parent, Setting::TaskMm, "task_struct", &["mm"]),
    (Feature::Parent, Setting::MmExe, "mm_struct", &["exe_file"]),
    (Feature::Task, Setting::CredUid, "cred", &["uid"]),
    (Feature::SocketError, Setting::SockFamily, "sock", &["__sk_common", "skc_family"]),
    (Feature::SocketError, Setting::SockRemotePort, "sock", &["__sk_common", "skc_dport"]),
    (Feature::SocketError, Setting::SockLocalPort, "sock", &["__sk_common", "skc_num"]),
    (Feature::SocketError, Setting::SockRemote4, "sock", &["__sk_common", "skc_daddr"]),
    (Feature::SocketError, Setting::SockLocal4, "sock", &["__sk_common", "skc_rcv_saddr"]),
    (Feature::Ipv6, Setting::SockRemote6, "sock", &["__sk_common", "skc_v6_daddr"]),
    (Feature::Ipv6, Setting::SockLocal6, "sock", &["__sk_common", "skc_v6_rcv_saddr"]),
    (Feature::SocketError, Setting::SockError, "sock", &["sk_err"]),
    (Feature::SocketError, Setting::SockState, "sock", &["__sk_common", "skc_state"]),
    (Feature::SocketError, Setting::SockProtocol, "sock", &["sk_protocol"]),
    (Feature::Cookie, Setting::SockCookie, "sock", &["__sk_common", "skc_cookie"]),
    (Feature::Tcp, Setting::TcpReceived, "tcp_sock", &["bytes_received"]),
    (Feature::Tcp, Setting::TcpCallbacks, "tcp_sock", &["bpf_sock_ops_cb_flags"]),
    (Feature::Packet, Setting::SkbHead, "sk_buff", &["head"]),
    (Feature::Packet, Setting::SkbData, "sk_buff", &["data"]),
    (Feature::Packet, Setting::SkbMac, "sk_buff", &["mac_header"]),
    (Feature::Packet, Setting::SkbNetwork, "sk_buff", &["network_header"]),
    (Feature::Packet, Setting::SkbTail, "sk_buff", &["tail"]),
    (Feature::Packet, Setting::SkbProtocol, "sk_buff", &["protocol"]),
    (Feature::Packet, Setting::SkbSock, "sk_buff", &["sk"]),
    (Feature::Packet, Setting::SkbDevice, "sk_buff", &["dev"]),
    (Feature::Packet, Setting::DeviceNet, "net_device", &["nd_net", "net"]),
    (Feature::Packet, Setting::DeviceIndex, "net_device", &["ifindex"]),
];

impl Settings {
    /// Creates the best settings that the kernel's types allow.
    pub fn best(snap_bytes: u32, rings: u32, btf: Option<&Btf>) -> Self {
        let mut settings = Self {
            words: [0; SETTINGS],
            task_by_btf: false,
            netns_by_btf: false,
            socket_errors: false,
        };
        settings.set(Setting::Snap, snap_bytes);
        settings.set(Setting::Rings, rings);
        settings.set(Setting::Task, TASK_HELPERS);
        settings.set(Setting::HookTask, TASK_HELPERS);
        settings.set(Setting::Netns, NETNS_HELPER);
        settings.set(Setting::CgroupId, 1);
        settings.set(Setting::Direct, 1);
        let Some(btf) = btf else { return settings };
        let mut missing = Vec::new();
        for (feature, setting, of, path) in FIELDS {
            match btf.offset(of, path) {
                Some(offset) => settings.set(setting, offset),
                None => missing.push((feature, setting)),
            }
        }
        let has = |wanted| missing.iter().all(|(feature, _)| *feature != wanted);
        if missing.iter().any(|(_, setting)| *setting == Setting::TaskComm) {
            settings.set(Setting::TaskLeader, 0);
        }
        settings.task_by_btf = has(Feature::Task);
        if !settings.task_by_btf || !has(Feature::Parent) {
            settings.set(Setting::MmExe, 0);
        }
        // The name is read as two words.
        if settings.task_by_btf && settings.get(Setting::TaskComm).is_multiple_of(8) {
            settings.set(Setting::Task, TASK_TYPED);
            settings.set(Setting::HookTask, TASK_TYPED);
        }
        settings.set(Setting::SockTyped, u32::from(has(Feature::Lock)));
        settings.netns_by_btf = has(Feature::Netns);
        settings.socket_errors = settings.netns_by_btf && has(Feature::SocketError);
        if !settings.socket_errors || !has(Feature::Packet) {
            settings.set(Setting::DeviceNet, 0);
        }
        if !has(Feature::Tcp) {
            settings.set(Setting::TcpCallbacks, 0);
        }
        settings
    }

    /// Sets whether the programs record connections.
    pub fn record_connects(&mut self, connects: bool) {
        self.set(Setting::Connects, u32::from(connects));
        self.set(Setting::FirstChosenPort, first_chosen_port());
    }

    /// Sets whether the programs record the path of packets.
    pub fn record_path(&mut self, path: bool) {
        self.set(Setting::Path, u32::from(path));
    }

    /// Returns whether the programs record connections.
    pub fn records_connects(&self) -> bool {
        self.get(Setting::Connects) != 0
    }

    /// Returns whether the fields are known that programs for packets read which the kernel discards or sends.
    pub fn knows_packets(&self) -> bool {
        self.get(Setting::DeviceNet) != 0
    }

    /// Lets the programs do without what they need for datagrams that are discarded.
    pub fn forget_cookies(&mut self) {
        self.set(Setting::SockCookie, 0);
    }

    /// Sets the reasons to discard a packet that the programs know.
    pub fn set_reasons(&mut self, reasons: &drops::Reasons) {
        self.set(Setting::ReasonNetfilter, reasons.number(drops::NETFILTER));
        self.set(Setting::ReasonOtherHost, reasons.number(drops::OTHER_HOST));
    }

    /// Lets the programs do without the error of a socket, as under lockdown. Returns `false` if they do already.
    pub fn forget_socket_error(&mut self) -> bool {
        let is_read = self.get(Setting::SockError) != 0;
        self.set(Setting::SockError, 0);
        is_read
    }

    /// Enables reads of packets through typed pointers in the tap, if the kernel's types allow it.
    pub fn enable_typed_packets(&mut self, btf: &Btf) {
        let skb = |member| btf.offset("sk_buff", &[member]);
        let found = [
            (Setting::SkbLen, skb("len")),
            (Setting::SkbDataLen, skb("data_len")),
            (Setting::SkbData, skb("data")),
            (Setting::TypeIp4, btf.structure("iphdr")),
            (Setting::TypeIp6, btf.structure("ipv6hdr")),
            (Setting::TypeTcp, btf.structure("tcphdr")),
        ];
        for (setting, number) in found {
            let Some(number) = number else { return };
            self.set(setting, number);
        }
        self.set(Setting::SkbTyped, 1);
    }

    /// Returns whether the tap reads packets through typed pointers.
    pub fn has_typed_packets(&self) -> bool {
        self.get(Setting::SkbTyped) != 0
    }

    /// Returns whether `cgroup_skb` can read the current task.
    pub fn knows_sender(&self) -> bool {
        self.get(Setting::Task) != TASK_NONE
    }

    /// Returns whether `cgroup_skb` can read the network namespace.
    pub fn knows_network(&self) -> bool {
        self.get(Setting::Netns) != NETNS_NONE
    }

    /// Disables the feature that the verifier's error `log` names. Returns `false` if none is left.
    pub fn degrade(&mut self, hook_program: bool, log: &str) -> bool {
        let task = if hook_program { Setting::HookTask } else { Setting::Task };
        let reads_parent = log.contains("bpf_probe_read")
            || log.contains("bpf_get_current_task#")
            || log.contains("bpf_ktime_get_boot_ns");
        if reads_parent && self.get(Setting::MmExe) != 0 {
            // The least loss: executables of forked processes that end at once.
            self.set(Setting::MmExe, 0);
        } else if log.contains("bpf_get_netns_cookie") && self.get(Setting::Netns) == NETNS_HELPER {
            let next = if self.netns_by_btf { NETNS_BTF } else { NETNS_NONE };
            self.set(Setting::Netns, next);
        } else if log.contains("bpf_skb_cgroup_id") && self.get(Setting::CgroupId) != 0 {
            self.set(Setting::CgroupId, 0);
        } else if log.contains("bpf_get_current_task")
            && self.get(task) == TASK_HELPERS
            && self.get(Setting::TaskLeader) != 0
        {
            self.set(Setting::TaskLeader, 0);
            self.task_by_btf = false;
        } else if log.contains("bpf_get_current_") && self.get(task) == TASK_HELPERS {
            self.set(task, if self.task_by_btf { TASK_BTF } else { TASK_NONE });
        } else if log.contains("bpf_get_current_task") && self.get(task) == TASK_BTF {
            self.set(task, TASK_NONE);
        } else if log.contains("bpf_probe_read") && self.get(Setting::Netns) == NETNS_BTF {
            // Only this is always read by copies. Other fields may be read by loads, which lockdown allows.
            self.netns_by_btf = false;
            self.set(Setting::Netns, NETNS_NONE);
        } else if log.contains("bpf_probe_read") && self.reads_memory() {
            // Without CAP_PERFMON, or under lockdown, where the loader's feature detection selects the older
            // `bpf_probe_read`.
            self.set(Setting::SockOwned, 0);
            self.set(Setting::TaskLeader, 0);
            self.task_by_btf = false;
            self.netns_by_btf = false;
            if self.get(task) == TASK_BTF {
                self.set(task, TASK_NONE);
            }
        } else if !hook_program && self.get(Setting::SkbTyped) != 0 {
            self.set(Setting::SkbTyped, 0);
        } else if !hook_program && self.get(Setting::Direct) != 0 {
            // Verifiers refuse loads without helpers with many different messages: Linux 6.1 loses the packet range
            // if the snap length is short.
            self.set(Setting::Direct, 0);
        } else if !hook_program && self.get(Setting::SockTyped) != 0 {
            self.set(Setting::SockTyped, 0);
        } else if self.get(task) == TASK_TYPED {
            self.set(task, TASK_HELPERS);
        } else {
            return false;
        }
        true
    }

    /// Returns a description of the settings, for the log.
    pub fn describe(&self) -> String {
        let task = match self.get(Setting::Task) {
            TASK_TYPED => "typed task_struct",
            TASK_HELPERS => "helpers",
            TASK_BTF => "task_struct",
            _ => "socket owners only (else Linux 6.16, or BTF)",
        };
        let netns = match self.get(Setting::Netns) {
            NETNS_HELPER => "helper",
            NETNS_BTF => "struct net",
            _ => "nothing (else Linux 6.15, or BTF)",
        };
        let lock = if self.get(Setting::SockOwned) == 0 { "nothing (else BTF)" } else { "sk_lock" };
        format!("sender by {task}, TCP context by {lock}, network namespace by {netns}")
    }

    fn reads_memory(&self) -> bool {
        self.get(Setting::SockOwned) != 0
            || self.get(Setting::TaskLeader) != 0
            || self.get(Setting::Task) == TASK_BTF
            || self.get(Setting::HookTask) == TASK_BTF
    }

    fn get(&self, setting: Setting) -> u32 {
        self.words[setting as usize]
    }

    fn set(&mut self, setting: Setting, value: u32) {
        self.words[setting as usize] = value;
    }
}

/// Classes of all ports, [`PORTS_PER_WORD`] in a word.
pub(super) type PortClasses = [u64; PORT_WORDS as usize];

/// Number of ports in a word of the table.
const PORTS_PER_WORD: u16 = 32;

/// Name of the map of these classes, which can be changed while programs run: a section of the object with nothing
/// else.
pub(super) const PORTS_MAP: &str = ".bss";

/// Returns the classes of all ports. Plain DNS takes precedence over encrypted DNS.
pub(super) fn port_classes(ports: &PortSet, encrypted: Option<&Encrypted>) -> PortClasses {
    let mut words = [0; PORT_WORDS as usize];
    let mut set = |port: u16, class: u64| {
        if let Some(word) = words.get_mut(usize::from(port / PORTS_PER_WORD)) {
            let shift = port % PORTS_PER_WORD * 2;
            *word = *word & !(3 << shift) | class << shift;
        }
    };
    if let Some(encrypted) = encrypted {
        encrypted.ports.iter().for_each(|port| set(*port, PORT_ENCRYPTED));
        encrypted.https_ports.iter().for_each(|port| set(*port, PORT_HTTPS));
    }
    ports.iter().for_each(|port| set(port, PORT_DNS));
    words
}

/// Returns the first port that the kernel chooses by itself, of the network namespace in which this runs.
fn first_chosen_port() -> u32 {
    /// Linux's default.
    const DEFAULT: u32 = 32_768;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = |range: &str| range.split_ascii_whitespace().next()?.parse().ok();
    range.ok().and_then(|range| first(&range)).unwrap_or(DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_without_memory_under_whichever_name() {
        for helper in ["bpf_probe_read#4", "bpf_probe_read_kernel#113"] {
            let mut settings = Settings::best(1_000, 1, None);
            settings.netns_by_btf = true;
            settings.set(Setting::Task, TASK_TYPED);
            settings.set(Setting::TaskLeader, 8);
            assert!(settings.degrade(false, "unknown func bpf_get_netns_cookie#122"));
            assert_eq!(settings.get(Setting::Netns), NETNS_BTF);
            assert!(settings.degrade(false, &format!("unknown func {helper}")));
            assert_eq!(settings.get(Setting::Netns), NETNS_NONE);
            assert_eq!(settings.get(Setting::Task), TASK_TYPED);
            assert_eq!(settings.get(Setting::TaskLeader), 8, "loads need it");
            assert!(settings.degrade(false, &format!("unknown func {helper}")));
            assert_eq!(settings.get(Setting::TaskLeader), 0);
        }
    }

    #[test]
    fn does_without_one_thing_after_the_other() {
        let mut settings = Settings::best(1_000, 1, None);
        assert!(settings.degrade(false, "unknown func bpf_get_netns_cookie#122"));
        assert_eq!(settings.get(Setting::Netns), NETNS_NONE);
        assert!(settings.degrade(true, "cannot use helper bpf_get_current_comm#16"));
        assert_eq!(settings.get(Setting::HookTask), TASK_NONE);
        assert_eq!(settings.get(Setting::Task), TASK_HELPERS);
        assert!(settings.degrade(false, "unknown func bpf_skb_cgroup_id#79"));
        assert!(!settings.degrade(true, "unknown func bpf_probe_read#4"), "it reads no memory");
        assert!(settings.degrade(false, "R4 invalid mem access 'scalar'"));
        assert_eq!(settings.get(Setting::Direct), 0);
        assert!(!settings.degrade(false, "R1 invalid mem access"));
        assert!(!settings.degrade(false, "unknown func bpf_get_netns_cookie#122"));
    }

    #[test]
    fn classes_of_ports_are_independent() {
        let words = port_classes(&"53,31,32,65535".parse().unwrap(), None);
        let of = |port: u16| words[usize::from(port / 32)] >> (port % 32 * 2) & 3;
        let found: Vec<_> = (0..=u16::MAX).filter(|port| of(*port) == PORT_DNS).collect();
        assert_eq!(found, [31, 32, 53, 65_535]);
        assert_eq!(
            words.iter().map(|word| word.count_ones()).sum::<u32>(),
            4 * PORT_DNS.count_ones()
        );
    }
}
