//! Settings that the agent writes to the global `SETTINGS` of the programs before loading.
//!
//! The verifier treats the values as constants and removes dead branches, so a helper that a kernel does not
//! offer is never checked.

/// Indexes in `SETTINGS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Setting {
    /// Largest number of bytes captured of a packet.
    Snap = 0,
    /// How packet programs read the current task: a `TASK_` constant.
    Task = 1,
    /// How `cgroup_skb` reads the network namespace: a `NETNS_` constant.
    Netns = 2,
    /// Whether the kernel has `bpf_skb_cgroup_id`.
    CgroupId = 3,
    /// Offset of `sock.sk_lock.owned`; 0 where unknown.
    SockOwned = 4,
    /// Offset of `sock.__sk_common.skc_net`.
    SockNet = 5,
    /// Offset of `net.net_cookie`.
    NetCookie = 6,
    /// Offset of `task_struct.tgid`.
    TaskTgid = 7,
    /// Offset of `task_struct.comm`.
    TaskComm = 8,
    /// Offset of `task_struct.cred`.
    TaskCred = 9,
    /// Offset of `cred.uid`.
    CredUid = 10,
    /// Offset of `sock.__sk_common.skc_family`.
    SockFamily = 11,
    /// Offset of `sock.__sk_common.skc_dport`.
    SockRemotePort = 12,
    /// Offset of `sock.__sk_common.skc_num`.
    SockLocalPort = 13,
    /// Offset of `sock.__sk_common.skc_daddr`.
    SockRemote4 = 14,
    /// Offset of `sock.__sk_common.skc_rcv_saddr`.
    SockLocal4 = 15,
    /// Offset of `sock.__sk_common.skc_v6_daddr`.
    SockRemote6 = 16,
    /// Offset of `sock.__sk_common.skc_v6_rcv_saddr`.
    SockLocal6 = 17,
    /// Offset of `sock.sk_err`.
    SockError = 18,
    /// Offset of `sock.sk_protocol`.
    SockProtocol = 19,
    /// How the `cgroup_sock` and `cgroup_sock_addr` programs read the current task: a `TASK_` constant.
    HookTask = 20,
    /// Offset of `task_struct.group_leader`; 0 if threads are reported with their own names.
    TaskLeader = 21,
    /// Offset of `task_struct.start_boottime`; 0 where unknown.
    ///
    /// # Minimum kernel version
    ///
    /// Linux 5.5.
    TaskStart = 22,
    /// Whether the kernel has `bpf_skc_to_tcp_sock`, and its result can be read without a helper.
    SockTyped = 23,
    /// Number of rings, over which records are spread by flow: from 1 to [`crate::flow::MAX_RINGS`]; 0 means 1.
    Rings = 24,
    /// Whether programs with direct access copy packets by words.
    Direct = 25,
    /// Whether the first program of the tap reads packets through the kernel's `sk_buff`.
    ///
    /// # Minimum kernel version
    ///
    /// Linux 6.2.
    SkbTyped = 26,
    /// Offset of `sk_buff.len`.
    SkbLen = 27,
    /// Offset of `sk_buff.data_len`.
    SkbDataLen = 28,
    /// Offset of `sk_buff.data`.
    SkbData = 29,
    /// BTF id of the type `iphdr`.
    TypeIp4 = 30,
    /// BTF id of the type `ipv6hdr`.
    TypeIp6 = 31,
    /// BTF id of the type `tcphdr`.
    TypeTcp = 32,
    /// Offset of `task_struct.real_parent`.
    TaskParent = 33,
    /// Offset of `task_struct.mm`.
    TaskMm = 34,
    /// Offset of `mm_struct.exe_file`; 0 where parents are not recorded.
    MmExe = 35,
    /// Whether connections are recorded.
    Connects = 36,
    /// Offset of `sk_buff.head`.
    SkbHead = 37,
    /// Offset of `sk_buff.network_header`.
    SkbNetwork = 38,
    /// Offset of `sk_buff.tail`.
    SkbTail = 39,
    /// Offset of `sk_buff.protocol`.
    SkbProtocol = 40,
    /// Offset of `sk_buff.sk`.
    SkbSock = 41,
    /// Offset of `sk_buff.dev`.
    SkbDevice = 42,
    /// Offset of `net_device.nd_net`.
    DeviceNet = 43,
    /// Offset of `net_device.ifindex`.
    DeviceIndex = 44,
    /// Whether the path of packets is captured.
    Path = 45,
    /// `SKB_DROP_REASON_NETFILTER_DROP`.
    ReasonNetfilter = 46,
    /// `SKB_DROP_REASON_OTHERHOST`.
    ReasonOtherHost = 47,
    /// First port that the kernel chooses by itself (`net.ipv4.ip_local_port_range`).
    FirstChosenPort = 48,
    /// Offset of `sock.__sk_common.skc_cookie`.
    SockCookie = 49,
    /// Offset of `tcp_sock.bytes_received`.
    TcpReceived = 50,
    /// Offset of `tcp_sock.bpf_sock_ops_cb_flags`; 0 where it is not read.
    TcpCallbacks = 51,
    /// Offset of `sk_buff.mac_header`.
    SkbMac = 52,
    /// Offset of `sock.__sk_common.skc_state`.
    SockState = 53,
}

/// Number of settings.
pub const SETTINGS: usize = 54;

/// Placeholder in calls of the kernel function `bpf_cast_to_kern_ctx`, whose id differs between kernels: the
/// agent replaces it in the object before loading.
///
/// # Minimum kernel version
///
/// Linux 6.2.
pub const CALL_KERNEL_SKB: u32 = 0x646e_7301;
/// Placeholder in calls of the kernel function `bpf_rdonly_cast`.
///
/// # Minimum kernel version
///
/// Linux 6.2.
pub const CALL_TYPED: u32 = 0x646e_7302;

/// The current task is not available.
pub const TASK_NONE: u32 = 0;
/// `bpf_get_current_pid_tgid`, `_uid_gid` and `_comm`.
///
/// # Minimum kernel version
///
/// Linux 6.16 in `cgroup_skb` programs.
pub const TASK_HELPERS: u32 = 1;
/// `bpf_get_current_task`, read with the offsets from the kernel's BTF.
pub const TASK_BTF: u32 = 2;
/// `bpf_get_current_task_btf`, read without a helper: the verifier knows the type of the result, and the offsets
/// from the kernel's BTF are constants.
///
/// # Minimum kernel version
///
/// Linux 5.15, outside of tracing programs.
pub const TASK_TYPED: u32 = 3;

/// The network namespace is not available.
pub const NETNS_NONE: u32 = 0;
/// `bpf_get_netns_cookie`.
///
/// # Minimum kernel version
///
/// Linux 6.15 in `cgroup_skb` programs.
pub const NETNS_HELPER: u32 = 1;
/// Read from the socket with the offsets from the kernel's BTF.
pub const NETNS_BTF: u32 = 2;
