//! Renders transactions and alerts as one line of text for a terminal, from the record or from its
//! (possibly masked) JSON.

use super::{
    AlertRecord, ContainerView, JsonText, PodView, ProcessView, TransactionBody, TransactionContext,
};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// The fields of a transaction that its line shows; a masked record may lack some.
#[derive(Deserialize)]
struct TransactionLine<'a> {
    #[serde(borrow)]
    ts: Cow<'a, str>,
    vantage: &'a str,
    transport: &'a str,
    client_ip: IpAddr,
    client_port: u16,
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

/// Appends one aligned line for a transaction: time, status or rcode, latency, transport,
/// endpoints, question, answers, process.
///
/// The line ends with a newline and contains no control characters, since names are escaped.
pub fn transaction_line(
    out: &mut Vec<u8>,
    record: &TransactionBody<'_>,
    context: &TransactionContext<'_>,
) {
    TransactionLine::from_record(record, context).write_to(out);
}

/// Appends the line of a record that is given as JSON.
///
/// # Errors
/// The JSON is not such a record. Then nothing is appended.
pub fn transaction_line_from_json(out: &mut Vec<u8>, json: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<TransactionLine<'_>>(json)?.write_to(out);
    Ok(())
}

/// Appends one line for an alert: time, severity, state, rule, entity, summary. The line ends with
/// a newline and contains no control characters.
pub fn alert_line(out: &mut Vec<u8>, record: &AlertRecord<'_>) {
    // Alerts are rare, so a way through JSON costs nothing, and it cannot fail for a whole record.
    let _ = serde_json::to_vec(record).and_then(|json| alert_line_from_json(out, &json));
}

/// Appends the line of a record that is given as JSON.
///
/// # Errors
/// The JSON is not such a record. Then nothing is appended.
pub fn alert_line_from_json(out: &mut Vec<u8>, json: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<AlertLine<'_>>(json)?.write_to(out);
    Ok(())
}

impl AlertLine<'_> {
    fn write_to(&self, out: &mut Vec<u8>) {
        let Self { ts, severity, state, rule, entity, summary } = self;
        let time = ts.get(11..26).unwrap_or(ts);
        let text = format!("{time} {severity:<8} {state:<8} {rule}  {entity}  {summary}");
        let visible = text.chars().filter(|letter| !letter.is_control());
        out.extend(visible.collect::<String>().as_bytes());
        out.push(b'\n');
    }
}

impl<'a> TransactionLine<'a> {
    fn from_record(record: &'a TransactionBody<'_>, context: &'a TransactionContext<'_>) -> Self {
        let text = |text: &'a str| JsonText(text.into());
        let tail = &context.tail;
        Self {
            ts: record.head.ts.to_string().into(),
            vantage: record.vantage,
            transport: record.transport,
            client_ip: record.client_ip,
            client_port: record.client_port,
            server_ip: record.server_ip,
            server_port: record.server_port,
            status: record.status,
            rcode: record.rcode.as_deref().map(text),
            latency_ms: record.latency_ms,
            qtype: record.qtype.as_deref().map(text),
            qname: record.qname.map(text),
            flags: record.flags.0.names().collect(),
            retries: record.retries,
            icmp: record.icmp.as_ref().map(|icmp| Icmp { name: icmp.name }),
            conflict: record.conflict == Some(true),
            orphan_reason: record.orphan_reason,
            rejected_responses: record.rejected_responses,
            transfer_messages: record.transfer_messages,
            transfer_complete: record.transfer_complete,
            response_bytes: record.response_bytes,
            answers: record.answers.0.iter().map(|one| Answer { data: one.data.into() }).collect(),
            process: tail
                .process
                .as_ref()
                .map(|process| ProcessView { pid: process.pid, comm: text(&process.comm) }),
            container: tail.container.as_ref().map(|one| ContainerView { id: text(one.id) }),
            k8s: tail
                .k8s
                .as_ref()
                .map(|one| PodView { namespace: text(one.namespace), pod: text(one.pod) }),
        }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(160);
        // Writing to a String cannot fail.
        let _ = self.write_columns(&mut text).and_then(|()| self.write_details(&mut text));
        out.extend(text.trim_end().as_bytes());
        out.push(b'\n');
    }

    fn write_columns(&self, text: &mut String) -> std::fmt::Result {
        let time = self.ts.get(11..26).unwrap_or(&self.ts);
        let rcode = self.rcode.as_ref().map(|rcode| &*rcode.0);
        let answered = self.status == "answered";
        let outcome = rcode.filter(|_| answered).unwrap_or(self.status);
        let latency = self.latency_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.3} ms"));
        let transport = self.transport;
        let client = SocketAddr::new(self.client_ip, self.client_port);
        let server = SocketAddr::new(self.server_ip, self.server_port);
        let qtype = self.qtype.as_ref().map_or("-", |qtype| &qtype.0);
        let qname = self.qname.as_ref().map_or("-", |qname| &qname.0);
        write!(
            text,
            "{time} {:<7} {transport} {:>21} > {:<21} {outcome:<10} {latency:>11}  {qtype:<5} {qname}",
            self.vantage,
            client.to_string(),
            server.to_string(),
        )?;
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
        if self.rcode.is_some() && !self.answers.is_empty() {
            write!(text, "  {}", answers_summary(&self.answers))?;
        }
        if let Some(ProcessView { pid, comm }) = &self.process {
            write!(text, "  {}[{pid}]", comm.escape_default())?;
        }
        if let Some(PodView { namespace, pod }) = &self.k8s {
            write!(text, " {}/{}", namespace.0, pod.0)?;
        } else if let Some(ContainerView { id }) = &self.container {
            write!(text, " {}", id.get(..12).unwrap_or(id))?;
        }
        Ok(())
    }
}

/// Returns the data of the first answers in one line, each truncated.
fn answers_summary(answers: &[Answer<'_>]) -> String {
    const SHOWN: usize = 3;
    const WIDTH: usize = 60;
    let mut text = String::new();
    for answer in answers.iter().take(SHOWN) {
        // Presentation form is ASCII, so any byte index is a character boundary.
        let cut = answer.data.get(..WIDTH).filter(|cut| cut.len() < answer.data.len());
        text.push_str(cut.unwrap_or(&answer.data));
        text.push_str(if cut.is_some() { "… " } else { " " });
    }
    let more = answers.len().saturating_sub(SHOWN);
    if more > 0 {
        text.extend(["+".to_owned(), more.to_string()]);
    }
    text.trim_end().to_owned()
}
