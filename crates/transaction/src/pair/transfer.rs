//! Zone transfers: many messages over TCP, one transaction (AXFR: RFC 5936, IXFR: RFC 1995).

use super::Status;
use crate::decode::{Message, OwnedMessage};
use crate::packet::Transport;
use dnscribe_dns::rtype::{AXFR, IXFR, SOA};
use dnscribe_dns::{Dns, Record};
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Silence after which a transfer has ended. Servers may take long over a large zone.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of records kept of the first message of a transfer.
const MAX_ANSWERS: u16 = 100;

/// Summary of a zone transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneTransfer {
    /// Messages of the response.
    pub messages: u64,
    /// Bytes of these messages, without TCP's length prefixes.
    pub bytes: u64,
    /// Records in these messages: the sum of ANCOUNT.
    pub records: u64,
    /// Time from the first query to the last message.
    pub duration: Duration,
    /// Whether the closing SOA was seen. If not, the connection broke, an error came, or not all
    /// messages were captured.
    pub complete: bool,
}

/// A running zone transfer.
#[derive(Debug)]
pub(super) struct RunningTransfer {
    /// Outcome that the transaction will have: answered or late.
    pub(super) status: Status,
    /// The first message, with its first records.
    pub(super) first: OwnedMessage,
    /// Time of the newest message.
    pub(super) last: Timestamp,
    /// Summary so far.
    pub(super) so_far: ZoneTransfer,
    progress: SoaProgress,
}

/// Returns whether a query asks for a transfer of possibly many messages. Over UDP, the response is
/// one message (RFC 1995, 2); over TLS and QUIC it is as over TCP (RFC 9103).
pub(super) fn is_transfer_query(query: &Message<'_>) -> bool {
    matches!(query.envelope.transport, Transport::Tcp | Transport::Dot | Transport::Doq)
        && matches!(query.dns.question_type_and_class(), Some((IXFR | AXFR, _)))
}

/// Starts a transfer from the first message of the response. Returns the transfer and whether more
/// messages follow, or `None` if the response refuses the transfer.
pub(super) fn start(
    query: &Message<'_>,
    first: &Message<'_>,
    status: Status,
) -> Option<(RunningTransfer, bool)> {
    if first.dns.rcode() != 0 {
        return None;
    }
    let so_far = ZoneTransfer::default();
    let mut progress = SoaProgress::new(&query.dns);
    let step = progress.add(&first.dns);
    let last = first.envelope.ts;
    let mut running =
        RunningTransfer { status, last, so_far, progress, first: OwnedMessage::from(*first) };
    running.count(query.envelope.ts, first, step);
    let continues = step == TransferStep::Continue;
    if continues {
        running.first.limit_answers(MAX_ANSWERS);
    }
    Some((running, continues))
}

impl RunningTransfer {
    /// Adds a message. Returns whether more messages follow.
    pub(super) fn add(&mut self, since: Timestamp, message: &Message<'_>) -> bool {
        let step = self.progress.add(&message.dns);
        self.last = message.envelope.ts;
        self.count(since, message, step);
        step == TransferStep::Continue
    }

    fn count(&mut self, since: Timestamp, message: &Message<'_>, step: TransferStep) {
        let so_far = &mut self.so_far;
        so_far.messages += 1;
        so_far.bytes += u64::from(message.wire_bytes);
        so_far.records += u64::from(message.dns.counts.answer);
        so_far.duration = message.envelope.ts.since(since);
        so_far.complete = step == TransferStep::Complete;
    }
}

/// Effect of a message on its transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransferStep {
    /// More messages follow.
    Continue,
    /// The message held the closing SOA.
    Complete,
    /// No more messages follow, or this is no transfer.
    Broken,
}

/// Progress of a transfer, by its SOA records.
///
/// An AXFR begins and ends with the SOA of the zone. So does an IXFR, but it may hold differences in
/// between, each introduced by the SOA of the older serial and divided by the SOA of the newer one:
/// the newest serial then occurs three times. An IXFR that is a single SOA, not newer than that of
/// the query, reports that there is nothing newer (RFC 1995, 4).
#[derive(Clone, Copy, Debug)]
struct SoaProgress {
    incremental: bool,
    /// The client's serial, in the query for an IXFR.
    client_serial: Option<u32>,
    /// The newest serial.
    serial: u32,
    records: u64,
    /// How often the newest serial was seen.
    seen: u8,
    /// How often it occurs in a complete transfer.
    required: u8,
}

impl SoaProgress {
    fn new(query: &Dns<'_>) -> Self {
        let incremental = matches!(query.question_type_and_class(), Some((IXFR, _)));
        // RFC 1995, 3.
        let client_serial = query.authority().find_map(|record| soa_serial(&record));
        Self { incremental, client_serial, serial: 0, records: 0, seen: 0, required: 2 }
    }

    fn add(&mut self, dns: &Dns<'_>) -> TransferStep {
        if dns.rcode() != 0 {
            return TransferStep::Broken;
        }
        for record in dns.answers() {
            let serial = soa_serial(&record);
            match (self.records, serial) {
                (0, None) => return TransferStep::Broken,
                (0, Some(serial)) => self.serial = serial,
                (1, Some(serial)) if self.incremental && serial != self.serial => self.required = 3,
                _ => {}
            }
            self.records += 1;
            if serial == Some(self.serial) {
                self.seen += 1;
                if self.seen == self.required {
                    return TransferStep::Complete;
                }
            }
        }
        // A server may also send each record in a message of its own.
        let is_newer = self.client_serial.is_some_and(|client| is_newer(self.serial, client));
        let up_to_date = self.incremental && dns.counts.answer == 1 && !is_newer;
        match self.records {
            0 => TransferStep::Broken,
            1 if up_to_date => TransferStep::Complete,
            _ => TransferStep::Continue,
        }
    }
}

/// Compares serials, which wrap (RFC 1982, 3.2).
const fn is_newer(serial: u32, than: u32) -> bool {
    serial != than && serial.wrapping_sub(than) < 1 << 31
}

/// Returns the serial of a well-formed SOA record, the third field of its data.
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
    use super::TransferStep::{Broken, Complete, Continue};
    use super::*;
    use crate::decode::testing::{DraftDns, DraftQuestion};
    use dnscribe_dns::{Answer, Answers, Flags, MessageIndex};

    fn progress(qtype: u16, client_serial: Option<u32>) -> SoaProgress {
        let question = Some(DraftQuestion { qname: "example.test".into(), qtype, qclass: 1 });
        let octets = DraftDns { client_serial, question, ..DraftDns::default() }.to_bytes();
        SoaProgress::new(&Dns::new(&octets, &MessageIndex::parse(&octets, false).unwrap()))
    }

    /// Runs messages, each given as the serials of its SOA records, 0 for any other record.
    fn steps(incremental: bool, messages: &[&[u32]]) -> Vec<TransferStep> {
        run(progress(if incremental { IXFR } else { AXFR }, None), messages)
    }

    fn run(mut progress: SoaProgress, messages: &[&[u32]]) -> Vec<TransferStep> {
        let step = |records: &&[u32]| {
            let mut answers = Answers::default();
            for serial in *records {
                let soa = &format!("ns hostmaster {serial} 1 1 1 1");
                let (rtype, data) =
                    if *serial == 0 { (1, "192.0.2.1") } else { (SOA, soa.as_str()) };
                let name = "example.test";
                answers.push(&Answer { name, class: 1, rtype, ttl_seconds: 1, data });
            }
            let octets = DraftDns { answers, ..DraftDns::default() }.to_bytes();
            progress.add(&Dns::new(&octets, &MessageIndex::parse(&octets, false).unwrap()))
        };
        messages.iter().map(step).collect()
    }

    #[test]
    fn axfr_ends_with_first_soa() {
        assert_eq!(steps(false, &[&[7, 0, 0, 7]]), [Complete]);
        assert_eq!(
            steps(false, &[&[7], &[0], &[0, 0], &[7]]),
            [Continue, Continue, Continue, Complete]
        );
        assert_eq!(
            steps(false, &[&[7, 0], &[], &[8], &[7]]),
            [Continue, Continue, Continue, Complete]
        );
        assert_eq!(steps(false, &[&[0, 7]]), [Broken]);
        assert_eq!(steps(false, &[&[]]), [Broken]);
    }

    #[test]
    fn recognizes_all_forms_of_ixfr() {
        // Up to date.
        assert_eq!(steps(true, &[&[7]]), [Complete]);
        // The whole zone.
        assert_eq!(steps(true, &[&[7, 0], &[0, 7]]), [Continue, Complete]);
        assert_eq!(steps(true, &[&[7, 7]]), [Complete]);
        // Two differences: 5 to 6 and 6 to 7.
        assert_eq!(
            steps(true, &[&[7, 5, 0, 6, 0], &[6, 0, 7], &[0, 0, 7]]),
            [Continue, Continue, Complete]
        );
        // A difference that changes nothing but the SOA.
        assert_eq!(steps(true, &[&[7, 6, 7, 7]]), [Complete]);
    }

    /// BIND does this with `transfer-format one-answer`.
    #[test]
    fn ixfr_may_have_one_record_per_message() {
        for (since, newest) in [(5, 7), (u32::MAX, 1), (1, 1 << 31)] {
            let messages: &[&[u32]] = &[&[newest], &[since], &[0], &[newest], &[0], &[newest]];
            let expected = [Continue, Continue, Continue, Continue, Continue, Complete];
            assert_eq!(run(progress(IXFR, Some(since)), messages), expected, "{since} {newest}");
        }
        // The server has the same or an older zone.
        for (since, newest) in [(7, 7), (7, 5), (1, u32::MAX)] {
            assert_eq!(
                run(progress(IXFR, Some(since)), &[&[newest]]),
                [Complete],
                "{since} {newest}"
            );
        }
    }

    #[test]
    fn error_breaks_transfer() {
        let mut progress = progress(AXFR, None);
        let octets = DraftDns { flags: Flags(0x8005), ..DraftDns::default() }.to_bytes();
        let refused = MessageIndex::parse(&octets, false).unwrap();
        assert_eq!(progress.add(&Dns::new(&octets, &refused)), Broken);
    }
}
