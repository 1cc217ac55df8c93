//! What an alert says in words, made anew of what may be told.

use super::Class;
use super::fields::Kind;
use super::pen::{Pen, Shallow};
use serde::Deserialize;
use std::fmt::Write as _;

/// Whom an alert concerns: the parts as they are told, in the order in which an alert has them.
pub(super) fn entity(pen: &Pen<'_>, alert: &Shallow<'_>) -> String {
    const PARTS: [(&str, Kind); 7] = [
        ("resolver", Kind::Resolver),
        ("zone", Kind::Name),
        ("qname", Kind::Name),
        ("process_name", Kind::Process),
        ("pod", Kind::Container),
        ("client_ip", Kind::Address(Class::Client)),
        ("vantage", Kind::Public),
    ];
    let mut entity = String::new();
    for (part, kind) in PARTS {
        let Some(value) = alert.text(part) else { continue };
        let Some(told) = pen.text(kind, &value, alert) else { continue };
        let comma = if entity.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(entity, "{comma}{part}={told}");
    }
    if entity.is_empty() { "node".to_owned() } else { entity }
}

/// What is wrong, by its figures: the sentence itself has names in it.
pub(super) fn summary(alert: &Shallow<'_>) -> String {
    #[derive(Deserialize)]
    struct Figure<'a> {
        name: &'a str,
        value: f64,
        threshold: Option<f64>,
    }
    let mut summary = alert.text("rule").unwrap_or_default().into_owned();
    let figures = alert.raw("figures").unwrap_or("[]");
    let figures: Vec<Figure<'_>> = serde_json::from_str(figures).unwrap_or_default();
    for (place, Figure { name, value, threshold }) in figures.iter().enumerate() {
        let before = if place == 0 { ": " } else { ", " };
        let _ = write!(summary, "{before}{name} {value}");
        if let Some(threshold) = threshold {
            let _ = write!(summary, " (threshold {threshold})");
        }
    }
    summary
}
