//! Traffic of nodes without incidents, including traffic that looks suspicious and is harmless.

use crate::event::{
    A, AAAA, BASE32, BASE36, BASE64, Client, DNSKEY, Event, HEX, HTTPS, LETTERS, MX, NXDOMAIN, PTR,
    Rng, SERVFAIL, SRV, TXT, seconds,
};
use crate::names::{Sites, domain, reverse};
use dnscribe_transaction::pair::{OrphanReason, Status};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

/// Seconds per day.
pub const DAY: f64 = 86_400.0;

/// The resolvers that nodes use.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 54);
pub const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Desktop computer: browsers, virus scanner, music.
    Workstation,
    /// Pods with search lists, batch jobs, service names.
    Cluster,
    /// Mail server: blocklists, policies, dead domains of spam.
    Mail,
    /// Resolver for two hundred clients.
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

type Generator = Box<dyn FnMut(&mut Rng, f64, &mut Vec<Event>)>;

/// A source of random traffic.
struct Stream {
    /// Events per second at the busiest hour.
    rate: f64,
    /// Whether the rate depends on the time of day.
    seasonal: bool,
    generator: Generator,
}

/// Generator of a node's traffic.
pub struct Node {
    rng: Rng,
    streams: Vec<Stream>,
}

impl Node {
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sites = Rc::new(Sites::new(&mut rng, 1500));
        let streams = match profile {
            Profile::Workstation => workstation(&mut rng, &sites),
            Profile::Cluster => cluster(&mut rng, &sites),
            Profile::Mail => mail(&mut rng),
            Profile::Resolver => resolver(&sites),
        };
        Self { rng, streams }
    }

    /// Appends the transactions that begin between two seconds, in no order.
    pub fn generate(&mut self, from: f64, to: f64, events: &mut Vec<Event>) {
        for stream in &mut self.streams {
            let rate = stream.rate * if stream.seasonal { season(from) } else { 1.0 };
            let mut at = from + self.rng.interval(rate);
            while at < to {
                (stream.generator)(&mut self.rng, at, events);
                at += self.rng.interval(rate);
            }
        }
    }
}

/// Activity at a time, by hour and weekday: 0 to 1.
fn season(at: f64) -> f64 {
    let hour = at % DAY / 3600.0;
    let day = (0.5 - 0.5 * ((hour - 2.0) / 24.0 * std::f64::consts::TAU).cos()).powi(2);
    let weekend = (at / DAY) % 7.0 >= 5.0;
    0.08 + 0.92 * day * if weekend { 0.4 } else { 1.0 }
}

fn stream(
    rate: f64,
    seasonal: bool,
    generator: impl FnMut(&mut Rng, f64, &mut Vec<Event>) + 'static,
) -> Stream {
    Stream { rate, seasonal, generator: Box::new(generator) }
}

/// Returns an address for a name. Another `salt` gives another address, as large sites give each resolver.
fn address_of(name: &str, salt: u64) -> IpAddr {
    let mut rng = Rng::new(
        name.bytes().fold(salt, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into())),
    );
    let [_, _, c, d, e, ..] = rng.next().to_be_bytes();
    Ipv4Addr::new(151, c, d, e).into()
}

/// Returns a query for an existing name, sometimes slow, failed or retried.
fn resolved_query(rng: &mut Rng, at: f64, client: &Client, server: Ipv4Addr, name: &str) -> Event {
    let qtype = *rng.pick(&[A, A, A, AAAA, AAAA, HTTPS]);
    let event = Event::new(seconds(at), client, server.into(), name.into(), qtype);
    let slow = if rng.chance(0.1) { 40.0 } else { 2.0 };
    let event = event.latency_ms(0.4 + rng.interval(1.0 / slow));
    match rng.below(2000) {
        0..=2 => return event.timeout(),
        3 => return event.rcode(SERVFAIL),
        4 => return Event { retries: 1, ..event },
        _ => {}
    }
    if qtype != A {
        return event;
    }
    let salt =
        if name.contains("cdn") || rng.chance(0.02) { u64::from(server.octets()[3]) } else { 0 };
    event.address(address_of(name, salt))
}

fn nxdomain_query(
    rng: &mut Rng,
    at: f64,
    client: &Client,
    server: Ipv4Addr,
    name: String,
) -> Event {
    let qtype = if rng.chance(0.7) { A } else { AAAA };
    Event::new(seconds(at), client, server.into(), name, qtype).rcode(NXDOMAIN)
}

fn browsing(rate: f64, client: Client, sites: &Rc<Sites>) -> Stream {
    let sites = Rc::clone(sites);
    stream(rate, true, move |rng, at, events| {
        // A page refers to many sites.
        for part in 0..=rng.below(7) {
            let server = if rng.chance(0.03) { SECOND } else { RESOLVER };
            let later = at + rng.unit() * 2.0;
            let name = sites.name(rng);
            let event = resolved_query(rng, later, &client, server, name);
            if part == 0 && rng.chance(0.3) {
                let mut again = event.clone();
                (again.status, again.at) = (Status::Duplicate, seconds(later + 0.01));
                // A retransmitted query gets two responses; large sites may give different addresses.
                again.retries = 1;
                again.conflict = again.qtype == A && rng.chance(0.001);
                if again.conflict || rng.chance(0.02) {
                    events.push(again);
                }
            }
            events.push(event);
        }
    })
}

fn workstation(rng: &mut Rng, sites: &Rc<Sites>) -> Vec<Stream> {
    let browser = Client::local("chrome", 2100);
    let mut streams = vec![browsing(0.25, browser.clone(), sites)];
    for (comm, pid) in [("slack", 2200), ("spotify", 2300), ("apt", 2400), ("ssh", 2500)] {
        streams.push(browsing(0.01, Client::local(comm, pid), sites));
    }
    // Browsers query three random names after a network change, to detect forged NXDOMAIN responses.
    let prober = browser.clone();
    streams.push(stream(0.0004, true, move |rng, at, events| {
        for _ in 0..3 {
            let length = 7 + rng.below(9);
            let name = rng.text(LETTERS, length);
            let suffix = if rng.chance(0.5) { "" } else { ".corp.example.com" };
            events.push(nxdomain_query(rng, at, &prober, RESOLVER, format!("{name}{suffix}")));
        }
    }));
    // Virus scanners look up file hashes: an unknown one by A, a well-known one by TXT.
    let scanner = Client::local("scand", 900);
    streams.push(stream(0.02, true, move |rng, at, events| {
        let hash = rng.text(HEX, 32);
        let event = if rng.chance(0.5) {
            let name = format!("{hash}.lookup.guardsecurity.com");
            let event = Event::new(seconds(at), &scanner, RESOLVER.into(), name, A);
            if rng.chance(0.9) {
                event.rcode(NXDOMAIN)
            } else {
                let verdict = rng.pick(&[2, 3, 4, 8]);
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
    // Unique names by which sites measure performance.
    let measured = browser.clone();
    streams.push(stream(0.0015, true, move |rng, at, events| {
        let zone = *rng.pick(&["metric.gstatic.com", "clo.footprintdns.com", "rum.perfmeter.net"]);
        let name = format!("{}.{zone}", rng.text(BASE32, 32));
        events.push(resolved_query(rng, at, &measured, RESOLVER, &name));
    }));
    // NXDOMAIN for existing names by an ad blocker's resolver, for dead sites and for typing errors.
    let blocked: Vec<String> = (0..80).map(|_| format!("ads.{}", domain(rng))).collect();
    streams.push(stream(0.05, true, move |rng, at, events| {
        let name = rng.pick(&blocked).clone();
        events.push(nxdomain_query(rng, at, &browser, RESOLVER, name));
    }));
    streams
}

fn cluster(rng: &mut Rng, sites: &Rc<Sites>) -> Vec<Stream> {
    let mut streams = Vec::new();
    for number in 0..12_u32 {
        let comm = *rng.pick(&["java", "node", "python3", "app", "envoy"]);
        let mut pod = Client::local(comm, 3000 + number);
        pod.pod = Some(format!("shop/service-{number}"));
        let upstream = format!("api.{}", domain(rng));
        let sites = Rc::clone(sites);
        streams.push(stream(0.35, true, move |rng, at, events| {
            let name = match rng.below(4) {
                0 => upstream.clone(),
                1 => sites.name(rng).to_owned(),
                2 => "redis.shop.svc.cluster.local".to_owned(),
                _ => "kafka-0.kafka-headless".to_owned(),
            };
            let exists = name.ends_with("cluster.local");
            if !exists {
                // With ndots:5 the search list comes first.
                for suffix in ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"] {
                    let wasted = format!("{name}.{suffix}");
                    let later = at + rng.unit() * 0.01;
                    events.push(nxdomain_query(rng, later, &pod, CLUSTER, wasted));
                }
            }
            let event = Event::new(seconds(at), &pod, CLUSTER.into(), name.clone(), A);
            let address =
                if exists { Ipv4Addr::new(10, 2, 3, 4).into() } else { address_of(&name, 0) };
            events.push(event.address(address));
        }));
    }
    // A batch controller queries pods by generated names.
    let controller = Client::local("controller", 3900);
    streams.push(stream(0.02, true, move |rng, at, events| {
        let (set, pod) = (rng.text(BASE36, 9), rng.text(BASE36, 5));
        let name = format!("job-{set}-{pod}.workers.batch.svc.cluster.local");
        let address = Ipv4Addr::new(10, 244, 3, u8::try_from(rng.below(250)).unwrap_or(1));
        let event = Event::new(seconds(at), &controller, CLUSTER.into(), name, A);
        events.push(event.address(address.into()));
    }));
    streams.push(stream(0.05, false, |rng, at, events| {
        let prober = Client::local("prometheus", 3901);
        let site = *rng.pick(&["node-exporter", "kube-state-metrics", "alertmanager-0"]);
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

fn mail(rng: &mut Rng) -> Vec<Stream> {
    let filter = Client::local("rspamd", 4000);
    let server = Client::local("postfix", 4001);
    let senders: Vec<String> = (0..3000).map(|_| domain(rng)).collect();
    let connects = stream(0.15, true, move |rng, at, events| {
        let sender = rng.pick(&senders).clone();
        let ask =
            |name: String, qtype| Event::new(seconds(at), &filter, RESOLVER.into(), name, qtype);
        for list in
            ["zen.spamhaus.org", "b.barracudacentral.org", "bl.mxlist.net", "dnsbl.postlist.info"]
        {
            let reversed = reverse(rng);
            let reversed = reversed.trim_end_matches(".in-addr.arpa").trim_end_matches(".ip6.arpa");
            let event = ask(format!("{reversed}.{list}"), A);
            events.push(if rng.chance(0.3) {
                event.address(Ipv4Addr::new(127, 0, 0, 4).into())
            } else {
                event.rcode(NXDOMAIN)
            });
        }
        // Hashes of addresses and sites at a rare blocklist.
        for list in ["hash.urilist.net", "ebl.maillist.org"] {
            let event = ask(format!("{}.{list}", rng.text(HEX, 40)), A);
            events.push(if rng.chance(0.04) {
                event.address(Ipv4Addr::new(127, 0, 1, 2).into())
            } else {
                event.rcode(NXDOMAIN)
            });
        }
        let dead = rng.chance(0.06);
        let policy = [
            (sender.clone(), TXT),
            (sender.clone(), MX),
            (format!("_dmarc.{sender}"), TXT),
            (format!("{}._domainkey.{sender}", rng.text(BASE32, 26)), TXT),
        ];
        for (name, qtype) in policy {
            let event = Event::new(seconds(at), &server, RESOLVER.into(), name, qtype);
            events.push(if dead {
                event.rcode(NXDOMAIN)
            } else {
                event.data(qtype, "\"v=spf1 include:_spf.example.com -all\"", 220)
            });
        }
        events.push(Event::new(seconds(at), &server, RESOLVER.into(), reverse(rng), PTR));
    });
    // Spam uses domains that exist for a day; many are gone.
    let junk = stream(0.002, true, |rng, at, events| {
        let server = Client::local("postfix", 4001);
        for _ in 0..6 {
            let length = 6 + rng.below(6);
            let name = if rng.chance(0.2) {
                format!("{}.top", rng.text(LETTERS, length))
            } else {
                domain(rng)
            };
            events.push(nxdomain_query(rng, at, &server, RESOLVER, name));
        }
    });
    vec![connects, junk]
}

fn resolver(sites: &Rc<Sites>) -> Vec<Stream> {
    let local: IpAddr = Ipv4Addr::new(10, 0, 0, 53).into();
    let asked = Rc::clone(sites);
    let clients = stream(3.0, true, move |rng, at, events| {
        let client =
            Client::remote(Ipv4Addr::new(10, 3, 0, u8::try_from(rng.below(200)).unwrap_or(1)));
        for _ in 0..=rng.below(4) {
            let name = asked.name(rng);
            let mut event = resolved_query(rng, at, &client, RESOLVER, name);
            event.server = local;
            events.push(event);
        }
        match rng.below(400) {
            // Probes of browsers.
            0..=3 => {
                for _ in 0..3 {
                    let name = format!("{}.corp.example.com", rng.text(LETTERS, 11));
                    events.push(nxdomain_query(rng, at, &client, RESOLVER, name));
                }
            }
            4..=9 => {
                let name = format!("{}.lookup.guardsecurity.com", rng.text(HEX, 32));
                let event = Event::new(seconds(at), &client, local, name, A);
                events.push(event.address(Ipv4Addr::LOCALHOST.into()));
            }
            10 => {
                let name = format!("{}.rum.perfmeter.net", rng.text(BASE64, 28).replace('_', "a"));
                events.push(resolved_query(rng, at, &client, RESOLVER, &name));
            }
            11..=20 => {
                let name = domain(rng);
                events.push(nxdomain_query(rng, at, &client, RESOLVER, name));
            }
            _ => {}
        }
    });
    // The resolver's own queries to authoritative servers, without RD.
    let known = Rc::clone(sites);
    let own = Client::local("unbound", 700);
    let upstream = stream(2.0, true, move |rng, at, events| {
        let name = known.name(rng).to_owned();
        let server = Ipv4Addr::new(192, 33, 14, u8::try_from(rng.below(250)).unwrap_or(1));
        let mut event = resolved_query(rng, at, &own, server, &name);
        event.recursion = false;
        if rng.chance(0.02) {
            event.qtype = DNSKEY;
            event.response_bytes = Some(1400);
        }
        if rng.chance(0.0005) {
            // A response that came after the query was forgotten.
            event.status = Status::Orphan;
            event.stray = Some(OrphanReason::NoQuery);
        }
        events.push(event);
    });
    vec![clients, upstream]
}
