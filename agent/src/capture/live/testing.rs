//! What the privileged tests need besides the interface: programs that are loaded and attached to
//! nothing, run on packets of the test's making.

pub mod baseline;

use super::btf::Btf;
use super::programs::{self, Loaded};
use super::{CannotCapture, Hook, Live, LiveOptions, fill_owners, netlink};
use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::Program;
use aya::sys::{Stats, enable_stats};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Programs that run only when asked.
pub struct Bench {
    /// The reader's end, with the counters.
    pub live: Live,
}

/// The beginning of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
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

/// Whether the kernel tells of the sockets that are there (`CONFIG_INET_UDP_DIAG`, or its module).
#[must_use]
pub fn has_socket_diagnosis() -> bool {
    netlink::sockets(2, 17).is_ok()
}

impl Bench {
    /// Loads the programs of hook `cgroup` or, with `tap`, of hook `socket`.
    ///
    /// # Errors
    /// As [`Live::open`].
    pub fn load(options: &LiveOptions, tap: bool) -> Result<Self, CannotCapture> {
        Self::load_knowing(Btf::of_kernel().ok().as_ref(), options, tap)
    }

    /// As [`Self::load`], as on a kernel that says nothing of its types.
    ///
    /// # Errors
    /// As [`Live::open`].
    pub fn load_without_types(options: &LiveOptions, tap: bool) -> Result<Self, CannotCapture> {
        Self::load_knowing(None, options, tap)
    }

    fn load_knowing(
        btf: Option<&Btf>,
        options: &LiveOptions,
        tap: bool,
    ) -> Result<Self, CannotCapture> {
        let (entries, hook) = if tap {
            (&programs::SOCKET[..], Hook::Socket)
        } else {
            (&programs::CGROUP[..], Hook::Cgroup)
        };
        let mut loaded = programs::load_knowing(btf, options, entries)?;
        fill_owners(&mut loaded);
        Ok(Self { live: Live::new(loaded, options, (Vec::new(), None), hook, String::new())? })
    }

    /// Names of the programs that the kernel took.
    #[must_use]
    pub fn programs(&self) -> Vec<&'static str> {
        self.loaded()
            .map(|loaded| loaded.entries.iter().map(|entry| entry.name).collect())
            .unwrap_or_default()
    }

    /// Programs that it did not take, with reasons.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, String)> {
        self.loaded()
            .map(|loaded| {
                loaded.refused.iter().map(|(entry, why)| (entry.name, why.clone())).collect()
            })
            .unwrap_or_default()
    }

    /// How many instructions the verifier looked at before it took the program (Linux 5.16), of the
    /// million that it is willing to.
    #[must_use]
    pub fn verified_instructions(&self, program: &str) -> Option<u32> {
        let info = match self.loaded()?.ebpf.program(program)? {
            Program::CgroupSkb(program) => program.info(),
            Program::SocketFilter(program) => program.info(),
            _ => return None,
        };
        info.ok()?.verified_instruction_count()
    }

    /// Octets of the program's instructions: what the kernel charges to a socket that it is attached to.
    #[must_use]
    pub fn instruction_bytes(&self, program: &str) -> Option<u32> {
        match self.loaded()?.ebpf.program(program)? {
            Program::SocketFilter(program) => program.info().ok()?.size_translated(),
            _ => None,
        }
    }

    /// Takes the program away that the tap calls.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn take_look(&mut self) -> io::Result<()> {
        let loaded = self.live.attached.as_mut().map(|attached| &mut attached.programs);
        let map = loaded.and_then(|loaded| loaded.ebpf.map_mut("LOOK"));
        let map = map.ok_or_else(|| io::Error::other("no map LOOK"))?;
        let mut calls = ProgramArray::try_from(map).map_err(io::Error::other)?;
        calls.clear_index(&0).map_err(io::Error::other)
    }

    /// Runs a program on an Ethernet frame, whose header is not shown to it, `repeat` times. Gives
    /// what it returned the last time.
    ///
    /// # Errors
    /// Where the kernel refuses: the frame is too short, or the program is not there.
    pub fn run(&self, program: &str, frame: &[u8], repeat: u32) -> io::Result<u32> {
        self.time(program, frame, repeat).map(|(returned, _)| returned)
    }

    /// As [`Bench::run`], with the mean time of a run in nanoseconds.
    ///
    /// # Errors
    /// As [`Bench::run`].
    pub fn time(&self, program: &str, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
        let loaded = self.loaded().ok_or_else(|| io::Error::other("detached"))?;
        test_run(descriptor(&loaded.ebpf, program)?, frame, repeat)
    }

    fn loaded(&self) -> Option<&Loaded> {
        self.live.attached.as_ref().map(|attached| &attached.programs)
    }
}

/// What a program took, all its runs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time in it, while [`count_run_time`]'s result lived.
    pub nanoseconds: u64,
    /// How often it ran meanwhile.
    pub runs: u64,
}

/// Has the kernel add up what programs take (`BPF_ENABLE_STATS`, Linux 5.8), until the result is
/// dropped.
///
/// # Errors
/// Where the kernel refuses.
pub fn count_run_time() -> io::Result<OwnedFd> {
    enable_stats(Stats::RunTime).map_err(io::Error::other)
}

/// What each of a capture's programs took so far.
///
/// # Errors
/// Where `/proc` does not tell.
pub fn costs(live: &Live) -> io::Result<Vec<(&'static str, Cost)>> {
    let attached = live.attached.as_ref().ok_or_else(|| io::Error::other("detached"))?;
    let programs = &attached.programs;
    programs
        .entries
        .iter()
        .map(|entry| Ok((entry.name, cost(descriptor(&programs.ebpf, entry.name)?)?)))
        .collect()
}

/// What the kernel says of a program (`bpf_prog_show_fdinfo`).
fn cost(program: BorrowedFd<'_>) -> io::Result<Cost> {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let number = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|words| words.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("the kernel does not tell {name}")))
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

/// Runs a program for packets on a frame; gives what it returned, and the mean time of a run in
/// nanoseconds.
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
