//! Reads the modules of a configuration file of blackbox_exporter, as far as the kinds of targets have them.
//! A module with a key that is not known here is refused with its place, and the others are read.

mod layer;
#[cfg(test)]
mod tests;

use super::client_certificate::ClientCertificateLayer;
use super::layer::{DnsLayer, HttpLayer, PaceLayer, PingLayer, TargetLayer, TcpLayer, TlsLayer};
use super::modules::{AnswerCheck, AnswerCondition, Checks, Module};
use super::services::basic;
use super::value::{HeaderName, HeaderText, Qtype};
use crate::dns::Protocol;
use crate::target::{AddressFamily, Pattern, SecretText};
use dnscribe_config::read_secret;
use dnscribe_config::value::{BadValue, Count, Switch};
use dnscribe_config::yaml::YamlError;
use hyper::header::AUTHORIZATION;
use layer::{
    AnswerChecksLayer, AuthorizationLayer, BasicAuthLayer, DnsProber, DnsTransport, FamilyLayer,
    HeaderCheckLayer, HttpProber, HttpVersion, IpProtocol, ModuleLayer, Prober, TcpProber,
    TlsConfigLayer,
};
use std::net::IpAddr;
use std::path::PathBuf;

pub(super) use layer::BlackboxFile;

/// Translates a module.
///
/// # Errors
/// It has no prober, a key that is not known here, or a setting that no kind of target has.
pub(super) fn module(layer: Result<ModuleLayer, YamlError>) -> Result<Module, String> {
    let layer = layer.map_err(|error| {
        format!("line {}, column {}: {error}", error.place.line, error.place.column)
    })?;
    let prober = layer.prober.ok_or("prober is missing: give http, tcp, dns or icmp")?;
    let pace = PaceLayer { timeout: layer.timeout, ..PaceLayer::default() };
    match prober {
        Prober::Http => http(layer.http, pace),
        Prober::Tcp => Ok(tcp(layer.tcp, pace)),
        Prober::Dns => dns(layer.dns, pace),
        Prober::Icmp => {
            let address_family = layer.icmp.family.resolve();
            let count = Some(Count(1));
            let ttl = layer.icmp.ttl;
            let pace = from(layer.icmp.source_ip_address, pace);
            let ping = PingLayer { count, ttl, address_family, pace, ..PingLayer::default() };
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
    let checks = (layer.fail_if_header_not_matches, layer.fail_if_header_matches);
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
        client_certificate: layer.tls_config.client(),
        server_name: layer.tls_config.server_name,
        pace,
        ..header_checks(&checks.0.unwrap_or_default(), &checks.1.unwrap_or_default())?
    };
    let template = TargetLayer { http: Some(http), ..TargetLayer::default() };
    let checks = Checks { tls, http_versions, ..Checks::default() };
    Ok(Module { checks, ..Module::new(template) })
}

/// Translates checks of headers: what must match, and what must not. The other settings are not set.
fn header_checks(
    wanted: &[HeaderCheckLayer],
    unwanted: &[HeaderCheckLayer],
) -> Result<HttpLayer, String> {
    let mut http = HttpLayer::default();
    let checks = wanted.iter().map(|check| (check, true));
    for (check, is_wanted) in checks.chain(unwanted.iter().map(|check| (check, false))) {
        let HeaderCheckLayer { header: Some(header), regexp: Some(pattern), .. } = check else {
            return Err("http.fail_if_header_matches needs header and regexp".to_owned());
        };
        let may_be_missing = check.allow_missing.is_some_and(|allow| allow.0);
        let patterns = match (is_wanted, may_be_missing) {
            (true, false) => &mut http.response_headers,
            (true, true) => &mut http.response_headers_if_present,
            (false, _) => &mut http.response_headers_not,
        };
        if patterns.insert(header.clone(), pattern.clone()).is_some() {
            return Err(format!("http: two checks of the header {}: give one", header.0));
        }
        if !is_wanted && !may_be_missing && !http.response_headers.contains_key(header) {
            // Any value will do.
            let any = "".parse().map_err(|error: BadValue| error.to_string())?;
            http.response_headers.insert(header.clone(), any);
        }
    }
    Ok(http)
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

/// Adds the address from which is measured.
fn from(source: Option<IpAddr>, mut pace: PaceLayer) -> PaceLayer {
    pace.source_address = source.map(|address| vec![address]);
    pace
}

fn tcp(layer: TcpProber, pace: PaceLayer) -> Module {
    let pace = from(layer.source_ip_address, pace);
    let address_family = layer.family.resolve();
    let query_response = layer.query_response;
    let mut steps = query_response.iter().flatten();
    let begins_tls = steps.any(|step| step.starttls.is_some_and(|starttls| starttls.0));
    let template = if begins_tls || layer.tls.is_some_and(|tls| tls.0) {
        let verify = layer.tls_config.verify();
        let client_certificate = layer.tls_config.client();
        let server_name = layer.tls_config.server_name;
        let tls = TlsLayer {
            server_name,
            query_response,
            address_family,
            verify,
            client_certificate,
            pace,
            ..TlsLayer::default()
        };
        TargetLayer { tls: Some(tls), ..TargetLayer::default() }
    } else {
        let tcp = TcpLayer { query_response, address_family, pace, ..TcpLayer::default() };
        TargetLayer { tcp: Some(tcp), ..TargetLayer::default() }
    };
    Module::new(template)
}

fn dns(layer: DnsProber, pace: PaceLayer) -> Result<Module, String> {
    if layer.family.ip_protocol_fallback.is_some_and(|fallback| !fallback.0) {
        let problem = "dns.ip_protocol_fallback: false is not supported: give resolvers by address";
        return Err(problem.to_owned());
    }
    let name = layer.query_name.ok_or("dns.query_name is missing")?;
    let query_type = layer.query_type.unwrap_or(Qtype(hickory_proto::rr::RecordType::ANY));
    let dns = DnsLayer {
        name: Some(name),
        r#type: Some(query_type),
        rcodes: layer.valid_rcodes,
        recursion_desired: layer.recursion_desired,
        pace: from(layer.source_ip_address, pace),
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

    fn client(&self) -> Option<ClientCertificateLayer> {
        let (certificate, key) = (self.cert_file.clone(), self.key_file.clone());
        let is_given = certificate.is_some() || key.is_some();
        is_given.then_some(ClientCertificateLayer { certificate, key })
    }
}
