//! The programs of `agent-ebpf/baseline`, that those of the agent are measured against.

use super::super::tap;
use super::{Cost, cost, descriptor, test_run};
use aya::maps::{Array, MapData, RingBuf};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{CgroupSkbAttachType, Program};
use aya::{Ebpf, EbpfLoader};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Where the build script left them.
const OBJECT: &str = env!("DNSCRIBE_EBPF_BASELINE");

/// The programs, with a ring of their own.
pub struct Baseline {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    full: Array<MapData, u64>,
    taps: Vec<OwnedFd>,
}

impl Baseline {
    /// Reads the object and makes its maps; programs are loaded when first run or attached.
    ///
    /// # Errors
    /// Where the object is not there, or the kernel refuses.
    pub fn load(ring_bytes: u32) -> io::Result<Self> {
        let object = std::fs::read(OBJECT).map_err(|error| {
            let hint = "build the agent without DNSCRIBE_EBPF_PREBUILT";
            io::Error::new(error.kind(), format!("cannot read {OBJECT}: {error}; {hint}"))
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

    /// The programs that tell what one thing costs, with how often each does it.
    #[must_use]
    pub fn prices(&self) -> (Vec<String>, u32) {
        const TIMES: u32 = 16;
        let others = |name: &str| !name.ends_with("_cgroup") && !name.ends_with("_tap");
        let mut names: Vec<String> = self
            .ebpf
            .programs()
            .map(|(name, _)| name.to_owned())
            .filter(|name| others(name))
            .collect();
        names.sort();
        (names, TIMES)
    }

    /// Runs a program on an Ethernet frame `repeat` times, and gives the mean time of a run in
    /// nanoseconds. What it put into the ring is taken out again.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn time(&mut self, program: &str, frame: &[u8], repeat: u32) -> io::Result<u32> {
        self.program(program)?;
        let (_, nanoseconds) = test_run(descriptor(&self.ebpf, program)?, frame, repeat)?;
        self.drain();
        Ok(nanoseconds)
    }

    /// Attaches a program for packets of a cgroup, until this is dropped.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach_cgroup(&mut self, program: &str, cgroup: &File, egress: bool) -> io::Result<()> {
        let Program::CgroupSkb(program) = self.program(program)? else {
            return Err(io::Error::other("not a program for cgroups"));
        };
        let way = if egress { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
        program.attach(cgroup, way, CgroupAttachMode::Single).map(drop).map_err(io::Error::other)
    }

    /// Attaches a program to an interface, until this is dropped.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach_tap(&mut self, program: &str, interface: &str) -> io::Result<()> {
        let Program::SocketFilter(program) = self.program(program)? else {
            return Err(io::Error::other("not a program for interfaces"));
        };
        let taps = tap::open(program, &[interface.to_owned()]).map_err(io::Error::other)?;
        self.taps.extend(taps);
        Ok(())
    }

    /// What a program took so far.
    ///
    /// # Errors
    /// Where `/proc` does not tell.
    pub fn cost(&self, program: &str) -> io::Result<Cost> {
        cost(descriptor(&self.ebpf, program)?)
    }

    /// Takes everything out of the ring.
    pub fn drain(&mut self) {
        while self.ring.next().is_some() {}
    }

    /// How often the ring had no room.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn full(&self) -> io::Result<u64> {
        self.full.get(&0, 0).map_err(io::Error::other)
    }

    /// A program, loaded.
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
