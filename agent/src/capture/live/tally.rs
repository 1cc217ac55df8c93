//! Consistent reads of the programs' counters, and the number of lost records, proven from their sequence numbers.

use crate::capture::Received;
use dnscribe_common::counter::{Counter, Hook, PerCpu};
use dnscribe_record::ledger;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reads of one CPU's counters without a pause; later ones have a pause.
const SPIN_READS: u32 = 1_000;
/// Reads before a packet without an outcome is left for the next time: a preempted program may take long.
const MAX_READS: u32 = 1_200;

/// Returns what the readers of several rings received, by CPU.
pub fn sum<'a>(readers: impl Iterator<Item = &'a [Received]>) -> Vec<Received> {
    let mut all = Vec::new();
    for received in readers {
        if all.len() < received.len() {
            all.resize(received.len(), Received::default());
        }
        for (sum, one) in all.iter_mut().zip(received) {
            *sum = sum.plus(*one);
        }
    }
    all
}

/// Reads until each CPU's counters add up. `read` returns the counters of all CPUs.
pub fn settled<E>(mut read: impl FnMut() -> Result<Vec<PerCpu>, E>) -> Result<Vec<PerCpu>, E> {
    let mut settled: Vec<Option<PerCpu>> = Vec::new();
    let mut latest = Vec::new();
    for attempt in 0..MAX_READS {
        latest = read()?;
        settled.resize(latest.len(), None);
        for (kept, now) in settled.iter_mut().zip(&latest) {
            if kept.is_none() && now.is_settled() {
                *kept = Some(*now);
            }
        }
        if settled.iter().all(Option::is_some) {
            break;
        }
        if attempt > SPIN_READS {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(settled
        .into_iter()
        .zip(latest)
        .map(|(kept, now)| kept.unwrap_or_else(|| close(now)))
        .collect())
}

/// Counts a packet without an outcome as not seen yet.
fn close(mut cpu: PerCpu) -> PerCpu {
    let mut attempts = 0;
    for hook in Hook::ALL {
        let outcomes = cpu.outcomes(hook);
        attempts += cpu.get(hook, Counter::Submitted) + cpu.get(hook, Counter::LostRingFull);
        if let Some(seen) = cpu.0.get_mut(Counter::Seen.index(hook)) {
            *seen = outcomes;
        }
    }
    if let Some(sequence) = cpu.0.get_mut(dnscribe_common::counter::SEQUENCE) {
        *sequence = attempts;
    }
    cpu
}

/// Returns a hook's counters, summed over all CPUs.
fn of_hook(cpus: &[PerCpu], hook: Hook) -> ledger::Kernel {
    let sum = |counter| cpus.iter().map(|cpu| cpu.get(hook, counter)).sum();
    ledger::Kernel {
        seen: sum(Counter::Seen),
        submitted: sum(Counter::Submitted),
        lost_ring_full: sum(Counter::LostRingFull),
        sampled_out: sum(Counter::SampledOut),
        skipped: Counter::SKIPPED
            .iter()
            .map(|&(counter, reason)| (reason.to_owned(), sum(counter)))
            .collect(),
        clipped: sum(Counter::Clipped),
    }
}

/// Returns the hooks' counters by name.
pub fn of_hooks(cpus: &[PerCpu], hooks: &[Hook]) -> BTreeMap<String, ledger::Kernel> {
    hooks.iter().map(|&hook| (hook.name().to_owned(), of_hook(cpus, hook))).collect()
}

/// Returns the counters of all rings together, because the sequence numbers of a CPU are spread over all rings.
///
/// Gaps of a CPU are the sequence numbers up to the highest received one that did not arrive, and the later ones that
/// are not waiting in a ring. Records may leave a ring out of order (a softirq may interrupt a program between its
/// sequence number and its reservation). This moves a number from one part to the other, and the sum stays correct.
pub fn of_ring(cpus: &[PerCpu], received: &[Received]) -> ledger::Ring {
    let mut ring = ledger::Ring::default();
    let mut gaps: i128 = 0;
    for (index, cpu) in cpus.iter().enumerate() {
        let received_here = received.get(index).copied().unwrap_or_default();
        let submitted = cpu.submitted();
        let waiting = i128::from(submitted) - i128::from(received_here.records);
        let before = i128::from(received_here.highest) - i128::from(received_here.records);
        let since = i128::from(cpu.sequence()) - i128::from(received_here.highest) - waiting;
        gaps += before + since;
        ring.submitted += submitted;
        ring.received += received_here.records;
    }
    ring.in_ring = ring.submitted.saturating_sub(ring.received);
    ring.sequence_gaps = u64::try_from(gaps).unwrap_or(0);
    ring
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_common::counter::{SEQUENCE, WORDS};

    fn cpu(seen: u64, submitted: u64, lost: u64, sequence: u64) -> PerCpu {
        let mut words = [0; WORDS];
        words[Counter::Seen.index(Hook::Cgroup)] = seen;
        words[Counter::Submitted.index(Hook::Cgroup)] = submitted;
        words[Counter::LostRingFull.index(Hook::Cgroup)] = lost;
        words[SEQUENCE] = sequence;
        PerCpu(words)
    }

    #[test]
    fn reads_until_consistent() {
        let mut reads = [cpu(5, 4, 0, 4), cpu(6, 6, 0, 6)].into_iter();
        let result = settled(|| Ok::<_, ()>(vec![reads.next().unwrap()])).unwrap();
        assert_eq!(result, [cpu(6, 6, 0, 6)]);
    }

    #[test]
    fn leaves_a_pending_packet_for_later() {
        let result = settled(|| Ok::<_, ()>(vec![cpu(9, 4, 2, 7)])).unwrap();
        assert_eq!(result, [cpu(6, 4, 2, 6)]);
        assert!(result[0].is_settled());
    }

    #[test]
    fn sums_readers_of_several_rings() {
        let one = |records, highest| Received { records, highest };
        let readers = [vec![one(2, 5)], vec![one(1, 9), one(4, 4)], vec![]];
        let all = sum(readers.iter().map(Vec::as_slice));
        assert_eq!(all, [one(3, 9), one(4, 4)]);
        let ring = of_ring(&[cpu(10, 7, 3, 10), cpu(4, 4, 0, 4)], &all);
        let expected = ledger::Ring { submitted: 11, received: 7, in_ring: 4, sequence_gaps: 3 };
        assert_eq!(ring, expected);
    }

    #[test]
    fn counts_all_gaps() {
        // Numbers 1 to 10; 3, 4 and 9 were lost; 1, 2 and 5 were taken, 6, 7, 8 and 10 wait.
        let mut result = Received::default();
        for seq in [1, 5, 2] {
            result.note(seq);
        }
        let ring = of_ring(&[cpu(10, 7, 3, 10)], &[result]);
        assert_eq!(ring, ledger::Ring { submitted: 7, received: 3, in_ring: 4, sequence_gaps: 3 });
        for seq in [6, 7, 8, 10] {
            result.note(seq);
        }
        let ring = of_ring(&[cpu(10, 7, 3, 10)], &[result]);
        assert_eq!(ring, ledger::Ring { submitted: 7, received: 7, in_ring: 0, sequence_gaps: 3 });
    }
}
