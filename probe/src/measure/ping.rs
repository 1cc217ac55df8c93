//! `ping`: loss and round-trip times of ICMP echo requests.
//!
//! Sockets of type `SOCK_DGRAM` need no privilege if the group of the process is within
//! `net.ipv4.ping_group_range` (which holds for IPv6 too); else a raw socket is tried, which needs
//! `CAP_NET_RAW`.

use super::{Context, Failure, Skip, Stage, begin, finish, host, milliseconds};
use crate::source::explained;
use crate::target::{PingTarget, Target};
use dnscribe_record::ProbeFields;
use futures_util::future::join_all;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::time::Duration;
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::time::{Instant, sleep_until};

/// Time between two requests where the time limit allows it.
const SPACING: Duration = Duration::from_millis(200);
/// Data of a request in bytes, as ping(8) sends.
const PAYLOAD: [u8; 56] = [0x44; 56];
/// Remedy where no socket can be opened.
const REMEDY: &str = "ping is not permitted: set net.ipv4.ping_group_range to a range with this process's \
                      group, or grant CAP_NET_RAW";

/// Sends echo requests and waits for their replies.
///
/// # Errors
/// [`Skip::Unsupported`] where this process may not send any; a warning with the remedy is logged once.
pub(super) async fn measure(
    context: &Context,
    target: &Target,
    ping: &PingTarget,
) -> Result<ProbeFields, Skip> {
    let start = Instant::now();
    let deadline = start + target.timeout;
    let mut fields = begin(context, target);
    let addresses = host::resolve(context, &mut fields, &ping.host, deadline).await;
    let result = match addresses.as_deref() {
        Ok([address, ..]) => {
            fields.address = Some(address.to_string());
            match client(*address, ping) {
                Ok(client) => {
                    let replies = send(&client, *address, ping.count, deadline).await;
                    describe(&mut fields, &replies);
                    judge(&fields, &replies, ping)
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    static WARNING: Once = Once::new();
                    WARNING.call_once(|| tracing::warn!("{REMEDY}"));
                    return Err(Skip::Unsupported);
                }
                Err(error) => Err(Failure::io(Stage::Connect, &error)),
            }
        }
        Ok([]) => Err(Failure::new(Stage::Resolve, "no_data")),
        Err(failure) => Err(failure.clone()),
    };
    Ok(finish(fields, start.into_std(), result))
}

fn client(address: IpAddr, ping: &PingTarget) -> io::Result<Client> {
    let kind = if address.is_ipv4() { ICMP::V4 } else { ICMP::V6 };
    let config = Config::builder().kind(kind);
    let own = ping.host.source.address_for(address);
    let config = match own {
        Some(own) => config.bind(SocketAddr::new(own, 0)),
        None => config,
    };
    let config = match ping.ttl {
        Some(ttl) => config.ttl(u32::from(ttl)),
        None => config,
    };
    Client::new(&config.build()).map_err(|error| match own {
        Some(own) => explained(own, error),
        None => error,
    })
}

/// Round-trip times; an error where there was no reply.
type Replies = Vec<Result<Duration, Lost>>;

/// Why a request has no reply.
#[derive(Debug)]
enum Lost {
    NotSent(Failure),
    /// A router or the host says why it was not delivered.
    Rejected(Failure),
    Silent,
}

impl Lost {
    fn from_error(error: SurgeError) -> Self {
        match error {
            SurgeError::IOError(error) => Self::NotSent(Failure::io(Stage::Connect, &error)),
            _ => Self::Silent,
        }
    }
}

/// Sends all requests, spaced so that each has at least half of the time left for its reply.
async fn send(client: &Client, address: IpAddr, count: u32, deadline: Instant) -> Replies {
    let start = Instant::now();
    let limit = deadline.saturating_duration_since(start);
    let spacing = SPACING.min(limit / (2 * count.max(1)));
    // Raw sockets see the replies of others too.
    let [low, high, ..] = RandomState::new().hash_one(address).to_le_bytes();
    let identifier = u16::from_le_bytes([low, high]);
    let requests = (0..count).map(|number| async move {
        sleep_until(start + spacing * number).await;
        let mut pinger = client.pinger(address, PingIdentifier(identifier)).await;
        pinger.timeout(deadline.saturating_duration_since(Instant::now()));
        let sequence = PingSequence(u16::try_from(number).unwrap_or(u16::MAX));
        // The library begins after it has sent, which may be after the reply has come.
        let begin = Instant::now();
        let mut packet = pinger.ping(sequence, &PAYLOAD).await.map_err(Lost::from_error)?.0;
        // The request was forwarded, but its reply is no longer waited for.
        if is_redirect(&packet) {
            packet = pinger.ping(sequence, &PAYLOAD).await.map_err(Lost::from_error)?.0;
        }
        let elapsed = begin.elapsed();
        // A raw socket gets ICMP errors, too, which quote the request.
        rejection(&packet).map_or(Ok(elapsed), |failure| Err(Lost::Rejected(failure)))
    });
    join_all(requests).await
}

/// Returns whether a router says that there is a shorter way (RFC 792; RFC 4861, section 4.5).
fn is_redirect(packet: &IcmpPacket) -> bool {
    match packet {
        IcmpPacket::V4(packet) => packet.get_icmp_type().0 == 5,
        IcmpPacket::V6(packet) => packet.get_icmpv6_type().0 == 137,
    }
}

/// Names the ICMP error in place of a reply.
fn rejection(packet: &IcmpPacket) -> Option<Failure> {
    let (source, kind, code): (IpAddr, u8, u8) = match packet {
        IcmpPacket::V4(packet) => {
            (packet.get_source().into(), packet.get_icmp_type().0, packet.get_icmp_code().0)
        }
        IcmpPacket::V6(packet) => {
            (packet.get_source().into(), packet.get_icmpv6_type().0, packet.get_icmpv6_code().0)
        }
    };
    let detail = format!("ICMP error {kind}/{code} from {source}");
    let reason = icmp_reason(source.is_ipv4(), kind, code)?;
    Some(Failure::new(Stage::Connect, reason).with_detail(detail))
}

/// Returns the reason that names an ICMP message by its type and code (RFC 792; RFC 1812, section 5.2.7.1; RFC 4443,
/// section 3), or nothing for an echo reply.
const fn icmp_reason(is_ipv4: bool, kind: u8, code: u8) -> Option<&'static str> {
    Some(match (is_ipv4, kind, code) {
        (true, 0, _) | (false, 129, _) => return None,
        (true, 3, 0 | 6 | 11) | (false, 1, 0) => "network_unreachable",
        (true, 3, 9 | 10 | 13) | (false, 1, 1 | 5 | 6) => "forbidden",
        (true, 3, _) | (false, 1, _) => "host_unreachable",
        (true, 11, _) | (false, 3, _) => "ttl_exceeded",
        _ => "io",
    })
}

fn describe(fields: &mut ProbeFields, replies: &Replies) {
    let sent = replies.iter().filter(|reply| !matches!(reply, Err(Lost::NotSent(_)))).count();
    let times: Vec<Duration> = replies.iter().flatten().copied().collect();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let received = number(times.len());
    fields.sent = Some(number(sent));
    fields.received = Some(received);
    fields.loss_ratio = Some(1.0 - f64::from(received) / f64::from(number(replies.len()).max(1)));
    if let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) {
        fields.rtt_ms = Some(milliseconds(times.iter().sum::<Duration>() / received));
        fields.rtt_min_ms = Some(milliseconds(*min));
        fields.rtt_max_ms = Some(milliseconds(*max));
    }
}

fn judge(fields: &ProbeFields, replies: &Replies, ping: &PingTarget) -> Result<(), Failure> {
    let lost = fields.loss_ratio.unwrap_or_default();
    if lost <= 0.0 || lost * 100.0 < f64::from(ping.max_loss_percent) {
        return Ok(());
    }
    if fields.received > Some(0) {
        let missing = replies.iter().filter(|reply| reply.is_err()).count();
        let detail = format!("{missing} of {} lost", replies.len());
        return Err(Failure::new(Stage::Connect, "loss").with_detail(detail));
    }
    let errors = replies.iter().find_map(|reply| match reply {
        Err(Lost::NotSent(failure) | Lost::Rejected(failure)) => Some(failure.clone()),
        Ok(_) | Err(Lost::Silent) => None,
    });
    Err(errors.unwrap_or_else(|| Failure::new(Stage::Connect, "timeout")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{context, host};
    use crate::target::TargetKind;
    use std::sync::Arc;

    /// Pings a host. A process without the permission must skip, and name the remedy.
    async fn probe(address: &str, timeout: Duration) -> Option<ProbeFields> {
        let ping =
            PingTarget { host: host(address, 0), count: 5, max_loss_percent: 50, ttl: Some(1) };
        let is_permitted = client(address.parse().unwrap(), &ping).is_ok();
        let target = Target {
            service: "shop".into(),
            name: address.to_owned(),
            interval: Duration::from_mins(1),
            timeout,
            retries: 0,
            kind: TargetKind::Ping(ping),
        };
        let round = crate::measure::measure(&context(), &Arc::new(target)).await;
        assert_eq!(round.skipped, (!is_permitted).then_some(Skip::Unsupported));
        assert_eq!(round.found.len(), usize::from(is_permitted));
        round.found.into_iter().next()
    }

    #[tokio::test]
    async fn measures_loss_and_times() {
        for address in ["127.0.0.1", "::1"] {
            let Some(fields) = probe(address, Duration::from_secs(3)).await else { continue };
            assert!(fields.ok, "{:?}", fields.error);
            assert_eq!(
                (fields.sent, fields.received, fields.loss_ratio),
                (Some(5), Some(5), Some(0.0))
            );
            let times = [fields.rtt_min_ms, fields.rtt_ms, fields.rtt_max_ms].map(Option::unwrap);
            assert!(times.is_sorted() && times[0] > 0.0 && times[2] < 500.0, "{times:?}");
            assert!((800.0..1500.0).contains(&fields.duration_ms), "{} ms", fields.duration_ms);
        }
    }

    #[test]
    fn icmp_errors_are_no_replies() {
        for (is_ipv4, kind, code, reason) in [
            (true, 0, 0, None),
            (true, 3, 1, Some("host_unreachable")),
            (true, 3, 0, Some("network_unreachable")),
            (true, 3, 13, Some("forbidden")),
            (true, 11, 0, Some("ttl_exceeded")),
            (false, 129, 0, None),
            (false, 1, 3, Some("host_unreachable")),
            (false, 1, 0, Some("network_unreachable")),
            (false, 1, 1, Some("forbidden")),
            (false, 3, 0, Some("ttl_exceeded")),
        ] {
            assert_eq!(icmp_reason(is_ipv4, kind, code), reason, "{kind}/{code}");
        }
        // Destination unreachable, which quotes an echo request.
        let mut quoted = [0; 40];
        (quoted[0], quoted[6]) = (0x60, 58);
        let message =
            [&[1, 3, 0, 0, 0, 0, 0, 0], &quoted[..], &[128, 0, 0, 0, 0, 0, 0, 0]].concat();
        let router = "2001:db8::1".parse().unwrap();
        let packet = IcmpPacket::V6(surge_ping::Icmpv6Packet::decode(&message, router).unwrap());
        let failure = rejection(&packet).unwrap();
        assert_eq!(failure.detail.as_deref(), Some("ICMP error 1/3 from 2001:db8::1"));
        let (replies, mut fields) = (vec![Err(Lost::Rejected(failure))], ProbeFields::default());
        describe(&mut fields, &replies);
        assert_eq!(
            (fields.sent, fields.received, fields.loss_ratio),
            (Some(1), Some(0), Some(1.0))
        );
        let ping = PingTarget { host: host("::1", 0), count: 1, max_loss_percent: 50, ttl: None };
        assert_eq!(judge(&fields, &replies, &ping).unwrap_err().reason, "host_unreachable");
    }

    #[tokio::test]
    async fn a_round_ends_within_its_time_limit() {
        // Routers discard what is sent there (RFC 6666).
        let Some(fields) = probe("100::1", Duration::from_millis(500)).await else { return };
        let error = fields.error.unwrap();
        assert_eq!(error.stage, "connect");
        let reason = error.reason.as_str();
        let expected = ["timeout", "network_unreachable", "host_unreachable"];
        assert!(expected.contains(&reason), "{error:?}");
        assert_eq!((fields.received, fields.loss_ratio), (Some(0), Some(1.0)));
        assert!(fields.duration_ms < 700.0, "{} ms", fields.duration_ms);
    }
}
