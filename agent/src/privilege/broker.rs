//! Opening of files for the agent, by the process `dnscribe-files`: the client in the agent, and the server.
//!
//! The server acts only on the files of its [`FileList`], which it gets once, before the agent has read any packet, and
//! on files rotated from those. A request names one operation; there is none with free choice of owner, mode or name.

use dnscribe_delivery::files::{FileAnswer, FileBroker, FileRequest, appending};
use dnscribe_delivery::is_rotated_from;
use rustix::fs::{MemfdFlags, OFlags, memfd_create};
use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Maximum size of a message in bytes: some paths.
const MESSAGE_BYTES: usize = 64 << 10;

/// Time limit of a request. A disk may be slow.
const LIMIT: Duration = Duration::from_secs(10);

/// Files that the server may act on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileList {
    /// Files that it opens for reading.
    pub(super) read: Vec<PathBuf>,
    /// Files of records, as configured: it opens, creates and rotates them.
    pub(super) sinks: Vec<PathBuf>,
}

impl FileList {
    pub(super) const fn is_empty(&self) -> bool {
        self.read.is_empty() && self.sinks.is_empty()
    }
}

/// A message with its number, which an answer repeats.
#[derive(Serialize, Deserialize)]
struct Numbered<T> {
    number: u64,
    body: T,
}

/// An answer without its descriptor.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Done,
    /// A descriptor is sent, too.
    File,
    Path(PathBuf),
    /// The number of the system's error, if it is one, and its text.
    Failed(Option<i32>, String),
    /// It is not on the list.
    NotListed,
}

fn send(socket: &OwnedFd, message: &impl Serialize, file: Option<&File>) -> io::Result<()> {
    let message = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = file.map(|file| [file.as_fd()]);
    if let Some(descriptors) = &descriptors
        && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(io::Error::other("no space for a descriptor"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == message.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

/// Receives a message and the descriptor that came with it; none once the other end is closed.
fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> io::Result<Option<(T, Option<File>)>> {
    let mut buffer = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = retry_on_intr(|| {
        let bytes = &mut [IoSliceMut::new(&mut buffer)];
        recvmsg(socket, bytes, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?
    .bytes;
    let mut file = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message {
            file = rights.next().map(File::from);
        }
    }
    if length == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
    Ok(Some((message, file)))
}

/// The client of the process that opens files. One request at a time.
#[derive(Debug)]
pub(super) struct BrokerClient(Mutex<Connection>);

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    last_number: u64,
}

impl BrokerClient {
    /// Gives the server its list, and waits until it is ready.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) fn start(socket: OwnedFd, list: &FileList) -> io::Result<Self> {
        set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT))?;
        set_socket_timeout(&socket, Timeout::Send, Some(LIMIT))?;
        let mut connection = Connection { socket, last_number: 0 };
        connection.exchange(list, None)?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Connection {
    fn exchange(&mut self, body: &impl Serialize, file: Option<&File>) -> io::Result<FileAnswer> {
        self.last_number += 1;
        let number = self.last_number;
        send(&self.socket, &Numbered { number, body }, file)?;
        loop {
            let received: Option<(Numbered<Outcome>, _)> = receive(&self.socket)?;
            let (answer, file) = received.ok_or_else(|| {
                io::Error::other("the process that opens files has ended: restart the agent")
            })?;
            // Otherwise it is a late answer to an earlier request.
            if answer.number == number {
                return match (answer.body, file) {
                    (Outcome::Done, _) => Ok(FileAnswer::Done),
                    (Outcome::File, Some(file)) => Ok(FileAnswer::File(file)),
                    (Outcome::File, None) => Err(io::Error::other("a descriptor is missing")),
                    (Outcome::Path(path), _) => Ok(FileAnswer::Path(path)),
                    (Outcome::Failed(Some(number), _), _) => {
                        Err(io::Error::from_raw_os_error(number))
                    }
                    (Outcome::Failed(None, why), _) => Err(io::Error::other(why)),
                    (Outcome::NotListed, _) => Err(not_listed()),
                };
            }
        }
    }
}

impl FileBroker for BrokerClient {
    fn request(&self, request: &FileRequest, like: Option<&File>) -> io::Result<FileAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).exchange(request, like)
    }
}

/// Serves requests until the other end is closed. `confine` is called with the list, before the first request.
///
/// # Errors
/// The socket fails.
pub(super) fn serve(socket: &OwnedFd, confine: impl FnOnce(&FileList)) -> io::Result<()> {
    let Some((Numbered { number, body: list }, _)) = receive::<Numbered<FileList>>(socket)? else {
        return Ok(());
    };
    confine(&list);
    send(socket, &Numbered { number, body: Outcome::Done }, None)?;
    while let Some((request, like)) = receive::<Numbered<FileRequest>>(socket)? {
        let (outcome, file) = match list.answer(&request.body, like.as_ref()) {
            Ok(FileAnswer::Done) => (Outcome::Done, None),
            Ok(FileAnswer::File(file)) => (Outcome::File, Some(file)),
            Ok(FileAnswer::Path(path)) => (Outcome::Path(path), None),
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied
                    && error.raw_os_error().is_none() =>
            {
                (Outcome::NotListed, None)
            }
            Err(error) => (Outcome::Failed(error.raw_os_error(), error.to_string()), None),
        };
        send(socket, &Numbered { number: request.number, body: outcome }, file.as_ref())?;
    }
    Ok(())
}

impl FileList {
    fn answer(&self, request: &FileRequest, like: Option<&File>) -> io::Result<FileAnswer> {
        match request {
            FileRequest::Read(path) => {
                let is_listed = self.read.contains(path);
                allow(is_listed || self.is_rotated(path))?;
                // A rotated file is never a link.
                let flags = if is_listed { OFlags::empty() } else { OFlags::NOFOLLOW };
                open_with(path, flags).map(FileAnswer::File)
            }
            FileRequest::Append { path, create } => {
                allow(self.is_sink(path))?;
                append(path, *create, like).map(FileAnswer::File)
            }
            FileRequest::CreateNew(path) => {
                allow(self.is_rotated(path))?;
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(path)?;
                set_owner_and_mode(&file, like)?;
                Ok(FileAnswer::File(file))
            }
            FileRequest::Rename { from, to } => {
                let is_known = |path| self.is_rotated(path) || self.is_target(path);
                allow(is_known(from) && is_known(to))?;
                rename(from, to).map(|()| FileAnswer::Done)
            }
            FileRequest::Remove(path) => {
                allow(self.is_rotated(path))?;
                fs::remove_file(path).map(|()| FileAnswer::Done)
            }
            FileRequest::Metadata(path) => {
                allow(self.is_sink(path))?;
                open_with(path, OFlags::PATH).map(FileAnswer::File)
            }
            FileRequest::Canonicalize(path) => {
                allow(self.is_sink(path))?;
                path.canonicalize().map(FileAnswer::Path)
            }
            FileRequest::List(path) => {
                allow(self.is_sink(path))?;
                list_names(path).map(FileAnswer::File)
            }
        }
    }

    /// Whether it is a file of records, or what a link of that name leads to.
    fn is_sink(&self, path: &PathBuf) -> bool {
        self.sinks.contains(path) || self.is_target(path)
    }

    fn targets(&self) -> impl Iterator<Item = PathBuf> {
        self.sinks.iter().map(|sink| target(sink))
    }

    fn is_target(&self, path: &Path) -> bool {
        self.targets().any(|target| target == path)
    }

    fn is_rotated(&self, path: &Path) -> bool {
        self.targets().any(|target| is_rotated_from(&target, path))
    }
}

/// Refuses, without a number of the system's, what is not on the list.
fn allow(is_allowed: bool) -> io::Result<()> {
    is_allowed.then_some(()).ok_or_else(|| ErrorKind::PermissionDenied.into())
}

/// The error of whoever asked for a file that is not on the list: that user may not open it either.
fn not_listed() -> io::Error {
    let user = geteuid().as_raw();
    let why = format!(
        "permission denied for user {user}: let it access the file, or restart, since what it may not open at the start is \
         opened for it"
    );
    io::Error::new(ErrorKind::PermissionDenied, why)
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The path of a file without links. The file itself may be missing, between two steps of a rotation.
fn target(sink: &Path) -> PathBuf {
    sink.canonicalize().unwrap_or_else(|_| {
        let parent = sink.parent().map(|parent| Path::new(".").join(parent));
        let parent = parent.and_then(|parent| parent.canonicalize().ok());
        let beside = parent.zip(sink.file_name()).map(|(parent, name)| parent.join(name));
        beside.unwrap_or_else(|| sink.to_path_buf())
    })
}

/// Opens a file for appending; creates it like another one.
fn append(path: &Path, create: bool, like: Option<&File>) -> io::Result<File> {
    match appending().open(path) {
        Err(error) if create && error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    let file = appending().create_new(true).mode(0o640).open(path)?;
    set_owner_and_mode(&file, like)?;
    Ok(file)
}

/// Gives a new file owner, group and permissions of another, without the bits that change the user of a program.
fn set_owner_and_mode(file: &File, like: Option<&File>) -> io::Result<()> {
    let Some(like) = like else { return Ok(()) };
    let like = like.metadata()?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(like.mode() & 0o777))
}

/// Renames a file. What was compressed gets the time of the file that it was made from, and whose name begins its own.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(plain) = to.to_str().and_then(|name| name.strip_suffix(".zst")) {
        let time = fs::metadata(plain)?.modified()?;
        OpenOptions::new().write(true).open(from)?.set_modified(time)?;
    }
    fs::rename(from, to)
}

/// Returns a file in memory with the names in the directory of a file that begin with that file's name.
fn list_names(path: &Path) -> io::Result<File> {
    let mut list = File::from(memfd_create("dnscribe", MemfdFlags::CLOEXEC)?);
    let own = path.file_name().unwrap_or_default().as_bytes();
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new("/")))? {
        let name = entry?.file_name();
        if name.as_bytes().starts_with(own) {
            list.write_all(name.as_bytes())?;
            list.write_all(&[0])?;
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
