//! State of the alerts: which must be sent to Alertmanager, and when.
//!
//! Alertmanager forgets an alert that is not repeated, and identifies alerts by their labels,
//! including the severity: an alert whose severity changes ends under its old labels and begins
//! under the new ones.

use super::alert::AlertRecord;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) const MAX_ALERTS: usize = 10_000;

/// The end of an alert is sent this many times before the alert is forgotten, because an
/// Alertmanager may be restarting.
const END_REPEATS: u32 = 4;

/// Key of an alert: its id and severity.
pub(super) type Key = (String, String);

struct HeldAlert {
    alert: AlertRecord,
    ended: Option<String>,
    due: Instant,
    end_repeats: u32,
    /// Records of the alert that Alertmanager has not accepted yet.
    unsettled: u64,
}

/// The alerts to send, by id and severity.
pub(super) struct AlertState {
    alerts: BTreeMap<Key, HeldAlert>,
    resend: Duration,
}

impl AlertState {
    /// Creates an empty state. A firing alert is sent again after `resend`.
    pub(super) fn new(resend: Duration) -> Self {
        Self { alerts: BTreeMap::new(), resend }
    }

    pub(super) fn has_capacity_for(&self, alert: &AlertRecord) -> bool {
        self.alerts.len() < MAX_ALERTS || self.alerts.contains_key(&key(alert))
    }

    /// Adds an alert record. Ends the alerts with the same id and another severity.
    pub(super) fn add(&mut self, alert: AlertRecord, now: Instant) {
        let key = key(&alert);
        let ended = (!alert.is_firing()).then(|| alert.ended().to_owned());
        let over = ended.clone().unwrap_or_else(|| alert.ts.clone());
        let others = (alert.alert_id.clone(), String::new())..;
        for ((id, severity), held) in self.alerts.range_mut(others) {
            if *id != alert.alert_id {
                break;
            }
            if *severity != alert.severity && held.ended.is_none() {
                held.ended = Some(over.clone());
                held.due = now;
            }
        }
        let unsettled = self.alerts.get(&key).map_or(0, |held| held.unsettled) + 1;
        self.alerts.insert(key, HeldAlert { alert, ended, due: now, end_repeats: 0, unsettled });
    }

    /// The alerts to send at `now`, at most `most`, longest waiting first.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<Key> {
        let mut due: Vec<_> = self.alerts.iter().filter(|(_, held)| held.due <= now).collect();
        due.sort_by_key(|(_, held)| held.due);
        due.into_iter().take(most).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.alerts.values().map(|held| held.due).min()
    }

    /// An alert, and its end if it has ended.
    pub(super) fn get(&self, key: &Key) -> Option<(&AlertRecord, Option<&str>)> {
        let held = self.alerts.get(key)?;
        Some((&held.alert, held.ended.as_deref()))
    }

    /// Notes that Alertmanager has accepted these alerts. Returns the number of records delivered
    /// thereby.
    pub(super) fn mark_sent(&mut self, keys: &[Key], now: Instant) -> u64 {
        let mut settled = 0;
        for key in keys {
            let Some(held) = self.alerts.get_mut(key) else { continue };
            settled += std::mem::take(&mut held.unsettled);
            held.due = now + self.resend;
            if held.ended.is_some() {
                held.end_repeats += 1;
                if held.end_repeats >= END_REPEATS {
                    self.alerts.remove(key);
                }
            }
        }
        settled
    }

    /// Removes alerts that Alertmanager rejects. Returns the number of records lost.
    pub(super) fn remove(&mut self, keys: &[Key]) -> u64 {
        let gone = keys.iter().filter_map(|key| self.alerts.remove(key));
        gone.map(|held| held.unsettled).sum()
    }

    /// Removes all alerts. Returns the number of records lost.
    pub(super) fn remove_all(&mut self) -> u64 {
        std::mem::take(&mut self.alerts).values().map(|held| held.unsettled).sum()
    }

    pub(super) fn firing(&self) -> usize {
        self.alerts.values().filter(|held| held.ended.is_none()).count()
    }

    /// Number of alerts with records that were not sent yet.
    pub(super) fn waiting(&self) -> usize {
        self.alerts.values().filter(|held| held.unsettled > 0).count()
    }
}

fn key(alert: &AlertRecord) -> Key {
    (alert.alert_id.clone(), alert.severity.clone())
}

#[cfg(test)]
mod tests {
    use super::super::alert::tests::alert;
    use super::*;
    use serde_json::json;

    const RESEND: Duration = Duration::from_mins(1);

    fn key(severity: &str) -> Key {
        ("a1".into(), severity.into())
    }

    #[test]
    fn repeats_firing_alerts() {
        let (mut state, start) = (AlertState::new(RESEND), Instant::now());
        state.add(alert(&json!({})), start);
        state.add(alert(&json!({})), start);
        let due = state.due(start, 10);
        assert_eq!(due, [key("critical")]);
        assert_eq!(state.mark_sent(&due, start), 2, "both records arrived with one post");
        assert!(state.due(start + RESEND / 2, 10).is_empty());
        assert_eq!(state.next_due(), Some(start + RESEND));
        let due = state.due(start + RESEND, 10);
        assert_eq!(due, [key("critical")]);
        assert_eq!(
            state.mark_sent(&due, start + RESEND),
            0,
            "sent again, with no record of its own"
        );
    }

    #[test]
    fn sends_the_end_of_an_alert_several_times() {
        let (mut state, mut now) = (AlertState::new(RESEND), Instant::now());
        let ended = "2026-11-20T07:31:00Z";
        state.add(alert(&json!({})), now);
        state.add(alert(&json!({ "state": "resolved", "ended": ended })), now);
        assert_eq!((state.firing(), state.waiting()), (0, 1));
        assert_eq!(state.get(&key("critical")).unwrap().1, Some(ended));
        for _ in 0..END_REPEATS {
            let due = state.due(now, 10);
            assert_eq!(due.len(), 1);
            state.mark_sent(&due, now);
            now += RESEND;
        }
        assert!(state.due(now, 10).is_empty() && state.next_due().is_none());
    }

    #[test]
    fn ends_the_alert_when_its_severity_changes() {
        let (mut state, now) = (AlertState::new(RESEND), Instant::now());
        state.add(alert(&json!({ "severity": "warning" })), now);
        state.mark_sent(&[key("warning")], now);
        state.add(alert(&json!({ "alert_id": "a2" })), now);
        state.add(alert(&json!({})), now);
        assert!(state.get(&key("warning")).unwrap().1.is_some(), "the old one is over");
        assert!(state.get(&key("critical")).unwrap().1.is_none());
        assert_eq!(state.due(now, 10).len(), 3);
        state.add(alert(&json!({ "state": "resolved" })), now);
        assert_eq!(state.firing(), 1, "a2 goes on");
    }

    #[test]
    fn limits_the_number_of_alerts() {
        let (mut state, now) = (AlertState::new(RESEND), Instant::now());
        let with_id = |id: &str| alert(&json!({ "alert_id": id }));
        for number in 0..MAX_ALERTS {
            let alert = with_id(&format!("{number:05}"));
            assert!(state.has_capacity_for(&alert));
            state.add(alert, now);
        }
        assert!(!state.has_capacity_for(&with_id("one more")));
        assert!(state.has_capacity_for(&with_id("00000")), "it is there already");
        state.add(with_id("00000"), now);
        let first = ("00000".to_owned(), "critical".to_owned());
        assert_eq!(state.remove(&[first]), 2);
        assert_eq!(state.remove_all(), MAX_ALERTS as u64 - 1);
        assert_eq!(state.waiting(), 0);
    }
}
