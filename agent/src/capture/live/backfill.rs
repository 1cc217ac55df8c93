//! Finds the owners of sockets that are older than the agent, for the map `OWNERS`: cookie and inode from `sock_diag`,
//! inode and process from `/proc`.

use super::netlink::{self, Socket};
use super::process;
use dnscribe_common::owner::Owner;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
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
    let (by_inode, namespaces) = processes();
    // A separate thread, because it enters other namespaces.
    let dumped = std::thread::Builder::new()
        .name("backfill".into())
        .spawn(move || sockets_of_all(&namespaces))
        .map(|thread| thread.join().unwrap_or_default())
        .unwrap_or_default();
    let owned = |socket: Socket| Some((socket.cookie, *by_inode.get(&socket.inode.into())?));
    dumped.into_iter().filter_map(owned).take(LIMIT).collect()
}

fn sockets_of_all(namespaces: &[File]) -> Vec<Socket> {
    let here = || {
        KINDS
            .into_iter()
            .flat_map(|(family, protocol)| netlink::sockets(family, protocol).unwrap_or_default())
    };
    let mut found: Vec<_> = here().collect();
    for namespace in namespaces {
        let kind = Some(LinkNameSpaceType::Network);
        if move_into_link_name_space(namespace.as_fd(), kind).is_ok() {
            found.extend(here());
        }
    }
    found
}

/// Returns processes by the inodes of their sockets, and the network namespaces other than the agent's.
fn processes() -> (HashMap<u64, Owner>, Vec<File>) {
    let mut by_inode = HashMap::new();
    let mut namespaces = Vec::new();
    let mut known: HashSet<u64> =
        process::inode_of(Path::new("/proc/self/ns/net")).into_iter().collect();
    for pid in process::ids() {
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
    let start_ns = process::start_ns(pid).unwrap_or(0);
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
