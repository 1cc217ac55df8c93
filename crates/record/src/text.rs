//! Renders transactions, lookups, uses and alerts as one line of text for a terminal, from its
//! (possibly masked) JSON.

use super::fields::{LostAt, PathFields};
use super::{ContainerView, JsonText, PodView, ProcessView, Stream};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::{Display, Formatter, Write};
use std::net::{IpAddr, SocketAddr};

/// Least time on the way through this host that a line shows, in milliseconds.
const SHOWN_MS: f64 = 1.0;

/// The fields of a transaction that its line shows; a masked record may lack some.
#[derive(Deserialize)]
struct TransactionLine<'a> {
    #[serde(borrow)]
    ts: Cow<'a, str>,
    vantage: &'a str,
    transport: &'a str,
    client_ip: IpAddr,
    server_ip: IpAddr,
    server_port: u16,
    status: &'a str,
    /// Present if there is a response.
    rcode: Option<JsonText<'a>>,
    latency_ms: Option<f64>,
    qtype: Option<JsonText<'a>>,
    qname: Option<JsonText<'a>>,
    #[serde(default)]
    flags: Vec<&'a str>,
    retries: u32,
    icmp: Option<Icmp<'a>>,
    lost_at: Option<LostAt>,
    #[serde(default)]
    path: PathFields,
    #[serde(default)]
    conflict: bool,
    orphan_reason: Option<&'a str>,
    rejected_responses: Option<u32>,
    transfer_messages: Option<u64>,
    transfer_complete: Option<bool>,
    response_bytes: Option<u64>,
    #[serde(borrow, default)]
    answers: Vec<Answer<'a>>,
    #[serde(borrow)]
    process: Option<ProcessView<'a>>,
    #[serde(borrow)]
    container: Option<ContainerView<'a>>,
    #[serde(borrow)]
    k8s: Option<PodView<'a>>,
}

#[derive(Deserialize)]
struct Icmp<'a> {
    name: &'a str,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// The fields of an alert that its line shows.
#[derive(Deserialize)]
struct AlertLine<'a> {
    #[serde(borrow)]
    ts: Cow<'a, str>,
    severity: &'a str,
    state: &'a str,
    rule: &'a str,
    #[serde(borrow)]
    entity: Cow<'a, str>,
    #[serde(borrow)]
    summary: Cow<'a, str>,
}

/// The fields of a lookup that its line shows; a masked record may lack some.
#[derive(Deserialize)]
struct LookupLine<'a> {
    #[serde(borrow)]
    ts: Cow<'a, str>,
    client_ip: Option<JsonText<'a>>,
    outcome: &'a str,
    rcode: Option<JsonText<'a>>,
    duration_ms: f64,
    qname: Option<JsonText<'a>>,
    #[serde(borrow, default)]
    addresses: Vec<JsonText<'a>>,
    packets: u32,
    packets_wasted: u32,
    #[serde(borrow)]
    process: Option<ProcessView<'a>>,
    #[serde(borrow)]
    container: Option<ContainerView<'a>>,
    #[serde(borrow)]
    k8s: Option<PodView<'a>>,
}

/// The fields of a use that its line shows; a masked record may lack some.
#[derive(Deserialize)]
struct UseLine<'a> {
    #[serde(borrow)]
    ts: Cow<'a, str>,
    protocol: &'a str,
    address: JsonText<'a>,
    port: u16,
    #[serde(rename = "match")]
    matched: &'a str,
    name: Option<JsonText<'a>>,
    #[serde(borrow, default)]
    candidates: Vec<JsonText<'a>>,
    ttl_left_ms: Option<f64>,
    lookup_ms: Option<f64>,
    connect_ms: Option<f64>,
    outcome: &'a str,
    count: u64,
    #[serde(borrow)]
    process: Option<ProcessView<'a>>,
    #[serde(borrow)]
    container: Option<ContainerView<'a>>,
    #[serde(borrow)]
    k8s: Option<PodView<'a>>,
}

/// Appends the line of a transaction, lookup, use or alert that is given as JSON. Returns whether it is one; else nothing is
/// appended. The line ends with a newline and contains no control characters. Most fit 80 columns.
///
/// - Transaction: time, process or else its address, status or rcode, latency, `>` and the server that it asked or `<` and the
///   client that asked it, question, answers, pod or container.
/// - Lookup: time, process or else client, outcome or rcode, duration, name, addresses, wasted packets of all, pod or container.
/// - Use: time, process, outcome, time to connect, `>` and the address, name, and what is unusual.
/// - Alert: time, severity, state, rule, entity, summary.
pub fn text_line(out: &mut Vec<u8>, stream: Stream, json: &[u8]) -> bool {
    let mut text = String::with_capacity(160);
    let written = match stream {
        Stream::Transactions => read::<TransactionLine<'_>>(json).map(|line| line.write(&mut text)),
        Stream::Lookups => read::<LookupLine<'_>>(json).map(|line| line.write(&mut text)),
        Stream::Uses => read::<UseLine<'_>>(json).map(|line| line.write(&mut text)),
        Stream::Alerts => read::<AlertLine<'_>>(json).map(|line| {
            line.write(&mut text);
            Ok(())
        }),
        _ => None,
    };
    // Writing to a String cannot fail.
    if written.is_some() {
        out.extend(text.trim_end().as_bytes());
        out.push(b'\n');
    }
    written.is_some()
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

impl LookupLine<'_> {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let rcode = self.rcode.as_ref().filter(|_| self.outcome == "answered");
        let outcome = rcode.map_or(self.outcome, |rcode| &rcode.0);
        let own = self.client_ip.as_ref().map_or("-", |client| &client.0);
        write_start(text, &self.ts, self.process.as_ref(), &own, outcome, Some(self.duration_ms))?;
        let qname = self.qname.as_ref().map_or("-", |qname| &qname.0);
        write!(text, " {qname}")?;
        let answers = self.addresses.iter().map(|address| Answer { data: (*address.0).into() });
        write_answers(text, &answers.collect::<Vec<_>>())?;
        if self.packets_wasted > 0 {
            write!(text, " wasted={}/{}", self.packets_wasted, self.packets)?;
        }
        write_pod(text, self.k8s.as_ref(), self.container.as_ref())
    }
}

impl UseLine<'_> {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        write_start(text, &self.ts, self.process.as_ref(), &"-", self.outcome, self.connect_ms)?;
        write!(text, " > {}", host_and_port(&self.address, self.port))?;
        if self.protocol != "tcp" {
            write!(text, " {}", self.protocol)?;
        }
        match (&self.name, self.matched) {
            (Some(name), "newest") => write!(text, " {} (newest)", &**name)?,
            (Some(name), _) => write!(text, " {}", &**name)?,
            (None, "none") => write!(text, " no name")?,
            (None, matched) => write!(text, " {matched}")?,
        }
        if !self.candidates.is_empty() {
            write!(text, ": one of {} names", self.candidates.len())?;
        }
        if let Some(lookup) = self.lookup_ms {
            write!(text, " lookup={lookup:.1}ms")?;
        }
        if let Some(left) = self.ttl_left_ms.filter(|left| *left < 0.0) {
            write!(text, " stale={:.3}s", -left / 1000.0)?;
        }
        if self.count > 1 {
            write!(text, " count={}", self.count)?;
        }
        write_pod(text, self.k8s.as_ref(), self.container.as_ref())
    }
}

/// Returns an address, possibly masked, with its port: IPv6 in brackets.
#[must_use]
pub fn host_and_port(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// An address, with its port unless that is 53.
struct Endpoint {
    ip: IpAddr,
    port: Option<u16>,
}

impl Display for Endpoint {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) if port != 53 => SocketAddr::new(self.ip, port).fmt(formatter),
            _ => self.ip.fmt(formatter),
        }
    }
}

/// Appends what lines have in common: time in milliseconds, the process or else what stands for it, outcome, latency.
fn write_start(
    text: &mut String,
    ts: &str,
    process: Option<&ProcessView<'_>>,
    own: &impl Display,
    outcome: &str,
    latency_ms: Option<f64>,
) -> std::fmt::Result {
    let time = ts.get(11..23).unwrap_or(ts);
    let own = process.map_or_else(
        || own.to_string(),
        |ProcessView { pid, comm }| format!("{}[{pid}]", comm.escape_default()),
    );
    let latency = match latency_ms {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.3}ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.1}ms"),
        Some(ms) => format!("{:.3}s", ms / 1000.0),
    };
    write!(text, "{time} {own:<12} {outcome:<8} {latency:>7}")
}

/// Appends the pod, or else the container.
fn write_pod(
    text: &mut String,
    k8s: Option<&PodView<'_>>,
    container: Option<&ContainerView<'_>>,
) -> std::fmt::Result {
    if let Some(PodView { namespace, pod }) = k8s {
        write!(text, " {}/{}", namespace.0, pod.0)?;
    } else if let Some(ContainerView { id }) = container {
        write!(text, " {}", id.get(..12).unwrap_or(id))?;
    }
    Ok(())
}

impl AlertLine<'_> {
    fn write(&self, text: &mut String) {
        let Self { ts, severity, state, rule, entity, summary } = self;
        let time = ts.get(11..23).unwrap_or(ts);
        let line = format!("{time} {severity:<8} {state:<8} {rule}  {entity}  {summary}");
        text.extend(line.chars().filter(|letter| !letter.is_control()));
    }
}

impl TransactionLine<'_> {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        self.write_columns(text)?;
        self.write_details(text)
    }

    fn write_columns(&self, text: &mut String) -> std::fmt::Result {
        let rcode = self.rcode.as_ref().map(|rcode| &*rcode.0);
        let answered = self.status == "answered";
        let outcome = rcode.filter(|_| answered).unwrap_or(self.status);
        let client = Endpoint { ip: self.client_ip, port: None };
        let server = Endpoint { ip: self.server_ip, port: Some(self.server_port) };
        let (own, arrow, peer) = match self.vantage {
            "server" => (server, '<', client),
            _ => (client, '>', server),
        };
        write_start(text, &self.ts, self.process.as_ref(), &own, outcome, self.latency_ms)?;
        let qtype = self.qtype.as_ref().map_or("-", |qtype| &qtype.0);
        let qname = self.qname.as_ref().map_or("-", |qname| &qname.0);
        write!(text, " {arrow} {:<11} {qtype} {qname}", peer.to_string())?;
        if self.transport != "udp" {
            write!(text, " {}", self.transport)?;
        }
        if self.flags.contains(&"tc") {
            write!(text, " truncated")?;
        }
        if let Some(rcode) = rcode.filter(|rcode| !answered && *rcode != "NOERROR") {
            write!(text, " {rcode}")?;
        }
        Ok(())
    }

    fn write_details(&self, text: &mut String) -> std::fmt::Result {
        if self.retries > 0 {
            write!(text, " retries={}", self.retries)?;
        }
        if let Some(icmp) = &self.icmp {
            write!(text, " {}", icmp.name)?;
        }
        if let Some(lost) = &self.lost_at {
            write!(text, " {lost}")?;
        }
        let PathFields { send_ms, arrive_ms, read_ms } = self.path;
        for (name, ms) in [("send", send_ms), ("arrive", arrive_ms), ("read", read_ms)] {
            if let Some(ms) = ms.filter(|ms| *ms >= SHOWN_MS) {
                write!(text, " {name}={ms:.1}ms")?;
            }
        }
        if self.conflict {
            write!(text, " conflict")?;
        }
        if let Some(reason) = self.orphan_reason {
            write!(text, " {reason}")?;
        }
        if let Some(rejected) = self.rejected_responses {
            write!(text, " rejected={rejected}")?;
        }
        if let Some(messages) = self.transfer_messages {
            let incomplete = if self.transfer_complete == Some(true) { "" } else { " incomplete" };
            let bytes = self.response_bytes.unwrap_or_default();
            write!(text, " messages={messages} bytes={bytes}{incomplete}")?;
        }
        if self.rcode.is_some() {
            write_answers(text, &self.answers)?;
        }
        write_pod(text, self.k8s.as_ref(), self.container.as_ref())
    }
}

/// Appends the data of the first answers, each truncated.
fn write_answers(text: &mut String, answers: &[Answer<'_>]) -> std::fmt::Result {
    const SHOWN: usize = 3;
    const WIDTH: usize = 60;
    for answer in answers.iter().take(SHOWN) {
        // Presentation form is ASCII, so any byte index is a character boundary.
        match answer.data.get(..WIDTH).filter(|cut| cut.len() < answer.data.len()) {
            Some(cut) => write!(text, " {cut}…")?,
            None => write!(text, " {}", answer.data)?,
        }
    }
    match answers.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(text, " +{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn line_shows_who_asked_and_the_other_side() {
        let line = |vantage, process: serde_json::Value, port: u16, latency: f64| {
            let record = json!({
                "ts": "2026-11-24T15:39:59.846541Z", "vantage": vantage, "transport": "udp",
                "client_ip": "192.0.2.7", "client_port": 49490, "server_ip": "2001:db8::53", "server_port": port,
                "status": "answered", "rcode": "NOERROR", "latency_ms": latency, "qtype": "A",
                "qname": "example.com", "retries": 0, "answers": [{ "data": "192.0.2.1" }], "process": process,
                "k8s": { "namespace": "shop", "pod": "cart-0" },
            });
            let mut out = Vec::new();
            assert!(text_line(&mut out, Stream::Transactions, record.to_string().as_bytes()));
            String::from_utf8(out).unwrap()
        };
        let process = json!({ "pid": 5641, "comm": "dig" });
        assert_eq!(
            line("client", process.clone(), 53, 0.116),
            "15:39:59.846 dig[5641]    NOERROR  0.116ms > 2001:db8::53 A example.com 192.0.2.1 shop/cart-0\n"
        );
        assert_eq!(
            line("server", process, 5300, 123.4),
            "15:39:59.846 dig[5641]    NOERROR  123.4ms < 192.0.2.7   A example.com 192.0.2.1 shop/cart-0\n"
        );
        assert_eq!(
            line("passive", json!(null), 5300, 5003.0),
            "15:39:59.846 192.0.2.7    NOERROR   5.003s > [2001:db8::53]:5300 A example.com 192.0.2.1 shop/cart-0\n"
        );
    }
}
