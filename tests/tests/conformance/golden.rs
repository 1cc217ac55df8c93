//! tshark's results for a capture, as stored in the corpus.

use super::fields::{Fields, moment};
use anyhow::{Context as _, Result};
use dnscribe_dns::{class_name, opcode_name, rcode_name, type_name};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Opcode UPDATE (RFC 2136).
const UPDATE: u8 = 5;

/// One DNS message.
#[derive(Deserialize)]
pub struct Message {
    pub frame: u64,
    pub ts: String,
    pub transport: Option<String>,
    pub src: Option<IpAddr>,
    pub src_port: Option<u16>,
    pub dst: Option<IpAddr>,
    pub dst_port: Option<u16>,
    /// `mdns` or `llmnr`; absent for DNS.
    pub proto: Option<String>,
    pub bytes: u64,
    pub malformed: bool,
    #[serde(default)]
    pub clipped: bool,
    /// Absent if the message is shorter than a header.
    #[serde(flatten)]
    pub content: Option<Content>,
    /// Frame of the query that this message answers, and the time since then.
    pub response_to: Option<u64>,
    pub latency_s: Option<String>,
}

/// Content of a message, from its header on.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the header's flags")]
pub struct Content {
    pub id: u16,
    pub qr: u8,
    opcode: u8,
    rcode: Option<u16>,
    rcode_extended: Option<u16>,
    aa: bool,
    tc: bool,
    rd: bool,
    ra: bool,
    ad: bool,
    cd: bool,
    pub qdcount: u16,
    ancount: u16,
    nscount: u16,
    arcount: u16,
    pub qname: Option<String>,
    pub qtype: Option<u16>,
    pub qclass: Option<u16>,
    #[serde(default)]
    answers: Vec<Answer>,
    edns: Option<Edns>,
}

#[derive(Deserialize)]
struct Answer {
    name: Option<String>,
    #[serde(rename = "type")]
    rtype: u16,
    class: Option<u16>,
    ttl: Option<u32>,
    /// Present for types whose presentation format tshark's dissection gives.
    data: Option<String>,
}

#[derive(Deserialize)]
struct Edns {
    udp_size: u16,
    #[serde(rename = "do")]
    dnssec_ok: bool,
    version: u8,
    #[serde(default)]
    options: Vec<u16>,
    ecs: Option<Ecs>,
    cookie: Option<Cookie>,
    ede: Option<Ede>,
    nsid: Option<String>,
}

#[derive(Deserialize)]
struct Ecs {
    source: u8,
    addr: Option<String>,
}

#[derive(Deserialize)]
struct Cookie {
    client: Option<String>,
    server: Option<String>,
}

#[derive(Deserialize)]
struct Ede {
    code: u16,
    text: String,
}

/// The corpus's summary of a whole capture.
#[derive(Deserialize)]
pub struct Summary {
    /// Number of messages quoted in ICMP errors.
    pub icmp_quoted: u64,
    /// Transaction outcomes with the contract's key and no timeout.
    pub by_key: BTreeMap<String, u64>,
}

/// Returns the captures of the corpus by name.
pub fn summaries(corpus: &Path) -> Result<BTreeMap<String, Summary>> {
    let path = corpus.join("golden/summary.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Returns the messages of a capture, in order.
pub fn messages(corpus: &Path, name: &str) -> Result<Vec<Message>> {
    let path = corpus.join(format!("golden/{name}.tshark.ndjson"));
    let lines = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

impl Message {
    /// Returns the fields to compare. For a message that tshark calls malformed, the records are
    /// left out: tshark shows those before the error.
    pub fn fields(&self) -> Result<Fields> {
        let mut fields = Fields::default();
        fields.set("ts", moment(&self.ts)?);
        fields.set("transport", self.transport.as_deref().unwrap_or_default());
        fields.set("src", self.src.map_or_else(String::new, |src| src.to_string()));
        fields.set("dst", self.dst.map_or_else(String::new, |dst| dst.to_string()));
        fields.set("src_port", self.src_port.unwrap_or_default());
        fields.set("dst_port", self.dst_port.unwrap_or_default());
        fields.set("bytes", self.bytes);
        fields.set("clipped", self.clipped);
        fields.set("malformed", self.malformed);
        if let Some(content) = &self.content {
            content.header(&mut fields);
            content.question(&mut fields);
            if !self.malformed {
                content.records(&mut fields, self.proto.is_some());
            }
        }
        Ok(fields)
    }
}

impl Content {
    fn header(&self, fields: &mut Fields) {
        fields.set("id", self.id);
        fields.set("qr", if self.qr == 1 { "response" } else { "query" });
        fields.set("opcode", opcode_name(self.opcode));
        let rcode = self.rcode_extended.or(self.rcode);
        fields.set("rcode", rcode.map_or("".into(), rcode_name));
        let flags = [
            ("aa", self.aa),
            ("tc", self.tc),
            ("rd", self.rd),
            ("ra", self.ra),
            ("ad", self.ad),
            ("cd", self.cd),
        ];
        for (name, is_set) in flags {
            fields.set(name, is_set);
        }
        fields.set("question_count", self.qdcount);
        fields.set("answer_count", self.ancount);
        fields.set("authority_count", self.nscount);
        fields.set("additional_count", self.arcount);
    }

    fn question(&self, fields: &mut Fields) {
        fields.set("qname", self.qname.as_deref().unwrap_or_default());
        fields.set("qtype", self.qtype.map_or("".into(), type_name));
        fields.set("qclass", self.qclass.map_or("".into(), class_name));
    }

    fn records(&self, fields: &mut Fields, multicast: bool) {
        // tshark shows this section of an UPDATE as prerequisites, which the corpus leaves out.
        if self.opcode != UPDATE {
            fields.set("answers", self.answers.len());
        }
        for (place, answer) in self.answers.iter().enumerate() {
            let mut set = |name: &str, value: Option<String>| {
                if let Some(value) = value {
                    fields.set(&format!("answers[{place}].{name}"), value);
                }
            };
            set("name", answer.name.clone());
            set("type", Some(type_name(answer.rtype).into()));
            // The corpus leaves out the cache-flush bit of mDNS (RFC 6762, section 10.2).
            set("class", answer.class.filter(|_| !multicast).map(|class| class_name(class).into()));
            set("ttl", answer.ttl.map(|ttl| ttl.to_string()));
            set("data", answer.data.clone());
        }
        fields.set("edns", self.edns.is_some());
        if let Some(edns) = &self.edns {
            edns.fields(fields);
        }
    }
}

impl Edns {
    fn fields(&self, fields: &mut Fields) {
        fields.set("edns.udp_size", self.udp_size);
        fields.set("edns.do", self.dnssec_ok);
        fields.set("edns.version", self.version);
        fields.set("edns.options", format!("{:?}", self.options));
        fields.set("edns.nsid", self.nsid.as_deref().unwrap_or_default());
        let ecs = self.ecs.as_ref();
        let subnet = ecs.and_then(|ecs| Some(format!("{}/{}", ecs.addr.as_ref()?, ecs.source)));
        fields.set("edns.ecs", subnet.unwrap_or_default());
        let cookie = self.cookie.as_ref().map_or_else(String::new, |cookie| {
            [&cookie.client, &cookie.server].into_iter().flatten().map(String::as_str).collect()
        });
        fields.set("edns.cookie", cookie);
        let ede = self.ede.as_ref().map(|ede| format!("{} {}", ede.code, ede.text));
        fields.set("edns.ede", ede.unwrap_or_default());
    }
}
