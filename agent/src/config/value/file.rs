//! Values of section `file`.

use super::{BadValue, Span, octets};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How large a file may grow, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotateBytes(pub u64);

impl FromStr for RotateBytes {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let size = octets(text).filter(|size| *size >= 64 << 10).map(Self);
        size.ok_or_else(|| BadValue::new(text, "a file size", "at least 64KiB, such as 100MiB"))
    }
}

/// How old a file may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotateEvery(pub Duration);

impl FromStr for RotateEvery {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            Ok(Span(span)) if span >= Duration::from_secs(1) => Ok(Self(span)),
            _ => Err(BadValue::new(text, "a file's age", "at least 1s, such as 24h")),
        }
    }
}

words! {
    /// What rotated files are compressed with.
    Compress: "a compression" {
        /// Nothing.
        None = "none",
        /// zstd (RFC 8878).
        Zstd = "zstd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rotation() {
        assert_eq!("100MiB".parse(), Ok(RotateBytes(100 << 20)));
        assert_eq!("24h".parse(), Ok(RotateEvery(Duration::from_secs(86_400))));
        assert_eq!("zstd".parse(), Ok(Compress::Zstd));
        for bad in ["100", "", "100 MB", "-1"] {
            assert!(bad.parse::<RotateBytes>().unwrap_err().to_string().contains("100MiB"));
        }
        for bad in ["100ms", "0s", "1", "daily"] {
            assert!(bad.parse::<RotateEvery>().unwrap_err().to_string().contains("24h"));
        }
        assert!("gzip".parse::<Compress>().unwrap_err().to_string().contains("none zstd"));
    }
}
