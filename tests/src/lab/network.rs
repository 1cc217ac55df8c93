//! Namespaces, bridge and addresses of the lab, and the owner of each lab.

use super::{Host, stub};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Last byte of an address of the server's host where no program listens.
pub const CLOSED: u8 = 7;
/// Namespace with the bridge; creating it claims the slot.
pub const SWITCH: &str = "switch";
/// Written in place of the owner's pid for a lab that outlives its process.
const KEPT: &str = "kept";
const FOLDER: &str = "/run/dnscribe-lab";
const PREFIX: &str = "dnscribe-";

/// Name of a host's namespace.
pub fn namespace(slot: u8, host: &str) -> String {
    format!("{PREFIX}{slot}-{host}")
}

/// Folder of a lab's files.
pub fn folder(slot: u8) -> PathBuf {
    Path::new(FOLDER).join(slot.to_string())
}

/// An address in the lab's network.
pub const fn ipv4(slot: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, slot, number)
}

/// IPv6 address in the lab's network; its last digits are those of the IPv4 address.
pub fn ipv6(slot: u8, number: u8) -> Ipv6Addr {
    let digits = u16::from(number / 10 * 16 + number % 10);
    Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(slot), 0, 0, 0, digits)
}

/// IPv6 address beyond the server's host, which drops what is sent there.
pub const fn blackhole_ipv6(slot: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, slot as u16, 0, 0, 0, 0x80)
}

/// Claims a free slot: the kernel allows only one process to create a namespace of a given name.
pub fn claim() -> Result<u8> {
    fs::create_dir_all(FOLDER)
        .with_context(|| format!("cannot make {FOLDER}: the lab needs root"))?;
    for slot in 0..=u8::MAX {
        let name = namespace(slot, SWITCH);
        if Path::new("/run/netns").join(&name).exists() {
            continue;
        }
        match shell::run(&["ip", "netns", "add", &name]) {
            Ok(_) => return own(slot),
            Err(error) if format!("{error:#}").contains("File exists") => {}
            Err(error) => return Err(error.context("network namespaces need root")),
        }
    }
    bail!("256 labs are up already; `cargo xtask lab down` removes those left behind")
}

fn own(slot: u8) -> Result<u8> {
    let folder = folder(slot);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("owner"), std::process::id().to_string())?;
    Ok(slot)
}

/// Marks a lab as kept: a later `down` removes it.
pub fn mark_kept(slot: u8) -> Result<()> {
    fs::write(folder(slot).join("owner"), KEPT).context("cannot mark the lab as kept")
}

/// Slot of the kept lab, if there is one whose servers run.
pub fn kept() -> Result<Option<u8>> {
    let is_kept = |slot: &u8| owner(*slot).as_deref() == Some(KEPT) && runs(*slot);
    Ok(slots()?.into_iter().find(is_kept))
}

/// Whether both servers of a lab run: after a kill their namespaces outlive them.
fn runs(slot: u8) -> bool {
    let servers = [Host::Resolver, Host::Server];
    servers.into_iter().all(|host| !pids(&namespace(slot, host.name())).trim().is_empty())
}

/// Creates the hosts, the bridge, and the links between them.
pub fn build(slot: u8) -> Result<()> {
    let switch = namespace(slot, SWITCH);
    ip(&["-n", &switch, "link", "add", "bridge0", "type", "bridge", "forward_delay", "0"])?;
    ip(&["-n", &switch, "link", "set", "bridge0", "up"])?;
    for host in Host::ALL {
        connect(slot, host, &switch)?;
    }
    let server = namespace(slot, Host::Server.name());
    let closed = format!("{}/24", ipv4(slot, CLOSED));
    ip(&["-n", &server, "address", "add", &closed, "dev", "eth0"])?;
    // The server's host does not forward, so other packets routed to it are dropped silently.
    let client = namespace(slot, Host::Client.name());
    let (beyond, via) =
        (format!("{}/128", blackhole_ipv6(slot)), ipv6(slot, Host::Server.number()));
    // On a host without IPv6, the lab has none either. The server's host would answer what it has no route for.
    let _ = ip(&["-n", &server, "route", "add", "blackhole", &beyond]);
    let _ = ip(&["-n", &client, "route", "add", &beyond, "via", &via.to_string()]);
    let (beyond, via) = (format!("198.19.{slot}.0/24"), ipv4(slot, Host::Server.number()));
    ip(&["-n", &client, "route", "add", &beyond, "via", &via.to_string()])
}

fn connect(slot: u8, host: Host, switch: &str) -> Result<()> {
    let name = namespace(slot, host.name());
    ip(&["netns", "add", &name])?;
    ip(&["-n", &name, "link", "set", "lo", "up"])?;
    let port = host.name();
    let pair = ["link", "add", "eth0", "netns", &name, "type", "veth", "peer", "name", port];
    ip(&[&pair[..], &["netns", switch]].concat())?;
    ip(&["-n", switch, "link", "set", port, "master", "bridge0", "up"])?;
    let v4 = format!("{}/24", ipv4(slot, host.number()));
    ip(&["-n", &name, "address", "add", &v4, "dev", "eth0"])?;
    let v6 = format!("{}/64", ipv6(slot, host.number()));
    // On a host without IPv6, the lab has none either.
    let _ = ip(&["-n", &name, "address", "add", &v6, "dev", "eth0", "nodad"]);
    ip(&["-n", &name, "link", "set", "eth0", "up"])
}

fn ip(words: &[&str]) -> Result<()> {
    shell::output(Command::new("ip").args(words)).map(drop)
}

/// Removes the labs of processes that are gone.
pub fn clean_orphans() {
    // A lab of another user cannot be removed; this must not prevent a new lab.
    let _ = clean(false);
}

/// Removes labs whose owner or, of kept ones, whose servers are gone, and all kept ones if `with_kept`; returns how many.
pub fn clean(with_kept: bool) -> Result<usize> {
    let mut removed = 0;
    if !Path::new(FOLDER).exists() {
        return Ok(removed);
    }
    // Of two processes that clean at once, the second would remove what a third has claimed meanwhile.
    let lock = fs::File::create(Path::new(FOLDER).join("lock"))?;
    lock.lock()?;
    for slot in slots()? {
        let orphan = match owner(slot).as_deref() {
            Some(KEPT) => with_kept || !runs(slot),
            Some(pid) => !Path::new("/proc").join(pid).exists(),
            // The slot is claimed, but its owner is not written yet.
            None => false,
        };
        if orphan {
            remove(slot);
            removed += 1;
        }
    }
    Ok(removed)
}

/// Ends all processes in a lab's namespaces, then removes these and the lab's files.
pub fn remove(slot: u8) {
    for host in Host::ALL {
        end_processes(&namespace(slot, host.name()));
    }
    // Each may be missing if the lab was only partly built.
    for host in Host::ALL.map(Host::name) {
        let _ = ip(&["netns", "delete", &namespace(slot, host)]);
        let _ = fs::remove_dir_all(Path::new(stub::FOLDER).join(namespace(slot, host)));
    }
    let _ = fs::remove_dir_all(folder(slot));
    // Last: from now on another process may claim the slot.
    let _ = ip(&["netns", "delete", &namespace(slot, SWITCH)]);
}

fn end_processes(namespace: &str) {
    let running: Vec<u32> =
        pids(namespace).split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    for pid in &running {
        // A process may end between the list and the signal.
        let _ = shell::signal_pid(*pid, rustix::process::Signal::KILL);
    }
    let _ = shell::wait_for("a namespace to empty", Duration::from_secs(2), || {
        Ok(pids(namespace).trim().is_empty().then_some(()))
    });
}

/// Ids of the processes in a namespace, separated by white space; empty if there is no such namespace.
fn pids(namespace: &str) -> String {
    shell::run(&["ip", "netns", "pids", namespace])
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

fn owner(slot: u8) -> Option<String> {
    fs::read_to_string(folder(slot).join("owner")).ok()
}

fn slots() -> Result<Vec<u8>> {
    if !Path::new(FOLDER).exists() {
        return Ok(Vec::new());
    }
    let mut slots = Vec::new();
    for entry in fs::read_dir(FOLDER)? {
        slots.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u8>().ok()));
    }
    slots.sort_unstable();
    Ok(slots)
}
