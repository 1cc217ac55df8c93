//! Section `services`: completes the targets with the defaults.

use super::client_certificate;
use super::layer::{
    AuthorityLayer, DefaultsLayer, DnsLayer, HttpLayer, Layer, PaceLayer, PingLayer, RetryLayer,
    ServiceLayer, StepLabelLayer, StepLayer, TargetLayer, TcpLayer, TlsLayer,
};
use super::value::{HeaderName, HeaderText, HostPort, ResolverUrl};
use crate::dns::Resolver;
use crate::source::Source;
use crate::target::{
    AddressFamily, AuthorityTarget, DialogueStep, DnsTarget, ExpectedAnswers, Host, HostName,
    HttpTarget, Pattern, PingTarget, Service, Target, TargetKind, TcpTarget, TlsTarget,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dnscribe_config::host::{self, RESOLV_CONF};
use dnscribe_config::reader::Placed;
use dnscribe_config::value::{BadValue, Name, Switch};
use dnscribe_config::yaml::Place;
use dnscribe_config::{ConfigError, read_secret};
use dnscribe_dns::rcode_name;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// A result whose error is one sentence.
type Checked<T> = Result<T, String>;

/// Checks all services, which are those of `file` where there is one.
///
/// # Errors
/// A target is incomplete, of no kind or of several, names a resolver that does not exist, or has the name of
/// another; so has a service.
pub(super) fn resolve(layer: &Layer, file: Option<&Path>) -> Result<Vec<Service>, ConfigError> {
    let builder = Builder::new(layer);
    let mut names = BTreeMap::new();
    let services = layer.services.iter().flatten().enumerate();
    services
        .map(|(index, Placed { place, section: service })| {
            let name = service.name.as_ref().map(|name| name.0.clone());
            let shown = name.as_ref().map_or_else(|| index.to_string(), Clone::clone);
            let fail = |(place, problem)| {
                Err(refused(file, place, format!("services, {shown}: {problem}")))
            };
            let Some(name) = name else { return fail((*place, "name is missing".to_owned())) };
            if let Some(first) = names.insert(name.clone(), *place) {
                let problem = format!(
                    "there is a service of this name in line {} too: rename one",
                    first.line
                );
                return fail((*place, problem));
            }
            builder.service(name.into(), service, *place).or_else(fail)
        })
        .collect()
}

/// Makes the error of what stands at a place of the file.
fn refused(file: Option<&Path>, Place { line, column }: Place, message: String) -> ConfigError {
    match file {
        Some(path) => ConfigError::File { path: path.to_path_buf(), line, column, message },
        None => ConfigError::Invalid(message),
    }
}

fn resolvers(layer: &BTreeMap<Name, ResolverUrl>) -> Vec<Arc<Resolver>> {
    let named = |(name, url): (&Name, &ResolverUrl)| {
        Arc::new(Resolver { name: name.0.clone(), ..url.0.clone() })
    };
    let mut resolvers: Vec<_> = layer.iter().map(named).collect();
    if resolvers.is_empty() {
        resolvers.extend(system_resolvers().into_iter().map(Arc::new));
    }
    resolvers
}

/// Largest number of echo requests of a round, each of which takes memory for the whole round.
const MAX_ECHO_REQUESTS: u32 = 1000;

/// Largest number of application protocols that are offered: more make a message that many servers refuse.
const MAX_PROTOCOLS: usize = 64;

/// Nameservers that a resolver library asks (`MAXNS` of resolv.h).
const MAX_NAMESERVERS: usize = 3;

/// Returns the nameservers of this host, each named by its address: applications ask the second one where the first is dead.
fn system_resolvers() -> Vec<Resolver> {
    let mut found = host::nameservers().unwrap_or_else(|error| {
        tracing::debug!("cannot read {RESOLV_CONF}: {error}; give resolvers in the configuration");
        Vec::new()
    });
    let mut seen = BTreeSet::new();
    found.retain(|address| seen.insert(*address));
    let named = |address: IpAddr| Resolver::udp(&address.to_string(), SocketAddr::new(address, 53));
    found.into_iter().take(MAX_NAMESERVERS).map(named).collect()
}

/// Builds targets from their layers.
#[derive(Clone)]
pub(super) struct Builder {
    defaults: DefaultsLayer,
    pub(super) resolvers: Vec<Arc<Resolver>>,
}

/// What a target measures, its interval and timeout, and its further attempts.
type Built = (TargetKind, PaceLayer, RetryLayer);

/// What is wrong, and where.
type Problem = (Place, String);

impl Builder {
    pub(super) fn new(layer: &Layer) -> Self {
        Self { defaults: layer.defaults.clone(), resolvers: resolvers(&layer.resolvers) }
    }

    fn service(
        &self,
        name: Arc<str>,
        layer: &ServiceLayer,
        place: Place,
    ) -> Result<Service, Problem> {
        let mut targets = Vec::new();
        let mut places = BTreeMap::new();
        for Placed { place, section } in layer.targets.iter().flatten() {
            let target = self.target(&name, section).map_err(|problem| (*place, problem))?;
            // Also of different kinds: alerts have the name without the kind.
            if let Some(Place { line, .. }) = places.insert(target.name.clone(), *place) {
                let problem = format!(
                    "the target in line {line} is \"{}\" too: give one of them another name, such as \
                     name: \"{} 2\"",
                    target.name, target.name
                );
                return Err((*place, problem));
            }
            targets.push(Arc::new(target));
        }
        if targets.is_empty() {
            return Err((place, "targets is missing: give at least one".to_owned()));
        }
        Ok(Service { name, targets })
    }

    pub(super) fn target(&self, service: &Arc<str>, layer: &TargetLayer) -> Checked<Target> {
        let TargetLayer { name, dns, authority, tcp, tls, http, ping } = layer;
        let kinds = [
            dns.as_ref().map(|layer| self.dns(layer)),
            authority.as_ref().map(|layer| self.authority(layer)),
            tcp.as_ref().map(|layer| self.tcp(layer)),
            tls.as_ref().map(|layer| self.tls(layer)),
            http.as_ref().map(|layer| self.http(layer)),
            ping.as_ref().map(|layer| self.ping(layer)),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(built), None) = (kinds.next(), kinds.next()) else {
            let problem = "each target is one of dns, authority, tcp, tls, http and ping";
            return Err(problem.to_owned());
        };
        let (kind, pace, retry) = built?;
        let source = pace.source_address.as_ref().or(self.defaults.source_address.as_ref());
        let kind = match source {
            Some(addresses) => {
                let source = Source::new(addresses);
                kind.with_source(source.map_err(|problem| format!("source_address: {problem}"))?)
            }
            None => kind,
        };
        // A source of its own tells a target from another one. That of all targets differs from site to site, where the
        // same target has the same name.
        let default_name = || match &pace.source_address {
            Some(_) => format!("{} from {}", kind.default_name(), kind.source()),
            None => kind.default_name(),
        };
        let name = name.as_ref().map_or_else(default_name, |name| name.0.clone());
        let defaults = &self.defaults;
        Ok(Target {
            service: Arc::clone(service),
            name,
            interval: pace.interval.unwrap_or_else(|| defaults.interval()).0,
            timeout: pace.timeout.unwrap_or_else(|| defaults.timeout()).0,
            retries: match (retry.retries, &kind) {
                (Some(retries), _) => retries.0,
                (None, TargetKind::Dns(_) | TargetKind::Authority(_)) => defaults.retries().0,
                (None, _) => 0,
            },
            kind,
        })
    }

    fn dns(&self, layer: &DnsLayer) -> Checked<Built> {
        let name = required(layer.name.clone(), "dns.name")?.0;
        let record_type = layer.r#type().0;
        let resolvers = match &layer.resolvers {
            Some(names) => {
                let is_repeated = |at: &usize| names[..*at].contains(&names[*at]);
                if let Some(at) = (1..names.len()).find(is_repeated) {
                    return Err(format!("dns.resolvers has {} twice", names[at].0));
                }
                names.iter().map(|name| self.resolver(name)).collect::<Checked<Vec<_>>>()?
            }
            None => self.resolvers.clone(),
        };
        if resolvers.is_empty() {
            return Err(NO_RESOLVER.to_owned());
        }
        let rcodes = match &layer.rcodes {
            Some(rcodes) => read_rcodes(rcodes)?,
            None => vec!["NOERROR".to_owned()],
        };
        let expected = match &layer.answers {
            Some(_) if !rcodes.iter().any(|rcode| rcode == "NOERROR") => {
                return Err("dns.answers needs NOERROR among rcodes".to_owned());
            }
            Some(answers) => {
                let answers: Vec<_> = answers.iter().map(|answer| answer.0.clone()).collect();
                let expected = ExpectedAnswers::new(record_type, &answers);
                Some(expected.map_err(|problem| format!("dns.answers: {problem}"))?)
            }
            None => None,
        };
        let require_secure = layer.require_secure().0;
        let recursion_desired = layer.recursion_desired().0;
        let dnssec = match layer.dnssec {
            Some(Switch(true)) if !recursion_desired => {
                return Err("dns.dnssec: true needs recursion_desired: true".to_owned());
            }
            None if !recursion_desired => false,
            given => given.unwrap_or_else(|| self.defaults.dnssec()).0,
        };
        if require_secure && !dnssec {
            return Err("dns.require_secure needs dnssec: true".to_owned());
        }
        let kind = DnsTarget {
            name,
            record_type,
            resolvers,
            rcodes,
            dnssec,
            require_secure,
            recursion_desired,
            expected,
        };
        Ok((TargetKind::Dns(kind), layer.pace.clone(), layer.retry.clone()))
    }

    fn authority(&self, layer: &AuthorityLayer) -> Checked<Built> {
        let zone = required(layer.zone.clone(), "authority.zone")?.0;
        let resolver = match &layer.resolver {
            Some(name) => self.resolver(name)?,
            None => self.resolvers.first().cloned().ok_or(NO_RESOLVER)?,
        };
        let kind = AuthorityTarget {
            zone,
            resolver,
            max_serial_lag: layer.max_serial_lag(),
            port: Some(layer.port())
                .filter(|port| *port > 0)
                .ok_or("authority.port must not be 0")?,
            servers: layer.servers.iter().flatten().map(|server| server.0.clone()).collect(),
            public_only: false,
        };
        Ok((TargetKind::Authority(kind), layer.pace.clone(), layer.retry.clone()))
    }

    fn tcp(&self, layer: &TcpLayer) -> Checked<Built> {
        let (name, port) = required(layer.address.clone(), "tcp.address")?.0;
        let host = self.host(name, port, layer.resolver.as_ref(), layer.address_family())?;
        let query_response = dialogue("tcp", layer.query_response.as_deref())?;
        if query_response.iter().any(|step| step.starttls) {
            return Err("tcp.query_response.starttls needs the kind tls".to_owned());
        }
        let kind = TcpTarget { host, query_response };
        Ok((TargetKind::Tcp(kind), layer.pace.clone(), layer.retry.clone()))
    }

    fn tls(&self, layer: &TlsLayer) -> Checked<Built> {
        let (name, port) = required(layer.address.clone(), "tls.address")?.0;
        let host = self.host(name, port, layer.resolver.as_ref(), layer.address_family())?;
        let server_name = layer.server_name.as_ref().map(|name| name.0.clone());
        let server_name = server_name.unwrap_or_else(|| host.name.to_string());
        check_server_name("tls", &server_name)?;
        let alpn: Vec<String> = layer.alpn.iter().flatten().map(|name| name.0.clone()).collect();
        check_alpn(&alpn)?;
        let (starttls, verify) = (layer.starttls.is_some(), layer.verify().0);
        let query_response = dialogue("tls", layer.query_response.as_deref())?;
        let begins = query_response.iter().filter(|step| step.starttls).count();
        if begins + usize::from(starttls) > 1 {
            return Err("tls.query_response, starttls: TLS begins once".to_owned());
        }
        let client = client_certificate::resolve("tls", layer.client_certificate.as_ref())?;
        let kind = TlsTarget { host, server_name, alpn, starttls, query_response, verify, client };
        Ok((TargetKind::Tls(kind), layer.pace.clone(), layer.retry.clone()))
    }

    fn http(&self, layer: &HttpLayer) -> Checked<Built> {
        let mut url = required(layer.url.clone(), "http.url")?.0;
        let mut headers = headers(layer)?;
        if let Some(authorization) = authorization(&url)? {
            headers.insert(AUTHORIZATION, authorization);
        }
        // Only URLs without a host have no user.
        let _ = (url.set_username(""), url.set_password(None));
        let method = layer.method().0;
        if method == hyper::Method::HEAD && (layer.body.is_some() || layer.body_not.is_some()) {
            return Err("http.body and body_not need the method GET or POST".to_owned());
        }
        if method != hyper::Method::POST && layer.request_body.is_some() {
            return Err("http.request_body needs the method POST".to_owned());
        }
        let family = layer.address_family();
        let connect_to = layer
            .connect_to
            .clone()
            .map(|HostPort((name, port))| self.host(name, port, layer.resolver.as_ref(), family));
        let server_name = layer.server_name.as_ref().map(|name| name.0.clone());
        server_name.iter().try_for_each(|name| check_server_name("http", name))?;
        let kind = HttpTarget {
            family,
            source: Source::default(),
            connect_to: connect_to.transpose()?,
            server_name,
            verify: layer.verify().0,
            client: client_certificate::resolve("http", layer.client_certificate.as_ref())?,
            url,
            method,
            request_body: layer.request_body.clone(),
            headers,
            resolver: layer.resolver.as_ref().map(|name| self.resolver(name)).transpose()?,
            status: read_status(layer.status.as_deref())?,
            body: layer.body.clone(),
            body_not: layer.body_not.clone(),
            response_headers: by_header(&layer.response_headers),
            response_headers_not: by_header(&layer.response_headers_not),
            response_headers_if_present: by_header(&layer.response_headers_if_present),
            max_body_bytes: layer.max_body_bytes().0,
            max_redirects: layer.max_redirects(),
            redirect_to_private: layer.redirect_to_private().0,
            redirect_to_insecure: layer.redirect_to_insecure().0,
        };
        Ok((TargetKind::Http(Box::new(kind)), layer.pace.clone(), layer.retry.clone()))
    }

    fn ping(&self, layer: &PingLayer) -> Checked<Built> {
        let name = required(layer.address.clone(), "ping.address")?.0;
        let host = self.host(name, 0, layer.resolver.as_ref(), layer.address_family())?;
        let count = u32::try_from(layer.count().0).ok();
        let count = count.filter(|count| *count <= MAX_ECHO_REQUESTS);
        let count =
            count.ok_or_else(|| format!("ping.count must be at most {MAX_ECHO_REQUESTS}"))?;
        let (max_loss_percent, ttl) = (layer.max_loss_percent().0, layer.ttl);
        if ttl == Some(0) {
            return Err("ping.ttl must be at least 1".to_owned());
        }
        let kind = PingTarget { host, count, max_loss_percent, ttl };
        Ok((TargetKind::Ping(kind), layer.pace.clone(), RetryLayer::default()))
    }

    fn host(
        &self,
        name: HostName,
        port: u16,
        resolver: Option<&Name>,
        family: AddressFamily,
    ) -> Checked<Host> {
        let resolver = resolver.map(|name| self.resolver(name)).transpose()?;
        Ok(Host { name, port, resolver, family, source: Source::default() })
    }

    fn resolver(&self, name: &Name) -> Checked<Arc<Resolver>> {
        let found = self.resolvers.iter().find(|resolver| resolver.name == name.0);
        found.cloned().ok_or_else(|| {
            let known: Vec<_> = self.resolvers.iter().map(|one| one.name.as_str()).collect();
            format!("there is no resolver \"{}\": choose from {}", name.0, known.join(", "))
        })
    }
}

/// Requires a name that a certificate can have.
fn check_server_name(kind: &str, name: &str) -> Checked<()> {
    match ServerName::try_from(name) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{kind}.server_name: {name} is not a name of a certificate")),
    }
}

/// Requires application protocols that a handshake has room for (RFC 7301, section 3.1).
fn check_alpn(protocols: &[String]) -> Checked<()> {
    if protocols.len() > MAX_PROTOCOLS {
        return Err(format!("tls.alpn: give at most {MAX_PROTOCOLS} protocols"));
    }
    match protocols.iter().find(|name| !(1..=255).contains(&name.len())) {
        Some(name) => {
            Err(format!("tls.alpn: {name} has {} bytes, 1 to 255 are allowed", name.len()))
        }
        None => Ok(()),
    }
}

fn dialogue(kind: &str, layer: Option<&[StepLayer]>) -> Checked<Vec<DialogueStep>> {
    let label = |label: &StepLabelLayer| match label {
        StepLabelLayer { name: Some(name), value: Some(value) } => {
            Ok((name.clone(), value.clone()))
        }
        _ => Err(format!("{kind}.query_response.labels: a label needs name and value")),
    };
    let step = |step: &StepLayer| {
        let labels = step.labels.iter().flatten().map(label).collect::<Checked<Vec<_>>>()?;
        if step.expect.is_none() && !labels.is_empty() {
            return Err(format!("{kind}.query_response.labels needs expect"));
        }
        Ok(DialogueStep {
            expect: step.expect.clone(),
            labels,
            send: step.send.clone(),
            starttls: step.starttls.is_some_and(|starttls| starttls.0),
        })
    };
    layer.into_iter().flatten().map(step).collect()
}

fn by_header(layer: &BTreeMap<HeaderName, Pattern>) -> Vec<(hyper::header::HeaderName, Pattern)> {
    layer.iter().map(|(name, pattern)| (name.0.clone(), pattern.clone())).collect()
}

/// Collects the configured headers of a request.
fn headers(layer: &HttpLayer) -> Checked<HeaderMap> {
    let given = layer.headers.iter().map(|(name, value)| Ok((name.0.clone(), value.0.clone())));
    let read = layer.header_files.iter().map(|(name, path)| {
        let fail = |problem: &str| format!("http.header_files, {}: {problem}", path.display());
        let text = read_secret(path).map_err(|problem| fail(&problem))?;
        let value = text.parse::<HeaderText>().map_err(|problem| fail(&problem.to_string()))?;
        Ok((name.0.clone(), value.0))
    });
    given.chain(read).collect()
}

/// Makes the header of Basic authentication (RFC 7617) of a URL's user and password.
fn authorization(url: &Url) -> Checked<Option<HeaderValue>> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let password = decode(url.password().unwrap_or_default());
    basic(&decode(url.username()), &password).map(|value| Some(value.0))
}

/// Makes the header of Basic authentication (RFC 7617).
pub(super) fn basic(user: &[u8], password: &[u8]) -> Checked<HeaderText> {
    let login = BASE64_STANDARD.encode([user, password].join(&b':'));
    format!("Basic {login}").parse().map_err(|problem: BadValue| problem.to_string())
}

const NO_RESOLVER: &str = "there is no resolver: give one in resolvers";

fn required<T>(value: Option<T>, key: &str) -> Checked<T> {
    value.ok_or_else(|| format!("{key} is missing"))
}

fn read_rcodes(rcodes: &[Name]) -> Checked<Vec<String>> {
    let names: Vec<_> = rcodes.iter().map(|rcode| rcode.0.to_uppercase()).collect();
    // RFC 6891, section 6.1.3: a code has twelve bits.
    let is_unknown = |name: &&String| (0..1 << 12).all(|code| rcode_name(code) != ***name);
    match names.iter().find(is_unknown) {
        Some(name) => Err(format!("dns.rcodes: {name} is no response code")),
        None if names.is_empty() => Err("dns.rcodes: give at least one".to_owned()),
        None => Ok(names),
    }
}

fn read_status(status: Option<&[u16]>) -> Checked<Vec<u16>> {
    match status {
        None => Ok((200..300).collect()),
        Some([]) => Err("http.status: give at least one".to_owned()),
        Some(codes) => match codes.iter().find(|code| !(100..600).contains(*code)) {
            Some(code) => Err(format!("http.status: {code} is no status of HTTP")),
            None => Ok(codes.to_vec()),
        },
    }
}

#[cfg(test)]
mod tests;
