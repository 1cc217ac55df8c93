//! Section `detect`.

mod value;

use dnscribe_analysis::detect::{
    AnomalyOptions, DetectOptions, DownOptions, FlappingOptions, Maintenance, NoLookupOptions,
    Rule, RuleOptions, SuccessOptions, UnusedAnswersOptions,
};
use dnscribe_config::maintenance::{Pattern, PeriodLayer};
use dnscribe_config::value::{BaseUrl, Count, PositiveSpan, Span, Switch, show_duration};
use dnscribe_config::{ConfigError, section};
use dnscribe_transaction::packet::encrypted::Prefix;
use value::{Share, Times};

section! {
    /// Section `detect`.
    DetectLayer {
        /// Whether detection runs. Default: true if a sink gets the stream alerts.
        text enabled: Option<Switch> = example("true"),
        /// Interval at which an active alert is reported again.
        text repeat: Option<PositiveSpan> = default(DetectOptions::default().repeat),
        /// Base URL of the runbooks, which alerts link to.
        text runbook_url: Option<BaseUrl> = default(DetectOptions::default().runbook_url),
        /// Detection rules and their thresholds; docs/detection.md describes each rule.
        section rules: RulesLayer,
        /// Times at which alerts are suppressed: once (start, end) or weekly (days, from, to), for
        /// entities that match all patterns. Only in a file.
        sections maintenance: Option<Vec<MaintenanceLayer>> = each(
            MaintenanceLayer,
            "[{ start: 2026-11-21T22:00:00Z, end: 2026-11-22T02:00:00Z, resolver: 192.0.2.* }]"
        ),
    }
}

section! {
    /// Section `detect.rules`.
    RulesLayer {
        /// Far more queries than usual. Thresholds are multiples of the usual rate; min_queries is the
        /// least difference from it, in queries a minute.
        section query_rate: TimesLayer = defaults(usual_defaults(Rule::QueryRate, |options| options.query_rate)),
        /// Far slower answers than usual, and than in any minute of the last day. Thresholds are multiples of
        /// the usual latency; min_queries is the least number of answers in a minute.
        section latency: TimesLayer = defaults(usual_defaults(Rule::Latency, |options| options.latency)),
        /// Far more NXDOMAIN than usual, and than in any minute of the last day. Thresholds are added to the
        /// usual share; min_queries is the least number of NXDOMAIN in a minute.
        section nxdomain: ShareLayer = defaults(usual_defaults(Rule::Nxdomain, |options| options.nxdomain)),
        /// Far more SERVFAIL than usual, and than in any minute of the last day; or more than half. Thresholds are
        /// added to the usual share; min_queries is the least number of SERVFAIL in a minute, twice as many of a zone.
        section servfail: ShareLayer = defaults(usual_defaults(Rule::Servfail, |options| options.servfail)),
        /// Far more unanswered queries than usual, and than in any minute of the last day; or more than half.
        /// Thresholds are added to the usual share; min_queries is the least number of unanswered queries in a
        /// minute, twice as many of a zone.
        section timeout: ShareLayer = defaults(usual_defaults(Rule::Timeout, |options| options.timeout)),
        /// Fewer queries that succeed than usual, and more failures a minute than in any of the last day; or
        /// less than half.
        section success_ratio: SuccessLayer,
        /// A resolver that does not answer.
        section resolver_down: DownLayer = defaults([("clear_for", show_duration(&common_default(Rule::ResolverDown).clear_for))]),
        /// A resolver that repeatedly goes down and comes back.
        section resolver_flapping: FlappingLayer,
        /// Tunnels, and data that is carried in names.
        section tunnel: RuleLayer,
        /// Names made by an algorithm, and attacks with random subdomains.
        section dga: RuleLayer,
        /// Responses to one query that contradict each other.
        section spoofing: RuleLayer,
        /// Responses that guess the id and port of a query, to poison a cache.
        section cache_poisoning: RuleLayer,
        /// Large answers to addresses that did not ask.
        section amplification: RuleLayer,
        /// Processes that query other resolvers than the usual ones.
        section resolver_bypass: RuleLayer,
        /// Processes that use encrypted DNS at other resolvers than the usual ones.
        section encrypted_bypass: RuleLayer,
        /// Processes that keep connecting to addresses of answers that expired long ago. Needs
        /// capture.connections.
        section stale_address: RuleLayer,
        /// Processes that connect to public addresses that no lookup gave. Needs capture.connections.
        section no_lookup: NoLookupLayer,
        /// Processes that look up a name again and again, and never connect to it. Needs capture.connections.
        section unused_answers: UnusedAnswersLayer,
        /// Servers of this host that lose queries, because their receive buffer is full. Needs capture.path.
        section receive_buffer: RuleLayer,
        /// Processes whose messages the kernel of this host discards. Needs capture.path.
        section local_loss: RuleLayer,
        /// Processes that lose the second query of A and AAAA from one socket.
        section conntrack_race: RuleLayer,
        /// Processes and clients that ask for what is on a list of indicators. Needs indicators.files.
        section indicator: RuleLayer,
    }
}

/// Defaults of a rule that compares with what is usual, by key.
fn usual_defaults(
    rule: Rule,
    of: fn(DetectOptions) -> AnomalyOptions,
) -> Vec<(&'static str, String)> {
    let AnomalyOptions { warning, critical, min_queries } = of(DetectOptions::default());
    let all = [
        ("learning", Some(show_duration(&common_default(rule).learning))),
        ("warning", Some(warning.to_string())),
        ("critical", critical.map(|threshold| threshold.to_string())),
        ("min_queries", Some(min_queries.to_string())),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Defaults of the keys that every rule has.
fn common_default(rule: Rule) -> RuleOptions {
    DetectOptions::default().rule(rule)
}

section! {
    /// The keys that every rule has: the section of a rule without thresholds of its own, and a part of the others.
    RuleLayer {
        /// Whether the rule is active.
        text enabled: Option<Switch> = default(common_default(Rule::Tunnel).enabled),
        /// Time without the condition after which the alert ends or becomes less severe.
        text clear_for: Option<Span> = default(common_default(Rule::Tunnel).clear_for),
    }
}

impl RuleLayer {
    fn common(&self, default: RuleOptions) -> RuleOptions {
        RuleOptions {
            enabled: self.enabled.map_or(default.enabled, |enabled| enabled.0),
            clear_for: self.clear_for.map_or(default.clear_for, |span| span.0),
            ..default
        }
    }
}

section! {
    /// The keys that every rule has which compares with what is usual.
    LearnedRuleLayer {
        /// The keys that every rule has.
        flatten common: RuleLayer,
        /// Capture time for which a resolver, zone, process, pod or the node is observed before this rule
        /// judges it; until then the rule is learning and reports nothing. It begins anew with the agent.
        text learning: Option<Span> = default(common_default(Rule::SuccessRatio).learning),
    }
}

impl LearnedRuleLayer {
    fn common(&self, default: RuleOptions) -> RuleOptions {
        RuleOptions {
            learning: self.learning.map_or(default.learning, |span| span.0),
            ..self.common.common(default)
        }
    }
}

/// Declares the section of a rule that compares with what is usual.
macro_rules! usual_rule {
    ($(#[doc = $about:literal])* $name:ident: $threshold:ty, $warning:literal, $critical:literal, $example:literal) => {
        section! {
            $(#[doc = $about])*
            $name {
                /// The keys that every rule has which compares with what is usual.
                flatten common: LearnedRuleLayer,
                #[doc = $warning]
                text warning: Option<$threshold> = example($example),
                #[doc = $critical]
                text critical: Option<$threshold> = example($example),
                /// Least number of queries in a minute, of those that the rule counts.
                text min_queries: Option<Count> = example("20"),
            }
        }

        impl $name {
            fn thresholds(&self, default: AnomalyOptions) -> AnomalyOptions {
                AnomalyOptions {
                    warning: self.warning.map_or(default.warning, |threshold| threshold.0),
                    critical: self.critical.map(|threshold| threshold.0).or(default.critical),
                    min_queries: self.min_queries.map_or(default.min_queries, |count| count.0 as u64),
                }
            }
        }
    };
}

usual_rule! {
    /// A rule whose thresholds are multiples of what is usual.
    TimesLayer: Times,
    "Multiple of the usual value for a warning: above 1.",
    "Multiple of the usual value that is critical: above 1. Default: none.",
    "10"
}

usual_rule! {
    /// A rule whose thresholds are added to the usual share.
    ShareLayer: Share,
    "Increase over the usual share for a warning: between 0 and 1.",
    "Increase over the usual share that is critical: between 0 and 1. Default: none.",
    "0.5"
}

section! {
    /// Section `detect.rules.success_ratio`.
    SuccessLayer {
        /// The keys that every rule has which compares with what is usual.
        flatten common: LearnedRuleLayer,
        /// Share of successful queries below which a warning is reported, if it is as much below the usual
        /// share as this is below 1: between 0 and 1.
        text warning: Option<Share> = default(DetectOptions::default().success.warning),
        /// Share of successful queries below which the alert is critical: between 0 and 1.
        text critical: Option<Share> = default(DetectOptions::default().success.critical),
        /// Time for which the share must be too small.
        text r#for: Option<PositiveSpan> = default(DetectOptions::default().success.span),
        /// Least number of queries in this time.
        text min_queries: Option<Count> = default(to_count(DetectOptions::default().success.min_queries)),
    }
}

section! {
    /// Section `detect.rules.resolver_down`.
    DownLayer {
        /// The keys that every rule has.
        flatten common: RuleLayer,
        /// Number of successive queries without an answer.
        text min_queries: Option<Count> = default(to_count(DetectOptions::default().down.min_queries)),
        /// Least time between the first and the last of these queries.
        text r#for: Option<Span> = default(DetectOptions::default().down.span),
    }
}

section! {
    /// Section `detect.rules.resolver_flapping`.
    FlappingLayer {
        /// The keys that every rule has.
        flatten common: RuleLayer,
        /// Number of times that the resolver came back.
        text times: Option<Count> = default(to_count(DetectOptions::default().flapping.times)),
        /// Time in which it came back so often.
        text within: Option<PositiveSpan> = default(DetectOptions::default().flapping.span),
    }
}

section! {
    /// Section `detect.rules.no_lookup`.
    NoLookupLayer {
        /// The keys that every rule has.
        flatten common: RuleLayer,
        /// Number of connections without a lookup, within 30 to 60 minutes.
        text min_connections: Option<Count> = default(to_count(DetectOptions::default().no_lookup.min_connections)),
        /// Least time between the first and the last of them.
        text r#for: Option<Span> = default(DetectOptions::default().no_lookup.span),
        /// Addresses and prefixes that may be connected to without a lookup. Default: none.
        items ignore: Option<Vec<Prefix>> = example("[203.0.113.0/24, \"2001:db8:53::/48\"]"),
    }
}

section! {
    /// Section `detect.rules.unused_answers`.
    UnusedAnswersLayer {
        /// The keys that every rule has.
        flatten common: RuleLayer,
        /// Number of lookups of a name, within 30 to 60 minutes.
        text min_lookups: Option<Count> = default(to_count(DetectOptions::default().unused_answers.min_lookups)),
        /// Least time since the first of them.
        text r#for: Option<Span> = default(DetectOptions::default().unused_answers.span),
    }
}

/// Converts a number of options to a value of the configuration.
fn to_count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

section! {
    /// An item of `detect.maintenance`.
    MaintenanceLayer {
        /// Time of the maintenance.
        flatten period: PeriodLayer,
        /// Patterns of rules.
        items rules: Option<Vec<Pattern>> = example("[resolver_*]"),
        /// Pattern of the entity's resolver.
        text resolver: Option<Pattern> = example("192.0.2.*"),
        /// Pattern of the entity's zone.
        text zone: Option<Pattern> = example("\"*.example.com\""),
        /// Pattern of the entity's name.
        text qname: Option<Pattern> = example("www.*"),
        /// Pattern of the entity's process.
        text process: Option<Pattern> = example("curl"),
        /// Pattern of the namespace of the entity's pod.
        text namespace: Option<Pattern> = example("shop"),
        /// Pattern of the name of the entity's pod.
        text pod: Option<Pattern> = example("web-*"),
        /// Pattern of the id of the entity's container, where its pod is not known.
        text container: Option<Pattern> = example("4b6ee1d1c3c2*"),
        /// Pattern of the entity's client.
        text client_ip: Option<Pattern> = example("192.0.2.*"),
        /// Pattern of the entity's vantage.
        text vantage: Option<Pattern> = example("client"),
    }
}

/// Checks the section; returns nothing where detection does not run. `has_alerts`: a sink gets alerts.
pub(super) fn resolve(
    layer: DetectLayer,
    has_alerts: bool,
) -> Result<Option<DetectOptions>, ConfigError> {
    let (repeat, runbook_url) = (layer.repeat().0, layer.runbook_url().0);
    let default = DetectOptions::default();
    let rules = &layer.rules;
    let maintenance = layer.maintenance.unwrap_or_default().into_iter().zip(1..);
    let maintenance = maintenance.map(|(one, number)| one.resolve(number));
    let (success, down, flapping) =
        (&rules.success_ratio, &rules.resolver_down, &rules.resolver_flapping);
    let (no_lookup, unused) = (&rules.no_lookup, &rules.unused_answers);
    let options = DetectOptions {
        repeat,
        runbook_url,
        evidence: None,
        maintenance: maintenance.collect::<Result<_, _>>()?,
        rules: Rule::ALL.map(|rule| rules.common(rule, default.rule(rule))),
        query_rate: rules.query_rate.thresholds(default.query_rate),
        latency: rules.latency.thresholds(default.latency),
        nxdomain: rules.nxdomain.thresholds(default.nxdomain),
        servfail: rules.servfail.thresholds(default.servfail),
        timeout: rules.timeout.thresholds(default.timeout),
        success: SuccessOptions {
            warning: success.warning().0,
            critical: success.critical().0,
            span: success.r#for().0,
            min_queries: success.min_queries().0 as u64,
        },
        down: DownOptions { min_queries: down.min_queries().0 as u64, span: down.r#for().0 },
        flapping: FlappingOptions { times: flapping.times().0 as u64, span: flapping.within().0 },
        no_lookup: NoLookupOptions {
            min_connections: no_lookup.min_connections().0 as u64,
            span: no_lookup.r#for().0,
            ignored: no_lookup.ignore.iter().flatten().copied().collect(),
        },
        unused_answers: UnusedAnswersOptions {
            min_lookups: unused.min_lookups().0 as u64,
            span: unused.r#for().0,
        },
    };
    check_severities(&options)?;
    Ok(layer.enabled.map_or(has_alerts, |enabled| enabled.0).then_some(options))
}

/// Refuses rules whose alerts are critical before they are a warning.
fn check_severities(options: &DetectOptions) -> Result<(), ConfigError> {
    let wrong = |rule: &str, critical: f64, side: &str, warning: f64| {
        ConfigError::in_section(
            &format!("detect.rules.{rule}"),
            format!(
                "critical {critical} is {side} warning {warning}: what is critical must be worse"
            ),
        )
    };
    let SuccessOptions { warning, critical, .. } = options.success;
    if critical > warning {
        return wrong("success_ratio", critical, "above", warning);
    }
    let usual = [
        ("query_rate", options.query_rate),
        ("latency", options.latency),
        ("nxdomain", options.nxdomain),
        ("servfail", options.servfail),
        ("timeout", options.timeout),
    ];
    for (rule, AnomalyOptions { warning, critical, .. }) in usual {
        if let Some(critical) = critical.filter(|critical| *critical < warning) {
            return wrong(rule, critical, "below", warning);
        }
    }
    Ok(())
}

impl RulesLayer {
    fn common(&self, rule: Rule, default: RuleOptions) -> RuleOptions {
        match rule {
            Rule::QueryRate => self.query_rate.common.common(default),
            Rule::Latency => self.latency.common.common(default),
            Rule::Nxdomain => self.nxdomain.common.common(default),
            Rule::Servfail => self.servfail.common.common(default),
            Rule::Timeout => self.timeout.common.common(default),
            Rule::SuccessRatio => self.success_ratio.common.common(default),
            Rule::ResolverDown => self.resolver_down.common.common(default),
            Rule::ResolverFlapping => self.resolver_flapping.common.common(default),
            Rule::Tunnel => self.tunnel.common(default),
            Rule::Dga => self.dga.common(default),
            Rule::Spoofing => self.spoofing.common(default),
            Rule::CachePoisoning => self.cache_poisoning.common(default),
            Rule::Amplification => self.amplification.common(default),
            Rule::ResolverBypass => self.resolver_bypass.common(default),
            Rule::EncryptedBypass => self.encrypted_bypass.common(default),
            Rule::StaleAddress => self.stale_address.common(default),
            Rule::NoLookup => self.no_lookup.common.common(default),
            Rule::UnusedAnswers => self.unused_answers.common.common(default),
            Rule::ReceiveBuffer => self.receive_buffer.common(default),
            Rule::LocalLoss => self.local_loss.common(default),
            Rule::ConntrackRace => self.conntrack_race.common(default),
            Rule::Indicator => self.indicator.common(default),
        }
    }
}

impl MaintenanceLayer {
    /// Checks an item of the list. `number`: its place, from 1.
    fn resolve(self, number: usize) -> Result<Maintenance, ConfigError> {
        let period = self.period.resolve("detect.maintenance", number)?;
        let entity = [
            ("resolver", self.resolver),
            ("zone", self.zone),
            ("qname", self.qname),
            ("process", self.process),
            ("namespace", self.namespace),
            ("pod", self.pod),
            ("container", self.container),
            ("client_ip", self.client_ip),
            ("vantage", self.vantage),
        ];
        let rules = self.rules.unwrap_or_default().into_iter().map(|pattern| pattern.0);
        let patterns = entity.into_iter().filter_map(|(name, pattern)| Some((name, pattern?.0)));
        Ok(Maintenance { period, rules: rules.collect(), entity: patterns.collect() })
    }
}
