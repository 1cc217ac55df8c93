//! Sections `rules` and `trigger`: when alerts are raised, and which ask for measurements.

use super::value::{RuleName, Share, ZScore};
use crate::target::Contact;
use crate::verdict::{Maintenance, RuleOptions};
use dnscribe_config::maintenance::{Pattern, PeriodLayer};
use dnscribe_config::value::{BaseUrl, Count, PositiveSpan, Switch};
use dnscribe_config::{ConfigError, section};
use std::time::Duration;

section! {
    /// Section `rules`.
    RulesLayer {
        /// Number of rounds of a target in a row that must fail before an alert is raised, and must succeed
        /// before it ends. With `--once`, one round is enough.
        text rounds: Option<Count> = default(RuleOptions::default().rounds),
        /// Share of failed rounds in the window from which an alert is raised too, of three rounds or more.
        text ratio: Option<Share> = default(RuleOptions::default().ratio),
        /// Window of this share.
        text window: Option<PositiveSpan> = default(RuleOptions::default().window),
        /// Days before its expiry at which a certificate gives an alert with severity info, and so do the signatures of an
        /// answer, but not before four fifths of their lifetime have passed.
        text expiry_info_days: Option<u32> = default(RuleOptions::default().expiry_days[0]),
        /// Days before its expiry at which that alert becomes a warning.
        text expiry_warning_days: Option<u32> = default(RuleOptions::default().expiry_days[1]),
        /// Days before its expiry at which that alert becomes critical.
        text expiry_critical_days: Option<u32> = default(RuleOptions::default().expiry_days[2]),
        /// Distance of a target's time from its usual value, in standard deviations, from which it counts as
        /// slow; it must take twice as long as usual, too.
        text latency_z_score: Option<ZScore> = default(RuleOptions::default().latency_z_score),
        /// Rules that are switched off.
        items disabled: Option<Vec<RuleName>> = example("[resolver_disagreement]"),
        /// Times at which alerts are suppressed: once (start, end) or weekly (days, from, to), for services and
        /// rules that match. Only in a file. `dnscribe annotate` does it at once.
        sections maintenance: Option<Vec<MaintenanceLayer>> = each(
            MaintenanceLayer,
            "[{ start: 2026-11-21T22:00:00Z, end: 2026-11-22T02:00:00Z, service: shop }]"
        ),
        /// Interval at which an active alert is reported again.
        text repeat: Option<PositiveSpan> = default(RuleOptions::default().repeat),
        /// Base URL of the runbooks, which alerts link to.
        text runbook_url: Option<BaseUrl> = default(RuleOptions::default().runbook_url),
    }
}

section! {
    /// An item of `rules.maintenance`.
    MaintenanceLayer {
        /// Time of the maintenance.
        flatten period: PeriodLayer,
        /// Pattern of the service. Default: all of them.
        text service: Option<Pattern> = example("shop-*"),
        /// Patterns of rules. Default: all of them.
        items rules: Option<Vec<Pattern>> = example("[verdict_*]"),
    }
}

/// Checks the section.
///
/// # Errors
/// A maintenance has no time, or the days of certificates are not in order.
pub(super) fn resolve(layer: &RulesLayer) -> Result<RuleOptions, ConfigError> {
    let expiry_days =
        [layer.expiry_info_days(), layer.expiry_warning_days(), layer.expiry_critical_days()];
    if !expiry_days.is_sorted_by(|one, next| one >= next) {
        let problem = format!(
            "the days before expiry are {expiry_days:?}: an info must not come later than a warning, nor a \
             warning later than what is critical"
        );
        return ConfigError::in_section("rules", problem);
    }
    let maintenance = layer.maintenance.iter().flatten().zip(1..).map(|(one, number)| {
        Ok(Maintenance {
            period: one.period.resolve("rules.maintenance", number)?,
            service: one.service.as_ref().map(|pattern| pattern.0.clone()),
            rules: one.rules.iter().flatten().map(|pattern| pattern.0.clone()).collect(),
        })
    });
    Ok(RuleOptions {
        maintenance: maintenance.collect::<Result<_, _>>()?,
        rounds: layer.rounds().0,
        ratio: layer.ratio().0,
        window: layer.window().0,
        expiry_days,
        latency_z_score: layer.latency_z_score().0,
        disabled: layer.disabled.iter().flatten().map(|name| name.0).collect(),
        repeat: layer.repeat().0,
        runbook_url: layer.runbook_url().0,
    })
}

/// What triggers measurements, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerOptions {
    /// Whether alerts trigger measurements.
    pub enabled: bool,
    /// Most requests a minute, in the long run and at once.
    pub per_minute: u32,
    /// Least time between two requests of one entity.
    pub min_gap: Duration,
    /// Hosts that are contacted for a name that no service has.
    pub contact: Contact,
}

impl Default for TriggerOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            per_minute: 6,
            min_gap: Duration::from_mins(5),
            contact: Contact::None,
        }
    }
}

section! {
    /// Section `trigger`.
    TriggerLayer {
        /// Whether alerts on dns.alerts that name a zone, a name or a resolver trigger one round at once of
        /// what they concern, at all resolvers. Needs kafka.brokers.
        text enabled: Option<Switch> = default(TriggerOptions::default().enabled),
        /// Most such rounds a minute.
        text per_minute: Option<u32> = default(TriggerOptions::default().per_minute),
        /// Least time between two such rounds for one entity.
        text min_gap: Option<PositiveSpan> = default(TriggerOptions::default().min_gap),
        /// Hosts that are contacted for a name that no service has, which whoever owns the name chooses: none, only
        /// resolvers are asked; public, its addresses and its zone's nameservers, but for private, loopback and
        /// other special ones; or all.
        text contact: Option<Contact> = default(TriggerOptions::default().contact),
    }
}

impl TriggerLayer {
    /// Completes the section with its defaults.
    pub(super) fn resolve(&self) -> TriggerOptions {
        TriggerOptions {
            enabled: self.enabled().0,
            per_minute: self.per_minute(),
            min_gap: self.min_gap().0,
            contact: self.contact(),
        }
    }
}
