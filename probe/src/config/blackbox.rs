//! Reads the modules of a configuration file of blackbox_exporter, as far as the kinds of targets have them.
//! Keys that are not known here are refused with their place.

#![expect(clippy::struct_field_names, reason = "the names are those of blackbox_exporter's keys")]

use super::layer::{DnsLayer, HttpLayer, PaceLayer, PingLayer, TargetLayer, TcpLayer, TlsLayer};
use super::modules::{AnswerCheck, AnswerCondition, Checks, Module};
use super::value::{DnsName, HeaderName, HeaderText, HttpMethod, Pattern, Qtype};
use crate::dns::Protocol;
use dnscribe_config::section;
use dnscribe_config::value::{Count, Name, PositiveSpan, Switch};
use dnscribe_record::named_enum;
use std::collections::BTreeMap;

section! {
    /// A configuration file of blackbox_exporter.
    BlackboxFile {
        /// Modules by name.
        named_sections modules: BTreeMap<Name, ModuleLayer> = example("{ http_2xx: { prober: http } }"),
    }
}

section! {
    /// A module.
    ModuleLayer {
        /// Prober: http, tcp, dns or icmp.
        text prober: Option<Prober> = example("http"),
        /// Time limit.
        text timeout: Option<PositiveSpan> = example("5s"),
        /// Prober http.
        section http: HttpProber,
        /// Prober tcp.
        section tcp: TcpProber,
        /// Prober dns.
        section dns: DnsProber,
        /// Prober icmp.
        section icmp: IcmpProber,
    }
}

named_enum! {
    /// A prober.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Prober: "a prober that dnscribe-probe has", "give one of" {
        /// HTTP.
        Http = "http",
        /// TCP, with or without TLS.
        Tcp = "tcp",
        /// DNS.
        Dns = "dns",
        /// ICMP echo requests.
        Icmp = "icmp",
    }
}

named_enum! {
    /// Family of addresses that is tried first.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IpProtocol: "an address family", "give one of" {
        /// IPv4.
        Ip4 = "ip4",
        /// IPv6.
        Ip6 = "ip6",
    }
}

named_enum! {
    /// Transport of DNS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DnsTransport: "a transport of DNS", "give one of" {
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
    }
}

section! {
    /// Address family of a prober.
    FamilyLayer {
        /// Family that is tried first. Accepted; the addresses are tried in the order of the resolver.
        text preferred_ip_protocol: Option<IpProtocol> = example("ip4"),
        /// Whether the other family is tried too: true.
        text ip_protocol_fallback: Option<Switch> = example("true"),
    }
}

section! {
    /// Settings of TLS.
    TlsConfigLayer {
        /// Whether certificates are not verified: false.
        text insecure_skip_verify: Option<Switch> = example("false"),
        /// Name for SNI and the certificate.
        text server_name: Option<Name> = example("shop.example.com"),
    }
}

section! {
    /// Prober http.
    HttpProber {
        /// Statuses that are good. Default: 200 to 299.
        items valid_status_codes: Option<Vec<u16>> = example("[200]"),
        /// Method: GET or HEAD.
        text method: Option<HttpMethod> = example("GET"),
        /// Headers of the request.
        map headers: BTreeMap<HeaderName, HeaderText> = example("{ Accept: application/json }"),
        /// Whether redirects are followed.
        text follow_redirects: Option<Switch> = example("true"),
        /// Whether a connection of TLS is a failure.
        text fail_if_ssl: Option<Switch> = example("false"),
        /// Whether a connection without TLS is a failure.
        text fail_if_not_ssl: Option<Switch> = example("false"),
        /// Patterns that the body must match: one.
        items fail_if_body_not_matches_regexp: Option<Vec<Pattern>> = example("[ok]"),
        /// Settings of TLS.
        section tls_config: TlsConfigLayer,
        /// Address family.
        flatten family: FamilyLayer,
    }
}

section! {
    /// Prober tcp.
    TcpProber {
        /// Whether a TLS handshake follows.
        text tls: Option<Switch> = example("true"),
        /// Settings of TLS.
        section tls_config: TlsConfigLayer,
        /// Address family.
        flatten family: FamilyLayer,
    }
}

section! {
    /// Prober dns.
    DnsProber {
        /// Name asked for.
        text query_name: Option<DnsName> = example("shop.example.com"),
        /// Type asked for. Default: ANY.
        text query_type: Option<Qtype> = example("A"),
        /// Response codes that are good. Default: NOERROR.
        items valid_rcodes: Option<Vec<Name>> = example("[NOERROR]"),
        /// Transport: udp or tcp.
        text transport_protocol: Option<DnsTransport> = example("udp"),
        /// Whether the transport is TLS.
        text dns_over_tls: Option<Switch> = example("false"),
        /// Checks of answers.
        section validate_answer_rrs: AnswerChecksLayer,
        /// Address family.
        flatten family: FamilyLayer,
    }
}

section! {
    /// Checks of answers, each as a line of a zone file.
    AnswerChecksLayer {
        /// Patterns that no answer may match.
        items fail_if_matches_regexp: Option<Vec<Pattern>> = example("[127\\.0\\.0\\.1]"),
        /// Patterns that not all answers may match.
        items fail_if_all_match_regexp: Option<Vec<Pattern>> = example("[127\\.0\\.0\\.1]"),
        /// Patterns that every answer must match.
        items fail_if_not_matches_regexp: Option<Vec<Pattern>> = example("[\"IN\\tA\\t192\\.0\\.2\"]"),
        /// Patterns that one answer must match.
        items fail_if_none_matches_regexp: Option<Vec<Pattern>> = example("[\"IN\\tA\\t192\\.0\\.2\"]"),
    }
}

section! {
    /// Prober icmp.
    IcmpProber {
        /// Address family.
        flatten family: FamilyLayer,
    }
}

/// Translates a module.
///
/// # Errors
/// It has no prober, or a setting that no kind of target has.
pub(super) fn module(layer: ModuleLayer) -> Result<Module, String> {
    let prober = layer.prober.ok_or("prober is missing: give http, tcp, dns or icmp")?;
    let pace = PaceLayer { timeout: layer.timeout, interval: None };
    match prober {
        Prober::Http => http(layer.http, pace),
        Prober::Tcp => tcp(layer.tcp, pace),
        Prober::Dns => dns(layer.dns, pace),
        Prober::Icmp => {
            layer.icmp.family.check()?;
            let ping = PingLayer { count: Some(Count(1)), pace, ..PingLayer::default() };
            Ok(Module::new(TargetLayer { ping: Some(ping), ..TargetLayer::default() }))
        }
    }
}

fn http(layer: HttpProber, pace: PaceLayer) -> Result<Module, String> {
    layer.family.check()?;
    layer.tls_config.check("http")?;
    if layer.tls_config.server_name.is_some() {
        return Err(
            "http.tls_config.server_name is not supported: put the name into the URL".into()
        );
    }
    let mut patterns = layer.fail_if_body_not_matches_regexp.unwrap_or_default();
    if patterns.len() > 1 {
        let problem = "http.fail_if_body_not_matches_regexp has several patterns: give one";
        return Err(problem.to_owned());
    }
    let is_set = |switch: Option<Switch>| switch.is_some_and(|switch| switch.0);
    let tls = match (is_set(layer.fail_if_ssl), is_set(layer.fail_if_not_ssl)) {
        (true, true) => {
            return Err("http.fail_if_ssl and fail_if_not_ssl exclude each other".into());
        }
        (true, false) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    let follows = layer.follow_redirects.is_none_or(|follow| follow.0);
    let http = HttpLayer {
        method: layer.method,
        headers: layer.headers,
        status: layer.valid_status_codes.filter(|codes| !codes.is_empty()),
        body: patterns.pop(),
        max_redirects: (!follows).then_some(0),
        pace,
        ..HttpLayer::default()
    };
    let template = TargetLayer { http: Some(http), ..TargetLayer::default() };
    Ok(Module { checks: Checks { tls, ..Checks::default() }, ..Module::new(template) })
}

fn tcp(layer: TcpProber, pace: PaceLayer) -> Result<Module, String> {
    layer.family.check()?;
    layer.tls_config.check("tcp")?;
    let template = if layer.tls.is_some_and(|tls| tls.0) {
        let server_name = layer.tls_config.server_name;
        let tls = TlsLayer { server_name, pace, ..TlsLayer::default() };
        TargetLayer { tls: Some(tls), ..TargetLayer::default() }
    } else {
        let tcp = TcpLayer { pace, ..TcpLayer::default() };
        TargetLayer { tcp: Some(tcp), ..TargetLayer::default() }
    };
    Ok(Module::new(template))
}

fn dns(layer: DnsProber, pace: PaceLayer) -> Result<Module, String> {
    layer.family.check()?;
    let name = layer.query_name.ok_or("dns.query_name is missing")?;
    let query_type = layer.query_type.unwrap_or(Qtype(hickory_proto::rr::RecordType::ANY));
    let dns = DnsLayer {
        name: Some(name),
        r#type: Some(query_type),
        rcodes: layer.valid_rcodes,
        pace,
        ..DnsLayer::default()
    };
    let protocol = match layer.transport_protocol {
        _ if layer.dns_over_tls.is_some_and(|tls| tls.0) => Protocol::Tls,
        Some(DnsTransport::Tcp) => Protocol::Tcp,
        _ => Protocol::Udp,
    };
    let AnswerChecksLayer {
        fail_if_matches_regexp,
        fail_if_all_match_regexp,
        fail_if_not_matches_regexp,
        fail_if_none_matches_regexp,
    } = layer.validate_answer_rrs;
    let conditions = [
        (fail_if_matches_regexp, AnswerCondition::AnyMatches),
        (fail_if_all_match_regexp, AnswerCondition::AllMatch),
        (fail_if_not_matches_regexp, AnswerCondition::AnyDiffers),
        (fail_if_none_matches_regexp, AnswerCondition::NoneMatches),
    ];
    let answers = conditions.into_iter().flat_map(|(patterns, fails_if)| {
        let patterns = patterns.unwrap_or_default().into_iter();
        patterns.map(move |pattern| AnswerCheck { pattern: pattern.0, fails_if })
    });
    let checks = Checks { allow_no_data: true, tls: None, answers: answers.collect() };
    let template = TargetLayer { dns: Some(dns), ..TargetLayer::default() };
    Ok(Module { template, protocol, checks })
}

impl FamilyLayer {
    fn check(&self) -> Result<(), String> {
        if self.ip_protocol_fallback.is_some_and(|fallback| !fallback.0) {
            let problem = "ip_protocol_fallback: false is not supported: give addresses as targets";
            return Err(problem.to_owned());
        }
        Ok(())
    }
}

impl TlsConfigLayer {
    fn check(&self, prober: &str) -> Result<(), String> {
        if self.insecure_skip_verify.is_some_and(|skip| skip.0) {
            return Err(format!(
                "{prober}.tls_config.insecure_skip_verify is not supported: add the server's root to trust.roots"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Sources};
    use crate::target::TargetKind;

    fn load(blackbox: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blackbox.yml");
        std::fs::write(&path, blackbox).unwrap();
        let own = directory.path().join("probes.yaml");
        let resolvers = "resolvers: { corp: \"udp://192.0.2.53\" }";
        let yaml = format!("version: 1\nmodules_file: {}\n{resolvers}\n", path.display());
        std::fs::write(&own, yaml).unwrap();
        let sources = Sources { file: Some(own), ..Sources::default() };
        Config::load(&sources).map_err(|error| error.to_string())
    }

    const FILE: &str = r#"
modules:
  http_health:
    prober: http
    timeout: 5s
    http:
      valid_status_codes: [200, 204]
      method: GET
      headers: { Accept: application/json }
      fail_if_not_ssl: true
      fail_if_body_not_matches_regexp: ["stat(us)?: ok"]
      preferred_ip_protocol: "ip4"
      tls_config: { insecure_skip_verify: false }
  tcp_tls:
    prober: tcp
    tcp: { tls: true, tls_config: { server_name: shop.example.com } }
  dns_soa:
    prober: dns
    dns:
      query_name: "example.com"
      query_type: "SOA"
      dns_over_tls: true
      valid_rcodes: [NOERROR, NXDOMAIN]
      validate_answer_rrs:
        fail_if_not_matches_regexp: ["example.com.\t300\tIN\t.*"]
  icmp: { prober: icmp, icmp: { preferred_ip_protocol: ip4 } }
"#;

    #[test]
    fn reads_modules_of_blackbox_exporter() {
        let modules = load(FILE).unwrap().modules;
        let target = |module: &str, target: &str| {
            let request = super::super::modules::TargetRequest {
                target: target.into(),
                ..Default::default()
            };
            modules.target(module, &request).unwrap()
        };
        let (http, checks) = target("http_health", "https://shop.example.com/");
        assert_eq!((http.timeout.as_secs(), checks.tls), (5, Some(true)));
        let TargetKind::Http(http) = http.kind else { panic!("not http") };
        assert_eq!(http.headers["accept"], "application/json");
        assert_eq!((http.status, http.body.unwrap().as_str()), (vec![200, 204], "stat(us)?: ok"));
        let TargetKind::Tls(tls) = target("tcp_tls", "192.0.2.10:443").0.kind else {
            panic!("not tls")
        };
        assert_eq!(tls.server_name, "shop.example.com");
        let (dns, checks) = target("dns_soa", "192.0.2.53");
        assert_eq!((dns.name.as_str(), checks.answers.len()), ("example.com SOA", 1));
        let TargetKind::Dns(dns) = dns.kind else { panic!("not dns") };
        assert_eq!((dns.resolvers[0].port, dns.rcodes.len()), (853, 2));
        assert!(
            matches!(target("icmp", "192.0.2.1").0.kind, TargetKind::Ping(ping) if ping.count == 1)
        );
    }

    #[test]
    fn refuses_what_it_does_not_have() {
        for (yaml, expected) in [
            (
                "modules:\n  x:\n    prober: grpc\n",
                "line 3, column 13: modules.x.prober: \"grpc\" is not a prober",
            ),
            (
                "modules:\n  x:\n    prober: http\n    http:\n      oauth2: {}\n",
                "line 5, column 7: modules.x.http.oauth2: unknown key",
            ),
            ("modules:\n  x: { timeout: 5s }\n", "prober is missing"),
            ("modules:\n  x: { prober: dns }\n", "dns.query_name is missing"),
        ] {
            let error = load(yaml).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
