//! Faults of names, zones and resolvers.

use super::super::{FILTERED, Fault, FaultLab, PRIMARY, Peer, SECONDARY, SHOP};
use super::{dns, fault};

/// Returns these faults, in the order of the page that shows them.
pub(super) fn faults(lab: &FaultLab) -> Vec<Fault> {
    [dnssec(lab), resolvers(lab), names(lab), authority(lab)].into_iter().flatten().collect()
}

fn dnssec(lab: &FaultLab) -> Vec<Fault> {
    let bogus = |name, title, domain: &str, telling| {
        let peer = Peer::new(&delv(lab, domain), telling);
        let mut fault = fault(name, title, &[dns(domain, "[good, lying]")], peer);
        fault.failures = &[("dns", "dns", "bogus")];
        fault.fields = &[("dnssec", "bogus")];
        fault.cause = Some("dnssec");
        fault
    };
    let mut insecure = fault(
        "dnssec-unsigned",
        "zone without signatures, where the configuration wants them",
        &["dns: { name: www.insecure.test, resolvers: [good], require_secure: true }".to_owned()],
        Peer::new(&delv(lab, "www.insecure.test"), "; unsigned answer"),
    );
    insecure.failures = &[("dns", "dns", "not_secure")];
    insecure.fields = &[("dnssec", "insecure")];
    insecure.cause = Some("dnssec");
    let mut ending = fault(
        "dnssec-ending",
        "signatures that end in an hour",
        &[dns("www.ending.test", "[good]")],
        Peer::new(&delv(lab, "www.ending.test"), "; fully validated"),
    );
    ending.fields = &[("dnssec", "secure"), ("signature.record", "www.ending.test A")];
    let mut opt_out = fault(
        "dnssec-opt-out",
        "name that does not exist, by a proof that leaves out unsigned zones",
        &["dns: { name: gone.optout.test, rcodes: [NXDOMAIN], resolvers: [good], require_secure: true }"
            .to_owned()],
        Peer::new(&format!("dig @{} +dnssec gone.optout.test", lab.validating()), "flags: qr rd ra;"),
    );
    opt_out.failures = &[("dns", "dns", "not_secure")];
    opt_out.fields = &[("dnssec", "insecure")];
    opt_out.cause = Some("dnssec");
    vec![
        ending,
        opt_out,
        bogus(
            "dnssec-ended",
            "signatures have ended a minute ago",
            "www.ended.test",
            "resolution failed",
        ),
        bogus("dnssec-expired", "signatures have expired", "www.expired.test", "resolution failed"),
        bogus(
            "dnssec-future",
            "signatures are not valid yet",
            "www.future.test",
            "resolution failed",
        ),
        bogus(
            "dnssec-wrong-ds",
            "DS at the parent matches no key",
            "www.wrongds.test",
            "resolution failed",
        ),
        bogus(
            "dnssec-stripped",
            "DS at the parent, no signatures",
            "www.stripped.test",
            "resolution failed",
        ),
        insecure,
    ]
}

fn resolvers(lab: &FaultLab) -> Vec<Fault> {
    let lying = lab.lying();
    let dig = |server: &str, more: &str, telling| {
        Peer::new(&format!("dig @{server} +tries=1 +time=2 www.good.test{more}"), telling)
    };
    let service = |name, title, target, peer, failures| {
        let mut fault = fault(name, title, &[target], peer);
        fault.failures = failures;
        fault.cause = Some("resolver");
        fault
    };
    let mut policy = service(
        "resolver-policy",
        "BIND with a response policy that forges what is asked for without DO",
        dns(SHOP, "[policy]"),
        Peer::new(&format!("dig @{} {SHOP}", lab.policy()), "203.0.113.66"),
        &[("dns", "dns", "forged")],
    );
    policy.fields = &[("dnssec", "bogus")];
    let mut disagree = fault(
        "resolver-disagrees",
        "resolver with another answer for an unsigned name",
        &[dns("shop.insecure.test", "[good, lying]")],
        Peer::new(&format!("dig @{lying} shop.insecure.test"), "203.0.113.66"),
    );
    disagree.fields = &[("answers.0", "203.0.113.66"), ("differs_from.0", "good")];
    vec![
        service(
            "resolver-lies",
            "resolver with a false answer for a signed name",
            dns(SHOP, "[good, dot, lying]"),
            Peer::new(&format!("dig @{lying} {SHOP}"), "203.0.113.66"),
            &[("dns", "dns", "bogus")],
        ),
        policy,
        disagree,
        service(
            "resolver-closed",
            "no resolver at the port",
            dns("www.good.test", "[good, dot, closed]"),
            dig(&lab.lab.closed_addr().to_string(), "", "connection refused"),
            &[("dns", "dns", "port_unreachable")],
        ),
        service(
            "resolver-silent",
            "resolver that never answers",
            dns("www.good.test", "[good, dot, blackhole]"),
            dig(&lab.lab.blackhole_addr().to_string(), "", "timed out"),
            &[("dns", "dns", "timeout")],
        ),
        service(
            "resolver-certificate",
            "DNS over TLS with an expired certificate",
            dns("www.good.test", "[good, dot, expired]"),
            Peer::new(
                &format!(
                    "kdig @{lying} +tls-ca={} +tls-hostname={SHOP} +retry=0 www.good.test",
                    lab.authority().display()
                ),
                "Error in the certificate",
            ),
            &[("dns", "tls", "certificate_expired")],
        ),
        service(
            "resolver-503",
            "DNS over HTTPS where the server answers 503",
            dns("www.good.test", "[sorry]"),
            Peer::new(&format!("curl -sSik https://{}/503", lab.web(443)), " 503"),
            &[("dns", "http", "status")],
        ),
        service(
            "resolver-refuses",
            "servers without recursion in place of resolvers",
            "dns: { name: a.nic.test, resolvers: [primary, secondary], dnssec: false }".to_owned(),
            Peer::new(
                &format!("dig @{} a.nic.test", lab.lab.address_number(PRIMARY)),
                "status: REFUSED",
            ),
            &[("dns", "dns", "refused")],
        ),
        lossy(lab),
    ]
}

/// A resolver behind a network that loses each first datagram of a client.
fn lossy(lab: &FaultLab) -> Fault {
    let at = lab.lossy();
    let mut fault = fault(
        "resolver-loss",
        "first query lost on the way to the resolver",
        &["dns: { name: www.good.test, resolvers: [lossy], dnssec: false }".to_owned()],
        Peer::new(
            &format!("dig @{} -p {} +tries=1 +time=1 mail.good.test", at.ip(), at.port()),
            "timed out",
        ),
    );
    fault.fields = &[("attempt", "2"), ("rcode", "NOERROR")];
    fault
}

fn names(lab: &FaultLab) -> Vec<Fault> {
    let at = lab.validating();
    let mut nxdomain = fault(
        "name-missing",
        "name that does not exist",
        &[dns("gone.good.test", "[good, dot]")],
        Peer::new(&format!("dig @{at} gone.good.test"), "status: NXDOMAIN"),
    );
    nxdomain.failures = &[("dns", "dns", "nxdomain")];
    nxdomain.fields = &[("dnssec", "secure")];
    nxdomain.cause = Some("dns");
    let mut no_data = fault(
        "name-without-data",
        "name without a record of the type",
        &["dns: { name: mail.good.test, type: AAAA, resolvers: [good, dot] }".to_owned()],
        Peer::new(&format!("dig @{at} mail.good.test AAAA"), "ANSWER: 0"),
    );
    no_data.failures = &[("dns", "dns", "no_data")];
    no_data.cause = Some("dns");
    let mut looping = fault(
        "name-loop",
        "CNAME records in a loop",
        &["dns: { name: loop.insecure.test, resolvers: [lying], dnssec: false }".to_owned()],
        Peer::new(&format!("dig @{} loop.insecure.test", lab.lying()), "status: "),
    );
    looping.failures = &[("dns", "dns", "servfail")];
    looping.cause = Some("dns");
    let mut dangling = fault(
        "name-dangling",
        "CNAME record that leads to a name that does not exist",
        &[dns("dangling.good.test", "[good, dot]")],
        Peer::new(&format!("dig @{at} +short dangling.good.test"), "old.gone.test."),
    );
    dangling.failures = &[("dns", "dns", "dangling_cname")];
    dangling.fields = &[("cname_chain.0", "old.gone.test"), ("dnssec", "secure")];
    dangling.cause = Some("dns");
    let mut mistyped = fault(
        "name-mistyped",
        "mail exchanger other than the configuration expects, from the first round on",
        &["dns: { name: good.test, type: MX, resolvers: [good], answers: [\"10 mx.good.test\"] }"
            .to_owned()],
        Peer::new(&format!("dig @{at} good.test MX +short"), "10 mail.good.test."),
    );
    mistyped.failures = &[("dns", "dns", "answer_mismatch")];
    mistyped.fields = &[("error.detail", "expected 10 mx.good.test; got 10 mail.good.test")];
    mistyped.cause = Some("dns");
    let mut expected = fault(
        "name-expected",
        "answers as the configuration expects them",
        &[
            "dns: { name: good.test, type: MX, resolvers: [good], answers: [\"10 mail.good.test\"] }"
                .to_owned(),
            "dns: { name: good.test, type: TXT, resolvers: [good], answers: [\"v=spf1 -all\"] }"
                .to_owned(),
            "dns: { name: www.good.test, resolvers: [good], answers: [192.0.2.81, 192.0.2.80] }"
                .to_owned(),
        ],
        Peer::new(&format!("dig @{at} good.test TXT +short"), "v=spf1 -all"),
    );
    expected.fields = &[("attempt", "1")];
    vec![nxdomain, no_data, dangling, looping, mistyped, expected]
}

fn authority(lab: &FaultLab) -> Vec<Fault> {
    let second = lab.lab.address_number(SECONDARY);
    let closed = lab.lab.closed_addr();
    let dig = |words: String, telling| Peer::new(&format!("dig +tries=1 {words}"), telling);
    let zone = |name, title, zone: &str, peer, failures| {
        let target = format!("authority: {{ zone: {zone}, resolver: good }}");
        let mut fault = fault(name, title, &[target], peer);
        fault.failures = failures;
        fault.cause = Some("delegation");
        fault
    };
    let primary = lab.lab.address_number(PRIMARY);
    let mut keyless = zone(
        "nameserver-without-keys",
        "secondary of a signed zone that lacks its keys",
        "nokey.test",
        dig(format!("@{second} nokey.test DNSKEY +norec"), "ANSWER: 0"),
        &[("authority", "dns", "ds_without_key")],
    );
    keyless.fields = &[("nameserver", "ns2.nokey.test"), ("ok", "true")];
    keyless.cause = Some("dnssec");
    let filtered = lab.lab.address_number(FILTERED);
    let mut filtered = zone(
        "parent-filtered",
        "parent that answers resolvers, and not this host",
        "deep.filtered.test",
        Peer::new(
            &format!("dig @{filtered} +tries=1 +time=2 deep.filtered.test NS +norec"),
            "timed out",
        ),
        &[("authority", "dns", "parent_unreachable")],
    );
    filtered.targets.push(dns("www.deep.filtered.test", "[good]"));
    filtered.cause = Some("path");
    vec![
        zone(
            "lame",
            "nameserver that does not have the zone",
            "lame.test",
            dig(format!("@{second} lame.test SOA +norec"), "status: REFUSED"),
            &[("authority", "dns", "lame")],
        ),
        zone(
            "serial-lag",
            "secondary that has an old zone",
            "lag.test",
            dig(format!("@{second} lag.test SOA +norec +short"), "2019"),
            &[("authority", "dns", "serial_lag")],
        ),
        zone(
            "nameserver-closed",
            "nameserver that refuses queries",
            "dead.test",
            dig(format!("@{closed} dead.test SOA +norec"), "connection refused"),
            &[("authority", "dns", "unreachable")],
        ),
        zone(
            "delegation",
            "nameserver at the parent that the zone does not know",
            "nsdiff.test",
            dig(format!("@{primary} nsdiff.test NS +norec +short"), "ns1"),
            &[("authority", "dns", "delegation_mismatch")],
        ),
        zone(
            "glue",
            "address at the parent that the nameserver no longer has",
            "glue.test",
            dig(format!("@{primary} ns1.glue.test A +norec +short"), "198."),
            &[("authority", "dns", "glue_mismatch"), ("authority", "dns", "unreachable")],
        ),
        zone(
            "glue-missing",
            "delegation without the address of its nameserver",
            "noglue.test",
            dig(format!("@{} www.noglue.test", lab.validating()), "status: SERVFAIL"),
            &[("authority", "dns", "glue_missing")],
        ),
        keyless,
        filtered,
        split_horizon(lab),
    ]
}

/// A zone that its parent does not know, at servers that the configuration names.
fn split_horizon(lab: &FaultLab) -> Fault {
    let (first, second) = (lab.lab.address_number(PRIMARY), lab.lab.address_number(SECONDARY));
    let target = format!(
        "authority: {{ zone: corp.internal, servers: [{first}, {second}], resolver: good }}"
    );
    let mut fault = fault(
        "split-horizon",
        "internal zone that the root does not know, at servers of which one has it",
        &[target],
        Peer::new(&format!("dig +tries=1 @{second} corp.internal SOA +norec"), "status: REFUSED"),
    );
    fault.failures = &[("authority", "dns", "lame")];
    fault.fields = &[("ok", "true")];
    fault.cause = Some("delegation");
    fault
}

/// Command line of delv, which validates by itself, for a name.
pub(super) fn delv(lab: &FaultLab, name: &str) -> String {
    let anchors = lab.delv_anchors().display().to_string();
    // The other resolver does not tell the truth about this name.
    let at = if name == SHOP { lab.validating() } else { lab.lying() };
    format!("delv @{at} -a {anchors} +root=. {name}")
}
