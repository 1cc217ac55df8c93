//! Test support for privileged tests and benchmarks: loads the programs without attaching them, and runs them on test
//! packets.

pub mod baseline;

use super::btf::Btf;
use super::open::fill_owners;
use super::programs::{self, Loaded};
use super::{CannotCapture, Hook, Live, LiveOptions, netlink};
use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::Program;
use aya::sys::{Stats, enable_stats};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Loaded programs that are not attached, and run by [`Bench::run`] only.
pub struct Bench {
    /// Capture with the readers and counters.
    pub live: Live,
}

/// First fields of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// Returns whether the kernel lists existing sockets (`CONFIG_INET_UDP_DIAG`, or its module).
#[must_use]
pub fn has_socket_diagnosis() -> bool {
    netlink::sockets(2, 17).is_ok()
}

impl Bench {
    /// Loads the programs of hook `cgroup` or, with `tap`, of hook `socket`.
    ///
    /// # Errors
    /// Returns the errors of [`Live::open`].
    pub fn load(options: &LiveOptions, tap: bool) -> Result<Self, CannotCapture> {
        Self::load_with_btf(Btf::of_kernel().ok().as_ref(), options, tap)
    }

    /// Loads the programs as on a kernel without BTF.
    ///
    /// # Errors
    /// Returns the errors of [`Live::open`].
    pub fn load_without_types(options: &LiveOptions, tap: bool) -> Result<Self, CannotCapture> {
        Self::load_with_btf(None, options, tap)
    }

    fn load_with_btf(
        btf: Option<&Btf>,
        options: &LiveOptions,
        tap: bool,
    ) -> Result<Self, CannotCapture> {
        let (entries, hook) = if tap {
            (&programs::SOCKET[..], Hook::Socket)
        } else {
            (&programs::CGROUP[..], Hook::Cgroup)
        };
        let mut loaded = programs::load_with_btf(btf, options, entries)?;
        fill_owners(&mut loaded);
        Ok(Self { live: Live::new(loaded, options, (Vec::new(), None), hook, String::new())? })
    }

    /// Returns the names of the programs that the kernel accepted.
    #[must_use]
    pub fn programs(&self) -> Vec<&'static str> {
        self.loaded()
            .map(|loaded| loaded.entries.iter().map(|entry| entry.name).collect())
            .unwrap_or_default()
    }

    /// Returns the programs that the kernel refused, with the reasons.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, String)> {
        self.loaded()
            .map(|loaded| {
                loaded.refused.iter().map(|(entry, why)| (entry.name, why.clone())).collect()
            })
            .unwrap_or_default()
    }

    /// Returns the number of instructions that the verifier processed for the program. Its limit is one million.
    ///
    /// # Minimum kernel version
    ///
    /// Linux 5.16.
    #[must_use]
    pub fn verified_instructions(&self, program: &str) -> Option<u32> {
        let info = match self.loaded()?.ebpf.program(program)? {
            Program::CgroupSkb(program) => program.info(),
            Program::SocketFilter(program) => program.info(),
            _ => return None,
        };
        info.ok()?.verified_instruction_count()
    }

    /// Returns the size of the program's instructions in bytes, which the kernel charges to a socket that it is
    /// attached to.
    #[must_use]
    pub fn instruction_bytes(&self, program: &str) -> Option<u32> {
        match self.loaded()?.ebpf.program(program)? {
            Program::SocketFilter(program) => program.info().ok()?.size_translated(),
            _ => None,
        }
    }

    /// Removes the program that the tap calls.
    ///
    /// # Errors
    /// Returns an error if the kernel refuses.
    pub fn remove_inspect_program(&mut self) -> io::Result<()> {
        let loaded = self.live.attached.as_mut().map(|attached| &mut attached.programs);
        let map = loaded.and_then(|loaded| loaded.ebpf.map_mut("LOOK"));
        let map = map.ok_or_else(|| io::Error::other("no map LOOK"))?;
        let mut calls = ProgramArray::try_from(map).map_err(io::Error::other)?;
        calls.clear_index(&0).map_err(io::Error::other)
    }

    /// Runs a program `repeat` times on an Ethernet frame, whose header it does not see. Returns its last result.
    ///
    /// # Errors
    /// Returns an error if the frame is too short, or the program does not exist.
    pub fn run(&self, program: &str, frame: &[u8], repeat: u32) -> io::Result<u32> {
        self.time(program, frame, repeat).map(|(returned, _)| returned)
    }

    /// Runs a program as [`Bench::run`] does. Returns its last result, and the mean time of a run in nanoseconds.
    ///
    /// # Errors
    /// Returns the errors of [`Bench::run`].
    pub fn time(&self, program: &str, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
        let loaded = self.loaded().ok_or_else(|| io::Error::other("detached"))?;
        test_run(descriptor(&loaded.ebpf, program)?, frame, repeat)
    }

    fn loaded(&self) -> Option<&Loaded> {
        self.live.attached.as_ref().map(|attached| &attached.programs)
    }
}

/// Total cost of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Run time in nanoseconds, while the result of [`count_run_time`] existed.
    pub nanoseconds: u64,
    /// Number of runs in that time.
    pub runs: u64,
}

/// Enables run time statistics of programs (`BPF_ENABLE_STATS`) until the result is dropped.
///
/// # Minimum kernel version
///
/// Linux 5.8.
///
/// # Errors
/// Returns an error if the kernel refuses.
pub fn count_run_time() -> io::Result<OwnedFd> {
    enable_stats(Stats::RunTime).map_err(io::Error::other)
}

/// Returns the cost of each program of a capture.
///
/// # Errors
/// Returns an error if `/proc` has no statistics.
pub fn costs(live: &Live) -> io::Result<Vec<(&'static str, Cost)>> {
    let attached = live.attached.as_ref().ok_or_else(|| io::Error::other("detached"))?;
    let programs = &attached.programs;
    programs
        .entries
        .iter()
        .map(|entry| Ok((entry.name, cost(descriptor(&programs.ebpf, entry.name)?)?)))
        .collect()
}

/// Reads the cost of a program from `/proc` (`bpf_prog_show_fdinfo`).
fn cost(program: BorrowedFd<'_>) -> io::Result<Cost> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("the kernel does not show {name}")))
    };
    Ok(Cost { nanoseconds: number("run_time_ns")?, runs: number("run_cnt")? })
}

fn descriptor<'a>(ebpf: &'a Ebpf, program: &str) -> io::Result<BorrowedFd<'a>> {
    let fd = match ebpf.program(program) {
        Some(Program::CgroupSkb(program)) => program.fd(),
        Some(Program::CgroupSock(program)) => program.fd(),
        Some(Program::CgroupSockAddr(program)) => program.fd(),
        Some(Program::RawTracePoint(program)) => program.fd(),
        Some(Program::SocketFilter(program)) => program.fd(),
        _ => return Err(io::Error::other(format!("no program {program}"))),
    };
    Ok(fd.map_err(io::Error::other)?.as_fd())
}

/// Runs a program on a frame. Returns its last result, and the mean time of a run in nanoseconds.
fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
    let mut out = vec![0_u8; frame.len() + 256];
    let size = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let mut attributes = TestRun {
        prog_fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        data_size_in: size(frame.len())?,
        data_size_out: size(out.len())?,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    // SAFETY: the pointers and lengths in `attributes` belong together and outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestRun>())
    };
    if result == 0 {
        Ok((attributes.retval, attributes.duration))
    } else {
        Err(io::Error::last_os_error())
    }
}
