//! Thresholds and settings of detection, from the section `detect` of the configuration.

use super::finding::Rule;
use super::maintenance::Maintenance;
use dnscribe_transaction::packet::encrypted::Prefixes;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of detection.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectOptions {
    /// Interval at which a firing alert is repeated.
    pub repeat: Duration,
    /// Base URL of the runbooks, without a trailing slash.
    pub runbook_url: String,
    /// Directory of the sink `evidence`, which alerts link to.
    pub evidence: Option<PathBuf>,
    /// Maintenance periods, during which alerts are muted.
    pub maintenance: Vec<Maintenance>,
    /// Settings that every rule has, in the order of [`Rule::ALL`].
    pub rules: [RuleOptions; Rule::ALL.len()],
    /// Thresholds of `resolver_down`.
    pub down: DownOptions,
    /// Thresholds of `resolver_flapping`.
    pub flapping: FlappingOptions,
    /// Thresholds of `success_ratio`.
    pub success: SuccessOptions,
    /// Thresholds of `no_lookup`.
    pub no_lookup: NoLookupOptions,
    /// Thresholds of `unused_answers`.
    pub unused_answers: UnusedAnswersOptions,
    /// Thresholds of `query_rate`. `warning` is a multiple of the usual rate.
    pub query_rate: AnomalyOptions,
    /// Thresholds of `latency`. `warning` and `critical` are multiples of the usual latency.
    pub latency: AnomalyOptions,
    /// Thresholds of `nxdomain`. `warning` is an absolute increase of the share.
    pub nxdomain: AnomalyOptions,
    /// Thresholds of `servfail`. `warning` and `critical` are absolute increases of the share.
    pub servfail: AnomalyOptions,
    /// Thresholds of `timeout`. `warning` and `critical` are absolute increases of the share.
    pub timeout: AnomalyOptions,
}

/// Settings that every rule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleOptions {
    /// Whether the rule is evaluated.
    pub enabled: bool,
    /// Time without a finding after which an alert is resolved, or its severity reduced.
    pub clear_for: Duration,
    /// Capture time for which an entity is observed before the rule judges it. Zero for rules
    /// without a baseline.
    pub learning: Duration,
}

/// Thresholds of `resolver_down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownOptions {
    /// Minimum number of consecutive queries without an answer.
    pub min_queries: u64,
    /// Minimum time between the first and the last of them.
    pub span: Duration,
}

/// Thresholds of `resolver_flapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlappingOptions {
    /// Minimum number of recoveries.
    pub times: u64,
    /// Time within which they happened.
    pub span: Duration,
}

/// Thresholds of `success_ratio`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessOptions {
    /// A smaller share is a warning if as much less than usual.
    pub warning: f64,
    /// A smaller share is critical then.
    pub critical: f64,
    /// Time for which every minute must be below the threshold.
    pub span: Duration,
    /// Minimum number of queries in this time.
    pub min_queries: u64,
}

/// Thresholds of `no_lookup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoLookupOptions {
    /// Minimum number of connections without a lookup.
    pub min_connections: u64,
    /// Minimum time between the first and the last of them.
    pub span: Duration,
    /// Addresses that are not judged.
    pub ignored: Prefixes,
}

/// Thresholds of `unused_answers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusedAnswersOptions {
    /// Minimum number of lookups of a name.
    pub min_lookups: u64,
    /// Minimum time since the first of them.
    pub span: Duration,
}

/// Thresholds of a value relative to its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnomalyOptions {
    /// Distance from the mean for a warning.
    pub warning: f64,
    /// Distance from the mean for a critical alert; none if absent.
    pub critical: Option<f64>,
    /// Minimum number of queries in the minute: above the usual rate, with a latency, or of those
    /// that a share counts.
    pub min_queries: u64,
}

impl DetectOptions {
    /// Returns the settings that `rule` has in common with the others.
    #[must_use]
    pub const fn rule(&self, rule: Rule) -> RuleOptions {
        self.rules[rule as usize]
    }
}

impl Default for DetectOptions {
    fn default() -> Self {
        let ratio = AnomalyOptions { warning: 0.05, critical: Some(0.25), min_queries: 30 };
        Self {
            repeat: Duration::from_mins(5),
            runbook_url: dnscribe_record::RUNBOOKS.to_owned(),
            evidence: None,
            maintenance: Vec::new(),
            rules: Rule::ALL.map(|rule| RuleOptions {
                enabled: true,
                clear_for: match rule {
                    Rule::ResolverDown => Duration::from_secs(30),
                    _ => Duration::from_mins(1),
                },
                learning: match rule {
                    // A day has its busiest and its quietest hour.
                    Rule::QueryRate => Duration::from_hours(24),
                    rule if rule.has_baseline() => Duration::from_hours(1),
                    _ => Duration::ZERO,
                },
            }),
            down: DownOptions { min_queries: 10, span: Duration::from_secs(5) },
            flapping: FlappingOptions { times: 3, span: Duration::from_mins(10) },
            success: SuccessOptions {
                warning: 0.98,
                critical: 0.9,
                span: Duration::from_mins(5),
                min_queries: 30,
            },
            no_lookup: NoLookupOptions {
                min_connections: 10,
                span: Duration::from_mins(5),
                ignored: Prefixes::default(),
            },
            unused_answers: UnusedAnswersOptions {
                min_lookups: 100,
                span: Duration::from_mins(10),
            },
            query_rate: AnomalyOptions { warning: 3.0, critical: None, min_queries: 3000 },
            latency: AnomalyOptions { warning: 2.0, critical: Some(5.0), min_queries: 60 },
            nxdomain: AnomalyOptions { warning: 0.2, critical: None, ..ratio },
            servfail: ratio,
            timeout: ratio,
        }
    }
}
