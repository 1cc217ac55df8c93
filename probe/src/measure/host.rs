//! From a host's name to a connection, with the time of each step.

use super::{Context, Failure, Stage, add_milliseconds};
use crate::dns;
use crate::target::{Host, HostName};
use dnscribe_record::ProbeFields;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Resolves a host and connects to the first of its addresses that accepts.
pub(super) async fn connect(
    context: &Context,
    fields: &mut ProbeFields,
    host: &Host,
    deadline: Instant,
) -> Result<TcpStream, Failure> {
    let addresses = resolve(context, fields, host, deadline).await?;
    connect_to(fields, &addresses, host, deadline).await
}

/// Resolves a host by its resolver or the system's, and adds the time to `resolve_ms`. Returns at least one
/// address.
pub(super) async fn resolve(
    context: &Context,
    fields: &mut ProbeFields,
    host: &Host,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Failure> {
    let name = match &host.name {
        HostName::Address(address) => return Ok(vec![*address]),
        HostName::Name(name) => name,
    };
    let resolver = host.resolver.as_deref();
    fields.resolver = resolver.map(|resolver| resolver.name.clone());
    let begin = Instant::now();
    let limit = deadline.saturating_duration_since(begin);
    let found = dns::addresses(name, resolver, host.family, &context.trust, limit);
    let found = Box::pin(found).await;
    add_milliseconds(&mut fields.resolve_ms, begin.elapsed());
    let found = host.family.select(found?);
    // There is no time to connect, which is no fault of the host.
    if Instant::now() >= deadline {
        return Err(Failure::new(Stage::Resolve, "timeout"));
    }
    if found.is_empty() {
        let detail = format!("{} has no address of the family {}", host.name, host.family.name());
        return Err(Failure::new(Stage::Resolve, "no_data").with_detail(detail));
    }
    Ok(found)
}

/// Connects to a host at the first of several addresses that accepts, in their order. Each gets its share of the time
/// that is left, so that one that does not answer leaves time for the next. The time of all attempts is
/// added to `connect_ms`, and the failure is the one that says most of the host, with its address.
pub(super) async fn connect_to(
    fields: &mut ProbeFields,
    addresses: &[IpAddr],
    host: &Host,
    deadline: Instant,
) -> Result<TcpStream, Failure> {
    let begin = Instant::now();
    let mut failures: Vec<(IpAddr, Failure)> = Vec::new();
    for (address, left) in addresses.iter().rev().zip(1_u32..).collect::<Vec<_>>().into_iter().rev()
    {
        let now = Instant::now();
        let limit = now + deadline.saturating_duration_since(now) / left;
        fields.address = Some(address.to_string());
        let connecting = host.source.connect_tcp(SocketAddr::new(*address, host.port));
        let failure = match timeout_at(limit, connecting).await {
            Ok(Ok(stream)) => {
                add_milliseconds(&mut fields.connect_ms, begin.elapsed());
                return Ok(stream);
            }
            Ok(Err(error)) => Failure::io(Stage::Connect, &error),
            Err(_) => Failure::new(Stage::Connect, "timeout"),
        };
        failures.push((*address, failure));
    }
    Err(combine(fields, failures))
}

/// Makes one failure of those of all addresses, with the reasons of the others in its detail.
fn combine(fields: &mut ProbeFields, failures: Vec<(IpAddr, Failure)>) -> Failure {
    let several: Vec<_> =
        failures.iter().map(|(address, failure)| format!("{address} {}", failure.reason)).collect();
    let Some((address, failure)) = failures.into_iter().max_by_key(|(_, one)| one.weight()) else {
        return Failure::new(Stage::Resolve, "no_data");
    };
    fields.address = Some(address.to_string());
    // What this host lacks, it lacks for all of them.
    if several.len() > 1 && !failure.is_of_source() {
        return failure.with_detail(several.join(", "));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{context, fields, host};
    use crate::source::Source;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpSocket};

    fn in_millis(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn tries_one_address_after_the_other() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let host = host("127.0.0.1", listener.local_addr().unwrap().port());
        let mut fields = fields();
        let addresses = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse().unwrap());
        let stream = connect_to(&mut fields, &addresses, &host, in_millis(5000)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(fields.address.as_deref(), Some("127.0.0.2"));
        assert!(fields.connect_ms.is_some_and(|ms| ms > 0.0 && ms < 1000.0), "{fields:?}");
        drop(listener);
        let failure =
            connect_to(&mut fields, &addresses, &host, in_millis(5000)).await.unwrap_err();
        assert_eq!((failure.stage, failure.reason), (Stage::Connect, "refused"));
        assert_eq!(failure.detail.as_deref(), Some("127.0.0.1 refused, 127.0.0.2 refused"));
    }

    #[tokio::test]
    async fn a_source_that_this_host_lacks_is_named() {
        let source = Source::new(&["192.0.2.77".parse().unwrap()]).unwrap();
        let host = Host { source, ..host("127.0.0.1", 9) };
        let addresses = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse().unwrap());
        let failure =
            connect_to(&mut fields(), &addresses, &host, in_millis(5000)).await.unwrap_err();
        let expected = "source_address: this host does not have 192.0.2.77";
        assert_eq!(failure.detail.as_deref(), Some(expected));
    }

    #[test]
    fn the_failure_that_says_most_of_a_host_is_its_failure() {
        let [ipv4, ipv6] = ["192.0.2.1", "2001:db8::1"];
        for (first, second, expected, address) in [
            ("refused", "network_unreachable", "refused", ipv4),
            ("host_unreachable", "reset", "reset", ipv6),
            ("refused", "timeout", "refused", ipv4),
            ("timeout", "network_unreachable", "timeout", ipv4),
            ("forbidden", "timeout", "timeout", ipv6),
            ("refused", "refused", "refused", ipv6),
            ("open_files", "refused", "open_files", ipv4),
        ] {
            let mut fields = fields();
            let failures = [(ipv4, first), (ipv6, second)].map(|(address, reason)| {
                (address.parse().unwrap(), Failure::new(Stage::Connect, reason))
            });
            let failure = combine(&mut fields, failures.to_vec());
            assert_eq!((failure.reason, fields.address.as_deref()), (expected, Some(address)));
            let detail = format!("192.0.2.1 {first}, 2001:db8::1 {second}");
            assert_eq!(failure.detail, Some(detail));
        }
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        // A queue of connections that is full answers no more of them.
        let full = TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let full = full.listen(0).unwrap();
        let port = full.local_addr().unwrap().port();
        let _first = TcpStream::connect(full.local_addr().unwrap()).await.unwrap();
        let good = TcpListener::bind(("127.0.0.4", port)).await.unwrap();
        let (mut fields, host) = (fields(), host("127.0.0.3", port));
        let addresses = ["127.0.0.3", "127.0.0.4"].map(|text| text.parse().unwrap());
        connect_to(&mut fields, &addresses, &host, in_millis(400)).await.unwrap();
        let connect_ms = fields.connect_ms.unwrap();
        assert!((190.0..390.0).contains(&connect_ms), "{connect_ms} ms");
        drop(good);
        let failure =
            connect_to(&mut fields, &addresses[..1], &host, in_millis(100)).await.unwrap_err();
        assert_eq!((failure.stage, failure.reason), (Stage::Connect, "timeout"));
    }

    #[tokio::test]
    async fn names_are_resolved_by_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = host("localhost", listener.local_addr().unwrap().port());
        let mut fields = fields();
        connect(&context(), &mut fields, &host, in_millis(5000)).await.unwrap();
        assert!(fields.resolve_ms.is_some() && fields.connect_ms.is_some(), "{fields:?}");
        let unknown = Host { name: host_name("name.invalid"), ..host };
        let failure =
            connect(&context(), &mut fields, &unknown, in_millis(5000)).await.unwrap_err();
        assert_eq!(failure.stage, Stage::Resolve);
    }

    fn host_name(name: &str) -> HostName {
        host(name, 1).name
    }
}
