//! The system calls that are allowed after the drop (seccomp). All others fail with EPERM, so that a library
//! that only tries a call can go on without it.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::collections::BTreeMap;

/// System calls that a process may make.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedCalls {
    calls: &'static [&'static [c_long]],
    /// Address families of sockets that may be created.
    families: &'static [i32],
    /// Commands of `bpf(2)`.
    bpf: &'static [u64],
}

/// Calls of the agent: files, sockets, threads, and `bpf` for maps that are open. No `execve`, `ptrace`,
/// `setns` or `mount`, and no change of user.
pub(super) const AGENT: AllowedCalls = AllowedCalls {
    calls: &[MEMORY, THREADS, TIME, DESCRIPTORS, FILES, CHANGES, SOCKETS, OLD],
    families: &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
    // `linux/bpf.h`: look up, update, delete, next key; look up and update in batches.
    bpf: &[1, 2, 3, 4, 24, 25, 26],
};

/// Calls of the helper: reading /proc, entering network namespaces, sockets there.
pub(super) const HELPER: AllowedCalls = AllowedCalls {
    calls: &[MEMORY, THREADS, TIME, DESCRIPTORS, FILES, SOCKETS, OLD, &[libc::SYS_setns]],
    families: &[libc::AF_INET, libc::AF_INET6],
    bpf: &[],
};

const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_msync,
];

const THREADS: &[c_long] = &[
    libc::SYS_capget,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_kill,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setpriority,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

const TIME: &[c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
];

const DESCRIPTORS: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
];

const FILES: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_statfs,
    libc::SYS_statx,
];

const CHANGES: &[c_long] = &[
    libc::SYS_copy_file_range,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_sync_file_range,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

const SOCKETS: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
];

/// Older names of these calls, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Restricts this thread, and those that it will start, to a list of calls.
pub(super) fn allow(list: AllowedCalls) -> Result<(), String> {
    let program = program(list).map_err(|error| format!("seccomp: {error}"))?;
    apply_filter(&program)
        .map_err(|error| format!("seccomp: {error}; it needs a kernel with CONFIG_SECCOMP_FILTER"))
}

fn program(list: AllowedCalls) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        list.calls.iter().copied().flatten().map(|call| (*call, Vec::new())).collect();
    let families = list.families.iter().filter_map(|family| u64::try_from(*family).ok());
    only(&mut rules, libc::SYS_socket, families)?;
    only(&mut rules, libc::SYS_bpf, list.bpf.iter().copied())?;
    let denied = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()
}

/// Allows a call with these first arguments.
fn only(
    rules: &mut BTreeMap<c_long, Vec<SeccompRule>>,
    call: c_long,
    firsts: impl Iterator<Item = u64>,
) -> Result<(), seccompiler::BackendError> {
    let rule = |first| {
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, first)?;
        SeccompRule::new(vec![is])
    };
    let allowed = firsts.map(rule).collect::<Result<Vec<_>, _>>()?;
    // An empty list of rules would allow all arguments.
    if !allowed.is_empty() {
        rules.insert(call, allowed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_allows_exec_or_change_of_user() {
        for list in [AGENT, HELPER] {
            assert!(!program(list).unwrap().is_empty());
            let all: Vec<_> = list.calls.iter().copied().flatten().collect();
            for call in [
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_ptrace,
                libc::SYS_setuid,
                libc::SYS_setresuid,
                libc::SYS_capset,
                libc::SYS_mount,
                libc::SYS_socket,
                libc::SYS_bpf,
                libc::SYS_io_uring_setup,
            ] {
                assert!(!all.contains(&&call), "{call}");
            }
        }
        assert!(!AGENT.calls.iter().copied().flatten().any(|call| *call == libc::SYS_setns));
        assert!(!AGENT.bpf.contains(&0) && !AGENT.bpf.contains(&5), "maps and programs are made");
    }

    #[test]
    fn restricts_a_thread_to_its_list() {
        let restricted = || {
            no_new_privileges();
            allow(AGENT).unwrap();
            let refused = std::process::Command::new("/bin/true").status().unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
            let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
            let entered = rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                None,
            );
            assert_eq!(entered, Err(rustix::io::Errno::PERM));
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            std::thread::spawn(|| {}).join().unwrap();
        };
        std::thread::spawn(restricted).join().unwrap();
    }

    fn no_new_privileges() {
        super::super::no_new_privileges().unwrap();
    }
}
