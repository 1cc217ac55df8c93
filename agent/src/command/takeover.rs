//! How `run` takes over from a running agent, and is taken over from: see [`crate::takeover`].

use super::run::attach;
use super::session::live_options;
use crate::capture::live::{Live, Parts, object_digest};
use crate::config::Config;
use crate::exit::Exit;
use crate::pair::{Carried, Fate};
use crate::pipeline::{Batch, Pipeline, Shard};
use crate::privilege::helper::PrivilegedHelper;
use crate::takeover::page::{self, Writer};
use crate::takeover::{Hello, Kind, Line, MAX_PARTS, Offer, PROTOCOL, State};
use crate::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the running agent may take to answer the first word: it may sleep when it is said.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// How long either may take for anything else; packets wait in the ring meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the new agent waits for the last word: for longer than the running one waits for the word
/// before, which it may just have had.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// How long the new agent may take from the offer until it is ready.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What a run begins with.
pub(super) struct Begun {
    pub(super) live: Live,
    /// Where the next agent will ask, if it may.
    pub(super) desk: Option<Desk>,
    /// The running agent that this one takes over from.
    pub(super) running: Option<Running>,
}

/// Takes over what a running agent captures where there is one and it agrees; else attaches.
pub(super) fn begin(config: &Config, scout: Option<&PrivilegedHelper>) -> Result<Begun, Exit> {
    let Some(path) = &config.takeover_socket else {
        return Ok(Begun { live: attach(config, scout)?, desk: None, running: None });
    };
    match ask(config, path, scout) {
        Ok(Some(begun)) => return Ok(begun),
        Ok(None) => {}
        Err(why) => tracing::warn!(
            "cannot take over from the agent at {}: {why}. This one captures beside it from an epoch of \
             its own, so that what both tell has different event ids",
            path.display()
        ),
    }
    let live = attach(config, scout)?;
    let listener = listen(path).map_err(|error| {
        Exit::failed(format!("cannot listen at takeover.socket {}: {error}", path.display()))
            .with_remedy("give a path in a directory that exists and only its owner can write to")
    })?;
    Ok(Begun { live, desk: Some(Desk::new(listener)), running: None })
}

/// Nothing where nobody listens.
fn ask(
    config: &Config,
    path: &Path,
    scout: Option<&PrivilegedHelper>,
) -> Result<Option<Begun>, String> {
    let socket = match UnixStream::connect(path) {
        Ok(socket) => socket,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let failed = |error: io::Error| error.to_string();
    let mut line = Line::new(socket, FIRST_PATIENCE).map_err(failed)?;
    let peer = line.peer().map_err(failed)?;
    if !is_trusted(peer, own_user()) {
        return Err(format!("it belongs to user {peer}"));
    }
    line.send_json(Kind::Hello, &hello(config)).map_err(failed)?;
    let offer: Offer = line.expect_json(Kind::Offer).map_err(failed)?;
    let mut descriptors = line.take_descriptors().into_iter();
    let listener = descriptors.next().ok_or("it has given no descriptors")?;
    let descriptors: Vec<_> = descriptors.collect();
    if descriptors.len() != offer.parts.len() {
        return Err(format!("{} of {} descriptors came", descriptors.len(), offer.parts.len()));
    }
    let parts = Parts::new(offer.about, offer.parts, descriptors);
    let options = live_options(config, scout.map(PrivilegedHelper::icmp));
    let adopted = Live::adopt(parts, &options).map_err(|error| error.to_string())?;
    tracing::info!(pid = offer.pid, "about to take over: {}", adopted.describe());
    let epoch = Timestamp::from_nanos(offer.epoch);
    let running = Running { line, epoch, pid: offer.pid };
    let desk = Some(Desk::new(UnixListener::from(listener)));
    Ok(Some(Begun { live: adopted, desk, running: Some(running) }))
}

/// What has to be the same in two agents that share a capture.
fn hello(config: &Config) -> Hello {
    let capture = &config.capture;
    let path = |path: &Path| path.display().to_string();
    let same = [
        ("eBPF programs", object_digest()),
        ("node", config.node.clone()),
        ("hook", format!("{:?}", capture.hook).to_lowercase()),
        ("cgroup", capture.cgroup.as_deref().map_or_else(|| "its root".to_owned(), path)),
        ("interfaces", capture.interfaces.join(", ")),
        ("ports", capture.ports.to_string()),
        ("encrypted DNS", format!("{:?}", capture.encrypted)),
        ("threads", capture.rings.to_string()),
        ("ring_bytes", capture.ring_bytes.to_string()),
        ("snap_bytes", capture.snap_bytes.to_string()),
    ];
    let same: BTreeMap<_, _> =
        same.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), same }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

/// Listens at a path, in the place of a socket that nobody listens at any more.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("it is there, and no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // No other thread is there yet that could make a file meanwhile.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Where the next agent asks.
pub(super) struct Desk {
    listener: UnixListener,
    /// Who may ask, beside root: whoever started this agent.
    user: u32,
    caller: Option<Caller>,
}

/// Who asks.
struct Caller {
    line: Line,
    since: Instant,
    /// What it said, once it was given the parts.
    offered: Option<Hello>,
}

impl Desk {
    fn new(listener: UnixListener) -> Self {
        Self { listener, user: own_user(), caller: None }
    }

    /// Looks whether anybody asks, and answers; waits for nobody. True once the one who asks is ready to
    /// take over.
    pub(super) fn look(&mut self, config: &Config, live: &Live, epoch: Timestamp) -> bool {
        match self.attend(config, live, epoch) {
            Ok(is_ready) => is_ready,
            Err(why) => {
                tracing::warn!("an agent that asked to take over does not: {why}");
                self.caller = None;
                false
            }
        }
    }

    fn attend(&mut self, config: &Config, live: &Live, epoch: Timestamp) -> Result<bool, String> {
        let failed = |error: io::Error| error.to_string();
        let Some(caller) = &mut self.caller else {
            self.listener.set_nonblocking(true).map_err(failed)?;
            // Mostly nobody is there; one who has gone away again is no harm.
            let Ok((socket, _)) = self.listener.accept() else { return Ok(false) };
            self.caller = Some(Caller {
                line: Line::new(socket, PATIENCE).map_err(failed)?,
                since: Instant::now(),
                offered: None,
            });
            return Ok(false);
        };
        if !is_readable(&caller.line) {
            let patience = if caller.offered.is_some() { START_PATIENCE } else { FIRST_PATIENCE };
            let is_late = caller.since.elapsed() > patience;
            return if is_late { Err("it says nothing".to_owned()) } else { Ok(false) };
        }
        if let Some(theirs) = &caller.offered {
            caller.line.expect(Kind::Go).map_err(failed)?;
            // The configuration may have been reloaded meanwhile.
            let Some(why) = hello(config).differs(theirs) else { return Ok(true) };
            return Err(refuse(&mut caller.line, &why));
        }
        let peer = caller.line.peer().map_err(failed)?;
        if !is_trusted(peer, self.user) {
            return Err(format!("it belongs to user {peer}"));
        }
        let theirs: Hello = caller.line.expect_json(Kind::Hello).map_err(failed)?;
        let parts = live.parts().filter(|parts| parts.descriptors().len() < MAX_PARTS);
        let refusal = hello(config).differs(&theirs);
        let why = match (refusal, parts) {
            (None, Some(parts)) => {
                let offer = Offer {
                    epoch: epoch.as_nanos(),
                    pid: std::process::id(),
                    about: parts.about().clone(),
                    parts: parts.names(),
                };
                let body = serde_json::to_vec(&offer).map_err(|error| error.to_string())?;
                let mut descriptors = vec![self.listener.as_fd()];
                descriptors.extend(parts.descriptors());
                let version = &theirs.version;
                tracing::info!(version, "another agent is about to take over");
                caller.offered = Some(theirs);
                caller.line.send_with(Kind::Offer, &body, &descriptors).map_err(failed)?;
                return Ok(false);
            }
            (Some(why), _) => why,
            (None, None) => "its programs have too many parts".to_owned(),
        };
        Err(refuse(&mut caller.line, &why))
    }

    /// Gives the one who is ready all that it has to know. Where this fails it has taken nothing, and
    /// will not.
    pub(super) fn hand_over(&mut self, state: &State, pages: &[Vec<u8>]) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let Caller { mut line, .. } = self.caller.take().ok_or_else(gone)?;
        line.send_json(Kind::State, state)?;
        for page in pages {
            line.send(Kind::Page, page)?;
        }
        line.send(Kind::End, &[])?;
        line.expect(Kind::Took)?;
        line.send(Kind::Over, &[])
    }

    /// Lets go of who asks.
    pub(super) fn hang_up(&mut self) {
        self.caller = None;
    }
}

/// Says why, and gives the words for the log.
fn refuse(line: &mut Line, why: &str) -> String {
    // That it was refused is all the same to one who has gone.
    let _ = line.send(Kind::Refused, why.as_bytes());
    format!("it was refused ({why})")
}

fn is_readable(line: &Line) -> bool {
    let mut polled = [PollFd::new(line, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// The queries of the front that is in this thread, for another agent.
pub(super) fn pages_of(pipeline: &Pipeline) -> Vec<Vec<u8>> {
    let mut writer = Writer::new(0);
    pipeline.carry(&mut |carried| writer.push(carried));
    writer.finish()
}

/// The running agent, which is ready to be taken over from.
pub(super) struct Running {
    line: Line,
    epoch: Timestamp,
    pid: u32,
}

impl Running {
    /// When its capture began.
    pub(super) const fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// Has it stop, and goes on from there: the pipeline, with `shards` where there are several threads,
    /// and the capture, which has readers then.
    pub(super) fn take(
        mut self,
        config: &Config,
        live: &mut Live,
        pipeline: &mut Pipeline,
        shards: &mut [Shard],
    ) -> Result<(), Exit> {
        let pid = self.pid;
        self.take_all(config, live, pipeline, shards).map_err(|why| {
            Exit::failed(format!("cannot take over from the agent with pid {pid}: {why}"))
                .with_remedy("it goes on; start this one again, or stop that one first")
        })
    }

    fn take_all(
        &mut self,
        config: &Config,
        live: &mut Live,
        pipeline: &mut Pipeline,
        shards: &mut [Shard],
    ) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let Self { line, epoch, pid } = self;
        line.set_limit(LAST_PATIENCE).map_err(failed)?;
        line.send(Kind::Go, &[]).map_err(failed)?;
        let state: State = line.expect_json(Kind::State).map_err(failed)?;
        if state.stands.len() != config.capture.rings as usize {
            return Err("it has another number of threads".to_owned());
        }
        let State { progress, stands, standing, stopped } = state;
        if shards.is_empty() {
            for stand in &stands {
                pipeline.adopt_stand(stand);
            }
        }
        for (shard, stand) in shards.iter_mut().zip(&stands) {
            shard.adopt(stand);
        }
        let now = Timestamp::now();
        pipeline.adopt(standing, now, &mut |change| {
            for shard in &mut *shards {
                shard.sample(change);
            }
        });
        let mut waiting = 0_u64;
        loop {
            let page = match line.read().map_err(failed)? {
                (Kind::Page, page) => page,
                (Kind::End, _) => break,
                (kind, _) => return Err(format!("it says {kind:?}")),
            };
            let mut batch = Batch::default();
            let mut number = None;
            let each = &mut |shard: usize, carried: &Carried<'_>| {
                waiting += u64::from(carried.fate == Fate::Waiting);
                number = Some(shard);
                match shards.get_mut(shard) {
                    Some(shard) => shard.fill_restored(carried, &mut batch),
                    None => pipeline.restore(carried),
                }
            };
            page::read(&page, each).map_err(|error| error.to_string())?;
            let both =
                number.and_then(|number| Some((shards.get_mut(number)?, stands.get(number)?)));
            if let Some((shard, stand)) = both {
                shard.seal_restored(&mut batch, stand.received(), *epoch);
                pipeline.put_restored(batch);
            }
        }
        // So that the counters are those of before even where no query waits.
        for (shard, stand) in shards.iter_mut().zip(&stands) {
            let mut batch = Batch::default();
            shard.seal_restored(&mut batch, stand.received(), *epoch);
            pipeline.put_restored(batch);
        }
        let received = stands.iter().map(|stand| stand.received().to_vec()).collect();
        live.go_on(progress, received, config.capture.nice).map_err(|error| error.to_string())?;
        line.send(Kind::Took, &[]).map_err(failed)?;
        line.expect(Kind::Over).map_err(failed)?;
        let unread = Timestamp::now().since(Timestamp::from_nanos(stopped));
        let unread_ms = u64::try_from(unread.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(pid = *pid, queries = waiting, unread_ms, "taken over");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn listens_for_its_owner_alone_and_in_the_place_of_a_dead_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for _ in 0..2 {
            let listener = listen(&path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            drop(listener);
        }
        let file = directory.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn trusts_root_and_its_own_user() {
        assert!(is_trusted(0, 1000) && is_trusted(1000, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(65_534, 0));
    }
}
