//! Baseline programs of `agent-ebpf/baseline`, for comparison in benchmarks.

use aya::maps::{Array, MapData, RingBuf};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{CgroupSkbAttachType, Program, ProgramInfo};
use aya::{Ebpf, EbpfLoader};
use dnscribe_agent::capture::live::testing::{BASELINE_OBJECT, attach_tap, test_run};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Baseline programs with a ring.
pub struct Baseline {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    full: Array<MapData, u64>,
    taps: Vec<OwnedFd>,
}

impl Baseline {
    /// Reads the object and creates its maps. Programs are loaded when first run or attached.
    pub fn load(ring_bytes: u32) -> io::Result<Self> {
        let object = std::fs::read(BASELINE_OBJECT).map_err(|error| {
            let hint = "build the agent without DNSCRIBE_EBPF_PREBUILT";
            io::Error::new(error.kind(), format!("cannot read {BASELINE_OBJECT}: {error}; {hint}"))
        })?;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("RING", ring_bytes)
            .load(&object)
            .map_err(io::Error::other)?;
        let mut take = |name: &str| {
            ebpf.take_map(name).ok_or_else(|| io::Error::other(format!("no map {name}")))
        };
        Ok(Self {
            ring: take("RING")?.try_into().map_err(io::Error::other)?,
            full: take("FULL")?.try_into().map_err(io::Error::other)?,
            ebpf,
            taps: Vec::new(),
        })
    }

    /// Returns the names of the programs that measure one operation, and how often each repeats it.
    pub fn operation_programs(&self) -> (Vec<String>, u32) {
        const REPETITIONS: u32 = 16;
        let others = |name: &str| !name.ends_with("_cgroup") && !name.ends_with("_tap");
        let mut names: Vec<String> = self
            .ebpf
            .programs()
            .map(|(name, _)| name.to_owned())
            .filter(|name| others(name))
            .collect();
        names.sort();
        (names, REPETITIONS)
    }

    /// Runs a program `repeat` times on an Ethernet frame, and empties the ring. Returns the mean time of a run in
    /// nanoseconds.
    pub fn time(&mut self, program: &str, frame: &[u8], repeat: u32) -> io::Result<u32> {
        let (_, nanoseconds) = test_run(self.program(program)?, frame, repeat)?;
        self.drain();
        Ok(nanoseconds)
    }

    /// Attaches a program to a cgroup until this is dropped.
    pub fn attach_cgroup(&mut self, program: &str, cgroup: &File, egress: bool) -> io::Result<()> {
        let Program::CgroupSkb(program) = self.program(program)? else {
            return Err(io::Error::other("not a program for cgroups"));
        };
        let direction =
            if egress { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
        program
            .attach(cgroup, direction, CgroupAttachMode::Single)
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Attaches a program to an interface until this is dropped.
    pub fn attach_tap(&mut self, program: &str, interface: &str) -> io::Result<()> {
        let Program::SocketFilter(program) = self.program(program)? else {
            return Err(io::Error::other("not a program for interfaces"));
        };
        let taps = attach_tap(program, &[interface.to_owned()]).map_err(io::Error::other)?;
        self.taps.extend(taps);
        Ok(())
    }

    /// Returns what the kernel knows of a program.
    pub fn info(&mut self, program: &str) -> io::Result<ProgramInfo> {
        self.program(program)?.info().map_err(io::Error::other)
    }

    /// Empties the ring.
    pub fn drain(&mut self) {
        while self.ring.next().is_some() {}
    }

    /// Returns how often the ring was full.
    pub fn full(&self) -> io::Result<u64> {
        self.full.get(&0, 0).map_err(io::Error::other)
    }

    /// Returns a program, and loads it first if necessary.
    fn program(&mut self, name: &str) -> io::Result<&mut Program> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| io::Error::other(format!("no program {name}")))?;
        if program.fd().is_err() {
            match program {
                Program::CgroupSkb(program) => program.load(),
                Program::SocketFilter(program) => program.load(),
                _ => return Err(io::Error::other("not a program for packets")),
            }
            .map_err(io::Error::other)?;
        }
        Ok(program)
    }
}
