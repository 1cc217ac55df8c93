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

/// Calls of the process that opens files for the agent: no new sockets.
pub(super) const FILE_HELPER: AllowedCalls = AllowedCalls {
    calls: &[MEMORY, THREADS, TIME, DESCRIPTORS, FILES, FILE_CHANGES, MESSAGES, OLD],
    families: &[],
    bpf: &[],
};

/// Declares groups of calls by their names in `libc`.
macro_rules! calls {
    ($($(#[$about:meta])* $group:ident: $($call:ident)*;)+) => {
        $($(#[$about])* const $group: &[c_long] = &[$(libc::$call),*];)+
    };
}

calls! {
    MEMORY: SYS_brk SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mlock SYS_mmap SYS_mprotect
        SYS_mremap SYS_munlock SYS_munmap SYS_msync;

    THREADS: SYS_capget SYS_clone SYS_clone3 SYS_exit SYS_exit_group SYS_futex SYS_getcpu
        SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getpid SYS_getppid SYS_getpriority
        SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage SYS_gettid SYS_getuid
        SYS_kill SYS_prctl SYS_prlimit64 SYS_restart_syscall SYS_rseq SYS_rt_sigaction
        SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity
        SYS_sched_getparam SYS_sched_getscheduler SYS_sched_setaffinity SYS_sched_yield
        SYS_set_robust_list SYS_set_tid_address SYS_setpriority SYS_sigaltstack SYS_sysinfo
        SYS_tgkill SYS_tkill SYS_umask SYS_uname SYS_wait4 SYS_waitid;

    TIME: SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_getitimer SYS_gettimeofday
        SYS_nanosleep SYS_setitimer SYS_timer_create SYS_timer_delete SYS_timer_settime
        SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times;

    DESCRIPTORS: SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl
        SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_fcntl SYS_ioctl SYS_lseek SYS_pipe2
        SYS_ppoll SYS_pread64 SYS_preadv SYS_preadv2 SYS_pselect6 SYS_pwrite64 SYS_pwritev
        SYS_pwritev2 SYS_read SYS_readv SYS_write SYS_writev;

    FILES: SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fstat SYS_fstatfs SYS_getcwd
        SYS_getdents64 SYS_newfstatat SYS_openat SYS_openat2 SYS_readlinkat SYS_statfs SYS_statx;

    CHANGES: SYS_copy_file_range SYS_fallocate SYS_fchmod SYS_fchmodat SYS_fchown SYS_fdatasync
        SYS_flock SYS_fsync SYS_ftruncate SYS_linkat SYS_mkdirat SYS_renameat SYS_renameat2
        SYS_sendfile SYS_splice SYS_sync_file_range SYS_truncate SYS_unlinkat SYS_utimensat;

    FILE_CHANGES: SYS_fchmod SYS_fchown SYS_renameat SYS_renameat2 SYS_unlinkat SYS_utimensat;

    MESSAGES: SYS_recvmsg SYS_sendmsg;

    SOCKETS: SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname
        SYS_getsockopt SYS_listen SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_sendmmsg SYS_sendmsg
        SYS_sendto SYS_setsockopt SYS_shutdown SYS_socketpair;

    /// Older names of these calls, which newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    OLD: SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_dup2 SYS_epoll_create SYS_epoll_wait
        SYS_eventfd SYS_getdents SYS_link SYS_lstat SYS_mkdir SYS_open SYS_pause SYS_pipe SYS_poll
        SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_stat SYS_time SYS_unlink;

    #[cfg(not(target_arch = "x86_64"))]
    OLD:;
}

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
        for list in [AGENT, HELPER, FILE_HELPER] {
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
