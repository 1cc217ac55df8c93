//! Table of captured ports in the eBPF programs, which can be changed while they run.

use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED, PORT_HTTPS, PORT_WORDS};

/// Classes of all ports, [`PORTS_PER_WORD`] in a word.
pub(super) type Classes = [u64; PORT_WORDS as usize];

/// Number of ports in a word of the table.
const PORTS_PER_WORD: u16 = 32;

/// Name of the table's map: the section of the object that contains only the table.
pub(super) const MAP: &str = ".bss";

/// Returns the classes of all ports. Plain DNS takes precedence over encrypted DNS.
pub(super) fn classes(ports: &PortSet, encrypted: Option<&Encrypted>) -> Classes {
    let mut words = [0; PORT_WORDS as usize];
    let mut set = |port: u16, class: u64| {
        if let Some(word) = words.get_mut(usize::from(port / PORTS_PER_WORD)) {
            let shift = port % PORTS_PER_WORD * 2;
            *word = *word & !(3 << shift) | class << shift;
        }
    };
    if let Some(encrypted) = encrypted {
        encrypted.ports.iter().for_each(|port| set(*port, PORT_ENCRYPTED));
        encrypted.https_ports.iter().for_each(|port| set(*port, PORT_HTTPS));
    }
    ports.iter().for_each(|port| set(port, PORT_DNS));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_ports_are_independent() {
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
