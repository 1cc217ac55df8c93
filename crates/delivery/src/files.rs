//! Files that another process opens for this one.
//!
//! A program that has given up its privileges may no longer open some files that its configuration names. Each
//! function here does what its namesake in [`std::fs`] does. Where permissions refuse that, and a [`FileBroker`] is
//! installed, the broker's process does it in this one's place, if the file is one of those that it was given at its
//! start.

use rustix::fs::{MemfdFlags, OFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// A request to the process that opens files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRequest {
    /// Opens a file that is only read.
    Read(PathBuf),
    /// Opens a file of records for appending. If it is missing and `create` is set, creates it with owner, group and
    /// mode of the file that is sent with the request.
    Append {
        /// The file.
        path: PathBuf,
        /// Whether to create it.
        create: bool,
    },
    /// Creates a file that a rotated file is compressed to, with owner, group and mode of the file that is sent with
    /// the request.
    CreateNew(PathBuf),
    /// Renames a file of records to a rotated one, or one of those to another.
    Rename {
        /// The present name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// Removes a rotated file.
    Remove(PathBuf),
    /// Looks up a file of records, as an open file of which only metadata can be read.
    Metadata(PathBuf),
    /// Resolves links in the path of a file of records.
    Canonicalize(PathBuf),
    /// Lists the names in the directory of a file of records that begin with that file's name: as a file that contains
    /// each name, and a NUL byte after it.
    List(PathBuf),
}

/// The answer to a [`FileRequest`].
#[derive(Debug)]
pub enum FileAnswer {
    /// It is done.
    Done,
    /// The open file.
    File(File),
    /// The path without links.
    Path(PathBuf),
}

/// A connection to the process that opens files.
pub trait FileBroker: Send + Sync {
    /// Sends a request, with the file whose owner and mode a new one gets, and returns the answer.
    ///
    /// # Errors
    /// Returns the error of that process, also if it may not do this, or that it does not answer.
    fn request(&self, request: &FileRequest, like: Option<&File>) -> io::Result<FileAnswer>;
}

static BROKER: OnceLock<Box<dyn FileBroker>> = OnceLock::new();

/// Installs the broker of this process. A second one is ignored.
pub fn install(broker: Box<dyn FileBroker>) {
    // Privileges are given up once.
    let _ = BROKER.set(broker);
}

/// Does what `own` does, or where permissions refuse that, lets the broker do it.
fn or_broker<T>(
    own: impl FnOnce() -> io::Result<T>,
    request: impl FnOnce() -> FileRequest,
    like: Option<&File>,
    take: impl FnOnce(FileAnswer) -> Option<T>,
) -> io::Result<T> {
    let refused = match own() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => error,
        done => return done,
    };
    let Some(broker) = BROKER.get() else { return Err(refused) };
    let answer = broker.request(&request(), like)?;
    take(answer).ok_or_else(|| io::Error::other("the process that opens files gave another answer"))
}

fn file(answer: FileAnswer) -> Option<File> {
    if let FileAnswer::File(file) = answer { Some(file) } else { None }
}

/// Opens a file for reading.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn open(path: &Path) -> io::Result<File> {
    or_broker(|| File::open(path), || FileRequest::Read(path.into()), None, file)
}

/// Reads a whole file.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// Reads a whole file of text.
///
/// # Errors
/// Returns the error of the system, or of the broker, or that it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    open(path)?.read_to_string(&mut content)?;
    Ok(content)
}

/// Opens a file for a library that reads it by its path. Where the broker does it, returns a copy in memory; its path,
/// from [`path_of`], is valid as long as the copy. Returns none if the path itself can be given to the library.
#[must_use]
pub fn copy_for_library(path: &Path) -> Option<File> {
    let refused = File::open(path).is_err_and(|why| why.kind() == ErrorKind::PermissionDenied);
    // If it cannot be read in this way either, the library has the better error message.
    refused.then(|| copy(path).ok()).flatten()
}

fn copy(path: &Path) -> io::Result<File> {
    let content = read(path)?;
    let mut copy = File::from(memfd_create("dnscribe", MemfdFlags::CLOEXEC)?);
    copy.write_all(&content)?;
    Ok(copy)
}

/// Returns the path under which this process can open an open file once more.
#[must_use]
pub fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Returns the options that open a file of records. In append mode, the next line goes to the new end if another process
/// truncates the file (`copytruncate`). A named pipe without a reader is an error (`ENXIO`), not a wait.
#[must_use]
pub fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0));
    options
}

/// Opens a file of records for appending. If `create` is set, a missing file is created: with mode 0640, and by the
/// broker also with owner, group and mode of `like`.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn append(path: &Path, create: bool, like: Option<&File>) -> io::Result<File> {
    or_broker(
        || appending().create(create).mode(0o640).open(path),
        || FileRequest::Append { path: path.into(), create },
        like,
        file,
    )
}

/// Creates a file that nobody else can read; the broker gives it owner, group and mode of `like`.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn create_new(path: &Path, like: &File) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    or_broker(|| options.open(path), || FileRequest::CreateNew(path.into()), Some(like), file)
}

/// Renames a file.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let request = || FileRequest::Rename { from: from.into(), to: to.into() };
    let take = |answer| matches!(answer, FileAnswer::Done).then_some(());
    or_broker(|| fs::rename(from, to), request, None, take)
}

/// Removes a file. A missing file counts as removed.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    let take = |answer| matches!(answer, FileAnswer::Done).then_some(());
    match or_broker(|| fs::remove_file(path), || FileRequest::Remove(path.into()), None, take) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Returns the metadata of a file.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(i32::try_from(OFlags::PATH.bits()).unwrap_or(0));
        options.open(path)
    };
    or_broker(open, || FileRequest::Metadata(path.into()), None, file)?.metadata()
}

/// Returns the path of a file without links.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    let take = |answer| if let FileAnswer::Path(path) = answer { Some(path) } else { None };
    or_broker(|| path.canonicalize(), || FileRequest::Canonicalize(path.into()), None, take)
}

/// Returns the names in the directory of a file; of the broker, only those that begin with that file's name.
///
/// # Errors
/// Returns the error of the system, or of the broker.
pub fn names_beside(path: &Path) -> io::Result<Vec<OsString>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let own = || fs::read_dir(directory).map(Listing::Directory);
    let take = |answer| file(answer).map(Listing::File);
    match or_broker(own, || FileRequest::List(path.into()), None, take)? {
        Listing::Directory(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Listing::File(mut list) => {
            let mut bytes = Vec::new();
            list.rewind()?;
            list.read_to_end(&mut bytes)?;
            let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
        }
    }
}

/// A list of names, by whoever made it.
enum Listing {
    Directory(fs::ReadDir),
    File(File),
}

/// Sets the time of the last change of a file. With a broker, another user's file keeps its time: the broker sets it
/// when the file gets its final name.
///
/// # Errors
/// Returns the error of the system.
pub fn set_modified(file: &File, time: SystemTime) -> io::Result<()> {
    match file.set_modified(time) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && BROKER.get().is_some() => {
            Ok(())
        }
        set => set,
    }
}
