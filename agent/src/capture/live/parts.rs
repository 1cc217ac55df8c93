//! Descriptors of a running capture (links, maps, packet sockets), for the handover to another process. A
//! program stays attached while any process holds its link, and a map exists while any process has it open.

use super::open::listeners;
use super::programs::Loaded;
use super::ring::{self, Ring};
use super::sampler::Sampler;
use super::{CannotCapture, Clock, Hook, Live, LiveOptions, Reader, internal_error, tap};
use crate::capture::Received;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::ProgramError;
use dnscribe_common::CONFIG_QUIET;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

const RING: &str = "ring";
const MAP: &str = "map";
const LINK: &str = "link";
const TAP: &str = "tap";

/// Kind and name of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleName {
    kind: String,
    name: String,
}

/// The descriptors of a capture, with its description.
#[derive(Debug)]
pub struct CaptureHandles {
    about: CaptureInfo,
    parts: Vec<(HandleName, OwnedFd)>,
}

/// Description of a capture, for the process that takes it over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaptureInfo {
    hook: String,
    description: String,
    /// Size of each ring in bytes.
    ring_bytes: u32,
    /// The captured cgroup, if any.
    cgroup: Option<std::path::PathBuf>,
}

/// State of a capture's readers that is not in its maps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReaderState {
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` in the packets' time stamps, in nanoseconds.
    clock_offset_ns: u64,
    /// Counts of not exported packets that were already reported.
    untold: super::sampler::ReportedTotals,
}

impl CaptureHandles {
    pub(super) fn of(
        loaded: &Loaded,
        taps: &[OwnedFd],
        (hook, description): (Hook, &str),
        cgroup: Option<std::path::PathBuf>,
    ) -> io::Result<Self> {
        let mut parts = Vec::new();
        let mut add = |kind: &str, name: &str, fd: BorrowedFd<'_>| -> io::Result<()> {
            let name = HandleName { kind: kind.to_owned(), name: name.to_owned() };
            parts.push((name, fd.try_clone_to_owned()?));
            Ok(())
        };
        for (number, ring) in loaded.rings.iter().enumerate() {
            add(RING, &number.to_string(), ring.as_fd())?;
        }
        for (name, map) in loaded.ebpf.maps() {
            if let Some(data) = data(map) {
                add(MAP, name, data.fd().as_fd())?;
            }
        }
        for tap in taps {
            add(TAP, "", tap.as_fd())?;
        }
        for link in links(loaded)? {
            add(LINK, "", link.as_fd())?;
        }
        let (hook, description) = (hook.name().to_owned(), description.to_owned());
        let about = CaptureInfo { hook, description, ring_bytes: loaded.ring_bytes, cgroup };
        Ok(Self { about, parts })
    }

    /// Creates it from received descriptors.
    #[must_use]
    pub fn new(about: CaptureInfo, names: Vec<HandleName>, descriptors: Vec<OwnedFd>) -> Self {
        Self { about, parts: names.into_iter().zip(descriptors).collect() }
    }

    /// Returns the description.
    #[must_use]
    pub const fn about(&self) -> &CaptureInfo {
        &self.about
    }

    /// Returns kind and name of each descriptor, in the order of [`Self::descriptors`].
    #[must_use]
    pub fn names(&self) -> Vec<HandleName> {
        self.parts.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns the descriptors.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.parts.iter().map(|(_, fd)| fd.as_fd()).collect()
    }

    fn map(&self, name: &str) -> Result<Map, CannotCapture> {
        let found = self.parts.iter().find(|(part, _)| part.kind == MAP && part.name == name);
        let (_, fd) = found
            .ok_or_else(|| internal_error(format!("map {name} is missing in the handover")))?;
        map(fd).map_err(internal_error)
    }

    fn rings(&self) -> Result<Vec<Map>, CannotCapture> {
        let rings = self.parts.iter().filter(|(part, _)| part.kind == RING);
        rings.map(|(_, fd)| map(fd).map_err(internal_error)).collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.parts.iter().filter(|(part, _)| part.kind == kind).count()
    }
}

/// Opens a map that another process created.
fn map(fd: &OwnedFd) -> Result<Map, MapError> {
    let fd = fd.try_clone().map_err(MapError::IoError)?;
    Map::from_map_data(MapData::from_fd(fd)?)
}

/// Returns the data of maps that the agent uses, and of maps that the kernel empties when no process has them
/// open, such as program arrays.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::ProgramArray(data) => Some(data),
        _ => None,
    }
}

/// Finds the links of the programs. aya does not expose them, but `/proc/self/fdinfo` shows the kind of each
/// descriptor.
fn links(loaded: &Loaded) -> io::Result<Vec<OwnedFd>> {
    let failed = |error: ProgramError| io::Error::other(error);
    let mut programs = Vec::new();
    for entry in &loaded.entries {
        if let Some(program) = loaded.ebpf.program(entry.name) {
            programs.push(program.info().map_err(failed)?.id());
        }
    }
    let mut links = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let entry = entry?;
        // A descriptor that was closed meanwhile, such as the one of this directory, is not a link.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if program_of_link(&text).is_some_and(|program| programs.contains(&program)) {
            // SAFETY: no other thread closes anything while capture begins, and the descriptor is
            // copied at once.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            links.push(fd.try_clone_to_owned()?);
        }
    }
    Ok(links)
}

/// Returns the id of the program that a link attaches; none for other descriptors.
fn program_of_link(fdinfo: &str) -> Option<u32> {
    let value = |key: &str| fdinfo.lines().find_map(|line| line.strip_prefix(key));
    value("link_type:")?;
    value("prog_id:")?.trim().parse().ok()
}

impl Live {
    /// Returns the descriptors of this capture, if it was opened as shared.
    #[must_use]
    pub const fn parts(&self) -> Option<&CaptureHandles> {
        self.parts.as_ref()
    }

    /// Returns the state that is not in the maps.
    #[must_use]
    pub fn progress(&self) -> ReaderState {
        ReaderState { clock_offset_ns: self.clock.offset_ns(), untold: self.sampler.reported() }
    }

    /// Takes over a capture that another process still reads. It has no readers before
    /// [`Self::resume`].
    ///
    /// # Errors
    /// Returns an error if descriptors are missing or of the wrong kind.
    pub fn adopt(parts: CaptureHandles, options: &LiveOptions) -> Result<Self, CannotCapture> {
        let hooks = [Hook::Cgroup, Hook::Socket];
        let hook = hooks.into_iter().find(|hook| hook.name() == parts.about.hook);
        let hook = hook.ok_or_else(|| internal_error("unknown hook in the handover"))?;
        if parts.count(RING) != options.rings as usize {
            return Err(internal_error("different number of rings in the handover"));
        }
        if parts.count(LINK) + parts.count(TAP) == 0 {
            return Err(internal_error("no links or packet sockets in the handover"));
        }
        let config: ring::Config = Array::try_from(parts.map("CONFIG")?).map_err(internal_error)?;
        let totals = PerCpuHashMap::try_from(parts.map("TOTALS")?).map_err(internal_error)?;
        let others = PerCpuArray::try_from(parts.map("TOTALS_OTHER")?).map_err(internal_error)?;
        let locals = (hook == Hook::Socket).then(tap::LocalAddresses::new);
        let sampler = Sampler::from_maps(totals, others, options, locals);
        let counters = PerCpuArray::try_from(parts.map("COUNTERS")?).map_err(internal_error)?;
        let table = parts.map(super::ports::MAP)?;
        let table = super::ports::PortTable::from_map(table, options.encrypted.clone());
        let mut live = Self {
            attached: None,
            hook,
            description: parts.about.description.clone(),
            readers: Vec::new(),
            gauges: Vec::new(),
            counters,
            clock: Arc::new(Clock::new()),
            config: Arc::new(Mutex::new(config)),
            sampler,
            ports: table.map_err(internal_error)?,
            listeners: None,
            unread: parts.rings()?,
            parts: None,
        };
        if let Some(directory) = &parts.about.cgroup {
            let mount = super::cgroup2_mount().unwrap_or_else(|| directory.clone());
            // Without them, the received description may promise too much.
            live.listeners = listeners(&mount, directory, options.scout.as_ref())
                .inspect_err(|why| {
                    tracing::warn!("capturing ICMP errors of connected sockets only: {why}");
                })
                .ok();
        }
        live.parts = Some(parts);
        Ok(live)
    }

    /// Starts reading where the other process stopped; it must have stopped. `received` is what it received
    /// from each ring. Needs no privileges.
    ///
    /// # Errors
    /// Returns an error if a ring cannot be mapped.
    pub fn resume(
        &mut self,
        progress: ReaderState,
        received: Vec<Vec<Received>>,
        nice: u8,
    ) -> Result<(), CannotCapture> {
        let Some(parts) = &self.parts else { return Ok(()) };
        self.clock.adopt(progress.clock_offset_ns);
        {
            let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            let cuts = config.get(&dnscribe_common::CONFIG_SAMPLING, 0).map_err(internal_error)?;
            self.sampler.resume(cuts, progress.untold);
            // The other readers may have been polling; these start with wakeups.
            for number in (0..).take(parts.count(RING)) {
                config.set(CONFIG_QUIET + number, 0, 0).map_err(internal_error)?;
            }
        }
        let mut received = received.into_iter();
        for (number, map) in (0..).zip(std::mem::take(&mut self.unread)) {
            // Mapped only now, because this reads the reader's position.
            let records = RingBuf::try_from(map).map_err(internal_error)?;
            let config = Arc::clone(&self.config);
            let ring = Ring::new(number, records, parts.about.ring_bytes, config, nice);
            let mut ring = ring.map_err(internal_error)?;
            ring.poll_for_a_while();
            let locals = (self.hook == Hook::Socket).then(tap::LocalAddresses::new);
            let mut reader = Reader::new(ring, Arc::clone(&self.clock), locals);
            reader.set_received(received.next().unwrap_or_default());
            self.listeners.iter().for_each(|listeners| reader.set_coverage(listeners.coverage()));
            self.gauges.push(reader.gauge());
            self.readers.push(reader);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_link_from_other_descriptors() {
        let link = "pos:\t0\nflags:\t02000000\nlink_type:\tcgroup\nlink_id:\t9\nprog_tag:\tab\nprog_id:\t71\ncgroup_id:\t1\n";
        assert_eq!(program_of_link(link), Some(71));
        let program = "pos:\t0\nprog_type:\t8\nprog_jited:\t1\nprog_id:\t71\n";
        assert_eq!(program_of_link(program), None);
        assert_eq!(program_of_link("pos:\t0\nflags:\t02\n"), None);
    }
}
