//! Section `filters`.

use crate::pipeline::filter::{Criteria, FILTERED_STREAMS, Filter, NameSuffix, StreamFilters};
use dnscribe_analysis::lookup::Outcome;
use dnscribe_analysis::uses::UseOutcome;
use dnscribe_config::reader::{Field as _, PerStream};
use dnscribe_config::value::Name;
use dnscribe_config::{ConfigError, section, value};
use dnscribe_dns::{rcode_name, type_number};
use dnscribe_record::Stream;
use dnscribe_transaction::packet::encrypted::Prefix;
use dnscribe_transaction::pair::Status;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Largest response code: 12 bits (RFC 6891, section 6.1.3).
const MAX_RCODE: u16 = 0xFFF;

/// Bytes of a process's name that the kernel keeps.
const COMM_BYTES: usize = 15;

section! {
    /// Section `filters`.
    FiltersLayer {
        /// Criteria for the records of all streams.
        flatten general: FilterLayer,
        /// Other criteria for the records of one stream; keys that are not given here are as above.
        per_stream streams: PerStream<FilterLayer> = example("{ lookups: { exclude: { process: [healthd] } } }"),
    }
}

section! {
    /// Section `filters.streams.STREAM`, and the same keys of section `filters`.
    FilterLayer {
        /// Criteria that a record must meet to be exported.
        section include: CriteriaLayer,
        /// Criteria that a record must not meet to be exported.
        section exclude: CriteriaLayer,
    }
}

section! {
    /// Sections `filters.include` and `filters.exclude`.
    CriteriaLayer {
        /// Names that are asked for, each with all names below it.
        items qname: Option<Vec<NameSuffix>> = example("[corp.example, in-addr.arpa]"),
        /// Addresses and prefixes of clients.
        items client: Option<Vec<Prefix>> = example("[10.0.0.0/8, \"2001:db8::/32\"]"),
        /// Record types that are asked for.
        items qtype: Option<Vec<Qtype>> = example("[A, AAAA, TYPE65]"),
        /// Names of resolvers as in section `resolvers`, else their addresses.
        items resolver: Option<Vec<ResolverName>> = example("[corp-dns, 192.0.2.53]"),
        /// Statuses of transactions, outcomes of lookups and connections, and response codes.
        items status: Option<Vec<StatusName>> = example("[timeout, icmp_error, servfail]"),
        /// Names of processes (their first 15 bytes count), or paths of executables, with a slash.
        items process: Option<Vec<Name>> = example("[curl, /usr/bin/dig]"),
        /// Ids of containers, or their first digits.
        items container: Option<Vec<ContainerId>> = example("[4b6ee1d1c3c2]"),
        /// Kubernetes namespaces.
        items namespace: Option<Vec<Name>> = example("[shop, kube-system]"),
        /// Names of pods.
        items pod: Option<Vec<Name>> = example("[checkout-5d8f7c9b4-x2x7k]"),
    }
}

value! {
    /// A record type: a mnemonic, or `TYPE65280` (RFC 3597, section 5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Qtype(u16): "a record type", "one such as AAAA or TYPE65280"; type_number
}

value! {
    /// A resolver's configured name, or its address as records have it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    ResolverName(String): "a resolver", "a configured name, or an address such as 192.0.2.53";
    |text| {
        let address = text.parse().map(|address: IpAddr| address.to_canonical().to_string());
        address.ok().or_else(|| text.parse::<Name>().ok().map(|name| name.0))
    }
}

value! {
    /// How a transaction, lookup or connection ended, in lower case.
    #[derive(Clone, Debug, PartialEq, Eq)]
    StatusName(String): "a status",
        "a status such as timeout or icmp_error, an outcome such as nodata, or a response code such as SERVFAIL";
    |text| {
        let name = text.to_ascii_lowercase();
        let is_rcode = || (0..=MAX_RCODE).any(|code| rcode_name(code).eq_ignore_ascii_case(&name));
        let is_known = Status::ALL.iter().any(|status| status.name() == name)
            || Outcome::ALL.iter().any(|outcome| outcome.name() == name)
            || UseOutcome::ALL.iter().any(|outcome| outcome.name() == name)
            || is_rcode();
        is_known.then_some(name)
    }
}

value! {
    /// First hex digits of a container's id.
    #[derive(Clone, Debug, PartialEq, Eq)]
    ContainerId(String): "the beginning of a container's id", "1 to 64 hex digits of it, such as 4b6ee1d1c3c2";
    |text| {
        let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| text.to_ascii_lowercase())
    }
}

impl FilterLayer {
    fn filter(self) -> Filter {
        Filter { include: self.include.criteria(), exclude: self.exclude.criteria() }
    }
}

impl CriteriaLayer {
    fn criteria(self) -> Criteria {
        let Self { qname, client, qtype, resolver, status, process, container, namespace, pod } =
            self;
        let names = |names: Vec<Name>| names.into_iter().map(|name| name.0).collect();
        Criteria {
            qname: qname.map(|names| names.into_iter().collect()),
            client: client.map(|prefixes| prefixes.into_iter().collect()),
            qtype: qtype.map(|types| types.into_iter().map(|qtype| qtype.0).collect()),
            resolver: resolver.map(|names| names.into_iter().map(|name| name.0).collect()),
            status: status.map(|names| names.into_iter().map(|name| name.0).collect()),
            process: process
                .map(|names| names.into_iter().map(|name| comm_or_path(name.0)).collect()),
            namespace: namespace.map(names),
            pod: pod.map(names),
            container: container.map(|ids| ids.into_iter().map(|id| id.0).collect()),
        }
    }
}

/// Cuts the name of a process as the kernel does. A path stays whole.
fn comm_or_path(mut name: String) -> String {
    if !name.contains('/') {
        let end = (0..=COMM_BYTES).rev().find(|end| name.is_char_boundary(*end));
        name.truncate(end.unwrap_or_default());
    }
    name
}

/// What decides whether a criterion can be met.
struct Known<'a> {
    /// Names of resolvers by address.
    resolvers: &'a BTreeMap<IpAddr, String>,
    /// Whether pods have names.
    has_pods: bool,
}

impl Known<'_> {
    /// Refuses criteria that no record can meet.
    fn check(&self, section: &str, layer: &FilterLayer) -> Result<(), ConfigError> {
        let FilterLayer { include, exclude } = layer;
        self.check_resolvers(&format!("{section}.exclude"), exclude)?;
        let section = format!("{section}.include");
        self.check_resolvers(&section, include)?;
        let CriteriaLayer { qname, client, qtype, resolver, status, process, container, .. } =
            include;
        let (namespace, pod) = (&include.namespace, &include.pod);
        let empty = [
            ("qname", qname.as_ref().is_some_and(Vec::is_empty)),
            ("client", client.as_ref().is_some_and(Vec::is_empty)),
            ("qtype", qtype.as_ref().is_some_and(Vec::is_empty)),
            ("resolver", resolver.as_ref().is_some_and(Vec::is_empty)),
            ("status", status.as_ref().is_some_and(Vec::is_empty)),
            ("process", process.as_ref().is_some_and(Vec::is_empty)),
            ("container", container.as_ref().is_some_and(Vec::is_empty)),
            ("namespace", namespace.as_ref().is_some_and(Vec::is_empty)),
            ("pod", pod.as_ref().is_some_and(Vec::is_empty)),
        ];
        if let Some((key, _)) = empty.into_iter().find(|(_, is_empty)| *is_empty) {
            let problem = "no record matches an empty list: give a value, or leave it out";
            return ConfigError::in_section(&format!("{section}.{key}"), problem);
        }
        let of_pods = [("namespace", namespace), ("pod", pod)];
        let unknown = of_pods.into_iter().find(|(_, names)| names.is_some() && !self.has_pods);
        if let Some((key, _)) = unknown {
            let problem = "needs the names of pods, which this agent does not ask for: set kubernetes.enabled: true, and \
                           kubernetes.kubeconfig outside of a pod";
            return ConfigError::in_section(&format!("{section}.{key} (--{key})"), problem);
        }
        Ok(())
    }

    fn check_resolvers(&self, section: &str, layer: &CriteriaLayer) -> Result<(), ConfigError> {
        let problem = layer.resolver.iter().flatten().find_map(|ResolverName(name)| {
            match name.parse::<IpAddr>().map(|address| self.resolvers.get(&address)) {
                Ok(called) => {
                    called.map(|called| format!("records call {name} \"{called}\": give that name"))
                }
                Err(_) if self.resolvers.values().any(|known| known == name) => None,
                Err(_) => Some(format!(
                    "\"{name}\" is neither in section resolvers nor an address: give one of these"
                )),
            }
        });
        let section = format!("{section}.resolver (--resolver)");
        problem.map_or(Ok(()), |problem| ConfigError::in_section(&section, problem))
    }
}

/// Checks the section. `resolvers` are their names by address. `has_pods`: pods have names.
pub(super) fn resolve(
    layer: FiltersLayer,
    resolvers: &BTreeMap<IpAddr, String>,
    has_pods: bool,
) -> Result<StreamFilters, ConfigError> {
    let FiltersLayer { general, streams } = layer;
    let mut own = streams.0;
    if let Some(stream) = own.keys().find(|stream| !FILTERED_STREAMS.contains(stream)) {
        let filtered = FILTERED_STREAMS.map(Stream::name).join(", ");
        return ConfigError::in_section(
            &format!("filters.streams.{}", stream.name()),
            format!("all records of this stream are exported: filter one of {filtered}"),
        );
    }
    let known = Known { resolvers, has_pods };
    known.check("filters", &general)?;
    for (stream, layer) in &own {
        known.check(&format!("filters.streams.{}", stream.name()), layer)?;
    }
    Ok(FILTERED_STREAMS.into_iter().fold(StreamFilters::default(), |filters, stream| {
        let layer = own.remove(&stream).unwrap_or_default().over(general.clone());
        filters.with_filter(stream, layer.filter())
    }))
}
