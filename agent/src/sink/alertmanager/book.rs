//! State of the alerts: which must be sent to Alertmanager, and when.
//!
//! Alertmanager forgets an alert that is not repeated, and identifies alerts by their labels,
//! including the severity: an alert whose severity changes ends under its old labels and begins
//! under the new ones.

use super::alert::Told;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most alerts in the state.
pub(super) const MOST: usize = 10_000;

/// The end of an alert is sent this many times before the alert is forgotten, because an
/// Alertmanager may be restarting.
const FAREWELLS: u32 = 4;

/// Key of an alert: its id and severity.
pub(super) type Key = (String, String);

struct Held {
    told: Told,
    /// When the alert ended, if it did.
    ended: Option<String>,
    /// When to send it next.
    due: Instant,
    /// How often its end was sent.
    farewells: u32,
    /// Records of the alert that Alertmanager has not accepted yet.
    unsettled: u64,
}

/// The alerts to send, by id and severity.
pub(super) struct Book {
    held: BTreeMap<Key, Held>,
    resend: Duration,
}

impl Book {
    /// Creates an empty state. A firing alert is sent again after `resend`.
    pub(super) fn new(resend: Duration) -> Self {
        Self { held: BTreeMap::new(), resend }
    }

    /// Returns whether the record can be added.
    pub(super) fn has_room_for(&self, told: &Told) -> bool {
        self.held.len() < MOST || self.held.contains_key(&key(told))
    }

    /// Adds an alert record. Ends the alerts with the same id and another severity.
    pub(super) fn take(&mut self, told: Told, now: Instant) {
        let key = key(&told);
        let ended = (!told.is_firing()).then(|| told.ended().to_owned());
        let over = ended.clone().unwrap_or_else(|| told.decided().to_owned());
        let others = (told.alert_id.clone(), String::new())..;
        for ((id, severity), held) in self.held.range_mut(others) {
            if *id != told.alert_id {
                break;
            }
            if *severity != told.severity && held.ended.is_none() {
                held.ended = Some(over.clone());
                held.due = now;
            }
        }
        let unsettled = self.held.get(&key).map_or(0, |held| held.unsettled) + 1;
        self.held.insert(key, Held { told, ended, due: now, farewells: 0, unsettled });
    }

    /// The alerts to send at `now`, at most `most`, longest waiting first.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<Key> {
        let mut due: Vec<_> = self.held.iter().filter(|(_, held)| held.due <= now).collect();
        due.sort_by_key(|(_, held)| held.due);
        due.into_iter().take(most).map(|(key, _)| key.clone()).collect()
    }

    /// When the next alert is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.due).min()
    }

    /// An alert, and its end if it has ended.
    pub(super) fn get(&self, key: &Key) -> Option<(&Told, Option<&str>)> {
        let held = self.held.get(key)?;
        Some((&held.told, held.ended.as_deref()))
    }

    /// Notes that Alertmanager has accepted these alerts. Returns the number of records delivered
    /// thereby.
    pub(super) fn sent(&mut self, keys: &[Key], now: Instant) -> u64 {
        let mut settled = 0;
        for key in keys {
            let Some(held) = self.held.get_mut(key) else { continue };
            settled += std::mem::take(&mut held.unsettled);
            held.due = now + self.resend;
            if held.ended.is_some() {
                held.farewells += 1;
                if held.farewells >= FAREWELLS {
                    self.held.remove(key);
                }
            }
        }
        settled
    }

    /// Removes alerts that Alertmanager rejects. Returns the number of records lost.
    pub(super) fn give_up(&mut self, keys: &[Key]) -> u64 {
        let gone = keys.iter().filter_map(|key| self.held.remove(key));
        gone.map(|held| held.unsettled).sum()
    }

    /// Removes all alerts. Returns the number of records lost.
    pub(super) fn give_all_up(&mut self) -> u64 {
        std::mem::take(&mut self.held).values().map(|held| held.unsettled).sum()
    }

    /// Number of firing alerts.
    pub(super) fn firing(&self) -> usize {
        self.held.values().filter(|held| held.ended.is_none()).count()
    }

    /// Number of alerts with records that were not sent yet.
    pub(super) fn waiting(&self) -> usize {
        self.held.values().filter(|held| held.unsettled > 0).count()
    }
}

fn key(told: &Told) -> Key {
    (told.alert_id.clone(), told.severity.clone())
}

#[cfg(test)]
mod tests {
    use super::super::alert::tests::told;
    use super::*;
    use serde_json::json;

    const RESEND: Duration = Duration::from_secs(60);

    fn key(severity: &str) -> Key {
        ("a1".into(), severity.into())
    }

    #[test]
    fn what_goes_on_is_told_again() {
        let (mut book, start) = (Book::new(RESEND), Instant::now());
        book.take(told(&json!({})), start);
        book.take(told(&json!({})), start);
        let due = book.due(start, 10);
        assert_eq!(due, [key("critical")]);
        assert_eq!(book.sent(&due, start), 2, "both records arrived with one post");
        assert!(book.due(start + RESEND / 2, 10).is_empty());
        assert_eq!(book.next_due(), Some(start + RESEND));
        let due = book.due(start + RESEND, 10);
        assert_eq!(due, [key("critical")]);
        assert_eq!(book.sent(&due, start + RESEND), 0, "told again, with no record of its own");
    }

    #[test]
    fn what_is_over_is_told_some_times_and_forgotten() {
        let (mut book, mut now) = (Book::new(RESEND), Instant::now());
        let ended = "2026-11-20T07:31:00Z";
        book.take(told(&json!({})), now);
        book.take(told(&json!({ "state": "resolved", "ended": ended })), now);
        assert_eq!((book.firing(), book.waiting()), (0, 1));
        assert_eq!(book.get(&key("critical")).unwrap().1, Some(ended));
        for _ in 0..FAREWELLS {
            let due = book.due(now, 10);
            assert_eq!(due.len(), 1);
            book.sent(&due, now);
            now += RESEND;
        }
        assert!(book.due(now, 10).is_empty() && book.next_due().is_none());
    }

    #[test]
    fn another_severity_is_another_alert() {
        let (mut book, now) = (Book::new(RESEND), Instant::now());
        book.take(told(&json!({ "severity": "warning" })), now);
        book.sent(&[key("warning")], now);
        book.take(told(&json!({ "alert_id": "a2" })), now);
        book.take(told(&json!({})), now);
        assert!(book.get(&key("warning")).unwrap().1.is_some(), "the old one is over");
        assert!(book.get(&key("critical")).unwrap().1.is_none());
        assert_eq!(book.due(now, 10).len(), 3);
        book.take(told(&json!({ "state": "resolved" })), now);
        assert_eq!(book.firing(), 1, "a2 goes on");
    }

    #[test]
    fn is_bounded_and_counts_what_it_gives_up() {
        let (mut book, now) = (Book::new(RESEND), Instant::now());
        let of = |id: &str| told(&json!({ "alert_id": id }));
        for number in 0..MOST {
            let told = of(&format!("{number:05}"));
            assert!(book.has_room_for(&told));
            book.take(told, now);
        }
        assert!(!book.has_room_for(&of("one more")));
        assert!(book.has_room_for(&of("00000")), "it is there already");
        book.take(of("00000"), now);
        let first = ("00000".to_owned(), "critical".to_owned());
        assert_eq!(book.give_up(&[first]), 2);
        assert_eq!(book.give_all_up(), MOST as u64 - 1);
        assert_eq!(book.waiting(), 0);
    }
}
