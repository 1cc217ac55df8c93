//! Attaches programs at a cgroup before those of others, which `aya` cannot ask for.

#![expect(unsafe_code, reason = "creates a link with flags, for which no safe wrapper exists")]

use aya::programs::CgroupSockAddr;
use aya_obj::generated::bpf_attach_type;
use aya_obj::generated::bpf_cmd::BPF_LINK_CREATE;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// Lets a program run before those without the flag, those of cgroups below, too.
const BPF_F_PREORDER: u32 = 1 << 6;

/// Attaches a loaded program so that it sees the address that the process gave, or that a datagram has, even where another program, attached
/// earlier, replaces that of a service, as the socket load balancer of Cilium does. Returns nothing if the kernel
/// refuses.
///
/// # Minimum kernel version
///
/// Linux 6.15. Older ones run the programs of a cgroup in the order in which they were attached.
pub fn attach_first(program: &CgroupSockAddr, name: &str, cgroup: &File) -> Option<OwnedFd> {
    /// The first fields of `union bpf_attr` for the command; the kernel takes zeros for the others.
    #[repr(C)]
    struct LinkCreate {
        program: RawFd,
        target: RawFd,
        attach_type: u32,
        flags: u32,
    }
    let attach_type = match name {
        "connect4" => bpf_attach_type::BPF_CGROUP_INET4_CONNECT,
        "connect6" => bpf_attach_type::BPF_CGROUP_INET6_CONNECT,
        "sendmsg4" => bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG,
        "sendmsg6" => bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG,
        "recvmsg4" => bpf_attach_type::BPF_CGROUP_UDP4_RECVMSG,
        "recvmsg6" => bpf_attach_type::BPF_CGROUP_UDP6_RECVMSG,
        _ => return None,
    };
    let attributes = LinkCreate {
        program: program.fd().ok()?.as_fd().as_raw_fd(),
        target: cgroup.as_raw_fd(),
        attach_type: attach_type as u32,
        flags: BPF_F_PREORDER,
    };
    let size = size_of_val(&attributes);
    // SAFETY: the attributes of the command, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, size) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: a new descriptor without another owner.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
