//! Counts query messages by pod, for a bounded number of pods.

use std::collections::BTreeMap;

/// Most pods counted by name. The first ones keep their counters.
const PODS: usize = 256;

/// Counters of query messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Messages sent.
    pub sent: u64,
    /// Messages that contributed nothing.
    pub wasted: u64,
}

/// Query messages by pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketsByPod {
    named: BTreeMap<Box<str>, PacketCounts>,
    other: PacketCounts,
}

impl PacketsByPod {
    /// Counts a lookup's messages; without a pod under an empty name.
    pub fn add(&mut self, pod: Option<&str>, packets: PacketCounts) {
        let pod = pod.unwrap_or_default();
        let has_room = self.named.len() < PODS;
        let sum = match self.named.get_mut(pod) {
            Some(sum) => sum,
            None if has_room => self.named.entry(pod.into()).or_default(),
            None => &mut self.other,
        };
        sum.sent += packets.sent;
        sum.wasted += packets.wasted;
    }

    /// Returns the counters by name; `other` is last and counts all further pods.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PacketCounts)> {
        let other = (self.other != PacketCounts::default()).then_some(("other", self.other));
        self.named.iter().map(|(name, packets)| (&**name, *packets)).chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_beyond_limit_are_counted_as_other() {
        let mut pods = PacketsByPod::default();
        let packets = PacketCounts { sent: 8, wasted: 6 };
        for round in 0..2 {
            for n in 0..2 * PODS {
                pods.add(Some(&format!("pod-{n}")), packets);
            }
            let figures: Vec<_> = pods.iter().collect();
            assert_eq!(figures.len(), PODS + 1);
            let (name, other) = figures[PODS];
            assert_eq!((name, other.wasted), ("other", (round + 1) * 6 * PODS as u64));
            assert!(figures[..PODS].iter().all(|(_, sums)| sums.sent == (round + 1) * 8));
        }
    }
}
