//! Transactions and alerts as lines for a terminal.

use super::{AlertRecord, ProcessFields, TransactionBody, TransactionContext};
use crate::decode::dns::Answers;
use crate::pair::Transaction;
use std::fmt::Write;

/// One aligned line: time, status or rcode, latency, transport, ends, question, answers, process.
/// Ends with a newline; holds no control characters, for names are escaped.
pub fn line(
    out: &mut Vec<u8>,
    transaction: &Transaction<'_>,
    record: &TransactionBody<'_>,
    context: &TransactionContext<'_>,
) {
    let mut text = String::with_capacity(160);
    // Writing to a String cannot fail.
    let _ = write_line(&mut text, transaction, record, context);
    out.extend(text.trim_end().as_bytes());
    out.push(b'\n');
}

/// One line of an alert: time, severity, whether it is over, rule, entity, summary. Ends with a
/// newline; holds no control characters.
pub fn alert_line(out: &mut Vec<u8>, record: &AlertRecord<'_>) {
    let time = record.ts.to_string();
    let time = time.get(11..26).unwrap_or(&time);
    let AlertRecord { severity, state, rule, entity, summary, .. } = record;
    let text = format!("{time} {severity:<8} {state:<8} {rule}  {entity}  {summary}");
    out.extend(text.chars().filter(|letter| !letter.is_control()).collect::<String>().as_bytes());
    out.push(b'\n');
}

fn write_line(
    text: &mut String,
    transaction: &Transaction<'_>,
    record: &TransactionBody<'_>,
    context: &TransactionContext<'_>,
) -> std::fmt::Result {
    let time = record.ts.to_string();
    let time = time.get(11..26).unwrap_or(&time);
    let rcode = record.rcode.as_deref();
    let answered = record.status == "answered";
    let outcome = rcode.filter(|_| answered).unwrap_or(record.status);
    let latency = record.latency_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.3} ms"));
    let transport = record.transport;
    let client = std::net::SocketAddr::new(record.client_ip, record.client_port);
    let server = std::net::SocketAddr::new(record.server_ip, record.server_port);
    let (qtype, qname) = (record.qtype.as_deref().unwrap_or("-"), record.qname.unwrap_or("-"));
    write!(
        text,
        "{time} {:<7} {transport} {:>21} > {:<21} {outcome:<10} {latency:>11}  {qtype:<5} {qname}",
        record.vantage,
        client.to_string(),
        server.to_string(),
    )?;
    if record.flags.truncated() {
        write!(text, " truncated")?;
    }
    if let Some(rcode) = rcode.filter(|rcode| !answered && *rcode != "NOERROR") {
        write!(text, " {rcode}")?;
    }
    if record.retries > 0 {
        write!(text, " retries={}", record.retries)?;
    }
    if let Some(icmp) = &record.icmp {
        write!(text, " {}", icmp.name)?;
    }
    if record.conflict == Some(true) {
        write!(text, " conflict")?;
    }
    if let Some(reason) = record.orphan_reason {
        write!(text, " {reason}")?;
    }
    if let Some(rejected) = record.rejected_responses {
        write!(text, " rejected={rejected}")?;
    }
    if let Some(transfer) = &transaction.transfer {
        let incomplete = if transfer.complete { "" } else { " incomplete" };
        write!(text, " messages={} bytes={}{incomplete}", transfer.messages, transfer.bytes)?;
    }
    if transaction.response.is_some() && !record.answers.is_empty() {
        write!(text, "  {}", summary(record.answers.0))?;
    }
    if let Some(ProcessFields { pid, comm, .. }) = &context.process {
        write!(text, "  {}[{pid}]", comm.escape_default())?;
    }
    if let Some(pod) = &context.k8s {
        write!(text, " {}/{}", pod.namespace, pod.pod)?;
    } else if let Some(container) = &context.container {
        write!(text, " {}", container.id.get(..12).unwrap_or(container.id))?;
    }
    Ok(())
}

/// The answers' data in one line, for readers: the first few, each cut to what a line can bear.
fn summary(answers: &Answers) -> String {
    const SHOWN: usize = 3;
    const WIDTH: usize = 60;
    let mut text = String::new();
    for answer in answers.iter().take(SHOWN) {
        // Presentation form is ASCII.
        let cut = answer.data.get(..WIDTH).filter(|cut| cut.len() < answer.data.len());
        text.push_str(cut.unwrap_or(answer.data));
        text.push_str(if cut.is_some() { "… " } else { " " });
    }
    let more = answers.len().saturating_sub(SHOWN);
    if more > 0 {
        text.extend(["+".to_owned(), more.to_string()]);
    }
    text.trim_end().to_owned()
}
