//! When something is wrong enough.

use super::finding::Rule;
use super::maintenance::Maintenance;
use std::time::Duration;

/// How detection decides.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectOptions {
    /// How often an alert that goes on is told again.
    pub repeat: Duration,
    /// Where the pages are that say what to do, without a slash at its end.
    pub runbook_url: String,
    /// When what is not told.
    pub maintenance: Vec<Maintenance>,
    /// What every rule has, in the order of [`Rule::ALL`].
    pub rules: [RuleOptions; Rule::ALL.len()],
    /// When a resolver is down.
    pub down: DownOptions,
    /// When a resolver flaps.
    pub flapping: FlappingOptions,
    /// When too few queries succeed.
    pub success: SuccessOptions,
    /// When there are unusually many or few queries. `warning`: so many times the usual rate.
    pub query_rate: UsualOptions,
    /// When answers are unusually slow. Both thresholds: so many times the usual latency.
    pub latency: UsualOptions,
    /// When there is unusually much NXDOMAIN. `warning`: so much above the usual share.
    pub nxdomain: UsualOptions,
    /// When there is unusually much SERVFAIL. Both thresholds: so much above the usual share.
    pub servfail: UsualOptions,
    /// When unusually many queries get no answer. Both thresholds: so much above the usual share.
    pub timeout: UsualOptions,
}

/// What every rule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleOptions {
    /// Whether it is looked for.
    pub enabled: bool,
    /// How long it must be away until the alert is over, or less severe.
    pub clear_for: Duration,
}

/// When a resolver is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownOptions {
    /// So many queries without an answer, one after the other.
    pub min_queries: u64,
    /// Sent over at least so long.
    pub span: Duration,
}

/// When a resolver flaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlappingOptions {
    /// So many times it was down and came back.
    pub times: u64,
    /// Within so long.
    pub span: Duration,
}

/// When too few queries succeed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessOptions {
    /// A smaller share is worth a warning.
    pub warning: f64,
    /// A smaller share is critical.
    pub critical: f64,
    /// For so long.
    pub span: Duration,
    /// Among so many queries at least.
    pub min_queries: u64,
}

/// When a value is far from what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsualOptions {
    /// So many deviations from the mean, at least.
    pub z_score: f64,
    /// So far from the mean, at least.
    pub warning: f64,
    /// So far from the mean that it is critical; never where absent.
    pub critical: Option<f64>,
    /// Among so many queries of a minute, at least.
    pub min_queries: u64,
}

impl DetectOptions {
    /// What a rule has.
    #[must_use]
    pub const fn rule(&self, rule: Rule) -> RuleOptions {
        self.rules[rule as usize]
    }
}

impl Default for DetectOptions {
    fn default() -> Self {
        let ratio =
            UsualOptions { z_score: 5.0, warning: 0.05, critical: Some(0.25), min_queries: 20 };
        Self {
            repeat: Duration::from_secs(300),
            runbook_url: "docs/runbooks".to_owned(),
            maintenance: Vec::new(),
            rules: Rule::ALL.map(|rule| RuleOptions {
                enabled: true,
                clear_for: match rule {
                    Rule::ResolverDown => Duration::from_secs(30),
                    _ => Duration::from_secs(60),
                },
            }),
            down: DownOptions { min_queries: 10, span: Duration::from_secs(5) },
            flapping: FlappingOptions { times: 3, span: Duration::from_secs(600) },
            success: SuccessOptions {
                warning: 0.98,
                critical: 0.9,
                span: Duration::from_secs(300),
                min_queries: 30,
            },
            query_rate: UsualOptions {
                z_score: 6.0,
                warning: 3.0,
                critical: None,
                min_queries: 300,
            },
            latency: UsualOptions {
                z_score: 5.0,
                warning: 2.0,
                critical: Some(5.0),
                min_queries: 20,
            },
            nxdomain: UsualOptions { warning: 0.2, critical: None, ..ratio },
            servfail: ratio,
            timeout: ratio,
        }
    }
}
