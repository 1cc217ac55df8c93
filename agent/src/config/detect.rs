//! Section `detect`: what detection is told, and whether it makes sense.

use super::ConfigError;
use super::layer::{Over, layer};
use super::shape::{items, joined, section, text};
use super::value::{
    Base, Clock, Count, Days, Moment, Pattern, PositiveSpan, Share, Span, Switch, Times,
};
use crate::detect::{DetectOptions, Maintenance, Rule, RuleOptions, UsualOptions, When};
use serde::Deserialize;
use std::time::Duration;

layer! {
    /// Section `detect`.
    DetectLayer {
        /// Whether anything is looked for; unless given, if a sink wants the stream alerts.
        #[serde(deserialize_with = "text")]
        enabled: Option<Switch> = example("true"),
        /// How often an alert that goes on is told again.
        #[serde(deserialize_with = "text")]
        repeat: Option<PositiveSpan> = default("5m"),
        /// Where the pages are that say what to do about an alert.
        #[serde(deserialize_with = "text")]
        runbook_url: Option<Base> = default("docs/runbooks"),
        /// When what is wrong enough; docs/detection.md tells of each rule.
        #[serde(deserialize_with = "section")]
        rules: RulesLayer,
        /// When what is not told: once (start, end) or weekly (days, from, to), with patterns of
        /// what it concerns. Only in a file.
        maintenance: Option<Vec<MaintenanceLayer>> = each(
            MaintenanceLayer,
            "[{ start: 2026-11-21T22:00:00Z, end: 2026-11-22T02:00:00Z, resolver: 192.0.2.* }]"
        ),
    }
}

layer! {
    /// Section `detect.rules`.
    RulesLayer {
        /// Unusually many queries; thresholds are times the usual rate.
        #[serde(deserialize_with = "section")]
        query_rate: TimesLayer = defaults(z_score = "6", warning = "3", min_queries = "300"),
        /// Unusually slow answers; thresholds are times the usual latency.
        #[serde(deserialize_with = "section")]
        latency: TimesLayer = defaults(z_score = "5", warning = "2", critical = "5", min_queries = "20"),
        /// Unusually much NXDOMAIN; thresholds are shares above the usual one.
        #[serde(deserialize_with = "section")]
        nxdomain: ShareLayer = defaults(z_score = "5", warning = "0.2", min_queries = "20"),
        /// Unusually much SERVFAIL; thresholds are shares above the usual one.
        #[serde(deserialize_with = "section")]
        servfail: ShareLayer = defaults(z_score = "5", warning = "0.05", critical = "0.25", min_queries = "20"),
        /// Unusually many queries without an answer; thresholds are shares above the usual one.
        #[serde(deserialize_with = "section")]
        timeout: ShareLayer = defaults(z_score = "5", warning = "0.05", critical = "0.25", min_queries = "20"),
        /// Too few queries that succeed.
        #[serde(deserialize_with = "section")]
        success_ratio: SuccessLayer,
        /// A resolver that does not answer.
        #[serde(deserialize_with = "section")]
        resolver_down: DownLayer = defaults(clear_for = "30s"),
        /// A resolver that goes down and comes back.
        #[serde(deserialize_with = "section")]
        resolver_flapping: FlappingLayer,
        /// Tunnels and data in names.
        #[serde(deserialize_with = "section")]
        tunnel: RuleLayer,
        /// Names made by algorithms, and attacks with random subdomains.
        #[serde(deserialize_with = "section")]
        dga: RuleLayer,
        /// Contradicting and guessed responses.
        #[serde(deserialize_with = "section")]
        spoofing: RuleLayer,
        /// Answers that could poison a cache.
        #[serde(deserialize_with = "section")]
        cache_poisoning: RuleLayer,
        /// Large answers to victims.
        #[serde(deserialize_with = "section")]
        amplification: RuleLayer,
        /// Resolvers that disagree.
        #[serde(deserialize_with = "section")]
        resolver_drift: RuleLayer,
        /// Processes that ask others than the usual resolvers.
        #[serde(deserialize_with = "section")]
        resolver_bypass: RuleLayer,
        /// Processes that go encrypted past the usual resolvers.
        #[serde(deserialize_with = "section")]
        encrypted_bypass: RuleLayer,
    }
}

/// Makes the section of a rule: what every rule has, and its own thresholds.
macro_rules! rule {
    ($(#[$about:meta])* $name:ident { $(
        $(#[doc = $doc:literal])+ $field:ident: $type:ty $(= $kind:ident($($value:tt)*))?
    ),* $(,)? }) => {
        layer! {
            $(#[$about])*
            $name {
                /// Whether it is looked for.
                #[serde(deserialize_with = "text")]
                enabled: Option<Switch> = default("true"),
                /// How long it must be away until the alert is over, or less severe.
                #[serde(deserialize_with = "text")]
                clear_for: Option<Span> = default("1m"),
                $($(#[doc = $doc])+ #[serde(deserialize_with = "text")]
                $field: $type $(= $kind($($value)*))?),*
            }
        }

        impl $name {
            fn common(&self, default: RuleOptions) -> RuleOptions {
                RuleOptions {
                    enabled: self.enabled.map_or(default.enabled, |enabled| enabled.0),
                    clear_for: self.clear_for.map_or(default.clear_for, |span| span.0),
                }
            }
        }
    };
}

rule! {
    /// A rule without thresholds of its own.
    RuleLayer {}
}

rule! {
    /// A rule about how many times the usual.
    TimesLayer {
        /// So many deviations from the mean, at least.
        z_score: Option<Times> = example("5"),
        /// So many times the usual is worth a warning.
        warning: Option<Times> = example("10"),
        /// So many times the usual is critical; never unless given.
        critical: Option<Times> = example("10"),
        /// Among so many queries of a minute, at least.
        min_queries: Option<Count> = example("20"),
    }
}

rule! {
    /// A rule about a share above the usual.
    ShareLayer {
        /// So many deviations from the mean, at least.
        z_score: Option<Times> = example("5"),
        /// So much above the usual share is worth a warning.
        warning: Option<Share> = example("0.5"),
        /// So much above the usual share is critical; never unless given.
        critical: Option<Share> = example("0.5"),
        /// Among so many queries of a minute, at least.
        min_queries: Option<Count> = example("20"),
    }
}

rule! {
    /// Section `detect.rules.success_ratio`.
    SuccessLayer {
        /// A smaller share is worth a warning.
        warning: Option<Share> = default("0.98"),
        /// A smaller share is critical.
        critical: Option<Share> = default("0.9"),
        /// For so long.
        r#for: Option<PositiveSpan> = default("5m"),
        /// Among so many queries, at least.
        min_queries: Option<Count> = default("30"),
    }
}

rule! {
    /// Section `detect.rules.resolver_down`.
    DownLayer {
        /// So many queries without an answer, one after the other.
        min_queries: Option<Count> = default("10"),
        /// Sent over at least so long.
        r#for: Option<Span> = default("5s"),
    }
}

rule! {
    /// Section `detect.rules.resolver_flapping`.
    FlappingLayer {
        /// So many returns.
        times: Option<Count> = default("3"),
        /// Within so long.
        within: Option<PositiveSpan> = default("10m"),
    }
}

layer! {
    /// One of `detect.maintenance`.
    MaintenanceLayer {
        /// Once: its beginning.
        #[serde(deserialize_with = "text")]
        start: Option<Moment> = example("2026-11-21T22:00:00Z"),
        /// Once: its end.
        #[serde(deserialize_with = "text")]
        end: Option<Moment> = example("2026-11-22T02:00:00Z"),
        /// Weekly: the days on which it begins.
        #[serde(deserialize_with = "joined")]
        days: Option<Days> = example("[sat, sun]"),
        /// Weekly: the time of day of its beginning, UTC.
        #[serde(deserialize_with = "text")]
        from: Option<Clock> = example("22:30"),
        /// Weekly: the time of day of its end, UTC.
        #[serde(deserialize_with = "text")]
        to: Option<Clock> = example("04:00"),
        /// Patterns of rules.
        #[serde(deserialize_with = "items")]
        rules: Option<Vec<Pattern>> = example("[resolver_*]"),
        /// A pattern of the entity's resolver.
        #[serde(deserialize_with = "text")]
        resolver: Option<Pattern> = example("192.0.2.*"),
        /// A pattern of the entity's zone.
        #[serde(deserialize_with = "text")]
        zone: Option<Pattern> = example("\"*.example.com\""),
        /// A pattern of the entity's name.
        #[serde(deserialize_with = "text")]
        qname: Option<Pattern> = example("www.*"),
        /// A pattern of the entity's process.
        #[serde(deserialize_with = "text")]
        process_name: Option<Pattern> = example("curl"),
        /// A pattern of the entity's pod.
        #[serde(deserialize_with = "text")]
        pod: Option<Pattern> = example("web-*"),
        /// A pattern of the entity's client.
        #[serde(deserialize_with = "text")]
        client_ip: Option<Pattern> = example("192.0.2.*"),
        /// A pattern of the entity's vantage.
        #[serde(deserialize_with = "text")]
        vantage: Option<Pattern> = example("client"),
    }
}

/// What detection is told; none where nobody wants to be told of alerts. `wanted`: whether a sink does.
pub(super) fn resolve(
    layer: DetectLayer,
    wanted: bool,
) -> Result<Option<DetectOptions>, ConfigError> {
    let default = DetectOptions::default();
    let rules = &layer.rules;
    let maintenance = layer.maintenance.unwrap_or_default().into_iter().zip(1..);
    let maintenance = maintenance.map(|(one, number)| one.resolve(number));
    let span = |given: Option<Duration>, default| given.unwrap_or(default);
    let count = |given: Option<Count>, default| given.map_or(default, |count| count.0 as u64);
    let mut options = DetectOptions {
        repeat: span(layer.repeat.map(|span| span.0), default.repeat),
        runbook_url: layer.runbook_url.map_or(default.runbook_url, |base| base.0),
        maintenance: maintenance.collect::<Result<_, _>>()?,
        rules: Rule::ALL.map(|rule| rules.common(rule, default.rules[rule as usize])),
        query_rate: rules.query_rate.resolve(default.query_rate),
        latency: rules.latency.resolve(default.latency),
        nxdomain: rules.nxdomain.resolve(default.nxdomain),
        servfail: rules.servfail.resolve(default.servfail),
        timeout: rules.timeout.resolve(default.timeout),
        ..default
    };
    let SuccessLayer { warning, critical, r#for: length, min_queries, .. } = rules.success_ratio;
    options.success.warning = warning.map_or(options.success.warning, |share| share.0);
    options.success.critical = critical.map_or(options.success.critical, |share| share.0);
    options.success.span = span(length.map(|span| span.0), options.success.span);
    options.success.min_queries = count(min_queries, options.success.min_queries);
    let DownLayer { min_queries, r#for: length, .. } = rules.resolver_down;
    options.down.min_queries = count(min_queries, options.down.min_queries);
    options.down.span = span(length.map(|span| span.0), options.down.span);
    let FlappingLayer { times, within, .. } = rules.resolver_flapping;
    options.flapping.times = count(times, options.flapping.times);
    options.flapping.span = span(within.map(|span| span.0), options.flapping.span);
    if options.success.critical > options.success.warning {
        return Err(ConfigError::SuccessRatio {
            warning: options.success.warning,
            critical: options.success.critical,
        });
    }
    Ok(layer.enabled.map_or(wanted, |enabled| enabled.0).then_some(options))
}

impl RulesLayer {
    fn common(&self, rule: Rule, default: RuleOptions) -> RuleOptions {
        match rule {
            Rule::QueryRate => self.query_rate.common(default),
            Rule::Latency => self.latency.common(default),
            Rule::Nxdomain => self.nxdomain.common(default),
            Rule::Servfail => self.servfail.common(default),
            Rule::Timeout => self.timeout.common(default),
            Rule::SuccessRatio => self.success_ratio.common(default),
            Rule::ResolverDown => self.resolver_down.common(default),
            Rule::ResolverFlapping => self.resolver_flapping.common(default),
            Rule::Tunnel => self.tunnel.common(default),
            Rule::Dga => self.dga.common(default),
            Rule::Spoofing => self.spoofing.common(default),
            Rule::CachePoisoning => self.cache_poisoning.common(default),
            Rule::Amplification => self.amplification.common(default),
            Rule::ResolverDrift => self.resolver_drift.common(default),
            Rule::ResolverBypass => self.resolver_bypass.common(default),
            Rule::EncryptedBypass => self.encrypted_bypass.common(default),
        }
    }
}

impl TimesLayer {
    fn resolve(&self, default: UsualOptions) -> UsualOptions {
        UsualOptions {
            z_score: self.z_score.map_or(default.z_score, |score| score.0),
            warning: self.warning.map_or(default.warning, |times| times.0),
            critical: self.critical.map(|times| times.0).or(default.critical),
            min_queries: self.min_queries.map_or(default.min_queries, |count| count.0 as u64),
        }
    }
}

impl ShareLayer {
    fn resolve(&self, default: UsualOptions) -> UsualOptions {
        UsualOptions {
            z_score: self.z_score.map_or(default.z_score, |score| score.0),
            warning: self.warning.map_or(default.warning, |share| share.0),
            critical: self.critical.map(|share| share.0).or(default.critical),
            min_queries: self.min_queries.map_or(default.min_queries, |count| count.0 as u64),
        }
    }
}

impl MaintenanceLayer {
    /// `number`: its place in the list, from 1.
    fn resolve(self, number: usize) -> Result<Maintenance, ConfigError> {
        let weekly = self.days.is_some() || self.from.is_some() || self.to.is_some();
        let when = match (self.start, self.end, self.from, self.to) {
            (Some(start), Some(end), ..) if !weekly && start.0 < end.0 => {
                When::Once(start.0, end.0)
            }
            (None, None, Some(from), Some(to)) if from != to => {
                let days = self.days.unwrap_or(Days::ALL);
                When::Weekly { days: days.0, from: from.0, to: to.0 }
            }
            _ => return Err(ConfigError::Maintenance { number }),
        };
        let entity = [
            ("resolver", self.resolver),
            ("zone", self.zone),
            ("qname", self.qname),
            ("process_name", self.process_name),
            ("pod", self.pod),
            ("client_ip", self.client_ip),
            ("vantage", self.vantage),
        ];
        let rules = self.rules.unwrap_or_default().into_iter().map(|pattern| pattern.0);
        let patterns = entity.into_iter().filter_map(|(name, pattern)| Some((name, pattern?.0)));
        Ok(Maintenance { when, rules: rules.collect(), entity: patterns.collect() })
    }
}
