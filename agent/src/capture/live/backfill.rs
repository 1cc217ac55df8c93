//! Finds the owners of sockets that are older than the agent, for the map `OWNERS`: cookie and inode from `sock_diag`,
//! inode and process from `/proc`.

use super::netlink::{self, Socket};
use super::process;
use dnscribe_common::owner::Owner;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest number of network namespaces that are visited.
const NAMESPACES: usize = 1_024;
/// Largest number of owners in the map.
const LIMIT: usize = dnscribe_common::OWNERS as usize;

/// Address families and protocols of the sockets: UDP and TCP over IPv4 and IPv6.
const KINDS: [(u8, u8); 4] = [(2, 17), (10, 17), (2, 6), (10, 6)];

/// Returns the owners of the host's sockets by cookie, as far as this process has access.
pub fn owners() -> Vec<(u64, Owner)> {
    let ids = process::ids().unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "cannot list the processes: sockets that are older than the agent have none until they send"
        );
        BTreeSet::new()
    });
    let (by_inode, namespaces) = processes(ids);
    // A separate thread, because it enters other namespaces.
    let thread = std::thread::Builder::new()
        .name("backfill".into())
        .spawn(move || sockets_of_all(&namespaces));
    let joined = thread.and_then(|thread| {
        thread.join().map_err(|_| io::Error::other("the thread that reads them has panicked"))
    });
    let (dumped, failed) = joined.unwrap_or_else(|error| (Vec::new(), Some(error)));
    if let Some(error) = failed {
        tracing::warn!(
            %error,
            "cannot list all sockets that are older than the agent; those have no process until they send"
        );
    }
    let owned = |socket: Socket| Some((socket.cookie, *by_inode.get(&socket.inode.into())?));
    dumped.into_iter().filter_map(owned).take(LIMIT).collect()
}

/// Returns the sockets of this thread's network namespace and of the others, and the last error. A kernel without
/// `sock_diag` lists none.
fn sockets_of_all(namespaces: &[File]) -> (Vec<Socket>, Option<io::Error>) {
    let (mut found, mut failed) = (Vec::new(), None);
    let mut read = |failed: &mut Option<io::Error>| {
        for (family, protocol) in KINDS {
            match netlink::sockets(family, protocol) {
                Ok(sockets) => found.extend(sockets),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => *failed = Some(error),
            }
        }
    };
    read(&mut failed);
    for namespace in namespaces {
        let kind = Some(LinkNameSpaceType::Network);
        match move_into_link_name_space(namespace.as_fd(), kind) {
            Ok(()) => read(&mut failed),
            // Without privileges, only the sockets of its own namespace are found.
            Err(Errno::PERM) => {}
            Err(error) => failed = Some(error.into()),
        }
    }
    (found, failed)
}

/// Returns processes by the inodes of their sockets, and the network namespaces other than the agent's.
fn processes(ids: BTreeSet<u32>) -> (HashMap<u64, Owner>, Vec<File>) {
    let mut by_inode = HashMap::new();
    let mut namespaces = Vec::new();
    let mut known: HashSet<u64> =
        process::inode_of(Path::new("/proc/self/ns/net")).into_iter().collect();
    for pid in ids {
        if namespaces.len() < NAMESPACES
            && let Some((inode, path)) = process::network_namespace(pid)
            && known.insert(inode)
        {
            namespaces.extend(File::open(path));
        }
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let mut owner = None;
        for socket in sockets_of(&directory) {
            let owner = owner.get_or_insert_with(|| read_owner(&directory, pid));
            // A socket that several processes hold belongs to the first, which usually created it.
            by_inode.entry(socket).or_insert(*owner);
        }
    }
    (by_inode, namespaces)
}

/// Returns the inodes of a process's sockets, from links such as `socket:[4711]`.
fn sockets_of(process: &Path) -> impl Iterator<Item = u64> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

fn read_owner(process: &Path, pid: u32) -> Owner {
    let mut comm = [0; 16];
    let name = fs::read(process.join("comm")).unwrap_or_default();
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    // The last byte stays NUL.
    for (place, octet) in comm.iter_mut().take(15).zip(name) {
        *place = *octet;
    }
    let uid = fs::metadata(process).map_or(0, |metadata| metadata.uid());
    let start_ns = process::ProcStatus::read(pid).map_or(0, |status| status.start_ns);
    Owner { pid, uid, start_ns, comm }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_tests::environment;
    use std::net::UdpSocket;

    #[test]
    fn finds_own_sockets() {
        let _own = UdpSocket::bind("127.0.0.1:0").unwrap();
        if netlink::sockets(2, 17).is_err() {
            return environment::skip("this kernel has no udp_diag");
        }
        let own = owners().into_iter().filter(|(_, owner)| owner.pid == std::process::id());
        assert!(own.count() >= 1);
    }
}
