//! What nodes ask day by day, with all that looks strange and is not.

use crate::event::{
    A, AAAA, Asker, BASE32, BASE36, BASE64, Chance, DNSKEY, Event, HEX, HTTPS, LETTERS, MX,
    NXDOMAIN, PTR, SERVFAIL, SRV, TXT, seconds,
};
use crate::names::{Sites, domain, reverse};
use dnscribe::pair::{OrphanReason, Status};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

/// Seconds of a day.
pub const DAY: f64 = 86_400.0;

/// The resolvers that nodes use.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 54);
pub const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A person's computer: browsers, virus scanner, music.
    Workstation,
    /// Pods with search lists, batch jobs, service names.
    Cluster,
    /// A mail server: blocklists, policies, dead domains of spam.
    Mail,
    /// A resolver for two hundred clients.
    Resolver,
}

impl Profile {
    pub const ALL: [Self; 4] = [Self::Workstation, Self::Cluster, Self::Mail, Self::Resolver];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Workstation => "workstation",
            Self::Cluster => "cluster",
            Self::Mail => "mail",
            Self::Resolver => "resolver",
        }
    }
}

type Make = Box<dyn FnMut(&mut Chance, f64, &mut Vec<Event>)>;

/// Something that comes by chance.
struct Stream {
    /// Times a second at the busiest hour.
    rate: f64,
    /// Whether it sleeps at night.
    seasonal: bool,
    make: Make,
}

/// A node's traffic.
pub struct Node {
    chance: Chance,
    streams: Vec<Stream>,
}

impl Node {
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let sites = Rc::new(Sites::new(&mut chance, 1500));
        let streams = match profile {
            Profile::Workstation => workstation(&mut chance, &sites),
            Profile::Cluster => cluster(&mut chance, &sites),
            Profile::Mail => mail(&mut chance),
            Profile::Resolver => resolver(&sites),
        };
        Self { chance, streams }
    }

    /// What begins from one second to another, in no order.
    pub fn fill(&mut self, from: f64, to: f64, events: &mut Vec<Event>) {
        for stream in &mut self.streams {
            let rate = stream.rate * if stream.seasonal { season(from) } else { 1.0 };
            let mut at = from + self.chance.interval(rate);
            while at < to {
                (stream.make)(&mut self.chance, at, events);
                at += self.chance.interval(rate);
            }
        }
    }
}

/// How busy an hour is: night and day, week and weekend.
fn season(at: f64) -> f64 {
    let hour = at % DAY / 3600.0;
    let day = (0.5 - 0.5 * ((hour - 2.0) / 24.0 * std::f64::consts::TAU).cos()).powi(2);
    let weekend = (at / DAY) % 7.0 >= 5.0;
    0.08 + 0.92 * day * if weekend { 0.4 } else { 1.0 }
}

fn stream(
    rate: f64,
    seasonal: bool,
    make: impl FnMut(&mut Chance, f64, &mut Vec<Event>) + 'static,
) -> Stream {
    Stream { rate, seasonal, make: Box::new(make) }
}

/// An address of the Internet for a name; large sites give each resolver another.
fn address_of(name: &str, salt: u64) -> IpAddr {
    let mut chance = Chance::new(
        name.bytes().fold(salt, |sum, octet| sum.wrapping_mul(131).wrapping_add(octet.into())),
    );
    let [_, _, c, d, e, ..] = chance.next().to_be_bytes();
    Ipv4Addr::new(151, c, d, e).into()
}

/// A query for a name that exists, with its usual troubles.
fn good(chance: &mut Chance, at: f64, asker: &Asker, server: Ipv4Addr, name: &str) -> Event {
    let qtype = *chance.pick(&[A, A, A, AAAA, AAAA, HTTPS]);
    let event = Event::new(seconds(at), asker, server.into(), name.into(), qtype);
    let slow = if chance.chance(0.1) { 40.0 } else { 2.0 };
    let event = event.latency_ms(0.4 + chance.interval(1.0 / slow));
    match chance.below(2000) {
        0..=2 => return event.timeout(),
        3 => return event.rcode(SERVFAIL),
        4 => return Event { retries: 1, ..event },
        _ => {}
    }
    if qtype != A {
        return event;
    }
    let salt =
        if name.contains("cdn") || chance.chance(0.02) { u64::from(server.octets()[3]) } else { 0 };
    event.address(address_of(name, salt))
}

fn missing(chance: &mut Chance, at: f64, asker: &Asker, server: Ipv4Addr, name: String) -> Event {
    let qtype = if chance.chance(0.7) { A } else { AAAA };
    Event::new(seconds(at), asker, server.into(), name, qtype).rcode(NXDOMAIN)
}

fn browsing(rate: f64, asker: Asker, sites: &Rc<Sites>) -> Stream {
    let sites = Rc::clone(sites);
    stream(rate, true, move |chance, at, events| {
        // A page names many sites.
        for part in 0..=chance.below(7) {
            let server = if chance.chance(0.03) { SECOND } else { RESOLVER };
            let later = at + chance.unit() * 2.0;
            let name = sites.name(chance);
            let event = good(chance, later, &asker, server, name);
            if part == 0 && chance.chance(0.3) {
                let mut again = event.clone();
                (again.status, again.at) = (Status::Duplicate, seconds(later + 0.01));
                // A query sent again is answered twice, a large site's with other addresses.
                again.retries = 1;
                again.conflict = again.qtype == A && chance.chance(0.001);
                if again.conflict || chance.chance(0.02) {
                    events.push(again);
                }
            }
            events.push(event);
        }
    })
}

fn workstation(chance: &mut Chance, sites: &Rc<Sites>) -> Vec<Stream> {
    let browser = Asker::process("chrome", 2100);
    let mut streams = vec![browsing(0.25, browser.clone(), sites)];
    for (comm, pid) in [("slack", 2200), ("spotify", 2300), ("apt", 2400), ("ssh", 2500)] {
        streams.push(browsing(0.01, Asker::process(comm, pid), sites));
    }
    // Three random names whenever the network changes, as browsers do to see whether NXDOMAIN is true.
    let prober = browser.clone();
    streams.push(stream(0.0004, true, move |chance, at, events| {
        for _ in 0..3 {
            let length = 7 + chance.below(9);
            let name = chance.text(LETTERS, length);
            let suffix = if chance.chance(0.5) { "" } else { ".corp.example.com" };
            events.push(missing(chance, at, &prober, RESOLVER, format!("{name}{suffix}")));
        }
    }));
    // A scanner that nobody knows asks about files by their hashes; one that is known by TXT.
    let scanner = Asker::process("scand", 900);
    streams.push(stream(0.02, true, move |chance, at, events| {
        let hash = chance.text(HEX, 32);
        let event = if chance.chance(0.5) {
            let name = format!("{hash}.lookup.guardsecurity.com");
            let event = Event::new(seconds(at), &scanner, RESOLVER.into(), name, A);
            if chance.chance(0.9) {
                event.rcode(NXDOMAIN)
            } else {
                let verdict = chance.pick(&[2, 3, 4, 8]);
                event.address(Ipv4Addr::new(127, 0, 0, *verdict).into())
            }
        } else {
            let name = format!("{hash}.w.29.sophosxl.net");
            Event::new(seconds(at), &scanner, RESOLVER.into(), name, TXT).data(
                TXT,
                "\"w u 3600\"",
                24,
            )
        };
        events.push(event);
    }));
    // Once-only names by which sites measure.
    let measured = browser.clone();
    streams.push(stream(0.0015, true, move |chance, at, events| {
        let zone =
            *chance.pick(&["metric.gstatic.com", "clo.footprintdns.com", "rum.perfmeter.net"]);
        let name = format!("{}.{zone}", chance.text(BASE32, 32));
        events.push(good(chance, at, &measured, RESOLVER, &name));
    }));
    // An ad blocker's resolver says that what exists does not; sites that are dead; slips of the pen.
    let blocked: Vec<String> = (0..80).map(|_| format!("ads.{}", domain(chance))).collect();
    streams.push(stream(0.05, true, move |chance, at, events| {
        let name = chance.pick(&blocked).clone();
        events.push(missing(chance, at, &browser, RESOLVER, name));
    }));
    streams
}

fn cluster(chance: &mut Chance, sites: &Rc<Sites>) -> Vec<Stream> {
    let mut streams = Vec::new();
    for number in 0..12_u32 {
        let comm = *chance.pick(&["java", "node", "python3", "app", "envoy"]);
        let mut pod = Asker::process(comm, 3000 + number);
        pod.pod = Some(format!("shop/service-{number}"));
        let upstream = format!("api.{}", domain(chance));
        let sites = Rc::clone(sites);
        streams.push(stream(0.35, true, move |chance, at, events| {
            let name = match chance.below(4) {
                0 => upstream.clone(),
                1 => sites.name(chance).to_owned(),
                2 => "redis.shop.svc.cluster.local".to_owned(),
                _ => "kafka-0.kafka-headless".to_owned(),
            };
            let exists = name.ends_with("cluster.local");
            if !exists {
                // ndots:5 asks for these first, each for both families.
                for suffix in ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"] {
                    let wasted = format!("{name}.{suffix}");
                    let later = at + chance.unit() * 0.01;
                    events.push(missing(chance, later, &pod, CLUSTER, wasted));
                }
            }
            let event = Event::new(seconds(at), &pod, CLUSTER.into(), name.clone(), A);
            let address =
                if exists { Ipv4Addr::new(10, 2, 3, 4).into() } else { address_of(&name, 0) };
            events.push(event.address(address));
        }));
    }
    // A batch controller asks for pods by their generated names.
    let controller = Asker::process("controller", 3900);
    streams.push(stream(0.02, true, move |chance, at, events| {
        let (set, pod) = (chance.text(BASE36, 9), chance.text(BASE36, 5));
        let name = format!("job-{set}-{pod}.workers.batch.svc.cluster.local");
        let address = Ipv4Addr::new(10, 244, 3, u8::try_from(chance.below(250)).unwrap_or(1));
        let event = Event::new(seconds(at), &controller, CLUSTER.into(), name, A);
        events.push(event.address(address.into()));
    }));
    streams.push(stream(0.05, false, |chance, at, events| {
        let prober = Asker::process("prometheus", 3901);
        let site = *chance.pick(&["node-exporter", "kube-state-metrics", "alertmanager-0"]);
        let name = format!("_http._tcp.{site}.monitoring.svc.cluster.local");
        let event = Event::new(seconds(at), &prober, CLUSTER.into(), name, SRV);
        events.push(event.data(
            SRV,
            "0 50 9100 10-2-3-4.node-exporter.monitoring.svc.cluster.local.",
            60,
        ));
    }));
    streams
}

fn mail(chance: &mut Chance) -> Vec<Stream> {
    let filter = Asker::process("rspamd", 4000);
    let server = Asker::process("postfix", 4001);
    let senders: Vec<String> = (0..3000).map(|_| domain(chance)).collect();
    let connects = stream(0.15, true, move |chance, at, events| {
        let sender = chance.pick(&senders).clone();
        let ask =
            |name: String, qtype| Event::new(seconds(at), &filter, RESOLVER.into(), name, qtype);
        for list in
            ["zen.spamhaus.org", "b.barracudacentral.org", "bl.mxlist.net", "dnsbl.postlist.info"]
        {
            let reversed = reverse(chance);
            let reversed = reversed.trim_end_matches(".in-addr.arpa").trim_end_matches(".ip6.arpa");
            let event = ask(format!("{reversed}.{list}"), A);
            events.push(if chance.chance(0.3) {
                event.address(Ipv4Addr::new(127, 0, 0, 4).into())
            } else {
                event.rcode(NXDOMAIN)
            });
        }
        // Addresses and sites by their hashes, at a list that few know.
        for list in ["hash.urilist.net", "ebl.maillist.org"] {
            let event = ask(format!("{}.{list}", chance.text(HEX, 40)), A);
            events.push(if chance.chance(0.04) {
                event.address(Ipv4Addr::new(127, 0, 1, 2).into())
            } else {
                event.rcode(NXDOMAIN)
            });
        }
        let dead = chance.chance(0.06);
        let policy = [
            (sender.clone(), TXT),
            (sender.clone(), MX),
            (format!("_dmarc.{sender}"), TXT),
            (format!("{}._domainkey.{sender}", chance.text(BASE32, 26)), TXT),
        ];
        for (name, qtype) in policy {
            let event = Event::new(seconds(at), &server, RESOLVER.into(), name, qtype);
            events.push(if dead {
                event.rcode(NXDOMAIN)
            } else {
                event.data(qtype, "\"v=spf1 include:_spf.example.com -all\"", 220)
            });
        }
        events.push(Event::new(seconds(at), &server, RESOLVER.into(), reverse(chance), PTR));
    });
    // Spam comes from domains of a day, and many of them are gone.
    let junk = stream(0.002, true, |chance, at, events| {
        let server = Asker::process("postfix", 4001);
        for _ in 0..6 {
            let length = 6 + chance.below(6);
            let name = if chance.chance(0.2) {
                format!("{}.top", chance.text(LETTERS, length))
            } else {
                domain(chance)
            };
            events.push(missing(chance, at, &server, RESOLVER, name));
        }
    });
    vec![connects, junk]
}

fn resolver(sites: &Rc<Sites>) -> Vec<Stream> {
    let local: IpAddr = Ipv4Addr::new(10, 0, 0, 53).into();
    let asked = Rc::clone(sites);
    let clients = stream(3.0, true, move |chance, at, events| {
        let client =
            Asker::client(Ipv4Addr::new(10, 3, 0, u8::try_from(chance.below(200)).unwrap_or(1)));
        for _ in 0..=chance.below(4) {
            let name = asked.name(chance);
            let mut event = good(chance, at, &client, RESOLVER, name);
            event.server = local;
            events.push(event);
        }
        match chance.below(400) {
            // Browsers probe, in the morning many of them.
            0..=3 => {
                for _ in 0..3 {
                    let name = format!("{}.corp.example.com", chance.text(LETTERS, 11));
                    events.push(missing(chance, at, &client, RESOLVER, name));
                }
            }
            4..=9 => {
                let name = format!("{}.lookup.guardsecurity.com", chance.text(HEX, 32));
                let event = Event::new(seconds(at), &client, local, name, A);
                events.push(event.address(Ipv4Addr::LOCALHOST.into()));
            }
            10 => {
                let name =
                    format!("{}.rum.perfmeter.net", chance.text(BASE64, 28).replace('_', "a"));
                events.push(good(chance, at, &client, RESOLVER, &name));
            }
            11..=20 => {
                let name = domain(chance);
                events.push(missing(chance, at, &client, RESOLVER, name));
            }
            _ => {}
        }
    });
    // What it asks itself, of those who know: without wanting recursion.
    let known = Rc::clone(sites);
    let own = Asker::process("unbound", 700);
    let upstream = stream(2.0, true, move |chance, at, events| {
        let name = known.name(chance).to_owned();
        let server = Ipv4Addr::new(192, 33, 14, u8::try_from(chance.below(250)).unwrap_or(1));
        let mut event = good(chance, at, &own, server, &name);
        event.recursion = false;
        if chance.chance(0.02) {
            event.qtype = DNSKEY;
            event.response_bytes = Some(1400);
        }
        if chance.chance(0.0005) {
            // An answer that came after everybody had forgotten its question.
            event.status = Status::Orphan;
            event.stray = Some(OrphanReason::NoQuery);
        }
        events.push(event);
    });
    vec![clients, upstream]
}
