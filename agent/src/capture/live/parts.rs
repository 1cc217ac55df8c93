//! Descriptors of a running capture (links, maps, packet sockets), for the handover to another process. A
//! program stays attached while any process holds its link, and a map exists while any process has it open.

use super::open::listeners;
use super::programs::Loaded;
use super::sampler::Key;
use super::{CannotCapture, Hook, Live, LiveOptions, internal};
use crate::capture::Received;
use aya::maps::{Map, MapData, MapError, RingBuf};
use aya::programs::ProgramError;
use dnscribe_common::CONFIG_QUIET;
use dnscribe_common::totals::OUTCOMES;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::PoisonError;

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandleName {
    /// A ring; the rings are in the order of their numbers.
    Ring,
    /// A map of this name.
    Map(String),
    /// A packet socket.
    Tap,
    /// A link of a program.
    Link,
}

/// The descriptors of a capture, with its description.
#[derive(Debug)]
pub struct CaptureHandles {
    /// The description.
    pub about: CaptureInfo,
    /// What each descriptor is.
    pub names: Vec<HandleName>,
    /// The descriptors.
    pub descriptors: Vec<OwnedFd>,
}

/// Description of a capture, for the process that takes it over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaptureInfo {
    hook: String,
    description: String,
    /// Size of each ring in bytes.
    ring_bytes: u32,
    /// The captured cgroup, if any.
    cgroup: Option<PathBuf>,
}

/// State of a capture's readers that is not in its maps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReaderState {
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` when capture began, and how far the host's clock was set since, in
    /// nanoseconds.
    clock_ns: (i64, i64),
    /// Counts of not exported packets that were already reported.
    reported: Vec<(Key, [u64; OUTCOMES])>,
}

impl CaptureHandles {
    pub(super) fn of(
        loaded: &Loaded,
        taps: &[OwnedFd],
        (hook, description): (Hook, &str),
        cgroup: Option<PathBuf>,
    ) -> io::Result<Self> {
        let maps = loaded.ebpf.maps().filter_map(|(name, map)| Some((name, data(map)?)));
        let maps = maps.map(|(name, map)| (HandleName::Map(name.to_owned()), map.fd().as_fd()));
        let links = links(loaded)?;
        let (names, descriptors): (Vec<_>, Vec<_>) = (loaded.rings.iter())
            .map(|ring| (HandleName::Ring, ring.as_fd()))
            .chain(maps)
            .chain(taps.iter().map(|tap| (HandleName::Tap, tap.as_fd())))
            .chain(links.iter().map(|link| (HandleName::Link, link.as_fd())))
            .unzip();
        let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned);
        let descriptors = descriptors.collect::<io::Result<_>>()?;
        let (hook, description) = (hook.name().to_owned(), description.to_owned());
        let about = CaptureInfo { hook, description, ring_bytes: loaded.ring_bytes, cgroup };
        Ok(Self { about, names, descriptors })
    }

    fn named(&self, wanted: &HandleName) -> impl Iterator<Item = &OwnedFd> {
        let all = self.names.iter().zip(&self.descriptors);
        all.filter(move |(name, _)| *name == wanted).map(|(_, fd)| fd)
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
            // SAFETY: a descriptor that refers to a link of one of `loaded`'s programs is owned by `loaded`, which
            // is borrowed here, so that it stays open. It is copied at once.
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
        let reported = self.sampler.reported.iter().map(|(key, sums)| (*key, *sums)).collect();
        ReaderState { clock_ns: self.clock.state(), reported }
    }

    /// Takes over a capture that another process still reads. It has no readers before
    /// [`Self::resume`].
    ///
    /// # Errors
    /// Returns an error if descriptors are missing or of the wrong kind.
    pub fn adopt(parts: CaptureHandles, options: &LiveOptions) -> Result<Self, CannotCapture> {
        let hooks = [Hook::Cgroup, Hook::Socket];
        let hook = hooks.into_iter().find(|hook| hook.name() == parts.about.hook);
        let hook = hook.ok_or_else(|| internal("unknown hook in the handover"))?;
        let unread = parts.named(&HandleName::Ring).map(map).collect::<Result<Vec<_>, _>>()?;
        if unread.len() != options.rings as usize {
            return Err(internal("different number of rings in the handover"));
        }
        let mut attached = parts.named(&HandleName::Link).chain(parts.named(&HandleName::Tap));
        if attached.next().is_none() {
            return Err(internal("no links or packet sockets in the handover"));
        }
        drop(attached);
        let take = |name: &str| {
            let fd = parts.named(&HandleName::Map(name.to_owned())).next();
            let missing = || internal(&format!("map {name} is missing in the handover"));
            Ok(map(fd.ok_or_else(missing)?)?)
        };
        let mut live = Self::without_readers(take, options, hook, &parts.about.description)?;
        live.unread = unread;
        if let Some(directory) = &parts.about.cgroup {
            let mount = super::cgroup2_mount().unwrap_or_else(|| directory.clone());
            // Without them, the received description may promise too much.
            live.listeners = listeners(&mount, directory, &options.icmp)
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
        let ring_bytes = parts.about.ring_bytes;
        self.clock.resume(progress.clock_ns);
        {
            let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            let cuts = config.get(&dnscribe_common::CONFIG_SAMPLING, 0)?;
            self.sampler.resume(cuts, progress.reported);
            // The other readers may have been polling; these start with wakeups.
            for (number, _) in (0..).zip(&self.unread) {
                config.set(CONFIG_QUIET + number, 0, 0)?;
            }
        }
        for map in std::mem::take(&mut self.unread) {
            // Mapped only now, because this reads the reader's position.
            self.add_reader(RingBuf::try_from(map)?, ring_bytes, nice)?;
        }
        for (reader, received) in self.readers.iter_mut().zip(received) {
            reader.ring.poll_for_a_while();
            reader.received = received;
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
