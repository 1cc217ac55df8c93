//! Modules of `/probe`: targets that lack what the request names, of the configuration and of a file for
//! blackbox_exporter.

use super::blackbox::{self, BlackboxFile};
use super::layer::{
    AuthorityLayer, DnsLayer, HttpLayer, Layer, PaceLayer, PingLayer, TargetLayer, TcpLayer,
    TlsLayer,
};
use super::services::Builder;
use super::value::{DnsName, HostPort, HttpUrl, Qtype, ResolverUrl};
use crate::dns::{Protocol, Resolver, ResolverHost, presentation};
use crate::target::{Target, TargetKind};
use dnscribe_config::value::Count;
use dnscribe_config::{ConfigError, source};
use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Name of the service in results of `/probe`.
const SERVICE: &str = "probe";

/// A target that lacks what is measured, and checks beyond those of targets.
#[derive(Clone)]
pub struct Module {
    /// The target.
    pub template: TargetLayer,
    /// Protocol to a resolver that the request names without one.
    pub protocol: Protocol,
    /// Further checks.
    pub checks: Checks,
}

/// Checks of a module beyond those of its target.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Whether a good response without a record of the type asked for is good.
    pub allow_no_data: bool,
    /// Whether the connection must be, or must not be, one of TLS.
    pub tls: Option<bool>,
    /// Versions of HTTP that are good, as records have them; all if empty.
    pub http_versions: Vec<&'static str>,
    /// Patterns that an answer must have or must not have.
    pub answers: Vec<AnswerCheck>,
}

/// A check of answers as blackbox_exporter has it, each as a line of a zone file.
#[derive(Clone, Debug)]
pub struct AnswerCheck {
    /// The pattern.
    pub pattern: Regex,
    /// When the check fails.
    pub fails_if: AnswerCondition,
}

/// When a check of answers fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerCondition {
    /// An answer matches.
    AnyMatches,
    /// All answers match.
    AllMatch,
    /// An answer does not match.
    AnyDiffers,
    /// No answer matches.
    NoneMatches,
}

/// What a request to `/probe` says of its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRequest {
    /// Host, URL, zone, or resolver: what the module's kind measures.
    pub target: String,
    /// Name for the certificate, where the target is an address.
    pub hostname: Option<String>,
    /// Name asked for, in place of the module's.
    pub qname: Option<String>,
    /// Type asked for, in place of the module's.
    pub qtype: Option<String>,
    /// Time limit of the scrape.
    pub timeout: Option<Duration>,
}

/// All modules by name.
#[derive(Clone)]
pub struct Modules {
    by_name: BTreeMap<String, Module>,
    /// Modules of `modules_file` that cannot be used, with the reasons.
    left_out: BTreeMap<String, String>,
    builder: Builder,
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// Checks the modules of the configuration. Those of `modules` win over those of `modules_file`, and these
/// over the built-in ones.
///
/// # Errors
/// The file cannot be read, or a module of `modules` has no kind or several. Modules of the file that need what is
/// not there are left out.
pub(super) fn resolve(layer: &Layer) -> Result<Modules, ConfigError> {
    let mut by_name = built_in();
    let mut left_out = BTreeMap::new();
    if let Some(path) = &layer.modules_file {
        let file: BlackboxFile = source::file(path, |_| true)?;
        for (name, module) in file.modules {
            match blackbox::module(module) {
                Ok(module) => _ = by_name.insert(name.0, module),
                Err(why) => _ = left_out.insert(name.0, why),
            }
        }
    }
    for (name, template) in &layer.modules {
        if template.name.is_some() {
            let problem = "a module has no name of a target: remove name";
            return ConfigError::in_section(&format!("modules.{}", name.0), problem);
        }
        let module = Module::new(template.clone());
        by_name.insert(name.0.clone(), module);
    }
    left_out.retain(|name, _| !layer.modules.keys().any(|own| own.0 == *name));
    Ok(Modules { by_name, left_out, builder: Builder::new(layer) })
}

/// The modules that a new file of blackbox_exporter has and that need nothing else, with its meaning.
fn built_in() -> BTreeMap<String, Module> {
    let empty = TargetLayer::default;
    let ping = PingLayer { count: Some(Count(1)), ..PingLayer::default() };
    let templates = [
        ("http_2xx", TargetLayer { http: Some(HttpLayer::default()), ..empty() }),
        ("tcp_connect", TargetLayer { tcp: Some(TcpLayer::default()), ..empty() }),
        ("tls", TargetLayer { tls: Some(TlsLayer::default()), ..empty() }),
        ("icmp", TargetLayer { ping: Some(ping), ..empty() }),
        ("dns", TargetLayer { dns: Some(DnsLayer::default()), ..empty() }),
        ("authority", TargetLayer { authority: Some(AuthorityLayer::default()), ..empty() }),
    ];
    templates.map(|(name, template)| (name.to_owned(), Module::new(template))).into()
}

impl Module {
    /// Creates a module without further checks.
    #[must_use]
    pub fn new(template: TargetLayer) -> Self {
        Self { template, protocol: Protocol::Udp, checks: Checks::default() }
    }
}

impl Modules {
    /// Returns the modules of `modules_file` that cannot be used, with the reasons.
    pub fn left_out(&self) -> impl Iterator<Item = (&str, &str)> {
        self.left_out.iter().map(|(name, why)| (name.as_str(), why.as_str()))
    }

    /// Returns the names of the modules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Completes a module with what a request says.
    ///
    /// # Errors
    /// There is no such module, or the target is none of its kind.
    pub fn target(&self, name: &str, request: &TargetRequest) -> Result<(Target, Checks), String> {
        if let Some(why) = self.left_out.get(name) {
            return Err(format!("module \"{name}\" of modules_file cannot be used: {why}"));
        }
        let module = self.by_name.get(name).ok_or_else(|| {
            let known: Vec<_> = self.names().collect();
            format!("unknown module \"{name}\": choose from {}", known.join(", "))
        })?;
        if request.target.is_empty() {
            return Err("the parameter target is missing".to_owned());
        }
        let mut layer = module.template.clone();
        let mut resolver = None;
        let pace = if let Some(dns) = &mut layer.dns {
            resolver = Some(self.resolver(&request.target, module.protocol)?);
            complete_dns(dns, request)?
        } else if let Some(authority) = &mut layer.authority {
            authority.zone = Some(read(&request.target)?);
            &mut authority.pace
        } else if let Some(tcp) = &mut layer.tcp {
            tcp.address = Some(read::<HostPort>(&request.target)?);
            &mut tcp.pace
        } else if let Some(tls) = &mut layer.tls {
            tls.address = Some(read::<HostPort>(&request.target)?);
            if let Some(hostname) = &request.hostname {
                tls.server_name = Some(read(hostname)?);
            }
            &mut tls.pace
        } else if let Some(http) = &mut layer.http {
            complete_http(http, request)?
        } else if let Some(ping) = &mut layer.ping {
            ping.address = Some(read(&request.target)?);
            &mut ping.pace
        } else {
            return Err(format!("module {name} has no kind"));
        };
        if let Some(limit) = request.timeout {
            pace.timeout = Some(pace.timeout.map_or(limit, |own| own.0.min(limit)).into());
        }
        let mut target = self.builder.target(&SERVICE.into(), &layer)?;
        let source = target.kind.source();
        if let (TargetKind::Dns(dns), Some(mut resolver)) = (&mut target.kind, resolver) {
            Arc::make_mut(&mut resolver).source = source;
            dns.resolvers = vec![resolver];
        }
        Ok((target, module.checks.clone()))
    }

    /// Returns the resolver that a target names: a configured one, a URL, or a host with or without a port.
    fn resolver(&self, text: &str, protocol: Protocol) -> Result<Arc<Resolver>, String> {
        if let Some(known) = self.builder.resolvers.iter().find(|known| known.name == text) {
            return Ok(Arc::clone(known));
        }
        if text.contains("://") {
            return Ok(Arc::new(read::<ResolverUrl>(text)?.named()));
        }
        let (name, port) = match text.parse::<IpAddr>() {
            Ok(_) => (text, None),
            Err(_) => split_port(text),
        };
        let url = format!("{}://{}", protocol.name(), "192.0.2.1");
        let blank = Resolver::parse(&url).ok_or("a protocol without a port")?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let host = match name.parse() {
            Ok(address) => ResolverHost::Address(address),
            Err(_) => ResolverHost::Name(read::<DnsName>(name).map(|_| name.to_owned())?),
        };
        let port = port.unwrap_or(blank.port);
        Ok(Arc::new(Resolver { name: text.to_owned(), host, port, ..blank }))
    }
}

fn complete_dns<'a>(
    dns: &'a mut DnsLayer,
    request: &TargetRequest,
) -> Result<&'a mut PaceLayer, String> {
    if let Some(name) = &request.qname {
        dns.name = Some(read(name)?);
    }
    if let Some(qtype) = &request.qtype {
        dns.r#type = Some(read::<Qtype>(qtype)?);
    }
    if dns.name.is_none() {
        return Err("the module has no name to ask for: add the parameter qname".to_owned());
    }
    // The resolver comes from the request.
    dns.resolvers = None;
    Ok(&mut dns.pace)
}

fn complete_http<'a>(
    http: &'a mut HttpLayer,
    request: &TargetRequest,
) -> Result<&'a mut PaceLayer, String> {
    let target = &request.target;
    let is_url = target.starts_with("http://") || target.starts_with("https://");
    let url = if is_url { target.clone() } else { format!("http://{target}") };
    let mut url = read::<HttpUrl>(&url)?;
    if let Some(hostname) = &request.hostname {
        // The host of the URL is connected to, and asked for this name.
        let (host, port) = (url.0.host_str(), url.0.port_or_known_default());
        let (Some(host), Some(port)) = (host, port) else { return Err("no host".to_owned()) };
        http.connect_to = Some(read(&format!("{host}:{port}"))?);
        let name = read::<DnsName>(hostname)?;
        url.0.set_host(Some(&presentation(&name.0))).map_err(|error| error.to_string())?;
    }
    http.url = Some(url);
    Ok(&mut http.pace)
}

fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        None => (text, None),
    }
}

fn read<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn modules(yaml: &str) -> Result<Modules, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("version: 1\n{yaml}")).unwrap();
        let path = Some(file.path().to_path_buf());
        Config::load(&Sources { file: path, ..Sources::default() }).map(|config| config.modules)
    }

    fn request(target: &str) -> TargetRequest {
        TargetRequest { target: target.into(), ..TargetRequest::default() }
    }

    #[test]
    fn completes_built_in_modules() {
        let modules = modules("resolvers: { corp: \"udp://192.0.2.53\" }\n").unwrap();
        for (module, target, name) in [
            ("http_2xx", "shop.example.com", "http://shop.example.com/"),
            ("http_2xx", "https://shop.example.com/x", "https://shop.example.com/x"),
            ("tcp_connect", "192.0.2.10:443", "192.0.2.10:443"),
            ("tls", "shop.example.com:443", "shop.example.com:443 shop.example.com"),
            (
                "http_2xx",
                "https://shop.example.com/x?key=secret#secret",
                "https://shop.example.com/x",
            ),
            ("icmp", "192.0.2.10", "192.0.2.10"),
            ("authority", "example.com", "example.com"),
        ] {
            assert_eq!(modules.target(module, &request(target)).unwrap().0.name, name, "{module}");
        }
        let hostname = Some("shop.example.com".into());
        let request_by_name = TargetRequest { hostname, ..request("https://192.0.2.10:8443/x") };
        let (target, _) = modules.target("http_2xx", &request_by_name).unwrap();
        assert_eq!(target.name, "https://shop.example.com:8443/x via 192.0.2.10:8443");
        let TargetKind::Http(http) = target.kind else { panic!("not http") };
        assert_eq!(http.connect_to.unwrap().to_string(), "192.0.2.10:8443");
        let refused =
            |module: &str, target: &str| modules.target(module, &request(target)).unwrap_err();
        assert!(refused("nothing", "x").contains("choose from authority, dns, http_2xx"));
        assert!(refused("http_2xx", "").contains("target is missing"));
        assert!(refused("tcp_connect", "192.0.2.10").contains("not a host with a port"));
        assert!(refused("dns", "192.0.2.53").contains("parameter qname"));
    }

    #[test]
    fn dns_modules_take_the_target_as_resolver() {
        let modules = modules("resolvers: { corp: \"udp://192.0.2.53:5353\" }\n").unwrap();
        let resolver = |target: &str| {
            let qname = Some("shop.example.com".into());
            let request = TargetRequest { qname, qtype: Some("MX".into()), ..request(target) };
            let (target, _) = modules.target("dns", &request).unwrap();
            assert_eq!(target.name, "shop.example.com MX");
            let TargetKind::Dns(dns) = target.kind else { panic!("not dns") };
            let [resolver] = &*dns.resolvers else { panic!("not one resolver") };
            (resolver.protocol, format!("{:?}", resolver.host), resolver.port)
        };
        for (target, expected) in [
            ("corp", (Protocol::Udp, "Address(192.0.2.53)", 5353)),
            ("192.0.2.1", (Protocol::Udp, "Address(192.0.2.1)", 53)),
            ("192.0.2.1:54", (Protocol::Udp, "Address(192.0.2.1)", 54)),
            ("2001:db8::53", (Protocol::Udp, "Address(2001:db8::53)", 53)),
            ("[2001:db8::53]:54", (Protocol::Udp, "Address(2001:db8::53)", 54)),
            ("dns.example:54", (Protocol::Udp, "Name(\"dns.example\")", 54)),
            ("tls://192.0.2.1#dns.example", (Protocol::Tls, "Address(192.0.2.1)", 853)),
        ] {
            let (protocol, host, port) = resolver(target);
            assert_eq!((protocol, host.as_str(), port), expected, "{target}");
        }
    }

    #[test]
    fn own_modules_and_time_limits() {
        let own =
            "modules: { slow: { tcp: { timeout: 3s } }, http_2xx: { http: { status: [418] } } }\n";
        let modules = modules(own).unwrap();
        let limit = |timeout| {
            let request = TargetRequest {
                timeout: Some(Duration::from_secs(timeout)),
                ..request("192.0.2.1:1")
            };
            modules.target("slow", &request).unwrap().0.timeout.as_secs()
        };
        assert_eq!((limit(2), limit(9)), (2, 3));
        let (target, _) = modules.target("http_2xx", &request("x.example")).unwrap();
        let TargetKind::Http(http) = target.kind else { panic!("not http") };
        assert_eq!(http.status, [418]);
    }
}
