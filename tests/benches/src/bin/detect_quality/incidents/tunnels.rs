//! Tunnels, exfiltration and beacons, modelled on known tools.

use super::Incident;
use crate::benign::RESOLVER;
use crate::event::{
    A, AAAA, BASE32, BASE64, CNAME, Client, Event, HEX, MX, NULL, NXDOMAIN, Rng, SRV, TXT, seconds,
};
use dnscribe_analysis::detect::{Entity, Rule};
use std::net::Ipv4Addr;

/// Names, queries and answers of a tool.
#[derive(Clone, Copy)]
struct Tool {
    name: &'static str,
    alphabet: &'static [u8],
    /// Smallest and largest number of data bytes in a name.
    length: (u64, u64),
    types: &'static [u16],
    /// Kind of answer.
    answer: Answer,
    /// Range of the mean seconds between two names.
    pause: (f64, f64),
    /// Irregularity of the pauses: 0 is periodic, 1 is random.
    irregular: f64,
    lasts: f64,
    also: &'static [Rule],
}

#[derive(Clone, Copy)]
enum Answer {
    Data(u64),
    Alias,
    Address,
    Nowhere,
    Missing,
}

const PRIVATE: u16 = 65_399;

const TOOLS: &[Tool] = &[
    tool("iodine-null", BASE64, (80, 200), &[NULL], Answer::Data(600), (0.01, 0.3), 1.0, 240.0),
    tool(
        "iodine-private",
        BASE32,
        (60, 200),
        &[PRIVATE],
        Answer::Data(300),
        (0.02, 0.3),
        1.0,
        240.0,
    ),
    tool("iodine-idle-null", BASE32, (7, 8), &[NULL], Answer::Data(5), (3.9, 4.1), 0.05, 900.0),
    tool("iodine-txt", BASE64, (60, 200), &[TXT], Answer::Data(200), (0.02, 0.4), 1.0, 240.0),
    tool("iodine-srv", BASE32, (60, 180), &[SRV], Answer::Data(180), (0.02, 0.4), 1.0, 240.0),
    tool("iodine-mx", BASE32, (60, 180), &[MX], Answer::Data(180), (0.02, 0.4), 1.0, 240.0),
    tool("iodine-cname", BASE32, (60, 180), &[CNAME], Answer::Alias, (0.02, 0.4), 1.0, 240.0),
    tool("iodine-a", BASE32, (60, 180), &[A], Answer::Alias, (0.02, 0.4), 1.0, 240.0),
    tool("iodine-idle-a", BASE32, (7, 9), &[A], Answer::Alias, (3.9, 4.1), 0.05, 1200.0),
    tool("dnscat2", HEX, (18, 200), &[TXT, CNAME, MX], Answer::Data(100), (0.1, 1.0), 1.0, 300.0),
    tool(
        "dnscat2-idle",
        HEX,
        (18, 18),
        &[TXT, CNAME, MX],
        Answer::Data(40),
        (1.0, 1.2),
        0.1,
        600.0,
    ),
    tool("dnscat2-a", HEX, (18, 120), &[A, AAAA], Answer::Address, (0.1, 1.0), 1.0, 300.0),
    tool("dns2tcp", BASE64, (10, 180), &[TXT], Answer::Data(250), (0.02, 0.3), 1.0, 180.0),
    tool("dnsexfiltrator", BASE32, (100, 220), &[TXT], Answer::Data(5), (0.05, 0.5), 0.2, 240.0),
    tool("exfil-a-fixed", HEX, (60, 180), &[A], Answer::Address, (0.1, 1.0), 0.5, 300.0),
    also(
        tool("exfil-nxdomain", BASE32, (100, 200), &[A], Answer::Missing, (0.1, 0.8), 0.5, 600.0),
        &[Rule::Dga],
    ),
    tool("exfil-slow-txt", BASE32, (40, 60), &[TXT], Answer::Data(10), (25.0, 60.0), 1.0, 6000.0),
    tool("exfil-slow-a", BASE32, (50, 120), &[A], Answer::Address, (15.0, 35.0), 1.0, 6000.0),
    tool("exfil-very-slow", BASE32, (100, 180), &[A], Answer::Address, (60.0, 90.0), 1.0, 7200.0),
    tool("beacon-a", HEX, (16, 24), &[A], Answer::Nowhere, (5.0, 60.0), 0.02, 5400.0),
    tool("beacon-jitter", HEX, (16, 24), &[A], Answer::Nowhere, (10.0, 60.0), 0.28, 5400.0),
    tool("beacon-txt", HEX, (12, 30), &[TXT], Answer::Data(20), (5.0, 40.0), 0.2, 5400.0),
];

#[expect(clippy::too_many_arguments, reason = "a row of the table above")]
const fn tool(
    name: &'static str,
    alphabet: &'static [u8],
    length: (u64, u64),
    types: &'static [u16],
    answer: Answer,
    pause: (f64, f64),
    irregular: f64,
    lasts: f64,
) -> Tool {
    Tool { name, alphabet, length, types, answer, pause, irregular, lasts, also: &[] }
}

const fn also(tool: Tool, rules: &'static [Rule]) -> Tool {
    Tool { also: rules, ..tool }
}

pub(super) fn all(rng: &mut Rng, begins: f64) -> Vec<Incident> {
    TOOLS.iter().map(|tool| incident(tool, rng, begins)).collect()
}

fn incident(tool: &Tool, rng: &mut Rng, begins: f64) -> Incident {
    let below = *rng.pick(&[
        "t.evilcorp.net",
        "ns1.cdn-sync.com",
        "x.tunnel.test",
        "d.t.lan",
        "update-7.info",
    ]);
    let (client, entity) = if rng.chance(0.7) {
        let comm = *rng.pick(&["python3", "iodine", "svchost", "chrome"]);
        (Client::local(comm, 6666), Entity { process: Some(comm.into()), ..Entity::default() })
    } else {
        let client = Ipv4Addr::new(10, 3, 0, 77);
        let entity = Entity { client: Some(client.to_string().into()), ..Entity::default() };
        (Client::remote(client), entity)
    };
    let pause = tool.pause.0 + rng.unit() * (tool.pause.1 - tool.pause.0);
    let longest = tool.length.0 + rng.below(tool.length.1 - tool.length.0 + 1);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + tool.lasts {
        let data = tool.length.0 + rng.below(longest - tool.length.0 + 1);
        let name = format!("{}.{below}", labels(&rng.text(tool.alphabet, data)));
        let event = Event::new(seconds(at), &client, RESOLVER.into(), name, *rng.pick(tool.types));
        let event =
            if rng.chance(0.02) { event.timeout() } else { answered(event, tool, rng, below) };
        events.push(event);
        let even = pause * (1.0 - tool.irregular / 2.0);
        at += if tool.irregular >= 1.0 {
            rng.interval(1.0 / pause)
        } else {
            even + rng.unit() * tool.irregular * pause * 2.0
        };
    }
    Incident {
        also: tool.also,
        ..Incident::new(
            Rule::Tunnel,
            format!("{} every {pause:.2} s, up to {longest} bytes", tool.name),
            entity,
            (begins, begins + tool.lasts),
            events,
        )
    }
}

fn answered(event: Event, tool: &Tool, rng: &mut Rng, below: &str) -> Event {
    let qtype = event.qtype;
    match tool.answer {
        Answer::Data(bytes) => event.data(qtype, "…", bytes),
        Answer::Alias => {
            let length = tool.length.0 + rng.below(40);
            let alias = format!("{}.{below}.", labels(&rng.text(tool.alphabet, length)));
            event.data(CNAME, &alias, length + 20)
        }
        Answer::Address => {
            let [a, b, c, d, ..] = rng.next().to_be_bytes();
            event.address(Ipv4Addr::new(a % 200 + 11, b, c, d).into())
        }
        Answer::Nowhere => event.address(Ipv4Addr::UNSPECIFIED.into()),
        Answer::Missing => event.rcode(NXDOMAIN),
    }
}

/// Splits data into labels of up to 60 bytes.
fn labels(data: &str) -> String {
    let pieces: Vec<&str> = data
        .as_bytes()
        .chunks(60)
        .map(|piece| std::str::from_utf8(piece).unwrap_or_default())
        .collect();
    pieces.join(".")
}
