//! Foreign exports: a map from a file's own columns, values and times to those of `registrar.event/1`.

use crate::error::KpiError;
use crate::event::{FIELDS, Rejection};
use crate::input::{FieldValue, Row, hex, parse_fields, with_event_id};
use crate::sources::Zone;
use jiff::fmt::strtime;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// What `import --map` names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    version: u32,
    /// Columns of the file by the field that they become. Others are left out.
    columns: BTreeMap<String, String>,
    /// Fields that are the same in every row.
    #[serde(default)]
    constants: BTreeMap<String, String>,
    /// The file's values by field, with what they become. A value that is not listed is refused.
    #[serde(default)]
    values: BTreeMap<String, BTreeMap<String, String>>,
    /// How times are written, if not as RFC 3339.
    time: Option<TimeFormat>,
    /// How amounts are written, if not in millionths.
    amount: Option<AmountFormat>,
    #[serde(skip)]
    sha256: String,
    #[serde(skip)]
    text: String,
}

/// How times are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeFormat {
    /// Format of strftime, such as `%d.%m.%Y %H:%M`; `unix` for seconds since 1970, `unix_ms` for milliseconds.
    format: String,
    /// Time zone of times without offset.
    #[serde(default)]
    time_zone: Zone,
}

/// How amounts are written: in units of the currency.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AmountFormat {
    /// Character before the fraction: `.` or `,`. The other one, and spaces, may divide thousands.
    decimal: char,
    /// Sign of refunds. In the fact no amount has one.
    #[serde(default)]
    refunds: Sign,
}

/// Sign of amounts in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sign {
    #[default]
    Positive,
    Negative,
}

/// Type of events whose amounts may have a minus.
const REFUND: &str = "payment_refunded";

impl Mapping {
    /// Reads a map.
    ///
    /// # Errors
    /// The file cannot be read, or a value in it is wrong.
    pub fn read(path: &Path) -> Result<Self, KpiError> {
        KpiError::reading(path, Self::parse)
    }

    /// Parses the text of a map.
    ///
    /// # Errors
    /// A value in it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut map: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        map.sha256 = hex(&Sha256::digest(text.as_bytes()));
        text.clone_into(&mut map.text);
        if map.version != 1 {
            return Err(format!("version {}: only 1 is known", map.version));
        }
        let sections = [
            ("columns", map.columns.keys().collect::<Vec<_>>()),
            ("constants", map.constants.keys().collect()),
            ("values", map.values.keys().collect()),
        ];
        for (section, fields) in sections {
            if let Some(field) = fields.iter().find(|field| !FIELDS.contains(&field.as_str())) {
                let known = FIELDS.join(", ");
                return Err(format!("{section}.{field}: registrar.event/1 has {known}"));
            }
        }
        for field in ["business_key", "event_type", "event_ts"] {
            if !map.columns.contains_key(field) && !map.constants.contains_key(field) {
                return Err(format!("columns.{field} is missing: name the column of the file"));
            }
        }
        if map.time.as_ref().is_some_and(TimeFormat::lacks_half_of_day) {
            return Err(
                "time.format: %I and %l name each hour twice a day: add %p, or give %H".to_owned()
            );
        }
        if map.amount.as_ref().is_some_and(|amount| !matches!(amount.decimal, '.' | ',')) {
            return Err("amount.decimal: choose \".\" or \",\"".to_owned());
        }
        Ok(map)
    }

    /// The text that the map was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a field is made of this column.
    #[must_use]
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.values().any(|column| column == name)
    }

    /// Returns the identity of a file's content together with this map: another map makes other facts of it.
    #[must_use]
    pub fn identity(&self, sha256: &str) -> String {
        hex(&Sha256::digest(format!("{sha256}{}", self.sha256).as_bytes()))
    }

    /// Makes a row of `registrar.event/1` of a row of the file.
    ///
    /// # Errors
    /// A column is missing or there twice, or a value is none of those that the map has. The row has the fields that can be read:
    /// they say which day and type lacks it.
    pub fn apply(&self, row: &Row) -> (Row, Result<(), Rejection>) {
        let (text, fields) = match row {
            Row::Csv(text, fields) => {
                let fields = fields.iter().cloned();
                (text, fields.map(|(name, text)| (name, FieldValue::Text(text))).collect())
            }
            Row::Json(text) => match parse_fields(text) {
                Ok(fields) => (text, fields),
                Err(error) => return (row.clone(), Err(Rejection::new("bad_json", error))),
            },
            Row::Unreadable(..) => return (row.clone(), Ok(())),
        };
        let mut result = Ok(());
        let mut mapped: Vec<(String, String)> = Vec::new();
        // The sign of an amount depends on the type, so the type comes first.
        let (first, rest): (Vec<_>, Vec<_>) =
            self.columns.iter().partition(|(field, _)| *field == "event_type");
        for (field, column) in first.into_iter().chain(rest) {
            let kind = mapped.iter().find(|(name, _)| name == "event_type").map(|(_, kind)| kind);
            let kind = self.constants.get("event_type").or(kind).map_or("", String::as_str);
            let value = only(&fields, field, column);
            match value.and_then(|value| self.convert(field, kind, value)) {
                Ok(value) => mapped.push((field.clone(), value)),
                Err(rejection) => result = result.and(Err(rejection)),
            }
        }
        mapped.extend(self.constants.clone());
        (with_event_id(Row::Csv(text.clone(), mapped)), result)
    }

    /// Converts a value of a field, of an event whose type is `kind`.
    fn convert(&self, field: &str, kind: &str, value: &FieldValue) -> Result<String, Rejection> {
        let text = value.clone().into_text();
        let text = text.trim();
        if let Some(known) = self.values.get(field) {
            let unknown = || Rejection::new("unmapped_value", format!("{field}: \"{text}\""));
            return known.get(text).cloned().ok_or_else(unknown);
        }
        match (field, &self.time, &self.amount) {
            (_, _, _) if text.is_empty() => Ok(String::new()),
            ("event_ts" | "ingest_ts", Some(format), _) => format.parse(text).map_err(|error| {
                Rejection::new("bad_timestamp", format!("{field}: \"{text}\": {error}"))
            }),
            ("amount_micros", _, Some(format)) => {
                let sign = if kind == REFUND { format.refunds } else { Sign::Positive };
                let wanted = match sign {
                    Sign::Positive => "of 0 or more",
                    Sign::Negative => "with a minus",
                };
                let detail = || format!("\"{text}\": not an amount {wanted} with up to 6 decimals");
                let amount = match value {
                    FieldValue::Number(_) => AmountFormat::parse_number(text, sign),
                    _ => format.parse(text, sign),
                };
                amount.ok_or_else(|| Rejection::new("bad_amount", detail()))
            }
            _ => Ok(text.to_owned()),
        }
    }
}

/// Returns the value of a column, if the row has one column of this name.
fn only<'a>(
    fields: &'a [(String, FieldValue)],
    field: &str,
    column: &str,
) -> Result<&'a FieldValue, Rejection> {
    let mut values = fields.iter().filter(|(name, _)| name == column).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Rejection::new("missing_column", format!("{column} (for {field})"))),
        (Some(_), Some(_)) => {
            Err(Rejection::new("ambiguous_column", format!("{column} (for {field})")))
        }
    }
}

impl TimeFormat {
    /// Returns whether hours are those of half a day, and nothing says of which half.
    fn lacks_half_of_day(&self) -> bool {
        let mut names = String::new();
        let mut letters = self.format.chars();
        while letters.any(|letter| letter == '%') {
            // Before its name, a part may have a flag, a width or colons.
            names.extend(letters.find(|letter| letter.is_ascii_alphabetic() || *letter == '%'));
        }
        names.contains(['I', 'l']) && !names.contains(['p', 'P'])
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        let number = || text.parse::<i64>().map_err(|error| error.to_string());
        let time = match self.format.as_str() {
            "unix" => jiff::Timestamp::from_second(number()?).map_err(|error| error.to_string())?,
            "unix_ms" => {
                jiff::Timestamp::from_millisecond(number()?).map_err(|error| error.to_string())?
            }
            format => {
                let parts = strtime::parse(format, text).map_err(|error| error.to_string())?;
                let local = || parts.to_datetime().map_err(|error| error.to_string());
                match (parts.offset(), parts.iana_time_zone()) {
                    // Refused if the zone has another offset then.
                    (Some(_), Some(_)) => {
                        parts.to_zoned().map_err(|error| error.to_string())?.timestamp()
                    }
                    (Some(_), None) => parts.to_timestamp().map_err(|error| error.to_string())?,
                    (None, Some(name)) => Zone::try_from(name.to_owned())?.instant(local()?)?,
                    (None, None) => self.time_zone.instant(local()?)?,
                }
            }
        };
        Ok(time.to_string())
    }
}

impl AmountFormat {
    /// Returns an amount in millionths, exactly and without its sign, if it has this one.
    fn parse(&self, text: &str, sign: Sign) -> Option<String> {
        let minus = ['-', '\u{2212}'];
        let text = match sign {
            Sign::Positive => text,
            Sign::Negative => text.strip_prefix(minus)?.trim_start(),
        };
        let (whole, fraction) = text.split_once(self.decimal).unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let mut groups = whole.split(['.', ',', ' ', '\u{a0}']);
        let first = groups.next().filter(|first| !first.is_empty() && is_number(first))?;
        // A decimal sign of another convention must not become one of thousands: 9.99 is no 999.
        let mut rest = groups.clone();
        let is_divided = whole.len() != first.len();
        if is_divided && first.len() > 3
            || !rest.all(|group| group.len() == 3 && is_number(group))
            || !is_number(fraction)
            || fraction.len() > 6
        {
            return None;
        }
        let whole: String = std::iter::once(first).chain(groups).collect();
        format!("{whole}{fraction:0<6}").parse::<i64>().ok().map(|micros| micros.to_string())
    }

    /// Returns the amount that is a number of JSON, as [`Self::parse`] does. Whatever texts have, it has a point before its
    /// fraction, nothing that divides thousands, and maybe an exponent.
    fn parse_number(number: &str, sign: Sign) -> Option<String> {
        let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let exponent =
            exponent.parse().ok().filter(|exponent: &isize| exponent.unsigned_abs() <= 32)?;
        let (minus, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let zeros = "0".repeat(exponent.unsigned_abs());
        let (all, point) = match exponent {
            ..0 => (format!("{zeros}{whole}{fraction}"), whole.len()),
            _ => (format!("{whole}{fraction}{zeros}"), whole.len() + zeros.len()),
        };
        let (whole, fraction) = all.split_at(point);
        let plain = format!("{minus}{whole}.{}", fraction.trim_end_matches('0'));
        Self { decimal: '.', refunds: sign }.parse(&plain, sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 1\ncolumns: { business_key: Order, event_type: Kind, event_ts: When, amount_micros: Price }\n\
        constants: { currency: EUR, source_system: shop }\nvalues: { event_type: { PAID: payment_captured } }\n\
        time: { format: \"%d.%m.%Y %H:%M\", time_zone: Europe/Berlin }\namount: { decimal: \",\" }\n";

    fn apply(order: &[(&str, &str)]) -> Result<BTreeMap<String, String>, &'static str> {
        let fields = order.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let row = Row::Csv(String::new(), fields.collect());
        match Mapping::parse(TEXT).unwrap().apply(&row) {
            (Row::Csv(_, fields), Ok(())) => Ok(fields.into_iter().collect()),
            (_, Ok(())) => panic!("another row"),
            (_, Err(rejection)) => Err(rejection.reason),
        }
    }

    #[test]
    fn makes_events_of_foreign_rows() {
        let order =
            [("Order", "7"), ("Kind", "PAID"), ("When", "02.03.2026 00:30"), ("Price", "1.234,5")];
        let event = apply(&order).unwrap();
        assert_eq!(event["event_ts"], "2026-03-01T23:30:00Z");
        assert_eq!((&*event["amount_micros"], &*event["currency"]), ("1234500000", "EUR"));
        assert_eq!(event["event_id"], "payment_captured/7");
        for (column, text, reason) in [
            ("Kind", "LOST", "unmapped_value"),
            ("When", "2026-03-02", "bad_timestamp"),
            // An hour that clocks skip in Berlin, and one that they have twice.
            ("When", "29.03.2026 02:30", "bad_timestamp"),
            ("When", "25.10.2026 02:30", "bad_timestamp"),
            ("Price", "-1,00", "bad_amount"),
            ("Price", "9.99", "bad_amount"),
            ("Price", "1.23.456,00", "bad_amount"),
            ("Price", "1234.567,00", "bad_amount"),
            ("Price", "0,1234567", "bad_amount"),
        ] {
            let order = order.map(|(name, old)| (name, if name == column { text } else { old }));
            assert_eq!(apply(&order), Err(reason), "{column} {text}");
        }
        assert_eq!(apply(&order[..3]), Err("missing_column"));
        let prices = [order.as_slice(), &[("Price", "5,00")]].concat();
        assert_eq!(apply(&prices), Err("ambiguous_column"));
    }

    #[test]
    fn numbers_of_json_are_exact() {
        let map = Mapping::parse(TEXT).unwrap();
        let amount = |order: &str, price: &str| {
            let row = format!(
                r#"{{"Order":{order},"Kind":"PAID","When":"02.03.2026 00:30","Price":{price}}}"#
            );
            let (Row::Csv(_, fields), Ok(())) = map.apply(&Row::Json(row)) else { return None };
            let fields: BTreeMap<_, _> = fields.into_iter().collect();
            assert_eq!(fields["business_key"], order);
            Some(fields["amount_micros"].clone())
        };
        for order in ["123456789012345678901", "123456789012345678902"] {
            assert_eq!(amount(order, "9.99").as_deref(), Some("9990000"));
        }
        // A number has a point, although texts of the file have a comma.
        for (price, micros) in [
            ("9999999999.999999", Some("9999999999999999")),
            ("1.234", Some("1234000")),
            ("1.2340000000", Some("1234000")),
            ("0.000001", Some("1")),
            ("1E-6", Some("1")),
            ("12.5e-1", Some("1250000")),
            ("1.5e+2", Some("150000000")),
            ("1.2345678e3", Some("1234567800")),
            ("0", Some("0")),
            ("\"1.234,5\"", Some("1234500000")),
            ("1E-7", None),
            ("-1", None),
            ("1e400", None),
            ("1e99999999999999999999", None),
        ] {
            assert_eq!(amount("7", price).as_deref(), micros, "{price}");
        }
    }

    #[test]
    fn zones_that_a_row_names_count() {
        let time = |format: &str, text: &str| {
            let map = TEXT.replacen("%d.%m.%Y %H:%M", format, 1);
            let map = Mapping::parse(&map)?;
            map.time.as_ref().unwrap().parse(text)
        };
        let local = "%F %H:%M %Q";
        let los_angeles = time(local, "2026-10-31 22:00 America/Los_Angeles");
        assert_eq!(los_angeles.as_deref(), Ok("2026-11-01T05:00:00Z"));
        assert_eq!(time(local, "2026-07-01 00:30 +0200").as_deref(), Ok("2026-06-30T22:30:00Z"));
        assert!(time(local, "2026-10-25 02:30 Europe/Berlin").is_err(), "twice");
        assert!(time(local, "2026-03-29 02:30 Europe/Berlin").is_err(), "skipped");
        assert!(time(local, "2026-03-29 12:30 Europe/Nowhere").is_err());
        let both = "%F %H:%M%:z[%Q]";
        let berlin = time(both, "2026-07-01 00:30+02:00[Europe/Berlin]");
        assert_eq!(berlin.as_deref(), Ok("2026-06-30T22:30:00Z"));
        assert!(time(both, "2026-07-01 00:30+01:00[Europe/Berlin]").is_err(), "another offset");
        for format in ["%d.%m.%Y %I:%M", "%F %-l:%M", "%%p %F %_I"] {
            let error = time(format, "").unwrap_err();
            assert!(error.contains("%p"), "{format}: {error}");
        }
        assert_eq!(
            time("%d.%m.%Y %I:%M %p", "01.07.2026 03:30 PM").as_deref(),
            Ok("2026-07-01T13:30:00Z")
        );
    }

    /// What is refused has the fields that say where it is missing.
    #[test]
    fn keeps_what_can_be_read_of_a_refused_row() {
        let order =
            [("Order", "7"), ("Kind", "PAID"), ("When", "02.03.2026 00:30"), ("Price", "x")];
        let fields = order.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let row = Row::Csv("raw".to_owned(), fields.to_vec());
        let (Row::Csv(text, fields), Err(_)) = Mapping::parse(TEXT).unwrap().apply(&row) else {
            panic!("not refused")
        };
        let fields: BTreeMap<_, _> = fields.into_iter().collect();
        assert_eq!((&*text, &*fields["event_type"]), ("raw", "payment_captured"));
        assert_eq!(fields["event_ts"], "2026-03-01T23:30:00Z");
        assert!(!fields.contains_key("amount_micros"));
    }

    #[test]
    fn refunds_have_the_sign_that_the_map_says() {
        let text = TEXT.replacen("PAID", "BACK: payment_refunded, PAID", 1).replacen(
            "\",\"",
            "\",\", refunds: negative",
            1,
        );
        let map = Mapping::parse(&text).unwrap();
        let amount = |kind: &str, price: &str| {
            let fields =
                [("Order", "7"), ("Kind", kind), ("When", "02.03.2026 00:30"), ("Price", price)];
            let fields = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
            match map.apply(&Row::Csv(String::new(), fields.to_vec())) {
                (Row::Csv(_, fields), Ok(())) => {
                    Ok(fields.into_iter().find(|(name, _)| name == "amount_micros").unwrap().1)
                }
                (_, Ok(())) => panic!("another row"),
                (_, Err(rejection)) => Err(rejection.detail),
            }
        };
        assert_eq!(amount("PAID", "6,50").unwrap(), "6500000");
        assert_eq!(amount("BACK", "-6,50").unwrap(), "6500000");
        assert_eq!(amount("BACK", "\u{2212}1.234,50").unwrap(), "1234500000");
        // A payment with a minus, and a refund without one, may be the other of the two.
        assert!(amount("PAID", "-6,50").unwrap_err().contains("of 0 or more"));
        assert!(amount("BACK", "6,50").unwrap_err().contains("with a minus"));
        assert!(amount("BACK", "--6,50").unwrap_err().contains("with a minus"));
    }

    #[test]
    fn names_what_is_wrong() {
        for (from, to, problem) in [
            ("Order", "[Order]", "line"),
            ("business_key", "busines_key", "columns.busines_key"),
            ("event_ts: When, ", "", "columns.event_ts is missing"),
            ("Europe/Berlin", "Berlin", "time_zone Berlin"),
            ("\",\"", "\";\"", "amount.decimal"),
        ] {
            let error = Mapping::parse(&TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(problem), "{to}: {error}");
        }
    }
}
