//! Names for what the kernel reports of packets that it discards: the reason, the function, the hook of netfilter.

use super::btf::Btf;
use dnscribe_common::record::{DROP_NO_DEVICE, DROP_ON_WAY_OUT, PacketDrop};
use dnscribe_transaction::packet::{Loss, LossStage, NetfilterHook};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::sync::Arc;

/// Name of the reason that netfilter has.
pub const NETFILTER: &str = "NETFILTER_DROP";
/// Name of the reason for packets that are for another host.
pub const OTHER_HOST: &str = "OTHERHOST";
/// Name of the reason where the kernel gives none.
const NOT_SPECIFIED: &str = "NOT_SPECIFIED";
/// Name of the reason of packet sockets, whose packets are copies.
const PACKET_SOCKET: &str = "PACKET_SOCK_ERROR";

/// Symbols of the kernel. Addresses are shown to readers with `CAP_SYSLOG`, which counts when the file is opened.
const SYMBOLS: &str = "/proc/kallsyms";

/// Most addresses whose functions are remembered. A kernel discards packets in some hundred places.
const MAX_ADDRESSES: usize = 4_096;

/// The kernel's reasons to discard a packet.
///
/// # Minimum kernel version
///
/// Linux 5.17.
#[derive(Clone, Debug, Default)]
pub struct Reasons(BTreeMap<u32, Arc<str>>);

impl Reasons {
    /// Reads the reasons of the running kernel; none if it gives none.
    pub fn of_kernel(btf: &Btf) -> Self {
        let named = |(number, name): (u32, String)| {
            let name = name.strip_prefix("SKB_DROP_REASON_").unwrap_or(&name).into();
            (number, name)
        };
        Self(btf.values_of("skb_drop_reason").into_iter().map(named).collect())
    }

    /// Returns the number of a reason; one that no packet has if the kernel lacks it.
    pub fn number(&self, name: &str) -> u32 {
        let found = self.0.iter().find(|(_, other)| &***other == name);
        found.map_or(u32::MAX, |(number, _)| *number)
    }

    /// Returns whether the kernel gives reasons.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Finds names for discarded packets.
pub struct DropNames {
    reasons: Reasons,
    /// Opened while this process may see addresses.
    symbols: Option<File>,
    /// Functions by an address in them.
    functions: HashMap<u64, Option<Arc<str>>>,
    losses: HashMap<(u32, u64, Option<NetfilterHook>), Arc<Loss>>,
}

impl DropNames {
    /// Creates names from the kernel's reasons, and from its symbols where this process may read them.
    pub fn new(reasons: Reasons) -> Self {
        let symbols = File::open(SYMBOLS)
            .inspect_err(|error| tracing::warn!(%error, "no names of kernel functions: {SYMBOLS}"))
            .ok();
        Self { reasons, symbols, functions: HashMap::new(), losses: HashMap::new() }
    }

    /// Returns where and why a packet was discarded, and whether that was before the hook for packets that leave a socket
    /// saw it: by netfilter, on its way out. Hooks of a device and of a bridge come later. `None` if it was a copy for a
    /// packet socket, or if the kernel gives neither a reason nor a function, so that it may have been one.
    pub fn loss(&mut self, drop: &PacketDrop) -> Option<(Arc<Loss>, bool)> {
        self.find_functions(drop);
        let function = |address: u64| self.functions.get(&address).cloned().flatten();
        let reason = self.reasons.0.get(&drop.reason).cloned();
        let reason = reason.unwrap_or_else(|| drop.reason.to_string().into());
        let by = function(drop.location);
        let is_copy = by.as_deref().map_or(&*reason == NOT_SPECIFIED, is_packet_socket);
        if &*reason == PACKET_SOCKET || is_copy {
            return None;
        }
        let is_netfilter = &*reason == NETFILTER;
        let by_flags = hook_of_flags(drop.flags).filter(|_| is_netfilter);
        let by_frames = is_netfilter
            .then(|| hook_of_frames(drop.stack.iter().filter_map(|address| function(*address))))
            .flatten();
        let hook = by_frames.or(by_flags);
        let key = (drop.reason, drop.location, hook);
        let loss = self.losses.entry(key).or_insert_with(|| {
            let stage = stage(&reason, by.as_deref().unwrap_or_default());
            Arc::new(Loss { stage, reason, hook, function: by })
        });
        Some((Arc::clone(loss), by_flags.is_some()))
    }

    /// Looks up the functions of addresses that are new.
    fn find_functions(&mut self, drop: &PacketDrop) {
        let all = drop.stack.iter().copied().chain([drop.location]);
        let new: BTreeSet<u64> =
            all.filter(|address| *address != 0 && !self.functions.contains_key(address)).collect();
        if new.is_empty() || self.functions.len() + new.len() > MAX_ADDRESSES {
            return;
        }
        let Some(file) = &mut self.symbols else { return };
        let found = functions(file, &new).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read {SYMBOLS}");
            BTreeMap::new()
        });
        for address in new {
            self.functions.insert(address, found.get(&address).map(|name| name.as_str().into()));
        }
    }
}

/// Reads the names of the functions that contain the addresses.
fn functions(file: &mut File, addresses: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, String>> {
    file.rewind()?;
    let mut best: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let (Some(start), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(start) = u64::from_str_radix(start, 16) else { continue };
        // Zeros are shown to those who may not see addresses.
        if start == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        for address in addresses.range(start..) {
            if best.get(address).is_some_and(|(other, _)| *other >= start) {
                // Addresses above are nearer to that function, too, or to one after it.
                break;
            }
            let nearest = best.entry(*address).or_default();
            nearest.0 = start;
            name.clone_into(&mut nearest.1);
        }
    }
    Ok(best.into_iter().map(|(address, (_, name))| (address, name)).collect())
}

/// Functions that pass packets to netfilter, and its hook there. Those of bridges come before those of IP.
const HOOKS: [(&str, NetfilterHook); 29] = [
    ("__netif_receive_skb_core", NetfilterHook::Ingress),
    ("br_handle_frame", NetfilterHook::Prerouting),
    ("br_nf_pre_routing", NetfilterHook::Prerouting),
    ("br_pass_frame_up", NetfilterHook::Input),
    ("__br_forward", NetfilterHook::Forward),
    ("br_nf_forward", NetfilterHook::Forward),
    ("br_forward_finish", NetfilterHook::Postrouting),
    ("br_nf_post_routing", NetfilterHook::Postrouting),
    ("br_deliver", NetfilterHook::Output),
    ("ip_rcv", NetfilterHook::Prerouting),
    ("ipv6_rcv", NetfilterHook::Prerouting),
    ("ip_list_rcv", NetfilterHook::Prerouting),
    ("ipv6_list_rcv", NetfilterHook::Prerouting),
    ("ip_sublist_rcv", NetfilterHook::Prerouting),
    ("ip6_sublist_rcv", NetfilterHook::Prerouting),
    ("ip_local_deliver", NetfilterHook::Input),
    ("ip6_input", NetfilterHook::Input),
    ("ip6_mc_input", NetfilterHook::Input),
    ("ip_forward", NetfilterHook::Forward),
    ("ip6_forward", NetfilterHook::Forward),
    ("__ip_local_out", NetfilterHook::Output),
    ("ip_local_out", NetfilterHook::Output),
    ("__ip6_local_out", NetfilterHook::Output),
    ("ip6_local_out", NetfilterHook::Output),
    ("ip_output", NetfilterHook::Postrouting),
    ("ip_mc_output", NetfilterHook::Postrouting),
    ("ip6_output", NetfilterHook::Postrouting),
    ("__dev_queue_xmit", NetfilterHook::Egress),
    ("sch_handle_egress", NetfilterHook::Egress),
];

/// Returns the hook of the innermost function that passes packets to netfilter.
fn hook_of_frames(mut frames: impl Iterator<Item = Arc<str>>) -> Option<NetfilterHook> {
    let of = |frame: Arc<str>| {
        // Newer kernels append suffixes to names of functions that the compiler has split.
        let name = frame.split('.').next().unwrap_or_default();
        HOOKS.into_iter().find(|(other, _)| *other == name).map(|(_, hook)| hook)
    };
    frames.find_map(of)
}

/// Returns the hook of netfilter where the kernel's functions have no names for this process.
const fn hook_of_flags(flags: u32) -> Option<NetfilterHook> {
    if flags & DROP_ON_WAY_OUT != DROP_ON_WAY_OUT {
        None
    } else if flags & DROP_NO_DEVICE != 0 {
        Some(NetfilterHook::Output)
    } else {
        Some(NetfilterHook::Postrouting)
    }
}

/// Returns whether a function discards copies for packet sockets, as `tcpdump` has. Kernels before Linux 6.11 give
/// no reason for it.
fn is_packet_socket(function: &str) -> bool {
    matches!(function, "packet_rcv" | "packet_rcv_spkt" | "tpacket_rcv")
}

/// Returns the part of the kernel by the reason, or by the function where the kernel has no reason for it.
fn stage(reason: &str, function: &str) -> LossStage {
    let begins = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    match reason {
        NOT_SPECIFIED => match function.trim_start_matches('_') {
            name if begins(name, &["udp", "sock_queue_rcv", "skb_queue_purge"]) => {
                LossStage::Socket
            }
            name if begins(name, &["nf_", "nft_", "ipt_"]) => LossStage::Netfilter,
            name if begins(name, &["neigh_", "arp_", "ndisc_"]) => LossStage::Neighbour,
            name if begins(
                name,
                &["ip_error", "ip_route", "ip6_pkt", "ip_forward", "ip6_forward"],
            ) =>
            {
                LossStage::Routing
            }
            name if begins(name, &["qdisc", "tcf_", "dev_queue_xmit", "dev_xmit_skb"]) => {
                LossStage::Queue
            }
            name if name.contains("xdp") => LossStage::Policy,
            _ => LossStage::Other,
        },
        NETFILTER => LossStage::Netfilter,
        "UDP_CSUM" | "IP_CSUM" | "SKB_CSUM" => LossStage::Checksum,
        "BPF_CGROUP_EGRESS" | "TC_EGRESS" | "TC_INGRESS" | "XDP" | "SECURITY_HOOK"
        | "XFRM_POLICY" | "SOCKET_FILTER" => LossStage::Policy,
        "NO_SOCKET" | "PROTO_MEM" | "QUEUE_PURGE" => LossStage::Socket,
        "CPU_BACKLOG" | "FULL_RING" => LossStage::Device,
        name if begins(name, &["SOCKET_"]) => LossStage::Socket,
        name if begins(name, &["NEIGH_"]) => LossStage::Neighbour,
        name if begins(name, &["QDISC_", "FQ_", "CAKE_", "DUALPI2_", "TC_"]) => LossStage::Queue,
        name if begins(name, &["DEV_", "TAP_", "VXLAN_", "BRIDGE_", "MAC_", "VLAN_"]) => {
            LossStage::Device
        }
        "IP_INHDR" | "IP_NOPROTO" => LossStage::Other,
        name if begins(name, &["IP_", "IPV6DISABLED", "PKT_TOO_BIG", "UNICAST_IN"]) => {
            LossStage::Routing
        }
        _ => LossStage::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_common::record::{DROP_NETWORK_LAYER, DROP_SENDER};
    use std::io::Write as _;

    const REASONS: [(u32, &str); 4] =
        [(2, "NOT_SPECIFIED"), (6, "SOCKET_RCVBUFF"), (12, NETFILTER), (106, PACKET_SOCKET)];

    /// Functions at 0x1000, 0x2000 and so on.
    fn names(functions: &[&str]) -> DropNames {
        let mut file = tempfile::tempfile().unwrap();
        // Modules follow behind, and may be anywhere.
        for (number, name) in functions.iter().enumerate().rev() {
            writeln!(file, "{:016x} t {name}\t[module]", (number + 1) * 0x1000).unwrap();
        }
        writeln!(file, "0000000000001800 d data").unwrap();
        let reasons = REASONS.map(|(number, name)| (number, name.into()));
        DropNames {
            reasons: Reasons(reasons.into()),
            symbols: Some(file),
            functions: HashMap::new(),
            losses: HashMap::new(),
        }
    }

    fn drop(reason: u32, location: u64, frames: &[u64]) -> PacketDrop {
        let stack = core::array::from_fn(|at| frames.get(at).copied().unwrap_or(0));
        PacketDrop { location, reason, flags: 0, stack }
    }

    #[test]
    fn names_reason_function_and_hook() {
        let mut names = names(&["nf_hook_slow", "ip_output", "ip_local_deliver", "udp_rcv"]);
        let (full, _) = names.loss(&drop(6, 0x4010, &[])).unwrap();
        assert_eq!((full.stage, &*full.reason), (LossStage::Socket, "SOCKET_RCVBUFF"));
        assert_eq!((full.function.as_deref(), full.hook), (Some("udp_rcv"), None));
        let (rule, _) = names.loss(&drop(12, 0x1fff, &[0x1800, 0x3001, 0x2001])).unwrap();
        assert_eq!((rule.stage, rule.hook), (LossStage::Netfilter, Some(NetfilterHook::Input)));
        assert_eq!(rule.function.as_deref(), Some("nf_hook_slow"));
        let (unlabelled, _) = names.loss(&drop(2, 0x4fff, &[])).unwrap();
        assert_eq!(unlabelled.stage, LossStage::Socket);
        assert_eq!(&*names.loss(&drop(77, 0x10, &[])).unwrap().0.reason, "77", "a module's reason");
    }

    #[test]
    fn bridges_come_after_the_hook() {
        let mut names = names(&["nf_hook_slow", "br_nf_post_routing", "ip_output", "br_dev_xmit"]);
        let out = PacketDrop { flags: DROP_ON_WAY_OUT, ..drop(12, 0x1001, &[0x1001, 0x3001]) };
        assert!(names.loss(&out).unwrap().1);
        let frames = [0x1001, 0x2001, 0x4001, 0x3001];
        let bridged = PacketDrop { flags: DROP_SENDER, ..drop(12, 0x1001, &frames) };
        let (loss, is_unseen) = names.loss(&bridged).unwrap();
        assert_eq!((loss.hook, is_unseen), (Some(NetfilterHook::Postrouting), false));
    }

    /// Drivers and the generic path have functions of their own, without a reason.
    #[test]
    fn xdp_is_a_policy() {
        for function in ["do_xdp_generic", "__netif_receive_generic_xdp", "veth_xdp_rcv_skb"] {
            assert_eq!(stage(NOT_SPECIFIED, function), LossStage::Policy, "{function}");
        }
    }

    #[test]
    fn copies_for_packet_sockets_are_no_loss() {
        let mut names = names(&["tpacket_rcv", "udp_rcv"]);
        assert_eq!(names.loss(&drop(2, 0x1001, &[])), None);
        assert_eq!(names.loss(&drop(106, 0x2001, &[])), None);
        assert!(names.loss(&drop(2, 0x2001, &[])).is_some());
    }

    #[test]
    fn does_without_symbols() {
        let mut names = names(&[]);
        names.symbols = None;
        let out = DROP_ON_WAY_OUT;
        for (flags, hook, is_unseen) in [
            (out, Some(NetfilterHook::Postrouting), true),
            (out | DROP_NO_DEVICE, Some(NetfilterHook::Output), true),
            (DROP_SENDER, None, false),
            (DROP_NETWORK_LAYER, None, false),
        ] {
            let drop = PacketDrop { flags, ..drop(12, 0x1001, &[]) };
            let (loss, unseen) = names.loss(&drop).unwrap();
            assert_eq!((loss.hook, unseen), (hook, is_unseen));
        }
        assert_eq!(names.loss(&drop(2, 0x1001, &[])), None, "it may be a copy");
        let full = PacketDrop { flags: out, ..drop(6, 0x1001, &[]) };
        assert!(!names.loss(&full).unwrap().1, "only netfilter comes before the hook");
    }

    #[test]
    fn knows_the_reasons_of_this_kernel() {
        let reasons = Reasons::of_kernel(&Btf::of_kernel().unwrap());
        for name in [NETFILTER, OTHER_HOST, "SOCKET_RCVBUFF", "NO_SOCKET"] {
            assert_ne!(reasons.number(name), u32::MAX, "{name}");
        }
        for (_, name) in reasons.0 {
            if name.starts_with("NEIGH_") {
                assert_eq!(stage(&name, ""), LossStage::Neighbour);
            }
        }
    }
}
