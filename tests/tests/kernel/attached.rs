//! The small program that is attached at the tap, and its tail call.

use super::frames::{PORT, QUERY, ethernet, udp, v4, vxlan};
use super::host::run_in_new_namespace;
use super::{UDP, assert_balance, counters, options, privileged};
use dnscribe_agent::capture::live::testing::Bench;
use dnscribe_agent::capture::live::{HookChoice, Live, LiveOptions};
use dnscribe_tests::environment::skip;

/// Limit of a socket's memory for options, including filters, before Linux 6.7.
const OPTMEM: &str = "/proc/sys/net/core/optmem_max";
const OPTMEM_OF_OLD: u32 = 20_480;

#[test]
fn attached_program_is_small() {
    if !privileged() {
        return;
    }
    let bench = Bench::load(&options(), true).expect("loads");
    // `struct bpf_prog` is charged too.
    let info = bench.live.program_info("tap").expect("the program is loaded");
    let bytes = info.size_translated().expect("the kernel reports it");
    assert!(bytes < 8 << 10, "{bytes} bytes of instructions");
    // Where the kernel reports it, the verified program is tiny.
    assert!(info.verified_instruction_count().is_none_or(|count| count < 5_000));
}

#[test]
fn counts_failed_tail_calls_of_tap() {
    if !privileged() {
        return;
    }
    let query = v4(UDP, &[], 0, &udp(PORT, QUERY));
    let other = v4(UDP, &[], 0, &udp(PORT + 1, QUERY));
    let mut bench = Bench::load(&options(), true).expect("loads");
    bench.remove_inspect_program().expect("the map is there");
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
fn hook_socket_attaches_with_little_socket_memory() {
    if !privileged() {
        return;
    }
    run_in_new_namespace("attached::with_little_memory");
}

/// Started by [`hook_socket_attaches_with_little_socket_memory`].
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
    limit(128).expect("sets the limit");
    let refused = Live::open(&options).err().expect("no memory for any program");
    assert!(refused.remedy.contains("net.core.optmem_max"), "{refused}");
    assert!(refused.problem.contains("memory"), "{refused}");
}
