//! Finds the cgroup2 mount, which on hybrid hosts is not at `/sys/fs/cgroup`, and cgroups in it.

#![expect(unsafe_code, reason = "opens a cgroup by its id, for which no safe wrapper exists")]

use rustix::fs::fstatfs;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Returns the mount point of cgroup2 from the text of `/proc/self/mountinfo` (manual page `proc_pid_mountinfo`);
/// with several, the one that shows most of the hierarchy. A container has its own part mounted. If the host's
/// hierarchy is mounted too, its root is above, at `/../..` in the container's cgroup namespace.
#[must_use]
pub fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then_some((root, point))
    });
    let above = |root: &str| root.split('/').filter(|part| *part == "..").count();
    // The first one if several are equal.
    let widest = mounts.min_by_key(|(root, _)| std::cmp::Reverse(above(root)));
    widest.map(|(_, point)| PathBuf::from(unescape(point)))
}

/// Returns the mount point of cgroup2 on this host.
#[must_use]
pub fn mount() -> Option<PathBuf> {
    mount_point(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Returns the directory of the cgroup with this id, if it still exists. Opens it by a file handle with the id
/// (`FILEID_KERNFS`), without a search through directories. Needs `CAP_DAC_READ_SEARCH`.
///
/// # Minimum kernel version
///
/// Linux 5.5.
#[must_use]
pub fn path_of_id(mount: &File, id: u64) -> Option<PathBuf> {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: u64,
    }
    const FILEID_KERNFS: i32 = 0xfe;
    let mut handle = Handle { bytes: 8, kind: FILEID_KERNFS, id };
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: a file handle of the size in its header, which outlives the call.
    let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a new descriptor without another owner.
    let directory = unsafe { OwnedFd::from_raw_fd(fd) };
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()
}

/// Returns the path of this process's cgroup below the mount.
#[must_use]
pub fn own_path() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(Into::into)
}

/// Returns the directory to attach to: `wanted` if absolute, below the mount if relative, and the mount if none.
#[must_use]
pub fn directory(mount: &Path, wanted: Option<&Path>) -> PathBuf {
    wanted.map_or_else(|| mount.to_path_buf(), |wanted| mount.join(wanted))
}

/// Opens the directory of a cgroup.
///
/// # Errors
/// It cannot be opened, or is not in a cgroup2 file system.
pub fn open(directory: &Path) -> io::Result<File> {
    let group = File::open(directory)?;
    if fstatfs(&group)?.f_type == libc::CGROUP2_SUPER_MAGIC {
        Ok(group)
    } else {
        Err(io::Error::other("it is not in a file system of type cgroup2"))
    }
}

/// Replaces octal escapes, which stand for blanks and some other characters.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escape = part.split_at_checked(3);
        let escape =
            escape.and_then(|(code, rest)| Some((u8::from_str_radix(code, 8).ok()?, rest)));
        let (letter, rest) = escape.map_or(('\\', part), |(code, rest)| (char::from(code), rest));
        out.push(letter);
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 29 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
";

    #[test]
    fn finds_mount_of_hybrid_host() {
        assert_eq!(mount_point(HYBRID).unwrap(), Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn finds_mount_of_unified_host() {
        let unified = "25 20 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(mount_point(unified).unwrap(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn prefers_host_hierarchy_to_container() {
        let container = "\
40 39 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
41 39 0:26 /../../.. /host/cgroup ro - cgroup2 cgroup rw
42 39 0:26 /../../.. /other ro - cgroup2 cgroup rw
";
        assert_eq!(mount_point(container).unwrap(), Path::new("/host/cgroup"));
    }

    #[test]
    fn returns_none_without_mount() {
        assert_eq!(
            mount_point("32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"),
            None
        );
        assert_eq!(mount_point(""), None);
        assert_eq!(mount_point("garbage - cgroup2"), None);
    }

    #[test]
    fn replaces_escapes() {
        let blank = "1 2 0:3 / /mnt/a\\040b\\x rw - cgroup2 none rw\n";
        assert_eq!(mount_point(blank).unwrap(), Path::new("/mnt/a b\\x"));
    }

    #[test]
    fn opens_cgroups_only() {
        if let Some(mount) = mount() {
            assert!(open(&mount).is_ok());
        }
        let wrong = open(Path::new("/proc")).unwrap_err().to_string();
        assert!(wrong.contains("cgroup2"), "{wrong}");
        assert!(open(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn resolves_absolute_and_relative_paths() {
        let mount = Path::new("/cg");
        assert_eq!(directory(mount, None), Path::new("/cg"));
        assert_eq!(directory(mount, Some(Path::new("kubepods"))), Path::new("/cg/kubepods"));
        assert_eq!(directory(mount, Some(Path::new("/else/where"))), Path::new("/else/where"));
    }
}
