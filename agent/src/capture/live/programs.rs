//! Loads the embedded eBPF programs with the features that the kernel offers, and attaches them.

use super::btf::Btf;
use super::drops::Reasons;
use super::load_error::{OLDEST, cannot_load, chain, map_error, reason_of};
use super::settings::{Settings, port_classes};
use super::{CannotCapture, LiveOptions, MAX_RINGS, internal, kernel_log, link};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{ArrayOfMaps, MapData, ProgramArray, RingBuf};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{CgroupSkbAttachType, Program, ProgramError};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use dnscribe_common::globals::{CALL_KERNEL_SKB, CALL_TYPED};
use dnscribe_common::record::CLASSES;
use dnscribe_transaction::packet::encrypted::Encrypted;
use flate2::read::GzDecoder;
use rustix::param::page_size;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::thread;

/// The eBPF object that the build script made, compressed.
static OBJECT: &[u8] = include_bytes!(env!("DNSCRIBE_EBPF_OBJECT"));

/// Returns the object, decompressed.
fn decompressed() -> Result<Vec<u8>, CannotCapture> {
    let mut object = Vec::new();
    let read = GzDecoder::new(OBJECT).read_to_end(&mut object);
    read.map_err(|error| internal(&format!("cannot decompress the eBPF object: {error}")))?;
    Ok(object)
}

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// Its name in the object.
    pub name: &'static str,
    /// Whether capture is impossible without it.
    pub required: bool,
    /// What the capture lacks without it.
    pub loses: &'static str,
    /// Its requirements on the kernel.
    pub needs: &'static str,
}

const fn spec(name: &'static str, required: bool, loses: &'static str) -> ProgramSpec {
    ProgramSpec { name, required, loses, needs: OLDEST }
}

/// Returns the programs of hook `cgroup`.
pub fn of_cgroup(options: &LiveOptions) -> Vec<ProgramSpec> {
    let mut programs = CGROUP.to_vec();
    if options.path {
        programs.extend(PATH);
    }
    if options.connects {
        for program in &mut programs {
            program.required |= program.name.starts_with("connect");
            if is_send(program) {
                program.loses = "connections of unconnected UDP sockets";
            }
        }
        programs.push(ProgramSpec {
            needs: "Linux 5.12 or later, and CAP_NET_ADMIN",
            ..spec(TCP_STATE, false, "outcomes of TCP connections")
        });
        programs.push(DATAGRAM_DROP);
    }
    let loses = match (options.path, options.connects) {
        (true, _) => "times when processes read messages",
        (false, true) => "which unconnected UDP sockets only answer",
        (false, false) => return programs,
    };
    programs.extend([READ_IPV4, "recvmsg6"].map(|name| spec(name, false, loses)));
    programs
}

/// Returns whether the program runs for each datagram of an unconnected socket.
fn is_send(program: &ProgramSpec) -> bool {
    program.name.starts_with("sendmsg")
}

/// Programs of hook `cgroup` for DNS.
const CGROUP: [ProgramSpec; 9] = [
    spec("cgroup_ingress", true, "packets to sockets of this host"),
    spec("cgroup_egress", true, "packets from sockets of this host"),
    spec("post_bind4", false, "owners of IPv4 servers that have sent nothing yet"),
    spec("post_bind6", false, "owners of IPv6 servers that have sent nothing yet"),
    spec("connect4", false, "owners of sockets connected over IPv4"),
    spec("connect6", false, "owners of sockets connected over IPv6"),
    spec("sendmsg4", false, "owners of unconnected IPv4 sockets"),
    spec("sendmsg6", false, "owners of unconnected IPv6 sockets"),
    ProgramSpec {
        name: SOCKET_ERROR,
        required: false,
        loses: "ICMP errors of connected sockets where raw sockets cannot listen",
        needs: "Linux 5.14 or later, with BTF (CONFIG_DEBUG_INFO_BTF=y), not locked down",
    },
];
/// Programs of hook `cgroup` for the path of packets.
const PATH: [ProgramSpec; 2] = [
    ProgramSpec {
        needs: NEEDS_REASONS,
        ..spec(PACKET_DROP, false, "packets that the kernel discards, with its reasons")
    },
    ProgramSpec {
        needs: "BTF (CONFIG_DEBUG_INFO_BTF=y), and a kernel that is not locked down",
        ..spec(PACKET_SENT, false, "times when devices take messages")
    },
];
/// Program for datagrams of connected sockets that netfilter discards.
const DATAGRAM_DROP: ProgramSpec = ProgramSpec {
    needs: NEEDS_REASONS,
    ..spec(
        "datagram_drop",
        false,
        "connected UDP sockets whose datagrams this host's firewall discards",
    )
};
/// What programs for discarded packets need.
const NEEDS_REASONS: &str =
    "Linux 5.17 or later, with BTF (CONFIG_DEBUG_INFO_BTF=y), not locked down";
/// Programs of hook `socket`.
pub const SOCKET: [ProgramSpec; 2] =
    [spec("tap", true, "packets on interfaces"), spec(CALLED, true, "packets on interfaces")];
/// Program that the attached program `tap` calls for packets that are or may be DNS.
const CALLED: &str = "tap_check";
/// Program on the tracepoint.
pub const SOCKET_ERROR: &str = "socket_error";
/// Program for packets that the kernel discards.
const PACKET_DROP: &str = "packet_drop";
/// Program for messages that devices take.
const PACKET_SENT: &str = "packet_sent";
/// Program for datagrams that processes read over IPv4.
const READ_IPV4: &str = "recvmsg4";
/// Program for the outcomes of connections.
const TCP_STATE: &str = "tcp_state";

/// The object with the programs of one hook loaded.
pub struct Loaded {
    /// The object.
    pub ebpf: Ebpf,
    /// The rings that its programs write.
    pub rings: Vec<RingBuf<MapData>>,
    /// Size of each ring in bytes.
    pub ring_bytes: u32,
    /// The programs that the kernel accepted.
    pub entries: Vec<ProgramSpec>,
    /// The programs that the kernel refused, with the reasons.
    pub refused: Vec<(ProgramSpec, String)>,
    /// The settings that the programs were loaded with.
    pub settings: Settings,
    /// Attachments of programs that run before others.
    pub links: Vec<OwnedFd>,
    /// The kernel's reasons to discard packets, if the program for these packets was loaded.
    pub reasons: Option<Reasons>,
}

/// Returns whether a program is attached to a tracepoint, where it reads kernel memory.
fn is_tracepoint(name: &str) -> bool {
    name == DATAGRAM_DROP.name || matches!(name, SOCKET_ERROR | PACKET_DROP | PACKET_SENT)
}

impl Loaded {
    /// Returns whether it is seen which messages processes read: a socket's queue can be followed only with what the
    /// kernel discards, and with its network.
    pub fn sees_reads(&self) -> bool {
        let has = |name: &str| self.entries.iter().any(|entry| entry.name == name);
        has(READ_IPV4) && has(PACKET_DROP) && self.settings.knows_network()
    }
}

/// Loads programs, without the features that this kernel does not offer.
pub fn load(options: &LiveOptions, wanted: &[ProgramSpec]) -> Result<Loaded, CannotCapture> {
    load_with_btf(Btf::of_kernel().ok().as_ref(), options, wanted)
}

/// Loads programs as [`load`] does, with the kernel's types, if known.
pub fn load_with_btf(
    btf: Option<&Btf>,
    options: &LiveOptions,
    wanted: &[ProgramSpec],
) -> Result<Loaded, CannotCapture> {
    let bytes = check_rings(options)?;
    check_cpus()?;
    lift_memlock();
    let largest = CLASSES.last().copied().and_then(|class| u32::try_from(class).ok());
    let snap_bytes = options.snap_bytes.clamp(1, largest.unwrap_or(u32::MAX));
    let mut settings = Settings::best(snap_bytes, options.rings, btf);
    settings.record_connects(options.connects);
    settings.record_path(options.path);
    let is_tap = wanted.iter().any(|entry| entry.name == CALLED);
    let functions = btf.filter(|_| is_tap).and_then(|btf| {
        let ids = function_ids(btf)?;
        settings.enable_typed_packets(btf);
        Some(ids)
    });
    let mut refused: Vec<(ProgramSpec, String)> = Vec::new();
    if !settings.socket_errors {
        let tracepoint = wanted.iter().filter(|entry| entry.name == SOCKET_ERROR);
        refused.extend(tracepoint.map(|entry| (*entry, "the kernel has no BTF".to_owned())));
    }
    let has_reasons = options.path || options.connects;
    let reasons = has_reasons.then(|| btf.map(Reasons::of_kernel).unwrap_or_default());
    if let Some(reasons) = &reasons {
        settings.set_reasons(reasons);
        let of_packets = [DATAGRAM_DROP].into_iter().chain(PATH);
        let wanted = of_packets.filter(|entry| wanted.contains(entry));
        if !settings.knows_packets() {
            refused.extend(wanted.map(|entry| (entry, "the kernel has no BTF".to_owned())));
        } else if reasons.is_empty() {
            let drops = wanted.filter(|entry| entry.name != PACKET_SENT);
            refused.extend(drops.map(|entry| (entry, "the kernel gives no reasons".to_owned())));
        }
        if refused.iter().any(|(entry, _)| *entry == DATAGRAM_DROP) || !options.connects {
            settings.forget_cookies();
        }
    }
    let plain = decompressed()?;
    loop {
        let patched = patch(&plain, functions.filter(|_| settings.has_typed_packets()));
        let mut ebpf = object(&patched, options, bytes, &settings)?;
        let entries: Vec<ProgramSpec> = wanted
            .iter()
            .filter(|entry| refused.iter().all(|(other, _)| other != *entry))
            .copied()
            .collect();
        let Some((entry, error)) = load_all(&mut ebpf, &entries) else {
            insert_resolvers(&mut ebpf, options)?;
            if is_tap {
                insert_called_program(&mut ebpf)?;
            }
            let rings = rings(&mut ebpf, options.rings, bytes)?;
            let has_drops = entries.iter().any(|entry| entry.name == PACKET_DROP);
            let reasons = reasons.filter(|_| has_drops);
            let ring_bytes = bytes;
            let links = Vec::new();
            return Ok(Loaded {
                ebpf,
                rings,
                ring_bytes,
                entries,
                refused,
                settings,
                links,
                reasons,
            });
        };
        let (log, reason) = reason_of(&error);
        // The other program that reads a socket's error is refused for the same reason.
        let is_alone = refused.iter().any(|(other, _)| other.name == SOCKET_ERROR);
        if entry.name == TCP_STATE && is_alone && settings.forget_socket_error() {
            continue;
        }
        // These programs have no alternative to reading kernel memory by copies, or none left.
        let has_no_fallback = entry.name == TCP_STATE || is_tracepoint(entry.name);
        let is_hook = !matches!(entry.name, "cgroup_ingress" | "cgroup_egress" | "tap" | CALLED);
        if !has_no_fallback && settings.degrade(is_hook, &log) {
            continue;
        }
        if entry.required {
            return Err(cannot_load(entry, &error, &reason));
        }
        if entry == DATAGRAM_DROP {
            settings.forget_cookies();
        }
        refused.push((entry, reason));
    }
}

/// Checks that the number of CPUs can be read, without which no counter can.
fn check_cpus() -> Result<(), CannotCapture> {
    nr_cpus().map(drop).map_err(|(file, error)| {
        CannotCapture::new(
            format!("cannot read the number of CPUs from {file}: {error}"),
            "mount sysfs: mount -t sysfs none /sys",
        )
    })
}

/// Placeholders in the object of calls of kernel functions (`BPF_PSEUDO_KFUNC_CALL`), with the functions' names. Such
/// a call needs the function's BTF id, which aya 0.14 does not resolve.
const FUNCTIONS: [(u32, &str); 2] =
    [(CALL_KERNEL_SKB, "bpf_cast_to_kern_ctx"), (CALL_TYPED, "bpf_rdonly_cast")];

/// Size of an instruction in bytes.
const INSTRUCTION: usize = 8;

/// The functions' BTF ids, in the order of [`FUNCTIONS`].
type FunctionIds = [u32; FUNCTIONS.len()];

/// Returns the BTF ids in this kernel; none if it lacks a function.
fn function_ids(btf: &Btf) -> Option<FunctionIds> {
    let [(_, first), (_, second)] = FUNCTIONS;
    Some([btf.function(first)?, btf.function(second)?])
}

/// Returns the object with BTF ids in its calls. Without ids, moves replace the calls: a kernel refuses even an
/// unreachable call of an unknown function.
fn patch(object: &[u8], function_ids: Option<FunctionIds>) -> Vec<u8> {
    let mut object = object.to_vec();
    // Code sections are aligned to the size of an instruction.
    for instruction in object.as_chunks_mut::<INSTRUCTION>().0 {
        if let Some(index) = FUNCTIONS.iter().position(|(mark, _)| *instruction == call(*mark)) {
            let number = function_ids.and_then(|function_ids| function_ids.get(index).copied());
            *instruction = number.map_or(MOVE, call);
        }
    }
    object
}

/// `r0 = r1`.
const MOVE: [u8; INSTRUCTION] = if cfg!(target_endian = "big") {
    [0xbf, 0x01, 0, 0, 0, 0, 0, 0]
} else {
    [0xbf, 0x10, 0, 0, 0, 0, 0, 0]
};

/// Returns a call of the kernel function with this BTF id.
const fn call(number: u32) -> [u8; INSTRUCTION] {
    let registers = if cfg!(target_endian = "big") { 0x02 } else { 0x20 };
    let [a, b, c, d] = number.to_ne_bytes();
    [0x85, registers, 0, 0, a, b, c, d]
}

/// Loads the programs, each in a thread if one can start: the verifier takes tens of milliseconds for a large one.
/// Returns the first that the kernel refuses.
fn load_all(ebpf: &mut Ebpf, entries: &[ProgramSpec]) -> Option<(ProgramSpec, ProgramError)> {
    let index = |name: &str| entries.iter().position(|entry| entry.name == name);
    let (mut left, mut refused) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let mut loading = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some(index) = index(name) else { continue };
            match thread::Builder::new().spawn_scoped(scope, || load_one(program)) {
                Ok(thread) => loading.push((index, thread)),
                Err(_) => left.push(index),
            }
        }
        for (index, thread) in loading {
            let loaded = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            refused.extend(loaded.err().map(|error| (index, error)));
        }
    });
    for index in left {
        let loaded = ebpf.program_mut(entries[index].name).map_or(Ok(()), load_one);
        refused.extend(loaded.err().map(|error| (index, error)));
    }
    let first = refused.into_iter().min_by_key(|(index, _)| *index);
    first.map(|(index, error)| (entries[index], error))
}

fn load_one(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        _ => Ok(()),
    }
}

/// Attaches the programs of hook `cgroup` to a cgroup. The kernel removes the links at any end of the process.
/// Optional programs that could not be attached go to `loaded.refused`, with the reasons.
pub fn attach_cgroup(loaded: &mut Loaded, cgroup: &File) -> Result<(), CannotCapture> {
    // For links, `Single` allows other programs on the cgroup; the kernel refuses `AllowMultiple`.
    let mode = CgroupAttachMode::Single;
    let mut attached = Vec::new();
    for entry in std::mem::take(&mut loaded.entries) {
        let Loaded { settings, .. } = loaded;
        if is_send(&entry) && settings.knows_sender() && !settings.records_connects() {
            // The packet has the sender, and this program would cost a quarter microsecond per datagram.
            continue;
        }
        let result = match loaded.ebpf.program_mut(entry.name) {
            Some(Program::CgroupSkb(program)) => {
                let direction = if entry.name == "cgroup_ingress" {
                    CgroupSkbAttachType::Ingress
                } else {
                    CgroupSkbAttachType::Egress
                };
                program.attach(cgroup, direction, mode).map(drop)
            }
            Some(Program::CgroupSock(program)) => program.attach(cgroup, mode).map(drop),
            Some(Program::CgroupSockAddr(program)) => {
                match link::attach_first(program, entry.name, cgroup) {
                    Some(link) => {
                        loaded.links.push(link);
                        Ok(())
                    }
                    None => program.attach(cgroup, mode).map(drop),
                }
            }
            Some(Program::SockOps(program)) => program.attach(cgroup, mode).map(drop),
            Some(Program::RawTracePoint(program)) => {
                let tracepoint = match entry.name {
                    SOCKET_ERROR => "inet_sk_error_report",
                    PACKET_SENT => "net_dev_start_xmit",
                    _ => "kfree_skb",
                };
                program.attach(tracepoint).map(drop)
            }
            _ => Ok(()),
        };
        match result {
            Ok(()) => attached.push(entry),
            Err(error) if entry.required => {
                return Err(CannotCapture::new(
                    format!("cannot attach program {}: {}", entry.name, reason_of(&error).1),
                    "see `dnscribe check`, or use --hook socket",
                ));
            }
            Err(error) => loaded.refused.push((entry, reason_of(&error).1)),
        }
    }
    loaded.entries = attached;
    Ok(())
}

/// Opens the object and creates its maps.
fn object(
    bytes: &[u8],
    options: &LiveOptions,
    ring_bytes: u32,
    settings: &Settings,
) -> Result<Ebpf, CannotCapture> {
    let level = kernel_log::level();
    let page = u32::try_from(page_size()).unwrap_or(4096);
    let mut loader = EbpfLoader::new();
    kernel_log::configure(&mut loader, &level, page);
    loader
        // The programs need no relocation against the kernel's types, and reading these is slow.
        .btf(None)
        .override_global("SETTINGS", &settings.words, true)
        .override_global(
            "PORTS",
            &port_classes(&options.ports, options.encrypted.as_ref())[..],
            true,
        )
        .map_max_entries("RING", ring_bytes)
        .load(bytes)
        .map_err(|error| map_error(&error))
}

/// Returns the ring of the object. Creates more if configured, and puts all into the map of rings, from which
/// the programs choose.
fn rings(ebpf: &mut Ebpf, count: u32, bytes: u32) -> Result<Vec<RingBuf<MapData>>, CannotCapture> {
    const RING: u32 = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;
    let mut take =
        |name: &str| ebpf.take_map(name).ok_or_else(|| internal(&format!("no map {name}")));
    let mut rings = vec![RingBuf::try_from(take("RING")?)?];
    if count <= 1 {
        return Ok(rings);
    }
    for number in 1..count {
        let map = aya_obj::Map::new_from_params(RING, 0, 0, bytes, 0);
        let map = MapData::create(map, &format!("RING_{number}"), None);
        let map = map.map_err(|error| map_error(&error))?;
        rings.push(
            RingBuf::try_from(aya::maps::Map::RingBuf(map)).map_err(|error| map_error(&error))?,
        );
    }
    let mut all: ArrayOfMaps<MapData, RingBuf<MapData>> = take("RINGS")?.try_into()?;
    for (number, ring) in (0..).zip(&rings) {
        all.set(number, ring, 0).map_err(|error| map_error(&error))?;
    }
    Ok(rings)
}

fn insert_resolvers(ebpf: &mut Ebpf, options: &LiveOptions) -> Result<(), CannotCapture> {
    let map = ebpf.map_mut("RESOLVERS").ok_or_else(|| internal("no map RESOLVERS"))?;
    let mut resolvers: LpmTrie<&mut MapData, [u8; 16], u8> = map.try_into()?;
    for prefix in options.encrypted.iter().flat_map(Encrypted::resolvers) {
        let (bits, address) = prefix.mapped();
        resolvers.insert(&Key::new(bits, address), 1, 0)?;
    }
    Ok(())
}

/// Puts the program [`CALLED`] into the map from which `tap`, and it itself, call it.
fn insert_called_program(ebpf: &mut Ebpf) -> Result<(), CannotCapture> {
    let fd = match ebpf.program(CALLED) {
        Some(Program::SocketFilter(program)) => program.fd().map_err(|error| chain(&error)),
        _ => Err(format!("no program {CALLED}")),
    };
    let fd = fd.map_err(|why| internal(&why))?.try_clone();
    let fd = fd.map_err(|error| internal(&chain(&error)))?;
    let map = ebpf.map_mut("LOOK").ok_or_else(|| internal("no map LOOK"))?;
    let mut calls: ProgramArray<&mut MapData> = map.try_into()?;
    Ok(calls.set(0, &fd, 0)?)
}

/// Returns the size of each ring: the largest possible one within its share.
fn check_rings(options: &LiveOptions) -> Result<u32, CannotCapture> {
    let LiveOptions { rings, ring_bytes: bytes, .. } = *options;
    if !(1..=MAX_RINGS).contains(&rings) {
        return Err(CannotCapture::new(
            format!("{rings} rings are not possible"),
            &format!("give from 1 to {MAX_RINGS} threads"),
        ));
    }
    let page = u32::try_from(page_size()).unwrap_or(4096);
    let each = bytes / rings.next_power_of_two();
    if bytes.is_power_of_two() && each >= page {
        return Ok(each);
    }
    let least = page * rings.next_power_of_two();
    Err(CannotCapture::new(
        format!("a ring of {bytes} bytes is not possible"),
        &format!("give a power of two, {least} or more, such as 33554432 (32 MiB)"),
    ))
}

/// Removes the limit of locked memory, against which maps count before Linux 5.11. Later kernels do not need it, so
/// errors are ignored.
fn lift_memlock() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_invalid_ring_sizes() {
        let rings = |rings, ring_bytes| {
            check_rings(&LiveOptions { rings, ring_bytes, ..LiveOptions::default() })
        };
        for (count, bad) in [(1, 0), (1, 1), (1, 4095), (1, 4097), (1, 3 << 20), (3, 8192)] {
            let error = rings(count, bad).unwrap_err();
            assert!(error.remedy.contains("power of two"), "{bad}");
        }
        assert!(rings(0, 32 << 20).is_err() && rings(17, 32 << 20).is_err());
        let each = |count| rings(count, 32 << 20).unwrap();
        assert_eq!([each(1), each(2), each(3), each(16)], [32 << 20, 16 << 20, 8 << 20, 2 << 20]);
    }

    #[test]
    fn patches_calls_only() {
        let other = [0x85, 0, 0, 0, 1, 0x73, 0x6e, 0x64];
        let object = [call(CALL_TYPED), other, call(CALL_KERNEL_SKB), call(9)].concat();
        let with = patch(&object, Some([5, 6]));
        assert_eq!(with, [call(6), other, call(5), call(9)].concat());
        assert_eq!(patch(&object, None), [MOVE, other, MOVE, call(9)].concat());
    }
}
