//! Situations and the one cause that each has.

use super::*;

/// What works unless a situation says otherwise.
const GOOD: [&str; 9] = [
    "dns@a ok answers=192.0.2.10",
    "dns@b ok answers=192.0.2.10",
    "dns@c ok answers=192.0.2.10",
    "authority@ns1 ok serial=7",
    "authority@ns2 ok serial=7",
    "tcp ok",
    "tls ok days=90",
    "http ok",
    "ping ok received=5",
];

/// Returns the causes and severities of [`GOOD`] with some lines replaced: those of a kind with the same
/// resolver or nameserver.
fn causes(lines: &[&str]) -> Vec<String> {
    let subject = |line: &str| line.split(' ').next().unwrap().to_owned();
    let kept = GOOD.iter().filter(|good| !lines.iter().any(|line| subject(line) == subject(good)));
    let all: Vec<&str> = kept.chain(lines).copied().collect();
    let alerts = alerts_once(&all);
    let verdicts = alerts.iter().filter(|one| one.condition.rule.name().starts_with("verdict_"));
    verdicts
        .map(|alert| {
            let Condition { rule, severity, .. } = &alert.condition;
            format!("{} {}", rule.name().trim_start_matches("verdict_"), severity.name())
        })
        .collect()
}

/// Name, measurements that differ from the good ones, and the expected causes.
type Situation = (&'static str, &'static [&'static str], &'static [&'static str]);

const SITUATIONS: &[Situation] = &[
    ("all is well", &[], &[]),
    // Names.
    (
        "deleted name",
        &[
            "dns@a dns/nxdomain",
            "dns@b dns/nxdomain",
            "dns@c dns/nxdomain",
            "http resolve/nxdomain",
        ],
        &["dns critical"],
    ),
    (
        "deleted name, one resolver has it in its cache",
        &["dns@a dns/nxdomain", "dns@b dns/nxdomain", "http resolve/nxdomain"],
        &["dns critical"],
    ),
    (
        "no address",
        &["dns@a dns/no_data", "dns@b dns/no_data", "dns@c dns/no_data", "http resolve/no_data"],
        &["dns critical"],
    ),
    (
        "all nameservers are away",
        &[
            "dns@a dns/servfail",
            "dns@b dns/servfail",
            "dns@c dns/timeout",
            "authority@ns1 dns/timeout",
            "authority@ns2 dns/timeout",
            "http resolve/servfail",
        ],
        &["dns critical"],
    ),
    ("one nameserver is away", &["authority@ns2 dns/timeout"], &["delegation warning"]),
    // Resolvers.
    ("one resolver is away", &["dns@c dns/timeout"], &["resolver warning"]),
    ("one resolver is closed", &["dns@c dns/port_unreachable"], &["resolver warning"]),
    ("one resolver refuses", &["dns@b dns/refused"], &["resolver warning"]),
    (
        "one resolver has a key that the probe cannot verify",
        &["dns@b tls/certificate_unsupported"],
        &[],
    ),
    ("one resolver fails", &["dns@b dns/servfail"], &["resolver warning"]),
    ("one resolver denies the name", &["dns@b dns/nxdomain"], &["resolver warning"]),
    (
        "answers that nobody wants, from the first round on",
        &["dns@a dns/answer_mismatch", "dns@b dns/answer_mismatch", "dns@c dns/answer_mismatch"],
        &["dns critical"],
    ),
    ("one resolver has other answers", &["dns@b dns/answer_mismatch"], &["resolver warning"]),
    (
        "one resolver forges a signed answer",
        &["dns@a ok answers=192.0.2.10 dnssec=secure", "dns@b dns/bogus dnssec=bogus"],
        &["resolver warning"],
    ),
    (
        "one resolver adds to the answer that leads to a host which refuses",
        &[
            "dns@a ok answers=192.0.2.10 dnssec=secure",
            "dns@b dns/bogus answers=192.0.2.10 dnssec=bogus",
            "http connect/refused resolver=a",
        ],
        &["hosting critical", "resolver warning"],
    ),
    (
        "one resolver lies, and another one leads to a host whose certificate has expired",
        &[
            "dns@a ok answers=192.0.2.11",
            "dns@b dns/answer_mismatch answers=192.0.2.10",
            "dns@c ok answers=192.0.2.11",
            "http tls/certificate_expired resolver=a",
        ],
        &["certificate critical", "resolver warning"],
    ),
    (
        "no resolver answers, hosts work by address",
        &["dns@a dns/timeout", "dns@b dns/timeout", "dns@c dns/timeout", "http resolve/timeout"],
        &["resolver critical"],
    ),
    (
        "one resolver gives a changed answer, which leads to a host that refuses",
        &[
            "dns@a ok answers=192.0.2.66 changed differs=b,c",
            "dns@b ok answers=192.0.2.10 differs=a",
            "dns@c ok answers=192.0.2.10 differs=a",
            "http connect/refused address=192.0.2.66",
        ],
        &["resolver critical"],
    ),
    (
        "all resolvers give a changed answer, which leads to a host with another certificate",
        &[
            "dns@a ok answers=192.0.2.66 changed",
            "dns@b ok answers=192.0.2.66 changed",
            "dns@c ok answers=192.0.2.66 changed",
            "http tls/name_mismatch address=192.0.2.66",
        ],
        &["dns critical"],
    ),
    ("the resolver of a target fails", &["http resolve/timeout"], &["resolver critical"]),
    (
        "no resolver serves this host",
        &["dns@a http/status", "dns@b dns/notimp", "dns@c dns/formerr", "http resolve/status"],
        &["resolver critical"],
    ),
    (
        "every resolver refuses",
        &["dns@a dns/refused", "dns@b dns/refused", "dns@c dns/refused"],
        &["resolver critical"],
    ),
    (
        "the only answer is one about the resolver",
        &["dns@a http/content_type", "dns@b dns/timeout", "dns@c dns/timeout"],
        &["resolver critical"],
    ),
    (
        "every nameserver is lame, and forwarders pass on that it refuses",
        &[
            "authority@ns1 dns/lame",
            "authority@ns2 dns/lame",
            "dns@a dns/refused",
            "dns@b dns/refused",
            "dns@c dns/refused",
        ],
        &["delegation critical"],
    ),
    // DNSSEC.
    (
        "expired signatures",
        &["dns@a dns/bogus", "dns@b dns/bogus", "dns@c dns/servfail", "http resolve/servfail"],
        &["dnssec critical"],
    ),
    (
        "wrong DS: resolvers validate, and so do we",
        &["dns@a dns/bogus", "dns@b dns/bogus", "dns@c dns/bogus"],
        &["dnssec critical"],
    ),
    // Delegation.
    ("lame nameserver", &["authority@ns2 dns/lame"], &["delegation warning"]),
    ("serial lag", &["authority@ns2 dns/serial_lag serial=6"], &["delegation warning"]),
    ("missing glue", &["authority@ns1 dns/glue_missing"], &["delegation warning"]),
    (
        "other nameservers at the parent",
        &["authority@ns1 dns/delegation_mismatch"],
        &["delegation warning"],
    ),
    (
        "every nameserver is lame",
        &[
            "authority@ns1 dns/lame",
            "authority@ns2 dns/lame",
            "dns@a dns/servfail",
            "dns@b dns/servfail",
            "dns@c dns/servfail",
            "http resolve/servfail",
        ],
        &["delegation critical"],
    ),
    (
        "a secondary lags, and a resolver has asked it",
        &["authority@ns2 dns/serial_lag serial=6", "dns@b dns/nxdomain"],
        &["delegation warning"],
    ),
    (
        "nameservers that do not answer over TCP",
        &[
            "authority@ns1 dns/tcp_unreachable serial=7",
            "authority@ns2 dns/tcp_unreachable serial=7",
        ],
        &["delegation warning"],
    ),
    (
        "nameservers that do not give their keys",
        &["authority@ns1 dns/timeout serial=7", "authority@ns2 dns/timeout serial=7"],
        &["delegation warning"],
    ),
    (
        "a lame nameserver, and a resolver with other answers",
        &["authority@ns2 dns/lame", "dns@b dns/answer_mismatch"],
        &["delegation warning", "resolver warning"],
    ),
    // Certificates.
    (
        "expired certificate",
        &["tls tls/certificate_expired days=-3", "http tls/certificate_expired"],
        &["certificate critical"],
    ),
    ("wrong name", &["tls tls/name_mismatch", "http tls/name_mismatch"], &["certificate critical"]),
    ("incomplete chain", &["tls tls/chain_incomplete"], &["certificate warning"]),
    ("self-signed", &["tls tls/self_signed", "http tls/self_signed"], &["certificate critical"]),
    (
        "revoked",
        &["tls tls/certificate_revoked", "http tls/certificate_revoked"],
        &["certificate critical"],
    ),
    (
        "a key that the probe cannot verify",
        &["tls tls/certificate_unsupported", "http tls/certificate_unsupported"],
        &[],
    ),
    // Hosts.
    (
        "refused",
        &["tcp connect/refused", "tls connect/refused", "http connect/refused"],
        &["hosting critical"],
    ),
    ("reset in the handshake", &["tls tls/reset", "http tls/reset"], &["hosting critical"]),
    ("too old TLS", &["tls tls/version", "http tls/version"], &["hosting critical"]),
    ("slow handshake", &["tls tls/handshake_timeout"], &["hosting warning"]),
    ("status 503", &["http http/status"], &["hosting critical"]),
    ("wrong body", &["http http/body_mismatch"], &["hosting critical"]),
    ("one byte a second", &["http http/timeout"], &["hosting critical"]),
    (
        "a firewall drops connections, ping is fine",
        &["tcp connect/timeout", "tls connect/timeout", "http connect/timeout"],
        &["hosting critical"],
    ),
    (
        "refused, and ICMP is filtered",
        &[
            "tcp connect/refused",
            "tls connect/refused",
            "http connect/refused",
            "ping connect/loss received=0",
        ],
        &["hosting critical"],
    ),
    ("ICMP is filtered", &["ping connect/timeout received=0"], &[]),
    (
        "expired certificate, and ICMP is filtered",
        &[
            "tls tls/certificate_expired days=-3",
            "http tls/certificate_expired",
            "ping connect/timeout received=0",
        ],
        &["certificate critical"],
    ),
    // Paths.
    (
        "blackhole",
        &[
            "tcp connect/timeout",
            "tls connect/timeout",
            "http connect/timeout",
            "ping connect/loss received=0",
        ],
        &["path critical"],
    ),
    (
        "no route",
        &[
            "tcp connect/network_unreachable",
            "tls connect/network_unreachable",
            "http connect/network_unreachable",
            "ping connect/network_unreachable",
        ],
        &["path critical"],
    ),
    (
        "this host forbids everything",
        &[
            "dns@a dns/forbidden",
            "dns@b dns/forbidden",
            "dns@c connect/forbidden",
            "authority@ns1 dns/forbidden",
            "authority@ns2 dns/forbidden",
            "tcp connect/forbidden",
            "tls connect/network_unreachable",
            "http resolve/forbidden resolver=a",
            "ping connect/forbidden received=0",
        ],
        &["path critical"],
    ),
    ("loss alone", &["ping connect/loss received=2"], &["path warning"]),
    (
        "this site is cut off",
        &[
            "dns@a dns/timeout",
            "dns@b dns/timeout",
            "dns@c dns/timeout",
            "authority@ns1 dns/timeout",
            "authority@ns2 dns/timeout",
            "http resolve/timeout",
            "tcp connect/timeout",
            "tls connect/timeout",
            "ping connect/loss received=0",
        ],
        &["path critical"],
    ),
    // Two at once.
    (
        "expired certificate and a resolver that is away",
        &[
            "tls tls/certificate_expired days=-1",
            "http tls/certificate_expired",
            "dns@b dns/timeout",
        ],
        &["certificate critical", "resolver warning"],
    ),
    (
        "deleted name and a host that refuses",
        &[
            "dns@a dns/nxdomain",
            "dns@b dns/nxdomain",
            "dns@c dns/nxdomain",
            "http resolve/nxdomain",
            "tcp connect/refused",
            "tls connect/refused",
        ],
        &["dns critical", "hosting critical"],
    ),
];

#[test]
fn every_situation_has_its_cause() {
    let mut wrong = Vec::new();
    for (name, lines, expected) in SITUATIONS {
        let found = causes(lines);
        if found != *expected {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn evidence_names_what_works_and_what_fails() {
    let lines = [
        "dns@a ok answers=192.0.2.10",
        "dns@b ok answers=192.0.2.10",
        "dns@c dns/timeout",
        "tcp connect/refused",
        "http connect/refused",
    ];
    let alerts = alerts_once(&lines);
    let of = |rule| &alerts.iter().find(|one| one.condition.rule == rule).unwrap().condition;
    let hosting = of(Rule::VerdictHosting);
    assert_eq!(hosting.evidence[0], "shop.example.com A: 2 of 3 resolvers NOERROR");
    assert!(hosting.evidence.contains(&"TCP to 192.0.2.10:443 refused".to_owned()), "{hosting:?}");
    assert_eq!(hosting.evidence.last().unwrap(), "→ hosting");
    assert!(hosting.summary.starts_with("shop: ") && hosting.summary.ends_with("→ hosting"));
    assert!(of(Rule::VerdictResolver).summary.contains("shop.example.com A at c timeout"));
}

#[test]
fn a_resolver_that_is_away_explains_why_no_nameserver_was_found() {
    let alerts = alerts_once(&[
        "dns@a dns/port_unreachable",
        "authority resolve/port_unreachable resolver=a",
        "http resolve/port_unreachable resolver=a",
        "ping ok received=5",
    ]);
    let rules: Vec<_> = alerts.iter().map(|alert| alert.condition.rule.name()).collect();
    assert_eq!(rules, ["verdict_resolver"]);
}

#[test]
fn a_resolver_that_finds_no_nameserver_is_not_at_fault() {
    let verdicts = |lines: &[&str]| -> Vec<&str> {
        alerts_once(lines).iter().map(|alert| alert.condition.rule.name()).collect()
    };
    let reached = "tcp ok";
    for code in [22, 23] {
        let failed = format!("dns@a dns/servfail ede={code}");
        assert_eq!(verdicts(&[&failed, reached]), ["verdict_dns"], "{code}");
        // The nameservers respond to others.
        assert_eq!(verdicts(&[&failed, "dns@b ok", "dns@c ok", reached]), ["verdict_resolver"]);
        assert_eq!(verdicts(&[&failed, "authority@ns1 ok", reached]), ["verdict_resolver"]);
    }
    assert_eq!(verdicts(&["dns@a dns/servfail ede=14", reached]), ["verdict_resolver"]);
}

/// Returns the rules of the only measurement of a service.
fn rules_of(line: &str) -> Vec<&'static str> {
    alerts_once(&[line]).iter().map(|alert| alert.condition.rule.name()).collect()
}

#[test]
fn what_a_resolver_says_of_itself_is_not_about_the_name() {
    let of_resolver = [
        "certificate_expired",
        "handshake_timeout",
        "status",
        "content_type",
        "closed",
        "reset",
        "malformed",
        "truncated",
        "formerr",
        "notimp",
        "refused",
        "rcode",
        "timeout",
        "port_unreachable",
        "not_resolved",
    ];
    let without_route = ["network_unreachable", "host_unreachable", "forbidden"];
    let of_name = ["nxdomain", "no_data", "servfail"];
    for (reasons, expected) in [
        (&of_resolver[..], "verdict_resolver"),
        (&without_route, "verdict_path"),
        (&of_name, "verdict_dns"),
    ] {
        for kind in ["http", "authority"] {
            for reason in reasons {
                let line = format!("{kind} resolve/{reason} resolver=a");
                assert_eq!(rules_of(&line), [expected], "{line}");
            }
        }
    }
}

/// Service with several names, and the targets that its measurements are of.
const NAMES: &str = "
version: 1
resolvers: { a: 'udp://192.0.2.1', b: 'udp://192.0.2.2' }
services:
  - name: shop
    targets:
      - { name: first, dns: { name: www.first.test } }
      - { name: second, dns: { name: www.second.test } }
      - { name: zone, authority: { zone: second.test } }
      - { name: sibling, http: { url: 'http://web.second.test/', resolver: b } }
      - { name: other, http: { url: 'http://www.third.test/', resolver: b } }
";

/// Returns the rules, each with the number of its samples, of measurements of these targets.
fn rules_of_names(lines: &[(&str, &str)]) -> Vec<(&'static str, usize)> {
    let services = read(NAMES);
    let of_target = |target: &Arc<Target>| {
        let own = lines.iter().filter(|(name, _)| *name == target.name);
        let fields =
            own.map(|(_, line)| ProbeFields { target: target.name.clone(), ..measurement(line) });
        let (target, found) = (Arc::clone(target), fields.collect());
        Round { target, start: at(0), found, skipped: None, unrouted: 0 }
    };
    let rounds: Vec<Round> = services[0].targets.iter().map(of_target).collect();
    let measured = rounds.iter().map(|round| (round, vec![EventId(1); round.found.len()]));
    let alerts = Verdicts::once(at(1), &RuleOptions::default(), &services, measured);
    let shown = alerts.iter().map(|alert| &alert.condition);
    shown.map(|one| (one.rule.name(), one.samples.len())).collect()
}

#[test]
fn causes_stay_with_their_names_and_resolvers() {
    let bogus = ("first", "dns@a dns/bogus dnssec=bogus");
    let gone = ("first", "dns@a dns/nxdomain");
    for (lines, expected) in [
        // A zone that does not validate says nothing of another one.
        (
            &[bogus, ("zone", "authority@ns1 ok"), ("second", "dns@a dns/servfail")][..],
            &[("verdict_dnssec", 1), ("verdict_resolver", 1)][..],
        ),
        (
            &[bogus, ("second", "dns@a dns/refused")],
            &[("verdict_dnssec", 1), ("verdict_resolver", 1)],
        ),
        (&[bogus, ("first", "dns@b dns/servfail")], &[("verdict_dnssec", 2)]),
        // Nor does a name that is gone.
        (
            &[gone, ("other", "http resolve/certificate_expired resolver=b")],
            &[("verdict_dns", 1), ("verdict_resolver", 1)],
        ),
        (
            &[
                ("first", "dns@a dns/timeout"),
                ("first", "dns@b ok"),
                ("other", "http resolve/nxdomain resolver=b"),
            ],
            &[("verdict_dns", 1), ("verdict_resolver", 1)],
        ),
        // Names of one zone share its fate, and names share that of their resolver.
        (
            &[
                ("zone", "authority@ns1 dns/lame"),
                ("second", "dns@a dns/servfail"),
                ("sibling", "http resolve/servfail resolver=b"),
            ],
            &[("verdict_delegation", 3)],
        ),
        (
            &[
                ("first", "dns@a ok"),
                ("first", "dns@b dns/timeout"),
                ("other", "http resolve/timeout resolver=b"),
            ],
            &[("verdict_resolver", 2)],
        ),
    ] {
        assert_eq!(rules_of_names(lines), expected, "{lines:?}");
    }
}

#[test]
fn summaries_count_all_that_fails() {
    let lines: Vec<String> = (0..20).map(|n| format!("dns@r{n} dns/reason{n}")).collect();
    let alerts = alerts_once(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let [Alert { condition, .. }] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert!(condition.summary.contains("at r2 reason2; 17 more → "), "{}", condition.summary);
    let [.., eighth, more, _] = condition.evidence.as_slice() else { panic!("{condition:?}") };
    assert!(eighth.ends_with("at r7 reason7"), "{eighth}");
    assert_eq!(more, "and 12 more of this kind");
}

/// Returns the rules and severities of a service whose only failure is that no server of the parent can be asked.
fn without_parent(more: &[&str]) -> Vec<String> {
    let good = ["tcp ok", "tls ok days=90", "http ok", "ping ok received=5"];
    let authority = ["authority dns/parent_unreachable resolver=a"];
    let alerts = alerts_once(&[&good[..], &authority, more].concat());
    let show = |Condition { rule, severity, .. }: &Condition| {
        format!("{} {}", rule.name(), severity.name())
    };
    alerts.iter().map(|alert| show(&alert.condition)).collect()
}

#[test]
fn parents_that_do_not_answer_from_here_are_no_fault_of_the_resolver() {
    let resolved = ["dns@a ok", "dns@b ok", "dns@c ok"];
    assert_eq!(without_parent(&resolved), ["verdict_path warning"]);
    // Where resolvers do not reach it either, the parent is away.
    let failed = ["dns@a dns/servfail", "dns@b dns/servfail", "dns@c dns/servfail"];
    assert_eq!(without_parent(&failed), ["verdict_dns critical"]);
}

/// Service with a host of both families, and the targets that its measurements are of.
const DUAL: &str = "
version: 1
resolvers: { a: 'udp://192.0.2.1' }
services:
  - name: shop
    targets:
      - { name: tcp4, tcp: { address: 'shop.example.com:443', address_family: ipv4 } }
      - { name: tcp6, tcp: { address: 'shop.example.com:443', address_family: ipv6 } }
      - { name: tls4, tls: { address: 'shop.example.com:443', address_family: ipv4 } }
      - { name: tls6, tls: { address: 'shop.example.com:443', address_family: ipv6 } }
      - { name: http4, http: { url: 'https://shop.example.com/', address_family: ipv4 } }
      - { name: http6, http: { url: 'https://shop.example.com/', address_family: ipv6 } }
";

/// Returns the verdicts of targets with these results; all others are good.
fn dual_stack(results: &[(&str, &str)]) -> Vec<String> {
    let services = read(DUAL);
    let rounds: Vec<Round> = services[0]
        .targets
        .iter()
        .map(|target| {
            let result =
                results.iter().find(|(name, _)| *name == target.name).map_or("ok", |one| one.1);
            let address = if target.name.ends_with('4') { "192.0.2.10" } else { "2001:db8::10" };
            let fields = measurement(&format!("{} {result} address={address}", target.kind.name()));
            let target = Arc::clone(target);
            let found = vec![ProbeFields { target: target.name.clone(), ..fields }];
            Round { target, start: at(0), found, skipped: None, unrouted: 0 }
        })
        .collect();
    let measured = rounds.iter().map(|round| (round, Vec::new()));
    let alerts = Verdicts::once(at(1), &RuleOptions::default(), &services, measured);
    alerts
        .iter()
        .map(|Alert { condition, .. }| {
            let arrow = condition.evidence.last().unwrap();
            assert!(condition.summary.ends_with(arrow), "{condition:?}");
            format!("{} {arrow}", condition.severity.name())
        })
        .collect()
}

#[test]
fn one_family_alone_is_the_path() {
    for (results, expected) in [
        (&[("tcp6", "connect/timeout")][..], "warning → path (IPv6 only)"),
        (&[("tcp4", "connect/timeout")], "warning → path (IPv4 only)"),
        // A URL of this family alone: its clients use the other.
        (
            &[("http6", "connect/timeout"), ("tcp6", "connect/timeout")],
            "warning → path (IPv6 only)",
        ),
        (&[("tls6", "connect/host_unreachable")], "warning → path (IPv6 only)"),
        // Large packets are lost.
        (
            &[("tls6", "tls/handshake_timeout"), ("http6", "tls/handshake_timeout")],
            "warning → path (IPv6 only)",
        ),
        // The host answers over this family.
        (&[("tcp6", "connect/refused")], "warning → hosting"),
        (&[("http6", "http/status")], "critical → hosting"),
        // Open ports say nothing of an application that does not answer.
        (&[("http4", "http/timeout"), ("http6", "http/timeout")], "critical → hosting"),
    ] {
        assert_eq!(dual_stack(results), [expected], "{results:?}");
    }
    let both: Vec<_> = ["tcp4", "tcp6", "tls4", "tls6", "http4", "http6"]
        .iter()
        .map(|name| (*name, "connect/timeout"))
        .collect();
    assert_eq!(dual_stack(&both), ["critical → path"]);
}

/// The address from which is to be measured says nothing of the service.
#[test]
fn a_source_address_that_this_host_lacks_has_no_cause() {
    for kind in ["dns@a", "tcp", "ping", "http"] {
        assert!(alerts_once(&[&format!("{kind} connect/source_address")]).is_empty(), "{kind}");
    }
}
