//! Test support for privileged tests and benchmarks: loads the programs without attaching them, and runs them on test
//! packets.

use super::btf::Btf;
use super::open::fill_owners;
use super::programs::{self, Loaded};
use super::{CannotCapture, Hook, Live, LiveOptions, netlink};
use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::{Program, ProgramInfo, TestRun as _, TestRunOptions};
use dnscribe_common::CONFIG_QUIET;
use dnscribe_common::sample::Cut;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use super::tap::open as attach_tap;

/// Path of the object with the programs of `agent-ebpf/baseline`, set by the build script.
pub const BASELINE_OBJECT: &str = env!("DNSCRIBE_EBPF_BASELINE");

/// Loaded programs that are not attached, and run by [`Bench::run`] only.
pub struct Bench {
    /// Capture with the readers and counters.
    pub live: Live,
}

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
            (programs::SOCKET.to_vec(), Hook::Socket)
        } else {
            (programs::of_cgroup(options), Hook::Cgroup)
        };
        let mut loaded = programs::load_with_btf(btf, options, &entries)?;
        fill_owners(&mut loaded);
        Ok(Self { live: Live::new(loaded, options, Vec::new(), hook, "")? })
    }

    /// Removes the program that the tap calls.
    ///
    /// # Errors
    /// Returns an error if the kernel refuses.
    pub fn remove_inspect_program(&mut self) -> io::Result<()> {
        let attached = self.live.attached.as_mut();
        let map = attached.and_then(|attached| attached.programs.ebpf.map_mut("LOOK"));
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
        let program = self.live.loaded().and_then(|loaded| loaded.ebpf.program(program));
        test_run(program.ok_or_else(|| io::Error::other("no such program"))?, frame, repeat)
    }
}

/// The words of the map `CONFIG` that disable wakeups of the readers, as another process sees them.
pub struct QuietWords(Array<MapData, u64>);

impl QuietWords {
    /// Opens the map behind a descriptor.
    ///
    /// # Errors
    /// Returns an error if it is no such map.
    pub fn open(map: OwnedFd) -> io::Result<Self> {
        let map = MapData::from_fd(map).and_then(Map::from_map_data).map_err(io::Error::other)?;
        Ok(Self(map.try_into().map_err(io::Error::other)?))
    }

    /// Returns the words of the first `rings` rings.
    ///
    /// # Errors
    /// Returns an error if the kernel refuses.
    pub fn read(&self, rings: u32) -> io::Result<Vec<u64>> {
        let words = (0..rings).map(|ring| self.0.get(&(CONFIG_QUIET + ring), 0));
        words.collect::<Result<_, _>>().map_err(io::Error::other)
    }

    /// Asks for wakeups at the first `rings` rings, as an agent does that takes over.
    ///
    /// # Errors
    /// Returns an error if the kernel refuses.
    pub fn clear(&mut self, rings: u32) -> io::Result<()> {
        (0..rings)
            .try_for_each(|ring| self.0.set(CONFIG_QUIET + ring, 0, 0).map_err(io::Error::other))
    }
}

impl Live {
    /// Sets the share that is left out by sampling, whatever the load.
    pub fn force_sampling(&mut self, cut: Cut) {
        self.write_cuts(Instant::now(), Some(cut));
    }

    /// Returns how long after a query its response is sampled like it.
    #[must_use]
    pub const fn sampling_memory(&self) -> Duration {
        self.sampler.recent.memory
    }

    /// Returns the loaded programs; none once they are detached.
    #[must_use]
    pub fn loaded(&self) -> Option<&Loaded> {
        self.attached.as_ref().map(|attached| &attached.programs)
    }

    /// Returns what the kernel knows of a loaded program.
    #[must_use]
    pub fn program_info(&self, program: &str) -> Option<ProgramInfo> {
        self.loaded()?.ebpf.program(program)?.info().ok()
    }
}

/// Runs a program on a frame. Returns its last result, and the mean time of a run in nanoseconds.
///
/// # Errors
/// Returns an error if the frame is too short.
pub fn test_run(program: &Program, frame: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
    let result = match program {
        Program::CgroupSkb(program) => program.test_run(options),
        Program::SocketFilter(program) => program.test_run(options),
        _ => return Err(io::Error::other("not a program for packets")),
    };
    let result = result.map_err(io::Error::other)?;
    Ok((result.return_value, result.duration.subsec_nanos()))
}
