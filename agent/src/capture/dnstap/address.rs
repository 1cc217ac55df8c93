//! Where servers send dnstap to.

use dnscribe_config::value::BadValue;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address at which dnstap is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnstapAddress {
    /// `unix:PATH`: a socket of that path.
    Unix(PathBuf),
    /// `tcp:ADDRESS:PORT`.
    Tcp(SocketAddr),
    /// `tls:ADDRESS:PORT`.
    Tls(SocketAddr),
}

impl FromStr for DnstapAddress {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let address = match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Some(Self::Unix(path.into())),
            Some(("tcp", address)) => address.parse().ok().map(Self::Tcp),
            Some(("tls", address)) => address.parse().ok().map(Self::Tls),
            _ => None,
        };
        address.ok_or_else(|| {
            BadValue::new(
                text,
                "an address for dnstap",
                "unix:PATH, tcp:ADDRESS:PORT or tls:ADDRESS:PORT, such as tcp:127.0.0.1:6000",
            )
        })
    }
}

impl fmt::Display for DnstapAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Tls(address) => write!(f, "tls:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["unix:/run/dnstap.sock", "tcp:127.0.0.1:6000", "tls:[::1]:6000"] {
            assert_eq!(text.parse::<DnstapAddress>().unwrap().to_string(), text);
        }
        for text in
            ["", "unix:", "/run/dnstap.sock", "tcp:6000", "tcp:localhost:6000", "tls:127.0.0.1"]
        {
            let why = text.parse::<DnstapAddress>().unwrap_err().to_string();
            assert!(why.contains("give unix:PATH"), "{why}");
        }
    }
}
