//! Statuses of transactions, numbered for tables, and their pairing counters.

use dnscribe_record::ledger::Pairing;

/// Number of statuses.
pub(super) const COUNT: usize = ALL.len();

/// A status and its counter.
type Status = (&'static str, fn(&Pairing) -> u64);

/// All statuses.
pub(super) const ALL: [Status; 8] = [
    ("answered", |pairing| pairing.answered),
    ("timeout", |pairing| pairing.timeout),
    ("late", |pairing| pairing.late),
    ("icmp_error", |pairing| pairing.icmp_error),
    ("duplicate", |pairing| pairing.duplicate),
    ("orphan", |pairing| pairing.orphan),
    ("evicted", |pairing| pairing.evicted),
    ("open", |pairing| pairing.open),
];

/// Returns the index of a status in [`ALL`].
pub(super) fn number(name: &str) -> Option<u8> {
    let place = ALL.iter().position(|(status, _)| *status == name)?;
    u8::try_from(place).ok()
}
