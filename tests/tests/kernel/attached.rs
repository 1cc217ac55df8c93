//! The small program that is attached at the tap, and the one that it calls.

use super::frames::{PORT, QUERY, ethernet, udp, v4, vxlan};
use super::host::apart;
use super::{UDP, assert_balance, counters, options, privileged};
use dnscribe::capture::live::testing::Bench;
use dnscribe::capture::live::{HookChoice, Live, LiveOptions};
use dnscribe_tests::environment::skip;

/// The limit of a socket's memory for options, filters among them, before Linux 6.7.
const OPTMEM: &str = "/proc/sys/net/core/optmem_max";
const OPTMEM_OF_OLD: u32 = 20_480;

#[test]
fn what_is_attached_is_small() {
    if !privileged() {
        return;
    }
    let bench = Bench::load(&options(), true).expect("loads");
    // `struct bpf_prog` is charged too.
    let bytes = bench.instruction_bytes("tap").expect("the kernel tells");
    assert!(bytes < 8 << 10, "{bytes} octets of instructions");
    // Where the verifier tells, there is next to nothing to verify.
    assert!(bench.verified_instructions("tap").is_none_or(|count| count < 5_000));
}

#[test]
fn what_the_tap_cannot_hand_on_is_counted() {
    if !privileged() {
        return;
    }
    let query = v4(UDP, &[], 0, &udp(PORT, QUERY));
    let other = v4(UDP, &[], 0, &udp(PORT + 1, QUERY));
    let mut bench = Bench::load(&options(), true).expect("loads");
    bench.take_look().expect("the map is there");
    for (what, packet, lost) in
        [("ours", &query, 1), ("perhaps ours", &vxlan(&other), 1), ("another's", &other, 0)]
    {
        let before = counters(&bench, "socket");
        assert_eq!(bench.run("tap", &ethernet(packet), 1).expect("runs"), 0, "{what}");
        let after = counters(&bench, "socket");
        assert_balance(&after);
        assert_eq!(after.seen - before.seen, lost, "{what}");
        let skipped = after.skipped["tunnel_depth"] - before.skipped["tunnel_depth"];
        assert_eq!(skipped, lost, "{what}");
    }
}

#[test]
fn hook_socket_attaches_where_sockets_have_little_memory() {
    if !privileged() {
        return;
    }
    apart("attached::with_little_memory");
}

/// What [`hook_socket_attaches_where_sockets_have_little_memory`] starts.
#[test]
#[ignore = "a part of another test"]
fn with_little_memory() {
    let limit = |bytes: u32| std::fs::write(OPTMEM, bytes.to_string());
    if limit(OPTMEM_OF_OLD).is_err() {
        return skip("net.core.optmem_max is not per network namespace (Linux 6.8)");
    }
    let options = LiveOptions { hook: HookChoice::Socket, ..options() };
    let live = Live::open(&options).expect("attaches");
    drop(live);
    limit(128).expect("as above");
    let refused = Live::open(&options).err().expect("no room for any program");
    assert!(refused.remedy.contains("net.core.optmem_max"), "{refused}");
    assert!(refused.problem.contains("memory"), "{refused}");
}
