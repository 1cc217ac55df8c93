//! The set of captured ports.

use std::fmt;
use std::str::FromStr;

/// A set of port numbers, never empty, never holding 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSet(Vec<u16>);

impl PortSet {
    /// Returns whether the set holds the port.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        match self.0.as_slice() {
            [only] => *only == port,
            ports => ports.binary_search(&port).is_ok(),
        }
    }

    /// Returns the union of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut ports: Vec<_> = self.iter().chain(other.iter()).collect();
        ports.sort_unstable();
        ports.dedup();
        Self(ports)
    }

    /// Returns the ports in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self(vec![53])
    }
}

/// Errors of parsing a [`PortSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortSetError {
    /// Something in the list is not a port.
    #[error("\"{0}\" is not a port: give numbers from 1 to 65535, such as 53 or 53,5353")]
    NotAPort(String),
    /// The list is empty.
    #[error("no port given: give at least one, such as 53")]
    Empty,
}

impl TryFrom<Vec<u16>> for PortSet {
    type Error = PortSetError;

    fn try_from(mut ports: Vec<u16>) -> Result<Self, PortSetError> {
        ports.sort_unstable();
        ports.dedup();
        match ports.first() {
            None => Err(PortSetError::Empty),
            Some(0) => Err(PortSetError::NotAPort("0".into())),
            Some(_) => Ok(Self(ports)),
        }
    }
}

impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<Self, PortSetError> {
        let ports: Result<Vec<u16>, PortSetError> = text
            .split(',')
            .map(str::trim)
            .filter(|port| !port.is_empty())
            .map(|port| port.parse().map_err(|_| PortSetError::NotAPort(port.into())))
            .collect();
        Self::try_from(ports?)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, port) in self.0.iter().enumerate() {
            write!(f, "{}{port}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_list() {
        let ports: PortSet = "5353, 53,53".parse().unwrap();
        assert_eq!(ports.to_string(), "53,5353");
        assert!(ports.contains(5353) && !ports.contains(54));
    }

    #[test]
    fn refuses_what_is_no_port() {
        for bad in ["", ",", "0", "65536", "domain", "-1"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad}");
        }
    }
}
