//! Zone transfers: many messages over TCP, one transaction (RFC 5936 for AXFR, RFC 1995 for IXFR).

use super::Status;
use crate::capture::Transport;
use crate::decode::dns::{Dns, Record};
use crate::decode::{Kept, Message};
use crate::time::Timestamp;
use std::time::Duration;

/// A transfer whose next message does not come for so long has ended. Servers may take their time
/// over a large zone.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Records of the first message that are kept of a transfer of several.
const MAX_ANSWERS: u16 = 100;

const SOA: u16 = 6;
const IXFR: u16 = 251;
const AXFR: u16 = 252;

/// What a zone transfer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Messages of the response.
    pub messages: u64,
    /// Their octets, TCP's length prefixes left out.
    pub bytes: u64,
    /// Their records: the sum of the headers' ANCOUNT.
    pub records: u64,
    /// From the first query to the last message.
    pub duration: Duration,
    /// Whether the zone's SOA closed it. Else the connection broke off, an error came, or the
    /// messages were captured only in part.
    pub complete: bool,
}

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Running {
    /// What the transaction will be: answered or late.
    pub(super) status: Status,
    /// The first message, with its first records.
    pub(super) first: Kept,
    /// When the newest message came.
    pub(super) last: Timestamp,
    /// What it came to so far.
    pub(super) so_far: Transfer,
    progress: Progress,
}

/// Whether a message asks for a transfer that may take many messages: over UDP one has to do
/// (RFC 1995, 2).
pub(super) fn is_asked_by(query: &Message<'_>) -> bool {
    query.envelope.transport == Transport::Tcp
        && matches!(query.dns.asked(), Some((IXFR | AXFR, _)))
}

/// Takes the first message of the response: the transfer, and whether it goes on. None where the
/// response begins no transfer, but refuses it.
pub(super) fn begin(
    query: &Message<'_>,
    first: &Message<'_>,
    status: Status,
) -> Option<(Running, bool)> {
    if first.dns.rcode() != 0 {
        return None;
    }
    let incremental = matches!(query.dns.asked(), Some((IXFR, _)));
    let so_far =
        Transfer { messages: 0, bytes: 0, records: 0, duration: Duration::ZERO, complete: false };
    let mut progress = Progress::new(incremental);
    let step = progress.take(&first.dns);
    let last = first.envelope.ts;
    let mut running = Running { status, last, so_far, progress, first: Kept::from(*first) };
    running.count(query.envelope.ts, first, step);
    let goes_on = step == Step::GoOn;
    if goes_on {
        running.first.limit_answers(MAX_ANSWERS);
    }
    Some((running, goes_on))
}

impl Running {
    /// Takes a further message; whether the transfer goes on.
    pub(super) fn take(&mut self, since: Timestamp, message: &Message<'_>) -> bool {
        let step = self.progress.take(&message.dns);
        self.last = message.envelope.ts;
        self.count(since, message, step);
        step == Step::GoOn
    }

    fn count(&mut self, since: Timestamp, message: &Message<'_>, step: Step) {
        let so_far = &mut self.so_far;
        so_far.messages += 1;
        so_far.bytes += u64::from(message.wire_bytes);
        so_far.records += u64::from(message.dns.counts.answer);
        so_far.duration = message.envelope.ts.since(since);
        so_far.complete = step == Step::Closed;
    }
}

/// What a message means for its transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more to come.
    GoOn,
    /// The last SOA was in it.
    Closed,
    /// Nothing more will come, or what comes is no transfer.
    Broken,
}

/// How far a transfer has come, by the SOA records in it.
///
/// An AXFR begins and ends with the zone's SOA. So does an IXFR, but between them may stand
/// differences, each led by the SOA of the older serial and split by that of the newer one: the
/// newest serial then comes three times in all. An IXFR of one SOA alone says that there is nothing
/// newer (RFC 1995, 4).
#[derive(Clone, Copy, Debug)]
struct Progress {
    incremental: bool,
    serial: u32,
    records: u64,
    /// How often the newest serial was seen, and is to be seen.
    seen: u8,
    wanted: u8,
}

impl Progress {
    const fn new(incremental: bool) -> Self {
        Self { incremental, serial: 0, records: 0, seen: 0, wanted: 2 }
    }

    fn take(&mut self, dns: &Dns<'_>) -> Step {
        if dns.rcode() != 0 {
            return Step::Broken;
        }
        for record in dns.answers() {
            let serial = soa_serial(&record);
            match (self.records, serial) {
                (0, None) => return Step::Broken,
                (0, Some(serial)) => self.serial = serial,
                (1, Some(serial)) if self.incremental && serial != self.serial => self.wanted = 3,
                _ => {}
            }
            self.records += 1;
            if serial == Some(self.serial) {
                self.seen += 1;
                if self.seen == self.wanted {
                    return Step::Closed;
                }
            }
        }
        let up_to_date = self.incremental && self.records == 1 && dns.counts.answer == 1;
        match self.records {
            0 => Step::Broken,
            1 if up_to_date => Step::Closed,
            _ => Step::GoOn,
        }
    }
}

/// The serial of a SOA record that is well formed: the third of its fields.
fn soa_serial(record: &Record<'_>) -> Option<u32> {
    if record.rtype != SOA {
        return None;
    }
    let mut data = String::new();
    record.push_data(&mut data);
    if data.starts_with("\\#") {
        return None;
    }
    data.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Step::{Broken, Closed, GoOn};
    use super::*;
    use crate::decode::dns::{Answer, Answers, Flags, Outline};
    use crate::decode::testing::DraftDns;

    /// SOA records by their serial, 0 for any other record.
    fn steps(incremental: bool, messages: &[&[u32]]) -> Vec<Step> {
        let mut progress = Progress::new(incremental);
        let step = |records: &&[u32]| {
            let mut answers = Answers::default();
            for serial in *records {
                let soa = &format!("ns hostmaster {serial} 1 1 1 1");
                let (rtype, data) =
                    if *serial == 0 { (1, "192.0.2.1") } else { (SOA, soa.as_str()) };
                let name = "example.test";
                answers.push(&Answer { name, class: 1, rtype, ttl_seconds: 1, data });
            }
            let octets = DraftDns { answers, ..DraftDns::default() }.octets();
            progress.take(&Dns::new(&octets, &Outline::read(&octets, false).unwrap()))
        };
        messages.iter().map(step).collect()
    }

    #[test]
    fn axfr_ends_with_the_soa_that_it_began_with() {
        assert_eq!(steps(false, &[&[7, 0, 0, 7]]), [Closed]);
        assert_eq!(steps(false, &[&[7], &[0], &[0, 0], &[7]]), [GoOn, GoOn, GoOn, Closed]);
        assert_eq!(steps(false, &[&[7, 0], &[], &[8], &[7]]), [GoOn, GoOn, GoOn, Closed]);
        assert_eq!(steps(false, &[&[0, 7]]), [Broken]);
        assert_eq!(steps(false, &[&[]]), [Broken]);
    }

    #[test]
    fn ixfr_has_three_forms() {
        // Nothing newer.
        assert_eq!(steps(true, &[&[7]]), [Closed]);
        // The whole zone.
        assert_eq!(steps(true, &[&[7, 0], &[0, 7]]), [GoOn, Closed]);
        assert_eq!(steps(true, &[&[7, 7]]), [Closed]);
        // Two differences: 5 to 6 and 6 to 7.
        assert_eq!(steps(true, &[&[7, 5, 0, 6, 0], &[6, 0, 7], &[0, 0, 7]]), [GoOn, GoOn, Closed]);
        // One that removes and adds nothing but the SOA.
        assert_eq!(steps(true, &[&[7, 6, 7, 7]]), [Closed]);
    }

    #[test]
    fn an_error_breaks_it() {
        let mut progress = Progress::new(false);
        let octets = DraftDns { flags: Flags(0x8005), ..DraftDns::default() }.octets();
        let refused = Outline::read(&octets, false).unwrap();
        assert_eq!(progress.take(&Dns::new(&octets, &refused)), Broken);
    }
}
