//! Reads the modules of a configuration file of blackbox_exporter, as far as the kinds of targets have them.
//! A module with a key that is not known here is refused with its place, and the others are read.

#![expect(clippy::struct_field_names, reason = "the names are those of blackbox_exporter's keys")]

use super::layer::{DnsLayer, HttpLayer, PaceLayer, PingLayer, TargetLayer, TcpLayer, TlsLayer};
use super::modules::{AnswerCheck, AnswerCondition, Checks, Module};
use super::services::basic;
use super::value::{DnsName, HeaderName, HeaderText, HttpMethod, Pattern, Qtype};
use crate::dns::Protocol;
use crate::target::{AddressFamily, SecretText};
use dnscribe_config::value::{BadValue, Count, Name, PositiveSpan, Switch};
use dnscribe_config::yaml::YamlError;
use dnscribe_config::{read_secret, section};
use dnscribe_record::named_enum;
use hyper::header::AUTHORIZATION;
use std::collections::BTreeMap;
use std::path::PathBuf;

section! {
    /// A configuration file of blackbox_exporter.
    BlackboxFile {
        /// Modules by name.
        separate_sections modules: BTreeMap<Name, Result<ModuleLayer, YamlError>> = example("{ http_2xx: { prober: http } }"),
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
        /// Family that is tried first. Default: the order of the resolver.
        text preferred_ip_protocol: Option<IpProtocol> = example("ip4"),
        /// Whether the other family is tried too.
        text ip_protocol_fallback: Option<Switch> = example("true"),
    }
}

section! {
    /// Settings of TLS.
    TlsConfigLayer {
        /// Whether certificates that are not valid are accepted.
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
        /// Versions of HTTP that are good. Default: all.
        items valid_http_versions: Option<Vec<HttpVersion>> = example("[HTTP/1.1, HTTP/2.0]"),
        /// Method: GET, HEAD or POST.
        text method: Option<HttpMethod> = example("GET"),
        /// Body of the request.
        text body: Option<SecretText> = example("{}"),
        /// Headers of the request.
        map headers: BTreeMap<HeaderName, HeaderText> = example("{ Accept: application/json }"),
        /// Whether redirects are followed.
        text follow_redirects: Option<Switch> = example("true"),
        /// Whether a connection of TLS is a failure.
        text fail_if_ssl: Option<Switch> = example("false"),
        /// Whether a connection without TLS is a failure.
        text fail_if_not_ssl: Option<Switch> = example("false"),
        /// Patterns that the body must not match.
        items fail_if_body_matches_regexp: Option<Vec<Pattern>> = example("[maintenance]"),
        /// Patterns that the body must match: one.
        items fail_if_body_not_matches_regexp: Option<Vec<Pattern>> = example("[ok]"),
        /// Settings of TLS.
        section tls_config: TlsConfigLayer,
        /// Basic authentication (RFC 7617).
        section basic_auth: BasicAuthLayer,
        /// The header Authorization.
        section authorization: AuthorizationLayer,
        /// Bearer token (RFC 6750).
        text bearer_token: Option<SecretText> = example("secret"),
        /// File with a bearer token.
        text bearer_token_file: Option<PathBuf> = example("/run/secrets/token"),
        /// Address family.
        flatten family: FamilyLayer,
    }
}

section! {
    /// Basic authentication.
    BasicAuthLayer {
        /// User.
        text username: Option<SecretText> = example("prometheus"),
        /// File with the user.
        text username_file: Option<PathBuf> = example("/run/secrets/user"),
        /// Password.
        text password: Option<SecretText> = example("secret"),
        /// File with the password.
        text password_file: Option<PathBuf> = example("/run/secrets/password"),
    }
}

section! {
    /// The header Authorization.
    AuthorizationLayer {
        /// Scheme. Default: Bearer.
        text r#type: Option<Name> = example("Bearer"),
        /// What follows the scheme.
        text credentials: Option<SecretText> = example("secret"),
        /// File with what follows the scheme.
        text credentials_file: Option<PathBuf> = example("/run/secrets/token"),
    }
}

named_enum! {
    /// Version of HTTP.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum HttpVersion: "a version of HTTP that dnscribe-probe has", "give one of" {
        /// HTTP/1.0.
        Http10 = "HTTP/1.0",
        /// HTTP/1.1.
        Http11 = "HTTP/1.1",
        /// HTTP/2.
        Http2 = "HTTP/2.0",
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
        /// Whether the server is to recurse: true.
        text recursion_desired: Option<Switch> = example("true"),
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
/// It has no prober, a key that is not known here, or a setting that no kind of target has.
pub(super) fn module(layer: Result<ModuleLayer, YamlError>) -> Result<Module, String> {
    let layer = layer.map_err(|error| {
        format!("line {}, column {}: {error}", error.place.line, error.place.column)
    })?;
    let prober = layer.prober.ok_or("prober is missing: give http, tcp, dns or icmp")?;
    let pace = PaceLayer { timeout: layer.timeout, interval: None };
    match prober {
        Prober::Http => http(layer.http, pace),
        Prober::Tcp => Ok(tcp(layer.tcp, pace)),
        Prober::Dns => dns(layer.dns, pace),
        Prober::Icmp => {
            let address_family = layer.icmp.family.resolve();
            let count = Some(Count(1));
            let ping = PingLayer { count, address_family, pace, ..PingLayer::default() };
            Ok(Module::new(TargetLayer { ping: Some(ping), ..TargetLayer::default() }))
        }
    }
}

fn http(layer: HttpProber, pace: PaceLayer) -> Result<Module, String> {
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
    let versions = layer.valid_http_versions.iter().flatten().map(|version| match version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    });
    let http_versions = versions.collect();
    let mut headers = layer.headers;
    let bearer = AuthorizationLayer {
        credentials: layer.bearer_token,
        credentials_file: layer.bearer_token_file,
        ..AuthorizationLayer::default()
    };
    let logins = [
        layer.basic_auth.header()?,
        layer.authorization.header("http.authorization.credentials")?,
        bearer.header("http.bearer_token")?,
    ];
    let mut logins = logins.into_iter().flatten();
    headers.extend(logins.next().map(|login| (HeaderName(AUTHORIZATION), login)));
    if logins.next().is_some() {
        let problem = "http.basic_auth, authorization and bearer_token exclude each other";
        return Err(problem.to_owned());
    }
    let unwanted = layer.fail_if_body_matches_regexp.unwrap_or_default();
    let http = HttpLayer {
        method: layer.method,
        headers,
        request_body: layer.body,
        body_not: any_of(&unwanted)?,
        status: layer.valid_status_codes.filter(|codes| !codes.is_empty()),
        body: patterns.pop(),
        max_redirects: (!follows).then_some(0),
        address_family: layer.family.resolve(),
        verify: layer.tls_config.verify(),
        server_name: layer.tls_config.server_name,
        pace,
        ..HttpLayer::default()
    };
    let template = TargetLayer { http: Some(http), ..TargetLayer::default() };
    let checks = Checks { tls, http_versions, ..Checks::default() };
    Ok(Module { checks, ..Module::new(template) })
}

/// Joins patterns to one that matches where any of them does; `None` if there are none.
fn any_of(patterns: &[Pattern]) -> Result<Option<Pattern>, String> {
    let parts: Vec<String> = patterns.iter().map(|one| format!("(?:{})", one.0.as_str())).collect();
    let joined = || parts.join("|").parse().map_err(|error: BadValue| error.to_string());
    (!parts.is_empty()).then(joined).transpose()
}

/// Returns a text that is given itself or as a file.
fn given(
    key: &str,
    text: Option<SecretText>,
    file: Option<PathBuf>,
) -> Result<Option<String>, String> {
    match (text, file) {
        (Some(_), Some(_)) => Err(format!("{key} and {key}_file exclude each other")),
        (Some(text), None) => Ok(Some(text.0)),
        (None, Some(path)) => {
            let fail = |problem| format!("{key}_file, {}: {problem}", path.display());
            read_secret(&path).map(Some).map_err(fail)
        }
        (None, None) => Ok(None),
    }
}

impl BasicAuthLayer {
    fn header(self) -> Result<Option<HeaderText>, String> {
        let user = given("http.basic_auth.username", self.username, self.username_file)?;
        let password = given("http.basic_auth.password", self.password, self.password_file)?;
        if user.is_none() && password.is_none() {
            return Ok(None);
        }
        let [user, password] = [user, password].map(Option::unwrap_or_default);
        basic(user.as_bytes(), password.as_bytes()).map(Some)
    }
}

impl AuthorizationLayer {
    fn header(self, key: &str) -> Result<Option<HeaderText>, String> {
        let scheme = self.r#type.map_or_else(|| "Bearer".to_owned(), |scheme| scheme.0);
        let Some(text) = given(key, self.credentials, self.credentials_file)? else {
            return Ok(None);
        };
        let value = format!("{scheme} {text}").parse();
        value.map(Some).map_err(|problem: BadValue| format!("{key}: {problem}"))
    }
}

fn tcp(layer: TcpProber, pace: PaceLayer) -> Module {
    let address_family = layer.family.resolve();
    let template = if layer.tls.is_some_and(|tls| tls.0) {
        let verify = layer.tls_config.verify();
        let server_name = layer.tls_config.server_name;
        let tls = TlsLayer { server_name, address_family, verify, pace, ..TlsLayer::default() };
        TargetLayer { tls: Some(tls), ..TargetLayer::default() }
    } else {
        let tcp = TcpLayer { address_family, pace, ..TcpLayer::default() };
        TargetLayer { tcp: Some(tcp), ..TargetLayer::default() }
    };
    Module::new(template)
}

fn dns(layer: DnsProber, pace: PaceLayer) -> Result<Module, String> {
    if layer.family.ip_protocol_fallback.is_some_and(|fallback| !fallback.0) {
        let problem = "dns.ip_protocol_fallback: false is not supported: give resolvers by address";
        return Err(problem.to_owned());
    }
    if layer.recursion_desired.is_some_and(|desired| !desired.0) {
        let problem = "dns.recursion_desired: false is not supported: the module `authority` asks nameservers";
        return Err(problem.to_owned());
    }
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
    let answers = answers.collect();
    let checks = Checks { allow_no_data: true, answers, ..Checks::default() };
    let template = TargetLayer { dns: Some(dns), ..TargetLayer::default() };
    Ok(Module { template, protocol, checks })
}

impl FamilyLayer {
    fn resolve(&self) -> Option<AddressFamily> {
        let falls_back = self.ip_protocol_fallback.is_none_or(|fallback| fallback.0);
        match (self.preferred_ip_protocol, falls_back) {
            (None, true) => None,
            (Some(IpProtocol::Ip4), true) => Some(AddressFamily::PreferIpv4),
            (Some(IpProtocol::Ip6), true) => Some(AddressFamily::PreferIpv6),
            (Some(IpProtocol::Ip4), false) => Some(AddressFamily::Ipv4),
            // The default of blackbox_exporter is ip6.
            (Some(IpProtocol::Ip6) | None, false) => Some(AddressFamily::Ipv6),
        }
    }
}

impl TlsConfigLayer {
    fn verify(&self) -> Option<Switch> {
        self.insecure_skip_verify.map(|skip| Switch(!skip.0))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::modules::TargetRequest;
    use crate::config::{Config, Sources};
    use crate::target::{AddressFamily, TargetKind};

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
    tcp: { tls: true, ip_protocol_fallback: false, tls_config: { server_name: shop.example.com, insecure_skip_verify: true } }
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
            let request = TargetRequest { target: target.into(), ..Default::default() };
            modules.target(module, &request).unwrap()
        };
        let (http, checks) = target("http_health", "https://shop.example.com/");
        assert_eq!((http.timeout.as_secs(), checks.tls), (5, Some(true)));
        let TargetKind::Http(http) = http.kind else { panic!("not http") };
        assert_eq!(http.headers["accept"], "application/json");
        assert_eq!((http.family, http.verify), (AddressFamily::PreferIpv4, true));
        assert_eq!((http.status, http.body.unwrap().as_str()), (vec![200, 204], "stat(us)?: ok"));
        let TargetKind::Tls(tls) = target("tcp_tls", "192.0.2.10:443").0.kind else {
            panic!("not tls")
        };
        assert_eq!((tls.server_name.as_str(), tls.verify), ("shop.example.com", false));
        assert_eq!(tls.host.family, AddressFamily::Ipv6);
        let (dns, checks) = target("dns_soa", "192.0.2.53");
        assert_eq!((dns.name.as_str(), checks.answers.len()), ("example.com SOA", 1));
        let TargetKind::Dns(dns) = dns.kind else { panic!("not dns") };
        assert_eq!((dns.resolvers[0].port, dns.rcodes.len()), (853, 2));
        assert!(
            matches!(target("icmp", "192.0.2.1").0.kind, TargetKind::Ping(ping) if ping.count == 1)
        );
    }

    #[test]
    fn requests_have_logins_and_bodies() {
        let file = r#"
modules:
  post: { prober: http, http: { method: POST, body: '{"a": 1}', valid_http_versions: [HTTP/1.1, HTTP/2.0],
    basic_auth: { username: me, password: hunter2 }, fail_if_body_matches_regexp: [sorry, "^a|b$"] } }
  token: { prober: http, http: { authorization: { type: Token, credentials: hunter3 } } }
  bearer: { prober: http, http: { bearer_token: hunter4 } }
"#;
        let config = load(file).unwrap();
        let shown = format!("{config:?}");
        let target = |module: &str| {
            let request = TargetRequest { target: "shop.example.com".into(), ..Default::default() };
            let (target, checks) = config.modules.target(module, &request).unwrap();
            let TargetKind::Http(http) = target.kind else { panic!("not http") };
            (http, checks)
        };
        let (post, checks) = target("post");
        assert_eq!(post.headers["authorization"], "Basic bWU6aHVudGVyMg==");
        assert_eq!(post.request_body.unwrap().0, r#"{"a": 1}"#);
        assert_eq!(checks.http_versions, ["1.1", "2"]);
        let unwanted = post.body_not.unwrap();
        assert!(
            unwanted.is_match("so sorry") && unwanted.is_match("ab") && !unwanted.is_match("ba")
        );
        assert_eq!(target("token").0.headers["authorization"], "Token hunter3");
        assert_eq!(target("bearer").0.headers["authorization"], "Bearer hunter4");
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn leaves_out_modules_that_need_more_than_it_has() {
        for (yaml, expected) in [
            (
                "modules:\n  x:\n    prober: grpc\n",
                "line 3, column 13: prober: \"grpc\" is not a prober",
            ),
            (
                "modules:\n  x:\n    prober: http\n    http:\n      oauth2: {}\n",
                "line 5, column 7: http.oauth2: unknown key",
            ),
            (
                "modules:\n  x: { prober: dns, dns: { query_name: a.example, ip_protocol_fallback: false } }\n",
                "dns.ip_protocol_fallback: false is not supported",
            ),
            (
                "modules:\n  x: { prober: dns, dns: { query_name: a.example, recursion_desired: false } }\n",
                "dns.recursion_desired: false is not supported",
            ),
            (
                "modules:\n  x: { prober: http, http: { bearer_token: a, basic_auth: { username: b } } }\n",
                "exclude each other",
            ),
            (
                "modules:\n  x: { prober: http, http: { basic_auth: { password_file: /none } } }\n",
                "http.basic_auth.password_file, /none: ",
            ),
            (
                "modules:\n  x: { prober: http, http: { valid_http_versions: [HTTP/3] } }\n",
                "HTTP/3",
            ),
            ("modules:\n  x: { timeout: 5s }\n", "prober is missing"),
            ("modules:\n  x: { prober: dns }\n", "dns.query_name is missing"),
        ] {
            let modules = load(&format!("{yaml}  y: {{ prober: icmp }}\n")).unwrap().modules;
            let request = TargetRequest { target: "192.0.2.1".into(), ..Default::default() };
            let why = modules.target("x", &request).unwrap_err();
            assert!(why.contains("module \"x\"") && why.contains(expected), "{why}");
            assert!(modules.target("y", &request).is_ok());
        }
        assert!(load("modules: []\n").is_err());
    }
}
