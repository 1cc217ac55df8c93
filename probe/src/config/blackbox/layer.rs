//! The keys of a configuration file of blackbox_exporter.

#![expect(clippy::struct_field_names, reason = "the names are those of blackbox_exporter's keys")]

use crate::config::layer::StepLayer;
use crate::config::value::{DnsName, HeaderName, HeaderText, HttpMethod, Qtype};
use crate::target::{Pattern, SecretText};
use dnscribe_config::section;
use dnscribe_config::value::{Name, PositiveSpan, Switch};
use dnscribe_config::yaml::YamlError;
use dnscribe_record::named_enum;
use std::collections::BTreeMap;
use std::net::IpAddr;
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
        /// File with the certificate of the client.
        text cert_file: Option<PathBuf> = example("/etc/blackbox/client.pem"),
        /// File with its key.
        text key_file: Option<PathBuf> = example("/etc/blackbox/client.key"),
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
        /// Headers of the response that must not match.
        sections fail_if_header_matches: Option<Vec<HeaderCheckLayer>> = each(HeaderCheckLayer, "[]"),
        /// Headers of the response that must match.
        sections fail_if_header_not_matches: Option<Vec<HeaderCheckLayer>> = each(HeaderCheckLayer, "[]"),
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
    /// A check of a header.
    HeaderCheckLayer {
        /// Name of the header.
        text header: Option<HeaderName> = example("Set-Cookie"),
        /// Pattern of its value.
        text regexp: Option<Pattern> = example("Domain=\\.example\\.com"),
        /// Whether a response without the header is good. Default: false.
        text allow_missing: Option<Switch> = example("true"),
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
        /// What server and client say, line by line.
        sections query_response: Option<Vec<StepLayer>> = each(StepLayer, "[]"),
        /// Settings of TLS.
        section tls_config: TlsConfigLayer,
        /// Address of this host from which is measured.
        text source_ip_address: Option<IpAddr> = example("192.0.2.1"),
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
        /// Address of this host from which is measured.
        text source_ip_address: Option<IpAddr> = example("192.0.2.1"),
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
        /// Largest number of hops.
        text ttl: Option<u8> = example("5"),
        /// Address of this host from which is measured.
        text source_ip_address: Option<IpAddr> = example("192.0.2.1"),
        /// Address family.
        flatten family: FamilyLayer,
    }
}
