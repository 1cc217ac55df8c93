//! The programs' table of ports, which can be changed while they run.

use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED, PORT_HTTPS, PORT_WORDS};

/// The class of each port, of [`PORTS_A_WORD`] in a word.
pub(super) type Classes = [u64; PORT_WORDS as usize];

/// Ports in a word of the table.
const PORTS_A_WORD: u16 = 32;

/// The section of the object that the table alone is in, and so the name of its map.
pub(super) const MAP: &str = ".bss";

/// The table, as loaded programs look it up.
pub(super) struct PortTable {
    map: Array<MapData, Classes>,
    encrypted: Option<Encrypted>,
}

impl PortTable {
    /// Takes the map over.
    pub(super) fn new(ebpf: &mut Ebpf, encrypted: Option<Encrypted>) -> Result<Self, MapError> {
        let missing = || MapError::InvalidName { name: MAP.to_owned() };
        Self::of(ebpf.take_map(MAP).ok_or_else(missing)?, encrypted)
    }

    /// The same of this map.
    pub(super) fn of(map: Map, encrypted: Option<Encrypted>) -> Result<Self, MapError> {
        Ok(Self { map: Array::try_from(map)?, encrypted })
    }

    /// Has the programs look for DNS on these ports and no others; on those of encrypted DNS as before.
    /// A program that runs meanwhile sees some ports as they were and some as they will be.
    pub(super) fn set(&mut self, ports: &PortSet) -> Result<(), MapError> {
        self.map.set(0, classes(ports, self.encrypted.as_ref()), 0)
    }
}

/// The classes of all ports. One that is in two of the sets is of plain DNS.
pub(super) fn classes(ports: &PortSet, encrypted: Option<&Encrypted>) -> Classes {
    let mut words = [0; PORT_WORDS as usize];
    let mut put = |port: u16, class: u64| {
        if let Some(word) = words.get_mut(usize::from(port / PORTS_A_WORD)) {
            let place = port % PORTS_A_WORD * 2;
            *word = *word & !(3 << place) | class << place;
        }
    };
    if let Some(encrypted) = encrypted {
        encrypted.ports().iter().for_each(|port| put(*port, PORT_ENCRYPTED));
        encrypted.https_ports().iter().for_each(|port| put(*port, PORT_HTTPS));
    }
    ports.iter().for_each(|port| put(port, PORT_DNS));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_has_a_place_of_its_own() {
        let words = classes(&"53,31,32,65535".parse().unwrap(), None);
        let of = |port: u16| words[usize::from(port / 32)] >> (port % 32 * 2) & 3;
        let found: Vec<_> = (0..=u16::MAX).filter(|port| of(*port) == PORT_DNS).collect();
        assert_eq!(found, [31, 32, 53, 65_535]);
        assert_eq!(
            words.iter().map(|word| word.count_ones()).sum::<u32>(),
            4 * PORT_DNS.count_ones()
        );
    }
}
