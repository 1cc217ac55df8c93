//! A zone with nameservers on loopback, its parent, and a resolver.

use super::*;
use crate::dns::testing::{a, record, response, serve_tcp, serve_udp, sockets};
use crate::target::TargetKind;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{NS, SOA};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const RESOLVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PARENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// What a nameserver has.
#[derive(Clone)]
struct Zone {
    serial: u32,
    nameservers: Vec<&'static str>,
    authoritative: bool,
    answers_udp: bool,
    answers_tcp: bool,
}

impl Default for Zone {
    fn default() -> Self {
        let nameservers = vec!["ns1.shop.example.", "ns2.shop.example."];
        Self { serial: 7, nameservers, authoritative: true, answers_udp: true, answers_tcp: true }
    }
}

/// What the parent and the two nameservers have.
#[derive(Clone)]
struct World {
    delegated: Vec<&'static str>,
    glue: Vec<(&'static str, Ipv4Addr)>,
    zones: [Zone; 2],
    /// A further address of the first nameserver.
    unrouted: Option<Ipv6Addr>,
    /// Nameservers that the configuration names.
    servers: Vec<HostName>,
    /// Whether the parent answers.
    is_parent_silent: bool,
    /// Whether the resolver refers to others, as a nameserver does.
    resolver_refers: bool,
}

impl Default for World {
    fn default() -> Self {
        Self {
            delegated: vec!["ns1.shop.example.", "ns2.shop.example."],
            glue: vec![("ns1.shop.example.", FIRST), ("ns2.shop.example.", SECOND)],
            zones: [Zone::default(), Zone::default()],
            unrouted: None,
            servers: Vec::new(),
            is_parent_silent: false,
            resolver_refers: false,
        }
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn ns(zone: &str, server: &str) -> hickory_proto::rr::Record {
    record(zone, RData::NS(NS(name(server))))
}

impl World {
    fn resolve(&self, query: &Message) -> Message {
        let mut response = response(query);
        if self.resolver_refers {
            response.add_authority(ns("example.", "ns.parent.test."));
            return response;
        }
        let question = &query.queries[0];
        let owner = question.name().to_ascii();
        match (owner.as_str(), question.query_type()) {
            ("example.", RecordType::NS) => {
                response.add_answer(ns("example.", "ns.parent.test."));
            }
            ("shop.example.", RecordType::NS) => {
                for server in &self.zones[0].nameservers {
                    response.add_answer(ns("shop.example.", server));
                }
            }
            ("ns.parent.test.", RecordType::A) => {
                response.add_answer(a(&owner, PARENT.octets()));
            }
            ("ns1.shop.example.", RecordType::A) => {
                response.add_answer(a(&owner, FIRST.octets()));
            }
            ("ns1.shop.example.", RecordType::AAAA) => {
                let address = self.unrouted.map(|address| RData::AAAA(address.into()));
                response.answers.extend(address.map(|address| record(&owner, address)));
            }
            ("ns2.shop.example.", RecordType::A) => {
                response.add_answer(a(&owner, SECOND.octets()));
            }
            _ => {}
        }
        response
    }

    fn refer(&self, query: &Message) -> Message {
        let mut response = response(query);
        for server in &self.delegated {
            response.add_authority(ns("shop.example.", server));
        }
        for (server, address) in &self.glue {
            response.add_additional(a(server, address.octets()));
        }
        response
    }

    /// Starts the servers, and measures the zone.
    async fn measure(self) -> Vec<ProbeFields> {
        self.measure_all().await.0
    }

    /// Starts the servers, and measures the zone. Returns also the number of addresses without a route.
    async fn measure_all(self) -> (Vec<ProbeFields>, u64) {
        let (socket, listener) = sockets(PARENT.into(), 0).await;
        let port = socket.local_addr().unwrap().port();
        let world = self.clone();
        tokio::spawn(serve_udp(socket, move |query| {
            let referral = world.refer(&query).to_vec().unwrap();
            if world.is_parent_silent { Vec::new() } else { vec![referral] }
        }));
        drop(listener);
        let (socket, _) = sockets(RESOLVER.into(), port).await;
        let world = self.clone();
        tokio::spawn(serve_udp(socket, move |query| vec![world.resolve(&query).to_vec().unwrap()]));
        for (address, zone) in [FIRST, SECOND].into_iter().zip(self.zones) {
            let (socket, listener) = sockets(address.into(), port).await;
            if zone.answers_udp {
                let zone = zone.clone();
                let reply = move |query: Message| vec![zone.answer(&query).to_vec().unwrap()];
                tokio::spawn(serve_udp(socket, reply));
            }
            if zone.answers_tcp {
                let reply = move |query: Message| zone.answer(&query).to_vec().unwrap();
                tokio::spawn(serve_tcp(listener, reply));
            }
        }
        let resolver = Resolver::udp("test", (RESOLVER, port).into());
        let target = Target {
            service: "shop".into(),
            name: "shop.example".to_owned(),
            interval: Duration::from_mins(1),
            timeout: Duration::from_secs(2),
            retries: 0,
            kind: TargetKind::Authority(AuthorityTarget {
                public_only: false,
                servers: self.servers.clone(),
                zone: name("shop.example."),
                resolver: Arc::new(resolver),
                max_serial_lag: 0,
                port,
            }),
        };
        let context = Context::new("test".to_owned(), Trust::load(Some(&[]), None).unwrap());
        let TargetKind::Authority(authority) = &target.kind else { unreachable!() };
        let mut unrouted = 0;
        let measured = measure(&context, &target, authority, &mut unrouted);
        (Box::pin(measured).await.unwrap(), unrouted)
    }
}

impl Zone {
    fn answer(&self, query: &Message) -> Message {
        let mut response = response(query);
        response.metadata.authoritative = self.authoritative;
        if !self.authoritative {
            response.metadata.response_code = ResponseCode::Refused;
            return response;
        }
        let zone = "shop.example.";
        if query.queries[0].query_type() == RecordType::SOA {
            let soa = SOA::new(
                name("ns1.shop.example."),
                name("a.shop.example."),
                self.serial,
                1,
                1,
                1,
                1,
            );
            response.add_answer(record(zone, RData::SOA(soa)));
        } else {
            for server in &self.nameservers {
                response.add_answer(ns(zone, server));
            }
        }
        response
    }
}

/// Returns the nameserver and the reason of each record.
async fn reasons(world: World) -> Vec<(String, Option<String>)> {
    let found = world.measure().await;
    let reason = |fields: ProbeFields| {
        let nameserver = fields.nameserver.unwrap_or_default();
        (nameserver, fields.error.map(|error| error.reason))
    };
    found.into_iter().map(reason).collect()
}

fn expected(first: Option<&str>, second: Option<&str>) -> Vec<(String, Option<String>)> {
    let nameserver =
        |name: &str, reason: Option<&str>| (name.to_owned(), reason.map(str::to_owned));
    vec![nameserver("ns1.shop.example", first), nameserver("ns2.shop.example", second)]
}

#[tokio::test]
async fn nameservers_that_agree_are_good() {
    let found = World::default().measure().await;
    assert_eq!(found.len(), 2);
    for (fields, address) in found.iter().zip([FIRST, SECOND]) {
        assert!(fields.ok, "{fields:?}");
        assert_eq!(fields.soa_serial, Some(7));
        assert_eq!(fields.lame, Some(false));
        assert_eq!(fields.address, Some(address.to_string()));
        assert_eq!(fields.answers, ["ns1.shop.example", "ns2.shop.example"]);
    }
}

#[tokio::test]
async fn a_nameserver_in_place_of_the_resolver_finds_no_parent() {
    let world = World { resolver_refers: true, ..World::default() };
    assert_eq!(reasons(world).await, [(String::new(), Some("refused".to_owned()))]);
}

#[tokio::test]
async fn faults_of_one_nameserver_have_names() {
    let with = |change: fn(&mut World)| {
        let mut world = World::default();
        change(&mut world);
        world
    };
    let lame = with(|world| world.zones[1].authoritative = false);
    assert_eq!(reasons(lame).await, expected(None, Some("lame")));
    let lag = with(|world| world.zones[1].serial = 6);
    assert_eq!(reasons(lag).await, expected(None, Some("serial_lag")));
    let silent = with(|world| world.zones[1].answers_udp = false);
    assert_eq!(reasons(silent).await, expected(None, Some("unreachable")));
    let without_tcp = with(|world| world.zones[1].answers_tcp = false);
    assert_eq!(reasons(without_tcp).await, expected(None, Some("tcp_unreachable")));
    let missing = with(|world| world.glue.truncate(1));
    assert_eq!(reasons(missing).await, expected(None, Some("glue_missing")));
    let mismatch = with(|world| world.glue[1].1 = FIRST);
    let found = reasons(mismatch).await;
    assert_eq!(
        found.iter().filter(|(_, reason)| reason.as_deref() == Some("glue_mismatch")).count(),
        2
    );
    let forgotten = with(|world| {
        world.delegated.truncate(1);
        world.glue.truncate(1);
    });
    assert_eq!(reasons(forgotten).await, expected(None, Some("delegation_mismatch")));
    let differs = with(|world| world.zones[1].nameservers.push("ns3.shop.example."));
    assert_eq!(reasons(differs).await, expected(None, Some("answers_differ")));
}

#[tokio::test]
async fn of_two_nameservers_the_one_that_agrees_with_the_parent_is_right() {
    let mut world = World::default();
    world.zones[1].nameservers.remove(0);
    assert_eq!(reasons(world).await, expected(None, Some("answers_differ")));
}

#[tokio::test]
async fn a_nameserver_that_answers_over_udp_alone_has_the_zone() {
    let mut world = World::default();
    world.zones[1].answers_tcp = false;
    let found = world.measure().await;
    let error = found[1].error.as_ref().unwrap();
    assert_eq!((error.stage.as_str(), found[1].soa_serial), ("dns", Some(7)));
    let detail = error.detail.as_deref().unwrap();
    assert!(
        detail.starts_with("over TCP, though it answers over UDP: Connection refused"),
        "{detail}"
    );
}

/// An address of a link is none without the name of the link, so no host has a route to it.
#[tokio::test]
async fn addresses_without_a_route_are_counted_and_not_failed() {
    let unrouted = Some("fe80::53".parse().unwrap());
    let (found, count) = World { unrouted, ..World::default() }.measure_all().await;
    assert_eq!((found.len(), count), (2, 1));
    assert!(found.iter().all(|fields| fields.ok), "{found:?}");
}

#[tokio::test]
async fn zone_without_delegation_is_named() {
    let world = World { delegated: Vec::new(), glue: Vec::new(), ..World::default() };
    assert_eq!(reasons(world).await, [(String::new(), Some("delegation_mismatch".to_owned()))]);
}

#[tokio::test]
async fn a_parent_that_does_not_answer_here_is_named() {
    let found = World { is_parent_silent: true, ..World::default() }.measure().await;
    let [fields] = found.as_slice() else { panic!("{found:?}") };
    let error = fields.error.as_ref().unwrap();
    assert_eq!((error.stage.as_str(), error.reason.as_str()), ("dns", "parent_unreachable"));
    let detail = error.detail.as_deref().unwrap();
    assert!(detail.contains("ns.parent.test") && detail.contains("authority.servers"), "{detail}");
}

#[tokio::test]
async fn configured_servers_are_asked_in_place_of_those_of_the_parent() {
    let servers = vec![HostName::Address(FIRST.into()), HostName::Name(name("ns2.shop.example."))];
    // The parent knows neither the zone nor its servers.
    let (delegated, glue) = (Vec::new(), Vec::new());
    let split = World { servers, delegated, glue, is_parent_silent: true, ..World::default() };
    let found = split.clone().measure().await;
    let shown: Vec<_> =
        found.iter().map(|fields| (fields.nameserver.as_deref(), fields.ok)).collect();
    assert_eq!(shown, [(Some("127.0.0.3"), true), (Some("ns2.shop.example"), true)], "{found:?}");
    let resolvers: Vec<_> = found.iter().map(|fields| fields.resolver.as_deref()).collect();
    assert_eq!(resolvers, [None, Some("test")], "the resolver is asked for names alone");
    let mut lagging = split;
    lagging.zones[1].serial = 5;
    let found = lagging.measure().await;
    assert_eq!(found[1].error.as_ref().unwrap().reason, "serial_lag");
}
