//! An independent check of `dns.ledger/1`: recomputes the identities from the JSON alone,
//! without the agent's types.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Returns a sentence for each identity of a ledger record that does not close. A missing or
/// negative counter is an error.
pub fn violations(record: &Value) -> Result<Vec<String>> {
    ensure!(record["schema"] == "dns.ledger/1", "not a ledger record: {record}");
    let mut found = Vec::new();
    let mut submitted = 0;
    let mut lost = 0;
    for (hook, kernel) in object(record, "kernel")? {
        let [seen, sent, ring_full, sampled, skipped] = [
            count(kernel, "seen")?,
            count(kernel, "submitted")?,
            count(kernel, "lost_ring_full")?,
            count(kernel, "sampled_out")?,
            sum_of_reasons(kernel, "skipped")?,
        ];
        submitted += sent;
        lost += ring_full;
        let sum = sent + ring_full + sampled + skipped;
        check_equal(&mut found, &format!("kernel.{hook}: seen"), seen, sum);
    }
    ring(&mut found, record, submitted, lost)?;
    decode(&mut found, record)?;
    pairing(&mut found, record)?;
    uses(&mut found, record)?;
    path(&mut found, record)?;
    senders(&mut found, record)?;
    delivery(&mut found, record)?;
    if record["balanced"] != Value::Bool(found.is_empty()) {
        found.push(format!(
            "`balanced` is {}, recomputed {}",
            record["balanced"],
            found.is_empty()
        ));
    }
    Ok(found)
}

/// Fails with all identities of the record that do not close.
pub fn verify(record: &Value) -> Result<()> {
    let violations = violations(record)?;
    if violations.is_empty() {
        return Ok(());
    }
    bail!("the ledger does not balance: {}\n{record:#}", violations.join("; "))
}

/// Returns a counter by its path, such as `["pairing", "answered"]`.
pub fn counter(record: &Value, path: &[&str]) -> Result<u64> {
    let (name, above) = path.split_last().context("an empty path")?;
    count(above.iter().fold(record, |value, key| &value[*key]), name)
}

/// Sum of everything that was lost or dropped.
pub fn losses(record: &Value) -> Result<u64> {
    Ok(loss_places(record)?.values().sum())
}

/// Lost or dropped records by place; places without a loss are left out.
pub fn loss_places(record: &Value) -> Result<BTreeMap<String, u64>> {
    let mut places = BTreeMap::new();
    for (hook, kernel) in object(record, "kernel")? {
        places.insert(format!("kernel.{hook}.lost_ring_full"), count(kernel, "lost_ring_full")?);
    }
    for (sink, streams) in object(record, "delivery")? {
        for (stream, delivery) in streams.as_object().context("delivery.<sink> is no object")? {
            places
                .insert(format!("delivery.{sink}.{stream}"), sum_of_reasons(delivery, "dropped")?);
        }
    }
    places.insert("pairing.evicted".to_owned(), counter(record, &["pairing", "evicted"])?);
    places.retain(|_, lost| *lost > 0);
    Ok(places)
}

fn ring(found: &mut Vec<String>, record: &Value, submitted: u64, lost: u64) -> Result<()> {
    let ring = &record["ring"];
    check_equal(found, "ring: submitted by the hooks", submitted, count(ring, "submitted")?);
    let taken = count(ring, "received")? + count(ring, "in_ring")?;
    check_equal(found, "ring: submitted", count(ring, "submitted")?, taken);
    let gaps = count(ring, "sequence_gaps")?;
    // Gaps after the last received record are not visible yet. At the end all are, except those
    // after the very last record of a CPU.
    if gaps > lost {
        found.push(format!("ring: {gaps} sequence gaps, more than {lost} counted as lost"));
    }
    Ok(())
}

fn decode(found: &mut Vec<String>, record: &Value) -> Result<()> {
    let decode = &record["decode"];
    let received = count(decode, "received")?;
    check_equal(
        found,
        "decode: received from the ring",
        received,
        counter(record, &["ring", "received"])?,
    );
    let sum = count(decode, "decoded_packets")?
        + sum_of_reasons(decode, "malformed")?
        + count(decode, "held")?;
    check_equal(found, "decode: received", received, sum);
    let halves = count(decode, "queries")? + count(decode, "responses")?;
    check_equal(found, "decode: messages", count(decode, "messages")?, halves);
    Ok(())
}

fn pairing(found: &mut Vec<String>, record: &Value) -> Result<()> {
    let pairing = &record["pairing"];
    let sum = |names: &[&str]| {
        names.iter().try_fold(0, |sum, name| Ok::<u64, anyhow::Error>(sum + count(pairing, name)?))
    };
    let decoded = |kind| counter(record, &["decode", kind]);
    let queries = sum(&["queries", "one_way"])?;
    check_equal(found, "pairing: queries decoded", decoded("queries")?, queries);
    // Zone transfers of many messages are one response; mDNS may give several responses.
    let taken = count(pairing, "responses")? + count(pairing, "continued")?;
    let given = decoded("responses")? + count(pairing, "shared")?;
    check_equal(found, "pairing: responses decoded", given, taken);
    let ends = ["answered", "timeout", "icmp_error", "evicted", "open", "retransmitted"];
    check_equal(found, "pairing: queries", count(pairing, "queries")?, sum(&ends)?);
    let ends = ["answered", "late", "duplicate", "orphan"];
    check_equal(found, "pairing: responses", count(pairing, "responses")?, sum(&ends)?);
    Ok(())
}

/// Connections, where they are captured.
fn uses(found: &mut Vec<String>, record: &Value) -> Result<()> {
    if record["uses"].is_null() {
        return Ok(());
    }
    let of = |name: &str| counter(record, &["uses", name]);
    let sum = of("matched")? + of("ambiguous")? + of("none")? + of("held")? + of("lost")?;
    check_equal(found, "uses: connects", of("connects")?, sum);
    if counter(record, &["ring", "in_ring"])? == 0 {
        let connect = ["kernel", "connect"];
        let seen = counter(record, &[&connect[..], &["seen"]].concat())?;
        let over = counter(record, &[&connect[..], &["skipped", "many_destinations"]].concat())?;
        check_equal(found, "kernel.connect: seen", seen, of("connects")? + over);
    }
    Ok(())
}

/// Senders of dnstap, where they can send.
fn senders(found: &mut Vec<String>, record: &Value) -> Result<()> {
    let Some(senders) = record["senders"].as_array() else { return Ok(()) };
    let (mut seen, mut lost, mut malformed) = (0, 0, 0);
    for sender in senders {
        let sum = |names: &[&str]| {
            names
                .iter()
                .try_fold(0, |sum, name| Ok::<u64, anyhow::Error>(sum + count(sender, name)?))
        };
        let name = sender["name"].as_str().context("a sender without a name")?;
        let received = count(sender, "received")?;
        let ends = sum(&["decoded", "malformed", "in_ring", "lost_ring_full"])?;
        check_equal(found, &format!("senders: {name}: received"), received, ends);
        let connections = count(sender, "connections")?;
        let ends = sum(&["closed", "cut_off", "refused", "open"])?;
        check_equal(found, &format!("senders: {name}: connections"), connections, ends);
        seen += received;
        lost += count(sender, "lost_ring_full")?;
        malformed += count(sender, "malformed")?;
    }
    let kernel = |name| counter(record, &["kernel", "dnstap", name]);
    check_equal(found, "kernel.dnstap: seen", kernel("seen")?, seen);
    check_equal(found, "kernel.dnstap: lost_ring_full", kernel("lost_ring_full")?, lost);
    if object(record, "kernel")?.len() == 1 {
        let all = sum_of_reasons(&record["decode"], "malformed")?;
        check_equal(found, "decode: malformed", all, malformed);
    }
    Ok(())
}

/// Packets on their way through the host, where their path is captured.
fn path(found: &mut Vec<String>, record: &Value) -> Result<()> {
    let path = &record["path"];
    if path.is_null() {
        return Ok(());
    }
    let mut discarded =
        sum_of_reasons(path, "passing")? + count(path, "copies")? + count(path, "lost")?;
    for way in ["leaving", "arriving"] {
        let of = &path[way];
        let dropped = sum_of_reasons(of, "dropped")?;
        discarded += dropped;
        let sum =
            count(of, "delivered")? + dropped + count(of, "in_flight")? + count(of, "unknown")?;
        check_equal(found, &format!("path.{way}: packets"), count(of, "packets")?, sum);
    }
    if counter(record, &["ring", "in_ring"])? == 0 && !record["kernel"]["drop"].is_null() {
        let seen = counter(record, &["kernel", "drop", "seen"])?;
        let left_out = counter(record, &["kernel", "drop", "sampled_out"])?;
        check_equal(found, "kernel.drop: seen", seen, discarded + left_out);
    }
    Ok(())
}

fn delivery(found: &mut Vec<String>, record: &Value) -> Result<()> {
    for (sink, streams) in object(record, "delivery")? {
        for (stream, delivery) in streams.as_object().context("delivery.<sink> is no object")? {
            let sum = count(delivery, "delivered")?
                + count(delivery, "spooled")?
                + count(delivery, "in_flight")?
                + count(delivery, "filtered")?
                + sum_of_reasons(delivery, "dropped")?;
            let name = format!("delivery.{sink}.{stream}: records");
            check_equal(found, &name, count(delivery, "records")?, sum);
        }
    }
    Ok(())
}

fn check_equal(found: &mut Vec<String>, what: &str, left: u64, right: u64) {
    if left != right {
        found.push(format!("{what} {left} ≠ {right}"));
    }
}

fn count(value: &Value, name: &str) -> Result<u64> {
    value[name].as_u64().with_context(|| format!("no counter `{name}` in {value}"))
}

fn sum_of_reasons(value: &Value, name: &str) -> Result<u64> {
    object(value, name)?
        .iter()
        .map(|(reason, count)| count.as_u64().with_context(|| format!("{name}.{reason}: {count}")))
        .sum()
}

fn object<'a>(value: &'a Value, name: &str) -> Result<&'a Map<String, Value>> {
    value[name].as_object().with_context(|| format!("no `{name}` in {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn balanced() -> Value {
        json!({
            "schema": "dns.ledger/1", "balanced": true, "final": true,
            "kernel": { "cgroup": { "seen": 10, "submitted": 8, "lost_ring_full": 1,
                "sampled_out": 0, "skipped": { "fragment": 1 }, "clipped": 0 } },
            "ring": { "submitted": 8, "received": 8, "in_ring": 0, "sequence_gaps": 1 },
            "decode": { "received": 8, "decoded_packets": 7, "malformed": { "short": 1 },
                "held": 0, "messages": 7, "queries": 4, "responses": 3 },
            "pairing": { "queries": 4, "responses": 3, "continued": 0, "shared": 0, "one_way": 0, "answered": 2, "timeout": 1,
                "icmp_error": 0, "evicted": 0, "open": 0, "retransmitted": 1, "late": 0,
                "duplicate": 1, "orphan": 0 },
            "delivery": { "stdout": { "transactions": { "records": 4, "delivered": 3,
                "spooled": 0, "in_flight": 0, "filtered": 0, "dropped": { "queue_full": 1 } } } },
        })
    }

    #[test]
    fn accepts_balanced_record() {
        verify(&balanced()).unwrap();
        assert_eq!(losses(&balanced()).unwrap(), 2);
        assert_eq!(loss_places(&balanced()).unwrap()["delivery.stdout.transactions"], 1);
    }

    #[test]
    fn finds_every_counter_off_by_one() {
        let pointers = [
            "/kernel/cgroup/seen",
            "/ring/received",
            "/decode/decoded_packets",
            "/decode/messages",
            "/pairing/answered",
            "/pairing/orphan",
            "/delivery/stdout/transactions/delivered",
        ];
        for pointer in pointers {
            let mut record = balanced();
            let counter = record.pointer_mut(pointer).unwrap();
            *counter = json!(counter.as_u64().unwrap() + 1);
            assert!(!violations(&record).unwrap().is_empty(), "{pointer}");
        }
    }

    #[test]
    fn finds_what_a_sender_of_dnstap_lacks() {
        let mut record = balanced();
        let kernel = record["kernel"].as_object_mut().unwrap();
        let mut cgroup = kernel.remove("cgroup").unwrap();
        (cgroup["seen"], cgroup["skipped"]) = (json!(9), json!({}));
        kernel.insert("dnstap".to_owned(), cgroup);
        record["senders"] = json!([{ "name": "ns1", "received": 9, "decoded": 7, "malformed": 1,
            "in_ring": 0, "lost_ring_full": 1, "connections": 2, "closed": 1, "cut_off": 0,
            "refused": 0, "open": 1 }]);
        verify(&record).unwrap();
        for name in ["received", "decoded", "malformed", "lost_ring_full", "open", "cut_off"] {
            let mut record = record.clone();
            let counter = &mut record["senders"][0][name];
            *counter = json!(counter.as_u64().unwrap() + 1);
            assert!(!violations(&record).unwrap().is_empty(), "{name}");
        }
        record["senders"] = json!([]);
        assert!(!violations(&record).unwrap().is_empty());
    }

    #[test]
    fn finds_each_packet_without_an_end() {
        let mut whole = balanced();
        whole["kernel"]["drop"] = json!({ "seen": 3, "submitted": 2, "lost_ring_full": 1, "sampled_out": 0, "skipped": {} });
        whole["ring"] =
            json!({ "submitted": 10, "received": 10, "in_ring": 0, "sequence_gaps": 2 });
        (whole["decode"]["received"], whole["decode"]["decoded_packets"]) = (json!(10), json!(9));
        let way = |delivered, dropped| json!({ "packets": 4, "delivered": delivered, "dropped": dropped, "in_flight": 1, "unknown": 1 });
        whole["path"] = json!({
            "leaving": way(2, json!({})), "arriving": way(1, json!({ "SOCKET_RCVBUFF": 1 })),
            "passing": { "NO_SOCKET": 1 }, "copies": 0, "lost": 1,
        });
        verify(&whole).unwrap();
        for pointer in [
            "leaving/delivered",
            "arriving/in_flight",
            "arriving/dropped/SOCKET_RCVBUFF",
            "passing/NO_SOCKET",
            "lost",
        ] {
            let mut record = whole.clone();
            let counter = record.pointer_mut(&format!("/path/{pointer}")).unwrap();
            *counter = json!(counter.as_u64().unwrap() + 1);
            assert!(!violations(&record).unwrap().is_empty(), "{pointer}");
        }
    }

    #[test]
    fn rejects_missing_counter() {
        let mut record = balanced();
        record["pairing"].as_object_mut().unwrap().remove("late");
        assert!(violations(&record).is_err());
    }
}
