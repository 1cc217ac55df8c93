//! Random traffic: links are valid, and no state is kept forever.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NAMES: [&str; 6] =
    ["www.example.com", "example.com", "com", ".", "cdn.example.net", "a.b.www.example.com"];

/// Processes: two resolvers, a client, and none known.
const PIDS: [Option<u32>; 4] = [Some(UNBOUND), Some(54), Some(DIG), None];

const DIRECTIONS: [Direction; 4] =
    [Direction::Egress, Direction::Ingress, Direction::Loopback, Direction::Passive];

fn hosts() -> [SocketAddr; 4] {
    [client(4000), resolver(53), resolver(5000), server()]
}

prop_compose! {
    fn seen()(
        direction in 0..4_usize, pid in 0..4_usize, from in 0..4_usize, to in 0..4_usize,
        id in 0..3_u16, response: bool, code in 0..4_u16, name in 0..6_usize, ipv6: bool,
        cname in proptest::option::of(0..6_usize), stale: bool, step in 0..2_000_000_u64,
    ) -> (u64, TestMessage<'static>) {
        let flags = if response { TO_CLIENT | code } else { 0x100 * (code & 1) };
        let seen = TestMessage {
            direction: DIRECTIONS[direction],
            pid: PIDS[pid],
            from: hosts()[from],
            to: hosts()[to],
            id,
            flags,
            qname: NAMES[name],
            qtype: if ipv6 { AAAA } else { A },
            cname: cname.map(|name| NAMES[name]),
            stale,
        };
        (step * step / 2_000_000, seen)
    }
}

fn run(history: &[(u64, TestMessage<'static>)]) -> TestHost {
    let mut host = TestHost::new();
    for (step, seen) in history {
        host.pass(*step);
        host.see(*seen);
        assert!(host.joiner.waiting() as u64 <= host.pairer.counters().open);
    }
    host.finish();
    host
}

proptest! {
    #[test]
    fn links_are_valid_in_random_traffic(history in proptest::collection::vec(seen(), 0..200)) {
        let host = run(&history);
        prop_assert_eq!(host.joiner.waiting(), 0, "all transactions have ended");
        let mut now = 0;
        let queries: HashMap<u64, TestMessage<'_>> = history
            .iter()
            .map(|(step, seen)| {
                now += step + 1;
                (now, *seen)
            })
            .collect();
        let begun: BTreeSet<u64> = host.ended.keys().copied().collect();
        for (number, (_, links)) in &host.ended {
            let Some(parent) = links.parent else { continue };
            let before = parent.id.packet.seq;
            prop_assert!(begun.contains(&before) && before < *number, "{} of {}", number, before);
            let (child, parent_seen) = (queries[number], queries[&before]);
            if parent.by == ParentMatch::Exchange {
                prop_assert_eq!(child.direction, Direction::Ingress);
                prop_assert_eq!(parent_seen.direction, Direction::Egress);
                prop_assert_eq!((child.qname, child.from), (parent_seen.qname, parent_seen.from));
            } else if child.direction == Direction::Passive {
                prop_assert_eq!(parent_seen.direction, Direction::Passive);
            } else {
                prop_assert_eq!(child.pid, parent_seen.pid, "one process");
            }
        }
    }

    #[test]
    fn results_are_deterministic(history in proptest::collection::vec(seen(), 0..200)) {
        let (once, again) = (run(&history), run(&history));
        prop_assert_eq!(once.ended, again.ended);
        prop_assert_eq!(once.joiner.counters(), again.joiner.counters());
    }
}
