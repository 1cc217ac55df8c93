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
        /// Whether anything is looked for; where nothing is said, if somebody wants to be told.
        #[serde(deserialize_with = "text")]
        enabled: Option<Switch>,
        /// How often an alert that goes on is told again.
        #[serde(deserialize_with = "text")]
        repeat: Option<PositiveSpan>,
        /// Where the pages are that say what to do.
        #[serde(deserialize_with = "text")]
        runbook_url: Option<Base>,
        /// When what is wrong enough.
        #[serde(deserialize_with = "section")]
        rules: RulesLayer,
        /// When what is not told.
        maintenance: Option<Vec<MaintenanceLayer>>,
    }
}

layer! {
    /// Section `detect.rules`.
    RulesLayer {
        /// See [`Rule::QueryRate`].
        #[serde(deserialize_with = "section")]
        query_rate: TimesLayer,
        /// See [`Rule::Latency`].
        #[serde(deserialize_with = "section")]
        latency: TimesLayer,
        /// See [`Rule::Nxdomain`].
        #[serde(deserialize_with = "section")]
        nxdomain: ShareLayer,
        /// See [`Rule::Servfail`].
        #[serde(deserialize_with = "section")]
        servfail: ShareLayer,
        /// See [`Rule::Timeout`].
        #[serde(deserialize_with = "section")]
        timeout: ShareLayer,
        /// See [`Rule::SuccessRatio`].
        #[serde(deserialize_with = "section")]
        success_ratio: SuccessLayer,
        /// See [`Rule::ResolverDown`].
        #[serde(deserialize_with = "section")]
        resolver_down: DownLayer,
        /// See [`Rule::ResolverFlapping`].
        #[serde(deserialize_with = "section")]
        resolver_flapping: FlappingLayer,
        /// See [`Rule::Tunnel`].
        #[serde(deserialize_with = "section")]
        tunnel: RuleLayer,
        /// See [`Rule::Dga`].
        #[serde(deserialize_with = "section")]
        dga: RuleLayer,
        /// See [`Rule::Spoofing`].
        #[serde(deserialize_with = "section")]
        spoofing: RuleLayer,
        /// See [`Rule::CachePoisoning`].
        #[serde(deserialize_with = "section")]
        cache_poisoning: RuleLayer,
        /// See [`Rule::Amplification`].
        #[serde(deserialize_with = "section")]
        amplification: RuleLayer,
        /// See [`Rule::ResolverDrift`].
        #[serde(deserialize_with = "section")]
        resolver_drift: RuleLayer,
        /// See [`Rule::ResolverBypass`].
        #[serde(deserialize_with = "section")]
        resolver_bypass: RuleLayer,
        /// See [`Rule::EncryptedBypass`].
        #[serde(deserialize_with = "section")]
        encrypted_bypass: RuleLayer,
    }
}

/// Makes the section of a rule: what every rule has, and its own thresholds.
macro_rules! rule {
    ($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? }) => {
        layer! {
            $(#[$about])*
            $name {
                /// Whether it is looked for.
                #[serde(deserialize_with = "text")]
                enabled: Option<Switch>,
                /// How long it must be away until the alert is over, or less severe.
                #[serde(deserialize_with = "text")]
                clear_for: Option<Span>,
                $($(#[$attribute])* #[serde(deserialize_with = "text")] $field: $type),*
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
        /// So many deviations from the mean.
        z_score: Option<Times>,
        /// So many times the usual.
        warning: Option<Times>,
        /// So many times the usual.
        critical: Option<Times>,
        /// Among so many queries of a minute.
        min_queries: Option<Count>,
    }
}

rule! {
    /// A rule about a share above the usual.
    ShareLayer {
        /// So many deviations from the mean.
        z_score: Option<Times>,
        /// So much above the usual.
        warning: Option<Share>,
        /// So much above the usual.
        critical: Option<Share>,
        /// Among so many queries of a minute.
        min_queries: Option<Count>,
    }
}

rule! {
    /// Section `detect.rules.success_ratio`.
    SuccessLayer {
        /// A smaller share is worth a warning.
        warning: Option<Share>,
        /// A smaller share is critical.
        critical: Option<Share>,
        /// For so long.
        #[serde(rename = "for")]
        span: Option<PositiveSpan>,
        /// Among so many queries.
        min_queries: Option<Count>,
    }
}

rule! {
    /// Section `detect.rules.resolver_down`.
    DownLayer {
        /// So many queries without an answer.
        min_queries: Option<Count>,
        /// Over so long.
        #[serde(rename = "for")]
        span: Option<Span>,
    }
}

rule! {
    /// Section `detect.rules.resolver_flapping`.
    FlappingLayer {
        /// So many returns.
        times: Option<Count>,
        /// Within so long.
        within: Option<PositiveSpan>,
    }
}

layer! {
    /// One of `detect.maintenance`.
    MaintenanceLayer {
        /// Once: its beginning.
        #[serde(deserialize_with = "text")]
        start: Option<Moment>,
        /// Once: its end.
        #[serde(deserialize_with = "text")]
        end: Option<Moment>,
        /// Weekly: the days on which it begins.
        #[serde(deserialize_with = "joined")]
        days: Option<Days>,
        /// Weekly: the time of day of its beginning, UTC.
        #[serde(deserialize_with = "text")]
        from: Option<Clock>,
        /// Weekly: the time of day of its end, UTC.
        #[serde(deserialize_with = "text")]
        to: Option<Clock>,
        /// Patterns of rules.
        #[serde(deserialize_with = "items")]
        rules: Option<Vec<Pattern>>,
        /// A pattern of the entity's resolver.
        #[serde(deserialize_with = "text")]
        resolver: Option<Pattern>,
        /// A pattern of the entity's zone.
        #[serde(deserialize_with = "text")]
        zone: Option<Pattern>,
        /// A pattern of the entity's name.
        #[serde(deserialize_with = "text")]
        qname: Option<Pattern>,
        /// A pattern of the entity's process.
        #[serde(deserialize_with = "text")]
        process_name: Option<Pattern>,
        /// A pattern of the entity's pod.
        #[serde(deserialize_with = "text")]
        pod: Option<Pattern>,
        /// A pattern of the entity's client.
        #[serde(deserialize_with = "text")]
        client_ip: Option<Pattern>,
        /// A pattern of the entity's vantage.
        #[serde(deserialize_with = "text")]
        vantage: Option<Pattern>,
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
    let SuccessLayer { warning, critical, span: length, min_queries, .. } = rules.success_ratio;
    options.success.warning = warning.map_or(options.success.warning, |share| share.0);
    options.success.critical = critical.map_or(options.success.critical, |share| share.0);
    options.success.span = span(length.map(|span| span.0), options.success.span);
    options.success.min_queries = count(min_queries, options.success.min_queries);
    let DownLayer { min_queries, span: length, .. } = rules.resolver_down;
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
