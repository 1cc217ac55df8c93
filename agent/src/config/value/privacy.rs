//! Values of sections `privacy` and `filters`.

use super::BadValue;
use crate::decode::dns::type_number;
use crate::privacy::Method;
use std::fmt;
use std::str::FromStr;

words! {
    /// What becomes of names and addresses.
    Masking: "a way to mask" {
        /// They are told.
        Keep = "keep",
        /// A part is told.
        Truncate = "truncate",
        /// A pseudonym is told.
        Hash = "hash",
        /// They are not told.
        Drop = "drop",
    }
}

words! {
    /// What becomes of what has no parts.
    Hiding: "a way to mask what has no parts" {
        /// It is told.
        Keep = "keep",
        /// A pseudonym is told.
        Hash = "hash",
        /// It is not told.
        Drop = "drop",
    }
}

impl From<Masking> for Method {
    fn from(masking: Masking) -> Self {
        match masking {
            Masking::Keep => Self::Keep,
            Masking::Truncate => Self::Truncate,
            Masking::Hash => Self::Hash,
            Masking::Drop => Self::Drop,
        }
    }
}

impl From<Hiding> for Method {
    fn from(hiding: Hiding) -> Self {
        match hiding {
            Hiding::Keep => Self::Keep,
            Hiding::Hash => Self::Hash,
            Hiding::Drop => Self::Drop,
        }
    }
}

/// A record type: a mnemonic, or `TYPE65280`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qtype(pub u16);

impl FromStr for Qtype {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue::new(text, "a record type", "one such as AAAA or TYPE65280");
        type_number(text).map(Self).ok_or_else(bad)
    }
}

/// The beginning of a container's id: hex digits, as many as one likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId(pub String);

impl FromStr for ContainerId {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|o| o.is_ascii_hexdigit());
        if !is_id {
            let remedy = "1 to 64 hex digits of it, such as 4b6ee1d1c3c2";
            return Err(BadValue::new(text, "the beginning of a container's id", remedy));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}
