//! Rebuilds the entity and the summary of a masked alert from its masked fields.

use super::Class;
use super::field_masker::{FieldMasker, RawObject};
use super::fields::Kind;
use serde::Deserialize;
use std::fmt::Write as _;

/// Returns the entity of an alert, made of its masked parts in the order of the original.
pub(super) fn entity(fields: &FieldMasker<'_>, alert: &RawObject<'_>) -> String {
    /// Name of each part, the object that holds its field, and the field.
    const PARTS: [(&str, Option<&str>, &str, Kind); 11] = [
        ("service", None, "service", Kind::Public),
        ("target", None, "target", Kind::Octets),
        ("resolver", None, "resolver", Kind::Resolver),
        ("zone", None, "zone", Kind::Name),
        ("qname", None, "qname", Kind::Name),
        ("process", Some("process"), "comm", Kind::Process),
        ("namespace", Some("k8s"), "namespace", Kind::Container),
        ("pod", Some("k8s"), "pod", Kind::Container),
        ("container", Some("container"), "id", Kind::Container),
        ("client_ip", None, "client_ip", Kind::Address(Class::Client)),
        ("vantage", None, "vantage", Kind::Public),
    ];
    let mut entity = String::new();
    for (part, object, field, kind) in PARTS {
        let value = match object.map(|name| alert.object(name)) {
            None => alert.text(field),
            Some(object) => object.and_then(|object| object.text(field)),
        };
        let Some(value) = value else { continue };
        let Some(masked) = fields.masked_text(kind, &value, alert) else { continue };
        let comma = if entity.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(entity, "{comma}{part}={masked}");
    }
    if entity.is_empty() { "node".to_owned() } else { entity }
}

/// Returns a summary made of rule, masked entity and figures, since the original sentence contains names.
pub(super) fn summary(fields: &FieldMasker<'_>, alert: &RawObject<'_>) -> String {
    #[derive(Deserialize)]
    struct Figure<'a> {
        name: &'a str,
        value: f64,
        threshold: Option<f64>,
    }
    // A change within an alert has a kind.
    let rule = alert.text("rule").or_else(|| alert.text("kind")).unwrap_or_default();
    let mut summary = format!("{rule} of {}", entity(fields, alert));
    let figures = alert.raw("figures").unwrap_or("[]");
    let figures: Vec<Figure<'_>> = serde_json::from_str(figures).unwrap_or_default();
    for (index, Figure { name, value, threshold }) in figures.iter().enumerate() {
        let before = if index == 0 { ": " } else { ", " };
        let _ = write!(summary, "{before}{} {}", name.replace('_', " "), rounded(*value));
        if let Some(threshold) = threshold {
            let _ = write!(summary, " (threshold {})", rounded(*threshold));
        }
    }
    summary
}

/// Rounds to a thousandth, which is what a reader of a sentence compares.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
